/* Owns: the names and the form of what is counted. */
#include "metrics.h"
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

static const struct { const char *name, *help; double scale; } counters[SERVE_N_COUNTERS] = {
  [SERVE_M_REQUESTS] = {"koine_requests_total", "requests for answers that were taken", 1},
  [SERVE_M_REFUSED] = {"koine_requests_refused_total", "requests that were answered with an error before any work", 1},
  [SERVE_M_ANSWERS] = {"koine_answers_total", "answers that were made to their end", 1},
  [SERVE_M_FAILED] = {"koine_answers_failed_total", "answers that ended with an error", 1},
  [SERVE_M_ABORTED] = {"koine_answers_aborted_total", "answers whose client went away", 1},
  [SERVE_M_PROMPT_TOKENS] = {"koine_prompt_tokens_total", "tokens of prompts", 1},
  [SERVE_M_CACHED_TOKENS] = {"koine_prompt_cached_tokens_total", "tokens of prompts that were held and not evaluated", 1},
  [SERVE_M_NEW_TOKENS] = {"koine_generation_tokens_total", "tokens of answers", 1},
  [SERVE_M_PREFILL_NS] = {"koine_prefill_seconds_total", "time in prompts", 1e-9},
  [SERVE_M_DECODE_NS] = {"koine_decode_seconds_total", "time in answers", 1e-9},
  [SERVE_M_KEEPALIVES] = {"koine_keepalives_total", "signs of life sent to waiting clients", 1},
  [SERVE_M_DEFECTS] = {"koine_answer_defects_total", "faults in the markup of answers", 1},
  [SERVE_M_EVICTED] = {"koine_conversations_evicted_total", "kept conversations that were given up for others", 1},
  [SERVE_M_DEVICE_ERRORS] = {"koine_device_errors_total", "failures of a device", 1},
  [SERVE_M_DISK_SAVED] = {"koine_disk_saved_total", "conversations written to disk", 1},
  [SERVE_M_DISK_LOADED] = {"koine_disk_loaded_total", "conversations that went on from disk", 1},
  [SERVE_M_DISK_FAILED] = {"koine_disk_failed_total", "conversations that could not be written", 1},
  [SERVE_M_DISK_FOREIGN] = {"koine_disk_foreign_total", "files that are no conversation of this model, placement and version", 1},
  [SERVE_M_DISK_DAMAGED] = {"koine_disk_damaged_total", "files that were damaged, and removed", 1},
  [SERVE_M_DISK_EVICTED] = {"koine_disk_evicted_total", "files that were given up for others", 1},
};
static const struct { const char *name, *help; } gauges[SERVE_N_GAUGES] = {
  [SERVE_G_RUNNING] = {"koine_answers_running", "answers that are being made"},
  [SERVE_G_WAITING] = {"koine_answers_waiting", "answers in the queue"},
  [SERVE_G_HELD] = {"koine_conversations_held", "conversations in memory"},
  [SERVE_G_HELD_BYTES] = {"koine_conversations_held_bytes", "bytes of their caches"},
  [SERVE_G_CONNECTIONS] = {"koine_connections", "open connections"},
  [SERVE_G_BUSY] = {"koine_requests_open", "requests that are not answered to their end"},
  [SERVE_G_DISK] = {"koine_disk_conversations", "conversations on disk"},
  [SERVE_G_DISK_BYTES] = {"koine_disk_bytes", "bytes of their files"},
};
static const struct { const char *name, *help; } histograms[SERVE_N_HISTOGRAMS] = {
  [SERVE_H_FIRST] = {"koine_time_to_first_token_seconds", "from a request's arrival to its first token"},
  [SERVE_H_BETWEEN] = {"koine_inter_token_latency_seconds", "from token to token"},
  [SERVE_H_QUEUE] = {"koine_queue_time_seconds", "in the queue"},
  [SERVE_H_WHOLE] = {"koine_request_latency_seconds", "from a request's arrival to its end"},
};
static const double bounds[SERVE_BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600};

void serve_count(serve_metrics *m, serve_counter c, uint64_t n) { atomic_fetch_add(&m->counter[c], n); }
void serve_gauge_set(serve_metrics *m, serve_gauge g, uint64_t n) { atomic_store(&m->gauge[g], n); }
void serve_gauge_add(serve_metrics *m, serve_gauge g, int by) { atomic_fetch_add(&m->gauge[g], (uint64_t)by); }

void serve_observe(serve_metrics *m, serve_histogram h, uint64_t ns)
{
  int b = 0;
  while (b < SERVE_BUCKETS && 1e-9 * (double)ns > bounds[b]) b++;
  atomic_fetch_add(&m->histogram[h].bucket[b], 1);
  atomic_fetch_add(&m->histogram[h].sum_ns, ns);
}

static void head(serve_text *out, const char *name, const char *help, const char *type)
{
  serve_text_print(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_histogram(serve_metrics *m, int h, const char *model, serve_text *out)
{
  uint64_t sum = 0;
  const char *name = histograms[h].name;
  head(out, name, histograms[h].help, "histogram");
  for (int b = 0; b <= SERVE_BUCKETS; b++) {
    sum += atomic_load(&m->histogram[h].bucket[b]);
    if (b < SERVE_BUCKETS) serve_text_print(out, "%s_bucket{model_name=\"%s\",le=\"%g\"} %" PRIu64 "\n", name, model, bounds[b], sum);
    else serve_text_print(out, "%s_bucket{model_name=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", name, model, sum);
  }
  serve_text_print(out, "%s_sum{model_name=\"%s\"} %.9f\n", name, model, 1e-9 * (double)atomic_load(&m->histogram[h].sum_ns));
  serve_text_print(out, "%s_count{model_name=\"%s\"} %" PRIu64 "\n", name, model, sum);
}

/* Under the name that every exporter has for it. */
static void put_resident(serve_text *out)
{
  unsigned long long pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  bool known = f && fscanf(f, "%*u %llu", &pages) == 1;
  if (f) fclose(f);
  if (!known) return;
  head(out, "process_resident_memory_bytes", "memory of the process that is in place", "gauge");
  serve_text_print(out, "process_resident_memory_bytes %llu\n", pages * (unsigned long long)sysconf(_SC_PAGESIZE));
}

void serve_metrics_text(serve_metrics *m, const char *model, serve_text *out)
{
  for (int i = 0; i < SERVE_N_COUNTERS; i++) {
    head(out, counters[i].name, counters[i].help, "counter");
    serve_text_print(out, "%s{model_name=\"%s\"} %.17g\n", counters[i].name, model, counters[i].scale * (double)atomic_load(&m->counter[i]));
  }
  for (int i = 0; i < SERVE_N_GAUGES; i++) {
    head(out, gauges[i].name, gauges[i].help, "gauge");
    serve_text_print(out, "%s{model_name=\"%s\"} %" PRIu64 "\n", gauges[i].name, model, atomic_load(&m->gauge[i]));
  }
  for (int i = 0; i < SERVE_N_HISTOGRAMS; i++) put_histogram(m, i, model, out);
  put_resident(out);
}
