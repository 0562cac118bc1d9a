/* See steps.h. Owns nothing beyond a call. Invariant: when it returns the device's table is what the log says, and the stage's choices are what the
 * table says. */
#include <stdlib.h>
#include <string.h>
#include "check/verify.h"
#include "steps.h"
#include "tried.h"

enum { ROUNDS = 3, STEPS = 2 * ROUNDS + 3 /* for a value */, DECODE_TOKENS = 2 };
static const double worthwhile = 0.97; /* of the time before, in the median, and faster in every round */
static const uint32_t few[] = {2, 4, 8, 16};

/* ---- what a choice is timed on ----------------------------------------------------------------------------------------- */
static koine_status decode(koi_drive *v, double *seconds) { return koi_drive_step(v, false, DECODE_TOKENS, NULL, seconds); }
static koine_status prefill(koi_drive *v, double *seconds) { return koi_drive_step(v, true, v->n_prefill, NULL, seconds); }

static koine_status few_tokens(koi_drive *v, double *seconds)
{
  koine_status s = KOINE_OK;
  *seconds = 0;
  for (size_t i = 0; i < KOI_COUNT(few) && !s && few[i] <= v->plan->chunk; i++) {
    double one;
    s = koi_drive_step(v, true, few[i], NULL, &one);
    *seconds += one;
  }
  return s;
}

static const struct { const koi_op *op; koine_status (*time)(koi_drive *v, double *seconds); } choices[KOI_STEP_CHOICES] = {
  {&koi_step_splits_of, decode}, {&koi_step_panels, prefill}, {&koi_step_crossovers, few_tokens}};

/* ---- tables with one record more --------------------------------------------------------------------------------------- */
static bool right(koi_device *d, const koi_tuned *e)
{
  koi_verify_options o = {.op = e->op->name, .c = e->c, .p = e->p, .small = true, .twice = true, .first = true};
  koi_text report = {0};
  koine_status s = koi_verify_ops(d, &o, NULL, NULL, &report);
  koi_free(report.s);
  return !s;
}

koine_status koi_steps_bring(koi_device *d, const koi_target *t, koi_tuned_table *table, const char *constant, int32_t from, int32_t to)
{
  koine_status s = KOINE_OK;
  for (size_t i = 0, n = table->n; i < n && !s && from != to; i++) {
    koi_tuned e = table->v[i];
    int at = koi_op_const(e.op, constant);
    if (at < 0 || e.c[at] != from || e.kept || koi_tuned_find(table, e.op, e.c, e.bucket) != &table->v[i]) continue;
    e.c[at] = to;
    if (!koi_tuned_find(table, e.op, e.c, e.bucket) && koi_legal(t, e.op, e.c, e.p) && right(d, &e)) s = koi_tuned_put(table, &e);
  }
  return s;
}

static koine_status with(koi_device *d, const koi_step_choice *was, const int32_t *p, koi_tuned_table *out)
{
  const koi_op *op = was->op;
  koi_tuned e = {.op = op, .rung = KOI_RUNG_TUNED, .origin = KOI_ORIGIN_USER};
  koi_target t;
  koi_backend_target(d, &t);
  memcpy(e.c, was->c, sizeof e.c);
  memcpy(e.p, p, koi_op_n_params(op) * sizeof *p);
  koine_status s = koi_tuned_copy(&d->tuned, out);
  if (!s) s = koi_tuned_put(out, &e);
  for (size_t i = 0; i < koi_op_n_params(op) && !s && op == &koi_step_panels; i++) s = koi_steps_bring(d, &t, out, "NT", was->p[i], p[i]);
  if (s) koi_tuned_clear(out);
  return s;
}

/* ---- one value --------------------------------------------------------------------------------------------------------- */
static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *v) { return qsort(v, ROUNDS, sizeof *v, ascending), v[ROUNDS / 2]; }

typedef struct pair { double s[2][ROUNDS]; bool ahead; } pair; /* before, with the value; whether the value was faster in every round */

/* In turns, after a step each that builds what is needed; one that is far slower then is not timed. */
static koine_status time_pair(koi_drive *v, koine_status (*time)(koi_drive *, double *), const koi_tuned_table *sides, pair *out)
{
  double warm[2];
  koine_status s = KOINE_OK;
  for (int i = 0; i < 3 && !s; i++) {
    s = koi_drive_use(v, sides[i > 0]);
    if (!s) s = time(v, &warm[i > 0]);
  }
  out->ahead = !s && warm[1] < 1.2 * warm[0];
  for (int r = 0; r < ROUNDS && !s && out->ahead; r++) {
    for (int k = 0; k < 2 && !s; k++) {
      int side = (r + k) % 2;
      s = koi_drive_use(v, sides[side]);
      if (!s) s = time(v, &out->s[side][r]);
    }
    out->ahead = !s && out->s[1][r] < out->s[0][r];
  }
  return s;
}

