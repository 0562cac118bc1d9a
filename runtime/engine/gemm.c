/* See gemm.h. Owns exec's `wide` (freed with the exec) and the file of remembered choices: one line a device and weight type, fields
 * separated by tabs. Invariant: a file that is absent, unreadable or damaged only ever means the own kernels. */
#include "gemm.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "graph.h"

enum { WIDE_BYTES = 16 << 20, MIN_ROWS = 32, RUNS = 3, N_FIELDS = 8, MAX_FILE_BYTES = 1 << 20 };

static const char *const type_names[KOI_GEMM_TYPES] = {"f32", "f16", "bf16", "fp8", "fp4"};
static const char heading[] = "# koine: device, driver, version, weight type, faster entry, tokens, own ms, clblast ms; made by koine bench --gemm\n";

const char *koi_gemm_type_name(int wt) { return type_names[wt]; }

/* ---- products ---- */
static bool fits(const koi_mat *m)
{
  return m->n_parts && m->n_units == 1 && m->sub_rows >= MIN_ROWS && (uint64_t)m->k * KOI_TILE * sizeof(float) <= WIDE_BYTES;
}

bool koi_gemm_takes(const koi_exec *x, const koi_mat *m, int32_t n)
{
  uint32_t from = x->gemm_from[m->wt];
  return from && (uint32_t)n >= from && fits(m);
}

/* A stack of matrices lies like one whose rows are padded to whole tiles at the end of each. */
static koine_status product_part(koi_exec *x, const koi_mat *m, const koi_mat_part *p, koi_buf *in, int32_t ldx, int32_t n, koi_buf *y, int32_t ldy)
{
  int32_t sub_tiles = (int32_t)koi_tiles((uint64_t)m->sub_rows), most = (int32_t)(WIDE_BYTES / sizeof(float) / KOI_TILE) / m->k;
  for (int32_t tile = p->tile0, tiles; tile < p->tile1; tile += tiles) {
    int32_t in_sub = tile % sub_tiles, row = in_sub * KOI_TILE;
    tiles = sub_tiles - in_sub;
    if (tiles > p->tile1 - tile) tiles = p->tile1 - tile;
    if (tiles > most) tiles = most;
    int32_t rows = tiles * KOI_TILE < m->sub_rows - row ? tiles * KOI_TILE : m->sub_rows - row;
    koine_status s = koi_exec_call(x, &koi_op_widen, (const int32_t[KOI_MAX_CONSTS]){m->wt, m->care},
                                   &(koi_args){.buf = {p->codes, p->scales, x->wide},
                                               .i = {m->k, m->n_sub * sub_tiles * KOI_TILE, p->tile0, tile * KOI_TILE, tile * KOI_TILE + rows}});
    if (!s) s = koi_exec_gemm(x, &(koi_args){.buf = {in, x->wide, y}, .i = {n, rows, m->k, ldx, tile / sub_tiles * m->sub_rows + row, ldy}});
    if (s) return s;
  }
  return KOINE_OK;
}

koine_status koi_gemm_product(koi_exec *x, const koi_mat *m, koi_buf *in, int32_t ldx, int32_t n, koi_buf *y, int32_t ldy)
{
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < m->n_parts && !s; i++) s = product_part(x, m, &m->parts[i], in, ldx, n, y, ldy);
  return s;
}

/* Scratch for widened rows, and one product: a device that cannot do it, or cannot compile it, shows that now. */
static koine_status ready(koi_exec *x)
{
  const koi_backend *b = x->dev->backend;
  if (x->wide) return KOINE_OK;
  koi_buf *wide = NULL;
  koine_status s = b->alloc(x->dev, WIDE_BYTES, &wide);
  if (!s) s = b->fill(x->dev, wide, 0);
  int32_t k = (int32_t)x->model->config.hidden, rows = WIDE_BYTES / (int32_t)sizeof(float) / k;
  if (!s) s = koi_exec_gemm(x, &(koi_args){.buf = {x->s[KOI_S_xn], wide, x->s[KOI_S_sub_out]}, .i = {(int32_t)x->chunk, rows < k ? rows : k, k, k, 0, k}});
  if (!s) s = b->finish(x->dev);
  if (s) {
    if (wide) b->free(x->dev, wide);
    return s;
  }
  x->wide = wide;
  x->scratch_bytes += WIDE_BYTES;
  return KOINE_OK;
}

