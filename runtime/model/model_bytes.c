/* What a model's weights and caches come to: formats, values, bytes, and the visit of every weight. Owns nothing, reads no file.
 * Invariant: a head that is the embedding counts once; what exceeds 64 bits is UINT64_MAX. */
#include "model.h"

/* ---- formats ---- */
int32_t koi_model_format(koi_dtype d)
{
  static const struct { koi_dtype dtype; int32_t format; } stored[] = {
    {KOI_F32, KOI_WT_F32}, {KOI_F16, KOI_WT_F16}, {KOI_BF16, KOI_WT_BF16}, {KOI_F8_E4M3, KOI_WT_FP8}, {KOI_I8, KOI_WT_FP4}, {KOI_U8, KOI_WT_FP4}};
  for (size_t i = 0; i < KOI_COUNT(stored); i++)
    if (stored[i].dtype == d) return stored[i].format;
  return KOI_FORMAT_NONE;
}

/* ---- sizes ---- */
uint64_t koi_weight_values(const koi_weight *w) { return w->n_units * (uint64_t)w->n_sub * w->rows * w->k; }

uint64_t koi_weight_bytes(const koi_weight *w)
{
  if (w->format == KOI_FORMAT_NONE) return w->rows * w->k * koi_dtype_bytes(w->dtype);
  uint64_t matrices = (w->one_matrix ? 1 : w->n_units) * (uint64_t)w->n_sub;
  return matrices * koi_format_stored_bytes(w->format, w->one_matrix ? w->rows * w->n_units : w->rows, w->k);
}

bool koi_model_tied(const koine_model *m)
{
  return m->config.tied && m->top[KOI_TOP_head].piece[0].weight == m->top[KOI_TOP_embed].piece[0].weight;
}

void koi_model_visit(const koine_model *m, koi_visit_fn *fn, void *user)
{
  for (size_t r = 0; r < KOI_N_TOP_ROLES; r++)
    if (r != KOI_TOP_head || !koi_model_tied(m)) fn(user, -1, &koi_top_roles[r], &m->top[r]);
  for (uint32_t n = 0; n < m->config.n_layers; n++)
    for (size_t r = 0; r < KOI_N_LAYER_ROLES; r++)
      if (m->layers[n].w[r].rows) fn(user, (int)n, &koi_layer_roles[r], &m->layers[n].w[r]);
}

static void add_bytes(void *user, int layer, const koi_role *role, const koi_weight *w)
{
  (void)layer, (void)role;
  *(uint64_t *)user += koi_weight_bytes(w);
}

uint64_t koi_model_weight_bytes(const koine_model *m)
{
  uint64_t bytes = 0;
  koi_model_visit(m, add_bytes, &bytes);
  return bytes;
}

/* Rows of row_bytes, stored in steps of 16; saturates. */
static uint64_t rows_bytes(uint64_t rows, uint64_t row_bytes)
{
  uint64_t bytes;
  if (rows > UINT64_MAX - 15 || __builtin_mul_overflow((rows + 15) / 16 * 16, row_bytes, &bytes)) return UINT64_MAX;
  return bytes;
}

/* n / size rounded up; n may be near the end of the type. */
static uint64_t blocks(uint64_t n, uint64_t size) { return n / size + (n % size != 0); }

uint64_t koi_model_cache_bytes(const koine_model *m, uint64_t context, koine_cache mode)
{
  const koi_config *c = &m->config;
  bool packed = mode == KOINE_CACHE_PACKED;
  uint64_t plain = c->head_dim - c->rope_dim, total = 0;
  uint64_t row = packed ? plain + blocks(plain, 64) + 2 * c->rope_dim : 4ull * c->head_dim;
  uint64_t index_row = packed ? blocks(c->index_dim, 2) + blocks(c->index_dim, 32) : 4ull * c->index_dim;
  for (uint32_t n = 0; n < c->n_layers; n++) {
    const koi_cache_spec *k = &m->layers[n].cache;
    uint64_t parts[4] = {rows_bytes(c->window + 512ull, row)};
    if (k->ratio) parts[1] = rows_bytes(blocks(context, k->ratio), row);
    parts[2] = 2ull * 4 * k->state_rows * (k->state_width + (uint64_t)k->index_state_width);
    if (k->index_row_width) parts[3] = rows_bytes(blocks(context, k->ratio), index_row);
    for (size_t i = 0; i < KOI_COUNT(parts); i++)
      if (__builtin_add_overflow(total, parts[i], &total)) return UINT64_MAX;
  }
  return total;
}
