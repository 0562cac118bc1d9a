/* koine_bench: prefill and decode of an awake plan at several depths, each beside a read probe of the same run, and time by op. Owns
 * nothing; a figure is a median over repetitions with its range. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/record.h"
#include "engine/gemm.h"
#include "engine/probe.h"
#include "plan/plan.h"
#include "engine/session.h"

enum { MAX_REPETITIONS = 1000, NAMES = 512 };

typedef struct result {
  char test[64]; /* its name */
  bool decode;
  uint32_t n_tokens;
  double *per_s; /* [n] tokens a second, sorted */
  size_t n;
  double probe;  /* bytes a second, NaN unknown */
  koi_expert_figures experts; /* of all repetitions */
} result;

typedef struct bench {
  koine_plan *plan;
  const koine_bench_options *o;
  koine_progress_fn *progress;
  void *user;
  result *r;
  size_t n, cap;
  size_t done, total;
  koi_gemm_figure gemm[KOI_N_FORMATS];
} bench;

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Of one device after the other, as a token reads their weights. */
static koine_status probe_all(const koine_plan *p, double *out)
{
  double bytes = 0, seconds = 0, rate = 0;
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < p->awake->n_stages && !s; i++)
    for (koi_stage *x = koi_engine_stage(p, i); x && !s; x = x->experts) {
      koi_stage_lock(x);
      s = koi_probe_read(x, &rate);
      koi_stage_unlock(x);
      bytes += (double)x->at.laid->bytes_per_token, seconds += (double)x->at.laid->bytes_per_token / rate;
    }
  if (!s) *out = seconds > 0 ? bytes / seconds : NAN;
  return s;
}

static koine_status step_done(bench *b, const char *what)
{
  b->done++;
  if (!b->progress || b->progress(b->user, what, b->done, b->total)) return KOINE_OK;
  return koi_error(KOINE_ERR_CANCELLED, "cancelled");
}

/* A long prefill can be ended too; what is shown is how many runs are done. */
static bool between_chunks(void *user, const char *what, uint64_t done, uint64_t total)
{
  const bench *b = user;
  (void)done, (void)total;
  return !b->progress || b->progress(b->user, what, b->done, b->total);
}

/* Brings the session to `depth` held tokens. */
static koine_status reach(const bench *b, koine_session *s, const int32_t *tokens, size_t depth)
{
  if (!depth) {
    koi_session_clear(s);
    return KOINE_OK;
  }
  if (b->o->fill) return koi_session_fill(s, depth);
  koine_eval_options none = {.size = sizeof none, .progress = between_chunks, .user = (void *)(uintptr_t)b}; /* only read */
  return koi_session_eval(s, tokens, depth, &none, NULL);
}

/* Times n tokens after `depth`: in one evaluation (prefill) or one by one (decode). */
static koine_status time_once(const bench *b, koine_session *s, int32_t *tokens, float *logits, size_t depth, uint32_t n, bool decode, double *per_s)
{
  koine_status st = reach(b, s, tokens, depth);
  if (!st && b->o->fill && depth) memcpy(tokens, s->held, depth * sizeof *tokens);
  uint64_t start = koi_now_ns();
  koine_eval_options one = {.size = sizeof one, .n_logits = 1, .progress = between_chunks, .user = (void *)(uintptr_t)b};
  if (!decode && !st) st = koi_session_eval(s, tokens, depth + n, &one, logits);
  for (uint32_t i = 1; decode && i <= n && !st; i++) st = koi_session_eval(s, tokens, depth + i, &one, logits);
  *per_s = n / ((double)(koi_now_ns() - start) * 1e-9);
  return st;
}

