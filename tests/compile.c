/* The compilers, the chips, and how the first are run for the second. Owns a folder in /tmp. */
#include "compile.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLANG_CL "$C -O3 -w -x cl -cl-std=$V "
/* libclc has no function for generic pointers; the header of ocloc wants images of OpenCL C 3, which pvc has not. */
#define CL3_CLANG "CL3.0 -Xclang -cl-ext=-__opencl_c_generic_address_space,-__opencl_c_pipes,-__opencl_c_device_enqueue,-__opencl_c_read_write_images"
/* What a driver of these chips says; ocloc is not told, and declares the extension's functions where it is defined. */
#define SUB_GROUP_MATRIX "-Dcl_intel_subgroup_matrix_multiply_accumulate -DKOI_HALF_SUBNORMALS=1 "
#define LINK " -Xclang -mlink-builtin-bitcode -Xclang $L"
#define HIP "-O3 -w -x hip --offload-arch=$A --cuda-device-only -nogpuinc -nogpulib -DKOI_HIP=1 $D -S -o out.s $S"

static const toolchain
  clang_cl = {"clang, OpenCL", "$C", "clang-19", "$C --version | head -1", NULL, "amdgcn--amdhsa.bc",
              CLANG_CL "-target amdgcn-amd-amdhsa -mcpu=$A -nogpulib $D -S -o out.s $S" LINK, CL3_CLANG, compile_read_amd},
  clang_hip = {"clang, HIP", "$C", "clang-19", "$C --version | head -1", NULL, NULL, "$C " HIP, NULL, compile_read_amd},
  hipcc = {"hipcc, HIP", "hipcc", "hipcc", "hipcc --version 2>/dev/null | grep -m1 'HIP version'", NULL, NULL, "hipcc " HIP, NULL, compile_read_amd},
  ocloc = {"ocloc, OpenCL", "ocloc", "intel-opencl-icd", "dpkg-query -W -f '${Package} ${Version}' intel-opencl-icd 2>/dev/null || echo ocloc", NULL, NULL,
           "ocloc compile -file $S -device $A -options '-cl-std=$V " SUB_GROUP_MATRIX "$D' -output out -out_dir . && ocloc disasm -file out_*.bin -device $A -dump . >/dev/null 2>&1",
           "CL2.0", compile_read_intel},
  ptxas = {"clang and ptxas, OpenCL", "ptxas", "nvidia-cuda-toolkit", "$C --version | head -1; ptxas --version | tail -1", "ptxas --help | grep -q \"'$A'\"", "nvptx64--nvidiacl.bc",
           CLANG_CL "-target nvptx64--nvidiacl -march=$A -DKOI_SM=$N $D -S -o out.s $S" LINK " && ptxas -arch=$A -v out.s -o out.bin", CL3_CLANG, compile_read_nvidia};

/* What a driver says of such a card. AMD's OpenCL allows groups of 256. */
#define AMD(lanes_, units) {.vector_width = 1, .lanes = lanes_, .max_group = 256, .local_bytes = 65536, .n_units = units, .denormals = 1, .tile = 16}
#define AMD_HIP(lanes_, units) {.vector_width = 1, .lanes = lanes_, .max_group = 1024, .local_bytes = 65536, .n_units = units, .denormals = 1, .tile = 16}
#define INTEL(units) {.vector_width = 1, .lanes = 32, .max_group = 1024, .local_bytes = 65536, .n_units = units, .denormals = 1, .tile = 16}
#define NVIDIA(units) {.vector_width = 1, .lanes = 32, .max_group = 1024, .local_bytes = 49152, .n_units = units, .denormals = 1, .tile = 16}

