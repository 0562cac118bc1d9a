/* Recorded calls of the HIP backend: a graph of launches, captured from its stream, which runs nothing meanwhile. Owns recordings.
 * Invariant: a capture that was begun has ended, whatever came of it: a stream that goes on capturing is of no use. */
#include "dev_hip.h"

typedef struct recorded {
  koi_recorded base;
  hipGraphExec_t what;
} recorded;

static koine_status capture(hip_dev *d, koi_bound *const *calls, const koi_range *ranges, size_t n, hipGraph_t *out)
{
  hipError_t code = d->hip->hipStreamBeginCapture(d->stream, hipStreamCaptureModeThreadLocal); /* other threads may load programs */
  koine_status s = code ? koi_dev_hip_failed(d, "recording calls", code) : KOINE_OK;
  if (s) return s;
  for (size_t i = 0; i < n && !s; i++) s = koi_dev_hip_start(&d->base, calls[i], &ranges[i]);
  code = d->hip->hipStreamEndCapture(d->stream, out);
  return s ? s : code ? koi_dev_hip_failed(d, "recording calls", code) : KOINE_OK;
}

koine_status koi_dev_hip_record(koi_device *device, koi_bound *const *calls, const koi_range *ranges, size_t n, koi_recorded **out)
{
  hip_dev *d = (hip_dev *)device;
  hipGraph_t graph = NULL;
  recorded *r = koi_alloc(1, sizeof *r);
  if (!r) return KOINE_ERR_MEMORY;
  r->base.n = n;
  koine_status s = koi_dev_hip_enter(d);
  if (!s) s = capture(d, calls, ranges, n, &graph);
  hipError_t code = s ? (hipError_t)hipSuccess : d->hip->hipGraphInstantiateWithFlags(&r->what, graph, 0);
  if (code) s = koi_dev_hip_failed(d, "recording calls", code);
  if (graph) d->hip->hipGraphDestroy(graph);
  if (s) koi_free(r);
  else *out = &r->base;
  return s;
}

koine_status koi_dev_hip_replay(koi_device *device, koi_recorded *what)
{
  hip_dev *d = (hip_dev *)device;
  koine_status s = koi_dev_hip_enter(d);
  hipError_t code = s ? (hipError_t)hipSuccess : d->hip->hipGraphLaunch(((recorded *)what)->what, d->stream);
  return code ? koi_dev_hip_failed(d, "replaying calls", code) : s;
}

void koi_dev_hip_unrecord(koi_device *device, koi_recorded *what)
{
  hip_dev *d = (hip_dev *)device;
  device->backend->finish(device);
  d->hip->hipGraphExecDestroy(((recorded *)what)->what);
  koi_free(what);
}