/* times: NULL, or where the time of each op goes; then every op is waited for. */
static koine_status run_test(bench *b, size_t depth, uint32_t n, bool decode, koi_op_time *times)
{
  uint32_t reps = b->o->repetitions ? b->o->repetitions : 3, n_vocab = b->plan->model->config.n_vocab;
  result *r = &b->r[b->n];
  koi_print(r->test, sizeof r->test, depth ? "%s%u@d%zu" : "%s%u", decode ? "tg" : "pp", n, depth);
  r->decode = decode, r->n_tokens = n, r->n = reps, r->probe = NAN;
  koine_session_options so = {.size = sizeof so, .cache = b->o->cache, .context = depth + n};
  koine_session *s = NULL;
  koine_status st = koi_session_open(b->plan, &so, &s);
  int32_t *tokens = koi_alloc(depth + n, sizeof *tokens);
  float *logits = koi_alloc(n_vocab, sizeof *logits);
  r->per_s = koi_alloc(reps, sizeof *r->per_s);
  if (!st && (!tokens || !logits || !r->per_s)) st = KOINE_ERR_MEMORY;
  for (size_t i = 0; i < depth + n && !st; i++) tokens[i] = (int32_t)((i * 7919 + 13) % n_vocab);
  double ignored;
  if (!st) st = time_once(b, s, tokens, logits, depth, n < 4 || !decode ? n : 4, decode, &ignored); /* compiles, warms up */
  koi_expert_figures before = koi_engine_experts(b->plan), after;
  koi_watch_times clock = {.times = times};
  koi_watch watch = koi_watch_time(&clock);
  if (!st && times) s->watch = &watch;
  for (uint32_t i = 0; i < reps && !st; i++) {
    st = time_once(b, s, tokens, logits, depth, n, decode, &r->per_s[i]);
    if (!st) st = step_done(b, r->test);
  }
  after = koi_engine_experts(b->plan);
  r->experts = (koi_expert_figures){after.n_there - before.n_there, after.n_loaded - before.n_loaded, after.bytes - before.bytes, after.ns - before.ns,
                                    after.guesses - before.guesses, after.right - before.right, after.used - before.used, after.guess_ns - before.guess_ns, after.guess_bytes,
                                    after.n_stayed - before.n_stayed, after.stayed_ns - before.stayed_ns};
  if (!st && !times) st = probe_all(b->plan, &r->probe);
  if (!st) qsort(r->per_s, reps, sizeof *r->per_s, ascending);
  koi_session_close(s);
  koi_free(tokens);
  koi_free(logits);
  b->n++;
  return st;
}

/* One more run of the last test's kind with every op waited for. */
static koine_status profile(const bench *b, size_t depth, uint32_t n, bool decode, koi_op_time *times)
{
  koine_bench_options quiet = *b->o;
  quiet.repetitions = 1;
  result r = {0};
  bench one = {.plan = b->plan, .o = &quiet, .r = &r};
  koine_status st = run_test(&one, depth, n, decode, times);
  koi_free(r.per_s);
  return st;
}

/* ---- output ---- */
static double median(const result *r) { return r->n % 2 ? r->per_s[r->n / 2] : (r->per_s[r->n / 2 - 1] + r->per_s[r->n / 2]) / 2; }

static void json_number(koi_text *t, const char *key, double v)
{
  if (isfinite(v)) koi_text_add(t, "\"%s\": %.6g", key, v);
  else koi_text_add(t, "\"%s\": null", key);
}

static void json_ops(koi_text *t, const koi_op_time *times)
{
  koi_text_add(t, ", \"ops\": [");
  for (size_t i = 0; i < KOI_MAX_TIMES && times[i].op; i++)
    koi_text_add(t, "%s{\"op\": \"%s\", \"calls\": %llu, \"ns\": %llu, \"flops\": %.6g, \"bytes\": %.6g}", i ? ", " : "", times[i].op->name,
                 (unsigned long long)times[i].calls, (unsigned long long)times[i].ns, times[i].flops, times[i].bytes);
  koi_text_add(t, "]");
}

static uint64_t wanted(const koi_expert_figures *x) { return x->n_there + x->n_loaded + x->n_stayed; }
static bool by_turns(const koi_expert_figures *x) { return wanted(x) > 0; }

