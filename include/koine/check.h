/* Checks and measurements: devices against the C reference, speed, faster kernels. koine.h has the rules. */
#ifndef KOINE_CHECK_H
#define KOINE_CHECK_H
#include "run.h"
#ifdef __cplusplus
extern "C" {
#endif

/* ---- checks and measurements -------------------------------------------------------------------------------------------- */
typedef enum koine_format { KOINE_FORMAT_MARKDOWN, KOINE_FORMAT_CSV, KOINE_FORMAT_JSON } koine_format;

/* Every op of device `device` (id; NULL: the best) against the C reference on ragged shapes, then a small known-answer model. *report
 * has a line an op. KOINE_ERR_CHECK: something differed; the message names op and driver, and *report is set all the same. */
KOINE_API koine_status koine_verify(koine_runtime *runtime, const char *device, koine_progress_fn *progress, void *user, char **report);

typedef struct koine_bench_options {
  size_t size;            /* sizeof this struct */
  const uint32_t *n_prompt; size_t n_n_prompt; /* prefill tests, tokens each */
  const uint32_t *n_gen; size_t n_n_gen;       /* decode tests, tokens each */
  const uint64_t *depths; size_t n_depths;     /* tokens in the caches before a test */
  uint32_t repetitions;   /* 0: 3 */
  bool fill;              /* fill the caches with random rows instead of a real prefill */
  bool ops;               /* time by op as well */
  bool gemm;              /* first measure both entries for dense products in prefill, and remember the faster for this device */
  koine_format format;
  koine_cache cache;
} koine_bench_options;
#define KOINE_BENCH_OPTIONS_INIT {sizeof(koine_bench_options), NULL, 0, NULL, 0, NULL, 0, 0, false, false, false, KOINE_FORMAT_MARKDOWN, KOINE_CACHE_PACKED}
/* Measures an awake plan; *out is a table in the chosen format. KOINE_ERR_STATE for a sleeping one. */
KOINE_API koine_status koine_bench(koine_plan *plan, const koine_bench_options *options, koine_progress_fn *progress, void *user, char **out);

typedef struct koine_tune_options {
  size_t size;      /* sizeof this struct */
  uint32_t seconds; /* about how long; 0: 60 */
  uint32_t reserved;
} koine_tune_options;
#define KOINE_TUNE_OPTIONS_INIT {sizeof(koine_tune_options), 0, 0}
/* Looks for parameters of kernels that are faster than the defaults on an awake plan's device, checks them against the C reference, and keeps them
 * in the cache folder: this plan and every later one on the device use them. options may be NULL. *report is a table with the speeds before
 * and after. KOINE_ERR_STATE for a sleeping plan, or without a cache folder; KOINE_ERR_CANCELLED: what was found until then is kept. */
KOINE_API koine_status koine_tune(koine_plan *plan, const koine_tune_options *options, koine_progress_fn *progress, void *user, char **report);

#ifdef __cplusplus
}
#endif
#endif
