/* Answers through the public header on models/austen: why they end, the stream of pieces against parsing by ids, JSON whatever bytes come,
 * the sampler's history, what the log's areas let through. KOINE_TEST_MODEL: another checkpoint. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/jscan.h"
#include "device/machine.h"

enum { CONTEXT = 96 };
static const char *folder;
static koine_runtime *rt;
static koine_model *model;
static koine_plan *plan;
static koine_session *session;
static koine_tokenizer *tokenizer;
static koine_chat *chat;

#define OK(call) do { if (call) fail_msg("%s: %s", #call, koine_last_error()); } while (0)

static int setup(void **state)
{
  (void)state;
  koine_runtime_options r = KOINE_RUNTIME_OPTIONS_INIT;
  koine_plan_options p = KOINE_PLAN_OPTIONS_INIT;
  koine_session_options s = KOINE_SESSION_OPTIONS_INIT;
  r.cache_dir = "", p.device = "host", s.context = CONTEXT;
  OK(koine_runtime_open(&r, &rt));
  OK(koine_model_open(folder, &model));
  OK(koine_tokenizer_open(folder, &tokenizer));
  OK(koine_chat_open(folder, &chat));
  OK(koine_plan_make(rt, model, &p, &plan));
  OK(koine_plan_wake(plan, NULL, NULL));
  OK(koine_session_open(plan, &s, &session));
  return 0;
}

static int teardown(void **state)
{
  (void)state;
  koine_session_close(session);
  koine_plan_free(plan);
  koine_chat_close(chat);
  koine_tokenizer_close(tokenizer);
  koine_model_close(model);
  koine_runtime_close(rt);
  return 0;
}

/* ---- an answer, gathered in all its forms ---- */
typedef struct gathered {
  char part[4][16384];
  size_t n[4], n_text;
  char text[16384];
  int32_t ids[CONTEXT];
  size_t n_ids, stop_after; /* tokens; 0: never */
  size_t stop_text;         /* callbacks of text; 0: never */
} gathered;

static bool on_part(void *user, koine_chat_part part, const char *text, size_t n)
{
  gathered *g = user;
  assert_true(n > 0 && g->n[part] + n < sizeof g->part[part]);
  memcpy(g->part[part] + g->n[part], text, n);
  g->n[part] += n;
  return true;
}

static bool on_text(void *user, const char *text, size_t n)
{
  gathered *g = user;
  assert_true(n > 0 && g->n_text + n < sizeof g->text);
  memcpy(g->text + g->n_text, text, n);
  g->n_text += n;
  return !g->stop_text || --g->stop_text;
}

static bool on_token(void *user, int32_t id)
{
  gathered *g = user;
  g->ids[g->n_ids++] = id;
  return g->n_ids != g->stop_after;
}

/* The text of one string member of an object. */
static char *member(const char *json, const char *key, size_t *n)
{
  koi_jscan j = {.s = json, .n = strlen(json), .zeros = true};
  char name[64], *text = malloc(strlen(json) + 1);
  size_t len;
  koi_jscan_open(&j, '{');
  for (size_t i = 0; koi_jscan_more(&j, '}', &i);) {
    assert_true(koi_jscan_key(&j, name, sizeof name, &len));
    if (!strcmp(name, key)) assert_true(koi_jscan_string(&j, text, strlen(json) + 1, n));
    else assert_true(koi_jscan_skip(&j));
  }
  assert_true(koi_jscan_end(&j)); /* strict: UTF-8 too */
  return text;
}

static void expect_member(const char *json, const char *key, const char *want, size_t n_want)
{
  size_t n = SIZE_MAX;
  char *text = member(json, key, &n);
  if (n != n_want || memcmp(text, want, n)) fail_msg("%s is '%.*s', expected '%.*s'", key, (int)n, text, (int)n_want, want);
  free(text);
}

static size_t ask(koine_thinking thinking, int32_t **ids)
{
  static const char json[] = "[{\"role\":\"user\",\"content\":\"How is your sister?\"}]";
  koine_chat_options o = KOINE_CHAT_OPTIONS_INIT;
  size_t n = 0;
  o.thinking = thinking;
  OK(koine_chat_prompt(chat, tokenizer, json, strlen(json), &o, NULL, NULL, ids, &n));
  return n;
}

