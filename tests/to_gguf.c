/* See to_gguf.h. Its table of names is its own: that of the runtime is what it tests. */
#include "to_gguf.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/layout.h"
#include "to_gguf_impl.h"

enum { F32 = 0, F16 = 1, Q8_0 = 8, I32 = 26, BF16 = 30, MXFP4 = 39 };

typedef struct tensor {
  char name[160];
  uint64_t dims[4]; /* the fastest first */
  uint32_t n_dims, type;
  uint8_t *data;
  size_t bytes;
} tensor;

typedef struct converter {
  koi_weights *w;
  to_gguf_source from;
  tensor *t;
  size_t n;
  to_gguf_kind kind;
} converter;

void to_gguf_must(bool ok, const char *what)
{
  if (ok) return;
  fprintf(stderr, "to_gguf: %s: %s\n", what, koi_error_text());
  abort();
}

static tensor *add(converter *c, const char *name, uint32_t type, size_t bytes)
{
  c->t = realloc(c->t, (c->n + 1) * sizeof *c->t);
  tensor *t = &c->t[c->n++];
  *t = (tensor){.type = type, .bytes = bytes, .data = calloc(bytes + 1, 1)};
  snprintf(t->name, sizeof t->name, "%s", name);
  return t;
}

static const koi_tensor *get(const converter *c, const char *prefix, const char *name, const char *suffix)
{
  char full[160];
  snprintf(full, sizeof full, "%s%s%s", prefix, name, suffix);
  return koi_weights_find(c->w, full);
}

/* ---- values ---- */
static float fp8_value(const koi_tensor *w, const koi_tensor *scale, uint64_t row, uint64_t col)
{
  uint64_t columns = (w->shape[1] + 127) / 128;
  return koi_e4m3(w->data[row * w->shape[1] + col]) * koi_e8m0(scale->data[row / 128 * columns + col / 128]);
}

static void put_bf16(uint8_t *to, float v)
{
  uint32_t bits;
  memcpy(&bits, &v, 4);
  to_gguf_must(!(bits & 0xffff), "a value that BF16 does not have");
  to[0] = (uint8_t)(bits >> 16), to[1] = (uint8_t)(bits >> 24);
}

/* A power of two as F16 (exponents from -14 to 15). */
static uint16_t half_power(int e) { return (uint16_t)((e < -14 ? -14 : e) + 15) << 10; }

/* 32 values as Q8_0 with a scale that is a power of two, so that it does not matter how a scale is rounded. */
static void put_q8(uint8_t *to, const float *v)
{
  float most = 0;
  int e;
  for (int i = 0; i < 32; i++) most = fmaxf(most, fabsf(v[i]));
  frexpf(most / 127, &e);
  uint16_t half = half_power(e);
  to[0] = (uint8_t)half, to[1] = (uint8_t)(half >> 8);
  for (int i = 0; i < 32; i++) to[2 + i] = (uint8_t)(int8_t)rintf(v[i] / koi_f16(half));
}

static void put_fp8(converter *c, const char *name, const koi_tensor *w, const koi_tensor *scale)
{
  uint64_t rows = w->shape[0], k = w->shape[1], values = c->kind == TO_GGUF_Q8 ? 32 : 1, bytes = c->kind == TO_GGUF_Q8 ? 34 : 2;
  tensor *t = add(c, name, c->kind == TO_GGUF_Q8 ? Q8_0 : BF16, rows * k / values * bytes);
  t->n_dims = 2, t->dims[0] = k, t->dims[1] = rows;
  for (uint64_t r = 0; r < rows; r++)
    for (uint64_t col = 0; col < k; col += values) {
      float v[32];
      for (uint64_t i = 0; i < values; i++) v[i] = fp8_value(w, scale, r, col + i);
      if (c->kind == TO_GGUF_Q8) put_q8(t->data + (r * k + col) / 32 * 34, v);
      else put_bf16(t->data + (r * k + col) * 2, v[0]);
    }
}

/* Another shape of the same rows. */
static void group_rows(const converter *c, tensor *t)
{
  uint64_t n = strstr(t->name, "attn_output_a") ? (uint64_t)json_object_get_int(json_object_object_get(c->from.config, "o_groups")) : 1;
  if (t->n_dims == 1) t->dims[1] = 1;
  else t->dims[1] /= n, t->dims[2] = n;
  t->n_dims++;
}

