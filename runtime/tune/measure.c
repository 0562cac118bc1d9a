/* See measure.h. Runs layers of every kind on a device and times their parts; keeps what was found. Owns the excerpt of the model and its plan while a
 * device is measured. Invariant: what was measured before a failure stays. */
#include "measure.h"
#include <stdlib.h>
#include <string.h>
#include "base/newfile.h"
#include "base/paths.h"
#include "device/tuned.h"
#include "engine/session.h"
#include "plan/costs.h"

enum { DEFAULT_SECONDS = 60, MAX_KINDS = 6, N_EXPERTS = 16, N_PROMPT = 128, DEPTH = 2048, MIN_TURNS = 3, MAX_TURNS = 9, N_STEPS = 8, TOGETHER = 8 /* times as fast is a token beside others, at least */, FILE_BYTES = 16 << 20 };

/* ---- kept --------------------------------------------------------------------------------------------------------------- */
/* KOINE_TUNED=off: whatever was measured is ignored. */
static bool is_off(void)
{
  const char *wanted = getenv("KOINE_TUNED");
  return wanted && !strcmp(wanted, "off");
}

/* NULL: none. */
static char *file_of(const koine_runtime *rt) { return rt->cache_dir && *rt->cache_dir && !is_off() ? koi_format("%s/machine.txt", rt->cache_dir) : NULL; }

static koine_status take_costs(const koi_site *from, size_t d, koi_site *to, size_t e)
{
  for (size_t i = 0; i < from->n_costs; i++) {
    if (from->costs[i].device != d) continue;
    koi_site_cost *c = koi_site_add_cost(to);
    if (!c) return KOINE_ERR_MEMORY;
    *c = from->costs[i];
    c->device = (uint32_t)e;
  }
  return KOINE_OK;
}

/* The site's devices are the runtime's endpoints. */
static koine_status take_known(const koine_runtime *rt, const koi_site *from, koi_site *to)
{
  koine_status s = KOINE_OK;
  for (size_t e = 0; e < to->n_devices && !s; e++) {
    koi_site_device *x = &to->devices[e];
    size_t d = koi_site_find(from, x->id);
    if (d == from->n_devices || strcmp(from->devices[d].name, x->name) || strcmp(from->devices[d].driver, x->driver)) continue;
    const koi_site_device *y = &from->devices[d];
    x->rates = y->rates, x->to_host = y->to_host, x->from_host = y->from_host, x->to_host_busy = y->to_host_busy, x->from_host_busy = y->from_host_busy;
    x->parameters = y->parameters, x->old = y->parameters != koi_tuned_hash(rt->endpoints[e].known);
    s = take_costs(from, d, to, e);
  }
  return s;
}

koine_status koi_measure_known(koine_runtime *rt, koi_site *out)
{
  koi_site known;
  char *path = file_of(rt), *text = NULL;
  size_t n;
  koine_status s = koi_site_of(rt, out);
  if (!s && path && !koi_file_read(path, FILE_BYTES, &text, &n)) {
    if (koi_site_parse(text, path, &known)) koi_log(KOINE_LOG_WARNING, "%s; it is left unread", koi_error_text());
    else {
      s = take_known(rt, &known, out);
      koi_site_free(&known);
    }
  }
  koi_free(text);
  koi_free(path);
  if (s) koi_site_free(out);
  return s;
}

koine_status koi_measure_keep(koine_runtime *rt, const koi_site *site)
{
  char *path = file_of(rt), *text = NULL;
  koine_status s = path ? koi_paths_make(rt->cache_dir) : KOINE_OK;
  if (path && !s) s = koi_site_text(site, &text);
  if (path && !s) s = koi_newfile_put(path, text, strlen(text));
  if (s) koi_log(KOINE_LOG_WARNING, "what was measured is not kept: %s", koi_error_text());
  koi_free(path);
  koi_free(text);
  return KOINE_OK;
}

static bool takes_part(const koi_site *s, const bool *left_out, size_t device) { return s->devices[device].usable && !(left_out && left_out[device]); }

bool koi_measure_wanted(const koi_site *s, const bool *left_out, size_t device)
{
  bool others = false;
  for (size_t i = 0; i < s->n_devices; i++) others |= takes_part(s, left_out, i) && !s->devices[i].reference;
  return takes_part(s, left_out, device) && (!s->devices[device].reference || !others);
}

