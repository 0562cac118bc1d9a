/* A program of one release that runs with a library of another: t_abi.sh compiles it against a header and runs it with a library whose
 * records are longer or shorter. GROWN: the header's records have a member `grown` at their end that the library does not know.
 * usage: abi MODEL */
#include <koine.h>
#include <stdio.h>
#include <string.h>

static int n_checks, n_bad;

static void check(bool ok, const char *what)
{
  n_checks++;
  if (!ok) n_bad++, printf("FAIL: %s: %s\n", what, koine_last_error());
}

/* ---- records that are filled: nothing behind them is touched, whatever size they say ---- */
enum { GUARD = 4096, MOST_STEPS = 16 };
#define FILLED(type, call, known) \
  do { \
    struct { type r; unsigned char guard[GUARD]; } x; \
    const size_t sizes[] = {sizeof(type), 0, 0xEEEEEEEE}; \
    for (int i = 0; i < 3; i++) { \
      memset(&x, 0xEE, sizeof x); \
      x.r.size = sizes[i]; \
      type *out = &x.r; \
      check((call) == KOINE_OK, #call); \
      bool whole = true; \
      for (int k = 0; k < GUARD; k++) whole &= x.guard[k] == 0xEE; \
      check(whole, #type ": written beyond its end"); \
      check(x.r.size > sizeof(size_t) && x.r.size <= sizeof(type), #type ": its size afterwards"); \
      check(known, #type ": its members"); \
    } \
  } while (0)

/* ---- options: those of this header are taken, and what the library does not know is refused by name ---- */
#ifdef GROWN
#define TAKEN(type, o, call) \
  do { \
    check((call) == KOINE_OK, #type ", with a new member that is 0"); \
    (o).grown = 1; \
    check((call) == KOINE_ERR_UNSUPPORTED && strstr(koine_last_error(), #type), #type ", with a new member that is set"); \
    (o).grown = 0; \
  } while (0)
#else
#define TAKEN(type, o, call) check((call) == KOINE_OK, #type)
#endif
/* A size that is none is an error. */
#define REFUSED(type, o, call) \
  do { \
    size_t size = (o).size; \
    (o).size = sizeof(size_t); \
    check((call) == KOINE_ERR_ARG && strstr(koine_last_error(), #type), #type ": too short"); \
    (o).size = (size_t)-1; \
    check((call) == KOINE_ERR_ARG, #type ": no size"); \
    (o).size = size; \
  } while (0)

static koine_runtime *rt;
static koine_model *model;
static koine_plan *plan;
static koine_session *session;
static koine_tokenizer *tokenizer;
static koine_chat *chat;
static koine_batch *batch;
static koine_machine *machine;
static koine_placement *placement;

static koine_status runtime(const koine_runtime_options *o)
{
  koine_runtime_close(rt);
  rt = NULL;
  return koine_runtime_open(o, &rt);
}

static koine_status plan_with(const koine_plan_options *o)
{
  koine_plan_free(plan);
  plan = NULL;
  koine_status s = koine_plan_make(rt, model, o, &plan);
  return s ? s : koine_plan_wake(plan, NULL, NULL);
}

static koine_status session_with(const koine_session_options *o)
{
  koine_session_close(session);
  session = NULL;
  return koine_session_open(plan, o, &session);
}

static koine_status synthetic(const koine_shape *o)
{
  koine_model *m = NULL;
  koine_status s = koine_model_synthetic(o, &m);
  koine_model_close(m);
  return s;
}

static koine_status sample(const koine_sampling *o)
{
  float logits[3] = {1, 3, 2};
  int32_t id = -1;
  koine_sampler *k = NULL;
  koine_status s = koine_sampler_open(o, 3, &k);
  if (!s) s = koine_sample(k, logits, NULL, 0, &id);
  if (!s) check(id == 1, "the likeliest token");
  koine_sampler_close(k);
  return s;
}

static bool count_token(void *user, int32_t id)
{
  ++*(int *)user;
  return id >= 0;
}

static koine_status generate(const koine_generate_options *o, koine_stop want)
{
  static const int32_t prompt[] = {0, 5, 7};
  int32_t *ids = NULL;
  size_t n = 0;
  koine_stop stop = KOINE_STOP_CALLER;
  koine_status s = koine_generate(session, tokenizer, prompt, 3, o, &ids, &n, &stop);
  if (!s) check(n == (want == KOINE_STOP_LENGTH ? 2 : 5) && stop == want, "two tokens, or up to the context");
  koine_ids_free(ids);
  return s;
}

static koine_status encode(const koine_chat_options *o)
{
  static const char json[] = "[{\"role\":\"user\",\"content\":\"x\"}]";
  char *prompt = NULL;
  size_t n = 0;
  koine_status s = koine_chat_prompt(chat, NULL, json, sizeof json - 1, o, &prompt, &n, NULL, NULL);
  if (!s) check(n == strlen(prompt) && strstr(prompt, "<think>"), "the prompt");
  koine_text_free(prompt);
  return s;
}

/* Without a cache folder nothing could be kept, which is said once the options are taken. */
static koine_status tune(const koine_tune_options *o)
{
  char *report = NULL;
  koine_status s = koine_tune(plan, o, NULL, NULL, &report);
  koine_text_free(report);
  return s == KOINE_ERR_STATE ? KOINE_OK : s;
}

static koine_status bench(const koine_bench_options *o)
{
  char *table = NULL;
  koine_status s = koine_bench(plan, o, NULL, NULL, &table);
  if (!s) check(strstr(table, "\"pp1\"") != NULL, "the table");
  koine_text_free(table);
  return s;
}

static void test_options(const char *folder)
{
  koine_runtime_options r = KOINE_RUNTIME_OPTIONS_INIT;
  r.cache_dir = "", r.n_threads = 1;
  TAKEN(koine_runtime_options, r, runtime(&r));
  REFUSED(koine_runtime_options, r, runtime(&r));
  check(runtime(&r) == KOINE_OK && koine_model_open(folder, &model) == KOINE_OK && koine_tokenizer_open(folder, &tokenizer) == KOINE_OK &&
          koine_chat_open(folder, &chat) == KOINE_OK, "opening");
  koine_plan_options p = KOINE_PLAN_OPTIONS_INIT;
  p.device = "host", p.chunk = 16;
  TAKEN(koine_plan_options, p, plan_with(&p));
  REFUSED(koine_plan_options, p, plan_with(&p));
  p.memory_bytes = 1000;
  check(plan_with(&p) == KOINE_ERR_MEMORY, "a plan of 1000 bytes");
  p.memory_bytes = 0, p.context = 100;
  check(plan_with(&p) == KOINE_OK, "a plan");
  koine_session_options s = KOINE_SESSION_OPTIONS_INIT;
  s.context = 8;
  TAKEN(koine_session_options, s, session_with(&s));
  REFUSED(koine_session_options, s, session_with(&s));
  check(session_with(&s) == KOINE_OK, "a session");
  koine_shape h = KOINE_SHAPE_INIT;
  h.name = "v4-flash";
  TAKEN(koine_shape, h, synthetic(&h));
  REFUSED(koine_shape, h, synthetic(&h));
}

static koine_status place(const koine_place_options *o)
{
  koine_placement_free(placement);
  placement = NULL;
  return koine_place(machine, model, o, &placement);
}

static void test_place(void)
{
  static const char *const host[] = {"host"};
  koine_place_options o = KOINE_PLACE_OPTIONS_INIT;
  check(koine_machine_open(rt, &machine) == KOINE_OK, "the machine");
  o.context = 100, o.devices = host, o.n_devices = 1;
  TAKEN(koine_place_options, o, place(&o));
  REFUSED(koine_place_options, o, place(&o));
  o.context = UINT64_MAX;
  check(place(&o) == KOINE_ERR_ARG && strstr(koine_last_error(), "context of 18446744073709551615 tokens"), "a context beyond all models");
  o.context = 100;
  static const char *const cache[] = {"none=1G"};
  o.expert_caches = cache, o.n_expert_caches = 1;
  check(place(&o) == KOINE_ERR_NO_DEVICE && strstr(koine_last_error(), "expert cache none"), "the last members: a device that is not there");
  o.n_expert_caches = 0;
  check(place(&o) == KOINE_OK, "a placement");
  FILLED(koine_estimate, koine_placement_estimate(placement, out), out->n_stages == 1 && out->token_s > 0 && out->token_s_low <= out->token_s_high);
}

static koine_status batch_with(const koine_batch_options *o)
{
  koine_batch_close(batch);
  batch = NULL;
  return koine_batch_open(plan, o, &batch);
}

static void test_batch(void)
{
  static const int32_t tokens[] = {0, 5, 7};
  size_t n_ended = 0;
  koine_session_options s = KOINE_SESSION_OPTIONS_INIT;
  check(session_with(&s) == KOINE_OK, "a session for the batch");
  koine_batch_options o = KOINE_BATCH_OPTIONS_INIT;
  o.tokens = 17;
  check(batch_with(&o) == KOINE_ERR_ARG, "more tokens than the plan's chunk");
  o.tokens = 2, o.prompt_tokens = 1;
  TAKEN(koine_batch_options, o, batch_with(&o));
  REFUSED(koine_batch_options, o, batch_with(&o));
  koine_generate_options g = KOINE_GENERATE_OPTIONS_INIT;
  g.n_predict = 2;
  check(batch_with(&o) == KOINE_OK && koine_batch_generate(batch, session, tokenizer, tokens, 3, &g) == KOINE_OK, "an answer begins");
  for (int i = 0; i < MOST_STEPS && !n_ended; i++) check(koine_batch_step(batch, &n_ended) == KOINE_OK, "a step");
  check(n_ended == 1, "the answer ends");
  FILLED(koine_batch_result, koine_batch_ended(batch, 0, out),
         out->session == session && !out->status && out->stop == KOINE_STOP_LENGTH && !*out->message && out->ids && out->n_ids == 2);
}

static void test_calls(void)
{
  static const int32_t tokens[] = {0, 5, 7};
  static const uint32_t one = 1;
  int n_tokens = 0;
  koine_eval_options e = KOINE_EVAL_OPTIONS_INIT;
  TAKEN(koine_eval_options, e, koine_session_eval(session, tokens, 3, &e, NULL));
  REFUSED(koine_eval_options, e, koine_session_eval(session, tokens, 3, &e, NULL));
  koine_sampling k = KOINE_SAMPLING_INIT;
  TAKEN(koine_sampling, k, sample(&k));
  REFUSED(koine_sampling, k, sample(&k));
  koine_generate_options g = KOINE_GENERATE_OPTIONS_INIT;
  g.n_predict = 2, g.token = count_token, g.user = &n_tokens;
  TAKEN(koine_generate_options, g, generate(&g, KOINE_STOP_LENGTH));
  check(n_tokens >= 2, "the members behind the sampling");
#ifdef GROWN
  TAKEN(koine_sampling, g.sampling, generate(&g, KOINE_STOP_LENGTH));
#endif
  REFUSED(koine_generate_options, g, generate(&g, KOINE_STOP_LENGTH));
  REFUSED(koine_sampling, g.sampling, generate(&g, KOINE_STOP_LENGTH));
  g.n_predict = 0;
  check(generate(&g, KOINE_STOP_CONTEXT) == KOINE_OK, "up to the context");
  koine_chat_options c = KOINE_CHAT_OPTIONS_INIT;
  c.thinking = KOINE_THINK_HIGH;
  TAKEN(koine_chat_options, c, encode(&c));
  REFUSED(koine_chat_options, c, encode(&c));
  koine_bench_options b = KOINE_BENCH_OPTIONS_INIT;
  b.n_prompt = &one, b.n_n_prompt = 1, b.repetitions = 1, b.format = KOINE_FORMAT_JSON;
  TAKEN(koine_bench_options, b, bench(&b));
  REFUSED(koine_bench_options, b, bench(&b));
  koine_tune_options t = KOINE_TUNE_OPTIONS_INIT;
  TAKEN(koine_tune_options, t, tune(&t));
  REFUSED(koine_tune_options, t, tune(&t));
}

static koine_status quantize(const koine_quantize_options *o)
{
  koine_status s = koine_quantize(model, "abi-quantize.gguf", o);
  remove("abi-quantize.gguf");
  return s;
}

static koine_status zeros(void *user, const int32_t *ids, size_t n, float *logits)
{
  (void)ids;
  memset(logits, 0, n * *(size_t *)user * sizeof *logits);
  return KOINE_OK;
}

static void test_quantize(void)
{
  koine_quantize_options q = KOINE_QUANTIZE_OPTIONS_INIT;
  size_t n_vocab = koine_tokenizer_n_vocab(tokenizer);
  q.type = "Q8_0";
  TAKEN(koine_quantize_options, q, quantize(&q));
  REFUSED(koine_quantize_options, q, quantize(&q));
  FILLED(koine_divergence_result, koine_divergence(session, tokenizer, "It is a", 7, 0, zeros, &n_vocab, NULL, NULL, out),
         out->n_bytes == 7 && out->mean > 0 && out->base_bits_per_byte > 1);
}

static void test_filled(void)
{
  FILLED(koine_device_info, koine_runtime_device(rt, 0, out), out->id && out->backend && out->n_units < 1000000);
  FILLED(koine_model_info, koine_model_get_info(model, out), out->n_vocab > 100 && out->has_weights && out->weight_bytes > 1000000);
  FILLED(koine_plan_usage, koine_plan_get_usage(plan, out), out->weight_bytes > 1000000 && out->limit_bytes > out->weight_bytes && out->cache_bytes > 0);
  FILLED(koine_session_stats, koine_session_get_stats(session, out), out->context == 8 && out->n_evaluated < 1000);
  koine_session_options s = KOINE_SESSION_OPTIONS_INIT;
  check(session_with(&s) == KOINE_OK, "a longer session");
  FILLED(koine_perplexity_result, koine_perplexity(session, tokenizer, "It is a", 7, 0, NULL, NULL, out), out->n_bytes == 7 && out->bits_per_byte > 0);
}

int main(int argc, char **argv)
{
  if (argc != 2) return 2;
  test_options(argv[1]);
  if (!n_bad) test_calls();
  if (!n_bad) test_filled();
  if (!n_bad) test_quantize();
  if (!n_bad) test_place();
  if (!n_bad) test_batch();
#ifdef SAME
  check(koine_version_number() == KOINE_VERSION_NUMBER && !strcmp(koine_version(), KOINE_VERSION), "the version is the header's");
#else
  check(koine_version_number() >= KOINE_VERSION_NUMBER, "the version is the header's or a later one");
#endif
  check(!strcmp(koine_status_text(KOINE_OK), "no error") && !strcmp(koine_status_text(KOINE_ERR_UNSUPPORTED), "not supported") &&
          !strcmp(koine_status_text((koine_status)-99), "unknown status") && !strcmp(koine_status_text((koine_status)1), "unknown status"), "statuses in words");
  koine_placement_free(placement);
  koine_machine_close(machine);
  koine_batch_close(batch);
  koine_session_close(session);
  koine_plan_free(plan);
  koine_chat_close(chat);
  koine_tokenizer_close(tokenizer);
  koine_model_close(model);
  koine_runtime_close(rt);
  printf("abi: %d checks, %d failed\n", n_checks, n_bad);
  return n_bad > 0;
}
