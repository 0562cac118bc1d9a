/* Logs handed on (tuned_text.h): the lines that decide something out, somebody else's lines in. Owns nothing. Invariant: only whole lines whose sum is
 * right, and whose names are ours, get into the user's log; what their parameters are worth here is decided each time they are read (choose.h). */
#include "tuned_text.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 64 << 20 };

/* ---- out --------------------------------------------------------------------------------------------------------------- */
typedef struct kept { uint64_t key, when_ms; size_t at, len; } kept; /* of which measurement; the line, in `lines` */
typedef struct exporting { const koi_endpoint *e; koi_text lines; kept *v; size_t n, cap; } exporting;

/* Of all that makes two lines say the same thing of the same device. */
static uint64_t key_of(const koi_tuned_read *r)
{
  const char *const texts[] = {r->l.op->name, r->vendor, r->platform, r->type, r->name, r->arch, r->driver, r->version};
  uint64_t h = koi_hash(r->l.c, sizeof r->l.c, koi_hash(&r->l.bucket, sizeof r->l.bucket, r->text));
  for (size_t i = 0; i < KOI_COUNT(texts); i++) h = koi_hash(texts[i], strlen(texts[i]) + 1, h);
  return h;
}

static koine_status collect(void *user, const koi_tuned_read *r)
{
  exporting *x = user;
  bool decides = r->l.outcome == KOI_OUTCOME_WON || r->l.outcome == KOI_OUTCOME_KEPT || (!koi_op_n_params(r->l.op) && r->l.outcome == KOI_OUTCOME_MEASURED);
  if (!decides || (x->e && koi_tuned_rung(r, x->e) > KOI_RUNG_STALE)) return KOINE_OK;
  if (x->n == x->cap) {
    size_t cap = x->cap ? 2 * x->cap : 256;
    kept *v = koi_realloc(x->v, cap, sizeof *v);
    if (!v) return KOINE_ERR_MEMORY;
    x->v = v, x->cap = cap;
  }
  kept *k = &x->v[x->n++];
  *k = (kept){key_of(r), r->l.when_ms, x->lines.len, 0};
  koi_tuned_raw(&x->lines, r);
  k->len = x->lines.len - k->at;
  return x->lines.failed ? koi_error(KOINE_ERR_MEMORY, "out of host memory") : KOINE_OK;
}

static int by_key(const void *pa, const void *pb)
{
  const kept *a = pa, *b = pb;
  if (a->key != b->key) return a->key < b->key ? -1 : 1;
  if (a->when_ms != b->when_ms) return a->when_ms < b->when_ms ? -1 : 1;
  return a->at < b->at ? -1 : a->at > b->at;
}

static int by_place(const void *pa, const void *pb)
{
  const kept *a = pa, *b = pb;
  return a->at < b->at ? -1 : a->at > b->at;
}

koine_status koi_tuned_export(const koine_runtime *rt, const koi_endpoint *e, char **out, size_t *n)
{
  exporting x = {.e = e};
  koi_tuned_counts c = {0};
  koi_text t = {0};
  koine_status s = koi_tuned_scan_log(rt->cache_dir, NULL, &c, collect, &x);
  size_t last = 0;
  if (x.n) qsort(x.v, x.n, sizeof *x.v, by_key);
  for (size_t i = 0; i < x.n; i++)
    if (i + 1 == x.n || x.v[i + 1].key != x.v[i].key) x.v[last++] = x.v[i];
  if (last) qsort(x.v, last, sizeof *x.v, by_place);
  for (size_t i = 0; i < last && !s; i++) koi_text_bytes(&t, x.lines.s + x.v[i].at, x.v[i].len);
  if (!s && !last) s = koi_error(KOINE_ERR_STATE, "there is nothing to export: koine tune was not run%s%s", e ? " on " : "", e ? e->id : "");
  size_t len = t.len;
  koi_free(x.lines.s);
  koi_free(x.v);
  if (!s) s = koi_text_take(&t, out);
  else koi_free(t.s);
  if (!s) *n = len;
  return s;
}

/* ---- in ---------------------------------------------------------------------------------------------------------------- */
typedef struct sums { uint64_t *v; size_t n, cap; } sums;
typedef struct importing { sums had; koi_text lines; size_t n_taken, n_had; } importing;

static uint64_t sum_of(const koi_tuned_read *r) { return koi_hash(r->raw, r->len, 0); }

