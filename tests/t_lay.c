/* Weights as laid out against what is uploaded: bytes counted are bytes allocated, parts cover every weight exactly and stay within the
 * limit, and every tile and row lies where its part says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "engine/upload.h"
#include "plan/lay.h"
#include "remake.h"

/* ---- a device that is memory with an allocation limit, or only counts ---- */
typedef struct memory {
  koi_buf base;
  uint8_t *bytes;  /* NULL: only counted */
  uint64_t filled; /* writes come in order, without gaps */
} memory;

static uint64_t n_allocated, n_written, n_live, limit;
static bool only_count;

static koine_status alloc_(koi_device *d, size_t bytes, koi_buf **out)
{
  (void)d;
  assert_true(bytes > 0 && (!limit || bytes <= limit));
  memory *m = calloc(1, sizeof *m);
  assert_non_null(m);
  m->base.bytes = bytes;
  if (!only_count) assert_non_null(m->bytes = malloc(bytes));
  n_allocated += bytes, n_live++;
  *out = &m->base;
  return KOINE_OK;
}

static void free_(koi_device *d, koi_buf *b)
{
  (void)d;
  memory *m = (memory *)b;
  assert_int_equal(m->filled, m->base.bytes);
  free(m->bytes);
  free(m);
  n_live--;
}

static koine_status write_(koi_device *d, koi_buf *b, size_t offset, size_t bytes, const void *src)
{
  (void)d;
  memory *m = (memory *)b;
  assert_int_equal(offset, m->filled);
  assert_true(offset + bytes <= b->bytes);
  if (m->bytes) memcpy(m->bytes + offset, src, bytes);
  m->filled += bytes, n_written += bytes;
  return KOINE_OK;
}

static koine_status finish_(koi_device *d) { return (void)d, KOINE_OK; }

static const koi_backend backend = {.name = "memory", .alloc = alloc_, .free = free_, .write = write_, .finish = finish_};
static const koi_endpoint endpoint = {.id = "memory", .backend = &backend};

static uint64_t last_done, last_total;
static bool progress(void *user, const char *what, uint64_t done, uint64_t total)
{
  (void)user, (void)what;
  assert_true(done > last_done && done <= total);
  last_done = done, last_total = total;
  return true;
}

/* ---- what must hold of a layout ---- */
typedef void weight_fn(const koi_laid_model *l, const koi_put *put, const koi_role *role, const koi_weight *w, const koi_laid *laid);

static void each(const koi_laid_model *l, const koi_put *put, weight_fn *fn)
{
  for (int r = 0; r < KOI_N_TOP_ROLES; r++) fn(l, put, &koi_top_roles[r], &l->model->top[r], &l->top[r]);
  for (uint32_t n = 0; n < l->model->config.n_layers; n++)
    for (int r = 0; r < KOI_N_LAYER_ROLES; r++) fn(l, put, &koi_layer_roles[r], &l->model->layers[n].w[r], &l->layers[n][r]);
}

static uint64_t sum_bytes, sum_token;
static uint32_t next_part;

static void covers(const koi_laid_model *l, const koi_put *put, const koi_role *role, const koi_weight *w, const koi_laid *laid)
{
  (void)put;
  if (!laid->n_parts) {
    assert_true(!laid->bytes && !laid->bytes_per_token);
    return;
  }
  uint64_t items = koi_role_is_matrix(role) ? w->n_sub * koi_tiles(w->rows, l->tile) : w->rows, at = 0, bytes = 0;
  assert_int_equal(laid->first, next_part);
  for (uint32_t i = laid->first; i < laid->first + laid->n_parts; i++) {
    const koi_part *p = &l->parts[i];
    uint64_t units = (uint64_t)(p->unit1 - p->unit0), each_unit = (uint64_t)(p->tile1 - p->tile0);
    assert_true(p->unit0 >= 0 && p->unit1 > p->unit0 && p->tile0 >= 0 && p->tile1 > p->tile0 && (uint64_t)p->tile1 <= items);
    if (laid->wt != KOI_FORMAT_NONE) { /* one after the other */
      assert_int_equal((uint64_t)p->unit0 * items + (uint64_t)p->tile0, at);
      assert_true(units == 1 || each_unit == items);
      assert_int_equal(p->wt, laid->wt);
    }
    at += units * each_unit;
    for (int s = 0; s < KOI_MAX_STREAMS; s++) {
      uint64_t n = koi_lay_part_bytes(l, role, laid, p, s);
      assert_true(!limit || n <= limit);
      assert_true(!n == (s > 0 && (!koi_role_is_matrix(role) || !koi_formats[p->wt].streams[s].name)));
      bytes += n;
    }
  }
  assert_int_equal(at, w->n_units * items);
  assert_int_equal(bytes, laid->bytes);
  assert_true(laid->bytes_per_token > 0 && laid->bytes_per_token <= laid->bytes);
  sum_bytes += bytes, sum_token += laid->bytes_per_token, next_part += laid->n_parts;
}

