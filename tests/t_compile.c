/* Compiles every kernel, as the library carries it, for GPUs that need not be here: each op at its defaults, for constants of V4-Flash and for
 * small odd ones, by every compiler and for every chip of compile.c, and holds what comes of it to tests/data/portability.txt.
 * Owns: the table of constants and what counts as a fault: a spill, a stack nobody asked for, a call, more than 64 KB of local memory, a kernel
 * that differs from what is recorded by more than a tenth.
 * t_compile [OP]                  the quick targets; OP: this op alone
 * t_compile all [OP]              every target
 * t_compile write FOLDER [OP]     the same, recorded anew: tests/data/portability.txt and docs/portability.md below FOLDER, portability.html here
 * KOINE_CLANG names another clang than clang-19. KOINE_TEST_TARGET: this target alone. Nothing is run. Exit 77 when no target could be tried. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "compile.h"
#include "kernels/sources.h"

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
  {&koi_op_matvec_glu, {FP8, 0}}, {&koi_op_matvec_glu, {FP4, 0, 32}}, {&koi_op_matvec_post, {FP8, 0, 16, 4, 24}},
  {&koi_op_matvec_post, {FP8, 0, 16, 4, 24, 1, 20, BF16}}, {&koi_op_matvec_post, {FP4, 0, 16, 4, 24, 1, 20, BF16}}, {&koi_op_matvec_post, {FP4, 0, 64, 2, 0}},
  {&koi_op_matvecs, {BF16, 0}},
  {&koi_op_matmul, {FP4, 0, 16}}, {&koi_op_matmul, {FP8, 0, 16}}, {&koi_op_matmul, {FP8, 1, 16}}, {&koi_op_matmul, {BF16, 0, 16}},
  {&koi_op_matmul, {F16, 0, 16}}, {&koi_op_matmul, {F32, 0, 16}},
  {&koi_op_widen, {FP8, 0}}, {&koi_op_widen, {FP4, 1}}, {&koi_op_widen, {Q8_0, 0}}, {&koi_op_matvec, {MXFP4, 1}}, {&koi_op_matvec, {Q8_0, 0}}, {&koi_op_matmul, {Q8_0, 0, 16}},
  {&koi_op_matvec, {Q4_K, 0}}, {&koi_op_matmul, {Q4_K, 0, 16}}, {&koi_op_matvec, {IQ2_XXS, 0}},
  {&koi_op_matvec, {FP4, 0, 32}}, {&koi_op_matvec, {FP8, 0, 64}}, {&koi_op_matmul, {FP4, 0, 16, 64}}, {&koi_op_matmul, {FP8, 0, 16, 32}}, {&koi_op_matmul, {BF16, 0, 16, 32}},
  {&koi_op_hc_pre, {4, 20, 1, BF16}}, {&koi_op_hc_pre, {3, 2, 0, F32}},
  {&koi_op_hc_post, {3}},
  {&koi_op_norm_rope, {1, F32}}, {&koi_op_norm_rope, {0, F16}},
  {&koi_op_kv_store, {1, 512, 64, 64}}, {&koi_op_kv_store, {0, 96, 32, 16}},
  {&koi_op_latents, {1, 512, 64, 64, F32}}, {&koi_op_closing, {1, 512, 64, 64, F32, 0, 128, 1}}, {&koi_op_heads, {1, 128}},
  {&koi_op_pool, {BF16}},
  {&koi_op_index_round, {16}},
  {&koi_op_index_store, {1, 16, 16}},
  {&koi_op_index_score, {1, 128, 64, 64}}, {&koi_op_index_score, {0, 16, 3, 16}},
  {&koi_op_attn, {0, 512, 64, 64, 1, 64}}, {&koi_op_attn, {1, 512, 64, 64, 0, 64}}, {&koi_op_attn, {0, 96, 32, 4, 2, 16}},
  {&koi_op_attn, {0, 512, 64, 64, 2, 64, 1, F32}}, {&koi_op_attn, {0, 512, 64, 64, 0, 64, 1, F32}},
  {&koi_op_attn_merge, {96, 32, 3, F32}}, {&koi_op_matvec_route, {BF16, 0, 16, 0, 1}}, {&koi_op_matvec_route, {F32, 0, 16, 0, 0}},
  {&koi_op_route, {0, 1, F32}}, {&koi_op_route, {1, 0, BF16}}, {&koi_op_route, {2, 0, F16}},
  {&koi_op_group, {5}},
};

enum { N_CASES = sizeof cases / sizeof *cases };

static table recorded, now;
static const char *only; /* one op's name, or NULL */
static int n_bad, n_done, n_skipped;

static void fault(const char *what, const char *why)
{
  printf("FAULT: %s: %s\n", what, why);
  n_bad++;
}

static void name_all(const char *const *names, const int32_t *v, size_t n, char *out)
{
  size_t at = 0;
  out[0] = 0;
  for (size_t i = 0; i < n; i++) at += (size_t)snprintf(out + at, COMPILE_TEXT - at, "%s%s=%d", i ? " " : "", names[i], (int)v[i]);
}

