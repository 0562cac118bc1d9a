/* Quantizing takes no more memory of its own for a larger model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "file/gguf.h"
#include "quant/quant.h"
#include "remake.h"

static koine_status quantize(const char *from, const char *to, const char *type)
{
  koine_model *m;
  koine_quantize_options o = {.size = sizeof o, .type = type, .n_threads = 2};
  koine_status s = koine_model_open(from, &m);
  if (s) return s;
  s = koine_quantize(m, to, &o);
  koine_model_close(m);
  return s;
}

enum { MANY_WORDS = 1 << 19, DATA_LIMIT = 48 << 20 };

/* Where the data begin in a file of n bytes whose last tensor ends it. */
static uint64_t find_start(const char *file, size_t n)
{
  koi_gguf *g;
  assert_int_equal(koi_gguf_open(file, &g), KOINE_OK);
  const koi_weights *w = koi_gguf_weights(g);
  const uint8_t *first = koi_weights_at(w, 0)->data, *end = first;
  for (size_t i = 0; i < koi_weights_count(w); i++) {
    const koi_tensor *t = koi_weights_at(w, i);
    if (t->data < first) first = t->data;
    if (t->data + t->bytes > end) end = t->data + t->bytes;
  }
  uint64_t data = (uint64_t)(end - first);
  koi_gguf_close(g);
  return (n - data) / 32 * 32;
}

/* Tensor `name` has MANY_WORDS rows, which lie at `offset`. Returns its bytes. */
static uint64_t move_rows(char *text, size_t n, const char *name, uint64_t offset)
{
  uint64_t dims[2];
  char *at = memmem(text, n, name, strlen(name));
  assert_non_null(at);
  at += strlen(name) + 4; /* behind the number of dimensions */
  memcpy(dims, at, sizeof dims);
  dims[1] = MANY_WORDS;
  memcpy(at, dims, sizeof dims);
  memcpy(at + sizeof dims + 4, &offset, sizeof offset); /* behind the type */
  return dims[0] * dims[1] * 4;
}

/* tiny-float with a vocabulary that makes its file 400 MB, nearly all of it a hole. */
static uint64_t make_large(const char *path)
{
  static const char *const names[] = {"token_embd.weight", "output.weight", "blk.0.ffn_gate_tid2eid.weight"};
  static const char key[] = "deepseek4.vocab_size";
  enum { MOST = 16 << 20 };
  char *small = koi_format("%s.small", path), *text = malloc(MOST);
  uint32_t words = MANY_WORDS;
  if (quantize(remake_data("tiny-float"), small, "F32")) fail_msg("%s", koine_last_error());
  FILE *f = fopen(small, "rb");
  assert_true(f && text);
  size_t n = fread(text, 1, MOST, f);
  assert_true(n < MOST && !fclose(f));
  uint64_t start = find_start(small, n), at = (n - start + 31) / 32 * 32;
  char *value = memmem(text, n, key, sizeof key - 1);
  assert_non_null(value);
  memcpy(value + sizeof key - 1 + 4, &words, sizeof words);
  for (size_t i = 0; i < KOI_COUNT(names); i++) at += (move_rows(text, n, names[i], at) + 31) / 32 * 32;
  f = fopen(path, "wb");
  assert_true(f && fwrite(text, 1, n, f) == n && !fclose(f));
  assert_int_equal(truncate(path, (off_t)(start + at)), 0);
  free(text);
  koi_free(small);
  return start + at;
}

/* A process that may not have an eighth of the model's bytes as memory of its own quantizes it. */
static void test_memory(void **state)
{
  (void)state;
  char *dir = remake_mkdir(), *large = koi_format("%s/large.gguf", dir), *file = koi_format("%s/q.gguf", dir);
  int status;
  assert_true(make_large(large) > (uint64_t)8 * DATA_LIMIT);
  fflush(NULL);
  pid_t child = fork();
  if (!child) {
    if (setrlimit(RLIMIT_DATA, &(struct rlimit){DATA_LIMIT, DATA_LIMIT})) _exit(2);
    koine_status s = quantize(large, file, "Q4_0");
    if (s) fprintf(stderr, "%s\n", koine_last_error());
    _exit(s ? 1 : 0);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  assert_int_equal(access(file, F_OK), 0);
  koi_free(large), koi_free(file);
  remake_rmdir(dir);
}

int main(void)
{
  const struct CMUnitTest all[] = {cmocka_unit_test(test_memory)};
  return cmocka_run_group_tests(all, NULL, NULL);
}
