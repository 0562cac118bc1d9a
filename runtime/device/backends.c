/* The table of backends, and what every backend has in common: the device in numbers, and the C reference as the floor.
 * Owns no state. Invariant of the fallback: what the reference did not write is unchanged on the device. */
#include "backend.h"

const koi_backend *const koi_backends[] = {&koi_backend_cl, &koi_backend_hip, &koi_backend_host, NULL};

void koi_backend_target(const koi_device *d, koi_target *t)
{
  koi_dev_target(d->endpoint, t);
  if (d->lanes) t->lanes = d->lanes;
  t->tuned = d->tuned.n ? &d->tuned : NULL;
}

bool koi_backend_fits(const koi_endpoint *e, const koi_op *op)
{
  koi_target t;
  int32_t p[KOI_MAX_PARAMS] = {0};
  koi_dev_target(e, &t);
  return !koi_choose(&t, op, op->usual, 0, p, NULL);
}

/* The place of the buffer's first mention, so that in-place calls share one copy. */
static size_t first_use(const koi_args *a, size_t i)
{
  size_t j = 0;
  while (a->buf[j] != a->buf[i]) j++;
  return j;
}

/* whole[i]: the host's copy of the buffer first mentioned at i. */
static koine_status fetch(koi_device *d, const koi_args *a, size_t n, void **whole, koi_ref_args *r)
{
  for (size_t i = 0; i < n; i++) {
    koi_buf *b = a->buf[i];
    if (!b) continue;
    size_t j = first_use(a, i);
    if (j == i) {
      whole[i] = koi_alloc(b->bytes ? b->bytes : 1, 1);
      koine_status s = whole[i] ? d->backend->read(d, b, 0, b->bytes, whole[i]) : KOINE_ERR_MEMORY;
      if (s) return s;
    }
    r->buf[i] = (uint8_t *)whole[j] + a->at[i];
    r->bytes[i] = b->bytes - a->at[i];
  }
  return KOINE_OK;
}

static koine_status put_back(koi_device *d, const koi_op *op, const koi_args *a, size_t n, void *const *whole)
{
  for (size_t j = 0; j < n; j++) {
    bool written = false;
    for (size_t i = j; i < n && whole[j]; i++) written |= a->buf[i] == a->buf[j] && (op->bufs[i].access & KOI_OUT);
    koine_status s = written ? d->backend->write(d, a->buf[j], 0, a->buf[j]->bytes, whole[j]) : KOINE_OK;
    if (s) return s;
  }
  return KOINE_OK;
}

koine_status koi_backend_fallback(koi_device *d, const koi_op *op, const int32_t *c, const koi_args *a)
{
  koi_ref_args r = {.i = a->i, .f = a->f, .c = c};
  void *whole[KOI_MAX_BUFS] = {0};
  size_t n = koi_op_n_bufs(op);
  koine_status s = fetch(d, a, n, whole, &r);
  if (!s) {
    op->ref(&r);
    s = put_back(d, op, a, n, whole);
  }
  for (size_t i = 0; i < n; i++) koi_free(whole[i]);
  return s ? koi_error_prefix(s, "op %s on the host for %s", op->name, d->endpoint->id) : KOINE_OK;
}