/* Wild answers: control tokens in odd places, bytes that are no UTF-8. Their pieces, and the JSON, are what parsing by ids gives. */
static void wild(uint64_t seed, koine_thinking thinking)
{
  gathered *g = calloc(1, sizeof *g);
  koine_chat_stream *stream = NULL, *by_ids = NULL;
  koine_generate_options o = KOINE_GENERATE_OPTIONS_INIT;
  int32_t *prompt = NULL, *ids = NULL;
  size_t n_prompt = ask(thinking, &prompt), n = 0;
  char *whole = NULL, *streamed = NULL, *fed = NULL;
  koine_stop stop;
  OK(koine_chat_stream_open(tokenizer, thinking, on_part, g, &stream));
  o.sampling.temperature = 8, o.sampling.seed = seed, o.stream = stream, o.n_predict = 60, o.token = on_token, o.user = g;
  OK(koine_generate(session, tokenizer, prompt, n_prompt, &o, &ids, &n, &stop));
  assert_true(g->n_ids == n && !memcmp(g->ids, ids, n * sizeof *ids));
  OK(koine_chat_stream_end(stream, &streamed));
  OK(koine_chat_parse_ids(tokenizer, ids, n, thinking, &whole));
  assert_string_equal(streamed, whole);
  expect_member(whole, "reasoning_content", g->part[KOINE_CHAT_REASONING], g->n[KOINE_CHAT_REASONING]);
  expect_member(whole, "content", g->part[KOINE_CHAT_CONTENT], g->n[KOINE_CHAT_CONTENT]);
  OK(koine_chat_stream_open(tokenizer, thinking, NULL, NULL, &by_ids));
  for (size_t i = 0; i < n; i++) OK(koine_chat_stream_feed_ids(by_ids, &ids[i], 1));
  OK(koine_chat_stream_end(by_ids, &fed));
  assert_string_equal(fed, whole);
  koine_chat_stream_close(stream), koine_chat_stream_close(by_ids);
  koine_text_free(whole), koine_text_free(streamed), koine_text_free(fed);
  koine_ids_free(prompt), koine_ids_free(ids);
  free(g);
}

static void test_wild(void **state)
{
  (void)state;
  for (uint64_t seed = 1; seed <= 8; seed++) wild(seed, seed % 2 ? KOINE_THINK_OFF : KOINE_THINK_HIGH);
}

/* Markup that a model writes in ordinary tokens is text, whether it quotes or not. */
static void test_quoted(void **state)
{
  (void)state;
  static const char quoted[] = "a </think> b <\xEF\xBD\x9C" "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C> <\xEF\xBD\x9C" "DSML\xEF\xBD\x9Ctool_calls> c";
  int32_t *ids = NULL, *end = NULL, *all;
  size_t n = 0, n_end = 0;
  char *json = NULL;
  OK(koine_tokenize(tokenizer, quoted, strlen(quoted), 0, &ids, &n));
  OK(koine_tokenize(tokenizer, "</think>", 8, KOINE_TOKENIZE_SPECIAL, &end, &n_end));
  assert_int_equal(n_end, 1);
  all = malloc((2 * n + 2) * sizeof *all);
  memcpy(all, ids, n * sizeof *ids), all[n] = end[0], memcpy(all + n + 1, ids, n * sizeof *ids), all[2 * n + 1] = koine_tokenizer_eos(tokenizer);
  OK(koine_chat_parse_ids(tokenizer, all, 2 * n + 2, KOINE_THINK_HIGH, &json));
  expect_member(json, "reasoning_content", quoted, strlen(quoted));
  expect_member(json, "content", quoted, strlen(quoted));
  assert_null(strstr(json, "defects"));
  koine_text_free(json);
  koine_ids_free(ids), koine_ids_free(end);
  free(all);
}

/* ---- why an answer ends ---- */
static koine_stop run(const koine_generate_options *o, size_t *n_out)
{
  int32_t *prompt = NULL, *ids = NULL;
  size_t n_prompt = ask(KOINE_THINK_OFF, &prompt);
  koine_stop stop = (koine_stop)99;
  OK(koine_generate(session, tokenizer, prompt, n_prompt, o, &ids, n_out, &stop));
  if (stop == KOINE_STOP_CONTEXT) assert_int_equal(n_prompt + *n_out, CONTEXT);
  koine_ids_free(prompt), koine_ids_free(ids);
  return stop;
}

static bool refuse_part(void *user, koine_chat_part part, const char *text, size_t n)
{
  (void)user, (void)part, (void)text, (void)n;
  return false;
}