static void put_plain(converter *c, const char *name, const koi_tensor *w)
{
  bool ids = w->dtype == KOI_I64;
  size_t n = w->bytes / (ids ? 8 : koi_dtype_bytes(w->dtype));
  uint32_t type = ids || w->dtype == KOI_I32 ? I32 : w->dtype == KOI_F32 ? F32 : w->dtype == KOI_F16 ? F16 : BF16;
  tensor *t = add(c, name, type, ids ? n * 4 : w->bytes);
  t->n_dims = w->n_dims;
  for (uint32_t d = 0; d < w->n_dims; d++) t->dims[d] = w->shape[w->n_dims - 1 - d];
  if (c->kind == TO_GGUF_DS4) group_rows(c, t);
  for (size_t i = 0; i < n && ids; i++) memcpy(t->data + i * 4, w->data + i * 8, 4);
  if (!ids) memcpy(t->data, w->data, w->bytes);
}

/* A matrix or table in BF16 or F32 in blocks. */
static void put_q8_matrix(converter *c, const char *name, const koi_tensor *w)
{
  size_t size = koi_dtype_bytes(w->dtype), n = w->bytes / size;
  tensor *t = add(c, name, Q8_0, n / 32 * 34);
  t->n_dims = 2, t->dims[0] = w->shape[1], t->dims[1] = w->shape[0];
  for (size_t b = 0; b < n / 32; b++) {
    float v[32];
    for (size_t i = 0; i < 32; i++) {
      uint32_t bits = 0;
      memcpy((uint8_t *)&bits + 4 - size, w->data + (32 * b + i) * size, size);
      memcpy(&v[i], &bits, 4);
    }
    put_q8(t->data + 34 * b, v);
  }
}

static void put(converter *c, const char *name, const koi_tensor *w, const koi_tensor *scale)
{
  bool table = !strcmp(name, "token_embd.weight") || !strcmp(name, "output.weight") || strstr(name, "_compressor_ape");
  if (c->kind == TO_GGUF_Q8 && table) put_q8_matrix(c, name, w);
  else if (w->dtype == KOI_F8_E4M3) put_fp8(c, name, w, scale);
  else put_plain(c, name, w);
}

/* ---- experts ---- */
static uint8_t code(const koi_tensor *w, uint64_t row, uint64_t col) { return w->data[row * w->shape[1] + col / 2] >> col % 2 * 4 & 15; }

static void put_mxfp4(const koi_tensor *w, const koi_tensor *scale, uint8_t *to)
{
  for (uint64_t r = 0; r < w->shape[0]; r++)
    for (uint64_t b = 0; b < w->shape[1] / 16; b++, to += 17) {
      to[0] = scale->data[r * (w->shape[1] / 16) + b];
      for (uint64_t i = 0; i < 16; i++) to[1 + i] = (uint8_t)(code(w, r, 32 * b + i) | code(w, r, 32 * b + 16 + i) << 4);
    }
}

/* The same in Q8_0, twice as large numbers of half the scale: no value is lost. */
static void put_fp4_q8(const koi_tensor *w, const koi_tensor *scale, uint8_t *to)
{
  for (uint64_t r = 0; r < w->shape[0]; r++)
    for (uint64_t b = 0; b < w->shape[1] / 16; b++, to += 34) {
      int e = scale->data[r * (w->shape[1] / 16) + b] - 128;
      to_gguf_must(e >= -14 && e <= 15, "a scale that F16 does not have");
      uint16_t half = half_power(e);
      to[0] = (uint8_t)half, to[1] = (uint8_t)(half >> 8);
      for (uint64_t i = 0; i < 32; i++) to[2 + i] = (uint8_t)(int8_t)(2 * koi_e2m1(code(w, r, 32 * b + i)));
    }
}

