/* Weights from the mapped files to the device: repacked into tiles in bounded pieces, so that the host never holds a second copy.
 * Owns nothing but its staging memory: the buffers are the caller's. Invariant: the bytes allocated are those that were laid. */
#include "upload.h"
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PIECE_BYTES = 16 << 20 };

typedef struct upload {
  koi_device *dev;
  koi_laid_model *l;
  koi_put *put;
  koine_progress_fn *progress;
  void *user;
  bool bare; /* room alone */
  uint64_t done, allocated;
  uint8_t *stage[KOI_MAX_STREAMS]; /* what goes to the device next */
} upload;

typedef struct job { /* one weight */
  const koi_role *role;
  const koi_weight *from;
  koi_laid *to;
} job;

static koine_status advance(upload *u, uint64_t bytes)
{
  u->done += bytes;
  if (!u->progress || u->progress(u->user, "uploading weights", u->done, u->l->bytes)) return KOINE_OK;
  return koi_error(KOINE_ERR_CANCELLED, "cancelled while uploading weights");
}

/* Lets go of mapped pages that were read: they would otherwise count as ours beside the device's copy. */
static void let_go(const koi_tensor *t)
{
  if (!t || !t->bytes) return;
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)t->data + page - 1) / page * page, to = ((uintptr_t)t->data + t->bytes) / page * page;
  if (to > from) madvise((void *)from, to - from, MADV_DONTNEED);
}

/* ---- matrices ---- */
static koi_stored stored(const koi_weight *w, uint32_t unit, uint32_t sub)
{
  const koi_piece *p = koi_weight_piece(w, unit, sub);
  return (koi_stored){p->weight ? p->weight->data : NULL, p->scale ? p->scale->data : NULL, w->one_matrix ? w->rows * w->n_units : w->rows, w->k};
}

/* `n` tiles of one unit's stack from tile t on, which lie in one sub-matrix, into the buffers of part p. */
static koine_status put_tiles(upload *u, const job *j, koi_part *p, koi_put *put, uint32_t unit, uint64_t t, uint64_t n)
{
  uint64_t per_sub = koi_tiles(j->from->rows, u->l->tile), first = t % per_sub;
  uint64_t at = (uint64_t)(unit - (uint32_t)p->unit0) * (uint64_t)(p->tile1 - p->tile0) + t - (uint64_t)p->tile0;
  koi_stored m = stored(j->from, unit, (uint32_t)(t / per_sub));
  p->care |= koi_format_tiles(p->wt, u->l->tile, &m, j->from->one_matrix ? unit * j->from->rows : 0, j->from->rows, first, first + n, u->stage);
  for (int s = 0; s < KOI_MAX_STREAMS; s++) {
    uint64_t tile = koi_format_tile_bytes(p->wt, s, j->from->k, u->l->tile);
    koine_status st = tile ? u->dev->backend->write(u->dev, put->stream[s], at * tile, n * tile, u->stage[s]) : KOINE_OK;
    if (!st && tile) st = advance(u, n * tile);
    if (st) return st;
  }
  return KOINE_OK;
}

static koine_status put_unit(upload *u, const job *j, koi_part *p, koi_put *put, uint32_t unit)
{
  uint64_t tile = 1, per_sub = koi_tiles(j->from->rows, u->l->tile);
  for (int s = 0; s < KOI_MAX_STREAMS; s++)
    if (koi_format_tile_bytes(p->wt, s, j->from->k, u->l->tile) > tile) tile = koi_format_tile_bytes(p->wt, s, j->from->k, u->l->tile);
  uint64_t each = PIECE_BYTES / tile ? PIECE_BYTES / tile : 1;
  for (uint64_t t = (uint64_t)p->tile0, n; t < (uint64_t)p->tile1; t += n) {
    n = per_sub - t % per_sub;
    if (n > each) n = each;
    if (n > (uint64_t)p->tile1 - t) n = (uint64_t)p->tile1 - t;
    koine_status s = put_tiles(u, j, p, put, unit, t, n);
    if (s) return s;
  }
  bool last = (uint64_t)p->tile1 == per_sub * j->from->n_sub && (!j->from->one_matrix || unit + 1 == j->from->n_units);
  for (uint32_t s = 0; s < j->from->n_sub && last; s++) let_go(koi_weight_piece(j->from, unit, s)->weight);
  return KOINE_OK;
}

