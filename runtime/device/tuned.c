/* See tuned.h. Owns d->tuned and the tables that a machine's endpoints begin with. Invariant: of the lines on one rung from one origin the latest
 * by their own clock counts, of equal ones the last, so that it does not matter in which order logs were put together. */
#include "tuned.h"
#include <stdlib.h>
#include <string.h>

enum { DAY_MS = 86400000 };

static bool is_off(void)
{
  const char *wanted = getenv("KOINE_TUNED");
  return wanted && (!strcmp(wanted, "off") || !strcmp(wanted, "order"));
}

/* ---- lines to a table -------------------------------------------------------------------------------------------------- */
koine_status koi_tuned_enter(koi_tuned_table *t, const koi_tuned_read *r, koi_rung rung)
{
  const koi_tuned_line *l = &r->l;
  if (l->outcome != KOI_OUTCOME_WON && l->outcome != KOI_OUTCOME_KEPT) return KOINE_OK;
  if (!koi_op_n_params(l->op)) return KOINE_OK;
  const koi_tuned *old = koi_tuned_at(t, l->op, l->c, l->bucket, rung, r->origin);
  uint64_t when_ms = l->when_ms > koi_tuned_now_ms() + DAY_MS ? 0 : l->when_ms; /* of a clock that was wrong */
  if (old && old->when_ms > when_ms) return KOINE_OK;
  koi_tuned own = {.op = l->op, .bucket = l->bucket, .rung = rung, .origin = r->origin, .line = (uint32_t)r->n,
                   .kept = l->outcome == KOI_OUTCOME_KEPT};
  own.when_ms = when_ms, own.n_samples = l->n_samples, own.us = l->median_us, own.default_us = l->default_us;
  memcpy(own.c, l->c, sizeof own.c);
  memcpy(own.p, l->p, sizeof own.p);
  return koi_tuned_put(t, &own);
}

static koine_status enter_own(void *user, const koi_tuned_read *r)
{
  koi_device *d = user;
  koi_rung rung = koi_tuned_rung(r, d->endpoint);
  return rung == KOI_RUNG_DEFAULT ? KOINE_OK : koi_tuned_enter(&d->tuned, r, rung);
}

static void say_what_holds(const koi_device *d, const char *path)
{
  size_t n[KOI_N_RUNGS] = {0};
  for (size_t i = 0; i < d->tuned.n; i++) {
    const koi_tuned *e = &d->tuned.v[i];
    if (koi_tuned_find(&d->tuned, e->op, e->c, e->bucket) == e && !e->kept) n[e->rung]++;
  }
  for (int r = 0; r < KOI_RUNG_DEFAULT; r++)
    if (n[r]) koi_log(KOINE_LOG_NOTE, "%s: parameters of %zu kernels: %s", path, n[r], koi_rung_name((koi_rung)r));
}

/* ---- a device's own ---------------------------------------------------------------------------------------------------- */
static koine_status refresh(koi_device *d, const char *path)
{
  koi_tuned_counts c = {.n_lines = d->tuned.n_lines};
  size_t at = d->tuned.read;
  koine_status s = koi_tuned_scan(path, KOI_ORIGIN_USER, &at, &c, enter_own, d);
  d->tuned.read = at, d->tuned.n_lines = c.n_lines;
  if (!s) say_what_holds(d, path);
  return s;
}

koine_status koi_tuned_load(koi_device *d, const char *cache_dir)
{
  char *path;
  koine_status s = KOINE_OK;
  if (is_off()) {
    koi_tuned_drop(d);
    return s;
  }
  if (!d->tuned.n && !d->tuned.read && d->endpoint->known) s = koi_tuned_copy(d->endpoint->known, &d->tuned);
  if (!s) s = koi_tuned_path(cache_dir, &path);
  if (s) return s;
  if (path) s = refresh(d, path);
  if (s == KOINE_ERR_FILE) koi_log(KOINE_LOG_NOTE, "%s; kernels keep their default parameters", koi_error_text()), s = KOINE_OK;
  koi_free(path);
  return s;
}

typedef struct telling { const koi_endpoint *e; koi_tuned_each_fn *each; void *user; } telling;

static koine_status tell(void *user, const koi_tuned_read *r)
{
  const telling *t = user;
  koi_rung rung = koi_tuned_rung(r, t->e);
  return rung == KOI_RUNG_DEFAULT ? KOINE_OK : t->each(t->user, &r->l, rung);
}

koine_status koi_tuned_each(const koi_device *d, koi_tuned_each_fn *each, void *user)
{
  char *path;
  size_t at = 0;
  koi_tuned_counts c = {.quiet = true};
  telling t = {d->endpoint, each, user};
  koine_status s = koi_tuned_path(d->cache_dir, &path);
  if (!s && path) s = koi_tuned_scan(path, KOI_ORIGIN_USER, &at, &c, tell, &t);
  koi_free(path);
  return s == KOINE_ERR_FILE ? KOINE_OK : s;
}

/* ---- of any device ----------------------------------------------------------------------------------------------------- */
typedef struct gathering { const koi_endpoint *e; koi_tuned_table *t; } gathering;

static koine_status gather(void *user, const koi_tuned_read *r)
{
  gathering *g = user;
  koi_rung rung = koi_tuned_rung(r, g->e);
  return rung == KOI_RUNG_DEFAULT ? KOINE_OK : koi_tuned_enter(g->t, r, rung);
}

koine_status koi_tuned_gather(const char *cache_dir, const char *shipped, const koi_endpoint *e, koi_tuned_table *out)
{
  koi_tuned_table t = {0};
  gathering g = {e, &t};
  koi_tuned_counts c = {.quiet = true};
  koine_status s = koi_tuned_scan_log(cache_dir, shipped, &c, gather, &g);
  if (s) koi_tuned_clear(&t);
  else *out = t;
  return s;
}

void koi_tuned_drop(koi_device *d) { koi_tuned_clear(&d->tuned); }

/* Records in whatever order. */
uint64_t koi_tuned_hash(const koi_tuned_table *t)
{
  uint64_t sum = 0;
  for (size_t i = 0; koi_ops[i]; i++) sum += koi_hash(koi_ops[i]->name, strlen(koi_ops[i]->name), koi_tuned_text_hash(koi_ops[i]));
  for (size_t i = 0; t && i < t->n; i++) {
    const koi_tuned *e = &t->v[i];
    const int32_t rest[] = {e->bucket, (int32_t)e->rung, (int32_t)e->origin, e->kept};
    uint64_t h = koi_hash(e->op->name, strlen(e->op->name), 0);
    sum += koi_hash(rest, sizeof rest, koi_hash(e->p, sizeof e->p, koi_hash(e->c, sizeof e->c, h)));
  }
  return sum;
}
