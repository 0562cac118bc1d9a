/* See quant.h: which tensors there will be, and the threads that read, encode and write them, 16 rows at a time.
 * Owns the list of tensors. Invariant: memory does not grow with the model; a file that has its name is whole. */
#include "quant.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "base/thread.h"
#include "kernels/encode.h"
#include "meta.h"
#include "mix.h"
#include "model/names.h"
#include "model/rows.h"

enum { ROWS = KOI_STRIP, PIECE = 256 /* columns decoded at once */, MAX_THREADS = 1024, WT_IDS = -2 };

typedef struct target {
  char name[KOI_NAMES_BYTES];
  const koi_weight *w;
  uint32_t sub;
  int wt;              /* KOI_WT_*, or WT_IDS */
  bool vector;         /* it, or a table of terms: one format, and one row */
  uint64_t n, rows, k; /* matrices of rows and columns as written; a vector is one row */
  uint64_t at, bytes;
  const koi_importance_entry *importance; /* NULL: none */
} target;

typedef struct job {
  const koine_model *model;
  const koine_quantize_options *o;
  const koi_mix *mix;
  target *v; /* [n_targets] */
  size_t n_targets, cap;
  koine_status status; /* while the list is made */
  koi_out *out;
  pthread_mutex_t lock; /* of what follows */
  size_t next;
  uint64_t unit, row, done, total; /* what the next thread takes; values */
  koine_status failed;
  char message[512];
} job;

/* ---- which tensors ---- */
/* The name in a GGUF file. */
static void name_of(int layer, const koi_role *r, uint32_t sub, char out[KOI_NAMES_BYTES])
{
  char ours[KOI_NAMES_BYTES], before[32] = "";
  if (layer >= 0) snprintf(before, sizeof before, "layers.%d.", layer);
  snprintf(ours, sizeof ours, "%s%s%s%s%s", before, r->path, r->units == KOI_EXPERTS ? "0." : "", r->name[sub], r->suffix);
  const char *stored = koi_names_stored(ours, out);
  if (stored != out) snprintf(out, KOI_NAMES_BYTES, "%s", ours);
}

static koine_status settle_format(const job *j, target *t)
{
  const koi_weight_format *f = &koi_formats[t->wt];
  if (t->k % f->block_columns == 0) return KOINE_OK;
  if (!j->o->fallback)
    return koi_error(KOINE_ERR_UNSUPPORTED, "%s: %.200s: expected rows of a multiple of %u values for %s, found %ju: give a fallback", j->model->path, t->name,
                     f->block_columns, f->title, (uintmax_t)t->k);
  int wt = !strcasecmp(j->o->fallback, "usual") ? koi_mix_fallback(t->wt, t->k) : koi_mix_format(j->o->fallback);
  if (wt == KOI_FORMAT_NONE) return koi_error(KOINE_ERR_ARG, "fallback: expected \"usual\" or the name of a format, as Q8_0 or F16, found \"%.40s\"", j->o->fallback);
  if (t->k % koi_formats[wt].block_columns)
    return koi_error(KOINE_ERR_UNSUPPORTED, "%s: %.200s: expected rows of a multiple of %u values for the fallback %s, found %ju", j->model->path, t->name,
                     koi_formats[wt].block_columns, koi_formats[wt].title, (uintmax_t)t->k);
  koi_log(KOINE_LOG_WARNING, "%.200s: rows of %ju values do not fit %s: stored in %s", t->name, (uintmax_t)t->k, f->title, koi_formats[wt].title);
  t->wt = wt;
  return KOINE_OK;
}

static koine_status find_importance(const job *j, target *t)
{
  const koi_importance_entry *e = j->o->importance ? koi_importance_find(j->o->importance, t->name) : NULL;
  if (e && (e->k != t->k || (e->n != 1 && e->n != t->n)))
    return koi_error(KOINE_ERR_FILE, "importance of %.200s: expected %ju columns of %ju matrices, found %ju of %ju: it is another model's", t->name, (uintmax_t)t->k,
                     (uintmax_t)t->n, (uintmax_t)e->k, (uintmax_t)e->n);
  t->importance = e;
  return KOINE_OK;
}

static target *add(job *j)
{
  if (j->n_targets == j->cap) {
    size_t cap = 2 * j->cap + 64;
    target *v = koi_realloc(j->v, cap, sizeof *v);
    if (!v) return NULL;
    j->v = v, j->cap = cap;
  }
  target *t = &j->v[j->n_targets++];
  memset(t, 0, sizeof *t);
  return t;
}

