#define _GNU_SOURCE
/* libFuzzer: bytes as a GGUF file behind its magic and version. Every tensor and every value of what opens must lie within them; model, tokenizer and
 * chat template of it open, or one line says why not. */
#include "file/gguf.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "model/model.h"
#include "model/vocab.h"

static void look(const koi_gguf_value *v, const uint8_t *data, size_t size)
{
  koi_gguf_cursor c = {.value = v};
  const char *s;
  size_t n;
  double x;
  if (v->bytes > size || v->data < data || v->data + v->bytes > data + size) abort();
  while (koi_gguf_string(&c, &s, &n))
    if ((const uint8_t *)s < v->data || (const uint8_t *)s + n > v->data + v->bytes) abort();
  if (v->n && koi_gguf_number(v, v->n - 1, &x) == (v->type == KOI_GGUF_STRING)) abort();
}

/* The same bytes as a file. */
static void open_all(const uint8_t *data, size_t size)
{
  char path[40];
  koine_model *m;
  koi_tok *tok;
  koi_chat *chat;
  int fd = memfd_create("fuzz", MFD_CLOEXEC);
  if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  koine_status s[] = {koi_model_open(path, &m), koi_vocab_load(path, &tok), koi_vocab_chat(path, &chat)};
  if (!s[0]) koi_model_close(m);
  if (!s[1]) koi_tok_free(tok);
  if (!s[2]) koi_chat_free(chat);
  for (size_t i = 0; i < KOI_COUNT(s); i++)
    if (s[i] && (s[i] != KOINE_ERR_FILE || strchr(koi_error_text(), '\n'))) abort();
  close(fd);
}

static void check(const uint8_t *data, size_t size)
{
  koi_gguf *g;
  koine_status s = koi_gguf_open_memory(data, size, "fuzz", &g);
  if (s) {
    if (s != KOINE_ERR_FILE || !*koi_error_text() || strchr(koi_error_text(), '\n')) abort();
    return;
  }
  for (size_t i = 0; i < koi_gguf_count(g); i++) {
    const koi_gguf_value *v = koi_gguf_at(g, i);
    if (koi_gguf_find(g, v->key) != v) abort();
    look(v, data, size);
  }
  const koi_weights *w = koi_gguf_weights(g);
  for (size_t i = 0; i < koi_weights_count(w); i++) {
    const koi_tensor *t = koi_weights_at(w, i);
    if (koi_weights_find(w, t->name) != t) abort();
    if (t->data < data || t->bytes > size || t->data + t->bytes > data + size) abort();
  }
  koi_gguf_close(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  uint8_t *file = malloc(8 + size);
  if (!file) return 0;
  memcpy(file, "GGUF\3\0\0", 8);
  if (size) memcpy(file + 8, data, size);
  check(file, 8 + size);
  open_all(file, 8 + size);
  free(file);
  return 0;
}
