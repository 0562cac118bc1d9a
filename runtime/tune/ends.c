/* See ends.h. Owns nothing. */
#include "ends.h"
#include <string.h>

enum { N_PLAIN = 4 };

static void append(const koi_device *d, const koi_tuned_line *l)
{
  if (koi_tuned_append(d, l)) koi_log(KOINE_LOG_WARNING, "%s", koi_error_text());
}

static koi_tuned_line line_of(const koi_drive *v, bool prefill)
{
  const koi_config *c = &v->plan->model->config;
  return (koi_tuned_line){.op = prefill ? &koi_step_prefill : &koi_step_decode,
                          .c = {[SPEED_LAYERS] = (int32_t)c->n_layers, [SPEED_HIDDEN] = (int32_t)c->hidden, [SPEED_EXPERTS] = (int32_t)c->n_experts,
                                [SPEED_VOCAB] = (int32_t)c->n_vocab, [SPEED_DEPTH] = (int32_t)v->depth, [SPEED_TOKENS] = prefill ? (int32_t)v->n_prefill : 1}};
}

/* Half the range, in microseconds a token. */
static double noise_us(const koi_speed *s, int mode) { return s->low[mode] > 0 ? (1e6 / s->low[mode] - 1e6 / s->high[mode]) / 2 : 0; }

void koi_ends_note(const koi_device *d, const koi_drive *v, const koi_speed *before, const koi_speed *after)
{
  for (int mode = 0; mode < 2 && before->n && after->n; mode++) {
    koi_tuned_line l = line_of(v, mode);
    l.n_samples = (uint32_t)before->n;
    l.default_us = 1e6 / before->per_s[mode], l.default_spread_us = noise_us(before, mode);
    l.median_us = 1e6 / after->per_s[mode], l.spread_us = noise_us(after, mode);
    l.outcome = after->per_s[mode] > before->per_s[mode] ? KOI_OUTCOME_WON : KOI_OUTCOME_KEPT;
    append(d, &l);
  }
}

koine_status koi_ends_plain(const koi_device *d, koi_drive *v)
{
  koine_status s = KOINE_OK;
  for (int mode = 0; mode < 2 && !s; mode++) {
    double seconds;
    uint32_t n = mode ? v->n_prefill : N_PLAIN;
    s = koi_drive_step(v, mode, n, NULL, &seconds);
    koi_tuned_line l = line_of(v, mode);
    l.n_samples = 1, l.median_us = l.default_us = 1e6 * seconds / n, l.outcome = KOI_OUTCOME_KEPT;
    if (!s) append(d, &l);
  }
  return s;
}

void koi_ends_read(const koi_device *d, double bytes_per_s)
{
  koi_tuned_line l = {.op = &koi_step_read, .n_samples = 1, .bytes = bytes_per_s, .outcome = KOI_OUTCOME_MEASURED};
  append(d, &l);
}
