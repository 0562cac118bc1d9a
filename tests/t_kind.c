/* Files that were taken for others are named for what they are, wherever they stand: as config, index, shard, tokenizer, or as the folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/kind.h"
#include "base/newfile.h"
#include "file/weights.h"

static int n_checks, n_failed;
#define CHECK(what) check((what), #what, __LINE__)

static void check(bool ok, const char *what, int line)
{
  n_checks++;
  if (ok) return;
  n_failed++;
  printf("FAIL t_kind.c:%d: %s (%s)\n", line, what, koi_error_text());
}

#define FILE_OF(text) text, sizeof text - 1
static const struct { const char *bytes; size_t n; const char *said; } wrong[] = {
  {FILE_OF("version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 7169530\n"), "git lfs pull"},
  {FILE_OF("<!DOCTYPE html>\n<html lang=en>"), "web page"}, {FILE_OF("\n  <HTML><head>"), "web page"}, {FILE_OF("\xef\xbb\xbf<html>"), "web page"},
  {FILE_OF("version https://hawser.github.com/spec/v1\n"), "git lfs pull"}, {FILE_OF("\377\376{\0\"\0"), "UTF-16"}, {FILE_OF("\357\273\277{}"), "byte order mark"},
  {FILE_OF("GGUF\3\0\0\0\1\0\0\0"), "GGUF"}, {FILE_OF("PK\3\4\24\0\0\0\0\0"), "ZIP"}, {FILE_OF("\200\2}q\0(X\5\0\0\0"), "pickle"},
  {FILE_OF("\37\213\b\0\0\0\0\0\0\3"), "gzip"}, {FILE_OF("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), "not finished"},
};
static const struct { const char *bytes; size_t n; } right[] = {
  {FILE_OF("{\"a\": 1}")}, {FILE_OF("  {}")}, {FILE_OF("")}, {FILE_OF("\200\2\0\0\0\0\0\0{\"a\":")}, {FILE_OF("\37\213\0\0\0\0\0\0{\"a\":")}, {FILE_OF("PK\3\4\0\0\0\0{\"a\":")}};

static char folder[] = "/tmp/koine_t_kind_XXXXXX";

static char *path_of(const char *name) { return koi_format("%s%s%s", folder, *name ? "/" : "", name); }

static void write_file(const char *name, const char *bytes, size_t n)
{
  char *path = path_of(name);
  CHECK(!koi_newfile_put(path, bytes, n));
  koi_free(path);
}

static void copy_to(const char *name, const char *to)
{
  const char *dir = getenv("srcdir");
  char *from = koi_format("%s/tests/data/tiny-quant/%s", dir ? dir : ".", name), *text = NULL;
  size_t n = 0;
  CHECK(!koi_file_read(from, 64 << 20, &text, &n));
  write_file(to, text, n);
  koi_free(text);
  koi_free(from);
}

static void copy(const char *name) { copy_to(name, name); }

/* Opens the model, which must fail and say this. */
static void expect(const char *name, const char *said, int line)
{
  char *path = path_of(name);
  koine_model *m = NULL;
  koine_status s = koine_model_open(path, &m);
  check(s == KOINE_ERR_FILE && strstr(koine_last_error(), said) && !strchr(koine_last_error(), '\n'), said, line);
  if (!s) koine_model_close(m);
  koi_free(path);
}

static void test_in_folder(void)
{
  static const char *const names[] = {"config.json", "model.safetensors"};
  for (size_t k = 0; k < KOI_COUNT(names); k++) {
    for (size_t i = 0; i < KOI_COUNT(wrong); i++) {
      write_file(names[k], wrong[i].bytes, wrong[i].n);
      expect("", wrong[i].said, __LINE__);
      CHECK(strstr(koine_last_error(), names[k]) != NULL);
    }
    copy(names[k]);
  }
}

