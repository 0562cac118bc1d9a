/* See layouts.h. Owns a candidate's table until it wins. Invariant: when it returns and the plan is awake, the device's table is what the plan was laid by. */
#include "layouts.h"
#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include "device/machine_open.h"
#include "tried.h"

enum { ROUNDS = 3, MOST_VALUES = 8 };
static const double worthwhile = 1.03; /* of decode's and prefill's speeds together */
static const double guess = 1.5;       /* a waking compiles what the last one may have found on disk */
static const float near_enough = 0.05f; /* logits that differ by less of their range do so by the rounding of caches */

typedef struct trials {
  koi_drive *v;
  koi_device *d;         /* held beside the plan */
  koi_tuned_table own;   /* the device's */
  int32_t tile;          /* of own */
  koi_speed was[2], best; /* before and after the others; of the fastest other */
  koi_tuned_table table; /* of that */
  int32_t p[KOI_MAX_PARAMS];
  float *logits;         /* of the last step with own */
} trials;

static double wake_s(const koi_drive *v) { return guess * (double)v->plan->wake_ns * 1e-9; }

double koi_layouts_s(const koi_drive *v, double token_s, double prefill_s)
{
  double others = (double)koi_step_layout.params[LAYOUT_TILE].n_values - 1, turns = (ROUNDS + 1) * koi_drive_turns_s(token_s, prefill_s) / 2;
  return (others + 2) * (wake_s(v) + turns);
}

/* ---- what the log says ------------------------------------------------------------------------------------------------- */
static void note(const koi_device *d, int32_t tile, koi_outcome outcome, const koi_speed *was, const koi_speed *is)
{
  koi_tuned_line l = {.op = &koi_step_layout, .p = {[LAYOUT_TILE] = tile}, .outcome = outcome};
  if (is) {
    double decode = is->per_s[0] / was->per_s[0], prefill = is->per_s[1] / was->per_s[1];
    l.n_samples = (uint32_t)is->n, l.default_us = 1e6 / was->per_s[0], l.median_us = l.default_us / sqrt(decode * prefill);
    koi_print(l.note, sizeof l.note, "decode %.3f and prefill %.3f times as fast", decode, prefill);
  }
  koi_tried_note(d, &l);
}

static bool given_up(const koi_device *d, int32_t tile, koi_lost lost)
{
  return koi_tried_given_up(d, &(koi_tuned_line){.op = &koi_step_layout, .p = {[LAYOUT_TILE] = tile}}, lost);
}

/* ---- one layout -------------------------------------------------------------------------------------------------------- */
/* Faster in one of decode and prefill in every turn, slower in neither, and worth it in both together. */
static bool beats(const koi_speed *is, const koi_speed *was)
{
  bool clear = false, slower = false;
  double gain = 1;
  for (int mode = 0; mode < 2; mode++) {
    clear |= is->low[mode] > was->high[mode], slower |= is->high[mode] < was->low[mode];
    gain *= is->per_s[mode] / was->per_s[mode];
  }
  return clear && !slower && gain > worthwhile;
}

/* Whether the last step came to what it did with the old layout. */
static bool right(const trials *t)
{
  const float *is = t->v->logits, *was = t->logits;
  float low = was[0], high = was[0], most = 0;
  for (size_t i = 0; i < t->v->plan->model->config.n_vocab; i++) {
    if (is[i] != is[i]) return false;
    low = fminf(low, was[i]), high = fmaxf(high, was[i]), most = fmaxf(most, fabsf(is[i] - was[i]));
  }
  return most <= near_enough * (high - low);
}

/* The device's table with this layout, and what won for the old one. */
static koine_status table_for(trials *t, const int32_t *p, koi_tuned_table *out)
{
  koi_tuned e = {.op = &koi_step_layout, .rung = KOI_RUNG_TUNED, .origin = KOI_ORIGIN_USER};
  koi_target target;
  memcpy(e.p, p, sizeof e.p);
  pthread_mutex_lock(&t->d->lock);
  koi_backend_target(t->d, &target);
  koine_status s = koi_tuned_copy(&t->own, out);
  if (!s) s = koi_tuned_put(out, &e);
  if (!s) s = koi_steps_bring(t->d, &target, out, "TILE", t->tile, p[LAYOUT_TILE]);
  pthread_mutex_unlock(&t->d->lock);
  if (s) koi_tuned_clear(out);
  return s;
}