static koine_status choose(job *j, int layer, const koi_role *r, const koi_weight *w, uint32_t sub)
{
  bool vector = r->use < KOI_TABLE, experts = r->units == KOI_EXPERTS;
  if (r->use != KOI_IDS && w->format == KOI_FORMAT_NONE)
    return koi_error(KOINE_ERR_UNSUPPORTED, "%s: %s", j->model->path, j->model->cannot ? j->model->cannot : "a weight is stored in a format that cannot be read");
  target *t = add(j);
  if (!t) return KOINE_ERR_MEMORY;
  name_of(layer, r, sub, t->name);
  t->w = w, t->sub = sub, t->vector = vector, t->n = experts ? w->n_units : 1;
  t->rows = vector ? 1 : w->one_matrix ? w->rows * w->n_units : w->rows, t->k = vector ? w->rows * w->k : w->k;
  t->wt = r->use == KOI_IDS ? WT_IDS
                            : koi_mix_choose(j->mix, &(koi_mix_asked){r, layer, (int)j->model->config.n_layers, sub, experts, j->o->importance != NULL, t->k});
  koine_status s = t->wt == WT_IDS ? KOINE_OK : settle_format(j, t);
  if (!s) s = find_importance(j, t);
  if (s) return s;
  t->bytes = t->wt == WT_IDS ? t->k * 4 : t->n * t->rows * koi_format_row_bytes(t->wt, t->k);
  j->total += t->n * t->rows * t->k;
  return KOINE_OK;
}

static void visit(void *user, int layer, const koi_role *r, const koi_weight *w)
{
  job *j = user;
  for (uint32_t sub = 0; sub < w->n_sub && !j->status; sub++) j->status = choose(j, layer, r, w, sub);
}

static void put_tensor(koi_out_header *h, target *t, const koi_role *r)
{
  bool table = r->use == KOI_IDS || r->k != KOI_D_ONE, vector = r->use < KOI_TABLE;
  uint64_t dims[3] = {vector && table ? t->w->k : t->k, vector ? t->w->rows : t->rows, t->n};
  uint32_t n_dims = r->units == KOI_EXPERTS ? 3 : vector && !table ? 1 : 2;
  t->at = koi_out_tensor(h, t->name, dims, n_dims, t->wt == WT_IDS ? (uint32_t)koi_gguf_dtype_number(KOI_I32) : koi_out_type(t->wt), t->bytes);
}

typedef struct listing { job *j; koi_out_header *h; size_t at; } listing;
static void visit_header(void *user, int layer, const koi_role *r, const koi_weight *w)
{
  listing *l = user;
  (void)layer;
  for (uint32_t sub = 0; sub < w->n_sub; sub++) put_tensor(l->h, &l->j->v[l->at++], r);
}

/* A head that is the embedding is a tensor of its own in these files. */
static void visit_all(const koine_model *m, koi_visit_fn *fn, void *user)
{
  koi_model_visit(m, fn, user);
  if (koi_model_tied(m)) fn(user, -1, &koi_top_roles[KOI_TOP_head], &m->top[KOI_TOP_embed]);
}

/* ---- rows ---- */
typedef struct worker {
  job *j;
  koi_values values;
  uint8_t *tile[KOI_MAX_STREAMS], *out;
  float *rows;          /* [ROWS][k] */
  koi_rows in;          /* of the file */
  uint64_t k;           /* that there is room for */
  double piece[PIECE][KOI_STRIP];
} worker;

static void free_rows(worker *w)
{
  for (int s = 0; s < KOI_MAX_STREAMS; s++) koi_free(w->tile[s]), w->tile[s] = NULL;
  koi_free(w->rows), w->rows = NULL;
  koi_free(w->out), w->out = NULL;
  koi_rows_free(&w->in);
  w->k = 0;
}

/* Room for rows of k values, of any format. */
static koine_status make_room(worker *w, uint64_t k)
{
  if (k <= w->k) return KOINE_OK;
  free_rows(w);
  bool ok = (w->rows = koi_alloc(ROWS * k, sizeof *w->rows)) && (w->out = koi_alloc(ROWS * k, 4));
  for (int s = 0; s < KOI_MAX_STREAMS && ok; s++) {
    uint64_t most = 0;
    for (int wt = 0; wt < KOI_N_FORMATS; wt++) most = koi_format_tile_bytes(wt, s, k, ROWS) > most ? koi_format_tile_bytes(wt, s, k, ROWS) : most;
    ok = !most || (w->tile[s] = koi_alloc(most, 1));
  }
  w->k = ok ? k : 0;
  return ok ? KOINE_OK : KOINE_ERR_MEMORY;
}

