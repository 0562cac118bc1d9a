/* libFuzzer: bytes as a JSON Schema. What is accepted must lead, by bytes drawn from the input and then by the shortest way, to a text that
 * fits and is JSON; what is refused is told in one line. */
#include "base/jscan.h"
#include "text/schema.h"
#include <stdlib.h>
#include <string.h>

/* A byte that may come next: near `wish`, or one that brings the end nearer. */
static int next_byte(koi_grammar *g, int32_t at, unsigned wish, bool home, int32_t *to)
{
  for (unsigned i = 0; i < 256; i++) {
    unsigned char b = (unsigned char)(wish + i);
    *to = koi_grammar_step(g, at, b);
    if (*to >= 0 && (!home || koi_grammar_least(g, *to) < koi_grammar_least(g, at))) return b;
  }
  return -1;
}

static void draw(koi_grammar *g, const uint8_t *data, size_t size)
{
  enum { WANDER = 300, MOST = 20000 };
  koi_text text = {0};
  int32_t at, to;
  if (koi_grammar_start(g, &at)) abort();
  for (size_t n = 0; n < MOST && !(koi_grammar_accepts(g, at) && (n >= WANDER || !koi_grammar_goes_on(g, at))); n++) {
    int b = next_byte(g, at, size ? data[n * 7 % size] : 0, n >= WANDER, &to);
    if (b < 0) abort(); /* a state that leads nowhere */
    char c = (char)b;
    koi_text_bytes(&text, &c, 1);
    at = to;
    if (koi_grammar_trim(g, 500, &at)) abort();
  }
  if (koi_grammar_accepts(g, at)) {
    koi_jscan j = {.s = text.s, .n = text.len, .zeros = true};
    if (text.len < WANDER && (!koi_jscan_skip(&j) || !koi_jscan_end(&j))) abort(); /* longer ones may be deeper than we read */
  }
  koi_free(text.s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  koi_grammar *g;
  koine_status s = koi_schema_grammar((const char *)data, size, &g);
  if (s) {
    if (s != KOINE_ERR_ARG || !*koi_error_text() || strchr(koi_error_text(), '\n')) abort();
    return 0;
  }
  draw(g, data, size);
  koi_grammar_free(g);
  return 0;
}