static void check_layout(const koi_laid_model *l)
{
  sum_bytes = sum_token = next_part = 0;
  each(l, NULL, covers);
  assert_int_equal(sum_bytes, l->bytes);
  assert_int_equal(sum_token, l->bytes_per_token);
  assert_int_equal(next_part, l->n_parts);
}

/* ---- what must hold after an upload ---- */
/* Every tile of every unit, repacked once more, is what its part's buffers have. */
static void tiles_right(const koi_laid_model *l, const koi_weight *w, const koi_part *p, const koi_put *put)
{
  uint64_t per_sub = koi_tiles(w->rows, l->tile), at = 0;
  for (int32_t u = p->unit0; u < p->unit1; u++)
    for (int32_t t = p->tile0; t < p->tile1; t++, at++) {
      const koi_piece *piece = koi_weight_piece(w, (uint32_t)u, (uint32_t)((uint64_t)t / per_sub));
      koi_stored m = {piece->weight->data, piece->scale ? piece->scale->data : NULL, w->one_matrix ? w->rows * w->n_units : w->rows, w->k};
      uint8_t *tile[KOI_MAX_STREAMS];
      for (int s = 0; s < KOI_MAX_STREAMS; s++) assert_non_null(tile[s] = malloc(koi_format_tile_bytes(p->wt, s, w->k, l->tile) + 1));
      koi_format_tiles(p->wt, l->tile, &m, w->one_matrix ? (uint64_t)u * w->rows : 0, w->rows, (uint64_t)t % per_sub, (uint64_t)t % per_sub + 1, tile);
      for (int s = 0; s < KOI_MAX_STREAMS; s++) {
        uint64_t bytes = koi_format_tile_bytes(p->wt, s, w->k, l->tile);
        if (bytes) assert_memory_equal(((memory *)put->stream[s])->bytes + at * bytes, tile[s], bytes);
        else assert_null(put->stream[s]);
        free(tile[s]);
      }
    }
}

static void rows_right(const koi_laid_model *l, const koi_role *role, const koi_laid *laid, const koi_weight *w, const koi_part *p, const koi_put *put)
{
  uint64_t bytes = koi_lay_part_bytes(l, role, laid, p, 0), row = bytes / (uint64_t)(p->tile1 - p->tile0);
  const uint8_t *got = ((memory *)put->codes)->bytes, *file = w->piece[0].weight->data;
  if (role->use != KOI_IDS) {
    assert_memory_equal(got, file + (uint64_t)p->tile0 * row, bytes);
    return;
  }
  for (uint64_t i = 0; i < bytes / sizeof(int32_t); i++) {
    int64_t id; /* I64 in the models at hand, little-endian */
    memcpy(&id, file + i * sizeof id, sizeof id);
    assert_int_equal(((const int32_t *)(const void *)got)[i], id);
  }
}

static void uploaded(const koi_laid_model *l, const koi_put *put, const koi_role *role, const koi_weight *w, const koi_laid *laid)
{
  for (uint32_t i = laid->first; i < laid->first + laid->n_parts; i++) {
    if (koi_role_is_matrix(role)) tiles_right(l, w, &l->parts[i], &put[i]);
    else rows_right(l, role, laid, w, &l->parts[i], &put[i]);
  }
}

static void upload(koi_laid_model *l, weight_fn *check)
{
  koi_device dev = {.backend = &backend, .endpoint = &endpoint};
  koi_put *put = calloc(l->n_parts, sizeof *put);
  assert_non_null(put);
  n_allocated = n_written = last_done = last_total = 0;
  koine_status s = koi_upload(&dev, l, put, NULL, false, progress, NULL);
  if (s) fail_msg("%s", koi_error_text());
  assert_int_equal(n_allocated, l->bytes);
  assert_int_equal(n_written, l->bytes);
  assert_true(last_done == l->bytes && last_total == l->bytes);
  if (check) each(l, put, check);
  koi_upload_free(&dev, put, l->n_parts);
  assert_int_equal(n_live, 0);
  free(put);
}

