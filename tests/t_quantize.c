/* GGUF files that are written: the stored type of every tensor in every mix, the same model in floats, nothing left of what failed.
 *
 * usage: t_quantize               the tests
 *        t_quantize FOLDER TO     a checkpoint like FOLDER, whose every product has rows of a multiple of 256 values, into the folder TO */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "model/vocab.h"
#include "quant/quant.h"
#include "mix_types.h"
#include "remake.h"
#include "widen.h"

static char *dir, *wide, *thin;
static const char *austen(void)
{
  static char path[4200];
  snprintf(path, sizeof path, "%s/../../models/austen", remake_data("."));
  return path;
}

static int setup(void **state)
{
  (void)state;
  dir = remake_mkdir(), wide = remake_mkdir(), thin = remake_mkdir();
  widen(austen(), wide, 0);
  widen(austen(), thin, 2);
  return 0;
}

static int teardown(void **state)
{
  (void)state;
  remake_rmdir(wide);
  remake_rmdir(thin);
  remake_rmdir(dir);
  return 0;
}

static koine_status quantize(const char *from, const char *to, const koine_quantize_options *given)
{
  koine_model *m;
  koine_quantize_options o = *given;
  o.size = sizeof o;
  if (koine_model_open(from, &m)) fail_msg("%s", koine_last_error());
  koine_status s = koine_quantize(m, to, &o);
  koine_model_close(m);
  return s;
}

static char *make(const char *from, const char *name, const koine_quantize_options *o)
{
  char *file = koi_format("%s/%s.gguf", dir, name);
  if (quantize(from, file, o)) fail_msg("%s", koine_last_error());
  return file;
}

/* ---- the stored type of every tensor ---- */
/* All of them take a minute. */
static bool is_wanted(const char *mix)
{
  static const char *const usual[] = {"Q8_0", "MXFP4_MOE", "Q4_0", "Q3_K_M", "Q4_K_M", "IQ2_XXS", "IQ4_XS"};
  for (size_t i = 0; i < KOI_COUNT(usual); i++)
    if (!strcmp(usual[i], mix)) return true;
  return getenv("KOINE_TEST_ALL") != NULL;
}

static void test_types(void **state)
{
  (void)state;
  for (const mix_types *e = mix_types_all; e->mix; e++) {
    koine_quantize_options o = {.type = e->mix};
    if (!is_wanted(e->mix)) continue;
    char *file = make(thin, "mix", &o);
    mix_types_expect(file, e);
    koi_free(file);
  }
}

/* Rows of 192 and 128 values, which no block of 256 divides: refused by name, or the fallback and a line for each. */
static size_t n_lines;
static void count_line(void *user, koine_log_level level, const char *line)
{
  (void)user;
  if (level == KOINE_LOG_WARNING && strstr(line, "do not fit")) n_lines++;
}

static void test_widths(void **state)
{
  (void)state;
  char *file = koi_format("%s/narrow.gguf", dir);
  koine_quantize_options o = {.type = "Q4_K_M"};
  assert_int_equal(quantize(austen(), file, &o), KOINE_ERR_UNSUPPORTED);
  assert_non_null(strstr(koine_last_error(), "token_embd.weight: expected rows of a multiple of 256 values for Q4_K, found 192"));
  o.fallback = "Q9";
  assert_int_equal(quantize(austen(), file, &o), KOINE_ERR_ARG);
  o.fallback = "Q5_K";
  assert_int_equal(quantize(austen(), file, &o), KOINE_ERR_UNSUPPORTED);
  assert_true(access(file, F_OK) != 0);
  koine_log_set(count_line, NULL);
  static const mix_types usual = {"Q4_K_M", KOI_Q5_0, KOI_Q5_0, KOI_Q8_0, MIX_NO, MIX_NONE, {MIX_NO, MIX_NO, KOI_Q8_0, MIX_NO, KOI_Q8_0}};
  o.fallback = "usual";
  if (quantize(austen(), file, &o)) fail_msg("%s", koine_last_error());
  assert_int_equal(n_lines, 1 + 5 * 11 + 3 * 2 + 2 * 4); /* every one but the head, whose mix knows it */
  mix_types_expect(file, &usual);
  koine_log_set(NULL, NULL);
  koi_free(file);
}

