/* Binding: tensors to roles (roles.h), checked for name, shape and dtype.
 * Owns: koine_model. Does not open files (model_open.c), and knows nothing of devices.
 * Invariant: a model that opened has every weight its config asks for, in a dtype and shape that its role allows. */
#include "model.h"
#include "names.h"
#include <stdio.h>
#include <string.h>

/* ---- shapes ---- */
static void fill_dims(const koi_config *c, const koi_cache_spec *k, uint64_t *dims /* [KOI_N_DIMS] */)
{
  uint64_t s = c->n_streams, q_dim = (uint64_t)c->n_heads * c->head_dim;
  const uint64_t v[KOI_N_DIMS] = {
    [KOI_D_ONE] = 1, [KOI_D_THREE] = 3, [KOI_D_HIDDEN] = c->hidden, [KOI_D_VOCAB] = c->n_vocab, [KOI_D_Q_RANK] = c->q_rank, [KOI_D_HEADS] = c->n_heads,
    [KOI_D_Q_DIM] = q_dim, [KOI_D_HEAD] = c->head_dim, [KOI_D_O_RANK] = c->o_rank, [KOI_D_GROUPED] = (uint64_t)c->o_groups * c->o_rank,
    [KOI_D_GROUP_IN] = q_dim / c->o_groups, [KOI_D_INTER] = c->inter, [KOI_D_EXPERTS] = c->n_experts, [KOI_D_USED] = c->n_used, [KOI_D_STREAMS] = s,
    [KOI_D_MIX] = (2 + s) * s, [KOI_D_FLAT] = s * c->hidden, [KOI_D_RATIO] = k->ratio, [KOI_D_COMP] = k->state_width, [KOI_D_ICOMP] = k->index_state_width,
    [KOI_D_IHEADS] = c->index_heads, [KOI_D_IQ_DIM] = (uint64_t)c->index_heads * c->index_dim, [KOI_D_IHEAD] = c->index_dim,
  };
  memcpy(dims, v, sizeof v);
}

static koi_cache_spec cache_spec(const koi_config *c, koi_layer_kind kind, uint32_t ratio)
{
  if (kind == KOI_SLIDING) return (koi_cache_spec){0};
  uint32_t coff = kind == KOI_CSA ? 2 : 1; /* CSA pools over two stretches, half of each for the one before */
  koi_cache_spec k = {.ratio = ratio, .coff = coff, .state_rows = coff * ratio, .row_width = c->head_dim, .state_width = coff * c->head_dim};
  if (kind == KOI_CSA) k.index_row_width = c->index_dim, k.index_state_width = coff * c->index_dim;
  return k;
}

static bool applies(const koi_role *r, const koi_layer *l)
{
  const bool holds[] = {[KOI_ALWAYS] = true, [KOI_COMPRESSED] = l->kind != KOI_SLIDING, [KOI_INDEXED] = l->kind == KOI_CSA, [KOI_SCORED] = !l->hash,
                        [KOI_HASHED] = l->hash};
  return holds[r->when];
}

/* ---- binding ---- */
typedef struct binder {
  koine_model *m;
  uint64_t dims[KOI_N_DIMS];
  char prefix[64]; /* "layers.3." */
  char at[96];     /* "layers.3.ffn.experts.7.w1": what is bound now */
  uint8_t *used;   /* [tensors] whether it found a role */
} binder;

static bool is_float(int32_t format) { return format == KOI_WT_F32 || format == KOI_WT_F16 || format == KOI_WT_BF16; }

static void name_piece(binder *b, const koi_role *r, uint32_t unit, uint32_t sub)
{
  if (r->units == KOI_EXPERTS) snprintf(b->at, sizeof b->at, "%s%s%u.%s", b->prefix, r->path, unit, r->name[sub]);
  else snprintf(b->at, sizeof b->at, "%s%s%s", b->prefix, r->path, r->name[sub]);
}

static koine_status find(binder *b, const char *suffix, const koi_tensor **out)
{
  char full[160];
  snprintf(full, sizeof full, "%s%s", b->at, suffix);
  *out = koi_weights_find(b->m->weights, full);
  char stored[KOI_NAMES_BYTES];
  if (!*out)
    return koi_error(KOINE_ERR_FILE, "%s: %s: expected this tensor, found none of its name", b->m->path, b->m->gguf ? koi_names_stored(full, stored) : full);
  b->used[*out - koi_weights_at(b->m->weights, 0)] = 1;
  return KOINE_OK;
}

