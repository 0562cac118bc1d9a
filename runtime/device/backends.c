/* The table of backends, and what every backend has in common: the device in numbers, and the C reference as the floor.
 * Owns no state. Invariant of the fallback: what the reference did not write is unchanged on the device. */
#include "backend.h"
#include "kernels/choose.h"

const koi_backend *const koi_backends[] = {&koi_backend_cl, &koi_backend_host, NULL};

static void endpoint_target(const koi_endpoint *e, koi_target *t)
{
  *t = (koi_target){.vector_width = e->vector_width ? e->vector_width : 1,
                    .lanes = e->lanes,
                    .max_group = e->max_group,
                    .local_bytes = e->local_bytes,
                    .n_units = e->n_units ? e->n_units : 1,
                    .local_is_global = e->local_is_global,
                    .denormals = e->denormals};
}

void koi_backend_target(const koi_device *d, koi_target *t)
{
  endpoint_target(d->endpoint, t);
  if (d->lanes) t->lanes = d->lanes;
}

bool koi_backend_fits(const koi_endpoint *e, const koi_op *op)
{
  koi_target t;
  int32_t p[KOI_MAX_PARAMS] = {0};
  endpoint_target(e, &t);
  return !koi_choose(&t, op, op->usual, 0, p, NULL);
}

koine_status koi_backend_build(koi_device *d, const koi_op *op, const int32_t *c, koi_kernel **out)
{
  koi_target t;
  int32_t p[KOI_MAX_PARAMS] = {0};
  koi_kernel *k = NULL;
  koi_backend_target(d, &t);
  for (;;) { /* ends: max_group falls with every turn */
    koine_status s = koi_choose(&t, op, c, 0, p, NULL);
    if (s) return koi_error_prefix(s, "device %s (%s)", d->endpoint->id, d->endpoint->name);
    s = d->backend->build(d, op, c, p, &k);
    if (s) return s;
    if (!k->max_group || !op->group_items || op->group_items(c, p) <= k->max_group) break;
    t.max_group = (uint32_t)k->max_group;
    d->backend->drop(d, k);
  }
  *out = k;
  return KOINE_OK;
}

/* The place of the buffer's first mention, so that in-place calls share one copy. */
static size_t first_use(const koi_args *a, size_t i)
{
  size_t j = 0;
  while (a->buf[j] != a->buf[i]) j++;
  return j;
}

/* copy: [n] whole buffers, one for each that is mentioned, at its first mention. */
static koine_status fetch(koi_device *d, const koi_args *a, size_t n, uint8_t **copy, koi_ref_args *r)
{
  for (size_t i = 0; i < n; i++) {
    koi_buf *b = a->buf[i];
    if (!b) continue;
    size_t j = first_use(a, i);
    if (j == i) {
      copy[i] = koi_alloc(b->bytes ? b->bytes : 1, 1);
      if (!copy[i]) return KOINE_ERR_MEMORY;
      koine_status s = d->backend->read(d, b, 0, b->bytes, copy[i]);
      if (s) return s;
    }
    r->buf[i] = copy[j] + a->at[i], r->bytes[i] = b->bytes - a->at[i];
  }
  return KOINE_OK;
}

static koine_status put_back(koi_device *d, const koi_op *op, const koi_args *a, size_t n, const koi_ref_args *r)
{
  for (size_t i = 0; i < n; i++) {
    if (!a->buf[i] || !(op->bufs[i].access & KOI_OUT)) continue;
    koine_status s = d->backend->write(d, a->buf[i], a->at[i], r->bytes[i], r->buf[i]);
    if (s) return s;
  }
  return KOINE_OK;
}

koine_status koi_backend_fallback(koi_device *d, const koi_op *op, const int32_t *c, const koi_args *a)
{
  koi_ref_args r = {.i = a->i, .f = a->f, .c = c};
  uint8_t *copy[KOI_MAX_BUFS] = {0};
  size_t n = koi_op_n_bufs(op);
  koine_status s = fetch(d, a, n, copy, &r);
  if (!s) {
    op->ref(&r);
    s = put_back(d, op, a, n, &r);
  }
  for (size_t i = 0; i < n; i++) koi_free(copy[i]);
  return s ? koi_error_prefix(s, "op %s on the host for %s", op->name, d->endpoint->id) : KOINE_OK;
}