static void decode_rows(worker *w, int format, const koi_stored *m, uint64_t row, uint64_t n)
{
  koi_format_tiles(format, ROWS, m, row, n, 0, 1, w->tile);
  koi_strip strip = koi_format_strip(format, m->k, ROWS, w->tile, 0);
  for (uint64_t k0 = 0; k0 < m->k; k0 += PIECE) {
    uint64_t cols = m->k - k0 < PIECE ? m->k - k0 : PIECE;
    koi_formats[format].decode(&koi_formats[format], &w->values, &strip, k0, cols, w->piece);
    for (uint64_t r = 0; r < n; r++)
      for (uint64_t i = 0; i < cols; i++) w->rows[r * m->k + k0 + i] = (float)w->piece[i][r];
  }
}

static koine_status check_rows(const worker *w, const target *t, uint64_t unit, uint64_t row, uint64_t n)
{
  float most = t->wt == KOI_WT_F16 ? 65504 : INFINITY;
  for (uint64_t i = 0; i < n * t->k; i++) {
    float v = w->rows[i];
    if (isfinite(v) && fabsf(v) <= most) continue;
    return koi_error(isfinite(v) ? KOINE_ERR_UNSUPPORTED : KOINE_ERR_FILE, "%s: %.200s: matrix %ju, row %ju, column %ju: expected a number%s, found %g", w->j->model->path,
                     t->name, (uintmax_t)unit, (uintmax_t)(row + i / t->k), (uintmax_t)(i % t->k), isfinite(v) ? " that F16 can hold" : "", (double)v);
  }
  return KOINE_OK;
}

static void encode_rows(const worker *w, const target *t, uint64_t unit, uint64_t n)
{
  const koi_importance_entry *e = t->importance;
  uint64_t matrix = e && e->n > 1 ? unit : 0, row_bytes = koi_format_row_bytes(t->wt, t->k);
  const float *count = e && e->count[matrix] > 0 ? e->sum + matrix * e->k : NULL; /* an expert that the text never chose: all columns alike */
  for (uint64_t r = 0; r < n; r++) koi_encode_row(t->wt, w->rows + r * t->k, count, t->k, w->out + r * row_bytes);
}

static koine_status write_ids(worker *w, const target *t)
{
  uint64_t size = t->w->dtype == KOI_I32 ? 4 : 8;
  koine_status s = KOINE_OK;
  for (uint64_t at = 0, n; at < t->k && !s; at += n) {
    n = t->k - at < ROWS * w->k ? t->k - at : ROWS * w->k;
    const uint8_t *ids = koi_rows_bytes(&w->in, t->w->piece[0].weight, at * size, (size_t)(n * size), &s);
    for (uint64_t i = 0; i < n && !s; i++) memcpy(w->out + 4 * i, ids + i * size, 4); /* they are small and not negative */
    if (!s) s = koi_out_write(w->j->out, t->at + 4 * at, w->out, (size_t)(4 * n));
  }
  return s;
}

/* Rows [row, row + n) of a tensor's matrix. */
static koine_status convert(worker *w, const target *t, uint64_t unit, uint64_t row, uint64_t n)
{
  koine_status s = make_room(w, t->wt == WT_IDS ? 4096 : t->k);
  if (s || t->wt == WT_IDS) return s ? s : write_ids(w, t);
  const koi_piece *p = koi_weight_piece(t->w, (uint32_t)unit, t->sub);
  int format = p->format;
  if (format == KOI_FORMAT_NONE) return koi_error(KOINE_ERR_UNSUPPORTED, "%s: %.200s: stored in a format that cannot be read", w->j->model->path, t->name);
  if ((s = koi_rows_read(&w->in, t->w, p, row, t->vector ? t->w->rows : n))) return s;
  koi_stored m = {w->in.m.weight, w->in.m.scale, t->vector ? 1 : w->in.m.rows, t->k};
  uint64_t row_bytes = koi_format_row_bytes(t->wt, t->k), at = t->at + (unit * t->rows + row) * row_bytes;
  if (format == t->wt) return koi_out_write(w->j->out, at, m.weight + w->in.first * row_bytes, (size_t)(n * row_bytes));
  decode_rows(w, format, &m, w->in.first, n);
  if ((s = check_rows(w, t, unit, row, n))) return s;
  encode_rows(w, t, unit, n);
  return koi_out_write(w->j->out, at, w->out, (size_t)(n * row_bytes));
}

