/* See probe.h. Owns nothing beyond a call. */
#include "probe.h"

enum { PROBE_BYTES = 256 << 20 };

koine_status koi_probe_read(koi_stage *x, double *out)
{
  const koi_backend *b = x->dev->backend;
  uint64_t bytes = PROBE_BYTES, limit = x->dev->endpoint->max_buffer_bytes;
  if (limit && bytes > limit) bytes = limit;
  if (x->at.memory_bytes && bytes > x->at.memory_bytes / KOI_SPARE_PART) bytes = x->at.memory_bytes / KOI_SPARE_PART;
  int32_t k = 4096, rows = (int32_t)(bytes / (4 * (uint64_t)k) / 16 * 16);
  koi_buf *w = NULL, *v = NULL, *y = NULL;
  koine_status s = koi_device_alloc(x->dev, (size_t)rows * k * 4, &w);
  if (!s) s = koi_device_alloc(x->dev, (size_t)k * 4, &v);
  if (!s) s = koi_device_alloc(x->dev, (size_t)rows * 4, &y);
  if (!s) s = b->fill(x->dev, w, 0);
  if (!s) s = b->fill(x->dev, v, 0);
  double best = 0;
  for (int i = 0; i < 4 && !s; i++) {
    s = b->finish(x->dev);
    uint64_t start = koi_now_ns();
    if (!s) s = koi_stage_call(x, &koi_op_matvec, (const int32_t[KOI_MAX_CONSTS]){[MATVEC_WT] = KOI_WT_F32, [MATVEC_TILE] = KOI_STRIP},
                              &(koi_args){.buf = {[MATVEC_W] = w, [MATVEC_X] = v, [MATVEC_Y] = y},
                                          .i = {[MATVEC_E] = 1, [MATVEC_K] = k, [MATVEC_N_SUB] = 1, [MATVEC_SUB_ROWS] = rows, [MATVEC_UNIT1] = 1,
                                                [MATVEC_TILE1] = rows / KOI_STRIP, [MATVEC_X_DIV] = 1, [MATVEC_LDX] = k, [MATVEC_LDY] = rows}});
    if (!s) s = b->finish(x->dev);
    double rate = (double)rows * k * 4 / ((double)(koi_now_ns() - start) * 1e-9);
    if (i && rate > best) best = rate; /* the first call may compile */
  }
  koi_device_free(x->dev, w);
  koi_device_free(x->dev, v);
  koi_device_free(x->dev, y);
  if (!s) *out = best;
  return s;
}
