/* See tune.h. Owns nothing beyond a call. Invariant: a contest runs just before its call in a real step, when all that the call reads is in place;
 * the step's own kernel runs afterwards, so that what candidates wrote is written anew. */
#include "tune.h"
#include <stdlib.h>
#include <string.h>
#include "drive.h"
#include "ends.h"
#include "engine/probe.h"
#include "layouts.h"
#include "library.h"
#include "shapes.h"
#include "shares.h"
#include "steps.h"
#include "turn.h"

enum { FIRST_PREFILL = 80 };
static const double least_share = 0.005;                 /* of a step */
static const double for_steps = 0.15, for_layouts = 0.3; /* of the budget, for what a step decides, and at most for layouts */
static const double for_shapes = 0.15, most_for_check = 0.05; /* of a mode's time, for its other shapes; of the budget, a step that is run for them */
static const double for_library = 0.05, least_for_library = 2; /* of the budget; seconds, in which a library builds its kernels */
static const double for_ends = 0.1, most_for_ends = 0.4; /* of the budget, to compare before and after; where steps take long */

typedef struct tune {
  koine_plan *p;
  koi_stage *st;
  koi_drive drive;
  koi_shares shares[2];    /* decode, prefill */
  koine_progress_fn *progress;
  void *user;
  double seconds;
  koi_lost lost;
  double step_s[2];        /* a token, a prefill, with the defaults */
  uint64_t start_ns, end_ns; /* of all contests; until when the mode at hand may go on */
  int mode;
  koi_key *key;            /* in contest */
  koi_turn turn;           /* its calls */
  koi_step_choice steps[KOI_STEP_CHOICES], layout, library[KOI_N_FORMATS];
  double layouts_s;        /* kept for layouts; 0: there is no time for them */
  koi_speed before, after;
} tune;

static const char *const modes[] = {"decode", "prefill"};

/* ---- progress ---------------------------------------------------------------------------------------------------------- */
static bool say(const tune *t, const char *what)
{
  double spent = (double)(koi_now_ns() - t->start_ns) * 1e-9;
  return !t->progress || t->progress(t->user, what, (uint64_t)(spent < t->seconds ? spent : t->seconds), (uint64_t)t->seconds);
}

static bool beat(void *user)
{
  const tune *t = user;
  return say(t, t->mode < 0 ? "measuring" : modes[t->mode]);
}

static bool told(void *user, const koi_contest *k, double default_us, double best_us)
{
  const tune *t = user;
  char line[160];
  double left = t->seconds - (double)(koi_now_ns() - t->start_ns) * 1e-9;
  koi_print(line, sizeof line, "tuning %s, %s: %.1f us, default %.1f us, %.0f s left", modes[t->mode], k->op->name, best_us, default_us, left > 0 ? left : 0);
  return say(t, line);
}

/* ---- contests ---------------------------------------------------------------------------------------------------------- */
/* Time for a key, of what the mode has left: by its share of what is still to be done. */
static uint64_t deadline(const tune *t, const koi_key *key)
{
  uint64_t now = koi_now_ns(), to_do = 0;
  const koi_shares *s = &t->shares[t->mode];
  for (size_t i = 0; i < s->n_keys; i++) to_do += s->keys[i].done ? 0 : s->keys[i].ns;
  return now >= t->end_ns ? now : now + (uint64_t)((double)(t->end_ns - now) * (double)key->ns / (double)to_do);
}

static koine_status before_call(void *user, koi_stage *st, const koi_bound_call *b)
{
  tune *t = user;
  koi_shares *s = &t->shares[t->mode];
  size_t i = 0;
  koine_status status = koi_drive_beat(&t->drive);
  if (status) return status;
  while (i < s->n_keys && (s->keys[i].done || s->keys[i].call != b->call)) i++;
  if (i == s->n_keys) return KOINE_OK;
  koi_key *key = &s->keys[i];
  koi_contest k = {.d = st->dev, .op = key->op, .c = key->c, .bucket = key->bucket, .args = t->turn.args, .told = told, .user = t, .deadline_ns = deadline(t, key), .lost = t->lost};
  koi_turn_open(&t->turn, s, st, b);
  k.n_args = t->turn.n;
  status = koi_contest_run(&k, &key->r);
  koi_turn_close(&t->turn, st->dev);
  key->done = true;
  if ((status == KOINE_ERR_DEVICE && !key->r.gone) || status == KOINE_ERR_MEMORY) {
    koi_log(KOINE_LOG_WARNING, "op %s is not tuned: %s", key->op->name, koi_error_text());
    status = KOINE_OK;
  }
  return !status && key->r.won ? koi_tuned_load(st->dev, st->dev->cache_dir) : status; /* the next contests begin with what won here */
}