static void json_experts(koi_text *t, const koi_expert_figures *x)
{
  if (by_turns(x))
    koi_text_add(t, ", \"experts\": {\"there\": %llu, \"loaded\": %llu, \"bytes\": %llu, \"ns\": %llu, \"guessed\": %llu, \"guesses_right\": %llu, \"guesses_used\": %llu, \"guess_ns\": %llu, \"elsewhere\": %llu, \"elsewhere_ns\": %llu}",
                 (unsigned long long)x->n_there, (unsigned long long)x->n_loaded, (unsigned long long)x->bytes, (unsigned long long)x->ns,
                 (unsigned long long)x->guesses, (unsigned long long)x->right, (unsigned long long)x->used, (unsigned long long)x->guess_ns,
                 (unsigned long long)x->n_stayed, (unsigned long long)x->stayed_ns);
}

/* The devices' names. */
static void put_names(const bench *b, char *to, size_t room)
{
  size_t n = 0;
  for (size_t i = 0; i < b->plan->n_all; i++) {
    bool said = false;
    for (size_t j = 0; j < i; j++) said |= b->plan->stages[j].endpoint == b->plan->stages[i].endpoint;
    if (!said && n < room) n += (size_t)koi_print(to + n, room - n, "%s%s", i ? " + " : "", b->plan->stages[i].endpoint->name);
  }
}

/* The entry that dense products of a chunk of n tokens took. */
static const char *entry_of(const bench *b, int wt, uint32_t n)
{
  const koi_stage *x = koi_engine_stage(b->plan, 0);
  uint32_t from = x->at.tunables.gemm_from[wt], chunk = b->plan->chunk;
  return from && (n < chunk ? n : chunk) >= from ? x->dev->backend->gemm_name : "own";
}

static void json_gemm(koi_text *t, const bench *b, uint32_t n)
{
  const char *gap = ", \"dense_gemm\": {";
  for (int wt = 0; wt < KOI_N_FORMATS; wt++) {
    const koi_gemm_figure *g = &b->gemm[wt];
    if (!g->used) continue;
    koi_text_add(t, "%s\"%s\": {\"entry\": \"%s\"", gap, koi_formats[wt].name, entry_of(b, wt, n));
    if (g->own_ms) koi_text_add(t, ", \"own_ms\": %.6g, \"library_ms\": %.6g", g->own_ms, g->library_ms);
    koi_text_add(t, "}");
    gap = ", ";
  }
  if (*gap == ',' && !gap[2]) koi_text_add(t, "}");
}

static void put_json(koi_text *t, const bench *b, koi_op_time (*times)[KOI_MAX_TIMES])
{
  const koi_endpoint *e = b->plan->stages[0].endpoint;
  char names[NAMES];
  put_names(b, names, sizeof names);
  koi_text_add(t, "[");
  for (size_t i = 0; i < b->n; i++) {
    const result *r = &b->r[i];
    koi_text_add(t, "%s\n {\"test\": \"%s\", \"device\": ", i ? "," : "", r->test);
    koi_text_json(t, names);
    koi_text_add(t, ", \"backend\": \"%s\", \"driver\": ", e->backend->name);
    koi_text_json(t, e->driver);
    koi_text_add(t, ", \"repetitions\": %zu, \"tokens_per_s\": {\"median\": %.6g, \"min\": %.6g, \"max\": %.6g}, ", r->n, median(r), r->per_s[0], r->per_s[r->n - 1]);
    json_number(t, "read_probe_bytes_per_s", r->probe);
    if (r->decode) koi_text_add(t, ", \"weight_bytes_per_token\": %llu", (unsigned long long)koi_plan_bytes_per_token(b->plan));
    else json_gemm(t, b, r->n_tokens);
    json_experts(t, &r->experts);
    if (times) json_ops(t, times[i]);
    koi_text_add(t, "}");
  }
  koi_text_add(t, "\n]\n");
}

