/* See tune.h. Owns nothing beyond a call. Invariant: a contest runs just before its call in a real step, when all that the call reads is in place;
 * the step's own kernel runs afterwards, so that what candidates wrote is written anew. */
#include "tune.h"
#include <stdlib.h>
#include <string.h>
#include "drive.h"
#include "ends.h"
#include "engine/probe.h"
#include "shares.h"

enum { MAX_RING = 64, FIRST_PREFILL = 96 };
static const double least_share = 0.005, for_ends = 0.1; /* of a step; of the budget, to compare before and after */

typedef struct tune {
  koine_plan *p;
  koi_stage *st;
  koi_drive drive;
  koi_shares shares[2];    /* decode, prefill */
  koine_progress_fn *progress;
  void *user;
  double seconds;
  uint64_t start_ns, end_ns; /* of all contests; until when the mode at hand may go on */
  int mode;
  koi_key *key;            /* in contest */
  koi_args ring[MAX_RING];
  koi_speed before, after;
} tune;

static const char *const modes[] = {"decode", "prefill"};

/* ---- progress ---------------------------------------------------------------------------------------------------------- */
static bool say(const tune *t, const char *what)
{
  double spent = (double)(koi_now_ns() - t->start_ns) * 1e-9;
  return !t->progress || t->progress(t->user, what, (uint64_t)(spent < t->seconds ? spent : t->seconds), (uint64_t)t->seconds);
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
  while (i < s->n_keys && (s->keys[i].done || s->keys[i].call != b->call)) i++;
  if (i == s->n_keys) return KOINE_OK;
  koi_key *key = &s->keys[i];
  koi_contest k = {.d = st->dev, .op = key->op, .c = key->c, .bucket = key->bucket, .args = t->ring, .told = told, .user = t, .deadline_ns = deadline(t, key)};
  k.n_args = koi_shares_ring(s, b, t->ring, MAX_RING);
  koine_status status = koi_contest_run(&k, &key->r);
  key->done = true;
  if (status == KOINE_ERR_DEVICE) {
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

static koine_status tune_mode(tune *t, int mode, double until)
{
  double seconds;
  koi_shares *s = &t->shares[mode];
  uint32_t n = mode ? t->drive.n_prefill : 1;
  koi_watch share = koi_shares_watch(s), contests = {before_call, NULL, t};
  t->mode = mode, t->end_ns = t->start_ns + (uint64_t)(until * 1e9);
  koine_status st = koi_drive_step(&t->drive, mode, n, &share, &seconds);
  if (!st) st = koi_shares_sum(s);
  if (st) return st;
  pass_over_small(s);
  return koi_drive_step(&t->drive, mode, n, &contests, &seconds);
}

/* As many tokens as a chunk has, where the device is fast enough for that. */
static koine_status choose_prefill(tune *t)
{
  double seconds;
  uint32_t first = t->p->chunk < FIRST_PREFILL ? t->p->chunk : FIRST_PREFILL;
  if (!say(t, "measuring the defaults")) return koi_error(KOINE_ERR_CANCELLED, "cancelled while tuning");
  koine_status s = koi_drive_step(&t->drive, false, 1, NULL, &seconds);
  if (!s) s = koi_drive_step(&t->drive, true, first, NULL, &seconds);
  bool fast = seconds / first * t->p->chunk < 0.05 * t->seconds;
  t->drive.n_prefill = fast ? t->p->chunk : first;
  return s || !fast || first == t->p->chunk ? s : koi_drive_step(&t->drive, true, t->p->chunk, NULL, &seconds);
}

/* ---- from end to end --------------------------------------------------------------------------------------------------- */
/* Winners of a mode that is not faster with them than without are withdrawn. */
static koine_status withdraw(tune *t, int mode)
{
  koine_status s = KOINE_OK;
  if (t->after.per_s[mode] > t->before.per_s[mode]) return s;
  for (size_t i = 0; i < t->shares[mode].n_keys && !s; i++) {
    koi_key *k = &t->shares[mode].keys[i];
    if (!k->r.won) continue;
    koi_tuned_line l = {.op = k->op, .bucket = k->bucket, .outcome = KOI_OUTCOME_KEPT};
    memcpy(l.c, k->c, sizeof l.c);
    memcpy(l.p, k->r.p, sizeof l.p);
    s = koi_tuned_append(t->st->dev, &l);
    k->r.won = false;
  }
  return s;
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
  for (int mode = 0; mode < 2; mode++)
    for (size_t i = 0; i < t->shares[mode].n_keys; i++) any |= t->shares[mode].keys[i].r.won;
  if (!say(t, "comparing with the defaults")) return koi_error(KOINE_ERR_CANCELLED, "cancelled while tuning");
  if (!any) return koi_ends_plain(t->st->dev, &t->drive);
  koine_status s = koi_drive_compare(&t->drive, for_ends * t->seconds, &t->before, &t->after);
  for (int mode = 0; mode < 2 && !s; mode++) s = withdraw(t, mode);
  if (!s) koi_ends_note(t->st->dev, &t->drive, &t->before, &t->after);
  if (s) return s;
  pthread_mutex_lock(&t->st->dev->lock);
  s = koi_tuned_load(t->st->dev, t->st->dev->cache_dir);
  koi_kern_forget(t->st->dev);
  koine_status forgot = koi_run_forget(t->st);
  pthread_mutex_unlock(&t->st->dev->lock);
  return s ? s : forgot;
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

koine_status koi_tune(koine_plan *p, double seconds, koine_progress_fn *progress, void *user, koi_text *report)
{
  koi_stage *st = koi_engine_stage(p);
  koine_status s = check(st->dev);
  if (s) return s;
  tune *t = koi_alloc(1, sizeof *t);
  if (!t) return KOINE_ERR_MEMORY;
  *t = (tune){.p = p, .st = st, .progress = progress, .user = user, .seconds = seconds, .start_ns = koi_now_ns()};
  s = koi_drive_open(p, &t->drive);
  if (!s) s = choose_prefill(t);
  double spent = (double)(koi_now_ns() - t->start_ns) * 1e-9, half = ((1 - for_ends) * seconds - spent) / 2;
  if (!s) s = tune_mode(t, 0, spent + half);
  if (!s) s = tune_mode(t, 1, spent + 2 * half);
  if (!s) s = compare(t);
  if (!s) probe(t);
  if (!s) put(report, t);
  koi_drive_close(&t->drive);
  for (int mode = 0; mode < 2; mode++) koi_shares_free(&t->shares[mode]);
  koi_free(t);
  return s;
}