static koine_status try(trials *t, const int32_t *p)
{
  koi_tuned_table table = {0};
  koi_speed is;
  note(t->d, p[LAYOUT_TILE], KOI_OUTCOME_TRYING, NULL, NULL);
  koine_status s = table_for(t, p, &table);
  if (s) return s;
  s = koi_drive_wake(t->v, t->d, table);
  if (!s) s = koi_drive_speed(t->v, ROUNDS, &is);
  bool ok = !s && right(t);
  if (!s) note(t->d, p[LAYOUT_TILE], ok ? KOI_OUTCOME_MEASURED : KOI_OUTCOME_WRONG, &t->was[0], &is);
  if (ok && (!t->best.n || is.per_s[0] * is.per_s[1] > t->best.per_s[0] * t->best.per_s[1])) {
    koi_tuned_clear(&t->table);
    t->best = is, t->table = table, t->d->tuned = t->own;
    memcpy(t->p, p, sizeof t->p);
    return s;
  }
  t->d->tuned = t->own;
  koi_tuned_clear(&table);
  if (s != KOINE_ERR_DEVICE && s != KOINE_ERR_MEMORY) return s;
  note(t->d, p[LAYOUT_TILE], KOI_OUTCOME_REFUSED, NULL, NULL); /* not for this device */
  return KOINE_OK;
}

/* ---- all of them ------------------------------------------------------------------------------------------------------- */
static koine_status try_all(trials *t, uint64_t deadline_ns, koi_lost lost, bool (*told)(void *user, const char *what), void *user, koi_step_choice *out)
{
  const koi_param *q = &koi_step_layout.params[LAYOUT_TILE];
  uint64_t start = koi_now_ns();
  koine_status s = koi_drive_speed(t->v, ROUNDS, &t->was[0]);
  uint64_t turns = koi_now_ns() - start;
  if (!s) memcpy(t->logits, t->v->logits, t->v->plan->model->config.n_vocab * sizeof *t->logits);
  for (size_t i = 0; i < q->n_values && !s; i++) {
    uint64_t rest = 3 * ((uint64_t)(wake_s(t->v) * 1e9) + turns); /* this one, the old one, perhaps the best */
    int32_t p[KOI_MAX_PARAMS] = {[LAYOUT_TILE] = q->values[i]};
    if (q->values[i] == t->tile || koi_now_ns() + rest > deadline_ns || given_up(t->d, q->values[i], lost)) continue;
    if (!told(user, koi_step_layout.name)) return koi_error(KOINE_ERR_CANCELLED, "cancelled while tuning");
    s = try(t, p);
    out->n_tried++;
  }
  return s;
}

/* As it was, whatever happened: whoever cancelled waits for this. */
static koine_status restore(trials *t)
{
  bool (*beat)(void *) = t->v->beat;
  t->v->beat = NULL;
  koine_status s = koi_drive_wake(t->v, t->d, t->own);
  t->v->beat = beat;
  return s;
}

/* The plan as it was, timed once more; or as the best has it, if that was faster than both. */
static koine_status settle(trials *t, koi_step_choice *out)
{
  koine_status s = koi_drive_wake(t->v, t->d, t->own);
  if (!s) s = koi_drive_speed(t->v, ROUNDS, &t->was[1]);
  if (s || !t->best.n || !beats(&t->best, &t->was[0]) || !beats(&t->best, &t->was[1])) return s;
  const koi_speed *was = &t->was[t->was[1].per_s[0] * t->was[1].per_s[1] > t->was[0].per_s[0] * t->was[0].per_s[1]]; /* the faster time */
  s = koi_drive_wake(t->v, t->d, t->table);
  if (s) return restore(t);
  koi_steps_note(t->d, &koi_step_layout, &t->own, &t->table, "as for another layout");
  note(t->d, t->p[LAYOUT_TILE], KOI_OUTCOME_WON, was, &t->best);
  memcpy(out->p, t->p, sizeof t->p);
  out->won = true, out->default_s = 1 / was->per_s[0], out->best_s = 1 / t->best.per_s[0];
  koi_tuned_clear(&t->own);
  t->table = (koi_tuned_table){0};
  return s;
}

koine_status koi_layouts_tune(koi_drive *v, uint64_t deadline_ns, koi_lost lost, bool (*told)(void *user, const char *what), void *user, koi_step_choice *out)
{
  trials t = {.v = v, .tile = (int32_t)koi_engine_stage(v->plan, 0)->at.laid->tile};
  *out = (koi_step_choice){.op = &koi_step_layout, .p = {[LAYOUT_TILE] = t.tile}};
  if (!(t.logits = koi_alloc(v->plan->model->config.n_vocab, sizeof *t.logits))) return KOINE_ERR_MEMORY;
  koine_status s = koi_machine_device(v->plan->machine, v->plan->stages[0].endpoint_at, &t.d);
  if (s) return koi_free(t.logits), s;
  t.own = t.d->tuned;
  s = try_all(&t, deadline_ns, lost, told, user, out);
  koine_status back = KOINE_OK;
  if (s && out->n_tried) back = restore(&t);
  else if (out->n_tried) back = settle(&t, out);
  koi_tuned_clear(&t.table);
  koi_free(t.logits);
  koi_machine_device_drop(v->plan->machine, t.d);
  return s ? s : back;
}