static koine_status note_sum(void *user, const koi_tuned_read *r)
{
  sums *u = user;
  if (u->n == u->cap) {
    size_t cap = u->cap ? 2 * u->cap : 1024;
    uint64_t *v = koi_realloc(u->v, cap, sizeof *v);
    if (!v) return KOINE_ERR_MEMORY;
    u->v = v, u->cap = cap;
  }
  u->v[u->n++] = sum_of(r);
  return KOINE_OK;
}

static int ascending(const void *pa, const void *pb)
{
  uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;
  return a < b ? -1 : a > b;
}

static koine_status take(void *user, const koi_tuned_read *r)
{
  importing *m = user;
  uint64_t sum = sum_of(r);
  if (m->had.n && bsearch(&sum, m->had.v, m->had.n, sizeof sum, ascending)) return m->n_had++, KOINE_OK;
  koi_tuned_raw(&m->lines, r);
  m->n_taken++;
  return m->lines.failed ? koi_error(KOINE_ERR_MEMORY, "out of host memory") : KOINE_OK;
}

/* What of the whole log a device can use, and what not. */
static koine_status put_worth(koi_text *t, const koine_runtime *rt, size_t i)
{
  const koi_endpoint *e = &rt->endpoints[i];
  koi_tuned_table table = {0};
  koi_target target;
  size_t n[KOI_NOT_ASKED + 1] = {0};
  koine_status s = koi_tuned_gather(rt->cache_dir, rt->shipped_dir, e, &table);
  if (s) return s;
  koi_dev_target(e, &target);
  target.tuned = &table;
  for (size_t k = 0; k < table.n; k++) {
    koi_why why[KOI_RUNG_DEFAULT][KOI_N_ORIGINS];
    int32_t p[KOI_MAX_PARAMS] = {0};
    const koi_tuned *r = &table.v[k];
    koi_choose_why(&target, r->op, r->c, r->bucket, p, NULL, why);
    n[why[r->rung][r->origin].verdict]++;
  }
  koi_text_add(t, "%s (%s): %zu results are used as they are, %zu after a repair, %zu say that the default stays, %zu stand behind a better one, %zu are not legal here\n", e->id,
               e->name, n[KOI_TAKEN], n[KOI_REPAIRED], n[KOI_SAYS_DEFAULT], n[KOI_NOT_ASKED], n[KOI_ILLEGAL]);
  koi_tuned_clear(&table);
  return KOINE_OK;
}

static koine_status read_all(koine_runtime *rt, const char *name, char *text, size_t n, importing *m, koi_tuned_counts *c)
{
  koi_tuned_counts own = {.quiet = true};
  koine_status s = koi_tuned_scan_log(rt->cache_dir, NULL, &own, note_sum, &m->had);
  if (!s && m->had.n) qsort(m->had.v, m->had.n, sizeof *m->had.v, ascending);
  return s ? s : koi_tuned_scan_text(name, text, n, KOI_ORIGIN_USER, c, take, m);
}

koine_status koi_tuned_import(koine_runtime *rt, const char *name, const char *text, size_t n, char **report)
{
  importing m = {0};
  koi_tuned_counts c = {0};
  koi_text t = {0};
  if (!rt->cache_dir) return koi_error(KOINE_ERR_STATE, "there is no cache folder to keep results in");
  if (n > MAX_TEXT) return koi_error(KOINE_ERR_FILE, "%s: %zu bytes, expected at most %d", name, n, MAX_TEXT);
  char *own = koi_alloc(n + 1, 1);
  if (!own) return KOINE_ERR_MEMORY;
  memcpy(own, text, n);
  koine_status s = read_all(rt, name, own, n, &m, &c);
  if (!s && !m.n_taken && !m.n_had)
    s = koi_error(KOINE_ERR_FILE, "%s: no line of a log of measurements, as koine tune --export writes it, in %zu lines", name, c.n_lines);
  if (!s && m.n_taken) s = koi_tuned_write(rt->cache_dir, m.lines.s, m.lines.len);
  koi_text_add(&t, "%s: %zu lines taken, %zu there already, %zu damaged, %zu of another release\n", name, m.n_taken, m.n_had, c.n_damaged, c.n_foreign);
  for (size_t i = 0; i < rt->n_endpoints && !s; i++) s = put_worth(&t, rt, i);
  koi_free(own);
  koi_free(m.had.v);
  koi_free(m.lines.s);
  if (!s) return koi_text_take(&t, report);
  koi_free(t.s);
  return s;
}
