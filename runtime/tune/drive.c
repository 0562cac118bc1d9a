/* See drive.h. Owns the session. Invariant: nothing that is bound or chosen outlives a change of the device's tuned parameters. */
#include "drive.h"
#include <stdlib.h>
#include <string.h>
#include "device/kern.h"

static const double far_ahead = 1.5;
enum { DEPTH = 1024, N_DECODE = 4, MIN_TURNS = 3, MAX_TURNS = KOI_DRIVE_TURNS, BEAT_NS = 500000000 };

/* Tokens of a step and all that lies before it. */
static size_t most_tokens(const koi_drive *v) { return v->depth + v->plan->chunk + N_DECODE; }

static koine_status open_session(koi_drive *v)
{
  koine_session_options o = {.size = sizeof o, .context = most_tokens(v)};
  return koi_session_open(v->plan, &o, &v->s);
}

koine_status koi_drive_open(koine_plan *p, koi_drive *out)
{
  uint64_t most = p->model->config.max_context / 4;
  *out = (koi_drive){.plan = p, .depth = most && most < DEPTH ? (size_t)most : DEPTH, .n_prefill = p->chunk};
  out->tokens = koi_alloc(most_tokens(out), sizeof *out->tokens);
  out->logits = koi_alloc(p->model->config.n_vocab, sizeof *out->logits);
  return out->tokens && out->logits ? open_session(out) : KOINE_ERR_MEMORY;
}

void koi_drive_close(koi_drive *v)
{
  koi_session_close(v->s);
  koi_free(v->tokens);
  koi_free(v->logits);
  *v = (koi_drive){0};
}

koine_status koi_drive_beat(koi_drive *v)
{
  uint64_t now = koi_now_ns();
  if (!v->beat || now - v->beat_ns < BEAT_NS) return KOINE_OK;
  v->beat_ns = now;
  return v->beat(v->user) ? KOINE_OK : koi_error(KOINE_ERR_CANCELLED, "cancelled while tuning");
}

static koine_status beat(void *user, koi_stage *st, const koi_bound_call *b) { return (void)st, (void)b, koi_drive_beat(user); }

koine_status koi_drive_step(koi_drive *v, bool prefill, uint32_t n, const koi_watch *watch, double *seconds)
{
  koine_eval_options one = {.size = sizeof one, .n_logits = 1};
  koine_status s = koi_session_fill(v->s, v->depth);
  if (s) return s;
  memcpy(v->tokens, v->s->held, v->depth * sizeof *v->tokens);
  for (uint32_t i = 0; i < n; i++) v->tokens[v->depth + i] = (int32_t)((i * 7919u + 13u) % v->plan->model->config.n_vocab);
  koi_watch alone = {beat, NULL, v};
  v->s->watch = watch ? watch : &alone;
  uint64_t start = koi_now_ns();
  if (prefill) s = koi_session_eval(v->s, v->tokens, v->depth + n, &one, v->logits);
  for (uint32_t i = 1; !prefill && i <= n && !s; i++) s = koi_session_eval(v->s, v->tokens, v->depth + i, &one, v->logits);
  *seconds = (double)(koi_now_ns() - start) * 1e-9;
  v->s->watch = NULL;
  return s;
}

/* ---- before and after -------------------------------------------------------------------------------------------------- */
typedef struct turns { double v[2][MAX_TURNS]; size_t n; } turns; /* decode, prefill */

koine_status koi_drive_use(koi_drive *v, koi_tuned_table t)
{
  koi_stage *st = koi_engine_stage(v->plan, 0);
  koi_target target;
  koi_tunables u;
  koi_stage_lock(st);
  st->dev->tuned = t;
  koi_kern_forget(st->dev);
  koine_status s = koi_run_forget(st);
  koi_backend_target(st->dev, &target);
  koi_plan_tunables(v->plan, &target, st->at.laid->tile, &u);
  memcpy(u.gemm_from, st->at.tunables.gemm_from, sizeof u.gemm_from); /* gemm.c's */
  if (!s && memcmp(&u, &st->at.tunables, sizeof u)) s = koi_stage_retune(st, &u);
  koi_stage_unlock(st);
  return s;
}

