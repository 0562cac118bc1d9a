/* Owns: the order of levels, and requests of a level in the air. One thread. Invariant: a level's results are those of requests that ended, in any way but by the
 * user's wish. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "wire.h"

enum { FILL_WORDS = 400, WAIT_MS = 100 };

typedef struct flight { /* of a level */
  const load_options *o;
  const load_target *target;
  int64_t n_words;
  uint64_t before; /* requests of earlier levels: what fills a prompt is new in each, and the same for every target */
  CURLM *multi;
  load_request **air; size_t n_air; /* [n_air] of at most streams */
  load_result *results; size_t n_results;
  bool no_memory;
} flight;

/* ---- one after the other ---- */
/* A request by itself; false with its failure in why. */
static bool one(const load_options *o, load_target *t, int64_t n_words, uint64_t i, uint64_t *n_prompt, char *why, size_t n_why)
{
  load_request q;
  char *body = load_body(o, t, &o->prompts[0], n_words, 1, i);
  if (!body || !load_request_open(&q, t, body, o->timeout_s)) return snprintf(why, n_why, "out of memory"), false;
  load_request_end(&q, curl_easy_perform(q.easy));
  bool good = !q.r.kind[0] || !strcmp(q.r.kind, "no token");
  if (!good) snprintf(why, n_why, "%s: %s: %s", t->url, q.r.kind, q.r.message);
  *n_prompt = q.r.n_prompt;
  free(q.r.gap_s);
  load_request_close(&q);
  return good;
}

/* Finds the model, wakes the endpoint, and learns how many tokens the words of filling are. */
static bool meet(const load_options *o, load_target *t, char *why, size_t n_why)
{
  uint64_t base, full;
  if (!load_model_find(t, why, n_why) || !one(o, t, 0, 0, &base, why, n_why)) return false;
  if (!o->n_contexts) return true;
  if (!one(o, t, FILL_WORDS, UINT32_MAX, &full, why, n_why)) return false;
  t->words_base = (double)base;
  t->words_token = ((double)full - (double)base) / FILL_WORDS;
  return t->words_token > 0 || (snprintf(why, n_why, "%s: expected usage with prompt_tokens in the stream, found none: prompts cannot be filled up to a context (-c)", t->url), false);
}

/* ---- several at once ---- */
static bool start(flight *f, uint64_t i)
{
  const load_prompt *p = &f->o->prompts[i % f->o->n_prompts];
  char *body = load_body(f->o, f->target, p, f->n_words, p->max_tokens ? p->max_tokens : f->o->max_tokens, f->before + i);
  load_request *q = body ? malloc(sizeof *q) : NULL;
  if (!q) return free(body), false;
  f->air[f->n_air++] = q;
  return load_request_open(q, f->target, body, f->o->timeout_s) && !curl_multi_add_handle(f->multi, q->easy);
}

static void land(flight *f, size_t k)
{
  load_request *q = f->air[k];
  curl_multi_remove_handle(f->multi, q->easy);
  load_request_close(q);
  free(q);
  f->air[k] = f->air[--f->n_air];
}

static void take_ended(flight *f)
{
  int left;
  for (CURLMsg *m; (m = curl_multi_info_read(f->multi, &left));) {
    size_t k = 0;
    CURLcode code = m->data.result;
    while (k < f->n_air && f->air[k]->easy != m->easy_handle) k++;
    if (m->msg != CURLMSG_DONE || k == f->n_air) continue;
    load_request_end(f->air[k], code);
    f->results[f->n_results++] = f->air[k]->r;
    land(f, k);
  }
}

static bool tell(const flight *f, const load_level *l, uint64_t n)
{
  char what[200], context[40] = "";
  if (l->context) snprintf(context, sizeof context, ", %lld tokens before", (long long)l->context);
  snprintf(what, sizeof what, "%.100s, %lld at once%s", f->target->url, (long long)l->streams, context);
  return f->o->progress(NULL, what, f->n_results, n);
}