static void name_case(compile_case *c)
{
  const char *params[KOI_MAX_PARAMS];
  size_t n = koi_op_n_params(c->op);
  for (size_t i = 0; i < n; i++) params[i] = c->op->params[i].name;
  name_all(c->op->consts, c->c, koi_op_n_consts(c->op), c->consts);
  name_all(params, c->p, n, c->params);
}

/* Vector instructions that a weight may take where a format is decoded by halves (kernels/cl/halves.clh); codes of FP8 that may be NaN are looked at. */
static bool is_short(const target *on, const compile_case *c, const usage *u)
{
  bool amd = !strncmp(on->chip, "gfx", 3), fp4 = c->c[MATVEC_WT] == FP4 || c->c[MATVEC_WT] == MXFP4, fp8 = c->c[MATVEC_WT] == FP8;
  return !amd || c->op != &koi_op_matvec || !(fp4 || fp8) || (u->per_weight > 0 && u->per_weight <= (fp8 && c->c[MATVEC_CARE] ? 3.0 : 2.5));
}

/* No variant may have these, recorded or not. */
static bool is_clean(const usage *u) { return u->registers >= 0 && !u->spilled && !u->stack && !u->calls && u->local <= COMPILE_MAX_LOCAL; }

/* What is wrong with a kernel of this text; "" nothing. Only what the same release of a compiler made is compared. */
static void judge(const target *on, compile_case *c, const char *text, row *r, char *why)
{
  size_t at = (size_t)(on - targets);
  why[0] = 0;
  memcpy(r->consts, c->consts, sizeof r->consts);
  memcpy(r->params, c->params, sizeof r->params);
  snprintf(r->target, sizeof r->target, "%s", on->name);
  snprintf(r->op, sizeof r->op, "%s", c->op->name);
  if (!compile_run(on, c, text, &r->u, why)) return;
  const usage *u = &r->u;
  const row *was = table_find(&recorded, r->target, r->op, r->consts);
  if (!is_clean(u))
    snprintf(why, COMPILE_TEXT, "%ld registers, %ld spilled, %ld bytes of stack, %ld bytes of local memory%s", u->registers, u->spilled, u->stack, u->local, u->calls ? ", calls" : "");
  else if (!is_short(on, c, u)) snprintf(why, COMPILE_TEXT, "%.3f instructions a weight, which is too many", u->per_weight);
  else if (strcmp(recorded.versions[at], now.versions[at])) return;
  else if (was) table_compare(was, r, why);
  else snprintf(why, COMPILE_TEXT, "not recorded");
}

static void choose(const target *on, const koi_op *op, const int32_t *consts, compile_case *c)
{
  *c = (compile_case){.op = op};
  int tile = koi_op_const(op, "TILE");
  memcpy(c->c, consts, sizeof c->c);
  if (tile >= 0 && !c->c[tile]) c->c[tile] = KOI_STRIP;
  if (koi_choose(&on->t, op, c->c, 0, c->p, NULL)) fault(on->name, koi_error_text());
  name_case(c);
}

static void compile(const target *on, const koi_op *op, const int32_t *consts, bool write)
{
  compile_case c;
  row r = {0};
  char what[3 * COMPILE_TEXT], why[COMPILE_TEXT];
  choose(on, op, consts, &c);
  snprintf(what, sizeof what, "%-11s %-11s %s %s", on->name, op->name, c.consts, c.params);
  n_done++;
  judge(on, &c, koi_source_text(op->source), &r, why);
  if (write && is_clean(&r.u)) table_put(&recorded, &r), why[0] = 0;
  if (why[0]) fault(what, why);
  else printf("%s: %ld registers, %ld bytes of code, %ld local\n", what, r.u.registers, r.u.code, r.u.local);
}

/* ---- kernels that got worse, each of which must be a fault ---- */
static const struct { const char *target; const koi_op *op; const char *was, *is, *fault; } mutants[] = {
  {"gfx1100", &koi_op_matvec, "pairs_of(word[i * SHARE_WORDS + j], pair);", "pairs_of(word[i * SHARE_WORDS + j] ^ word[i] * 3u ^ word[j] * 5u ^ word[0] << j, pair);", "instructions a weight"},
  {"hip:gfx942", &koi_op_matvec, "pairs_of(word[i * SHARE_WORDS + j], pair);", "pairs_of(word[i * SHARE_WORDS + j] ^ word[i] * 3u ^ word[j] * 5u ^ word[0] << j, pair);", "instructions a weight"},
  {"hip:gfx942", &koi_op_swiglu, "KERNEL void", "#ifdef __gfx942__\n#error not here\n#endif\nKERNEL void", "not here"},
  {"gfx1100", &koi_op_swiglu, "? limit : INFINITY;", "? limit : INFINITY; float v[400]; UNROLL for (int j = 0; j < 400; j++) v[j] = GU[j * E + lane]; BARRIER();"
   " UNROLL for (int j = 0; j < 400; j++) weight += v[j] * v[399 - j];", "spilled"},
  {"sm_80", &koi_op_swiglu, "? limit : INFINITY;", "? limit : INFINITY; float v[400]; UNROLL for (int j = 0; j < 400; j++) v[j] = GU[j * E + lane]; BARRIER();"
   " UNROLL for (int j = 0; j < 400; j++) weight += v[j] * v[399 - j];", "spilled"},
};

