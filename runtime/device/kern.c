/* See kern.h. Owns a device's list of kernels in use. Invariant: the list has one entry for an op, constants and parameters as they were chosen. */
#include "kern.h"
#include <string.h>
#include "kernels/choose.h"

typedef struct entry { const koi_op *op; int32_t c[KOI_MAX_CONSTS], p[KOI_MAX_PARAMS]; koi_kernel *kernel; /* NULL: the C reference */ } entry;
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
void koi_kern_params(const koi_device *d, const koi_op *op, const int32_t *c, int32_t bucket, int32_t *p)
{
  koi_target t;
  memset(p, 0, KOI_MAX_PARAMS * sizeof *p);
  koi_backend_target(d, &t);
  koi_choose(&t, op, c, bucket, p, NULL); /* where none is legal, building them says so */
}

koine_status koi_kern_choose(koi_device *d, const koi_op *op, const int32_t *c, int32_t bucket, koi_kernel **out)
{
  koi_target t;
  int32_t p[KOI_MAX_PARAMS] = {0};
  koi_kernel *k = NULL;
  koi_backend_target(d, &t);
  for (;;) { /* ends: max_group falls with every turn */
    koine_status s = koi_choose(&t, op, c, bucket, p, NULL);
    if (s) return koi_error_prefix(s, "device %s (%s)", d->endpoint->id, d->endpoint->name);
    s = koi_kern_build(d, op, c, p, &k);
    if (s) return s;
    if (!k->max_group || !op->group_items || op->group_items(c, p) <= k->max_group) break;
    t.max_group = (uint32_t)k->max_group;
    d->backend->drop(d, k);
  }
  *out = k;
  return KOINE_OK;
}

static const entry *find(const koi_device *d, const koi_op *op, const int32_t *c, const int32_t *p)
{
  const koi_kerns *k = d->kerns;
  for (size_t i = 0; i < k->n; i++) {
    const entry *e = &k->list[i];
    if (e->op == op && !memcmp(e->c, c, koi_op_n_consts(op) * sizeof *c) && !memcmp(e->p, p, koi_op_n_params(op) * sizeof *p)) return e;
  }
  return NULL;
}

bool koi_kern_known(const koi_device *d, const koi_op *op, const int32_t *c, const int32_t *p) { return find(d, op, c, p) != NULL; }

koine_status koi_kern_keep(koi_device *d, const koi_op *op, const int32_t *c, const int32_t *p, koi_kernel *kernel, const char *why)
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
  *e = (entry){.op = op, .kernel = kernel};
  memcpy(e->c, c, koi_op_n_consts(op) * sizeof *c);
  memcpy(e->p, p, koi_op_n_params(op) * sizeof *p);
  return KOINE_OK;
}

koine_status koi_kern_get(koi_device *d, const koi_op *op, const int32_t *c, int32_t bucket, koi_kernel **out)
{
  int32_t p[KOI_MAX_PARAMS];
  koi_kernel *k = NULL;
  koi_kern_params(d, op, c, bucket, p);
  const entry *e = find(d, op, c, p);
  if (e || !op->source) {
    *out = e ? e->kernel : NULL;
    return KOINE_OK;
  }
  koine_status s = koi_kern_choose(d, op, c, bucket, &k);
  if (s && s != KOINE_ERR_DEVICE) return s;
  if (s) k = NULL;
  s = koi_kern_keep(d, op, c, p, k, koi_error_text());
  if (!s) *out = k;
  return s;
}