/* What takes next to no time is left as it is. */
static void pass_over_small(koi_shares *s)
{
  for (size_t i = 0; i < s->n_keys; i++) s->keys[i].done = (double)s->keys[i].ns < least_share * (double)s->ns;
}

/* One step with a clock at every call. */
static koine_status take_shares(tune *t, int mode, uint32_t n)
{
  koi_watch share = koi_shares_watch(&t->shares[mode]);
  t->shares[mode].drive = &t->drive;
  return koi_drive_step(&t->drive, mode, n, &share, &t->step_s[mode]);
}

/* Where a step's time goes; in a prefill of as many tokens as a chunk has, where the device is fast enough for that. */
static koine_status measure_steps(tune *t)
{
  uint32_t first = t->p->chunk < FIRST_PREFILL ? t->p->chunk : FIRST_PREFILL;
  t->drive.n_prefill = first;
  if (!say(t, "measuring the defaults")) return koi_error(KOINE_ERR_CANCELLED, "cancelled while tuning");
  koine_status s = take_shares(t, 0, 1);
  if (!s && !say(t, "measuring the defaults")) return koi_error(KOINE_ERR_CANCELLED, "cancelled while tuning");
  if (!s) s = take_shares(t, 1, first);
  if (s || first == t->p->chunk || t->step_s[1] / first * t->p->chunk > 0.05 * t->seconds) return s;
  koi_shares_free(&t->shares[1]);
  t->drive.n_prefill = t->p->chunk;
  return take_shares(t, 1, t->p->chunk);
}

/* Until `until` seconds after the start; the step in which the contests are held takes its own time. */
static koine_status tune_mode(tune *t, int mode, double until)
{
  double seconds;
  koi_watch contests = {before_call, NULL, t};
  double spent = (double)(koi_now_ns() - t->start_ns) * 1e-9, left = until - spent - t->step_s[mode];
  bool check = t->step_s[mode] < most_for_check * t->seconds; /* where a step takes long, gains are far from the noise or the budget is too small */
  if (check) left = (1 - for_shapes) * left - t->step_s[mode];
  t->mode = mode, t->end_ns = koi_now_ns() + (uint64_t)((left > 0 ? left : 0) * 1e9);
  koine_status st = koi_shares_sum(&t->shares[mode]);
  if (st) return st;
  pass_over_small(&t->shares[mode]);
  st = koi_drive_step(&t->drive, mode, mode ? t->drive.n_prefill : 1, &contests, &seconds);
  if (st || !check) return st;
  return koi_shapes_check(&t->drive, &t->shares[mode], mode, mode ? t->drive.n_prefill : 1, t->start_ns + (uint64_t)(until * 1e9));
}

/* Seconds that comparing before and after will take: its share, or what one turn of each needs. */
static double ends(const tune *t)
{
  double turns = koi_drive_turns_s(t->step_s[0], t->step_s[1]), share = for_ends * t->seconds, most = most_for_ends * t->seconds;
  return turns > most ? most : turns > share ? turns : share;
}

/* ---- from end to end --------------------------------------------------------------------------------------------------- */
static koine_status keep_default(const tune *t, const koi_op *op, const int32_t *c, int32_t bucket, const int32_t *p)
{
  koi_tuned_line l = {.op = op, .bucket = bucket, .outcome = KOI_OUTCOME_KEPT, .note = "not faster from end to end"};
  memcpy(l.c, c, sizeof l.c);
  memcpy(l.p, p, sizeof l.p);
  return koi_tuned_append(t->st->dev, &l);
}

/* Winners of a mode that is not faster with them than without are withdrawn. */
static koine_status withdraw(tune *t, int mode)
{
  koine_status s = KOINE_OK;
  if (t->after.per_s[mode] > t->before.per_s[mode]) return s;
  for (size_t i = 0; i < t->shares[mode].n_keys && !s; i++) {
    koi_key *k = &t->shares[mode].keys[i];
    if (!k->r.won) continue;
    s = keep_default(t, k->op, k->c, k->bucket, k->r.p);
    k->r.won = false;
  }
  for (int i = 0; i < KOI_STEP_CHOICES && !s; i++) { /* the first is decode's */
    koi_step_choice *c = &t->steps[i];
    if (!c->won || (i > 0) != mode) continue;
    s = keep_default(t, c->op, c->c, 0, c->p);
    c->won = false;
  }
  return s;
}

/* The device has what the log says, and so has the stage. */
static koine_status reload(tune *t)
{
  koi_device *d = t->st->dev;
  pthread_mutex_lock(&d->lock);
  koine_status s = koi_tuned_load(d, d->cache_dir);
  pthread_mutex_unlock(&d->lock);
  return s ? s : koi_drive_use(&t->drive, d->tuned);
}

