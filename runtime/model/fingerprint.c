/* See fingerprint.h. Owns nothing. Invariant: where a model's files lie, and when they were written, changes nothing. */
#include "fingerprint.h"
#include <string.h>

enum { SAMPLES = 256, SAMPLE_BYTES = 4096 };

/* What the config says beyond the shapes of weights. */
static void add_config(koi_text *t, const koi_config *c)
{
  koi_text_add(t, "%u %u %u %u %u %u %u %u %u %u %u %u %u %u %u %u %u %u %d ", c->n_layers, c->hidden, c->n_heads, c->head_dim, c->rope_dim, c->q_rank, c->o_groups,
               c->o_rank, c->n_experts, c->n_used, c->inter, c->window, c->index_heads, c->index_dim, c->index_topk, c->n_streams, c->sinkhorn_iters, c->n_vocab, (int)c->score);
  koi_text_add(t, "%.9g %.9g %.9g %.9g %.9g %.17g %.17g ", (double)c->rms_eps, (double)c->hc_eps, (double)c->swiglu_limit, (double)c->shared_limit,
               (double)c->route_scale, c->rope_theta, c->compress_theta);
  if (c->yarn.on) koi_text_add(t, "%.9g %.9g %.9g %llu ", (double)c->yarn.factor, (double)c->yarn.beta_fast, (double)c->yarn.beta_slow, (unsigned long long)c->yarn.original);
}

static uint64_t of_weights(const koi_weights *w, uint64_t h)
{
  size_t n = koi_weights_count(w), step = n / SAMPLES + 1;
  for (size_t i = 0; i < n; i++) {
    const koi_tensor *t = koi_weights_at(w, i);
    h = koi_hash(t->name, strlen(t->name), h);
    h = koi_hash(koi_dtype_name(t->dtype), strlen(koi_dtype_name(t->dtype)), h);
    h = koi_hash(t->shape, t->n_dims * sizeof *t->shape, h);
    uint8_t sample[SAMPLE_BYTES];
    size_t bytes = t->bytes < SAMPLE_BYTES ? t->bytes : SAMPLE_BYTES;
    if (i % step) continue;
    if (koi_tensor_read(t, 0, bytes, sample)) return 0;
    h = koi_hash(sample, bytes, h);
  }
  return h;
}

uint64_t koi_model_fingerprint(const koine_model *m)
{
  koi_text t = {0};
  add_config(&t, &m->config);
  for (uint32_t i = 0; i < m->config.n_layers; i++) koi_text_add(&t, "%u%s ", m->layers[i].ratio, m->layers[i].hash ? "h" : "");
  uint64_t h = t.failed ? 0 : koi_hash(t.s, t.len, 1);
  koi_free(t.s);
  if (h && m->weights) h = of_weights(m->weights, h);
  return h;
}
