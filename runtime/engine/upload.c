/* Weights from the mapped files to the device: repacked into tiles in bounded pieces, so that the host never holds a second copy.
 * Owns the device copies (exec's `weights`). Invariant: no buffer exceeds the endpoint's allocation limit: a stacked expert matrix is
 * split by experts, a dense one by tiles, the embedding by rows. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "exec.h"
#include "kernels/layout.h"
#include "repack.h"

enum { PIECE_BYTES = 16 << 20 };

typedef struct upload {
  koi_exec *x;
  koine_progress_fn *progress;
  void *user;
  uint64_t done, total;
  uint64_t limit;   /* bytes a buffer may have */
  uint8_t *codes, *scales; /* staging, PIECE_BYTES each */
} upload;

static koine_status advance(upload *u, uint64_t bytes)
{
  u->done += bytes;
  if (!u->progress || u->progress(u->user, "uploading weights", u->done < u->total ? u->done : u->total, u->total)) return KOINE_OK;
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
typedef struct source { /* unit u, sub s of the stack is rows [row0(u), +sub_rows) of matrix m[u*stride + sub[s]] */
  const koi_matrix *m;
  uint32_t stride, sub[2];
  uint64_t unit_rows; /* rows a unit takes of one matrix (wo_a); 0: each unit has matrices of its own */
} source;

static const koi_matrix *matrix_of(const source *f, uint32_t unit, uint32_t sub)
{
  return f->unit_rows ? f->m : &f->m[unit * f->stride + f->sub[sub]];
}

static int32_t weight_type(koi_dtype d)
{
  static const int32_t type[KOI_N_DTYPES] = {[KOI_F32] = KOI_WT_F32, [KOI_F16] = KOI_WT_F16, [KOI_BF16] = KOI_WT_BF16, [KOI_F8_E4M3] = KOI_WT_FP8,
                                             [KOI_I8] = KOI_WT_FP4, [KOI_U8] = KOI_WT_FP4};
  return type[d];
}

/* Cuts the stack into parts that the allocation limit allows. */
static koine_status cut_parts(const upload *u, koi_mat *m, const char *what)
{
  uint64_t tiles = (uint64_t)m->n_sub * koi_tiles((uint64_t)m->sub_rows), tile = koi_layout_code_bytes(m->wt, (uint64_t)m->k);
  bool by_unit = m->n_units > 1;
  uint64_t item = by_unit ? tiles * tile : tile, n_items = by_unit ? (uint64_t)m->n_units : tiles, each = u->limit / item;
  if (!each) return koi_error(KOINE_ERR_MEMORY, "%s: %llu bytes must lie in one buffer, but device %s allows %llu", what, (unsigned long long)item,
                              u->x->dev->endpoint->name, (unsigned long long)u->limit);
  if (each > n_items) each = n_items;
  m->n_parts = koi_ceil_div(n_items, each);
  if (!(m->parts = koi_alloc(m->n_parts, sizeof *m->parts))) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < m->n_parts; i++) {
    int32_t from = (int32_t)(i * each), to = (int32_t)((i + 1) * each < n_items ? (i + 1) * each : n_items);
    m->parts[i] = by_unit ? (koi_mat_part){NULL, NULL, from, to, 0, (int32_t)tiles} : (koi_mat_part){NULL, NULL, 0, 1, from, to};
  }
  return KOINE_OK;
}

/* Tiles [t0, t1) of one unit's stack, which lie in one sub-matrix, into the buffers of `p`. */
static koine_status put_tiles(upload *u, koi_mat *m, const koi_mat_part *p, const source *f, int32_t unit, int32_t t0, int32_t t1)
{
  koi_exec *x = u->x;
  uint64_t per_sub = koi_tiles((uint64_t)m->sub_rows), code = koi_layout_code_bytes(m->wt, (uint64_t)m->k), scale = koi_layout_scale_bytes(m->wt, (uint64_t)m->k);
  uint32_t sub = (uint32_t)((uint64_t)t0 / per_sub);
  uint64_t first = (uint64_t)t0 - sub * per_sub, n = (uint64_t)(t1 - t0);
  uint64_t at = (uint64_t)(unit - p->unit0) * (uint64_t)(p->tile1 - p->tile0) + (uint64_t)(t0 - p->tile0);
  koi_repack_rows(matrix_of(f, (uint32_t)unit, sub), f->unit_rows * (uint64_t)unit, (uint64_t)m->sub_rows, first, first + n, u->codes, u->scales);
  koine_status s = x->dev->backend->write(x->dev, p->codes, at * code, n * code, u->codes);
  if (!s && scale) s = x->dev->backend->write(x->dev, p->scales, at * scale, n * scale, u->scales);
  return s ? s : advance(u, n * (code + scale));
}