/* All of a layer's, in one tensor. Of w1 and w3 the second is Q8_0 where the first is MXFP4. */
static void put_experts(converter *c, const char *prefix, const char *part, const char *name)
{
  char expert[64];
  uint32_t n = (uint32_t)json_object_get_int(json_object_object_get(c->from.config, "n_routed_experts"));
  tensor *t = NULL;
  for (uint32_t e = 0; e < n; e++) {
    snprintf(expert, sizeof expert, "ffn.experts.%u.%s", e, part);
    const koi_tensor *w = get(c, prefix, expert, ".weight"), *scale = get(c, prefix, expert, ".scale");
    to_gguf_must(w != NULL, expert);
    bool fp4 = w->dtype == KOI_I8 || w->dtype == KOI_U8;
    bool wide = fp4 && !strcmp(part, "w3");
    size_t each = fp4 ? w->shape[0] * (w->shape[1] / 16) * (wide ? 34 : 17) : w->bytes;
    if (!t) t = add(c, name, wide ? Q8_0 : fp4 ? MXFP4 : w->dtype == KOI_F32 ? F32 : BF16, n * each);
    t->n_dims = 3, t->dims[0] = w->shape[1] * (fp4 ? 2 : 1), t->dims[1] = w->shape[0], t->dims[2] = n;
    if (wide) put_fp4_q8(w, scale, t->data + e * each);
    else if (fp4) put_mxfp4(w, scale, t->data + e * each);
    else memcpy(t->data + e * each, w->data, each);
  }
}

/* ---- names ---- */
static const char *const top[][2] = {
  {"embed.weight", "token_embd.weight"}, {"norm.weight", "output_norm.weight"}, {"head.weight", "output.weight"},
  {"hc_head_fn", "output_hc_fn.weight"}, {"hc_head_base", "output_hc_base.weight"}, {"hc_head_scale", "output_hc_scale.weight"}};
static const char *const layer_parts[][2] = {
  {"hc_attn_fn", "hc_attn_fn.weight"}, {"hc_attn_base", "hc_attn_base.weight"}, {"hc_attn_scale", "hc_attn_scale.weight"},
  {"hc_ffn_fn", "hc_ffn_fn.weight"}, {"hc_ffn_base", "hc_ffn_base.weight"}, {"hc_ffn_scale", "hc_ffn_scale.weight"},
  {"attn.attn_sink", "attn_sinks.weight"}, {"attn.wq_a.weight", "attn_q_a.weight"}, {"attn.wq_b.weight", "attn_q_b.weight"},
  {"attn.q_norm.weight", "attn_q_a_norm.weight"}, {"attn.wkv.weight", "attn_kv.weight"}, {"attn.kv_norm.weight", "attn_kv_a_norm.weight"},
  {"attn.wo_a.weight", "attn_output_a.weight"}, {"attn.wo_b.weight", "attn_output_b.weight"},
  {"attn.compressor.wkv.weight", "attn_compressor_kv.weight"}, {"attn.compressor.wgate.weight", "attn_compressor_gate.weight"},
  {"attn.compressor.ape", "attn_compressor_ape.weight"}, {"attn.compressor.norm.weight", "attn_compressor_norm.weight"},
  {"attn.indexer.wq_b.weight", "indexer.attn_q_b.weight"}, {"attn.indexer.weights_proj.weight", "indexer.proj.weight"},
  {"attn.indexer.compressor.wkv.weight", "indexer_compressor_kv.weight"}, {"attn.indexer.compressor.wgate.weight", "indexer_compressor_gate.weight"},
  {"attn.indexer.compressor.ape", "indexer_compressor_ape.weight"}, {"attn.indexer.compressor.norm.weight", "indexer_compressor_norm.weight"},
  {"attn_norm.weight", "attn_norm.weight"}, {"ffn_norm.weight", "ffn_norm.weight"}, {"ffn.gate.weight", "ffn_gate_inp.weight"},
  {"ffn.gate.bias", "exp_probs_b.bias"}, {"ffn.gate.tid2eid", "ffn_gate_tid2eid.weight"}, {"ffn.shared_experts.w1.weight", "ffn_gate_shexp.weight"},
  {"ffn.shared_experts.w2.weight", "ffn_down_shexp.weight"}, {"ffn.shared_experts.w3.weight", "ffn_up_shexp.weight"}};
static const char *const experts[][2] = {{"w1", "ffn_gate_exps"}, {"w2", "ffn_down_exps"}, {"w3", "ffn_up_exps"}};

