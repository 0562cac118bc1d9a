/* Models in GGUF files: bound to the same weights as the folder they were made of, with the same logits, bit by bit; and what a file says wrong.
 *
 * usage: t_gguf_model                         the tests
 *        t_gguf_model FOLDER FILE [q8]        makes FILE of a checkpoint's folder */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "make_gguf.h"
#include "model/model.h"
#include "remake.h"
#include "to_gguf.h"

/* ---- the same model ---- */
typedef struct other { const koine_model *m; size_t n; } other;

/* The bytes of a piece that needed no conversion. */
static bool same_bytes(const koi_piece *a, const koi_piece *b)
{
  if (a->weight->dtype != b->weight->dtype) return false;
  assert_int_equal(a->weight->bytes, b->weight->bytes);
  assert_memory_equal(a->weight->data, b->weight->data, a->weight->bytes);
  return true;
}

static void compare_weight(void *user, int layer, const koi_role *role, const koi_weight *w)
{
  other *o = user;
  bool top = layer < 0;
  size_t r = (size_t)(top ? role - koi_top_roles : role - koi_layer_roles);
  const koi_weight *x = top ? &o->m->top[r] : &o->m->layers[layer].w[r];
  assert_true(x->rows == w->rows && x->k == w->k && x->n_units == w->n_units && x->n_sub == w->n_sub && !x->experts == !w->experts);
  for (uint32_t u = 0; u < (w->experts ? w->n_units : 1); u++)
    for (uint32_t s = 0; s < w->n_sub; s++) o->n += same_bytes(koi_weight_piece(w, u, s), koi_weight_piece(x, u, s));
}

static void compare_models(const char *folder, const char *file, bool all_same)
{
  koine_model *a, *b;
  if (koi_model_open(folder, &a) || koi_model_open(file, &b)) fail_msg("%s", koi_error_text());
  koi_config x = a->config, y = b->config;
  x.dense_format = y.dense_format, x.expert_format = y.expert_format, x.float_format = y.float_format; /* only used without tensors */
  assert_memory_equal(&x, &y, sizeof x);
  other o = {b, 0};
  koi_model_visit(a, compare_weight, &o);
  assert_true(o.n > 20);
  uint64_t ids = (uint64_t)x.n_hash_layers * x.n_vocab * x.n_used; /* half as long in GGUF */
  if (all_same) assert_int_equal(koi_model_weight_bytes(a), koi_model_weight_bytes(b) + ids * 4);
  koi_model_close(a);
  koi_model_close(b);
}

/* ---- the same logits ---- */
enum { N_TOKENS = 40 };
static float *logits_of(const char *path, koine_cache cache, uint32_t *n_vocab)
{
  koine_runtime *r;
  koine_model *m = NULL;
  koine_plan *p = NULL;
  koine_session *x = NULL;
  koine_model_info info = KOINE_MODEL_INFO_INIT;
  koine_plan_options po = KOINE_PLAN_OPTIONS_INIT;
  koine_session_options so = KOINE_SESSION_OPTIONS_INIT;
  koine_eval_options eo = KOINE_EVAL_OPTIONS_INIT;
  int32_t ids[N_TOKENS];
  po.device = "host", po.cache = cache, eo.n_logits = N_TOKENS;
  koine_status s = koine_runtime_open(NULL, &r);
  if (!s) s = koine_model_open(path, &m);
  if (!s) s = koine_model_get_info(m, &info);
  for (int i = 0; i < N_TOKENS; i++) ids[i] = (int32_t)((uint32_t)(i * 131 + 7) % (s ? 1 : info.n_vocab));
  float *out = calloc((size_t)N_TOKENS * (s ? 1 : info.n_vocab), sizeof *out);
  if (!s) s = koine_plan_make(r, m, &po, &p);
  if (!s) s = koine_plan_wake(p, NULL, NULL);
  if (!s) s = koine_session_open(p, &so, &x);
  if (!s) s = koine_session_eval(x, ids, N_TOKENS, &eo, out);
  if (s) fail_msg("%s: %s", path, koine_last_error());
  *n_vocab = info.n_vocab;
  koine_session_close(x);
  koine_plan_free(p);
  koine_model_close(m);
  koine_runtime_close(r);
  return out;
}