static void note(const koi_device *d, const koi_step_choice *c, koi_outcome outcome, const pair *t)
{
  pair own = *t;
  koi_tuned_line l = {.op = c->op, .n_samples = ROUNDS, .outcome = outcome};
  memcpy(l.c, c->c, sizeof l.c);
  memcpy(l.p, c->p, sizeof l.p);
  l.median_us = 1e6 * median(own.s[1]), l.default_us = 1e6 * median(own.s[0]);
  koi_tried_note(d, &l);
}

void koi_steps_note(const koi_device *d, const koi_op *op, const koi_tuned_table *was, const koi_tuned_table *is, const char *why)
{
  for (size_t i = was->n; i < is->n; i++) {
    const koi_tuned *e = &is->v[i];
    koi_tuned_line l = {.op = e->op, .bucket = e->bucket, .outcome = KOI_OUTCOME_WON};
    memcpy(l.c, e->c, sizeof l.c);
    memcpy(l.p, e->p, sizeof l.p);
    koi_print(l.note, sizeof l.note, "%s", why);
    if (e->op != op) koi_tried_note(d, &l);
  }
}

static koine_status try(koi_drive *v, size_t at, koi_step_choice *c, const int32_t *p)
{
  koi_device *d = koi_engine_stage(v->plan, 0)->dev;
  koi_tuned_table sides[2] = {d->tuned, {0}};
  koi_step_choice other = *c;
  pair t = {.ahead = false};
  pthread_mutex_lock(&d->lock);
  koine_status s = with(d, c, p, &sides[1]);
  pthread_mutex_unlock(&d->lock);
  if (s) return s;
  memcpy(other.p, p, sizeof other.p);
  s = time_pair(v, choices[at].time, sides, &t);
  koine_status back = koi_drive_use(v, sides[0]);
  if (s == KOINE_ERR_DEVICE || s == KOINE_ERR_MEMORY) s = KOINE_OK, t.ahead = false; /* that value is not for this device */
  c->n_tried++;
  if (!s) s = back;
  bool wins = !s && t.ahead && median(t.s[1]) < worthwhile * median(t.s[0]);
  if (!s && t.ahead) note(d, &other, wins ? KOI_OUTCOME_WON : KOI_OUTCOME_MEASURED, &t);
  if (!wins) {
    koi_tuned_clear(&sides[1]);
    return s;
  }
  koi_steps_note(d, c->op, &sides[0], &sides[1], "as for panels of another width");
  if (!c->won) c->default_s = median(t.s[0]);
  memcpy(c->p, p, sizeof c->p);
  c->won = true, c->best_s = median(t.s[1]);
  koi_tuned_clear(&sides[0]);
  return koi_drive_use(v, sides[1]);
}

/* ---- all of them ------------------------------------------------------------------------------------------------------- */
static koine_status tune_choice(koi_drive *v, size_t at, uint64_t deadline_ns, bool (*told)(void *, const char *), void *user, koi_step_choice *c)
{
  koi_target t;
  koi_stage *st = koi_engine_stage(v->plan, 0);
  double one = 0;
  koi_backend_target(st->dev, &t);
  if (koi_op_const(c->op, "TILE") >= 0) c->c[koi_op_const(c->op, "TILE")] = (int32_t)st->at.laid->tile;
  koine_status s = koi_choose(&t, c->op, c->c, 0, c->p, NULL);
  if (!s) s = choices[at].time(v, &one);
  uint64_t each = (uint64_t)(STEPS * one * 1e9);
  for (size_t i = 0; i < koi_op_n_params(c->op) && !s; i++)
    for (size_t k = 0; k < c->op->params[i].n_values && !s && koi_now_ns() + each < deadline_ns; k++) {
      int32_t p[KOI_MAX_PARAMS];
      memcpy(p, c->p, sizeof p);
      p[i] = c->op->params[i].values[k];
      if (p[i] == c->p[i] || !koi_legal(&t, c->op, c->c, p)) continue;
      if (!told(user, c->op->name)) return koi_error(KOINE_ERR_CANCELLED, "cancelled while tuning");
      s = try(v, at, c, p);
    }
  return s;
}

koine_status koi_steps_tune(koi_drive *v, uint64_t deadline_ns, bool (*told)(void *user, const char *what), void *user, koi_step_choice *out)
{
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < KOI_STEP_CHOICES && !s; i++) {
    uint64_t now = koi_now_ns(), left = now < deadline_ns ? deadline_ns - now : 0;
    out[i] = (koi_step_choice){.op = choices[i].op};
    s = tune_choice(v, i, now + left / (KOI_STEP_CHOICES - i), told, user, &out[i]);
  }
  return s;
}