static uint32_t tile = KOI_STRIP; /* rows of a tile */

static koi_laid_model *lay(const koine_model *m, uint64_t max_bytes)
{
  koi_laid_model *l;
  limit = max_bytes;
  if (koi_lay(m, max_bytes, tile, 0, m->config.n_layers, &l)) fail_msg("%s", koi_error_text());
  check_layout(l);
  return l;
}

/* ---- the tests ---- */
static void test_tiny(void **state)
{
  (void)state;
  static const uint64_t limits[] = {0, 64 << 20, 1 << 20, 50000}; /* the last: experts, the head and the embedding by tiles */
  for (int quant = 0; quant < 2; quant++)
    for (size_t i = 0; i < 3 * KOI_COUNT(limits); i++) {
      koine_model *m;
      tile = KOI_STRIP << i % 3;
      uint64_t most = limits[i / 3] < 64 << 10 ? limits[i / 3] * (tile / KOI_STRIP) : limits[i / 3];
      assert_int_equal(koi_model_open(remake_data(quant ? "tiny-quant" : "tiny-float"), &m), KOINE_OK);
      koi_laid_model *l = lay(m, most);
      const koi_laid *up = &l->layers[1][KOI_W_expert_up];
      if (tile == KOI_STRIP) assert_true(most && most < 64 << 10 ? up->n_parts > 1 : up->n_parts == 1);
      upload(l, uploaded);
      koi_lay_free(l);
      koi_model_close(m);
    }
  tile = KOI_STRIP;
}

/* Layers of the published sizes, without memory for them: every layer kind, experts cut by units and by tiles. */
static void test_published(void **state)
{
  (void)state;
  static const struct { const char *name; uint64_t limit; uint32_t up_parts; } cases[] = {
    {"v4-flash", 0, 1}, {"v4-flash", 64 << 20, 2}, {"v4-flash", 1 << 20, 96}, {"v4-pro", 0, 1}, {"v4-pro", 64 << 20, 4}, {"v4-pro", 2 << 20, 132}};
  const int32_t ratios[] = {0, 4, 128};
  only_count = true;
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    koine_shape shape = {sizeof shape, cases[i].name, ratios, 3, 12, 4096};
    koine_model *m;
    assert_int_equal(koi_model_synthetic(&shape, &m), KOINE_OK);
    koi_laid_model *l = lay(m, cases[i].limit);
    assert_int_equal(l->layers[0][KOI_W_expert_up].n_parts, cases[i].up_parts);
    assert_true(!l->layers[0][KOI_W_comp_kv_gate].n_parts && l->layers[1][KOI_W_index_wq_b].n_parts && !l->layers[2][KOI_W_index_wq_b].n_parts);
    upload(l, NULL);
    koi_lay_free(l);
    koi_model_close(m);
  }
  only_count = false;
}

static void test_refused(void **state)
{
  (void)state;
  koine_model *m;
  koi_laid_model *l = NULL;
  koine_shape shape = {sizeof shape, "v4-pro", (const int32_t[]){0}, 1, 8, 4096};
  assert_int_equal(koi_model_synthetic(&shape, &m), KOINE_OK);
  assert_int_equal(koi_lay(m, 1 << 20, 16, 0, 1, &l), KOINE_ERR_MEMORY); /* a tile of 16 rows of 28,672 floats */
  assert_string_equal(koi_error_text(), "hc_head_fn: 1835008 bytes must lie in one buffer, but the device allows 1048576");
  assert_int_equal(koi_lay(m, 1000, 16, 0, 1, &l), KOINE_ERR_MEMORY); /* a tile of the embedding */
  assert_non_null(strstr(koi_error_text(), "embed: 229376 bytes"));
  assert_null(l);
  koi_model_close(m);
}

