/* What a model's weights come to: formats, values, bytes, and the visit of every weight. Owns nothing, reads no file.
 * Invariant: a head that is the embedding counts once. */
#include "model.h"

/* ---- formats ---- */
int32_t koi_model_format(koi_dtype d)
{
  static const struct { koi_dtype dtype; int32_t format; } stored[] = {
    {KOI_F32, KOI_WT_F32}, {KOI_F16, KOI_WT_F16}, {KOI_BF16, KOI_WT_BF16}, {KOI_F8_E4M3, KOI_WT_FP8}, {KOI_I8, KOI_WT_FP4}, {KOI_U8, KOI_WT_FP4},
    {KOI_MXFP4, KOI_WT_MXFP4}, {KOI_Q8_0, KOI_WT_Q8_0}, {KOI_Q4_0, KOI_WT_Q4_0}, {KOI_Q4_1, KOI_WT_Q4_1}, {KOI_Q5_0, KOI_WT_Q5_0}, {KOI_Q5_1, KOI_WT_Q5_1},
    {KOI_Q2_K, KOI_WT_Q2_K}, {KOI_Q3_K, KOI_WT_Q3_K}, {KOI_Q4_K, KOI_WT_Q4_K}, {KOI_Q5_K, KOI_WT_Q5_K}, {KOI_Q6_K, KOI_WT_Q6_K},
    {KOI_IQ2_XXS, KOI_WT_IQ2_XXS}, {KOI_IQ2_XS, KOI_WT_IQ2_XS}, {KOI_IQ2_S, KOI_WT_IQ2_S}, {KOI_IQ3_XXS, KOI_WT_IQ3_XXS}, {KOI_IQ3_S, KOI_WT_IQ3_S},
    {KOI_IQ4_NL, KOI_WT_IQ4_NL}, {KOI_IQ4_XS, KOI_WT_IQ4_XS}};
  for (size_t i = 0; i < KOI_COUNT(stored); i++)
    if (stored[i].dtype == d) return stored[i].format;
  return KOI_FORMAT_NONE;
}

/* ---- sizes ---- */
uint64_t koi_weight_values(const koi_weight *w) { return w->n_units * (uint64_t)w->n_sub * w->rows * w->k; }

uint64_t koi_piece_bytes(const koi_weight *w, const koi_piece *p)
{
  uint64_t rows = w->one_matrix ? w->rows * w->n_units : w->rows;
  if (p->weight) return p->weight->bytes + (p->scale ? p->scale->bytes : 0);
  return p->format == KOI_FORMAT_NONE ? rows * w->k * koi_dtype_bytes(w->dtype) : koi_format_stored_bytes(p->format, rows, w->k);
}

uint64_t koi_weight_bytes(const koi_weight *w)
{
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < koi_weight_pieces(w); i++) bytes += koi_piece_bytes(w, koi_weight_piece(w, i / w->n_sub, i % w->n_sub));
  return bytes;
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
