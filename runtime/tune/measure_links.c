/* Links between a device and the host's memory, small and large, both ways, alone and beside work on the other side; and how fast the device reads and
 * computes. Owns the buffers and the thread of a measurement. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "base/thread.h"
#include "device/kern.h"
#include "device/machine_open.h"
#include "measure.h"

enum { SMALL = 64 << 10, LARGE = 16 << 20, PROBE_BYTES = 128 << 20, TURNS = 7, WORK_BYTES = 32 << 20, LAUNCHES = 64 };

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* ---- links -------------------------------------------------------------------------------------------------------------- */
typedef struct ends { koi_device *dev; koi_buf *there; uint8_t *here; } ends;

static koine_status transfer(const ends *e, bool up, size_t bytes, double *seconds)
{
  const koi_backend *b = e->dev->backend;
  double t[TURNS];
  koine_status s = KOINE_OK;
  for (int i = -1; i < TURNS && !s; i++) {
    uint64_t start = koi_now_ns();
    s = up ? b->read(e->dev, e->there, 0, bytes, e->here) : b->write(e->dev, e->there, 0, bytes, e->here);
    if (!s) s = b->finish(e->dev);
    if (i >= 0) t[i] = 1e-9 * (double)(koi_now_ns() - start);
  }
  qsort(t, TURNS, sizeof *t, ascending);
  *seconds = t[TURNS / 2];
  return s;
}

/* A line through both sizes; noise must not make a latency negative or a rate infinite. */
static koine_status measure_link(const ends *e, bool up, koi_link *out)
{
  double small, large;
  koine_status s = transfer(e, up, SMALL, &small);
  if (!s) s = transfer(e, up, LARGE, &large);
  if (s) return s;
  double more = large - small > large / 16 ? large - small : large / 16;
  out->bytes_per_s = (LARGE - SMALL) / more;
  out->latency_s = small - SMALL / out->bytes_per_s;
  if (out->latency_s < small / 16) out->latency_s = small / 16;
  return KOINE_OK;
}

/* The other side at work: the host's memory is read and written. */
typedef struct load { pthread_t thread; atomic_bool stop; uint8_t *from, *to; } load;

static void *work(void *user)
{
  load *l = user;
  while (!atomic_load(&l->stop)) memcpy(l->to, l->from, WORK_BYTES), l->from[0]++;
  return NULL;
}

static koine_status measure_busy(const ends *e, koi_site_device *d)
{
  load l = {.from = koi_alloc(1, WORK_BYTES), .to = koi_alloc(1, WORK_BYTES)};
  koine_status s = l.from && l.to ? KOINE_OK : KOINE_ERR_MEMORY;
  atomic_init(&l.stop, false);
  if (!s && !koi_thread_start(&l.thread, work, &l)) s = koi_error(KOINE_ERR_MEMORY, "a thread cannot be started");
  if (!s) {
    s = measure_link(e, true, &d->to_host_busy);
    if (!s) s = measure_link(e, false, &d->from_host_busy);
    atomic_store(&l.stop, true);
    pthread_join(l.thread, NULL);
  }
  koi_free(l.from);
  koi_free(l.to);
  return s;
}

static koine_status measure_links(koi_device *dev, koi_site_device *d)
{
  ends e = {.dev = dev, .here = koi_alloc(1, LARGE)};
  koine_status s = e.here ? koi_device_alloc(dev, LARGE, &e.there) : KOINE_ERR_MEMORY;
  if (!s) s = measure_link(&e, true, &d->to_host);
  if (!s) s = measure_link(&e, false, &d->from_host);
  if (!s) s = measure_busy(&e, d);
  koi_device_free(dev, e.there);
  koi_free(e.here);
  return s;
}

/* ---- rates -------------------------------------------------------------------------------------------------------------- */
typedef struct product { koi_device *dev; koi_buf *w, *x, *y; koi_kernel *kernel; koi_args a; } product;

static koine_status call(const product *p)
{
  static const int32_t c[KOI_MAX_CONSTS] = {[MATVEC_WT] = KOI_WT_F32, [MATVEC_TILE] = KOI_STRIP};
  return p->kernel ? koi_kern_launch(p->dev, p->kernel, &p->a) : koi_backend_fallback(p->dev, &koi_op_matvec, c, &p->a);
}