/* ---- the file ---- */
static char *file_path(const koi_exec *x)
{
  const char *folder = x->dev->endpoint->cache_dir;
  return folder ? koi_format("%s/gemm", folder) : NULL;
}

typedef struct line { char *field[N_FIELDS]; int wt; uint32_t tokens; bool clblast; } line;

/* Cuts `text` into the fields of a line; false when they are not what is written here. */
static bool parse(char *text, line *l)
{
  size_t n = 0;
  for (char *at = text; at; n++) {
    char *next = strchr(at, '\t');
    if (next) *next++ = 0;
    if (n < N_FIELDS) l->field[n] = at;
    at = next;
  }
  if (n != N_FIELDS) return false;
  for (l->wt = 0; l->wt < KOI_GEMM_TYPES && strcmp(l->field[3], type_names[l->wt]); l->wt++) {}
  l->clblast = !strcmp(l->field[4], "clblast");
  char *end;
  unsigned long tokens = strtoul(l->field[5], &end, 10);
  l->tokens = (uint32_t)tokens;
  return l->wt < KOI_GEMM_TYPES && (l->clblast || !strcmp(l->field[4], "own")) && !*end && tokens >= KOI_GEMM_MIN_TOKENS && tokens <= INT32_MAX;
}

static bool is_device(const line *l, const koi_endpoint *e)
{
  return !strcmp(l->field[0], e->name) && !strcmp(l->field[1], e->driver) && !strcmp(l->field[2], e->version);
}

typedef void line_fn(void *user, const char *text, const line *l);

/* Every good line of the file. Without a file there are none. */
static koine_status each_line(const char *path, line_fn *fn, void *user)
{
  char *all = NULL, *save = NULL;
  size_t n_bytes, n = 0;
  struct stat st;
  if (stat(path, &st) && errno == ENOENT) return KOINE_OK;
  koine_status s = koi_file_read(path, MAX_FILE_BYTES, &all, &n_bytes);
  if (s) return s;
  for (char *text = strtok_r(all, "\n", &save); text && !s; text = strtok_r(NULL, "\n", &save)) {
    char *whole = koi_strdup(text);
    line l = {0};
    n++;
    if (!whole) s = KOINE_ERR_MEMORY;
    else if (*text != '#' && !parse(text, &l)) koi_log(KOINE_LOG_NOTE, "%s: entry %zu is none of koine bench --gemm and is skipped", path, n);
    else if (*text != '#') fn(user, whole, &l);
    koi_free(whole);
  }
  koi_free(all);
  return s;
}

static void recall_line(void *user, const char *text, const line *l)
{
  koi_exec *x = user;
  (void)text;
  if (!is_device(l, x->dev->endpoint)) return;
  uint32_t from = l->tokens / 2 > KOI_GEMM_MIN_TOKENS ? l->tokens / 2 : KOI_GEMM_MIN_TOKENS; /* far below what was measured it need not hold */
  x->gemm_from[l->wt] = l->clblast ? from : 0;
}

static koine_status recall(koi_exec *x)
{
  char *path = file_path(x);
  koine_status s = path ? each_line(path, recall_line, x) : KOINE_OK;
  if (s == KOINE_ERR_FILE) koi_log(KOINE_LOG_NOTE, "%s; dense products take the own kernels", koi_error_text()), s = KOINE_OK;
  koi_free(path);
  return s;
}

typedef struct rewrite { const koi_endpoint *e; const koi_gemm_figure *f; koi_text out; } rewrite;

static void keep_line(void *user, const char *text, const line *l)
{
  rewrite *r = user;
  if (!is_device(l, r->e) || !r->f[l->wt].own_ms) koi_text_add(&r->out, "%s\n", text);
}

/* The folder of the file, and the one above it. */
static void make_folders(char *path)
{
  char *last = strrchr(path, '/'), *above;
  *last = 0;
  above = strrchr(path, '/');
  *above = 0;
  if (*path) mkdir(path, 0700); /* what goes wrong here, writing the file reports */
  *above = '/';
  mkdir(path, 0700);
  *last = '/';
}

