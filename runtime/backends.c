/* The table of backends, and what every backend has in common: the device in numbers, and the C reference as the floor.
 * Owns no state. Invariant of the fallback: what the reference did not write is unchanged on the device. */
#include "backend.h"
#include <string.h>

const koi_backend *const koi_backends[] = {&koi_backend_cl, &koi_backend_host, NULL};

void koi_backend_target(const koi_device *d, koi_target *t)
{
  const koi_endpoint *e = d->endpoint;
  *t = (koi_target){.vector_width = e->vector_width ? e->vector_width : 1,
                    .lanes = d->lanes ? d->lanes : e->lanes,
                    .max_group = e->max_group,
                    .local_bytes = e->local_bytes,
                    .n_units = e->n_units,
                    .local_is_global = e->local_is_global,
                    .denormals = e->denormals};
}

/* The place of the buffer's first mention, so that in-place calls share one copy. */
static size_t first_use(const koi_args *a, size_t i)
{
  size_t j = 0;
  while (a->buf[j] != a->buf[i]) j++;
  return j;
}

static koine_status fetch(koi_device *d, const koi_args *a, size_t n, koi_ref_args *r)
{
  for (size_t i = 0; i < n; i++) {
    koi_buf *b = a->buf[i];
    if (!b) continue;
    size_t j = first_use(a, i);
    r->bytes[i] = b->bytes;
    if (j < i) {
      r->buf[i] = r->buf[j];
      continue;
    }
    r->buf[i] = koi_alloc(b->bytes ? b->bytes : 1, 1);
    if (!r->buf[i]) return KOINE_ERR_MEMORY;
    koine_status s = d->backend->read(d, b, 0, b->bytes, r->buf[i]);
    if (s) return s;
  }
  return KOINE_OK;
}

static koine_status put_back(koi_device *d, const koi_op *op, const koi_args *a, size_t n, const koi_ref_args *r)
{
  for (size_t i = 0; i < n; i++) {
    if (!a->buf[i] || !(op->bufs[i].access & KOI_OUT)) continue;
    koine_status s = d->backend->write(d, a->buf[i], 0, r->bytes[i], r->buf[i]);
    if (s) return s;
  }
  return KOINE_OK;
}

koine_status koi_backend_fallback(koi_device *d, const koi_op *op, const int32_t *c, const koi_args *a)
{
  koi_ref_args r = {.i = a->i, .f = a->f, .c = c};
  size_t n = koi_op_n_bufs(op);
  koine_status s = fetch(d, a, n, &r);
  if (!s) {
    op->ref(&r);
    s = put_back(d, op, a, n, &r);
  }
  for (size_t i = 0; i < n; i++)
    if (a->buf[i] && first_use(a, i) == i) koi_free(r.buf[i]);
  return s ? koi_error_prefix(s, "op %s on the host for %s", op->name, d->endpoint->id) : KOINE_OK;
}