/* Cards and figures: AMD's and NVIDIA's data sheets. Instructions of a lane: units x lanes a cycle x clock at its highest; of fp32, one each. */
const target targets[] = {
  {"gfx906", "gfx906", &clang_cl, AMD(64, 60), false, "Radeon Instinct MI50", 1024, 60 * 64 * 1.725, 0},
  {"gfx90a", "gfx90a", &clang_cl, AMD(64, 104), false, "Instinct MI210", 1638, 104 * 64 * 1.7, 0},
  {"gfx942", "gfx942", &clang_cl, AMD(64, 304), false, "Instinct MI300X", 5300, 304 * 64 * 2.1, 0},
  {"gfx1030", "gfx1030", &clang_cl, AMD(32, 60), false, "Radeon Pro W6800", 512, 60 * 64 * 2.32, 0},
  {"gfx1100", "gfx1100", &clang_cl, AMD(32, 96), true, "Radeon Pro W7900", 864, 96 * 64 * 2.495, 0},
  {"gfx1151", "gfx1151", &clang_cl, AMD(32, 40), false, "Ryzen AI Max+ 395", 256, 40 * 64 * 2.9, 0},
  {"gfx1201", "gfx1201", &clang_cl, AMD(32, 64), false, "Radeon AI PRO R9700", 640, 64 * 64 * 2.92, 0},
  {"hip:gfx906", "gfx906", &clang_hip, AMD_HIP(64, 60), false, "Radeon Instinct MI50", 1024, 60 * 64 * 1.725, 0},
  {"hip:gfx90a", "gfx90a", &clang_hip, AMD_HIP(64, 104), false, "Instinct MI210", 1638, 104 * 64 * 1.7, 0},
  {"hip:gfx942", "gfx942", &clang_hip, AMD_HIP(64, 304), true, "Instinct MI300X", 5300, 304 * 64 * 2.1, 0},
  {"hip:gfx1030", "gfx1030", &clang_hip, AMD_HIP(32, 60), false, "Radeon Pro W6800", 512, 60 * 64 * 2.32, 0},
  {"hip:gfx1100", "gfx1100", &clang_hip, AMD_HIP(32, 96), false, "Radeon Pro W7900", 864, 96 * 64 * 2.495, 0},
  {"hip:gfx1151", "gfx1151", &clang_hip, AMD_HIP(32, 40), false, "Ryzen AI Max+ 395", 256, 40 * 64 * 2.9, 0},
  {"hip:gfx1201", "gfx1201", &clang_hip, AMD_HIP(32, 64), false, "Radeon AI PRO R9700", 640, 64 * 64 * 2.92, 0},
  {"hipcc:gfx906", "gfx906", &hipcc, AMD_HIP(64, 60), false, NULL, 0, 0, 0},
  {"hipcc:gfx90a", "gfx90a", &hipcc, AMD_HIP(64, 104), false, NULL, 0, 0, 0},
  {"hipcc:gfx1030", "gfx1030", &hipcc, AMD_HIP(32, 60), false, NULL, 0, 0, 0},
  {"hipcc:gfx1100", "gfx1100", &hipcc, AMD_HIP(32, 96), false, NULL, 0, 0, 0},
  {"dg2", "dg2", &ocloc, INTEL(512), false, NULL, 0, 0, 8},
  {"pvc", "pvc", &ocloc, INTEL(1024), false, NULL, 0, 0, 16},
  {"sm_70", "sm_70", &ptxas, NVIDIA(80), false, NULL, 0, 0, 0},
  {"sm_80", "sm_80", &ptxas, NVIDIA(108), true, NULL, 0, 0, 0},
  {"sm_90", "sm_90", &ptxas, NVIDIA(132), false, NULL, 0, 0, 0},
};
const size_t n_targets = sizeof targets / sizeof *targets;

static const char *const library_folders[] = {"/usr/lib/clc", "/usr/share/clc", "/usr/local/lib/clc"};
static char folder[] = "/tmp/koine-compile-XXXXXX";
static bool made;

static const char *clang(void)
{
  const char *own = getenv("KOINE_CLANG");
  return own && *own ? own : "clang-19";
}

static bool find_library(const char *name, char *path, size_t size)
{
  for (size_t i = 0; i < KOI_COUNT(library_folders); i++) {
    snprintf(path, size, "%s/%s", library_folders[i], name);
    if (access(path, R_OK) == 0) return true;
  }
  return false;
}

/* The command with what its letters stand for. */
static void expand(const target *on, const char *command, const char *defs, bool counts, const char *library, char *out, size_t room)
{
  const struct { char letter; const char *text; } all[] = {
    {'C', clang()}, {'A', on->chip}, {'N', on->chip + strcspn(on->chip, "0123456789")}, {'D', defs}, {'V', counts ? on->by->counting : "CL1.2"}, {'S', "kernel.cl"}, {'L', library}};
  size_t n = 0;
  for (out[0] = 0; *command && n + 1 < room; command++) {
    size_t i = 0;
    while (*command == '$' && i < KOI_COUNT(all) && all[i].letter != command[1]) i++;
    if (*command == '$' && i < KOI_COUNT(all)) n += (size_t)snprintf(out + n, room - n, "%s", all[i].text), command++;
    else out[n++] = *command, out[n] = 0;
  }
}

