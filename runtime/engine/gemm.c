/* See gemm.h. Owns nothing that outlives a call. */
#include "gemm.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "device/tuned.h"
#include "run.h"

static const double far_slower = 1.5;
enum { RUNS = 3, IN = KOI_S_xn, PANELS = KOI_S_xn_panels, OUT = KOI_S_sub_out }; /* stand for buffers of a product's own */

/* ---- the choice ---- */
/* One small product: a device that cannot do it, or cannot compile it, shows that now. */
static koine_status try_gemm(koi_stage *st)
{
  int32_t k = (int32_t)st->model->config.hidden, rows = (int32_t)(KOI_WIDE_BYTES / sizeof(float)) / k;
  koine_status s = koi_stage_need_wide(st);
  if (!s) s = st->dev->backend->fill(st->dev, st->s[KOI_S_wide], 0);
  koi_args a = {.buf = {[GEMM_X] = st->s[KOI_S_xn], [GEMM_W] = st->s[KOI_S_wide], [GEMM_Y] = st->s[KOI_S_sub_out]},
                .i = {[GEMM_N] = (int32_t)st->plan->chunk, [GEMM_ROWS] = rows < k ? rows : k, [GEMM_K] = k, [GEMM_LDX] = k, [GEMM_LDY] = k}};
  if (!s) s = koi_stage_call(st, &koi_op_gemm, (const int32_t[KOI_MAX_CONSTS]){0}, &a);
  return s ? s : st->dev->backend->finish(st->dev);
}

koine_status koi_gemm_wake(koi_stage *st)
{
  const char *forced = getenv("KOINE_GEMM"), *library = st->dev->backend->gemm_name;
  uint32_t *from = st->at.tunables.gemm_from;
  bool own = forced && !strcmp(forced, "own"), always = forced && library && !strcmp(forced, library), any = false;
  if (!st->dev->backend->gemm || st->plan->chunk < KOI_GEMM_MIN_TOKENS || own) {
    memset(from, 0, sizeof st->at.tunables.gemm_from);
    return KOINE_OK;
  }
  if (forced && !always) koi_log(KOINE_LOG_WARNING, "KOINE_GEMM=%s: expected own or %s; ignored", forced, library);
  koine_status s = KOINE_OK;
  for (int wt = 0; wt < KOI_N_FORMATS; wt++) {
    if (always) from[wt] = KOI_GEMM_MIN_TOKENS;
    any |= from[wt] > 0;
  }
  if (any) s = try_gemm(st);
  if (s != KOINE_ERR_DEVICE) return s;
  koi_log(KOINE_LOG_WARNING, "dense products take the own kernels: %s", koi_error_text());
  memset(from, 0, sizeof st->at.tunables.gemm_from);
  return KOINE_OK;
}

/* ---- measuring ---- */
typedef struct product { const koi_laid *w; size_t count; double ms[2]; } product; /* own, library */

static bool same(const koi_part *parts, const koi_laid *a, const koi_laid *b)
{
  return a->wt == b->wt && parts[a->first].care == parts[b->first].care && a->k == b->k && a->sub_rows == b->sub_rows && a->n_sub == b->n_sub && a->n_parts == b->n_parts;
}

static const koi_laid *dense(const koi_stage *st, uint32_t layer, size_t role)
{
  const koi_laid *w = &st->at.laid->layers[layer][role];
  return koi_role_is_dense(&koi_layer_roles[role]) && koi_graph_library_fits(w) ? w : NULL;
}