static void compare_logits(const char *folder, const char *file, koine_cache cache)
{
  uint32_t n, n_file;
  float *a = logits_of(folder, cache, &n), *b = logits_of(file, cache, &n_file);
  assert_int_equal(n, n_file);
  assert_memory_equal(a, b, (size_t)N_TOKENS * n * sizeof *a);
  free(a);
  free(b);
}

static void test_float(void **state)
{
  (void)state;
  char *dir = remake_mkdir(), *folder = koi_strdup(remake_data("tiny-float")), *file = koi_format("%s/tiny.gguf", dir);
  char *part = koi_format("%s/tiny-00001-of-00003.gguf", dir);
  to_gguf(folder, file, TO_GGUF_PLAIN, 1);
  compare_models(folder, file, true);
  compare_logits(folder, file, KOINE_CACHE_EXACT);
  compare_logits(folder, file, KOINE_CACHE_PACKED);
  to_gguf(folder, part, TO_GGUF_PLAIN, 3);
  compare_models(folder, part, true);
  compare_logits(folder, part, KOINE_CACHE_EXACT);
  koi_free(file), koi_free(part), koi_free(folder);
  remake_rmdir(dir);
}

static void test_ds4(void **state)
{
  (void)state;
  char *dir = remake_mkdir(), *folder = koi_strdup(remake_data("tiny-float")), *file = koi_format("%s/ds4.gguf", dir);
  to_gguf(folder, file, TO_GGUF_DS4, 1);
  compare_models(folder, file, true);
  compare_logits(folder, file, KOINE_CACHE_EXACT);
  koi_free(file), koi_free(folder);
  remake_rmdir(dir);
}

/* FP8 as BF16 and FP4 as MXFP4 have the same values: the reference computes the same sums. */
static void test_quant(void **state)
{
  (void)state;
  char *dir = remake_mkdir(), *folder = koi_strdup(remake_data("tiny-quant")), *file = koi_format("%s/quant.gguf", dir);
  koine_model *m;
  to_gguf(folder, file, TO_GGUF_PLAIN, 1);
  assert_int_equal(koi_model_open(file, &m), KOINE_OK);
  assert_int_equal(m->layers[1].w[KOI_W_expert_up].format, KOI_WT_MXFP4);
  assert_int_equal(m->layers[1].w[KOI_W_wq_a].format, KOI_WT_BF16);
  koi_model_close(m);
  compare_logits(folder, file, KOINE_CACHE_EXACT);
  compare_logits(folder, file, KOINE_CACHE_PACKED);
  koi_free(file), koi_free(folder);
  remake_rmdir(dir);
}

/* Q8_0 is coarser than FP8: near its logits, and not the same. */
static void test_q8(void **state)
{
  (void)state;
  char *dir = remake_mkdir(), *folder = koi_strdup(remake_data("tiny-quant")), *file = koi_format("%s/q8.gguf", dir);
  koine_model *m;
  uint32_t n, i = 0;
  size_t far = 0;
  to_gguf(folder, file, TO_GGUF_Q8, 1);
  assert_int_equal(koi_model_open(file, &m), KOINE_OK);
  for (uint32_t l = 0; l < m->config.n_layers; l++) assert_int_equal(m->layers[l].w[KOI_W_wo_b].format, KOI_WT_Q8_0);
  const koi_weight *ape = &m->layers[1].w[KOI_W_comp_ape];
  assert_true(ape->dtype == KOI_Q8_0 && ape->piece[0].format == KOI_WT_Q8_0 && ape->format == KOI_WT_F32);
  koi_model_close(m);
  float *a = logits_of(folder, KOINE_CACHE_EXACT, &n), *b = logits_of(file, KOINE_CACHE_EXACT, &n), most = 0;
  for (i = 0; i < N_TOKENS * n; i++) most = fmaxf(most, fabsf(a[i]));
  for (i = 0; i < N_TOKENS * n; i++) far += fabsf(a[i] - b[i]) > most / 20;
  assert_true(memcmp(a, b, (size_t)N_TOKENS * n * sizeof *a) != 0);
  assert_in_range(far, 0, N_TOKENS * n / 20);
  free(a), free(b);
  koi_free(file), koi_free(folder);
  remake_rmdir(dir);
}

