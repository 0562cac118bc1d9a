/* libFuzzer: bytes as config.json. What parses must keep the promises of koi_config, and a model of those sizes must bind and describe. */
#include "model/model.h"
#include <stdlib.h>
#include <string.h>

static void check(const koi_config *c, const uint32_t *ratios)
{
  const uint32_t sizes[] = {c->n_layers, c->hidden, c->n_heads, c->head_dim, c->rope_dim, c->q_rank, c->o_groups, c->o_rank, c->n_experts,
                            c->n_used, c->inter, c->window, c->n_streams, c->sinkhorn_iters, c->n_vocab};
  for (size_t i = 0; i < KOI_COUNT(sizes); i++)
    if (!sizes[i]) abort();
  if (c->n_layers > KOI_MAX_LAYERS || c->n_heads % c->o_groups || c->rope_dim > c->head_dim || c->rope_dim % 2 || c->n_used > c->n_experts) abort();
  for (uint32_t i = 0; i < c->n_layers; i++)
    if (ratios[i] > KOI_MAX_RATIO || (koi_layer_kind_of(ratios[i]) == KOI_CSA && (!c->index_dim || c->index_dim & (c->index_dim - 1)))) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  koine_model *m = koi_alloc(1, sizeof *m);
  uint32_t *ratios;
  koine_status s = koi_config_parse((const char *)data, size, "fuzz", &m->config, &ratios);
  if (s) {
    if (s != KOINE_ERR_FILE || !*koi_error_text() || strchr(koi_error_text(), '\n')) abort();
    koi_model_close(m);
    return 0;
  }
  check(&m->config, ratios);
  m->path = koi_strdup("fuzz");
  if ((uint64_t)m->config.n_layers * m->config.n_experts < 10000 && !koi_model_bind(m, ratios)) {
    char *text;
    koine_model_info info;
    if (koi_model_get_info(m, &info) || info.n_params_active > info.n_params || koi_model_describe(m, NULL, 0, 0, NULL, size & 1, &text)) abort();
    koi_free(text);
  }
  koi_free(ratios);
  koi_model_close(m);
  return 0;
}
