/* libFuzzer: bytes as lines of a log, each with its right sum behind it. Whatever they say, what is chosen on a device is legal, and what is written of
 * a line that was read is read again as the same. */
#include "device/tuned.h"
#include <stdlib.h>
#include <string.h>

static const koi_endpoint endpoint = {.type = KOINE_DEVICE_GPU, .name = "c", .vendor = "v", .platform = "p", .driver = "d", .version = "e", .max_group = 256,
                                      .local_bytes = 32768, .n_units = 8, .vector_width = 4, .lanes = 32};

static koine_status take(void *user, const koi_tuned_read *r)
{
  int32_t p[KOI_MAX_PARAMS] = {0};
  koi_tuned_table *t = user;
  koi_target target;
  koi_text again = {0};
  koi_tuned_read other = {0};
  koi_tuned_put_line(&again, &endpoint, &r->l);
  if (again.failed) abort();
  again.s[again.len - 1] = 0;
  if (koi_tuned_take_line(again.s, &other) != KOI_SOUND || other.l.op != r->l.op || memcmp(other.l.c, r->l.c, sizeof other.l.c) || memcmp(other.l.p, r->l.p, sizeof other.l.p) ||
      other.l.bucket != r->l.bucket || other.l.outcome != r->l.outcome) abort();
  koi_free(again.s);
  if (koi_tuned_enter(t, r, KOI_RUNG_TUNED)) abort();
  koi_dev_target(&endpoint, &target);
  target.tuned = t;
  if (!koi_choose(&target, r->l.op, r->l.c, r->l.bucket, p, NULL) && !koi_legal(&target, r->l.op, r->l.c, p)) abort();
  return KOINE_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  koi_text text = {0};
  koi_tuned_table t = {0};
  koi_tuned_counts c = {.quiet = true};
  for (size_t i = 0; i < size;) {
    const uint8_t *end = memchr(data + i, '\n', size - i);
    size_t n = end ? (size_t)(end - data) - i : size - i, from = text.len;
    koi_text_bytes(&text, (const char *)data + i, n);
    koi_text_bytes(&text, "\t", 1);
    if (text.failed) abort();
    koi_text_add(&text, "%016llx\n", (unsigned long long)koi_hash(text.s + from, text.len - from, 0));
    i += n + 1;
  }
  if (text.s && koi_tuned_scan_text("fuzz", text.s, text.len, KOI_ORIGIN_USER, &c, take, &t)) abort();
  koi_tuned_clear(&t);
  koi_free(text.s);
  return 0;
}