/* ---- text ---- */
static void test_tokens(void **state)
{
  (void)state;
  const char *top = getenv("srcdir");
  char *dir = remake_mkdir(), *folder = koi_format("%s/models/austen", top ? top : "."), *file = koi_format("%s/austen.gguf", dir), *text;
  char *readme = koi_format("%s/README.md", top ? top : ".");
  koine_tokenizer *t[2];
  int32_t *ids[2];
  size_t n[2], n_text;
  to_gguf(folder, file, TO_GGUF_DS4, 1);
  assert_int_equal(koi_file_read(readme, 1 << 20, &text, &n_text), KOINE_OK);
  for (int i = 0; i < 2; i++) {
    if (koine_tokenizer_open(i ? file : folder, &t[i])) fail_msg("%s", koine_last_error());
    assert_int_equal(koine_tokenize(t[i], text, n_text, KOINE_TOKENIZE_BOS | KOINE_TOKENIZE_SPECIAL, &ids[i], &n[i]), KOINE_OK);
  }
  assert_true(koine_tokenizer_n_vocab(t[0]) == koine_tokenizer_n_vocab(t[1]) && n[0] == n[1] && n[0] > 1000);
  assert_true(koine_tokenizer_bos(t[0]) == koine_tokenizer_bos(t[1]) && koine_tokenizer_eos(t[0]) == koine_tokenizer_eos(t[1]));
  assert_memory_equal(ids[0], ids[1], n[0] * sizeof *ids[0]);
  for (int i = 0; i < 2; i++) koine_ids_free(ids[i]), koine_tokenizer_close(t[i]);
  koi_free(text), koi_free(readme), koi_free(folder), koi_free(file);
  remake_rmdir(dir);
}

/* A file's chat template has the wording of prompts. */
static void test_template(void **state)
{
  (void)state;
  static const char json[] = "[{\"role\":\"system\",\"tools\":[{\"function\":{\"name\":\"f\"}}],\"content\":\"\"}]";
  char *dir = remake_mkdir(), *file = koi_format("%s/x.gguf", dir), *prompt;
  for (int has = 0; has < 2; has++) {
    make_gguf m = {0};
    koine_chat *chat;
    make_gguf_begin(&m, 3, 0, (uint64_t)has);
    if (has) make_gguf_text(&m, "tokenizer.chat_template", "{% set tools_header = 'Call one of:\\n' %}{% set tools_footer = '\\nOr none.' %}");
    else make_gguf_word(&m, 0, 8);
    remake_put(dir, "x.gguf", m.s, m.n);
    make_gguf_free(&m);
    if (koine_chat_open(file, &chat) || koine_chat_prompt(chat, NULL, json, sizeof json - 1, NULL, &prompt, NULL, NULL, NULL)) fail_msg("%s", koine_last_error());
    assert_true(!strstr(prompt, "Call one of:\n{\"name\": \"f\"}\n\nOr none.") == !has);
    koi_free(prompt);
    koine_chat_close(chat);
  }
  koi_free(file);
  remake_rmdir(dir);
}

/* ---- what a file says wrong ---- */
static void expect(const uint8_t *p, size_t n, koine_status want, const char *fragment)
{
  char *dir = remake_mkdir(), *file = koi_format("%s/x.gguf", dir);
  koine_model *m;
  remake_put(dir, "x.gguf", p, n);
  koine_status s = koi_model_open(file, &m);
  if (!s) koi_model_close(m);
  if (s != want || (s && (!strstr(koi_error_text(), fragment) || !strstr(koi_error_text(), "x.gguf"))))
    fail_msg("expected %d with \"%s\", found %d \"%s\"", want, fragment, s, koi_error_text());
  koi_free(file);
  remake_rmdir(dir);
}

static void test_architectures(void **state)
{
  (void)state;
  make_gguf m = {0};
  make_gguf_begin(&m, 3, 0, 0);
  make_gguf_word(&m, 0, 8);
  expect(m.s, m.n, KOINE_ERR_FILE, "general.architecture: expected \"deepseek4\" (DeepSeek V4), found no text");
  make_gguf_free(&m);
  make_gguf_begin(&m, 3, 0, 1);
  make_gguf_text(&m, "general.architecture", "llama");
  expect(m.s, m.n, KOINE_ERR_FILE, "found \"llama\"");
  make_gguf_free(&m);
  make_gguf_begin(&m, 3, 0, 1);
  make_gguf_text(&m, "general.architecture", "deepseek4");
  expect(m.s, m.n, KOINE_ERR_FILE, "deepseek4.block_count: expected an integer, found no such key");
  make_gguf_free(&m);
}