/* ---- the same model ---- */
enum { N_TOKENS = 24 };
static float *logits_of(const char *path)
{
  koine_runtime *r;
  koine_model *m = NULL;
  koine_plan *p = NULL;
  koine_session *x = NULL;
  koine_plan_options po = KOINE_PLAN_OPTIONS_INIT;
  koine_session_options so = KOINE_SESSION_OPTIONS_INIT;
  koine_eval_options eo = KOINE_EVAL_OPTIONS_INIT;
  int32_t ids[N_TOKENS];
  for (int i = 0; i < N_TOKENS; i++) ids[i] = i ? (i * 131 + 7) % 2000 : 0;
  po.device = "host", po.cache = so.cache = KOINE_CACHE_EXACT, eo.n_logits = N_TOKENS;
  float *out = calloc((size_t)N_TOKENS * 2048, sizeof *out);
  koine_status s = koine_runtime_open(NULL, &r);
  if (!s) s = koine_model_open(path, &m);
  if (!s) s = koine_plan_make(r, m, &po, &p);
  if (!s) s = koine_plan_wake(p, NULL, NULL);
  if (!s) s = koine_session_open(p, &so, &x);
  if (!s) s = koine_session_eval(x, ids, N_TOKENS, &eo, out);
  if (s) fail_msg("%s: %s", path, koine_last_error());
  koine_session_close(x);
  koine_plan_free(p);
  koine_model_close(m);
  koine_runtime_close(r);
  return out;
}

/* The largest difference in parts of the range. */
static double apart(const float *a, const float *b)
{
  double most = 0, low = (double)a[0], high = (double)a[0];
  for (size_t i = 0; i < (size_t)N_TOKENS * 2048; i++) {
    double d = fabs((double)a[i] - (double)b[i]);
    most = d > most ? d : most, low = (double)a[i] < low ? (double)a[i] : low, high = (double)a[i] > high ? (double)a[i] : high;
  }
  return most / (high - low);
}

static void test_same_model(void **state)
{
  static const struct { const char *type; double most; } cases[] = {{"F32", 1e-6}, {"BF16", 1e-6}, {"F16", 1e-3}}; /* FP8 and FP4 fit BF16; small ones not F16 */
  (void)state;
  float *of = logits_of(austen()), *of_wide = logits_of(wide);
  if (!(apart(of, of_wide) < 1e-4)) fail_msg("the wide model: %g apart", apart(of, of_wide));
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    koine_quantize_options o = {.type = cases[i].type};
    char *file = make(austen(), cases[i].type, &o);
    float *got = logits_of(file);
    if (!(apart(of, got) <= cases[i].most)) fail_msg("%s: %g apart", cases[i].type, apart(of, got));
    free(got);
    koi_free(file);
  }
  free(of);
  free(of_wide);
}

/* Sizes, tokens and merges come back; a file of a file keeps what is not said anew. */
static void expect_same_meta(const char *folder, const char *file)
{
  static const char text[] = "It is a truth universally acknowledged, 123456 e\xcc\x81 <think>";
  koine_model *a, *b;
  koi_tok *ta, *tb;
  int32_t *ia, *ib;
  size_t na, nb;
  if (koi_model_open(folder, &a) || koi_model_open(file, &b) || koi_vocab_load(folder, &ta) || koi_vocab_load(file, &tb)) fail_msg("%s", koi_error_text());
  koi_config x = a->config, y = b->config;
  x.dense_format = y.dense_format, x.expert_format = y.expert_format, x.float_format = y.float_format; /* only used without tensors */
  x.hc_eps = y.hc_eps;
  assert_memory_equal(&x, &y, sizeof x);
  assert_int_equal(koi_tok_n_vocab(ta), koi_tok_n_vocab(tb));
  assert_int_equal(koi_tok_bos(ta), koi_tok_bos(tb));
  assert_int_equal(koi_tok_eos(ta), koi_tok_eos(tb));
  assert_int_equal(koi_tok_encode(ta, text, strlen(text), KOI_TOK_SPECIAL, &ia, &na), KOINE_OK);
  assert_int_equal(koi_tok_encode(tb, text, strlen(text), KOI_TOK_SPECIAL, &ib, &nb), KOINE_OK);
  assert_int_equal(na, nb);
  assert_memory_equal(ia, ib, na * sizeof *ia);
  koi_free(ia), koi_free(ib);
  koi_tok_free(ta), koi_tok_free(tb);
  koi_model_close(a), koi_model_close(b);
}