static koine_status put_unit(upload *u, koi_mat *m, const koi_mat_part *p, const source *f, int32_t unit)
{
  uint64_t code = koi_layout_code_bytes(m->wt, (uint64_t)m->k), per_sub = koi_tiles((uint64_t)m->sub_rows);
  uint64_t each = PIECE_BYTES / code ? PIECE_BYTES / code : 1;
  for (uint64_t t = (uint64_t)p->tile0; t < (uint64_t)p->tile1;) {
    uint64_t sub_end = (t / per_sub + 1) * per_sub, end = t + each;
    if (end > sub_end) end = sub_end;
    if (end > (uint64_t)p->tile1) end = (uint64_t)p->tile1;
    koine_status s = put_tiles(u, m, p, f, unit, (int32_t)t, (int32_t)end);
    if (s) return s;
    t = end;
  }
  if (!f->unit_rows)
    for (int32_t s = 0; s < m->n_sub; s++) let_go(matrix_of(f, (uint32_t)unit, (uint32_t)s)->weight);
  return KOINE_OK;
}

static koine_status put_matrix(upload *u, koi_mat *m, const source *f, int32_t n_units, int32_t n_sub, const char *what)
{
  koi_exec *x = u->x;
  const koi_matrix *a = matrix_of(f, 0, 0);
  uint64_t rows = f->unit_rows ? f->unit_rows : a->rows;
  *m = (koi_mat){.wt = weight_type(a->dtype), .k = (int32_t)a->k, .sub_rows = (int32_t)rows, .n_sub = n_sub, .n_units = n_units};
  for (int32_t i = 0; i < n_units && !m->care; i++)
    for (int32_t s = 0; s < n_sub; s++) m->care |= (!f->unit_rows || !i) && koi_repack_care(matrix_of(f, (uint32_t)i, (uint32_t)s));
  koine_status s = cut_parts(u, m, what);
  uint64_t code = koi_layout_code_bytes(m->wt, (uint64_t)m->k), scale = koi_layout_scale_bytes(m->wt, (uint64_t)m->k);
  for (size_t i = 0; i < m->n_parts && !s; i++) {
    koi_mat_part *p = &m->parts[i];
    uint64_t tiles = (uint64_t)(p->unit1 - p->unit0) * (uint64_t)(p->tile1 - p->tile0);
    s = koi_device_alloc(x->dev, tiles * code, &p->codes);
    if (!s && scale) s = koi_device_alloc(x->dev, tiles * scale, &p->scales);
    m->bytes += tiles * (code + scale);
    for (int32_t unit = p->unit0; unit < p->unit1 && !s; unit++) s = put_unit(u, m, p, f, unit);
  }
  if (f->unit_rows) let_go(a->weight);
  x->weights.bytes += m->bytes;
  return s ? koi_error_prefix(s, "uploading %s", a->weight ? a->weight->name : what) : KOINE_OK;
}

static koine_status put_dense(upload *u, koi_mat *m, const koi_matrix *a, const char *what)
{
  source f = {a, 0, {0, 0}, 0};
  koine_status s = put_matrix(u, m, &f, 1, 1, what);
  u->x->weight_bytes_per_token += s ? 0 : m->bytes;
  return s;
}

/* ---- vectors and tables ---- */
/* A vector of a model without files: ones where a weight scales, zeros where it is added. */
static void make_up(koi_vec *v, uint8_t *bytes, size_t n, bool ones)
{
  static const uint32_t one[] = {[KOI_WT_F32] = 0x3f800000, [KOI_WT_F16] = 0x3c00, [KOI_WT_BF16] = 0x3f80};
  size_t size = v->type == KOI_WT_F32 ? 4 : 2;
  for (size_t i = 0; i < n; i++) memcpy(bytes + i * size, &one[v->type], ones ? size : 0);
}

