/* Compiles every kernel, as the library carries it, for GPUs that need not be here: each op at its GPU defaults, for constants of
 * V4-Flash and for small odd ones, with clang for AMD (OpenCL C, and the same text as HIP) and for NVIDIA with ptxas behind it.
 * Owns: the table of constants and what counts as a fault: a spill, a stack nobody asked for, a call, more than 64 KB of local memory.
 * t_compile OP: this op alone. KOINE_CLANG names another clang than clang-19. Nothing is run. Exit 77 when no target could be tried. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "kernels/choose.h"
#include "kernels/ops.h"
#include "kernels/sources.h"

enum { MAX_LOCAL = 65536 };
enum { F32 = KOI_WT_F32, F16 = KOI_WT_F16, BF16 = KOI_WT_BF16, FP8 = KOI_WT_FP8, FP4 = KOI_WT_FP4, MXFP4 = KOI_WT_MXFP4, Q8_0 = KOI_WT_Q8_0, Q4_K = KOI_WT_Q4_K,
       IQ2_XXS = KOI_WT_IQ2_XXS };

typedef struct test_case {
  const koi_op *op;
  int32_t c[KOI_MAX_CONSTS];
} test_case;

/* Beside the usual constants of every op, which are its descriptor's. Tiles have 16 rows where nothing is said. */
static const test_case cases[] = {
  {&koi_op_embed, {F32, 0, 3}},
  {&koi_op_pack, {3}},
  {&koi_op_matvec, {FP4, 0}}, {&koi_op_matvec, {FP8, 0}}, {&koi_op_matvec, {FP8, 1}}, {&koi_op_matvec, {BF16, 0}}, {&koi_op_matvec, {F16, 0}},
  {&koi_op_matvec, {F32, 0}},
  {&koi_op_matmul, {FP4, 0, 16}}, {&koi_op_matmul, {FP8, 0, 16}}, {&koi_op_matmul, {FP8, 1, 16}}, {&koi_op_matmul, {BF16, 0, 16}},
  {&koi_op_matmul, {F16, 0, 16}}, {&koi_op_matmul, {F32, 0, 16}},
  {&koi_op_widen, {FP8, 0}}, {&koi_op_widen, {FP4, 1}}, {&koi_op_widen, {Q8_0, 0}}, {&koi_op_matvec, {MXFP4, 1}}, {&koi_op_matvec, {Q8_0, 0}}, {&koi_op_matmul, {Q8_0, 0, 16}},
  {&koi_op_matvec, {Q4_K, 0}}, {&koi_op_matmul, {Q4_K, 0, 16}}, {&koi_op_matvec, {IQ2_XXS, 0}},
  {&koi_op_matvec, {FP4, 0, 32}}, {&koi_op_matvec, {FP8, 0, 64}}, {&koi_op_matmul, {FP4, 0, 16, 64}}, {&koi_op_matmul, {FP8, 0, 16, 32}}, {&koi_op_matmul, {BF16, 0, 16, 32}},
  {&koi_op_hc_pre, {4, 20, 1, BF16}}, {&koi_op_hc_pre, {3, 2, 0, F32}},
  {&koi_op_hc_post, {3}},
  {&koi_op_norm_rope, {1, F32}}, {&koi_op_norm_rope, {0, F16}},
  {&koi_op_kv_store, {1, 512, 64, 64}}, {&koi_op_kv_store, {0, 96, 32, 16}},
  {&koi_op_pool, {BF16}},
  {&koi_op_index_round, {16}},
  {&koi_op_index_store, {1, 16, 16}},
  {&koi_op_index_score, {1, 128, 64, 64}}, {&koi_op_index_score, {0, 16, 3, 16}},
  {&koi_op_attn, {0, 512, 64, 64, 1, 64}}, {&koi_op_attn, {1, 512, 64, 64, 0, 64}}, {&koi_op_attn, {0, 96, 32, 4, 2, 16}},
  {&koi_op_attn_merge, {96, 32, 3, F32}},
  {&koi_op_route, {0, 1, F32}}, {&koi_op_route, {1, 0, BF16}}, {&koi_op_route, {2, 0, F16}},
  {&koi_op_group, {5}},
};

enum { N_CASES = sizeof cases / sizeof *cases };

/* What the machine code says; -1: not said. */
typedef struct usage { long registers, scalars, spilled, stack, local, calls; } usage;

typedef struct target {
  const char *name;
  koi_target t;
  const char *flags;   /* for clang */
  const char *library; /* bitcode of OpenCL's functions in the folders below; NULL: none needed */
  int ptx;             /* ptxas goes on from there */
} target;