/* ---- vectors and tables of ids ---- */
static int32_t expert_id(const koi_weight *w, uint64_t i, uint32_t n_experts)
{
  const koi_tensor *t = w->piece[0].weight;
  int32_t narrow;
  int64_t wide; /* checked to be an expert when the model was opened */
  if (!t) return (int32_t)((i * 7 + i / 64) % n_experts);
  if (w->dtype == KOI_I32) memcpy(&narrow, t->data + i * sizeof narrow, sizeof narrow);
  else memcpy(&wide, t->data + i * sizeof wide, sizeof wide), narrow = (int32_t)wide;
  return narrow;
}

/* Rows of a model without files: ones where a weight multiplies, zeros where it is added. */
static void make_up(const job *j, uint64_t n, uint8_t *out)
{
  static const uint32_t one[] = {[KOI_WT_F32] = 0x3f800000, [KOI_WT_F16] = 0x3c00, [KOI_WT_BF16] = 0x3f80};
  size_t size = koi_format_row_bytes(j->to->wt, 1);
  if (j->role->use == KOI_TERM) memset(out, 0, n * j->from->k * size);
  else
    for (size_t i = 0; i < n * j->from->k; i++) memcpy(out + i * size, &one[j->to->wt], size);
}

/* n rows from `row` on of a table in blocks, as floats. */
static void decode_rows(const koi_weight *w, uint64_t row, uint64_t n, float *out)
{
  const koi_weight_format *f = &koi_formats[w->piece[0].format];
  const uint8_t *block = w->piece[0].weight->data + row * koi_format_row_bytes(f->wt, w->k);
  double values[KOI_MAX_BLOCK];
  for (uint64_t at = 0; at < n * w->k; block += f->block_bytes) {
    koi_format_block_values(f, block, values);
    for (uint32_t i = 0; i < f->block_columns; i++) out[at++] = (float)values[i];
  }
}

/* n rows from `row` on as the device has them: in the file, or staged. */
static const void *rows_of(upload *u, const job *j, uint64_t row, uint64_t n, uint64_t row_bytes)
{
  const koi_tensor *t = j->from->piece[0].weight;
  int32_t *ids = (int32_t *)(void *)u->stage[0];
  if (j->role->use == KOI_IDS)
    for (uint64_t i = 0; i < n * j->from->k; i++) ids[i] = expert_id(j->from, row * j->from->k + i, u->l->model->config.n_experts);
  else if (t && j->from->piece[0].format != j->from->format) decode_rows(j->from, row, n, (float *)(void *)u->stage[0]);
  else if (t) return t->data + row * row_bytes;
  else make_up(j, n, u->stage[0]);
  return u->stage[0];
}

static koine_status put_rows(upload *u, const job *j, const koi_part *p, koi_put *put)
{
  uint64_t first = (uint64_t)p->tile0, rows = (uint64_t)p->tile1 - first, row = koi_lay_part_bytes(u->l, j->role, j->to, p, 0) / rows;
  uint64_t each = PIECE_BYTES / row ? PIECE_BYTES / row : 1;
  for (uint64_t at = 0; at < rows; at += each) {
    uint64_t n = rows - at < each ? rows - at : each;
    koine_status s = u->dev->backend->write(u->dev, put->codes, at * row, n * row, rows_of(u, j, first + at, n, row));
    if (!s) s = advance(u, n * row);
    if (s) return s;
  }
  if ((int64_t)p->tile1 == (int64_t)j->from->rows) let_go(j->from->piece[0].weight);
  return KOINE_OK;
}

/* ---- the model ---- */
static koine_status put_part(upload *u, const job *j, koi_part *p, koi_put *put)
{
  koine_status s = KOINE_OK;
  for (int i = 0; i < KOI_MAX_STREAMS && !s; i++) {
    uint64_t bytes = koi_lay_part_bytes(u->l, j->role, j->to, p, i);
    if (bytes && !(s = koi_device_alloc(u->dev, bytes, &put->stream[i]))) u->allocated += bytes;
  }
  if (s || u->bare) return s;
  if (!koi_role_is_matrix(j->role)) return put_rows(u, j, p, put);
  for (int32_t unit = p->unit0; unit < p->unit1 && !s; unit++) s = put_unit(u, j, p, put, (uint32_t)unit);
  return s;
}