static void test_stops(void **state)
{
  (void)state;
  gathered *g = calloc(1, sizeof *g);
  koine_generate_options o = KOINE_GENERATE_OPTIONS_INIT;
  size_t n = 0;
  char stop_text[4];
  const char *const stops[] = {stop_text};
  o.user = g;
  assert_int_equal(run(&o, &n), KOINE_STOP_CONTEXT);
  o.n_predict = 10 * CONTEXT;
  assert_int_equal(run(&o, &n), KOINE_STOP_CONTEXT);
  o.n_predict = 7, o.text = on_text;
  assert_int_equal(run(&o, &n), KOINE_STOP_LENGTH);
  assert_int_equal(n, 7);
  assert_true(g->n_text > 8);
  memcpy(stop_text, g->text + 4, 3), stop_text[3] = 0;
  o.stops = stops, o.n_stops = 1;
  assert_int_equal(run(&o, &n), KOINE_STOP_TEXT);
  assert_true(n < 7);
  o.n_stops = 0, o.token = on_token, g->n_ids = 0, g->stop_after = 3;
  assert_int_equal(run(&o, &n), KOINE_STOP_CALLER);
  assert_int_equal(n, 3);
  o.token = NULL, g->stop_text = 1, g->n_text = 0;
  assert_int_equal(run(&o, &n), KOINE_STOP_CALLER);
  o.text = NULL;
  OK(koine_chat_stream_open(tokenizer, KOINE_THINK_OFF, refuse_part, NULL, &o.stream));
  assert_int_equal(run(&o, &n), KOINE_STOP_CALLER);
  char *json = NULL;
  assert_int_equal(koine_chat_stream_end(o.stream, &json), KOINE_ERR_CANCELLED);
  assert_non_null(json);
  assert_int_equal(koine_chat_stream_end(o.stream, NULL), KOINE_ERR_STATE);
  koine_text_free(json);
  koine_chat_stream_close(o.stream);
  for (int stop = KOINE_STOP_EOS; stop <= KOINE_STOP_CONTEXT; stop++) assert_null(strstr(koine_stop_text((koine_stop)stop), "unknown"));
  assert_non_null(strstr(koine_stop_text((koine_stop)5), "unknown"));
  free(g);
}

/* A stop text ends the streamed answer too, before it. */
static void test_stop_in_stream(void **state)
{
  (void)state;
  koine_generate_options o = KOINE_GENERATE_OPTIONS_INIT;
  const char *stops[] = {NULL};
  gathered *g = calloc(1, sizeof *g);
  size_t n = 0;
  char stop[4], *json = NULL;
  o.n_predict = 12, o.text = on_text, o.user = g;
  run(&o, &n);
  memcpy(stop, g->text + 9, 3), stop[3] = 0, stops[0] = stop;
  size_t n_before = (size_t)(strstr(g->text, stop) - g->text);
  OK(koine_chat_stream_open(tokenizer, KOINE_THINK_OFF, NULL, NULL, &o.stream));
  o.text = NULL, o.stops = stops, o.n_stops = 1;
  assert_int_equal(run(&o, &n), KOINE_STOP_TEXT);
  OK(koine_chat_stream_end(o.stream, &json));
  expect_member(json, "content", g->text, n_before);
  koine_text_free(json);
  koine_chat_stream_close(o.stream);
  free(g);
}

/* ---- step by step ---- */
/* The same tokens and text as koine_generate's; it says when it has ended, and takes no more. Stop texts hold behind a token alone where that was asked. */
static void test_steps(void **state)
{
  (void)state;
  koine_generate_options o = KOINE_GENERATE_OPTIONS_INIT;
  koine_model_info info = KOINE_MODEL_INFO_INIT;
  gathered *g = calloc(1, sizeof *g), *h = calloc(1, sizeof *h);
  koine_answer *a;
  koine_stop stop = (koine_stop)99;
  int32_t *prompt = NULL, *ids = NULL;
  size_t n_prompt = ask(KOINE_THINK_OFF, &prompt), n = 0, n_all = 0;
  int which = 99;
  OK(koine_model_get_info(model, &info));
  float *logits = calloc(info.n_vocab, sizeof *logits);
  o.n_predict = 9, o.text = on_text, o.user = g, o.sampling.temperature = 1, o.sampling.seed = 5;
  OK(koine_generate(session, tokenizer, prompt, n_prompt, &o, &ids, &n, &stop));
  o.user = h;
  OK(koine_answer_open(tokenizer, info.n_vocab, CONTEXT, prompt, n_prompt, &o, &a));
  while (!koine_answer_is_ended(a)) {
    const int32_t *tokens = koine_answer_tokens(a, &n_all);
    OK(koine_session_eval(session, tokens, n_all, NULL, logits));
    OK(koine_answer_take(a, logits));
  }
  assert_int_equal(koine_answer_take(a, logits), KOINE_ERR_STATE);
  OK(koine_answer_end(a, &stop, &which));
  assert_true(stop == KOINE_STOP_LENGTH && which == -1);
  const int32_t *tokens = koine_answer_tokens(a, &n_all);
  assert_true(n_all == n_prompt + n && !memcmp(tokens + n_prompt, ids, n * sizeof *ids));
  assert_true(g->n_text == h->n_text && !memcmp(g->text, h->text, g->n_text));
  koine_answer_close(a);
  assert_int_equal(koine_answer_open(tokenizer, info.n_vocab, n_prompt - 1, prompt, n_prompt, &o, &a), KOINE_ERR_ARG);
  char word[4] = {0};
  const char *stops[] = {"x", word};
  memcpy(word, g->text + 2, 3), o.stops = stops, o.n_stops = 2, o.stops_after = "</think>", h->n_text = 0;
  assert_int_equal(run(&o, &n), KOINE_STOP_LENGTH);
  o.stops_after = NULL;
  assert_int_equal(run(&o, &n), KOINE_STOP_TEXT);
  koine_ids_free(prompt), koine_ids_free(ids);
  free(logits), free(g), free(h);
}