/* ---- threads ---- */
/* The next rows that nobody has; false: there are none. */
static bool take(job *j, const target **t, uint64_t *unit, uint64_t *row, uint64_t *n)
{
  pthread_mutex_lock(&j->lock);
  bool some = !j->failed && j->next < j->n_targets;
  if (some) {
    *t = &j->v[j->next], *unit = j->unit, *row = j->row;
    *n = (*t)->rows - *row < ROWS ? (*t)->rows - *row : ROWS;
    j->row += *n;
    if (j->row == (*t)->rows) j->row = 0, j->unit++;
    if (j->unit == (*t)->n) j->unit = 0, j->next++;
  }
  pthread_mutex_unlock(&j->lock);
  return some;
}

/* Counts what is done, or keeps the first failure and its message, which is the thread's own. Returns how much is done. */
static uint64_t report(job *j, koine_status s, uint64_t n_values)
{
  pthread_mutex_lock(&j->lock);
  uint64_t done = j->done += n_values;
  if (s && !j->failed) {
    j->failed = s;
    snprintf(j->message, sizeof j->message, "%s", koi_error_text());
  }
  pthread_mutex_unlock(&j->lock);
  return done;
}

/* Works until nothing is left; the calling thread of koi_quantize says how far it is. */
static koine_status work(job *j, bool tells)
{
  worker *w = koi_alloc(1, sizeof *w);
  const target *t;
  uint64_t unit, row, n;
  if (!w) return KOINE_ERR_MEMORY;
  w->j = j, w->in.pass = true;
  koi_values_fill(&w->values);
  while (take(j, &t, &unit, &row, &n)) {
    uint64_t done = report(j, convert(w, t, unit, row, n), n * t->k);
    if (!tells || !j->o->progress || j->o->progress(j->o->user, "quantizing", done, j->total)) continue;
    report(j, koi_error(KOINE_ERR_CANCELLED, "cancelled while quantizing"), 0);
  }
  free_rows(w);
  koi_free(w);
  return KOINE_OK;
}

static void *start(void *user)
{
  job *j = user;
  koine_status s = work(j, false);
  if (s) report(j, s, 0);
  return NULL;
}

static koine_status work_all(job *j)
{
  long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  size_t n = j->o->n_threads ? j->o->n_threads : cpus > 0 ? (size_t)cpus : 1, started = 0;
  if (n > MAX_THREADS) n = MAX_THREADS;
  pthread_t *threads = koi_alloc(n, sizeof *threads);
  if (!threads) return KOINE_ERR_MEMORY;
  while (started + 1 < n && koi_thread_start(&threads[started], start, j)) started++;
  koine_status s = work(j, true);
  for (size_t i = 0; i < started; i++) pthread_join(threads[i], NULL);
  koi_free(threads);
  return s ? s : j->failed ? koi_error(j->failed, "%s", j->message) : KOINE_OK;
}

/* ---- all ---- */
static koine_status write_all(job *j, const char *path)
{
  koi_out_header h = {0};
  listing l = {j, &h, 0};
  koine_status s = koi_meta_put(j->model, koi_mix_file_type(j->mix), &h);
  visit_all(j->model, visit_header, &l);
  if (!s) s = koi_out_open(path, &h, &j->out);
  koi_out_header_free(&h);
  if (s) return s;
  s = work_all(j);
  if (!s) s = koi_weights_check(j->model->weights);
  if (!s) return koi_out_finish(j->out);
  koi_out_drop(j->out);
  return s;
}

/* An importance matrix that knows no tensor of the model would be passed over in silence. */
static koine_status check_importance(const job *j)
{
  size_t found = 0;
  for (size_t i = 0; i < j->n_targets; i++) found += j->v[i].importance != NULL;
  if (found || !j->o->importance) return KOINE_OK;
  return koi_error(KOINE_ERR_FILE, "importance: expected columns of this model's tensors, such as %.200s, found none of them: it is another model's", j->v[0].name);
}

koine_status koi_quantize(const koine_model *model, const char *path, const koine_quantize_options *o)
{
  char names[512];
  job j = {.model = model, .o = o, .mix = koi_mix_find(o->type)};
  if (!j.mix) return koi_error(KOINE_ERR_ARG, "type: expected one of %s, found \"%.40s\"", koi_mix_names(names), o->type);
  if (!model->weights || model->missing)
    return koi_error(KOINE_ERR_FILE, "%s: expected a model with all its weights, found none of %s", model->path, model->missing ? model->missing : "them");
  pthread_mutex_init(&j.lock, NULL);
  visit_all(model, visit, &j);
  koine_status s = j.status ? j.status : check_importance(&j);
  if (!s) s = write_all(&j, path);
  pthread_mutex_destroy(&j.lock);
  koi_free(j.v);
  return s;
}