/* ---- other layouts ----------------------------------------------------------------------------------------------------- */
static bool wake_beat(void *user, const char *what, uint64_t done, uint64_t total) { return (void)what, (void)done, (void)total, !koi_drive_beat(user); }

koine_status koi_drive_wake(koi_drive *v, koi_device *d, koi_tuned_table t)
{
  koi_session_close(v->s);
  v->s = NULL;
  koi_engine_sleep(v->plan);
  pthread_mutex_lock(&d->lock);
  d->tuned = t;
  koi_kern_forget(d);
  pthread_mutex_unlock(&d->lock);
  koine_status s = koi_engine_wake(v->plan, wake_beat, v);
  return s ? s : open_session(v);
}

/* ---- speeds ------------------------------------------------------------------------------------------------------------ */
/* `warm`: kernels are built, and nothing is counted. */
static koine_status turn(koi_drive *v, turns *t, bool warm)
{
  double seconds[2];
  koine_status s = koi_drive_step(v, false, warm ? 1 : N_DECODE, NULL, &seconds[0]);
  if (!s) s = koi_drive_step(v, true, v->n_prefill, NULL, &seconds[1]);
  if (s || warm) return s;
  t->v[0][t->n] = N_DECODE / seconds[0], t->v[1][t->n] = v->n_prefill / seconds[1];
  t->n++;
  return KOINE_OK;
}

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
  qsort(v, n, sizeof *v, ascending);
  return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static void speed_of(turns *t, koi_speed *out)
{
  out->n = t->n;
  for (int i = 0; i < 2; i++) {
    out->per_s[i] = median(t->v[i], t->n);
    out->low[i] = t->v[i][0], out->high[i] = t->v[i][t->n - 1]; /* sorted by now */
  }
}

koine_status koi_drive_speed(koi_drive *v, size_t n, koi_speed *out)
{
  turns t = {.n = 0};
  koine_status s = turn(v, &t, true);
  for (size_t i = 0; i < n && !s; i++) s = turn(v, &t, false);
  if (!s) speed_of(&t, out);
  return s;
}

double koi_drive_turns_s(double token_s, double prefill_s) { return 2 * (N_DECODE * token_s + prefill_s) + token_s; }

/* Whether more turns would not change the picture: one is far ahead in both. */
static bool is_clear(const turns *a, const turns *b)
{
  bool far = true;
  for (int mode = 0; mode < 2; mode++) far = far && b->v[mode][0] > far_ahead * a->v[mode][0];
  return far;
}

koine_status koi_drive_compare(koi_drive *v, double seconds, koi_speed *before, koi_speed *after)
{
  koi_stage *st = koi_engine_stage(v->plan, 0);
  koi_tuned_table tuned = st->dev->tuned, none = {0};
  turns t[2] = {{.n = 0}, {.n = 0}};
  koine_status s = koi_drive_use(v, tuned);
  if (!s) s = turn(v, &t[1], true);
  uint64_t start = koi_now_ns();
  for (size_t i = 0; i < MAX_TURNS && !s; i++) {
    double spent = (double)(koi_now_ns() - start) * 1e-9;
    bool late = i && spent * (double)(i + 1) / (double)i > seconds;
    if (late && (i >= MIN_TURNS || spent > seconds || is_clear(&t[0], &t[1]))) break;
    for (size_t k = 0; k < 2 && !s; k++) { /* who begins changes */
      size_t side = (i + k) % 2;
      s = koi_drive_use(v, side ? tuned : none);
      if (!s) s = turn(v, &t[side], false);
    }
  }
  koine_status back = koi_drive_use(v, tuned);
  if (s || back) return s ? s : back;
  speed_of(&t[0], before);
  speed_of(&t[1], after);
  return KOINE_OK;
}