/* ---- the clock ---------------------------------------------------------------------------------------------------------- */
/* Waits where a part of a layer ends, not after every call. */
typedef struct clock_ {
  uint64_t (*ns)[KOI_N_PARTS];  /* [n_items] */
  uint32_t item; int part;      /* at hand; part -1: none */
  uint64_t start;
} clock_;

static koine_status stop(clock_ *c, koi_stage *st)
{
  koine_status s = st->dev->backend->finish(st->dev);
  uint64_t now = koi_now_ns();
  if (c->part >= 0) c->ns[c->item][c->part] += now - c->start;
  c->start = now;
  return s;
}

static koine_status before(void *user, koi_stage *st, const koi_bound_call *b)
{
  clock_ *c = user;
  uint32_t item;
  int part = (int)koi_costs_part(st->at.laid, b->call, &item);
  if (part == c->part && item == c->item) return KOINE_OK;
  koine_status s = stop(c, st);
  c->part = part, c->item = item;
  return s;
}

static koine_status after(void *user, koi_stage *st, const koi_bound_call *b)
{
  return (void)user, (void)st, (void)b, KOINE_OK;
}

/* ---- a device ----------------------------------------------------------------------------------------------------------- */
typedef struct bench {
  koine_runtime *rt;
  koi_site *site;
  uint32_t device;
  koine_model *model;          /* the excerpt */
  koine_plan *plan;
  koine_session *session;
  int32_t *tokens; float *logits;
  double seconds;              /* for one point */
  double token_s;              /* of a step of one token; 0: not known yet */
  uint32_t n_drawn;            /* tokens so far: other ones each time, with other experts, as in a text */
  double *times;               /* [n_items][KOI_N_PARTS][MAX_TURNS] */
  double whole[MAX_TURNS], waited[MAX_TURNS]; /* a step without waits inside, and with those between parts */
} bench;

/* n_steps one after the other, the first at `at`; seconds of one. clock NULL: without a wait inside them. */
static koine_status steps(bench *b, const koi_step_at *at, uint32_t n_steps, clock_ *clock, double *seconds)
{
  koi_watch watch = {before, after, clock};
  koine_eval_options one = {.size = sizeof one, .n_logits = 1};
  uint64_t n = at->position;
  koine_status s = koi_session_fill(b->session, n);
  if (s) return s;
  memcpy(b->tokens, b->session->held, n * sizeof *b->tokens);
  for (uint32_t i = 0; i < n_steps * at->n_tokens; i++) b->tokens[n + i] = (int32_t)((b->n_drawn++ * 7919u + 13u) % b->model->config.n_vocab);
  b->session->watch = clock ? &watch : NULL;
  uint64_t start = koi_now_ns();
  for (uint32_t i = 0; i < n_steps && !s; i++) s = koi_session_eval(b->session, b->tokens, n += at->n_tokens, &one, b->logits);
  if (!s && clock) s = stop(clock, koi_engine_stage(b->plan, 0));
  b->session->watch = NULL;
  *seconds = 1e-9 * (double)(koi_now_ns() - start) / n_steps;
  return s;
}

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Waits between parts take time that a step without a clock does not, which the parts are given back. */
static double scale_of(const bench *b, size_t n_turns)
{
  double whole[MAX_TURNS], waited[MAX_TURNS];
  memcpy(whole, b->whole, sizeof whole), memcpy(waited, b->waited, sizeof waited);
  qsort(whole, n_turns, sizeof *whole, ascending);
  qsort(waited, n_turns, sizeof *waited, ascending);
  return waited[n_turns / 2] > 0 ? whole[n_turns / 2] / waited[n_turns / 2] : 1;
}

