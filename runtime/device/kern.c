/* See kern.h. Owns a device's list of kernels in use. Invariant: the list has one entry for an op, constants and bucket. */
#include "kern.h"
#include <string.h>

typedef struct entry { const koi_op *op; int32_t c[KOI_MAX_CONSTS]; int32_t bucket; koi_kernel *kernel; /* NULL: the C reference */ } entry;
typedef struct koi_kerns { entry *list; size_t n, cap; } koi_kerns;

koine_status koi_kern_open(koi_device *d) { return (d->kerns = koi_alloc(1, sizeof *d->kerns)) ? KOINE_OK : KOINE_ERR_MEMORY; }

void koi_kern_close(koi_device *d)
{
  koi_kerns *k = d->kerns;
  if (!k) return;
  for (size_t i = 0; i < k->n; i++)
    if (k->list[i].kernel) d->backend->drop(d, k->list[i].kernel);
  koi_free(k->list);
  koi_free(k);
  d->kerns = NULL;
}

/* ---- geometry and definitions ------------------------------------------------------------------------------------------ */
bool koi_kern_range(const koi_kernel *k, const koi_args *a, koi_range *out)
{
  *out = (koi_range){{1, 1, 1}, {1, 1, 1}};
  k->op->launch(a, k->c, k->p, out);
  if (!out->global[0] || !out->global[1] || !out->global[2]) return false;
  for (int i = 0; i < 3 && out->local[0]; i++) out->global[i] = (out->global[i] + out->local[i] - 1) / out->local[i] * out->local[i];
  return true;
}

void koi_kern_defs(const koi_op *op, const int32_t *c, const int32_t *p, koi_text *out)
{
  for (size_t i = 0; i < koi_op_n_consts(op); i++) koi_text_add(out, "%s-D %s=%d", out->len ? " " : "", op->consts[i], (int)c[i]);
  for (size_t i = 0; i < koi_op_n_params(op); i++) koi_text_add(out, "%s-D %s=%d", out->len ? " " : "", op->params[i].name, (int)p[i]);
}

/* The driver's own code for it says too little. */
static koine_status fits(const koi_device *d, const koi_kernel *k, const koi_range *r)
{
  size_t group = r->local[0] * r->local[1] * r->local[2];
  if (!k->max_group || group <= k->max_group) return KOINE_OK;
  return koi_error(KOINE_ERR_DEVICE, "device %s (%s): op %s wants work-groups of %zu x %zu x %zu = %zu, the compiled kernel allows %zu", d->endpoint->id,
                   d->endpoint->name, k->op->name, r->local[0], r->local[1], r->local[2], group, k->max_group);
}

koine_status koi_kern_launch(koi_device *d, koi_kernel *k, const koi_args *a)
{
  koi_range r;
  if (!koi_kern_range(k, a, &r)) return KOINE_OK;
  koine_status s = fits(d, k, &r);
  return s ? s : d->backend->launch(d, k, a, &r);
}

/* ---- choice and kernels in use ----------------------------------------------------------------------------------------- */
koine_status koi_kern_choose(koi_device *d, const koi_op *op, const int32_t *c, int32_t bucket, koi_kernel **out)
{
  koi_target t;
  int32_t p[KOI_MAX_PARAMS] = {0}, built_p[KOI_MAX_PARAMS];
  koi_kernel *k = NULL;
  (void)bucket;
  koi_backend_target(d, &t);
  for (;;) { /* ends: max_group falls with every turn */
    koi_op_defaults(op, &t, c, p);
    if (k && !memcmp(p, built_p, sizeof p)) break;
    if (k) d->backend->drop(d, k);
    if (op->legal && !op->legal(&t, c, p))
      return koi_error(KOINE_ERR_DEVICE, "device %s (%s): op %s has no parameters for work-groups of at most %u and %llu bytes of local memory",
                       d->endpoint->id, d->endpoint->name, op->name, t.max_group, (unsigned long long)t.local_bytes);
    koine_status s = koi_kern_build(d, op, c, p, &k);
    if (s) return s;
    if (!k->max_group || k->max_group >= t.max_group) break;
    t.max_group = (uint32_t)k->max_group;
    memcpy(built_p, p, sizeof p);
  }
  *out = k;
  return KOINE_OK;
}

static const entry *find(const koi_device *d, const koi_op *op, const int32_t *c, int32_t bucket)
{
  const koi_kerns *k = d->kerns;
  for (size_t i = 0; i < k->n; i++) {
    const entry *e = &k->list[i];
    if (e->op == op && e->bucket == bucket && !memcmp(e->c, c, koi_op_n_consts(op) * sizeof *c)) return e;
  }
  return NULL;
}

bool koi_kern_known(const koi_device *d, const koi_op *op, const int32_t *c, int32_t bucket) { return find(d, op, c, bucket) != NULL; }

koine_status koi_kern_keep(koi_device *d, const koi_op *op, const int32_t *c, int32_t bucket, koi_kernel *kernel, const char *why)
{
  koi_kerns *k = d->kerns;
  if (k->n == k->cap) {
    size_t cap = k->cap ? 2 * k->cap : 64;
    void *list = koi_realloc(k->list, cap, sizeof *k->list);
    if (!list) {
      if (kernel) d->backend->drop(d, kernel);
      return KOINE_ERR_MEMORY;
    }
    k->list = list, k->cap = cap;
  }
  if (!kernel) koi_log(KOINE_LOG_WARNING, "%s runs on the host: %s", op->name, why);
  entry *e = &k->list[k->n++];
  *e = (entry){.op = op, .bucket = bucket, .kernel = kernel};
  memcpy(e->c, c, koi_op_n_consts(op) * sizeof *c);
  return KOINE_OK;
}

koine_status koi_kern_get(koi_device *d, const koi_op *op, const int32_t *c, int32_t bucket, koi_kernel **out)
{
  const entry *e = find(d, op, c, bucket);
  koi_kernel *k = NULL;
  if (e) {
    *out = e->kernel;
    return KOINE_OK;
  }
  koine_status s = koi_kern_choose(d, op, c, bucket, &k);
  if (s && s != KOINE_ERR_DEVICE) return s;
  if (s) k = NULL;
  s = koi_kern_keep(d, op, c, bucket, k, koi_error_text());
  if (!s) *out = k;
  return s;
}