/* y = W x for `entries` vectors at once, W of `rows` x `k` floats. */
static koine_status open_product(koi_device *dev, int32_t entries, int32_t rows, int32_t k, product *p)
{
  static const int32_t c[KOI_MAX_CONSTS] = {[MATVEC_WT] = KOI_WT_F32, [MATVEC_TILE] = KOI_STRIP};
  *p = (product){.dev = dev};
  koine_status s = koi_device_alloc(dev, (size_t)rows * (size_t)k * 4, &p->w);
  if (!s) s = koi_device_alloc(dev, (size_t)entries * (size_t)k * 4, &p->x);
  if (!s) s = koi_device_alloc(dev, (size_t)entries * (size_t)rows * 4, &p->y);
  if (!s) s = dev->backend->fill(dev, p->w, 0);
  if (!s) s = dev->backend->fill(dev, p->x, 0);
  p->a = (koi_args){.buf = {[MATVEC_W] = p->w, [MATVEC_X] = p->x, [MATVEC_Y] = p->y},
                    .i = {[MATVEC_E] = entries, [MATVEC_K] = k, [MATVEC_N_SUB] = 1, [MATVEC_SUB_ROWS] = rows, [MATVEC_UNIT1] = 1, [MATVEC_TILE1] = rows / KOI_STRIP,
                          [MATVEC_X_DIV] = 1, [MATVEC_LDX] = k, [MATVEC_LDY] = rows}};
  if (!s) s = koi_kern_get(dev, &koi_op_matvec, c, koi_op_bucket(&koi_op_matvec, p->a.i, c), &p->kernel);
  return s;
}

static void close_product(product *p)
{
  koi_device_free(p->dev, p->w);
  koi_device_free(p->dev, p->x);
  koi_device_free(p->dev, p->y);
}

/* The best of several, each of n calls one after the other. */
static koine_status time_product(koi_device *dev, int32_t entries, int32_t rows, int32_t k, int n, double *seconds)
{
  product p;
  koine_status s = open_product(dev, entries, rows, k, &p);
  *seconds = 0;
  for (int turn = -1; turn < TURNS && !s; turn++) {
    uint64_t start = koi_now_ns();
    for (int i = 0; i < n && !s; i++) s = call(&p);
    if (!s) s = dev->backend->finish(dev);
    double t = 1e-9 * (double)(koi_now_ns() - start) / n;
    if (turn >= 0 && (!*seconds || t < *seconds)) *seconds = t;
  }
  close_product(&p);
  return s;
}

static koine_status measure_rates(koi_device *dev, koi_rates *r)
{
  double reading, computing, launching;
  uint64_t most = dev->endpoint->max_buffer_bytes, bytes = most && most < PROBE_BYTES ? most : PROBE_BYTES;
  int32_t k = 4096, rows = (int32_t)(bytes / (4 * (uint64_t)k) / 16 * 16);
  koine_status s = time_product(dev, 1, 16, 64, LAUNCHES, &launching);
  if (!s) s = time_product(dev, 1, rows, k, 1, &reading);
  if (!s) s = time_product(dev, 64, 512, 512, 1, &computing);
  if (s) return s;
  *r = (koi_rates){(double)rows * k * 4 / reading, 2.0 * 64 * 512 * 512 / computing, launching};
  return KOINE_OK;
}

koine_status koi_measure_links(koine_runtime *rt, koi_site *site, const koi_measure_wish *w)
{
  for (size_t d = 0; d < site->n_devices; d++) {
    koi_device *dev = NULL;
    if (!koi_measure_wanted(site, w->left_out, d)) continue;
    if (w->progress && !w->progress(w->user, "measuring links", d, site->n_devices)) return koi_error(KOINE_ERR_CANCELLED, "cancelled");
    koine_status s = koi_machine_device(rt, d, &dev);
    if (!s) {
      pthread_mutex_lock(&dev->lock);
      s = measure_links(dev, &site->devices[d]);
      if (!s) s = measure_rates(dev, &site->devices[d].rates);
      pthread_mutex_unlock(&dev->lock);
    }
    koi_machine_device_drop(rt, dev);
    if (s) koi_log(KOINE_LOG_WARNING, "device %s (%s) is not measured: %s", site->devices[d].id, site->devices[d].name, koi_error_text());
  }
  return koi_measure_keep(rt, site);
}