static koine_status put_weight(upload *u, const koi_role *role, int layer, const koi_weight *from, koi_laid *to)
{
  char name[KOI_ROLE_NAME];
  job j = {role, from, to};
  koine_status s = KOINE_OK;
  for (uint32_t i = to->first; i < to->first + to->n_parts && !s; i++) s = put_part(u, &j, &u->l->parts[i], &u->put[i]);
  return s && s != KOINE_ERR_CANCELLED ? koi_error_prefix(s, "uploading %s", koi_role_name(role, layer, name)) : s;
}

/* Room in the staging for a piece, for one tile of the longest row, and for the longest row of a vector. */
static void widen_stage(uint64_t *bytes, const koi_laid_model *l, const koi_role *role, const koi_laid *w)
{
  for (uint32_t i = w->first; i < w->first + w->n_parts; i++)
    for (int s = 0; s < KOI_MAX_STREAMS; s++) {
      koi_part one = l->parts[i];
      one.unit1 = one.unit0 + 1, one.tile1 = one.tile0 + 1;
      uint64_t least = koi_lay_part_bytes(l, role, w, &one, s);
      if (least && least < PIECE_BYTES) least = PIECE_BYTES;
      if (bytes[s] < least) bytes[s] = least;
    }
}

static koine_status make_stage(upload *u)
{
  const koi_laid_model *l = u->l;
  uint64_t bytes[KOI_MAX_STREAMS] = {0};
  for (int r = 0; r < KOI_N_TOP_ROLES; r++) widen_stage(bytes, l, &koi_top_roles[r], &l->top[r]);
  for (uint32_t n = 0; n < l->model->config.n_layers; n++)
    for (int r = 0; r < KOI_N_LAYER_ROLES; r++) widen_stage(bytes, l, &koi_layer_roles[r], &l->layers[n][r]);
  for (int s = 0; s < KOI_MAX_STREAMS; s++)
    if (bytes[s] && !(u->stage[s] = koi_alloc(bytes[s], 1))) return KOINE_ERR_MEMORY;
  return KOINE_OK;
}

static koine_status put_all(upload *u)
{
  const koine_model *m = u->l->model;
  koi_laid_model *l = u->l;
  koine_status s = u->bare ? KOINE_OK : make_stage(u);
  for (int r = 0; r < KOI_N_TOP_ROLES && !s; r++) s = put_weight(u, &koi_top_roles[r], -1, &m->top[r], &l->top[r]);
  for (uint32_t n = 0; n < m->config.n_layers; n++)
    for (int r = 0; r < KOI_N_LAYER_ROLES && !s; r++) s = put_weight(u, &koi_layer_roles[r], (int)n, &m->layers[n].w[r], &l->layers[n][r]);
  if (!s) s = u->dev->backend->finish(u->dev);
  for (int i = 0; i < KOI_MAX_STREAMS; i++) koi_free(u->stage[i]);
  if (!s && u->allocated != l->bytes)
    s = koi_error(KOINE_ERR_DEVICE, "weights: %llu bytes were allocated, but %llu were laid out", (unsigned long long)u->allocated, (unsigned long long)l->bytes);
  return s;
}

koine_status koi_upload(koi_device *dev, koi_laid_model *l, koi_put *put, koine_progress_fn *progress, void *user)
{
  upload u = {.dev = dev, .l = l, .put = put, .progress = progress, .user = user};
  return put_all(&u);
}

koine_status koi_upload_room(koi_device *dev, koi_laid_model *l, koi_put *put)
{
  upload u = {.dev = dev, .l = l, .put = put, .bare = true};
  return put_all(&u);
}

void koi_upload_free(koi_device *dev, koi_put *put, uint32_t n_parts)
{
  for (uint32_t i = 0; put && i < n_parts; i++)
    for (int s = 0; s < KOI_MAX_STREAMS; s++)
      if (put[i].stream[s]) koi_device_free(dev, put[i].stream[s]);
}