static void test_meta(void **state)
{
  (void)state;
  koine_quantize_options o = {.type = "F32"};
  char *first = make(austen(), "first", &o);
  expect_same_meta(austen(), first);
  o.type = "Q8_0";
  char *second = make(first, "second", &o), *direct = make(austen(), "direct", &o);
  expect_same_meta(austen(), second);
  koi_gguf *g, *h;
  assert_int_equal(koi_gguf_open(second, &g), KOINE_OK);
  assert_int_equal(koi_gguf_open(direct, &h), KOINE_OK);
  int64_t type = 0;
  assert_true(koi_gguf_int(koi_gguf_find(g, "general.file_type"), 0, &type) && type == 7);
  for (size_t i = 0; i < koi_weights_count(koi_gguf_weights(g)); i++) { /* whether through a file or at once */
    const koi_tensor *t = koi_weights_at(koi_gguf_weights(g), i), *u = koi_weights_find(koi_gguf_weights(h), t->name);
    assert_true(u && u->dtype == t->dtype && u->bytes == t->bytes);
    assert_memory_equal(t->data, u->data, t->bytes);
  }
  koi_gguf_close(g), koi_gguf_close(h);
  koi_free(first), koi_free(second), koi_free(direct);
}

/* Experts routed to and the shared one have limits of their own. */
static void test_limits(void **state)
{
  (void)state;
  char *path = koi_format("%s/config.json", thin), *config;
  size_t n;
  assert_int_equal(koi_file_read(path, 1 << 20, &config, &n), KOINE_OK);
  char *own = koi_format("{\"shared_swiglu_limit\": 7, %s", strchr(config, '{') + 1);
  remake_put(thin, "config.json", own, strlen(own));
  char *file = make(thin, "limits", &(koine_quantize_options){.type = "Q8_0"});
  expect_same_meta(thin, file);
  remake_put(thin, "config.json", config, n);
  koi_free(file), koi_free(own), koi_free(config), koi_free(path);
}

/* ---- threads ---- */
/* Whether two files have the same bytes. */
static bool same_files(const char *a, const char *b)
{
  FILE *f = fopen(a, "rb"), *g = fopen(b, "rb");
  int x = 0, y = 0;
  assert_true(f && g);
  while (x == y && x != EOF) x = getc(f), y = getc(g);
  fclose(f), fclose(g);
  return x == y;
}

static void test_threads(void **state)
{
  (void)state;
  koine_quantize_options o = {.type = "Q4_0", .n_threads = 1};
  char *one = make(austen(), "one", &o);
  o.n_threads = 5;
  char *five = make(austen(), "five", &o);
  assert_true(same_files(one, five));
  koi_free(one), koi_free(five);
}

/* ---- what fails leaves nothing ---- */
static size_t n_files(const char *folder)
{
  DIR *d = opendir(folder);
  size_t n = 0;
  for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
  closedir(d);
  return n;
}

static bool stop_soon(void *user, const char *what, uint64_t done, uint64_t total)
{
  (void)what, (void)done, (void)total;
  return --*(int *)user > 0;
}