static bool have(const char *program)
{
  char line[COMPILE_TEXT];
  snprintf(line, sizeof line, "command -v '%s' >/dev/null 2>&1", program);
  return system(line) == 0;
}

static void make_folder(void)
{
  if (made) return;
  if (!mkdtemp(folder)) {
    perror(folder);
    exit(1);
  }
  made = true;
}

int compile_shell(const char *line)
{
  char all[4 * COMPILE_TEXT + 2000];
  make_folder();
  snprintf(all, sizeof all, "cd %s && { %s; }", folder, line);
  return system(all);
}

const char *compile_missing(const target *on)
{
  static char why[COMPILE_TEXT];
  char path[COMPILE_TEXT];
  const char *program = strcmp(on->by->program, "$C") ? on->by->program : clang();
  if (!have(program)) return snprintf(why, sizeof why, "%s is not on PATH (Debian: %s)", program, on->by->package), why;
  if (strstr(on->by->command, "$C") && !have(clang())) return snprintf(why, sizeof why, "%s is not on PATH (Debian: clang-19)", clang()), why;
  if (on->by->knows) {
    expand(on, on->by->knows, "", false, "", path, sizeof path);
    if (compile_shell(path)) return snprintf(why, sizeof why, "this release of %s does not know %s", program, on->chip), why;
  }
  return on->by->library && !find_library(on->by->library, path, sizeof path) ? "no libclc (Debian: libclc-19 or libclc-15)" : NULL;
}

char *compile_file(const char *name)
{
  char path[COMPILE_TEXT], *text = NULL;
  size_t n;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return koi_file_read(path, 64 << 20, &text, &n) ? koi_alloc(1, 1) : text;
}

void compile_close(void)
{
  char line[COMPILE_TEXT];
  snprintf(line, sizeof line, "rm -rf %s", folder);
  if (made && system(line)) fprintf(stderr, "%s is left\n", folder);
}

static void first_line(const char *name, char *out, size_t room)
{
  char *text = compile_file(name);
  text[strcspn(text, "\n")] = 0;
  snprintf(out, room, "%s", text);
  koi_free(text);
}

void compile_version(const target *on, char *out, size_t room)
{
  char line[COMPILE_TEXT], all[COMPILE_TEXT + 100];
  expand(on, on->by->version, "", false, "", line, sizeof line);
  snprintf(all, sizeof all, "{ %s; } | tr '\\n\\t' '  ' | sed 's/ *$//' >version", line);
  out[0] = 0;
  if (!compile_shell(all)) first_line("version", out, room);
}

/* Constants and parameters as the runtime gives them, and for HIP the group's size. */
static void make_defs(const target *on, const compile_case *c, char *out, size_t room)
{
  koi_text t = {0};
  for (size_t i = 0; i < koi_op_n_consts(c->op); i++) koi_text_add(&t, " -D%s=%d", c->op->consts[i], (int)c->c[i]);
  for (size_t i = 0; i < koi_op_n_params(c->op); i++) koi_text_add(&t, " -D%s=%d", c->op->params[i].name, (int)c->p[i]);
  if (strstr(on->by->command, "KOI_HIP")) koi_text_add(&t, " -DKOI_GROUP=%d", (int)c->op->group_items(c->c, c->p));
  if (on->least_lanes) koi_text_add(&t, " -DKOI_LEAST_LANES=%d", on->least_lanes);
  snprintf(out, room, "%s", t.len ? t.s : "");
  koi_free(t.s);
}

bool compile_run(const target *on, const compile_case *c, const char *text, usage *u, char *why)
{
  char defs[2 * COMPILE_TEXT], library[COMPILE_TEXT] = "", command[2000], line[2 * COMPILE_TEXT + 2000], path[COMPILE_TEXT];
  make_folder();
  snprintf(path, sizeof path, "%s/kernel.cl", folder);
  FILE *f = fopen(path, "wb");
  if (!f || fputs(text, f) < 0 || fclose(f)) {
    perror(path);
    exit(1);
  }
  if (on->by->library) find_library(on->by->library, library, sizeof library);
  make_defs(on, c, defs, sizeof defs);
  expand(on, on->by->command, defs, koi_op_counts(c->op, c->c), library, command, sizeof command);
  snprintf(line, sizeof line, "rm -f out* *.asm PTM.txt; { %s; } >log 2>&1", command);
  *u = (usage){-1, -1, -1, -1, 0, -1, -1, -1, -1, -1, -1};
  if (compile_shell(line)) return first_line("log", why, COMPILE_TEXT), false;
  on->by->read(on, c, u);
  return true;
}
