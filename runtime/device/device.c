/* What every device has whatever its backend: lock, account of memory, kernels, programs on disk, calls bound to a kernel or to the reference.
 * Owns those fields of koi_device. Invariant: `bytes` is the sum of what koi_device_alloc gave and koi_device_free has not taken back. */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "backend.h"
#include "kern.h"
#include "prog.h"
#include "tuned.h"

enum { MAX_THREADS = 64 };

/* Processors that this process may use. */
static uint32_t n_processors(void)
{
  cpu_set_t set;
  if (!sched_getaffinity(0, sizeof set, &set)) return (uint32_t)CPU_COUNT(&set);
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? (uint32_t)n : 1;
}

/* Only where it is asked for: no device was measured to be faster with it. */
static bool wants_records(const koi_device *d)
{
  const char *wanted = getenv("KOINE_RECORD");
  return d->can_record && wanted && !strcmp(wanted, "on");
}

koine_status koi_device_open(const koi_endpoint *e, const char *cache_dir, uint32_t n_threads, koi_device **out)
{
  koi_device *d;
  koine_status s = e->backend->open(e, &d);
  if (s) return s;
  if (pthread_mutex_init(&d->lock, NULL)) {
    e->backend->close(d);
    return koi_error(KOINE_ERR_MEMORY, "device %s (%s): cannot make a mutex", e->id, e->name);
  }
  d->records = wants_records(d);
  d->n_threads = n_threads ? n_threads : n_processors();
  if (d->n_threads > MAX_THREADS) d->n_threads = MAX_THREADS;
  if (e->backend->build_alone) d->n_threads = 1;
  if (cache_dir && !(d->cache_dir = koi_strdup(cache_dir))) s = KOINE_ERR_MEMORY;
  if (!s) s = koi_kern_open(d);
  if (!s) s = koi_prog_open(d);
  if (!s) s = koi_tuned_load(d, cache_dir);
  if (s) koi_device_close(d);
  else *out = d;
  return s;
}

void koi_device_close(koi_device *d)
{
  if (!d) return;
  koi_kern_close(d);
  koi_prog_close(d);
  koi_tuned_drop(d);
  koi_free(d->cache_dir);
  pthread_mutex_destroy(&d->lock);
  d->backend->close(d);
}

/* ---- memory ------------------------------------------------------------------------------------------------------------ */
koine_status koi_device_alloc(koi_device *d, size_t bytes, koi_buf **out)
{
  koine_status s = d->backend->alloc(d, bytes, out);
  if (s) return s;
  (*out)->counted = true;
  d->bytes += bytes;
  return KOINE_OK;
}

koine_status koi_device_room(const koi_device *d, uint64_t limit, uint64_t bytes)
{
  if (!limit || (bytes <= limit && d->bytes <= limit - bytes)) return KOINE_OK;
  return koi_error(KOINE_ERR_MEMORY, "device %s: %llu bytes are in use and %llu more are needed, but no more than %llu may be used; close sessions or plans, or allow more", d->endpoint->id,
                   (unsigned long long)d->bytes, (unsigned long long)bytes, (unsigned long long)limit);
}

void koi_device_free(koi_device *d, koi_buf *b)
{
  if (!b) return;
  if (b->counted) d->bytes -= b->bytes;
  d->backend->free(d, b);
}

/* ---- bound calls ------------------------------------------------------------------------------------------------------- */
/* Whether the backend has something of its own behind it. */
static bool has_own(const koi_bound *b) { return b->kernel && !b->kernel->library; }

koine_status koi_device_bind(koi_device *d, const koi_op *op, const int32_t *c, koi_kernel *k, const koi_args *a, koi_bound **out)
{
  koi_bound *b = NULL;
  koine_status s = KOINE_OK;
  if (k && !k->library) s = d->backend->bind(d, k, a, &b);
  else if (!(b = koi_alloc(1, sizeof *b))) s = KOINE_ERR_MEMORY;
  if (s) return s;
  b->kernel = k, b->op = op, b->a = *a;
  memcpy(b->c, c, koi_op_n_consts(op) * sizeof *c);
  *out = b;
  return KOINE_OK;
}

koine_status koi_device_patch(koi_device *d, koi_bound *b, size_t i, int32_t value)
{
  koine_status s = has_own(b) ? d->backend->patch(d, b, i, value) : KOINE_OK;
  if (!s) b->a.i[i] = value;
  return s;
}

koine_status koi_device_start(koi_device *d, koi_bound *b, const koi_range *r)
{
  if (!b->kernel) return koi_backend_fallback(d, b->op, b->c, &b->a);
  return has_own(b) ? d->backend->start(d, b, r) : koi_kern_library(d, &b->a);
}

koine_status koi_device_flush(koi_device *d) { return d->backend->flush ? d->backend->flush(d) : KOINE_OK; }

void koi_device_unbind(koi_device *d, koi_bound *b)
{
  if (!b) return;
  if (has_own(b)) d->backend->unbind(d, b);
  else koi_free(b);
}