static const target targets[] = {
  {"gfx90a", {.vector_width = 1, .lanes = 64, .max_group = 256, .local_bytes = 65536, .n_units = 104, .denormals = 1},
   "-x cl -cl-std=CL1.2 -target amdgcn-amd-amdhsa -mcpu=gfx90a -nogpulib", "amdgcn--amdhsa.bc", 0},
  {"gfx1100", {.vector_width = 1, .lanes = 32, .max_group = 256, .local_bytes = 65536, .n_units = 48, .denormals = 1},
   "-x cl -cl-std=CL1.2 -target amdgcn-amd-amdhsa -mcpu=gfx1100 -nogpulib", "amdgcn--amdhsa.bc", 0},
  {"sm_80", {.vector_width = 1, .lanes = 32, .max_group = 1024, .local_bytes = 49152, .n_units = 108, .denormals = 1},
   "-x cl -cl-std=CL1.2 -target nvptx64--nvidiacl -march=sm_80 -DKOI_SM=80", "nvptx64--nvidiacl.bc", 1},
  {"sm_90", {.vector_width = 1, .lanes = 32, .max_group = 1024, .local_bytes = 49152, .n_units = 132, .denormals = 1},
   "-x cl -cl-std=CL1.2 -target nvptx64--nvidiacl -march=sm_90 -DKOI_SM=90", "nvptx64--nvidiacl.bc", 1},
  {"hip:gfx1100", {.vector_width = 1, .lanes = 32, .max_group = 256, .local_bytes = 65536, .n_units = 48, .denormals = 1},
   "-x hip --offload-arch=gfx1100 --cuda-device-only -nogpuinc -nogpulib --gpu-max-threads-per-block=256 -DKOI_HIP=1", NULL, 0},
};
static const char *const library_folders[] = {"/usr/lib/clc", "/usr/share/clc", "/usr/local/lib/clc"};

static char folder[] = "/tmp/koine-compile-XXXXXX";
static const char *compiler, *only; /* only: one op's name, or NULL */
static int n_bad, n_done, n_skipped;

static int have(const char *program)
{
  char line[512];
  snprintf(line, sizeof line, "command -v '%s' >/dev/null 2>&1", program);
  return system(line) == 0;
}

static int find_library(const char *name, char *path, size_t size)
{
  for (size_t i = 0; i < sizeof library_folders / sizeof *library_folders; i++) {
    snprintf(path, size, "%s/%s", library_folders[i], name);
    if (access(path, R_OK) == 0) return 1;
  }
  return 0;
}

static void add(char *s, size_t size, const char *fmt, ...)
{
  size_t n = strlen(s);
  va_list args;
  va_start(args, fmt);
  vsnprintf(s + n, size - n, fmt, args);
  va_end(args);
}

/* The number behind the last `key` in text; -1 without one. */
static long number_after(const char *text, const char *key)
{
  const char *at = NULL, *next = text;
  while ((next = strstr(next, key))) at = next += strlen(key);
  return at ? strtol(at, NULL, 10) : -1;
}

/* The number before the last `key`. */
static long number_before(const char *text, const char *key)
{
  const char *at = NULL, *next = text;
  while ((next = strstr(next, key))) at = next++;
  if (!at) return -1;
  while (at > text && at[-1] == ' ') at--;
  while (at > text && at[-1] >= '0' && at[-1] <= '9') at--;
  return strtol(at, NULL, 10);
}

static char *read_text(const char *name)
{
  char path[128];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "rb");
  if (!f) return calloc(1, 1);
  size_t n = 0, cap = 1 << 20;
  char *s = malloc(cap + 1);
  for (size_t got; (got = fread(s + n, 1, cap - n, f)) > 0;) {
    n += got;
    if (n == cap) s = realloc(s, (cap *= 2) + 1);
  }
  fclose(f);
  s[n] = 0;
  return s;
}

static usage read_usage(const target *on)
{
  char *s = read_text(on->ptx ? "log" : "out.s");
  usage u;
  if (on->ptx) {
    long stores = number_before(s, " bytes spill stores"), loads = number_before(s, " bytes spill loads");
    u = (usage){number_before(s, " registers"), -1, stores + loads, number_before(s, " bytes stack frame"), number_before(s, " bytes smem"), 0};
    if (u.local < 0) u.local = 0;
  } else {
    u = (usage){number_after(s, ".vgpr_count:"), number_after(s, ".sgpr_count:"),
                number_after(s, ".vgpr_spill_count:") + number_after(s, ".sgpr_spill_count:"), number_after(s, ".private_segment_fixed_size:"),
                number_after(s, ".group_segment_fixed_size:"), strstr(s, "s_swappc") != NULL};
  }
  free(s);
  return u;
}