/* GGUF writers leave out slow dimensions of 1, or keep them, and may keep rows in groups: there the fastest and the number of rows count. */
static bool has_shape(const koi_tensor *t, bool gguf, uint32_t n_dims, uint64_t rows, uint64_t cols)
{
  uint64_t found = 1;
  if (!gguf) return t->n_dims == n_dims && t->shape[0] == rows && (n_dims == 1 || t->shape[1] == cols);
  if (n_dims == 1) cols = rows, rows = 1;
  for (uint32_t i = 0; i + 1 < t->n_dims; i++) found *= t->shape[i]; /* the header's bytes were checked: less than 2^64 */
  return t->n_dims && found == rows && t->shape[t->n_dims - 1] == cols;
}

static koine_status expect_shape(const binder *b, const koi_tensor *t, uint32_t n_dims, uint64_t rows, uint64_t cols)
{
  if (has_shape(t, b->m->gguf, n_dims, rows, cols)) return KOINE_OK;
  char found[128] = "[", expected[64];
  size_t at = 1;
  for (uint32_t i = 0; i < t->n_dims && at < 100; i++) at += (size_t)snprintf(found + at, sizeof found - at, "%s%ju", i ? ", " : "", (uintmax_t)t->shape[i]);
  if (n_dims == 1) snprintf(expected, sizeof expected, "[%ju]", (uintmax_t)rows);
  else snprintf(expected, sizeof expected, "[%ju, %ju]", (uintmax_t)rows, (uintmax_t)cols);
  return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected shape %s, found %s%s", t->file, koi_tensor_name(t), expected, found, at >= 100 ? "..." : "]");
}

static koine_status wrong_dtype(const koi_tensor *t, const char *expected)
{
  return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected dtype %s, found %s", t->file, koi_tensor_name(t), expected, koi_dtype_name(t->dtype));
}

static koine_status bind_scale(binder *b, int32_t format, uint64_t rows, uint64_t k, const koi_tensor **out)
{
  const koi_weight_format *f = &koi_formats[format];
  koine_status s = find(b, ".scale", out);
  if (s) return s;
  if ((*out)->dtype != KOI_F8_E8M0 && (*out)->dtype != KOI_U8) return wrong_dtype(*out, "F8_E8M0 or U8");
  return expect_shape(b, *out, 2, koi_ceil_div(rows, f->scale_rows), koi_ceil_div(k, f->scale_columns));
}

static koine_status expect_multiple(const char *file, const char *name, int32_t format, uint64_t k)
{
  const koi_weight_format *f = &koi_formats[format];
  if (k % f->multiple == 0) return KOINE_OK;
  return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected a multiple of %u values a row in %s, found %ju", file, name, f->multiple, f->title, (uintmax_t)k);
}

/* What the matrices of a GGUF file may be stored in: "F32, F16, ...". */
static const char *gguf_formats(char out[256])
{
  size_t at = 0;
  for (size_t i = 0; i < KOI_N_FORMATS && at < 256; i++)
    if (!koi_formats[i].scale_rows) at += (size_t)snprintf(out + at, 256 - at, "%s%s", at ? ", " : "", koi_formats[i].title);
  return out;
}

/* A weight of a GGUF file in a format that there are no kernels for: the model can be described. */
static koine_status cannot_run(binder *b, const koi_tensor *t)
{
  char known[256];
  b->m->runnable = false;
  if (b->m->cannot) return KOINE_OK;
  b->m->cannot = koi_format("%s is stored in %s, which cannot be run yet: expected %s", koi_tensor_name(t), koi_dtype_name(t->dtype), gguf_formats(known));
  return b->m->cannot ? KOINE_OK : KOINE_ERR_MEMORY;
}

static koine_status bind_piece(binder *b, const koi_role *r, koi_weight *w, koi_piece *p)
{
  static const char *const expected[] = {[KOI_TABLE] = "F32, F16 or BF16", [KOI_FLOATS] = "F32, F16 or BF16",
                                         [KOI_DENSE] = "F32, F16, BF16 or F8_E4M3", [KOI_EXPERT] = "F32, F16, BF16, F8_E4M3 or I8"};
  const koi_tensor *t;
  koine_status s = find(b, r->suffix, &t);
  if (s) return s;
  int32_t format = koi_model_format(t->dtype);
  bool blocks = koi_dtype_values(t->dtype) > 0; /* they may be any matrix */
  bool ok = blocks || is_float(format) || (r->use >= KOI_DENSE && format == KOI_WT_FP8) || (r->use == KOI_EXPERT && format == KOI_WT_FP4);
  char known[256];
  if (!ok) return wrong_dtype(t, b->m->gguf ? gguf_formats(known) : expected[r->use]);
  if (p == koi_weight_piece(w, 0, 0)) w->format = format, w->dtype = t->dtype;
  p->weight = t, p->format = format;
  uint64_t rows = w->one_matrix ? w->rows * w->n_units : w->rows;
  if (blocks) s = expect_shape(b, t, 2, rows, w->k);
  if (!s && format == KOI_FORMAT_NONE) s = cannot_run(b, t);
  if (s || blocks) return s;
  s = expect_multiple(t->file, koi_tensor_name(t), format, w->k);
  if (!s) s = expect_shape(b, t, 2, rows, koi_ceil_div(w->k, koi_formats[format].block_columns));
  if (!s && koi_formats[format].scale_rows) s = bind_scale(b, format, rows, w->k, &p->scale);
  return s;
}

