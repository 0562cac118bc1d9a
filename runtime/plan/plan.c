/* See plan.h. */
#include "plan.h"

static void add_bytes(void *user, int layer, const char *role, const koi_matrix *m, const koi_vector *v)
{
  (void)layer, (void)role;
  *(uint64_t *)user += m ? koi_matrix_bytes(m) : v->n * koi_dtype_bytes(v->dtype);
}

static double gib(uint64_t bytes) { return (double)bytes / (1 << 30); }

/* The largest power-of-two fraction of the wanted chunk whose scratch is one buffer that the endpoint allows. */
static uint32_t fit_chunk(const koine_model *m, const koi_endpoint *e, uint32_t chunk)
{
  while (chunk > 1 && e->max_buffer_bytes && koi_exec_scratch_bytes(m, chunk) > e->max_buffer_bytes - e->max_buffer_bytes / 8) chunk /= 2;
  return chunk;
}

koine_status koi_plan_make(const koine_model *m, const koi_endpoint *e, const koine_plan_options *o, koine_plan **out)
{
  uint64_t most = m->config.max_context, limit = e->memory_bytes;
  uint32_t chunk = o->chunk;
  if (!m->runnable)
    return koi_error(KOINE_ERR_FILE, "%s: not there, so the model can be described but not run; put its safetensors files beside the config",
                     m->missing ? m->missing : m->path);
  if (!e->usable) return koi_error(KOINE_ERR_NO_DEVICE, "device %s (%s) cannot run kernels: %s", e->id, e->name, e->why);
  if (chunk > KOI_MAX_CHUNK) return koi_error(KOINE_ERR_ARG, "chunk of %u tokens, expected 1 to %d", chunk, KOI_MAX_CHUNK);
  if (o->cache != KOINE_CACHE_PACKED && o->cache != KOINE_CACHE_EXACT) return koi_error(KOINE_ERR_ARG, "unknown cache mode %d", (int)o->cache);
  if (o->memory_bytes && (!limit || o->memory_bytes < limit)) limit = o->memory_bytes;
  koine_plan *p = koi_alloc(1, sizeof *p);
  if (!p) return KOINE_ERR_MEMORY;
  p->model = m, p->endpoint = e;
  p->cache = o->cache, p->context = o->context ? o->context : most < 4096 ? most : 4096, p->mark_bytes = o->mark_bytes, p->limit_bytes = limit;
  p->chunk = fit_chunk(m, e, chunk ? chunk : KOI_DEFAULT_CHUNK);
  p->scratch_bytes = koi_exec_scratch_bytes(m, p->chunk);
  koi_model_visit(m, add_bytes, &p->weight_bytes);
  uint64_t need = p->weight_bytes + p->scratch_bytes;
  if (limit && need > limit) {
    double weights = gib(p->weight_bytes), scratch = gib(p->scratch_bytes);
    koi_free(p);
    return koi_error(KOINE_ERR_MEMORY, "device %s (%s) has %.1f GiB of memory to use, but the weights need %.1f GiB and scratch %.2f GiB; take a device with more, or a smaller model",
                     e->id, e->name, gib(limit), weights, scratch);
  }
  *out = p;
  return KOINE_OK;
}

koine_status koi_plan_text(const koine_plan *p, char **out)
{
  koi_text t = {0};
  koi_text_add(&t, "plan chunk=%u weight_bytes=%llu scratch_bytes=%llu\n", p->chunk, (unsigned long long)p->weight_bytes, (unsigned long long)p->scratch_bytes);
  koi_text_add(&t, "layers 0-%u device=%s name=\"%s\"\n", p->model->config.n_layers - 1, p->endpoint->id, p->endpoint->name);
  return koi_text_take(&t, out);
}