static koine_status put_vector(upload *u, koi_vec *v, const koi_vector *a, bool ones)
{
  koi_exec *x = u->x;
  size_t bytes = a->n * koi_dtype_bytes(a->dtype);
  v->type = weight_type(a->dtype);
  koine_status s = koi_device_alloc(x->dev, bytes, &v->buf);
  if (s) return s;
  uint8_t *made = a->tensor ? NULL : koi_alloc(bytes, 1);
  if (!a->tensor && !made) return KOINE_ERR_MEMORY;
  if (made) make_up(v, made, a->n, ones);
  s = x->dev->backend->write(x->dev, v->buf, 0, bytes, made ? made : a->tensor->data);
  koi_free(made);
  x->weights.bytes += bytes, x->weight_bytes_per_token += bytes;
  return s ? s : advance(u, bytes);
}

static int32_t expert_id(const koi_vector *a, uint64_t i, uint32_t n_experts)
{
  if (!a->tensor) return (int32_t)((i * 7 + i / 64) % n_experts);
  if (a->dtype == KOI_I32) {
    int32_t v;
    memcpy(&v, a->tensor->data + i * sizeof v, sizeof v);
    return v;
  }
  int64_t v; /* checked to be an expert when the model was opened */
  memcpy(&v, a->tensor->data + i * sizeof v, sizeof v);
  return (int32_t)v;
}

static koine_status put_expert_ids(upload *u, koi_vec *v, const koi_vector *a)
{
  koi_exec *x = u->x;
  uint64_t piece = PIECE_BYTES / sizeof(int32_t);
  koine_status s = koi_device_alloc(x->dev, a->n * sizeof(int32_t), &v->buf);
  for (uint64_t at = 0; at < a->n && !s; at += piece) {
    uint64_t n = a->n - at < piece ? a->n - at : piece;
    int32_t *to = (int32_t *)(void *)u->codes;
    for (uint64_t i = 0; i < n; i++) to[i] = expert_id(a, at + i, x->model->config.n_experts);
    s = x->dev->backend->write(x->dev, v->buf, at * sizeof *to, n * sizeof *to, to);
  }
  x->weights.bytes += a->n * sizeof(int32_t);
  return s;
}

static koine_status put_embed(upload *u, const koi_matrix *a)
{
  koi_exec *x = u->x;
  koi_dev_model *w = &x->weights;
  uint64_t row = a->k * koi_dtype_bytes(a->dtype), each = u->limit / row ? u->limit / row : 1, piece = PIECE_BYTES / row ? PIECE_BYTES / row : 1;
  if (each > a->rows) each = a->rows;
  w->n_embed = koi_ceil_div(a->rows, each), w->embed_type = weight_type(a->dtype);
  if (!(w->embed = koi_alloc(w->n_embed, sizeof *w->embed))) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < w->n_embed; i++) {
    uint64_t from = i * each, to = from + each < a->rows ? from + each : a->rows;
    w->embed[i].row0 = (int32_t)from, w->embed[i].row1 = (int32_t)to;
    koine_status s = koi_device_alloc(x->dev, (to - from) * row, &w->embed[i].buf);
    for (uint64_t r = from; r < to && !s; r += piece) {
      uint64_t n = to - r < piece ? to - r : piece;
      if (!a->weight) koi_repack_random_rows(a, r, n, u->codes);
      s = x->dev->backend->write(x->dev, w->embed[i].buf, (r - from) * row, n * row, a->weight ? a->weight->data + r * row : u->codes);
      if (!s) s = advance(u, n * row);
    }
    if (s) return koi_error_prefix(s, "uploading embed.weight");
  }
  let_go(a->weight);
  w->bytes += a->rows * row, x->weight_bytes_per_token += row;
  return KOINE_OK;
}

/* ---- the model ---- */
static koine_status put_hc(upload *u, koi_dev_hc *to, const koi_hc *from)
{
  koine_status s = put_dense(u, &to->fn, &from->fn, "hc fn");
  if (!s) s = put_vector(u, &to->base, &from->base, false);
  return s ? s : put_vector(u, &to->scale, &from->scale, true);
}