static void test_mutants(const target *on)
{
  for (size_t i = 0; i < KOI_COUNT(mutants); i++) {
    if (strcmp(mutants[i].target, on->name)) continue;
    const char *text = koi_source_text(mutants[i].op->source), *at = text;
    compile_case c;
    row r = {0};
    char why[COMPILE_TEXT];
    for (const char *next = text; (next = strstr(next, mutants[i].was)); next++) at = next;
    char *worse = koi_format("%.*s%s%s", (int)(at - text), text, mutants[i].is, at + strlen(mutants[i].was));
    choose(on, mutants[i].op, mutants[i].op->usual, &c);
    judge(on, &c, worse, &r, why);
    bool comparable = !strcmp(recorded.versions[on - targets], now.versions[on - targets]);
    if (!strstr(why, mutants[i].fault) && (comparable || strcmp(mutants[i].fault, "instructions a weight")))
      printf("a worse %s is no fault: expected \"%s\", found \"%s\"\n", mutants[i].op->name, mutants[i].fault, why), n_bad++;
    koi_free(worse);
  }
}

static size_t n_compilations(void)
{
  size_t n = N_CASES;
  for (const koi_op *const *op = koi_ops; *op; op++) n += (*op)->source != NULL;
  return n;
}

static void run_target(const target *on, bool write)
{
  size_t at = (size_t)(on - targets);
  const char *missing = compile_missing(on);
  if (missing) {
    printf("SKIP: %s, %zu kernels: %s\n", on->name, n_compilations(), missing);
    n_skipped += (int)n_compilations();
    return;
  }
  compile_version(on, now.versions[at], sizeof *now.versions);
  if (write) memcpy(recorded.versions[at], now.versions[at], sizeof *now.versions);
  else if (strcmp(recorded.versions[at], now.versions[at]))
    printf("SKIP: %s is not compared: recorded of %s, here is %s\n", on->name, recorded.versions[at][0] ? recorded.versions[at] : "no compiler", now.versions[at]);
  for (const koi_op *const *op = koi_ops; *op; op++) {
    if (!(*op)->source || (only && strcmp(only, (*op)->name))) continue;
    compile(on, *op, (*op)->usual, write);
    for (size_t i = 0; i < N_CASES; i++)
      if (cases[i].op == *op) compile(on, *op, cases[i].c, write);
  }
  if (!write) test_mutants(on);
}

/* The page that is committed is the one that the table makes. */
static void check_page(const char *top)
{
  char path[COMPILE_TEXT], *is = NULL, *was = NULL;
  size_t n_is, n_was;
  snprintf(path, sizeof path, "%s/docs/portability.md", top);
  bool read = page_write(&recorded, "portability.new", false) && !koi_file_read("portability.new", 64 << 20, &is, &n_is) && !koi_file_read(path, 64 << 20, &was, &n_was);
  if (!read || strcmp(is, was)) fault(path, "not what tests/data/portability.txt says; make portability writes both");
  remove("portability.new");
  koi_free(is);
  koi_free(was);
}

static void write_all(const char *top)
{
  char text[COMPILE_TEXT], page[COMPILE_TEXT];
  snprintf(text, sizeof text, "%s/tests/data/portability.txt", top);
  snprintf(page, sizeof page, "%s/docs/portability.md", top);
  bool ok = table_write(&recorded, text);
  table_free(&recorded);
  ok = ok && table_read(&recorded, text); /* the page is of what the file says, whose figures are rounded */
  if (!ok || !page_write(&recorded, page, false) || !page_write(&recorded, "portability.html", true)) fault(top, "cannot be written");
}

int main(int argc, char **argv)
{
  const char *top = getenv("srcdir") ? getenv("srcdir") : ".", *target = getenv("KOINE_TEST_TARGET");
  bool write = argc > 2 && !strcmp(argv[1], "write"), all = write || (argc > 1 && !strcmp(argv[1], "all"));
  int at = write ? 3 : all ? 2 : 1;
  char path[COMPILE_TEXT];
  if (write) top = argv[2];
  only = argc > at ? argv[at] : NULL;
  snprintf(path, sizeof path, "%s/tests/data/portability.txt", top);
  if (!table_read(&recorded, path) && !write) fault(path, "cannot be read");
  now = (table){.versions = koi_alloc(n_targets, sizeof *now.versions)};
  for (size_t i = 0; i < n_targets; i++)
    if (target && *target ? !strcmp(target, targets[i].name) : all || targets[i].quick) run_target(&targets[i], write);
  if (write) write_all(top);
  else check_page(top);
  compile_close();
  table_free(&recorded);
  table_free(&now);
  printf("t_compile: %d compiled, %d skipped, %d faults\n", n_done, n_skipped, n_bad);
  return n_bad ? 1 : n_done ? 0 : 77;
}