static void test_failures(void **state)
{
  (void)state;
  char *own = remake_mkdir(), *file = koi_format("%s/x.gguf", own), *folder = remake_mkdir(), *bad = koi_format("%s/no/x.gguf", own);
  koine_quantize_options o = {.type = "Q8_0"};
  int left = 5;
  remake_put(own, "x.gguf", "old", 3);
  o.progress = stop_soon, o.user = &left;
  assert_int_equal(quantize(austen(), file, &o), KOINE_ERR_CANCELLED);
  o.progress = NULL;
  assert_int_equal(quantize(austen(), bad, &o), KOINE_ERR_FILE);
  assert_int_equal(quantize(austen(), own, &o), KOINE_ERR_FILE);
  o.type = "Q9_9";
  assert_int_equal(quantize(austen(), file, &o), KOINE_ERR_ARG);
  assert_non_null(strstr(koine_last_error(), "Q4_K_M"));
  remake r = remake_load(remake_data("tiny-float"));
  item *t = remake_find(&r, "layers.1.attn.wkv.weight");
  t->data[2 * 128 * 7 + 2 * 9] = 0xc0, t->data[2 * 128 * 7 + 2 * 9 + 1] = 0x7f; /* BF16's NaN at row 7, column 9 */
  remake_write_all(&r, folder);
  char *config, *from = koi_format("%s/config.json", remake_data("tiny-float"));
  size_t n;
  assert_int_equal(koi_file_read(from, 1 << 20, &config, &n), KOINE_OK);
  remake_put(folder, "config.json", config, n);
  o.type = "Q8_0";
  assert_int_equal(quantize(folder, file, &o), KOINE_ERR_FILE);
  assert_non_null(strstr(koine_last_error(), "blk.1.attn_kv.weight: matrix 0, row 7, column 9: expected a number, found"));
  static const char tokens[] = "{\"model\":{\"vocab\":{\"a\":0}},\"added_tokens\":{\"content\":\"b\",\"id\":1}}";
  remake_put(folder, "tokenizer.json", tokens, sizeof tokens - 1);
  assert_int_equal(quantize(folder, file, &o), KOINE_ERR_FILE);
  assert_non_null(strstr(koine_last_error(), "tokenizer.json: added_tokens: expected an array"));
  assert_int_equal(n_files(own), 1);
  char *text;
  assert_int_equal(koi_file_read(file, 100, &text, &n), KOINE_OK);
  assert_string_equal(text, "old");
  koi_free(text), koi_free(config), koi_free(from), koi_free(file), koi_free(bad);
  remake_free(&r);
  remake_rmdir(own), remake_rmdir(folder);
}

typedef struct change { const char *file; off_t to; bool done; } change;

static bool change_once(void *user, const char *what, uint64_t done, uint64_t total)
{
  change *c = user;
  (void)what, (void)done, (void)total;
  if (!c->done) assert_int_equal(truncate(c->file, c->to), 0);
  return c->done = true;
}

/* A file that becomes shorter while it is quantized, or is written to, is an error that names it; nothing comes of it. */
static void test_source_changes(void **state)
{
  (void)state;
  for (int grows = 0; grows < 2; grows++) {
    char *own = remake_mkdir(), *from = koi_format("%s/from.gguf", own), *to = koi_format("%s/to.gguf", own);
    koine_quantize_options o = {.size = sizeof o, .type = "Q8_0"};
    koine_model *m;
    struct stat st;
    assert_int_equal(quantize(austen(), from, &o), KOINE_OK);
    assert_int_equal(koine_model_open(from, &m), KOINE_OK);
    assert_int_equal(stat(from, &st), 0);
    change c = {from, grows ? st.st_size + 64 : st.st_size / 2, false};
    o.type = grows ? "Q8_0" : "Q4_0", o.progress = change_once, o.user = &c; /* copied, and made anew */
    assert_int_equal(koine_quantize(m, to, &o), KOINE_ERR_FILE);
    if (!strstr(koine_last_error(), grows ? "from.gguf" : "it became shorter")) fail_msg("%s", koine_last_error());
    assert_int_equal(n_files(own), 1);
    koine_model_close(m);
    koi_free(from), koi_free(to);
    remake_rmdir(own);
  }
}