/* Every expert id of a hash layer's table is one that exists. */
static koine_status check_ids(const koi_tensor *t, uint32_t n_experts, uint32_t n_used)
{
  size_t size = koi_dtype_bytes(t->dtype), n = t->bytes / size;
  uint8_t some[4096];
  for (size_t i = 0; i < n; i++) {
    size_t in = i * size % sizeof some, bytes = t->bytes - i * size;
    koine_status s = in ? KOINE_OK : koi_tensor_read(t, i * size, bytes < sizeof some ? bytes : sizeof some, some);
    if (s) return s;
    int64_t id = 0;
    int32_t id32 = 0;
    memcpy(size == 8 ? (void *)&id : (void *)&id32, some + in, size);
    if (size == 4) id = id32;
    if (id < 0 || id >= n_experts)
      return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected expert ids from 0 to %u, found %jd for token %zu", t->file, koi_tensor_name(t), n_experts - 1,
                       (intmax_t)id, i / n_used);
  }
  return KOINE_OK;
}

static koine_status bind_vector(binder *b, const koi_role *r, koi_weight *w)
{
  bool table = r->use == KOI_IDS || r->k != KOI_D_ONE, ids = r->use == KOI_IDS;
  const koi_tensor *t;
  koine_status s = find(b, r->suffix, &t);
  if (s) return s;
  w->piece[0].weight = t, w->dtype = t->dtype;
  if (!ids) w->format = w->piece[0].format = koi_model_format(t->dtype);
  bool blocks = table && !ids && koi_dtype_values(t->dtype) > 0; /* as llama.cpp's quantizer stores tables; devices have them as floats */
  if (blocks) w->format = KOI_WT_F32;
  if (blocks && (w->piece[0].format == KOI_FORMAT_NONE || !koi_formats[w->piece[0].format].split)) s = cannot_run(b, t);
  if (s) return s;
  if (!ids && !is_float(w->format)) return wrong_dtype(t, "F32, F16 or BF16");
  if (ids && t->dtype != KOI_I64 && t->dtype != KOI_I32) return wrong_dtype(t, "I64 or I32");
  s = expect_shape(b, t, table ? 2 : 1, w->rows, w->k);
  return s || !ids || b->m->missing ? s : check_ids(t, b->m->config.n_experts, b->m->config.n_used);
}

/* What the weight would be, where no tensor says it. */
static int32_t presumed(const koine_model *m, const koi_role *r)
{
  const koi_config *c = &m->config;
  if (r->use == KOI_IDS) return KOI_FORMAT_NONE;
  if (r->use == KOI_DENSE) return c->dense_format;
  if (r->use == KOI_EXPERT) return c->expert_format;
  return r->published == KOI_WT_BF16 ? c->float_format : r->published;
}

static koine_status bind_pieces(binder *b, const koi_role *r, koi_weight *w)
{
  koine_status s = KOINE_OK;
  uint32_t n = r->units == KOI_EXPERTS ? w->n_units : 1;
  if (r->units == KOI_EXPERTS && !(w->experts = koi_alloc((size_t)n * w->n_sub, sizeof *w->experts))) return KOINE_ERR_MEMORY;
  for (uint32_t unit = 0; unit < n && !s; unit++)
    for (uint32_t sub = 0; sub < w->n_sub && !s; sub++) {
      name_piece(b, r, unit, sub);
      s = bind_piece(b, r, w, (w->experts ? &w->experts[(size_t)unit * w->n_sub] : w->piece) + sub);
    }
  return s;
}