/* ---- choosing ---- */
static void test_sampler(void **state)
{
  (void)state;
  size_t n_vocab = koine_tokenizer_n_vocab(tokenizer);
  float *logits = malloc(n_vocab * sizeof *logits);
  int32_t eos = koine_tokenizer_eos(tokenizer), word = 300, other = 301, id;
  koine_sampling p = KOINE_SAMPLING_INIT;
  koine_sampler *k = NULL;
  for (size_t i = 0; i < n_vocab; i++) logits[i] = -9;
  logits[word] = 3, logits[other] = 2.8f;
  p.repetition_penalty = 1.5f, p.tokenizer = tokenizer;
  OK(koine_sampler_open(&p, n_vocab, &k));
  OK(koine_sample(k, logits, NULL, 0, &id)); assert_int_equal(id, word);
  OK(koine_sample(k, logits, &word, 1, &id)); assert_int_equal(id, other);
  OK(koine_sample(k, logits, NULL, 0, &id)); assert_int_equal(id, word);   /* the history that is shown, not the one before */
  OK(koine_sample(k, logits, &other, 1, &id)); assert_int_equal(id, word);
  OK(koine_sample(k, logits, &word, 1, &id)); assert_int_equal(id, other); /* as long, but another */
  logits[eos] = 2.9f, logits[word] = 2.85f;
  OK(koine_sample(k, logits, &eos, 1, &id)); assert_int_equal(id, eos);    /* control tokens take no part */
  koine_sampler_close(k);
  const int32_t ends[] = {0, word, 1, word};
  logits[1] = 2.9f, logits[word] = 2.85f, logits[other] = -9, p.tokenizer = NULL; /* nor do the beginning and the end without a tokenizer */
  OK(koine_sampler_open(&p, n_vocab, &k));
  OK(koine_sample(k, logits, ends, 4, &id)); assert_int_equal(id, 1);
  koine_sampler_close(k);
  p = (koine_sampling)KOINE_SAMPLING_INIT, p.temperature = 3, p.seed = 5;
  OK(koine_sampler_open(&p, n_vocab, &k));
  int32_t first[20], again[20];
  for (int i = 0; i < 20; i++) OK(koine_sample(k, logits, NULL, 0, &first[i]));
  koine_sampler_reset(k);
  for (int i = 0; i < 20; i++) OK(koine_sample(k, logits, NULL, 0, &again[i]));
  assert_memory_equal(first, again, sizeof first);
  for (int i = 0; i < 20; i++) OK(koine_sample(k, logits, NULL, 0, &again[i]));
  assert_memory_not_equal(first, again, sizeof first);
  koine_sampler_close(k);
  free(logits);
}

/* ---- the beginning token, once ---- */
static void test_bos(void **state)
{
  (void)state;
  int32_t *prompt = NULL, *ids = NULL;
  size_t n_prompt = ask(KOINE_THINK_OFF, &prompt), n = 0, n_bytes;
  char *text = NULL;
  OK(koine_detokenize(tokenizer, prompt, n_prompt, true, &text, &n_bytes));
  OK(koine_tokenize(tokenizer, text, n_bytes, KOINE_TOKENIZE_SPECIAL | KOINE_TOKENIZE_BOS, &ids, &n));
  assert_int_equal(n, n_prompt);
  assert_memory_equal(ids, prompt, n * sizeof *ids);
  koine_ids_free(ids);
  assert_int_equal(koine_tokenize(tokenizer, text, n_bytes, 4, &ids, &n), KOINE_ERR_ARG); /* a flag of another release */
  OK(koine_tokenize(tokenizer, text, n_bytes, KOINE_TOKENIZE_BOS, &ids, &n)); /* as text it is not one */
  assert_true(n > n_prompt);
  koine_ids_free(ids), koine_ids_free(prompt);
  koine_text_free(text);
}

