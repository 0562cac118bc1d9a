/* libFuzzer: bytes as a safetensors file. Every tensor of what opens must lie within them. */
#include "file/weights.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  koi_weights *w;
  koine_status s = koi_safetensors_open_memory(data, size, "fuzz", &w);
  if (s) {
    if (s != KOINE_ERR_FILE || !*koi_error_text() || strchr(koi_error_text(), '\n')) abort();
    return 0;
  }
  for (size_t i = 0; i < koi_weights_count(w); i++) {
    const koi_tensor *t = koi_weights_at(w, i);
    if (koi_weights_find(w, t->name) != t) abort();
    if (t->bytes && (t->data < data || t->bytes > size || t->data + t->bytes > data + size)) abort();
  }
  koi_weights_close(w);
  return 0;
}