/* Layers of one kind are one cost: the median of all their turns. */
static koine_status keep_costs(bench *b, const koi_step_at *at, size_t n_turns, const double *expected)
{
  double scale = scale_of(b, n_turns);
  for (uint32_t i = 0; i < koi_costs_items(b->model); i++)
    for (int p = 0; p < KOI_N_PARTS; p++) {
      double *t = &b->times[((size_t)i * KOI_N_PARTS + (size_t)p) * MAX_TURNS];
      if (!(expected[i * KOI_N_PARTS + (size_t)p] > 0)) continue;
      qsort(t, n_turns, sizeof *t, ascending);
      if (!(t[n_turns / 2] > 0)) continue;
      koi_site_cost *c = koi_site_add_cost(b->site);
      if (!c) return KOINE_ERR_MEMORY;
      *c = (koi_site_cost){.device = b->device, .part = (koi_part_of)p, .width = b->model->config.hidden, .n_tokens = at->n_tokens, .position = at->position, .seconds = scale * t[n_turns / 2],
                           .low = scale * t[n_turns / 4], .high = scale * t[n_turns - 1 - n_turns / 4], .expected = expected[i * KOI_N_PARTS + (size_t)p]};
      if (i && i + 1 < koi_costs_items(b->model)) c->kind = b->model->layers[i - 1].kind, c->hash = b->model->layers[i - 1].hash;
    }
  return KOINE_OK;
}

/* One turn: a step with waits between parts, and without, where a token comes after others as in a text. The first turn of all builds and warms. */
static koine_status time_turn(bench *b, const koi_step_at *at, uint64_t (*ns)[KOI_N_PARTS], size_t turn)
{
  size_t n_items = koi_costs_items(b->model);
  clock_ clock = {.ns = ns, .part = -1};
  double waited;
  memset(ns, 0, n_items * sizeof *ns);
  koine_status s = steps(b, at, 1, &clock, &waited);
  if (s || !turn) return s;
  s = steps(b, at, at->n_tokens == 1 && waited * N_STEPS * MAX_TURNS < b->seconds ? N_STEPS : 1, NULL, &b->whole[turn - 1]);
  for (size_t k = 0; k < n_items * KOI_N_PARTS; k++) b->times[k * MAX_TURNS + turn - 1] = 1e-9 * (double)ns[k / KOI_N_PARTS][k % KOI_N_PARTS];
  b->waited[turn - 1] = waited;
  return s;
}

/* What a token took says how long this will: what would take much more than its time is left out, and follows from the others. */
static bool too_slow(const bench *b, const koi_step_at *at)
{
  double steps = at->n_tokens > 1 ? (double)at->n_tokens / TOGETHER : 1;
  return b->token_s * steps * 3 > 2 * b->seconds;
}

static koine_status time_point(bench *b, const koi_step_at *at)
{
  size_t n_items = koi_costs_items(b->model), n = 0;
  uint64_t (*ns)[KOI_N_PARTS] = koi_alloc(n_items, sizeof *ns), start = 0;
  double *expected = koi_alloc(n_items * KOI_N_PARTS, sizeof *expected), left = b->seconds;
  koine_status s = ns && expected ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!s) s = koi_costs_expect(b->model, at, false, &b->site->devices[b->device].rates, 1, expected);
  for (size_t turn = 0; turn <= MAX_TURNS && !s && !too_slow(b, at); turn++) {
    if (turn > (left > -b->seconds ? MIN_TURNS : 1) && left < 0) break;
    s = time_turn(b, at, ns, turn);
    n = turn;
    if (!turn) start = koi_now_ns();
    left = b->seconds - (double)(koi_now_ns() - start) * 1e-9;
  }
  if (!s && n) s = keep_costs(b, at, n, expected);
  if (!s && n && at->n_tokens == 1) b->token_s = b->whole[n - 1];
  koi_free(ns);
  koi_free(expected);
  return s;
}

static koine_status open_bench(bench *b)
{
  const koi_endpoint *e = &b->rt->endpoints[b->device];
  uint64_t context = DEPTH + N_PROMPT;
  koi_plan_wish wish = {.chunk = N_PROMPT, .context = context};
  koine_session_options o = {.size = sizeof o, .context = context};
  koine_status s = koi_plan_make(b->rt, b->model, e, b->device, &wish, &b->plan);
  if (!s) s = koi_engine_wake(b->plan, NULL, NULL);
  if (!s) s = koi_session_open(b->plan, &o, &b->session);
  b->tokens = koi_alloc(context, sizeof *b->tokens);
  b->logits = koi_alloc(b->model->config.n_vocab, sizeof *b->logits);
  b->times = koi_alloc((size_t)koi_costs_items(b->model) * KOI_N_PARTS * MAX_TURNS, sizeof *b->times);
  return s || (b->tokens && b->logits && b->times) ? s : KOINE_ERR_MEMORY;
}