static koine_status bind_role(binder *b, const koi_role *r, koi_weight *w)
{
  const koi_config *c = &b->m->config;
  const uint32_t units[] = {[KOI_ONE] = 1, [KOI_GROUPS] = c->o_groups, [KOI_EXPERTS] = c->n_experts};
  *w = (koi_weight){.format = presumed(b->m, r), .dtype = r->use == KOI_IDS ? KOI_I64 : KOI_DTYPE_OTHER, .n_units = units[r->units],
                    .n_sub = r->name[1] ? 2 : 1, .piece = {{.format = presumed(b->m, r)}, {.format = presumed(b->m, r)}}, .rows = b->dims[r->rows], .k = b->dims[r->k], .one_matrix = r->units == KOI_GROUPS};
  name_piece(b, r, 0, 0);
  if (r->use < KOI_TABLE) return b->m->weights ? bind_vector(b, r, w) : KOINE_OK;
  return b->m->weights ? bind_pieces(b, r, w) : expect_multiple(b->m->path, b->at, w->format, w->k);
}

static koine_status bind_layer(binder *b, uint32_t layer, uint32_t ratio)
{
  koi_layer *l = &b->m->layers[layer];
  koine_status s = KOINE_OK;
  l->kind = koi_layer_kind_of(ratio), l->ratio = ratio, l->hash = b->m->config.hash[layer];
  l->cache = cache_spec(&b->m->config, l->kind, ratio);
  fill_dims(&b->m->config, &l->cache, b->dims);
  snprintf(b->prefix, sizeof b->prefix, "layers.%u.", layer);
  for (size_t r = 0; r < KOI_N_LAYER_ROLES && !s; r++)
    if (applies(&koi_layer_roles[r], l)) s = bind_role(b, &koi_layer_roles[r], &l->w[r]);
  return s;
}

static koine_status bind_top(binder *b)
{
  koine_model *m = b->m;
  koine_status s = KOINE_OK;
  fill_dims(&m->config, &(koi_cache_spec){0}, b->dims);
  for (size_t r = 0; r < KOI_N_TOP_ROLES && !s; r++) {
    bool tied = r == KOI_TOP_head && m->config.tied && (!m->weights || !koi_weights_find(m->weights, "head.weight"));
    if (tied && m->gguf) koi_log(KOINE_LOG_WARNING, "%s: output.weight is not in it: token_embd.weight stands for it", m->path);
    if (tied) m->top[r] = m->top[KOI_TOP_embed];
    else s = bind_role(b, &koi_top_roles[r], &m->top[r]);
  }
  return s;
}

/* Tensors that found no role are worth a note, but a layer that the config does not have means that the two do not belong together. */
static koine_status check_unused(const binder *b)
{
  size_t n = 0;
  const koi_tensor *first = NULL;
  for (size_t i = koi_weights_count(b->m->weights); i-- > 0;) {
    const koi_tensor *t = koi_weights_at(b->m->weights, i);
    unsigned layer;
    if (b->used[i] || !strncmp(t->name, "mtp.", 4)) continue;
    if (sscanf(t->name, "layers.%9u.", &layer) == 1 && layer >= b->m->config.n_layers)
      return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected layers 0 to %u as %s says, found layer %u", t->file, koi_tensor_name(t),
                       b->m->config.n_layers - 1, b->m->gguf ? "block_count" : "num_hidden_layers", layer);
    n++, first = t;
  }
  if (n) koi_log(KOINE_LOG_WARNING, "%s: tensors without a role are not used: %zu, the first is %.200s", b->m->path, n, koi_tensor_name(first));
  return KOINE_OK;
}

koine_status koi_model_bind(koine_model *m, const uint32_t *ratios)
{
  binder b = {.m = m};
  m->layers = koi_alloc(m->config.n_layers, sizeof *m->layers);
  if (m->weights) b.used = koi_alloc(koi_weights_count(m->weights), 1);
  koine_status s = m->layers && (b.used || !m->weights) ? bind_top(&b) : KOINE_ERR_MEMORY;
  for (uint32_t i = 0; i < m->config.n_layers && !s; i++) s = bind_layer(&b, i, ratios[i]);
  if (!s && m->weights) s = check_unused(&b);
  koi_free(b.used);
  return s;
}

void koi_model_close(koine_model *m)
{
  if (!m) return;
  for (uint32_t i = 0; m->layers && i < m->config.n_layers; i++)
    for (size_t r = 0; r < KOI_N_LAYER_ROLES; r++) koi_free(m->layers[i].w[r].experts);
  koi_free(m->layers);
  koi_weights_close(m->weights);
  koi_free(m->missing);
  koi_free(m->cannot);
  koi_free(m->path);
  koi_free(m);
}