static void put_named(converter *c, const char *prefix, const char *const pair[2], const char *to)
{
  char name[160], scale[100];
  const koi_tensor *w = get(c, prefix, pair[0], "");
  snprintf(scale, sizeof scale, "%s", pair[0]);
  char *end = strstr(scale, ".weight");
  if (end) strcpy(end, ".scale");
  snprintf(name, sizeof name, "%s%s", to, pair[1]);
  if (w) put(c, name, w, get(c, prefix, scale, ""));
}

static void put_tensors(converter *c)
{
  int n = json_object_get_int(json_object_object_get(c->from.config, "num_hidden_layers"));
  for (size_t i = 0; i < KOI_COUNT(top); i++) put_named(c, "", top[i], "");
  for (int l = 0; l < n; l++) {
    char prefix[32], to[32], name[64];
    snprintf(prefix, sizeof prefix, "layers.%d.", l);
    snprintf(to, sizeof to, "blk.%d.", l);
    for (size_t i = 0; i < KOI_COUNT(layer_parts); i++) put_named(c, prefix, layer_parts[i], to);
    for (size_t i = 0; i < KOI_COUNT(experts); i++) {
      snprintf(name, sizeof name, "%s%s.weight", to, experts[i][1]);
      put_experts(c, prefix, experts[i][0], name);
    }
  }
}

/* ---- files ---- */
/* Tensors [from, to) behind `keys`, as part `no` of n. */
static void write_part(const converter *c, const make_gguf *keys, uint64_t n_keys, size_t from, size_t to, unsigned no, unsigned n, const char *path)
{
  make_gguf m = {0};
  uint64_t at = 0;
  make_gguf_begin(&m, 3, to - from, n_keys + (n > 1 ? 3 : 0));
  if (n_keys) make_gguf_bytes(&m, keys->s, keys->n);
  if (n > 1) make_gguf_u32(&m, "split.no", no), make_gguf_u32(&m, "split.count", n), make_gguf_u32(&m, "split.tensors.count", (uint32_t)c->n);
  for (size_t i = from; i < to; i++) {
    make_gguf_tensor(&m, c->t[i].name, c->t[i].n_dims, c->t[i].dims, c->t[i].type, at);
    at += (c->t[i].bytes + 31) / 32 * 32;
  }
  make_gguf_pad(&m, 32);
  for (size_t i = from; i < to; i++) make_gguf_bytes(&m, c->t[i].data, c->t[i].bytes), make_gguf_pad(&m, 32);
  FILE *f = fopen(path, "wb");
  to_gguf_must(f && fwrite(m.s, 1, m.n, f) == m.n && !fclose(f), path);
  make_gguf_free(&m);
}

static void write_all(const converter *c, const char *path, unsigned n_parts)
{
  make_gguf keys = {0};
  uint64_t n_keys = to_gguf_meta(&c->from, c->kind, &keys);
  for (unsigned p = 0; p < n_parts; p++) {
    char *part = n_parts > 1 ? koi_format("%.*s-%05u-of-%05u.gguf", (int)strlen(path) - 20, path, p + 1, n_parts) : koi_strdup(path);
    write_part(c, &keys, p ? 0 : n_keys, c->n * p / n_parts, c->n * (p + 1) / n_parts, p, n_parts, part);
    koi_free(part);
  }
  make_gguf_free(&keys);
}

void to_gguf(const char *folder, const char *path, to_gguf_kind kind, unsigned n_parts)
{
  char file[4200];
  converter c = {.kind = kind};
  to_gguf_must(koi_safetensors_open(folder, &c.w) == KOINE_OK, folder);
  snprintf(file, sizeof file, "%s/config.json", folder);
  to_gguf_must((c.from.config = json_object_from_file(file)) != NULL, file);
  snprintf(file, sizeof file, "%s/tokenizer.json", folder);
  c.from.tokenizer = json_object_from_file(file);
  put_tensors(&c);
  write_all(&c, path, n_parts);
  for (size_t i = 0; i < c.n; i++) free(c.t[i].data);
  free(c.t);
  json_object_put(c.from.config);
  json_object_put(c.from.tokenizer);
  koi_weights_close(c.w);
}