/* False: the user wants an end. */
static bool fly(flight *f, const load_level *l, uint64_t n)
{
  int running;
  bool on = true;
  for (uint64_t next = 0; on && !f->no_memory && f->n_results < n; on = tell(f, l, n)) {
    while (f->n_air < (size_t)l->streams && next < n && !f->no_memory) f->no_memory = !start(f, next++);
    curl_multi_perform(f->multi, &running);
    take_ended(f);
    bool room = f->n_air < (size_t)l->streams && next < n;
    if (!room && f->n_results < n) curl_multi_poll(f->multi, NULL, 0, WAIT_MS, NULL);
  }
  for (size_t i = f->n_air; i-- > 0;) {
    load_result unfinished = f->air[i]->r;
    land(f, i);
    free(unfinished.gap_s);
  }
  return on;
}

/* What the endpoint counted between two readings. */
static void take_metrics(load_level *l, load_metrics before, load_metrics after)
{
  double asked = after.asked - before.asked, held = after.held - before.held;
  l->memory_bytes = after.memory_bytes;
  l->reused = asked > 0 && held >= 0 ? held / asked : NAN;
  if (isnan(l->reused) && l->n_prompt) l->reused = (double)l->n_cached / (double)l->n_prompt; /* as the answers say */
}

static uint64_t requests_of(const load_options *o, int64_t streams) { return (uint64_t)(o->n_requests ? o->n_requests : 4 * streams); }

static load_end run_level(const load_options *o, load_level *l, uint64_t earlier)
{
  const load_target *t = &o->targets[l->target];
  uint64_t n = requests_of(o, l->streams);
  double words = l->context ? ((double)l->context - t->words_base) / t->words_token : 0;
  flight f = {.o = o, .target = t, .before = earlier, .n_words = words > 0 ? (int64_t)llround(words) : 0, .multi = curl_multi_init()};
  f.air = calloc((size_t)l->streams, sizeof *f.air);
  f.results = calloc(n, sizeof *f.results);
  f.no_memory = !f.multi || !f.air || !f.results;
  load_metrics before = load_metrics_read(t);
  double begun = load_now_s();
  bool on = f.no_memory || fly(&f, l, n);
  if (!f.no_memory) f.no_memory = !load_level_of(l, f.results, f.n_results, load_now_s() - begun);
  take_metrics(l, before, on ? load_metrics_read(t) : (load_metrics){NAN, NAN, NAN});
  for (size_t i = 0; i < f.n_results; i++) free(f.results[i].gap_s);
  free(f.results);
  free(f.air);
  curl_multi_cleanup(f.multi);
  return f.no_memory ? LOAD_FAILED : on ? LOAD_DONE : LOAD_INTERRUPTED;
}

static load_end run_all(load_options *o, load_levels *out)
{
  size_t n_contexts = o->n_contexts ? o->n_contexts : 1;
  uint64_t earlier = 0;
  out->v = calloc(n_contexts * o->n_streams * o->n_targets, sizeof *out->v);
  load_end end = out->v ? LOAD_DONE : LOAD_FAILED;
  for (size_t c = 0; c < n_contexts; c++)
    for (size_t s = 0; s < o->n_streams; earlier += requests_of(o, o->streams[s++]))
      for (size_t t = 0; t < o->n_targets && !end; t++) {
        load_level *l = &out->v[out->n];
        *l = (load_level){.target = t, .context = o->n_contexts ? o->contexts[c] : 0, .streams = o->streams[s]};
        end = run_level(o, l, earlier);
        out->n += l->n_requests > 0;
      }
  return end;
}

load_end load_run(load_options *o, load_levels *out, char *why, size_t n_why)
{
  bool good = true;
  *out = (load_levels){0};
  curl_global_init(CURL_GLOBAL_DEFAULT);
  for (size_t t = 0; t < o->n_targets && good; t++) good = o->progress(NULL, o->targets[t].url, 0, 0) && meet(o, &o->targets[t], why, n_why);
  load_end end = good ? run_all(o, out) : o->progress(NULL, "", 0, 0) ? LOAD_FAILED : LOAD_INTERRUPTED;
  if (good && end == LOAD_FAILED) snprintf(why, n_why, "out of memory");
  curl_global_cleanup();
  return end;
}
