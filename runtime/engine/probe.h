/* What a device can do at most, measured beside what it does. */
#ifndef KOI_ENGINE_PROBE_H
#define KOI_ENGINE_PROBE_H
#include "stage.h"

/* Bytes a second that the device reads from a buffer far larger than its caches: the most a decode could reach. The matrix product
 * that reads its weights once is the probe, with weights of the plainest kind. */
koine_status koi_probe_read(koi_stage *st, double *out);
#endif