static koine_status put_comp(upload *u, koi_dev_comp *to, const koi_compressor *from)
{
  koine_status s = put_dense(u, &to->wkv, &from->wkv, "compressor wkv");
  if (!s) s = put_dense(u, &to->wgate, &from->wgate, "compressor wgate");
  if (!s) s = put_vector(u, &to->ape, &from->ape, false);
  return s ? s : put_vector(u, &to->norm, &from->norm, true);
}

static koine_status put_experts(upload *u, koi_dev_layer *to, const koi_layer *from)
{
  const koi_config *c = &u->x->model->config;
  source shared_up = {from->shared, 0, {0, 2}, 0}, shared_down = {from->shared, 0, {1, 0}, 0};
  source up = {from->experts, 3, {0, 2}, 0}, down = {from->experts, 3, {1, 0}, 0};
  koine_status s = put_matrix(u, &to->shared_up, &shared_up, 1, 2, "shared experts up");
  if (!s) s = put_matrix(u, &to->shared_down, &shared_down, 1, 1, "shared experts down");
  if (!s) s = put_matrix(u, &to->expert_up, &up, (int32_t)c->n_experts, 2, "routed experts up");
  if (!s) s = put_matrix(u, &to->expert_down, &down, (int32_t)c->n_experts, 1, "routed experts down");
  u->x->weight_bytes_per_token += to->shared_up.bytes + to->shared_down.bytes + (to->expert_up.bytes + to->expert_down.bytes) / c->n_experts * c->n_used;
  return s;
}

static koine_status put_attention(upload *u, koi_dev_layer *to, const koi_layer *from)
{
  const koi_config *c = &u->x->model->config;
  const struct { koi_mat *to; const koi_matrix *from; const char *what; bool on; } matrices[] = {
    {&to->wq_a, &from->wq_a, "wq_a", true}, {&to->wq_b, &from->wq_b, "wq_b", true}, {&to->wkv, &from->wkv, "wkv", true},
    {&to->wo_b, &from->wo_b, "wo_b", true}, {&to->gate, &from->gate, "gate", true}, {&to->index_wq_b, &from->index_wq_b, "indexer wq_b", from->ratio == 4},
    {&to->index_weights, &from->index_weights, "indexer weights_proj", from->ratio == 4}};
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < KOI_COUNT(matrices) && !s; i++)
    if (matrices[i].on) s = put_dense(u, matrices[i].to, matrices[i].from, matrices[i].what);
  source wo_a = {&from->wo_a, 0, {0, 0}, c->o_rank};
  if (!s) s = put_matrix(u, &to->wo_a, &wo_a, (int32_t)c->o_groups, 1, "wo_a");
  u->x->weight_bytes_per_token += to->wo_a.bytes;
  if (!s && from->ratio) s = put_comp(u, &to->comp, &from->comp);
  return s || from->ratio != 4 ? s : put_comp(u, &to->index_comp, &from->index_comp);
}

static koine_status put_layer(upload *u, koi_dev_layer *to, const koi_layer *from)
{
  const struct { koi_vec *to; const koi_vector *from; bool ones; } vectors[] = {
    {&to->attn_norm, &from->attn_norm, true}, {&to->ffn_norm, &from->ffn_norm, true}, {&to->q_norm, &from->q_norm, true},
    {&to->kv_norm, &from->kv_norm, true}, {&to->sink, &from->sink, false}};
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < KOI_COUNT(vectors) && !s; i++) s = put_vector(u, vectors[i].to, vectors[i].from, vectors[i].ones);
  if (!s) s = put_hc(u, &to->hc_attn, &from->hc_attn);
  if (!s) s = put_hc(u, &to->hc_ffn, &from->hc_ffn);
  if (!s) s = put_attention(u, to, from);
  if (!s) s = from->hash ? put_expert_ids(u, &to->tid2eid, &from->tid2eid) : put_vector(u, &to->gate_bias, &from->gate_bias, false);
  return s ? s : put_experts(u, to, from);
}