static void close_bench(bench *b)
{
  if (b->session) koi_session_close(b->session);
  if (b->plan && b->plan->awake) koi_engine_sleep(b->plan);
  koi_plan_free(b->plan);
  koi_free(b->tokens);
  koi_free(b->logits);
  koi_free(b->times);
}

/* Decode and prefill, near the begin and further on: lengths in between and beyond follow from the calls. */
static const koi_step_at points[] = {{1, DEPTH}, {1, 128}, {N_PROMPT, DEPTH}, {N_PROMPT, 0}};

/* Of models of this width; of all when they are old. */
static void forget(koi_site *s, uint32_t device, uint32_t width)
{
  size_t n = 0;
  for (size_t i = 0; i < s->n_costs; i++)
    if (s->costs[i].device != device || (s->costs[i].width != width && !s->devices[device].old)) s->costs[n++] = s->costs[i];
  s->n_costs = n;
}

static koine_status measure_device(koine_runtime *rt, koi_site *site, uint32_t device, koine_model *excerpt, double seconds)
{
  bench b = {.rt = rt, .site = site, .device = device, .model = excerpt, .seconds = seconds / KOI_COUNT(points)};
  koine_status s = open_bench(&b);
  if (!s) forget(site, device, excerpt->config.hidden), site->devices[device].parameters = koi_tuned_hash(rt->endpoints[device].known), site->devices[device].old = false;
  for (size_t i = 0; i < KOI_COUNT(points) && !s; i++) s = time_point(&b, &points[i]);
  close_bench(&b);
  return s;
}

/* ---- all of them -------------------------------------------------------------------------------------------------------- */
static bool has_costs(const koi_site *s, size_t device, uint32_t width)
{
  if (s->devices[device].old) return false;
  for (size_t i = 0; i < s->n_costs; i++)
    if (s->costs[i].device == device && s->costs[i].width == width) return true;
  return false;
}

/* One layer of every kind. */
static koine_status excerpt_of(const koine_model *m, koine_model **out)
{
  uint32_t layers[MAX_KINDS], n = 0;
  for (uint32_t l = 0; l < m->config.n_layers; l++) {
    bool known = false;
    for (uint32_t i = 0; i < n; i++) known |= m->layers[layers[i]].kind == m->layers[l].kind && m->layers[layers[i]].hash == m->layers[l].hash;
    if (!known && n < MAX_KINDS) layers[n++] = l;
  }
  return koi_model_excerpt(m, layers, n, N_EXPERTS, out);
}

static bool needs_links(const koi_site *s, const bool *left_out)
{
  for (size_t d = 0; d < s->n_devices; d++)
    if (koi_measure_wanted(s, left_out, d) && !(s->devices[d].rates.bytes_per_s > 0)) return true;
  return false;
}

static bool needs_costs(const koi_site *s, const koi_measure_wish *w, size_t device, uint32_t width)
{
  return koi_measure_wanted(s, w->left_out, device) && (w->all || !has_costs(s, device, width));
}

koine_status koi_measure_layers(koine_runtime *rt, koi_site *site, const koine_model *m, const koi_measure_wish *w)
{
  koine_model *excerpt = NULL;
  size_t n = 0, done = 0;
  koine_status s = w->all || needs_links(site, w->left_out) ? koi_measure_links(rt, site, w) : KOINE_OK;
  if (!s) s = excerpt_of(m, &excerpt);
  for (size_t d = 0; d < site->n_devices; d++) n += needs_costs(site, w, d, m->config.hidden);
  for (size_t d = 0; d < site->n_devices && !s; d++) {
    if (!needs_costs(site, w, d, m->config.hidden)) continue;
    if (w->progress && !w->progress(w->user, "measuring layers", done++, n)) s = koi_error(KOINE_ERR_CANCELLED, "cancelled");
    if (s) break;
    koine_status one = measure_device(rt, site, (uint32_t)d, excerpt, (double)(w->seconds ? w->seconds : DEFAULT_SECONDS) / (double)n);
    if (one) koi_log(KOINE_LOG_WARNING, "device %s (%s) is not measured: %s", site->devices[d].id, site->devices[d].name, koi_error_text());
    else s = koi_measure_keep(rt, site); /* whatever ends the process at the next */
  }
  koi_model_close(excerpt);
  return s;
}