static bool told_step(void *user, const char *what)
{
  char line[160];
  koi_print(line, sizeof line, "tuning steps, %s", what);
  return say(user, line);
}

/* With the winners so far in use. */
static koine_status tune_steps(tune *t, double until)
{
  koine_status s = reload(t);
  t->mode = -1;
  return s ? s : koi_steps_tune(&t->drive, t->start_ns + (uint64_t)(until * 1e9), told_step, t, t->steps);
}

/* Last of what a prefill is tuned for: it is our best kernels that the library has to beat. */
static koine_status tune_library(tune *t, double until)
{
  if (for_library * t->seconds < least_for_library) return KOINE_OK;
  koine_status s = reload(t);
  return s ? s : koi_library_tune(t->st, t->start_ns + (uint64_t)(until * 1e9), t->lost, told_step, t, t->library);
}

/* Layouts cost a waking each: only where the budget has room for all of them, and no session of another's would lose its plan. */
static void keep_for_layouts(tune *t)
{
  double wanted = koi_layouts_s(&t->drive, t->step_s[0], t->step_s[1]);
  koi_target target;
  koi_backend_target(t->st->dev, &target);
  if (t->p->machine && !target.tile && atomic_load(&t->p->awake->n_sessions) == 1 && wanted < for_layouts * t->seconds) t->layouts_s = wanted;
}

static koine_status tune_layouts(tune *t)
{
  if (!t->layouts_s) return KOINE_OK;
  t->mode = -1;
  koine_status s = koi_layouts_tune(&t->drive, t->start_ns + (uint64_t)(t->seconds * 1e9), t->lost, told_step, t, &t->layout);
  if (t->p->awake) t->st = koi_engine_stage(t->p, 0);
  return s ? s : reload(t);
}

/* Beside the ops in the report, and never worth a failure. The reference on the host would take long. */
static void probe(tune *t)
{
  double bytes_per_s = 0;
  if (t->st->at.endpoint->type == KOINE_DEVICE_HOST) return;
  pthread_mutex_lock(&t->st->dev->lock);
  koine_status s = koi_probe_read(t->st, &bytes_per_s);
  pthread_mutex_unlock(&t->st->dev->lock);
  if (!s) koi_ends_read(t->st->dev, bytes_per_s);
}

static koine_status compare(tune *t)
{
  bool any = false;
  for (int i = 0; i < KOI_STEP_CHOICES; i++) any |= t->steps[i].won;
  for (int mode = 0; mode < 2; mode++)
    for (size_t i = 0; i < t->shares[mode].n_keys; i++) any |= t->shares[mode].keys[i].r.won;
  if (!say(t, "comparing with the defaults")) return koi_error(KOINE_ERR_CANCELLED, "cancelled while tuning");
  if (!any) return koi_ends_plain(t->st->dev, &t->drive);
  double left = t->seconds - t->layouts_s - (double)(koi_now_ns() - t->start_ns) * 1e-9;
  koine_status s = koi_drive_compare(&t->drive, left > 0 ? left : 0, &t->before, &t->after);
  for (int mode = 0; mode < 2 && !s; mode++) s = withdraw(t, mode);
  if (!s) koi_ends_note(t->st->dev, &t->drive, &t->before, &t->after);
  if (s) return s;
  return reload(t);
}

/* ---- the report -------------------------------------------------------------------------------------------------------- */
static void put_values(koi_text *out, const koi_key *k)
{
  const char *gap = "";
  for (size_t i = 0; i < koi_op_n_params(k->op); i++, gap = " ") koi_text_add(out, "%s%s=%d", gap, k->op->params[i].name, (int)k->r.p[i]);
}

static void put_keys(koi_text *out, const tune *t, int mode)
{
  const koi_shares *s = &t->shares[mode];
  for (size_t i = 0; i < s->n_keys; i++) {
    const koi_key *k = &s->keys[i];
    if (k->r.default_us <= 0) continue;
    koi_text_add(out, "| %s | %s", modes[mode], k->op->name);
    for (size_t j = 0; j < koi_op_n_consts(k->op); j++) koi_text_add(out, " %s=%d", k->op->consts[j], (int)k->c[j]);
    koi_text_add(out, " | %.1f | %.2f | %.2f | %zu | %zu | %zu | ", 100 * (double)k->ns / (double)s->ns, k->r.default_us, k->r.best_us, k->r.n_tried, k->r.n_refused,
                 k->r.n_wrong);
    if (k->r.won) put_values(out, k);
    else koi_text_add(out, "default");
    koi_text_add(out, " |\n");
  }
}

