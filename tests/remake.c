/* See remake.h. */
#include "remake.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void must(bool ok, const char *what)
{
  if (ok) return;
  fprintf(stderr, "remake: %s: %s\n", what, koi_error_text());
  abort();
}

remake remake_load(const char *folder)
{
  char path[4096];
  koi_weights *w;
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  must(koi_safetensors_open_file(path, &w) == KOINE_OK, path);
  remake r = {calloc(koi_weights_count(w), sizeof(item)), koi_weights_count(w)};
  for (size_t i = 0; i < r.n; i++) {
    const koi_tensor *t = koi_weights_at(w, i);
    item *to = &r.items[i];
    snprintf(to->name, sizeof to->name, "%s", t->name);
    snprintf(to->dtype, sizeof to->dtype, "%s", koi_dtype_name(t->dtype));
    memcpy(to->shape, t->shape, sizeof to->shape);
    to->n_dims = t->n_dims, to->bytes = t->bytes;
    to->data = malloc(t->bytes + 1);
    memcpy(to->data, t->data, t->bytes);
  }
  koi_weights_close(w);
  return r;
}

void remake_free(remake *r)
{
  for (size_t i = 0; i < r->n; i++) free(r->items[i].data);
  free(r->items);
  *r = (remake){0};
}

item *remake_find(remake *r, const char *name)
{
  for (size_t i = 0; i < r->n; i++)
    if (!strcmp(r->items[i].name, name)) return &r->items[i];
  must(false, name);
  return NULL;
}

void remake_drop(remake *r, const char *name)
{
  item *t = remake_find(r, name);
  free(t->data);
  *t = r->items[--r->n];
}

item *remake_add(remake *r, const char *name, const char *dtype, const uint64_t *shape, uint32_t n_dims, size_t bytes)
{
  r->items = realloc(r->items, (r->n + 1) * sizeof *r->items);
  item *t = &r->items[r->n++];
  *t = (item){.n_dims = n_dims, .data = calloc(bytes + 1, 1), .bytes = bytes};
  snprintf(t->name, sizeof t->name, "%s", name);
  snprintf(t->dtype, sizeof t->dtype, "%s", dtype);
  memcpy(t->shape, shape, n_dims * sizeof *shape);
  return t;
}

static uint16_t half(uint32_t bits)
{
  uint32_t sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
  int32_t e = (int32_t)(rest >> 23) - 127 + 15;
  return (uint16_t)(e <= 0 ? sign : e > 30 ? sign | 0x7bff : sign | (uint32_t)e << 10 | (rest >> 13 & 0x3ff));
}

void remake_widen(item *t, const char *dtype)
{
  bool from16 = !strcmp(t->dtype, "BF16"), to16 = !strcmp(dtype, "F16");
  must(from16 || !strcmp(t->dtype, "F32"), "widen");
  size_t n = t->bytes / (from16 ? 2 : 4), size = to16 ? 2 : 4;
  uint8_t *to = malloc(n * size + 1);
  for (size_t i = 0; i < n; i++) {
    uint32_t bits = 0;
    memcpy(from16 ? (uint8_t *)&bits + 2 : (uint8_t *)&bits, t->data + i * (from16 ? 2 : 4), from16 ? 2 : 4);
    uint16_t h = half(bits);
    memcpy(to + i * size, to16 ? (void *)&h : (void *)&bits, size);
  }
  free(t->data);
  t->data = to, t->bytes = n * size;
  snprintf(t->dtype, sizeof t->dtype, "%s", dtype);
}

void remake_write(const remake *r, size_t from, size_t to, const char *path)
{
  koi_text o = {0};
  size_t at = 0;
  koi_text_add(&o, "{");
  for (size_t i = from; i < to; i++) {
    const item *t = &r->items[i];
    koi_text_add(&o, "%s", i > from ? "," : "");
    koi_text_json(&o, t->name);
    koi_text_add(&o, ":{\"dtype\":\"%s\",\"shape\":[", t->dtype);
    for (uint32_t d = 0; d < t->n_dims; d++) koi_text_add(&o, "%s%ju", d ? "," : "", (uintmax_t)t->shape[d]);
    koi_text_add(&o, "],\"data_offsets\":[%zu,%zu]}", at, at + t->bytes);
    at += t->bytes;
  }
  koi_text_add(&o, "}");
  FILE *f = fopen(path, "wb");
  must(f && !o.failed, path);
  for (int i = 0; i < 8; i++) fputc((int)((uint64_t)o.len >> 8 * i & 0xff), f);
  fwrite(o.s, 1, o.len, f);
  for (size_t i = from; i < to; i++) fwrite(r->items[i].data, 1, r->items[i].bytes, f);
  must(!ferror(f) && !fclose(f), path);
  koi_free(o.s);
}

void remake_write_all(const remake *r, const char *folder)
{
  char path[4096];
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  remake_write(r, 0, r->n, path);
}

char *remake_mkdir(void)
{
  const char *base = getenv("TMPDIR");
  char *path = malloc(4096);
  snprintf(path, 4096, "%s/koine-test-XXXXXX", base && *base ? base : "/tmp");
  must(mkdtemp(path) != NULL, path);
  return path;
}

void remake_rmdir(char *folder)
{
  char path[4096];
  DIR *d = opendir(folder);
  for (struct dirent *e; d && (e = readdir(d));) {
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    unlink(path);
  }
  if (d) closedir(d);
  rmdir(folder);
  free(folder);
}

void remake_put(const char *folder, const char *file, const void *data, size_t bytes)
{
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, file);
  FILE *f = fopen(path, "wb");
  must(f && fwrite(data, 1, bytes, f) == bytes && !fclose(f), path);
}

const char *remake_data(const char *name)
{
  static char path[4096];
  const char *dir = getenv("srcdir");
  snprintf(path, sizeof path, "%s/tests/data/%s", dir ? dir : ".", name);
  return path;
}

void remake_refused(koine_status s, const char *fragment, const char *what)
{
  if (s != KOINE_ERR_FILE || !strstr(koi_error_text(), fragment) || strchr(koi_error_text(), '\n'))
    fail_msg("%s: expected an error with \"%s\", found %d \"%s\"", what, fragment, s, koi_error_text());
}

void remake_config(const char *folder, const char *name)
{
  char path[4352], *text;
  size_t n;
  snprintf(path, sizeof path, "%s/config.json", remake_data(name));
  assert_int_equal(koi_file_read(path, 1 << 20, &text, &n), KOINE_OK);
  remake_put(folder, "config.json", text, n);
  koi_free(text);
}

koine_status remake_open(const remake *r, koine_model **m)
{
  char *folder = remake_mkdir();
  remake_config(folder, "tiny-quant");
  remake_write_all(r, folder);
  koine_status s = koi_model_open(folder, m);
  remake_rmdir(folder);
  return s;
}