static int smaller(const void *a, const void *b)
{
  const koi_laid *x = ((const product *)a)->w, *y = ((const product *)b)->w;
  return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The distinct products of all layers, the smallest first; *out is [*n], the caller's. */
static koine_status products(const koi_stage *st, product **out, size_t *n)
{
  *n = 0;
  *out = koi_alloc((size_t)(st->at.layer1 - st->at.layer0) * KOI_N_LAYER_ROLES, sizeof **out);
  if (!*out) return KOINE_ERR_MEMORY;
  for (uint32_t l = st->at.layer0; l < st->at.layer1; l++)
    for (size_t r = 0; r < KOI_N_LAYER_ROLES; r++) {
      const koi_laid *w = dense(st, l, r);
      size_t at = 0;
      while (w && at < *n && !same(st->at.laid->parts, (*out)[at].w, w)) at++;
      if (w && at == *n) (*out)[(*n)++].w = w;
      if (w) (*out)[at].count++;
    }
  qsort(*out, *n, sizeof **out, smaller);
  return KOINE_OK;
}

void koi_gemm_types(const koi_stage *st, koi_gemm_figure *f)
{
  for (uint32_t l = st->at.layer0; l < st->at.layer1; l++)
    for (size_t r = 0; r < KOI_N_LAYER_ROLES; r++) {
      const koi_laid *w = dense(st, l, r);
      if (w) f[w->wt].used = true;
    }
}

typedef struct buffers { koi_buf *in, *panels, *out; } buffers;

static koine_status run_product(koi_stage *st, const koi_calls *calls, const buffers *b)
{
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < calls->n && !s; i++) {
    const koi_call *c = &calls->v[i];
    koi_args a;
    koi_run_args(st, false, c, NULL, &a);
    for (size_t k = 0; k < KOI_MAX_BUFS; k++) {
      if (c->buf[k].space != KOI_AT_SCRATCH || c->buf[k].id == KOI_S_wide) continue;
      a.buf[k] = c->buf[k].id == IN ? b->in : c->buf[k].id == PANELS ? b->panels : b->out;
    }
    s = koi_stage_call(st, c->op, c->c, &a);
  }
  return s ? s : st->dev->backend->finish(st->dev);
}

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The median of RUNS after one that compiles and warms up, or the first where that is beyond most_ms. Packing the panels is not timed: several
 * products share it. */
static koine_status time_entry(koi_stage *st, const koi_laid *w, const buffers *b, bool library, double most_ms, double *ms)
{
  double t[RUNS] = {0};
  int n = RUNS;
  koi_calls calls = {0};
  koi_graph g = koi_plan_graph(st->plan, &st->at);
  st->at.tunables.gemm_from[w->wt] = library;
  koine_status s = koi_graph_product(&g, w, st->plan->chunk, IN, PANELS, OUT, &calls);
  for (int i = -1; i < n && !s; i++) {
    uint64_t start = koi_now_ns();
    s = run_product(st, &calls, b);
    if (i >= 0) t[i] = (double)(koi_now_ns() - start) * 1e-6;
    if (!i && t[0] > most_ms) n = 1;
  }
  koi_calls_free(&calls);
  qsort(t, (size_t)n, sizeof *t, ascending);
  if (!s) *ms = t[n / 2];
  return s;
}

static koine_status time_product(koi_stage *st, bool bounded, product *p)
{
  size_t n = st->plan->chunk, nt = (size_t)st->at.tunables.nt, k = (size_t)p->w->k * sizeof(float), columns = koi_ceil_div(n, nt) * nt;
  const size_t bytes[] = {n * k, columns * k, n * (size_t)p->w->n_sub * (size_t)p->w->sub_rows * sizeof(float)};
  koi_buf *b[KOI_COUNT(bytes)] = {NULL};
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < KOI_COUNT(bytes) && !s; i++) {
    s = koi_device_alloc(st->dev, bytes[i], &b[i]);
    if (!s) s = st->dev->backend->fill(st->dev, b[i], 0);
  }
  const buffers own = {b[0], b[1], b[2]};
  if (!s) s = time_entry(st, p->w, &own, false, INFINITY, &p->ms[0]);
  if (!s) s = time_entry(st, p->w, &own, true, bounded ? far_slower * p->ms[0] : INFINITY, &p->ms[1]);
  for (size_t i = 0; i < KOI_COUNT(bytes); i++) koi_device_free(st->dev, b[i]);
  return s;
}