static void test_tokenizer(void)
{
  koine_tokenizer *t = NULL;
  char *path = path_of("");
  for (size_t i = 0; i < KOI_COUNT(wrong); i++) {
    write_file("tokenizer.json", wrong[i].bytes, wrong[i].n);
    CHECK(koine_tokenizer_open(path, &t) == KOINE_ERR_FILE && strstr(koine_last_error(), wrong[i].said));
  }
  koi_free(path);
  path = path_of("model.safetensors");
  CHECK(koine_tokenizer_open(path, &t) == KOINE_ERR_FILE && strstr(koine_last_error(), "safetensors file: give the folder"));
  koi_free(path);
}

static void test_for_folder(void)
{
  write_file("x.gguf", FILE_OF("GGUF\3\0\0\0"));
  expect("x.gguf", "tensor count: expected 8 bytes at 8, found 0 (is the file whole?)", __LINE__);
  expect("config.json", "JSON file: give the folder that it lies in (/tmp/koine_t_kind_", __LINE__);
  expect("model.safetensors", "safetensors file: give the folder", __LINE__);
}

/* A folder too high, as download caches have them, and no folder at all. */
static void test_depth(void)
{
  static const char *const parts[] = {"hub", "hub/refs", "hub/snapshots", "hub/snapshots/b1", "hub/snapshots/a2", "empty"};
  koine_tokenizer *t = NULL;
  for (size_t i = 0; i < KOI_COUNT(parts); i++) {
    char *path = path_of(parts[i]);
    CHECK(!mkdir(path, 0700));
    koi_free(path);
  }
  expect("empty", "config.json", __LINE__);
  write_file("empty/b-00002-of-00002.gguf", "x", 1), write_file("empty/b-00001-of-00002.gguf", "x", 1);
  expect("empty", "in a file of its own: give /tmp/koine_t_kind_", __LINE__);
  expect("empty", "b-00001-of-00002.gguf", __LINE__);
  copy_to("config.json", "hub/snapshots/b1/config.json"), copy_to("config.json", "hub/snapshots/a2/config.json");
  expect("hub", "hub/snapshots/a2", __LINE__);
  expect("hub/snapshots", "hub/snapshots/a2", __LINE__);
  char *path = path_of("hub");
  CHECK(koine_tokenizer_open(path, &t) == KOINE_ERR_FILE && strstr(koine_last_error(), "give /tmp/koine_t_kind_"));
  koi_free(path);
  expect("deepseek-ai/DeepSeek-V4", "nothing is downloaded", __LINE__);
}

/* Shards without an index, however many digits their names have; links of a download cache that lead nowhere. */
static void test_names(void)
{
  static const char *const shards[] = {"model-00001-of-00001.safetensors", "model-00001-of-000001.safetensors", "model-1-of-2.safetensors", "x-000001-of-000163.safetensors"};
  char *single = path_of("model.safetensors");
  remove(single);
  for (size_t i = 0; i < KOI_COUNT(shards); i++) {
    char *path = path_of(shards[i]);
    write_file(shards[i], "x", 1);
    expect("", shards[i], __LINE__);
    CHECK(strstr(koine_last_error(), "index.json") != NULL);
    remove(path);
    koi_free(path);
  }
  CHECK(!symlink("../../blobs/12ab", single));
  expect("", "a link to ../../blobs/12ab", __LINE__);
  remove(single);
  koi_free(single);
}

int main(void)
{
  for (size_t i = 0; i < KOI_COUNT(right); i++) CHECK(!koi_kind_of(right[i].bytes, right[i].n));
  if (!mkdtemp(folder)) return printf("FAIL no folder %s\n", folder), 1;
  copy("config.json");
  copy("model.safetensors");
  test_in_folder();
  test_tokenizer();
  test_for_folder();
  test_names();
  test_depth();
  char *clean = koi_format("rm -rf %s", folder);
  CHECK(!system(clean));
  koi_free(clean);
  printf("t_kind: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