static void put_step(koi_text *out, const koi_step_choice *c)
{
  if (!c->won) return;
  koi_text_add(out, "| step | %s ", c->op->name);
  koi_tuned_put_consts(out, c->op, c->c);
  koi_text_add(out, " | | %.0f | %.0f | %zu | 0 | 0 | ", 1e6 * c->default_s, 1e6 * c->best_s, c->n_tried);
  koi_tuned_put_params(out, c->op, c->p);
  koi_text_add(out, " |\n");
}

static void put_speeds(koi_text *out, const tune *t)
{
  if (!t->before.n) {
    koi_text_add(out, "\nThe defaults stay: nothing was faster.\n");
    return;
  }
  koi_text_add(out, "\n| | defaults, tokens/s | range | tuned, tokens/s | range | ratio | |\n|---|---:|---:|---:|---:|---:|---|\n");
  for (int mode = 0; mode < 2; mode++) {
    const koi_speed *b = &t->before, *a = &t->after;
    const char *worth = a->per_s[mode] <= b->per_s[mode] ? "not faster: the defaults stay" : a->low[mode] > b->high[mode] ? "faster" : "within the noise";
    koi_text_add(out, "| %s | %.2f | %.2f to %.2f | %.2f | %.2f to %.2f | %.2f | %s |\n", modes[mode], b->per_s[mode], b->low[mode], b->high[mode], a->per_s[mode],
                 a->low[mode], a->high[mode], a->per_s[mode] / b->per_s[mode], worth);
  }
  koi_text_add(out, "\nMedians of %zu turns, prefill of %u tokens, after %zu tokens.\n", t->before.n, (unsigned)t->drive.n_prefill, t->drive.depth);
}

static void put(koi_text *out, const tune *t)
{
  koi_text_add(out, "%s, driver %s\n\n", t->st->at.endpoint->name, t->st->at.endpoint->driver);
  koi_text_add(out, "| | op | share %% | default us | tuned us | tried | refused | wrong | parameters |\n|---|---|---:|---:|---:|---:|---:|---:|---|\n");
  put_keys(out, t, 0);
  put_keys(out, t, 1);
  for (int i = 0; i < KOI_STEP_CHOICES; i++) put_step(out, &t->steps[i]);
  put_step(out, &t->layout);
  for (int i = 0; i < KOI_N_FORMATS; i++) put_step(out, &t->library[i]);
  put_speeds(out, t);
}

/* ---- all of it --------------------------------------------------------------------------------------------------------- */
static koine_status check(const koi_device *d)
{
  const char *wanted = getenv("KOINE_TUNED");
  if (wanted && !strcmp(wanted, "off")) return koi_error(KOINE_ERR_STATE, "KOINE_TUNED=off: what is tuned would not be used");
  if (!d->cache_dir) return koi_error(KOINE_ERR_STATE, "there is no cache folder to keep results in");
  return KOINE_OK;
}

koine_status koi_tune(koine_plan *p, double seconds, koi_lost lost, koine_progress_fn *progress, void *user, koi_text *report)
{
  koi_stage *st = koi_engine_stage(p, 0);
  if (p->n_all > 1) return koi_error(KOINE_ERR_ARG, "one device is tuned at a time, but the plan has several stages: plan for one device");
  koine_status s = check(st->dev);
  if (s) return s;
  tune *t = koi_alloc(1, sizeof *t);
  if (!t) return KOINE_ERR_MEMORY;
  *t = (tune){.p = p, .st = st, .progress = progress, .user = user, .seconds = seconds, .lost = lost, .start_ns = koi_now_ns()};
  s = koi_drive_open(p, &t->drive);
  t->drive.beat = beat, t->drive.user = t, t->mode = -1;
  if (!s) s = measure_steps(t);
  if (!s) keep_for_layouts(t);
  double spent = (double)(koi_now_ns() - t->start_ns) * 1e-9, left = seconds - t->layouts_s - ends(t) - spent, half = (left - for_steps * seconds) / 2;
  if (!s) s = tune_mode(t, 0, spent + half);
  if (!s) s = tune_mode(t, 1, spent + 2 * half);
  if (!s) s = tune_steps(t, spent + left - for_library * seconds);
  if (!s) s = tune_library(t, spent + left);
  if (!s) s = compare(t);
  if (!s) s = tune_layouts(t);
  if (!s) probe(t);
  if (!s) put(report, t);
  koi_drive_close(&t->drive);
  for (int mode = 0; mode < 2; mode++) koi_shares_free(&t->shares[mode]);
  koi_free(t);
  return s;
}