/* ---- the log, and where files go ---- */
static int n_lines;
static koine_log_area area;

static void on_line(void *user, koine_log_level level, const char *line)
{
  (void)user, (void)line;
  n_lines += level == KOINE_LOG_WARNING;
  area = koine_log_area_now();
}

static void test_log(void **state)
{
  (void)state;
  koine_session_options o = KOINE_SESSION_OPTIONS_INIT;
  koine_session *s = NULL;
  o.context = 1 << 20; /* more than the checkpoint was made for: a warning of the engine */
  koine_log_set(on_line, NULL);
  for (int i = 0; i < 3; i++) {
    n_lines = 0;
    koine_log_set_areas(i == 1 ? KOINE_LOG_ENGINE : KOINE_LOG_ALL, i == 1 ? (koine_log_level)2 : KOINE_LOG_NOTE);
    OK(koine_session_open(plan, &o, &s));
    koine_session_close(s);
    assert_int_equal(n_lines, i == 1 ? 0 : 1);
  }
  assert_int_equal(area, KOINE_LOG_ENGINE);
  koine_log_set(NULL, NULL);
}

static void test_cache_dir(void **state)
{
  (void)state;
  static const struct { const char *xdg, *home, *wanted, *found; } cases[] = {
    {"/x", "/h", NULL, "/x/koine"}, {NULL, "/h", NULL, "/h/.cache/koine"}, {"relative", "/h", NULL, "/h/.cache/koine"}, {NULL, NULL, NULL, NULL},
    {"/x", "/h", "", NULL}, {"/x", "/h", "/mine", "/mine"},
  };
  char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  xdg = xdg ? strdup(xdg) : NULL, home = home ? strdup(home) : NULL;
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    koine_runtime_options o = KOINE_RUNTIME_OPTIONS_INIT;
    koine_runtime *r = NULL;
    o.cache_dir = cases[i].wanted, o.n_threads = 3;
    if (cases[i].xdg) setenv("XDG_CACHE_HOME", cases[i].xdg, 1); else unsetenv("XDG_CACHE_HOME");
    if (cases[i].home) setenv("HOME", cases[i].home, 1); else unsetenv("HOME");
    OK(koine_runtime_open(&o, &r));
    assert_int_equal(r->n_threads, 3);
    if (cases[i].found) assert_string_equal(r->cache_dir, cases[i].found);
    else assert_null(r->cache_dir);
    koine_runtime_close(r);
  }
  if (xdg) setenv("XDG_CACHE_HOME", xdg, 1); else unsetenv("XDG_CACHE_HOME");
  if (home) setenv("HOME", home, 1); else unsetenv("HOME");
  free(xdg), free(home);
}

/* Messages quote files: nothing in them reaches a terminal as a control character. */
static void test_messages(void **state)
{
  (void)state;
  koine_model *m = NULL;
  assert_int_equal(koine_model_open("/no\x1b]0;title\x07\xc2\x9b\n\xed\xa0\x80/folder \xc3\xa9", &m), KOINE_ERR_FILE);
  assert_non_null(strstr(koine_last_error(), "/no\\x1b]0;title\\x07\\xc2\\x9b\\x0a\\xed\\xa0\\x80/folder \xc3\xa9"));
}

int main(void)
{
  static char own[1024];
  const char *top = getenv("srcdir");
  snprintf(own, sizeof own, "%s/models/austen", top ? top : ".");
  folder = getenv("KOINE_TEST_MODEL") ? getenv("KOINE_TEST_MODEL") : own;
  setenv("KOINE_BACKENDS", "host", 1);
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_wild), cmocka_unit_test(test_quoted), cmocka_unit_test(test_stops), cmocka_unit_test(test_stop_in_stream), cmocka_unit_test(test_steps), cmocka_unit_test(test_sampler),
    cmocka_unit_test(test_bos), cmocka_unit_test(test_log), cmocka_unit_test(test_cache_dir), cmocka_unit_test(test_messages)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