static void count_bytes(void *user, int layer, const char *role, const koi_matrix *m, const koi_vector *v)
{
  (void)layer, (void)role;
  *(uint64_t *)user += m ? koi_matrix_bytes(m) : v->n * koi_dtype_bytes(v->dtype);
}

koine_status koi_upload(koi_exec *x, koine_progress_fn *progress, void *user)
{
  const koine_model *m = x->model;
  uint64_t limit = x->dev->endpoint->max_buffer_bytes;
  upload u = {.x = x, .progress = progress, .user = user, .limit = limit ? limit : SIZE_MAX};
  koi_model_visit(m, count_bytes, &u.total);
  uint64_t row = m->embed.k * koi_dtype_bytes(m->embed.dtype), least = row > PIECE_BYTES ? row : PIECE_BYTES;
  for (uint64_t k = m->config.n_streams * (uint64_t)m->config.hidden; least < k * 16 * sizeof(float);) least = k * 16 * sizeof(float);
  uint64_t widest = (uint64_t)m->config.n_heads * m->config.head_dim * KOI_TILE * sizeof(float);
  if (least < widest) least = widest; /* one tile of the longest row fits the staging */
  u.codes = koi_alloc(least, 1), u.scales = koi_alloc(least, 1);
  x->weights.layers = koi_alloc(m->config.n_layers, sizeof *x->weights.layers);
  koine_status s = u.codes && u.scales && x->weights.layers ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!s) s = put_embed(&u, &m->embed);
  for (uint32_t l = 0; l < m->config.n_layers && !s; l++) s = put_layer(&u, &x->weights.layers[l], &m->layers[l]);
  if (!s) s = put_vector(&u, &x->weights.norm, &m->norm, true);
  if (!s) s = put_hc(&u, &x->weights.hc_head, &m->hc_head);
  if (!s) s = put_dense(&u, &x->weights.head, &m->head, "head");
  koi_free(u.codes);
  koi_free(u.scales);
  return s ? s : x->dev->backend->finish(x->dev);
}

/* ---- release ---- */
static void free_buf(koi_exec *x, koi_buf *b)
{
  koi_device_free(x->dev, b);
}

static void free_mat(koi_exec *x, koi_mat *m)
{
  for (size_t i = 0; m->parts && i < m->n_parts; i++) free_buf(x, m->parts[i].codes), free_buf(x, m->parts[i].scales);
  koi_free(m->parts);
}

static void free_hc(koi_exec *x, koi_dev_hc *h)
{
  free_mat(x, &h->fn);
  free_buf(x, h->base.buf);
  free_buf(x, h->scale.buf);
}

static void free_comp(koi_exec *x, koi_dev_comp *c)
{
  free_mat(x, &c->wkv);
  free_mat(x, &c->wgate);
  free_buf(x, c->ape.buf);
  free_buf(x, c->norm.buf);
}

static void free_layer(koi_exec *x, koi_dev_layer *l)
{
  koi_mat *mats[] = {&l->wq_a, &l->wq_b, &l->wkv, &l->wo_a, &l->wo_b, &l->gate, &l->index_wq_b, &l->index_weights, &l->shared_up, &l->shared_down, &l->expert_up, &l->expert_down};
  koi_vec *vecs[] = {&l->attn_norm, &l->ffn_norm, &l->q_norm, &l->kv_norm, &l->sink, &l->gate_bias, &l->tid2eid};
  for (size_t i = 0; i < KOI_COUNT(mats); i++) free_mat(x, mats[i]);
  for (size_t i = 0; i < KOI_COUNT(vecs); i++) free_buf(x, vecs[i]->buf);
  free_hc(x, &l->hc_attn);
  free_hc(x, &l->hc_ffn);
  free_comp(x, &l->comp);
  free_comp(x, &l->index_comp);
}

void koi_upload_free(koi_exec *x)
{
  koi_dev_model *w = &x->weights;
  for (uint32_t l = 0; w->layers && l < x->model->config.n_layers; l++) free_layer(x, &w->layers[l]);
  for (size_t i = 0; w->embed && i < w->n_embed; i++) free_buf(x, w->embed[i].buf);
  free_mat(x, &w->head);
  free_buf(x, w->norm.buf);
  free_hc(x, &w->hc_head);
  koi_free(w->layers);
  koi_free(w->embed);
}