/* The bytes of a model as a file. */
static char *made(const char *name, to_gguf_kind kind, const char *file, size_t *n)
{
  char *text = malloc(64 << 20);
  to_gguf(remake_data(name), file, kind, 1);
  FILE *f = fopen(file, "rb");
  assert_true(f && text);
  *n = fread(text, 1, 64 << 20, f);
  fclose(f);
  return text;
}

/* A text of the file in another's place, of the same length: keys that are gone, tensors with another name. */
static void test_replaced(void **state)
{
  (void)state;
  static const struct { const char *from, *to, *fragment; } cases[] = {
    {"deepseek4.embedding_length", "deepseek4.embedding_lengtX", "deepseek4.embedding_length: expected an integer"},
    {"deepseek4.expert_gating_func", "deepseek4.expert_gating_funX", "deepseek4.expert_gating_func: expected 1, 2 or 4"},
    {"attention.compress_ratios", "attention.compress_ratioX", "attention.compress_ratios: expected an array"},
    {"blk.1.attn_q_a.weight", "blk.1.attn_q_X.weight", "blk.1.attn_q_a.weight: expected this tensor"},
    {"blk.2.ffn_up_exps.weight", "blk.2.ffn_up_expX.weight", "blk.2.ffn_up_exps.weight: expected this tensor"},
    {"blk.0.hc_attn_fn.weight", "blk.9.hc_attn_fn.weight", "blk.0.hc_attn_fn.weight: expected this tensor"},
    {"output_norm.weight", "output_nork.weight", "output_norm.weight: expected this tensor"},
  };
  size_t n;
  char *dir = remake_mkdir(), *file = koi_format("%s/tiny.gguf", dir), *text = made("tiny-float", TO_GGUF_PLAIN, file, &n);
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    char *at = memmem(text, n, cases[i].from, strlen(cases[i].from));
    assert_non_null(at);
    memcpy(at, cases[i].to, strlen(cases[i].to));
    expect((uint8_t *)text, n, KOINE_ERR_FILE, cases[i].fragment);
    memcpy(at, cases[i].from, strlen(cases[i].from));
  }
  expect((uint8_t *)text, n, KOINE_OK, "");
  free(text);
  koi_free(file);
  remake_rmdir(dir);
}

/* The model with a text of its file in another's place. */
static koine_model *opened_with(const char *dir, char *text, size_t n, const char *from, const char *to)
{
  koine_model *m;
  char *at = memmem(text, n, from, strlen(from)), *file = koi_format("%s/tiny.gguf", dir);
  assert_non_null(at);
  memcpy(at, to, strlen(to));
  remake_put(dir, "tiny.gguf", text, n);
  memcpy(at, from, strlen(from));
  if (koi_model_open(file, &m)) fail_msg("%s: %s", to, koi_error_text());
  koi_free(file);
  return m;
}

/* Settings that a file need not say, or may say otherwise. */
static void test_settings(void **state)
{
  (void)state;
  static const struct { const char *from, *to; double theta; bool yarn; } cases[] = {
    {"deepseek4.rope.freq_base", "deepseek4.rope.freq_basX", 10000, true}, /* as everywhere in GGUF */
    {"deepseek4.rope.scaling.type", "deepseek4.rope.scaling.typX", 1000, true},
    {"yarn", "none", 1000, false},
  };
  size_t n;
  char *dir = remake_mkdir(), *file = koi_format("%s/tiny.gguf", dir), *text = made("tiny-float", TO_GGUF_PLAIN, file, &n);
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    koine_model *m = opened_with(dir, text, n, cases[i].from, cases[i].to);
    assert_true(m->config.rope_theta == cases[i].theta && m->config.yarn.on == cases[i].yarn);
    koi_model_close(m);
  }
  free(text);
  koi_free(file);
  remake_rmdir(dir);
}

/* Names that decide what a file is: without a head the embedding stands for it; a block that predicts further tokens is no layer. */
static void test_without(void **state)
{
  (void)state;
  static const struct { const char *from, *to; bool tied; } cases[] = {
    {"output.weight", "outpuX.weight", true}, {"blk.3.attn_norm.weight", "blk.3.nextn.nor.weight", false}};
  size_t n;
  char *dir = remake_mkdir(), *file = koi_format("%s/tiny.gguf", dir), *text = made("tiny-float", TO_GGUF_DS4, file, &n);
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    koine_model *m = opened_with(dir, text, n, cases[i].from, cases[i].to);
    assert_true(koi_model_tied(m) == cases[i].tied);
    assert_int_equal(m->config.n_layers, cases[i].tied ? 4 : 3);
    assert_int_equal(m->n_mtp_tensors > 20, !cases[i].tied);
    koi_model_close(m);
  }
  free(text);
  koi_free(file);
  remake_rmdir(dir);
}