static koine_status remember(const koi_exec *x, const koi_gemm_figure *f)
{
  const koi_endpoint *e = x->dev->endpoint;
  char *path = file_path(x);
  if (!path) return koi_error(KOINE_ERR_FILE, "there is no cache folder: neither XDG_CACHE_HOME nor HOME names one, or the program wants none");
  rewrite r = {e, f, {0}};
  koi_text_add(&r.out, "%s", heading);
  koine_status s = each_line(path, keep_line, &r);
  for (int wt = 0; wt < KOI_GEMM_TYPES; wt++)
    if (f[wt].own_ms)
      koi_text_add(&r.out, "%s\t%s\t%s\t%s\t%s\t%" PRIu32 "\t%.3f\t%.3f\n", e->name, e->driver, e->version, type_names[wt],
                   f[wt].clblast_ms < f[wt].own_ms ? "clblast" : "own", x->chunk, f[wt].own_ms, f[wt].clblast_ms);
  make_folders(path);
  if (!s && r.out.failed) s = koi_error(KOINE_ERR_MEMORY, "out of host memory");
  if (!s) s = koi_file_replace(path, r.out.s, r.out.len);
  koi_free(r.out.s);
  koi_free(path);
  return s;
}

/* ---- the choice ---- */
koine_status koi_gemm_wake(koi_exec *x)
{
  const char *forced = getenv("KOINE_GEMM");
  bool own = forced && !strcmp(forced, "own"), clblast = forced && !strcmp(forced, "clblast");
  if (!x->dev->backend->gemm || x->chunk < KOI_GEMM_MIN_TOKENS || own) return KOINE_OK;
  if (forced && !clblast) koi_log(KOINE_LOG_WARNING, "KOINE_GEMM=%s: expected own or clblast; ignored", forced);
  koine_status s = clblast ? KOINE_OK : recall(x);
  bool any = clblast;
  for (int wt = 0; wt < KOI_GEMM_TYPES; wt++) {
    if (clblast) x->gemm_from[wt] = KOI_GEMM_MIN_TOKENS;
    any |= x->gemm_from[wt] > 0;
  }
  if (!s && any) s = ready(x);
  if (s != KOINE_ERR_DEVICE) return s;
  koi_log(KOINE_LOG_WARNING, "dense products take the own kernels: %s", koi_error_text());
  memset(x->gemm_from, 0, sizeof x->gemm_from);
  return KOINE_OK;
}

/* ---- measuring ---- */
/* The dense products of layer l, as graph.c has them; ends with NULL. */
static void products(const koi_dev_layer *l, const koi_mat *m[20])
{
  const koi_mat *all[] = {&l->hc_attn.fn, &l->hc_ffn.fn, &l->wq_a, &l->wq_b, &l->wkv, &l->wo_b, &l->comp.wkv, &l->comp.wgate, &l->index_comp.wkv,
                          &l->index_comp.wgate, &l->index_wq_b, &l->index_weights, &l->gate, &l->shared_up, &l->shared_down};
  for (size_t i = 0; i < KOI_COUNT(all); i++)
    if (fits(all[i])) *m++ = all[i];
  *m = NULL;
}

typedef struct shape { const koi_mat *m; size_t count; double ms[2]; } shape; /* own, clblast */

static bool same(const koi_mat *a, const koi_mat *b)
{
  return a->wt == b->wt && a->care == b->care && a->k == b->k && a->sub_rows == b->sub_rows && a->n_sub == b->n_sub && a->n_parts == b->n_parts;
}

/* The distinct products of all layers; *out is [*n], the caller's. */
static koine_status shapes(const koi_exec *x, shape **out, size_t *n)
{
  const koi_mat *m[20];
  uint32_t n_layers = x->model->config.n_layers;
  *n = 0;
  *out = koi_alloc((size_t)n_layers * KOI_COUNT(m), sizeof **out);
  if (!*out) return KOINE_ERR_MEMORY;
  for (uint32_t l = 0; l < n_layers; l++) {
    products(&x->weights.layers[l], m);
    for (size_t i = 0; m[i]; i++) {
      size_t at = 0;
      while (at < *n && !same((*out)[at].m, m[i])) at++;
      if (at == *n) (*out)[(*n)++].m = m[i];
      (*out)[at].count++;
    }
  }
  return KOINE_OK;
}