/* ---- importance ---- */
static koine_importance *measure(uint32_t chunk)
{
  static const char text[] = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife. However little known";
  koine_runtime *r;
  koine_model *m;
  koine_plan *p;
  koine_session *x = NULL;
  koine_tokenizer *t;
  koine_importance *out = NULL;
  koine_plan_options po = KOINE_PLAN_OPTIONS_INIT;
  po.device = "host", po.chunk = chunk;
  if (koine_runtime_open(NULL, &r) || koine_model_open(austen(), &m) || koine_tokenizer_open(austen(), &t) || koine_plan_make(r, m, &po, &p) || koine_plan_wake(p, NULL, NULL) ||
      koine_session_open(p, NULL, &x) || koine_importance_measure(x, t, text, strlen(text), 20, NULL, NULL, &out))
    fail_msg("%s", koine_last_error());
  koine_session_close(x);
  koine_plan_free(p);
  koine_tokenizer_close(t);
  koine_model_close(m);
  koine_runtime_close(r);
  return out;
}

static void expect_alike(const koine_importance *a, const koine_importance *b, double most)
{
  assert_int_equal(a->n_entries, b->n_entries);
  for (size_t i = 0; i < a->n_entries; i++) {
    const koi_importance_entry *x = &a->v[i], *y = koi_importance_find(b, x->name);
    double all = 0;
    assert_true(y && y->k == x->k && y->n == x->n);
    assert_memory_equal(x->count, y->count, x->n * sizeof *x->count);
    for (uint64_t k = 0; k < x->k * x->n; k++) all += (double)x->sum[k];
    for (uint64_t k = 0; k < x->k * x->n; k++)
      if (fabs((double)x->sum[k] - (double)y->sum[k]) > most * all / (double)x->k + 1e-30) fail_msg("%s: %g and %g", x->name, (double)x->sum[k], (double)y->sum[k]);
  }
}

/* One by one and in chunks products take other ways, and are given the same; the file is read back as it was. */
static void test_importance(void **state)
{
  (void)state;
  koine_importance *one = measure(1), *many = measure(64), *back;
  char *file = koi_format("%s/importance.gguf", dir);
  expect_alike(one, many, 1e-3);
  const koi_importance_entry *e = koi_importance_find(one, "blk.3.ffn_down_exps.weight"), *q = koi_importance_find(one, "blk.3.attn_q_a.weight");
  assert_true(e && q && e->n == 16 && e->k == 128 && q->n == 1 && q->k == 192);
  double rows = 0;
  for (int i = 0; i < 16; i++) rows += (double)e->count[i];
  assert_true(q->count[0] > 20 && rows == 2 * (double)q->count[0]);
  koine_importance_close(many);
  assert_int_equal(koine_importance_save(one, file), KOINE_OK);
  assert_int_equal(koine_importance_open(file, &back), KOINE_OK);
  expect_alike(one, back, 0);
  koine_quantize_options o = {.type = "Q4_0", .importance = back};
  char *with = make(austen(), "with", &o);
  o.importance = NULL;
  char *without = make(austen(), "without", &o);
  assert_false(same_files(with, without));
  o.importance = back;
  assert_int_equal(quantize(wide, with, &o), KOINE_ERR_FILE); /* another model's */
  assert_non_null(strstr(koine_last_error(), "it is another model's"));
  assert_int_equal(koine_importance_open(without, &many), KOINE_ERR_FILE);
  koi_free(with), koi_free(without), koi_free(file);
  koine_importance_close(one), koine_importance_close(back);
}

int main(int argc, char **argv)
{
  const struct CMUnitTest all[] = {cmocka_unit_test(test_types), cmocka_unit_test(test_widths), cmocka_unit_test(test_same_model), cmocka_unit_test(test_meta),
                                   cmocka_unit_test(test_limits), cmocka_unit_test(test_threads), cmocka_unit_test(test_failures), cmocka_unit_test(test_source_changes), cmocka_unit_test(test_importance)};
  if (argc == 3) return widen(argv[1], argv[2], 0), 0;
  return cmocka_run_group_tests(all, setup, teardown);
}