static void fault(const char *what)
{
  char *log = read_text("log");
  log[strcspn(log, "\n")] = 0;
  printf("FAULT: %s %s\n", what, log);
  free(log);
  n_bad++;
}

static void compile(const target *on, const koi_op *op, const int32_t *consts, const char *library)
{
  int32_t c[KOI_MAX_CONSTS], p[KOI_MAX_PARAMS];
  int tile = koi_op_const(op, "TILE");
  memcpy(c, consts, sizeof c);
  if (tile >= 0 && !c[tile]) c[tile] = KOI_STRIP;
  char what[400] = "", flags[400] = "", line[2000] = "";
  for (size_t i = 0; i < koi_op_n_consts(op); i++) add(flags, sizeof flags, " -D %s=%d", op->consts[i], c[i]);
  koine_status s = koi_choose(&on->t, op, c, 0, p, NULL);
  for (size_t i = 0; i < koi_op_n_params(op); i++) add(flags, sizeof flags, " -D %s=%d", op->params[i].name, p[i]);
  add(what, sizeof what, "%-11s %-11s%s", on->name, op->name, flags);
  n_done++;
  if (s) {
    fault(what);
    return;
  }
  add(line, sizeof line, "cd %s && rm -f out.s && %s -O3 -w %s%s -S -o out.s %s.cl", folder, compiler, on->flags, flags, op->source);
  if (library) add(line, sizeof line, " -Xclang -mlink-builtin-bitcode -Xclang %s", library);
  add(line, sizeof line, " >log 2>&1");
  if (on->ptx) add(line, sizeof line, " && ptxas -arch=%s -v out.s -o out.bin >log 2>&1", on->name);
  if (system(line)) {
    fault(what);
    return;
  }
  usage u = read_usage(on);
  printf("%s: %ld registers", what, u.registers);
  if (u.scalars >= 0) printf(", %ld scalar", u.scalars);
  printf(", %ld local\n", u.local);
  if (u.registers < 0 || u.spilled || u.stack || u.calls || u.local > MAX_LOCAL) {
    printf("FAULT: %s: %ld spilled, %ld bytes of stack, %ld bytes of local memory%s\n", what, u.spilled, u.stack, u.local, u.calls ? ", calls" : "");
    n_bad++;
  }
}

static void write_sources(void)
{
  for (const struct koi_source *s = koi_sources; s->name; s++) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s.cl", folder, s->name);
    FILE *f = fopen(path, "wb");
    if (!f || fputs(s->text, f) < 0 || fclose(f)) {
      perror(path);
      exit(1);
    }
  }
}

/* On one target. */
static size_t n_compilations(void)
{
  size_t n = N_CASES;
  for (const koi_op *const *op = koi_ops; *op; op++) n += (*op)->source != NULL;
  return n;
}

static void run_target(const target *on)
{
  char library[200];
  size_t n = n_compilations();
  const char *missing = NULL;
  if (on->library && !find_library(on->library, library, sizeof library)) missing = "no libclc (Debian: libclc-19 or libclc-15)";
  if (on->ptx && !have("ptxas")) missing = "ptxas is not on PATH";
  if (missing) {
    printf("SKIP: %s, %zu kernels: %s\n", on->name, n, missing);
    n_skipped += (int)n;
    return;
  }
  for (const koi_op *const *op = koi_ops; *op; op++) {
    if (!(*op)->source || (only && strcmp(only, (*op)->name))) continue;
    compile(on, *op, (*op)->usual, on->library ? library : NULL);
    for (size_t i = 0; i < N_CASES; i++)
      if (cases[i].op == *op) compile(on, *op, cases[i].c, on->library ? library : NULL);
  }
}

int main(int argc, char **argv)
{
  only = argc > 1 ? argv[1] : NULL;
  compiler = getenv("KOINE_CLANG") ? getenv("KOINE_CLANG") : "clang-19";
  if (!have(compiler)) {
    printf("SKIP: %zu compilations: no %s (Debian: clang-19)\n", n_compilations() * (sizeof targets / sizeof *targets), compiler);
    return 77;
  }
  if (!mkdtemp(folder)) {
    perror(folder);
    return 1;
  }
  write_sources();
  for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) run_target(&targets[i]);
  char line[128];
  snprintf(line, sizeof line, "rm -rf %s", folder);
  int left = system(line);
  printf("t_compile: %d compiled, %d skipped, %d faults\n", n_done, n_skipped, n_bad);
  return n_bad || left ? 1 : n_done ? 0 : 77;
}
