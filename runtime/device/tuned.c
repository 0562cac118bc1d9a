/* See tuned.h. Owns d->tuned and the tables that a machine's endpoints begin with. Invariant: of the lines on one rung from one origin, the last counts. */
#include "tuned.h"
#include <stdlib.h>
#include <string.h>

static bool is_off(void)
{
  const char *wanted = getenv("KOINE_TUNED");
  return wanted && !strcmp(wanted, "off");
}

/* ---- lines to a table -------------------------------------------------------------------------------------------------- */
static koine_status enter(koi_tuned_table *t, const koi_endpoint *e, const koi_tuned_read *r)
{
  const koi_tuned_line *l = &r->l;
  if (l->outcome != KOI_OUTCOME_WON && l->outcome != KOI_OUTCOME_KEPT) return KOINE_OK;
  koi_tuned own = {.op = l->op, .bucket = l->bucket, .tile = l->tile, .rung = koi_tuned_rung(r, e), .origin = r->origin, .line = (uint32_t)r->n,
                   .kept = l->outcome == KOI_OUTCOME_KEPT};
  if (own.rung == KOI_RUNG_DEFAULT || !koi_op_n_params(l->op)) return KOINE_OK;
  memcpy(own.c, l->c, sizeof own.c);
  memcpy(own.p, l->p, sizeof own.p);
  return koi_tuned_put(t, &own);
}

static koine_status enter_own(void *user, const koi_tuned_read *r)
{
  koi_device *d = user;
  return enter(&d->tuned, d->endpoint, r);
}

static void say_what_holds(const koi_device *d, const char *path)
{
  size_t n[KOI_N_RUNGS] = {0};
  for (size_t i = 0; i < d->tuned.n; i++) {
    const koi_tuned *e = &d->tuned.v[i];
    if (koi_tuned_find(&d->tuned, e->op, e->c, e->bucket, e->tile) == e && !e->kept) n[e->rung]++;
  }
  for (int r = 0; r < KOI_RUNG_DEFAULT; r++)
    if (n[r]) koi_log(KOINE_LOG_NOTE, "%s: parameters of %zu kernels: %s", path, n[r], koi_rung_name((koi_rung)r));
}

/* ---- a device's own ---------------------------------------------------------------------------------------------------- */
static koine_status refresh(koi_device *d, const char *path)
{
  koi_tuned_counts c = {.n_lines = d->tuned.n_lines};
  size_t at = d->tuned.read;
  koine_status s = koi_tuned_each(path, KOI_ORIGIN_USER, &at, &c, enter_own, d);
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

void koi_tuned_drop(koi_device *d) { koi_tuned_clear(&d->tuned); }