/* Bounded, a library that is far slower in one product of a format has lost that format, and one that time was too short for stays as it was. */
static koine_status time_products(koi_stage *st, uint64_t deadline_ns, koine_progress_fn *progress, void *user, koi_gemm_figure *f)
{
  bool bounded = deadline_ns != KOI_GEMM_NO_DEADLINE, lost[KOI_N_FORMATS] = {false};
  product *p = NULL;
  size_t n = 0, i = 0;
  koine_status s = products(st, &p, &n);
  for (; i < n && !s && koi_now_ns() < deadline_ns; i++) {
    int32_t wt = p[i].w->wt;
    if (lost[wt]) continue;
    if (progress && !progress(user, "dense products", i, n)) s = koi_error(KOINE_ERR_CANCELLED, "cancelled");
    if (!s) s = time_product(st, bounded, &p[i]);
    f[wt].own_ms += (double)p[i].count * p[i].ms[0], f[wt].library_ms += (double)p[i].count * p[i].ms[1];
    lost[wt] = bounded && p[i].ms[1] > far_slower * p[i].ms[0];
  }
  for (; i < n; i++)
    if (!lost[p[i].w->wt]) f[p[i].w->wt].own_ms = 0;
  koi_free(p);
  return s;
}

/* From how many tokens on a product takes the library, when it was faster for n_tokens: far below half of that it need not hold. */
static uint32_t from_tokens(uint32_t n_tokens)
{
  const koi_param *q = &koi_step_library.params[LIBRARY_FROM];
  size_t i = 0;
  while (i + 1 < q->n_values && q->values[i] < KOI_GEMM_MIN_TOKENS) i++;
  while (i + 1 < q->n_values && (uint32_t)q->values[i] < n_tokens / 2) i++;
  return (uint32_t)q->values[i];
}

static koine_status remember(const koi_stage *st, int wt, const koi_gemm_figure *f)
{
  bool library = f->library_ms < f->own_ms;
  koi_tuned_line l = {.op = &koi_step_library, .c = {[LIBRARY_WT] = wt, [LIBRARY_TILE] = (int32_t)st->at.laid->tile}, .n_samples = RUNS, .default_us = 1e3 * f->own_ms, .median_us = 1e3 * (library ? f->library_ms : f->own_ms),
                      .outcome = library ? KOI_OUTCOME_WON : KOI_OUTCOME_KEPT};
  if (library) l.p[LIBRARY_FROM] = (int32_t)from_tokens(st->plan->chunk);
  koi_print(l.note, sizeof l.note, "chunks of %u tokens: own %.3f ms, %s %.3f ms", st->plan->chunk, f->own_ms, st->dev->backend->gemm_name, f->library_ms);
  return koi_tuned_append(st->dev, &l);
}

static koine_status decide(koi_stage *st, const koi_gemm_figure *f)
{
  uint32_t *from = st->at.tunables.gemm_from;
  koine_status s = st->dev->cache_dir ? KOINE_OK : koi_error(KOINE_ERR_FILE, "there is no cache folder");
  for (int wt = 0; wt < KOI_N_FORMATS; wt++) {
    if (!f[wt].own_ms) continue;
    if (!s) s = remember(st, wt, &f[wt]);
    if (!getenv("KOINE_GEMM")) from[wt] = f[wt].library_ms < f[wt].own_ms ? from_tokens(st->plan->chunk) : 0;
  }
  if (s == KOINE_ERR_FILE) koi_log(KOINE_LOG_WARNING, "the choice for dense products is not remembered: %s", koi_error_text()), s = KOINE_OK;
  return s ? s : koi_tuned_load(st->dev, st->dev->cache_dir);
}

koine_status koi_gemm_measure(koi_stage *st, uint64_t deadline_ns, koine_progress_fn *progress, void *user, koi_gemm_figure *f)
{
  uint32_t before[KOI_N_FORMATS], *from = st->at.tunables.gemm_from;
  koi_gemm_types(st, f);
  if (!st->dev->backend->gemm || st->plan->chunk < KOI_GEMM_MIN_TOKENS) {
    koi_log(KOINE_LOG_WARNING, "dense products: there is one entry only: %s", st->dev->backend->gemm ? "chunks are too small for another" : "no library for this device in this build");
    return KOINE_OK;
  }
  memcpy(before, from, sizeof before);
  for (int wt = 0; wt < KOI_N_FORMATS; wt++) from[wt] = 1;
  koine_status s = koi_stage_need_wide(st);
  if (!s) s = time_products(st, deadline_ns, progress, user, f);
  memcpy(from, before, sizeof before);
  koine_status forgot = koi_run_forget(st);
  if (!s) s = forgot;
  return s ? s : decide(st, f);
}