/* Stages: each weight lies in one of them. */
static void test_stages(void **state)
{
  (void)state;
  koine_model *m;
  koi_laid_model *all, *a, *b, *c;
  assert_int_equal(koi_model_open(remake_data("tiny-quant"), &m), KOINE_OK);
  assert_true(!koi_lay(m, 0, 32, 0, 4, &all) && !koi_lay(m, 0, 32, 0, 1, &a) && !koi_lay(m, 0, 32, 1, 3, &b) && !koi_lay(m, 0, 32, 3, 4, &c));
  assert_int_equal(a->bytes + b->bytes + c->bytes, all->bytes);
  assert_int_equal(a->n_parts + b->n_parts + c->n_parts, all->n_parts);
  assert_true(a->top[KOI_TOP_embed].n_parts && !b->top[KOI_TOP_embed].n_parts && !a->top[KOI_TOP_head].n_parts && c->top[KOI_TOP_head].n_parts);
  assert_true(!b->layers[0][KOI_W_wq_a].n_parts && b->layers[1][KOI_W_wq_a].n_parts && b->layers[2][KOI_W_wq_a].n_parts);
  koi_laid_model *stages[] = {a, b, c};
  limit = 0;
  for (size_t i = 0; i < KOI_COUNT(stages); i++) {
    check_layout(stages[i]);
    upload(stages[i], uploaded);
    koi_lay_free(stages[i]);
  }
  koi_lay_free(all);
  koi_model_close(m);
}

/* The checkpoint that r is, with tiny-quant's config. */
static koine_model *open_remade(const remake *r, char **folder)
{
  char path[4096], *text;
  size_t n;
  koine_model *m;
  *folder = remake_mkdir();
  snprintf(path, sizeof path, "%s/config.json", remake_data("tiny-quant"));
  assert_int_equal(koi_file_read(path, 1 << 20, &text, &n), KOINE_OK);
  remake_put(*folder, "config.json", text, n);
  koi_free(text);
  remake_write_all(r, *folder);
  if (koi_model_open(*folder, &m)) fail_msg("%s", koi_error_text());
  return m;
}

/* A code or scale out of the fast decoders' range anywhere in a stack: that weight needs care, and no other. */
static void test_care(void **state)
{
  (void)state;
  remake r = remake_load(remake_data("tiny-quant"));
  item *scale = remake_find(&r, "layers.2.ffn.experts.3.w3.scale");
  scale->data[scale->bytes - 1] = 5;
  item *code = remake_find(&r, "layers.1.attn.wo_a.weight");
  code->data[code->bytes - 1] = 0x7f;
  char *folder;
  koine_model *m = open_remade(&r, &folder);
  koi_laid_model *l = lay(m, 0);
  upload(l, NULL);
  int found = 0;
  for (uint32_t i = 0; i < l->n_parts; i++) found += l->parts[i].care;
  assert_int_equal(found, 2);
  assert_true(l->parts[l->layers[2][KOI_W_expert_up].first].care && l->parts[l->layers[1][KOI_W_wo_a].first].care);
  koi_lay_free(l);
  koi_model_close(m);
  remake_rmdir(folder);
  remake_free(&r);
}

/* An expert's w3 in another precision than its w1, and an expert in another than its neighbours: parts of their own, each with its format. */
static void test_mixed(void **state)
{
  (void)state;
  static const uint64_t limits[] = {0, 50000};
  static const char *const wide[] = {"layers.1.ffn.experts.1.w3", "layers.1.ffn.experts.2.w1", "layers.1.ffn.experts.2.w3", "layers.2.ffn.shared_experts.w3"};
  remake r = remake_load(remake_data("tiny-quant"));
  for (size_t i = 0; i < KOI_COUNT(wide); i++) {
    char name[80];
    snprintf(name, sizeof name, "%s.weight", wide[i]);
    item *t = remake_find(&r, name);
    const uint64_t shape[] = {t->shape[0], t->shape[1] * (strcmp(t->dtype, "I8") ? 1 : 2)};
    remake_drop(&r, name);
    remake_add(&r, name, "BF16", shape, 2, shape[0] * shape[1] * 2);
    snprintf(name, sizeof name, "%s.scale", wide[i]);
    remake_drop(&r, name);
  }
  char *folder;
  koine_model *m = open_remade(&r, &folder);
  for (size_t i = 0; i < KOI_COUNT(limits); i++) {
    koi_laid_model *l = lay(m, limits[i]);
    const koi_laid *up = &l->layers[1][KOI_W_expert_up], *shared = &l->layers[2][KOI_W_shared_up];
    assert_true(up->wt == KOI_FORMAT_NONE && shared->wt == KOI_FORMAT_NONE);
    if (!i) assert_true(up->n_parts == 5 && shared->n_parts == 2); /* expert 0, 1 above, 1 below, 2, the rest */
    upload(l, uploaded);
    koi_lay_free(l);
  }
  koi_model_close(m);
  remake_rmdir(folder);
  remake_free(&r);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_tiny), cmocka_unit_test(test_published), cmocka_unit_test(test_refused),
                                     cmocka_unit_test(test_stages), cmocka_unit_test(test_care), cmocka_unit_test(test_mixed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