void koi_gemm_types(const koi_exec *x, koi_gemm_figure f[KOI_GEMM_TYPES])
{
  const koi_mat *m[20];
  for (uint32_t l = 0; l < x->model->config.n_layers; l++) {
    products(&x->weights.layers[l], m);
    for (size_t i = 0; m[i]; i++) f[m[i]->wt].used = true;
  }
}

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The median of RUNS after one that compiles and warms up. b: X, its panels, Y. */
static koine_status time_entry(koi_exec *x, const koi_mat *m, koi_buf *b[3], bool clblast, double *ms)
{
  double t[RUNS];
  koine_status s = x->dev->backend->finish(x->dev);
  x->gemm_from[m->wt] = clblast;
  for (int i = -1; i < RUNS && !s; i++) {
    uint64_t start = koi_now_ns();
    s = koi_graph_product(x, m, b[0], b[1], (int32_t)x->chunk, b[2]);
    if (!s) s = x->dev->backend->finish(x->dev);
    if (i >= 0) t[i] = (double)(koi_now_ns() - start) * 1e-6;
  }
  qsort(t, RUNS, sizeof *t, ascending);
  if (!s) *ms = t[RUNS / 2];
  return s;
}

/* Packing the panels is not timed: several products share it. */
static koine_status time_shape(koi_exec *x, shape *p)
{
  const koi_backend *be = x->dev->backend;
  size_t k = (size_t)p->m->k * sizeof(float), columns = koi_ceil_div(x->chunk, (uint64_t)x->nt) * (size_t)x->nt;
  const size_t bytes[3] = {x->chunk * k, columns * k, x->chunk * (size_t)p->m->n_sub * (size_t)p->m->sub_rows * sizeof(float)};
  koi_buf *b[3] = {NULL, NULL, NULL};
  koine_status s = KOINE_OK;
  for (int i = 0; i < 3 && !s; i++) {
    s = be->alloc(x->dev, bytes[i], &b[i]);
    if (!s) s = be->fill(x->dev, b[i], 0);
  }
  for (int e = 0; e < 2 && !s; e++) s = time_entry(x, p->m, b, e, &p->ms[e]);
  for (int i = 0; i < 3; i++)
    if (b[i]) be->free(x->dev, b[i]);
  return s;
}

static koine_status time_shapes(koi_exec *x, koine_progress_fn *progress, void *user, koi_gemm_figure *f)
{
  shape *p = NULL;
  size_t n = 0;
  koine_status s = shapes(x, &p, &n);
  for (size_t i = 0; i < n && !s; i++) {
    if (progress && !progress(user, "dense products", i, n)) s = koi_error(KOINE_ERR_CANCELLED, "cancelled");
    if (!s) s = time_shape(x, &p[i]);
    koi_gemm_figure *g = &f[p[i].m->wt];
    g->own_ms += (double)p[i].count * p[i].ms[0], g->clblast_ms += (double)p[i].count * p[i].ms[1];
  }
  koi_free(p);
  return s;
}

koine_status koi_gemm_measure(koi_exec *x, koine_progress_fn *progress, void *user, koi_gemm_figure f[KOI_GEMM_TYPES])
{
  uint32_t before[KOI_GEMM_TYPES];
  koi_gemm_types(x, f);
  if (!x->dev->backend->gemm || x->chunk < KOI_GEMM_MIN_TOKENS) {
    koi_log(KOINE_LOG_WARNING, "dense products: there is one entry only: %s", x->dev->backend->gemm ? "chunks are too small for another" : "no CLBlast for this device in this build");
    return KOINE_OK;
  }
  koine_status s = ready(x);
  if (s) return s;
  memcpy(before, x->gemm_from, sizeof before);
  s = time_shapes(x, progress, user, f);
  memcpy(x->gemm_from, before, sizeof before);
  if (!s) s = remember(x, f);
  if (s == KOINE_ERR_FILE) koi_log(KOINE_LOG_WARNING, "the choice for dense products is not remembered: %s", koi_error_text()), s = KOINE_OK;
  for (int wt = 0; wt < KOI_GEMM_TYPES && !s && !getenv("KOINE_GEMM"); wt++)
    if (f[wt].own_ms) x->gemm_from[wt] = f[wt].clblast_ms < f[wt].own_ms ? (x->chunk / 2 > KOI_GEMM_MIN_TOKENS ? x->chunk / 2 : KOI_GEMM_MIN_TOKENS) : 0;
  return s;
}
