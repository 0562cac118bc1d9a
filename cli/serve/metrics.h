/* What /metrics counts. Any thread adds to it. */
#ifndef SERVE_METRICS_H
#define SERVE_METRICS_H
#include <stdatomic.h>
#include "json.h"

typedef enum serve_counter {
  SERVE_M_REQUESTS, SERVE_M_REFUSED, SERVE_M_ANSWERS, SERVE_M_FAILED, SERVE_M_ABORTED, SERVE_M_PROMPT_TOKENS, SERVE_M_CACHED_TOKENS, SERVE_M_NEW_TOKENS,
  SERVE_M_PREFILL_NS, SERVE_M_DECODE_NS, SERVE_M_KEEPALIVES, SERVE_M_DEFECTS, SERVE_M_EVICTED, SERVE_M_DEVICE_ERRORS,
  SERVE_M_DISK_SAVED, SERVE_M_DISK_LOADED, SERVE_M_DISK_FAILED, SERVE_M_DISK_FOREIGN, SERVE_M_DISK_DAMAGED, SERVE_M_DISK_EVICTED, SERVE_N_COUNTERS
} serve_counter;
typedef enum serve_gauge { SERVE_G_RUNNING, SERVE_G_WAITING, SERVE_G_HELD, SERVE_G_HELD_BYTES, SERVE_G_CONNECTIONS, SERVE_G_BUSY, SERVE_G_DISK, SERVE_G_DISK_BYTES, SERVE_N_GAUGES } serve_gauge;
typedef enum serve_histogram { SERVE_H_FIRST, SERVE_H_BETWEEN, SERVE_H_QUEUE, SERVE_H_WHOLE, SERVE_N_HISTOGRAMS } serve_histogram;
enum { SERVE_BUCKETS = 14 };

typedef struct serve_metrics {
  _Atomic uint64_t counter[SERVE_N_COUNTERS];
  _Atomic uint64_t gauge[SERVE_N_GAUGES];
  struct { _Atomic uint64_t bucket[SERVE_BUCKETS + 1], sum_ns; } histogram[SERVE_N_HISTOGRAMS];
} serve_metrics;

void serve_count(serve_metrics *m, serve_counter c, uint64_t n);
void serve_gauge_set(serve_metrics *m, serve_gauge g, uint64_t n);
void serve_gauge_add(serve_metrics *m, serve_gauge g, int by);
void serve_observe(serve_metrics *m, serve_histogram h, uint64_t ns);
/* Prometheus' text format. */
void serve_metrics_text(serve_metrics *m, const char *model, serve_text *out);
#endif
