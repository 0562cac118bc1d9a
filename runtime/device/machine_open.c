/* Opens a device at its first use and closes it after its last, of however many plans there are. */
#include "machine_open.h"

koine_status koi_machine_device(koine_runtime *rt, size_t i, koi_device **out)
{
  struct koi_open_device *o = &rt->open[i];
  koine_status s = KOINE_OK;
  pthread_mutex_lock(&rt->lock);
  if (!o->n_uses) s = koi_device_open(&rt->endpoints[i], rt->cache_dir, rt->n_threads, &o->device);
  if (!s) o->n_uses++, *out = o->device;
  pthread_mutex_unlock(&rt->lock);
  return s;
}

void koi_machine_device_drop(koine_runtime *rt, koi_device *d)
{
  if (!d) return;
  struct koi_open_device *o = &rt->open[d->endpoint - rt->endpoints];
  pthread_mutex_lock(&rt->lock);
  o->failed |= atomic_load(&d->failed);
  if (!--o->n_uses) koi_device_close(d);
  pthread_mutex_unlock(&rt->lock);
}

bool koi_machine_device_failed(koine_runtime *rt, size_t i)
{
  pthread_mutex_lock(&rt->lock);
  bool failed = rt->open[i].failed || (rt->open[i].n_uses && atomic_load(&rt->open[i].device->failed));
  pthread_mutex_unlock(&rt->lock);
  return failed;
}