static void put_rows(koi_text *t, const bench *b, bool csv)
{
  const char *line = csv ? "%s,\"%s\",%.2f,%.2f,%.2f,%.2f,%s\n" : "| %-14s | %s | %8.2f | %8.2f | %8.2f | %6.2f | %6s |\n";
  char names[NAMES];
  put_names(b, names, sizeof names);
  koi_text_add(t, csv ? "test,device,median_tokens_per_s,min_tokens_per_s,max_tokens_per_s,read_probe_gb_per_s,weights_gb_per_s\n"
                      : "| test | device | tokens/s | min | max | probe GB/s | weights GB/s |\n|---|---|---:|---:|---:|---:|---:|\n");
  for (size_t i = 0; i < b->n; i++) {
    const result *r = &b->r[i];
    char weights[32] = "";
    if (r->decode) koi_print(weights, sizeof weights, "%.2f", median(r) * (double)koi_plan_bytes_per_token(b->plan) * 1e-9);
    koi_text_add(t, line, r->test, names, median(r), r->per_s[0], r->per_s[r->n - 1], r->probe * 1e-9, weights);
  }
}

/* Where routed experts have their places by turns: of those that were wanted how many were there. */
static void put_experts(koi_text *t, const bench *b, bool csv)
{
  const char *line = csv ? "%s,%llu,%llu,%.1f,%.2f,%.1f,%llu,%llu,%llu,%.1f,%llu,%.1f\n" : "| %s | %llu | %llu | %.1f | %.2f | %.1f | %llu | %llu | %llu | %.1f | %llu | %.1f |\n";
  bool any = false;
  for (size_t i = 0; i < b->n; i++) any |= by_turns(&b->r[i].experts);
  if (!any) return;
  koi_text_add(t, csv ? "\ntest,experts_there,experts_read,percent_there,mb_read,ms_reading,guessed,guesses_right,guesses_used,ms_guessing,elsewhere,ms_elsewhere\n"
                      : "\n| test | experts there | read | %% there | MB read | ms reading | guessed | right | used | ms guessing | elsewhere | ms elsewhere |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
  for (size_t i = 0; i < b->n; i++) {
    const koi_expert_figures *x = &b->r[i].experts;
    koi_text_add(t, line, b->r[i].test, (unsigned long long)x->n_there, (unsigned long long)x->n_loaded, wanted(x) ? 100 * (double)x->n_there / (double)wanted(x) : 0,
                 (double)x->bytes * 1e-6, (double)x->ns * 1e-6, (unsigned long long)x->guesses, (unsigned long long)x->right, (unsigned long long)x->used,
                 (double)x->guess_ns * 1e-6, (unsigned long long)x->n_stayed, (double)x->stayed_ns * 1e-6);
  }
}

static void put_ops(koi_text *t, const bench *b, koi_op_time (*times)[KOI_MAX_TIMES], bool csv)
{
  const char *line = csv ? "%s,%s,%llu,%.3f,%.1f,%.2f,%.2f\n" : "| %s | %s | %llu | %.3f | %.1f | %.2f | %.2f |\n";
  koi_text_add(t, csv ? "\ntest,op,calls,ms,percent,gflop_per_s,gb_per_s\n" : "\n| test | op | calls | ms | %% | GFLOP/s | GB/s |\n|---|---|---:|---:|---:|---:|---:|\n");
  for (size_t i = 0; i < b->n; i++) {
    double total = 0;
    for (size_t j = 0; j < KOI_MAX_TIMES; j++) total += (double)times[i][j].ns;
    for (size_t j = 0; j < KOI_MAX_TIMES && times[i][j].op; j++) {
      const koi_op_time *o = &times[i][j];
      double ns = o->ns ? (double)o->ns : 1;
      koi_text_add(t, line, b->r[i].test, o->op->name, (unsigned long long)o->calls, ns * 1e-6, 100 * ns / total, o->flops / ns, o->bytes / ns);
    }
  }
}

/* Both entries of the dense products, and which is taken from now on. */
static void put_gemm(koi_text *t, const bench *b, bool csv)
{
  const char *line = csv ? "%s,%u,%.3f,%.3f,%s\n" : "| %s | %u | %.3f | %.3f | %s |\n";
  bool any = false;
  for (int wt = 0; wt < KOI_N_FORMATS; wt++) any |= b->gemm[wt].own_ms > 0;
  if (!any) return;
  koi_text_add(t, csv ? "\ndense_weights,tokens,own_ms,library_ms,taken\n" : "\n| dense weights | tokens | own ms | library ms | taken |\n|---|---:|---:|---:|---|\n");
  for (int wt = 0; wt < KOI_N_FORMATS; wt++)
    if (b->gemm[wt].own_ms)
      koi_text_add(t, line, koi_formats[wt].name, b->plan->chunk, b->gemm[wt].own_ms, b->gemm[wt].library_ms, entry_of(b, wt, b->plan->chunk));
}

static koine_status measure_gemm(bench *b)
{
  koine_status s = KOINE_OK;
  if (b->o->gemm && b->plan->n_all > 1) return koi_error(KOINE_ERR_ARG, "dense products are measured on one device, but the plan has several: take one with --device");
  for (size_t i = 0; i < b->plan->n_stages && !s; i++) {
    koi_stage *x = koi_engine_stage(b->plan, i);
    koi_stage_lock(x);
    if (b->o->gemm) s = koi_gemm_measure(x, KOI_GEMM_NO_DEADLINE, b->progress, b->user, b->gemm);
    else koi_gemm_types(x, b->gemm);
    koi_stage_unlock(x);
  }
  return s;
}

static koine_status measure(bench *b, koi_op_time (*times)[KOI_MAX_TIMES])
{
  const koine_bench_options *o = b->o;
  const size_t no_depth = 0, n_depths = o->n_depths ? o->n_depths : 1;
  koine_status s = measure_gemm(b);
  for (size_t d = 0; d < n_depths && !s; d++)
    for (size_t i = 0; i < o->n_n_prompt + o->n_n_gen && !s; i++) {
      bool decode = i >= o->n_n_prompt;
      uint32_t n = decode ? o->n_gen[i - o->n_n_prompt] : o->n_prompt[i];
      size_t depth = o->n_depths ? (size_t)o->depths[d] : no_depth;
      if (!n) continue;
      s = run_test(b, depth, n, decode, NULL);
      if (!s && times) s = profile(b, depth, n, decode, times[b->n - 1]);
    }
  return s;
}

koine_status koine_bench(koine_plan *plan, const koine_bench_options *options, koine_progress_fn *progress, void *user, char **out)
{
  koine_bench_options own;
  if (!plan || !options || !out) return koi_missing("koine_bench");
  koine_status took = KOI_TAKE(koine_bench_options, options, &own);
  if (!took) took = koi_engine_need(plan);
  if (took) return took;
  options = &own;
  if ((options->n_n_prompt && !options->n_prompt) || (options->n_n_gen && !options->n_gen) || (options->n_depths && !options->depths))
    return koi_error(KOINE_ERR_ARG, "koine_bench: a list with a length is NULL");
  if (options->repetitions > MAX_REPETITIONS) return koi_error(KOINE_ERR_ARG, "%u repetitions, expected at most %d", options->repetitions, MAX_REPETITIONS);
  size_t tests = (options->n_n_prompt + options->n_n_gen) * (options->n_depths ? options->n_depths : 1);
  bench b = {.plan = plan, .o = options, .progress = progress, .user = user, .total = tests * (options->repetitions ? options->repetitions : 3)};
  b.r = koi_alloc(tests + 1, sizeof *b.r);
  koi_op_time (*times)[KOI_MAX_TIMES] = options->ops ? koi_alloc(tests + 1, sizeof *times) : NULL;
  koine_status s = b.r && (times || !options->ops) ? measure(&b, times) : KOINE_ERR_MEMORY;
  koi_text t = {0};
  if (!s && options->format == KOINE_FORMAT_JSON) put_json(&t, &b, times);
  else if (!s) {
    put_rows(&t, &b, options->format == KOINE_FORMAT_CSV);
    put_experts(&t, &b, options->format == KOINE_FORMAT_CSV);
    if (times) put_ops(&t, &b, times, options->format == KOINE_FORMAT_CSV);
    if (options->gemm) put_gemm(&t, &b, options->format == KOINE_FORMAT_CSV);
  }
  if (!s) s = koi_text_take(&t, out);
  for (size_t i = 0; b.r && i < tests; i++) koi_free(b.r[i].per_s);
  koi_free(b.r);
  koi_free(times);
  return s;
}