/* A format without kernels: the model opens and is described, and no plan is made of it. */
static void test_cannot(void **state)
{
  (void)state;
  size_t n;
  char *dir = remake_mkdir(), *file = koi_format("%s/q8.gguf", dir), *text = made("tiny-quant", TO_GGUF_Q8, file, &n), *told;
  uint8_t *at = memmem(text, n, "blk.0.hc_attn_fn.weight", 23);
  assert_non_null(at);
  at += 23 + 4 + 2 * 8; /* behind the name, the number of dimensions and both of them: the type */
  assert_int_equal(at[0], 0);
  at[0] = 19; /* IQ1_S: shorter, so what lies behind stays where it is */
  remake_put(dir, "q8.gguf", text, n);
  koine_runtime *r;
  koine_model *m;
  koine_plan *p;
  koine_plan_options o = KOINE_PLAN_OPTIONS_INIT;
  o.device = "host";
  assert_int_equal(koine_runtime_open(NULL, &r), KOINE_OK);
  if (koine_model_open(file, &m)) fail_msg("%s", koine_last_error());
  assert_int_equal(koine_model_describe(m, NULL, 0, false, &told), KOINE_OK);
  assert_non_null(strstr(told, "blk.0.hc_attn_fn.weight is stored in IQ1_S, which cannot be run yet: expected F32, F16, BF16, MXFP4, Q8_0"));
  assert_int_equal(koine_plan_make(r, m, &o, &p), KOINE_ERR_UNSUPPORTED);
  assert_non_null(strstr(koine_last_error(), "blk.0.hc_attn_fn.weight is stored in IQ1_S"));
  koine_model_close(m);
  koine_runtime_close(r);
  koi_free(told), koi_free(file);
  free(text);
  remake_rmdir(dir);
}

/* Bytes of the header changed, one, two or three at a time: a model, or one line that names the file. */
static void test_mutated(void **state)
{
  (void)state;
  enum { MUTANTS = 200, HEADER = 8000 };
  size_t n, refused = 0;
  char *dir = remake_mkdir(), *file = koi_format("%s/x.gguf", dir), *text = made("tiny-quant", TO_GGUF_Q8, file, &n);
  uint64_t seed = 88172645463325252u;
  for (int i = 0; i < MUTANTS; i++) {
    char *copy = malloc(n);
    assert_non_null(copy);
    memcpy(copy, text, n);
    for (int k = 0; k <= i % 3; k++) {
      seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
      copy[seed % HEADER] = (char)(seed >> 32);
    }
    remake_put(dir, "x.gguf", copy, n - (i % 10 ? 0 : seed % n)); /* some are short, too */
    free(copy);
    koine_model *m;
    koine_status s = koi_model_open(file, &m);
    if (!s) koi_model_close(m);
    else if (s != KOINE_ERR_FILE || strchr(koi_error_text(), '\n') || !strstr(koi_error_text(), "x.gguf")) fail_msg("mutant %d: %d \"%s\"", i, s, koi_error_text());
    refused += s != KOINE_OK;
  }
  assert_in_range(refused, MUTANTS / 2, MUTANTS);
  free(text);
  koi_free(file);
  remake_rmdir(dir);
}

int main(int argc, char **argv)
{
  const struct CMUnitTest all[] = {cmocka_unit_test(test_float), cmocka_unit_test(test_ds4), cmocka_unit_test(test_quant), cmocka_unit_test(test_q8), cmocka_unit_test(test_tokens), cmocka_unit_test(test_template), cmocka_unit_test(test_architectures), cmocka_unit_test(test_replaced), cmocka_unit_test(test_settings), cmocka_unit_test(test_without),
                                   cmocka_unit_test(test_cannot), cmocka_unit_test(test_mutated)};
  if (argc > 2) return to_gguf(argv[1], argv[2], argc > 3 && !strcmp(argv[3], "q8") ? TO_GGUF_Q8 : TO_GGUF_PLAIN, 1), 0;
  return cmocka_run_group_tests(all, NULL, NULL);
}
