/* See widen.h. A sum of squares over more values, all of them zeros, is the same, but its mean is not: what follows such a mean is scaled. */
#include "widen.h"
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "remake.h"

enum { BLOCK = 256 };

typedef struct wide {
  const koine_model *m;
  remake out;
  uint64_t heads, o_rank, n_experts, dims[KOI_N_DIMS]; /* new sizes; 0: as before */
} wide;

static void must(bool ok, const char *what)
{
  if (ok) return;
  fprintf(stderr, "widen: %s: %s\n", what, koi_error_text());
  abort();
}

static uint64_t up(uint64_t n) { return (n + BLOCK - 1) / BLOCK * BLOCK; }

/* Where a row or a column goes. */
static uint64_t moved(const wide *x, koi_dim dim, uint64_t i)
{
  const koi_config *c = &x->m->config;
  uint64_t per = c->n_heads / c->o_groups, head = i / c->head_dim;
  if (dim == KOI_D_HEADS) return i / per * (x->heads / c->o_groups) + i % per;
  if (dim == KOI_D_Q_DIM) return (head / per * (x->heads / c->o_groups) + head % per) * c->head_dim + i % c->head_dim;
  if (dim == KOI_D_GROUPED) return i / c->o_rank * x->o_rank + i % c->o_rank;
  if (dim == KOI_D_FLAT) return i / c->hidden * x->dims[KOI_D_HIDDEN] + i % c->hidden;
  return i;
}

/* For what a longer mean would change. */
static float factor(const wide *x, const koi_role *r)
{
  const koi_config *c = &x->m->config;
  double hidden = (double)c->hidden / (double)x->dims[KOI_D_HIDDEN], q = (double)c->q_rank / (double)x->dims[KOI_D_Q_RANK];
  if (r->k == KOI_D_FLAT || (r->use == KOI_FACTOR && r->rows == KOI_D_HIDDEN)) return (float)sqrt(hidden);
  return r->use == KOI_FACTOR && r->rows == KOI_D_Q_RANK ? (float)sqrt(q) : 1;
}

/* One value of a matrix as it is stored. */
static void put(item *t, uint64_t at, float v)
{
  uint32_t bits;
  memcpy(&bits, &v, 4);
  if (!strcmp(t->dtype, "F32")) memcpy(t->data + 4 * at, &bits, 4);
  else t->data[2 * at] = (uint8_t)(bits >> 16), t->data[2 * at + 1] = (uint8_t)(bits >> 24); /* FP8 and FP4 with their scales fit BF16 */
}

static void put_rows(const wide *x, const koi_role *r, const koi_weight *w, const koi_piece *p, uint64_t row0, uint64_t to_row0, item *t)
{
  static uint8_t tiles[KOI_MAX_STREAMS][1 << 20];
  static double out[1 << 14][KOI_STRIP];
  uint8_t *tile[KOI_MAX_STREAMS];
  koi_values values;
  koi_values_fill(&values);
  uint64_t k1 = x->dims[r->k] ? x->dims[r->k] : w->k;
  int format = r->use < KOI_TABLE ? w->format : p->format;
  const koi_weight_format *f = &koi_formats[format];
  koi_stored m = {p->weight->data, p->scale ? p->scale->data : NULL, w->one_matrix ? w->rows * w->n_units : w->rows, w->k};
  must(w->k <= KOI_COUNT(out), "rows too long");
  for (int s = 0; s < KOI_MAX_STREAMS; s++) tile[s] = tiles[s];
  for (uint64_t row = 0; row < w->rows; row += KOI_STRIP) {
    uint64_t n = w->rows - row < KOI_STRIP ? w->rows - row : KOI_STRIP;
    koi_strip strip = koi_format_strip(format, w->k, KOI_STRIP, tile, 0);
    koi_format_tiles(format, KOI_STRIP, &m, row0 + row, n, 0, 1, tile);
    f->decode(f, &values, &strip, 0, w->k, out);
    for (uint64_t i = 0; i < n && (r->rows != KOI_D_EXPERTS || row + i < x->n_experts); i++)
      for (uint64_t k = 0; k < w->k; k++) put(t, (to_row0 + moved(x, r->rows, row + i)) * k1 + moved(x, r->k, k), (float)out[k][i] * factor(x, r));
  }
}

static void put_weight(wide *x, int layer, const koi_role *r, const koi_weight *w, uint32_t unit, uint32_t sub)
{
  char name[160], before[32] = "", number[16] = "";
  uint64_t rows = x->dims[r->rows] ? x->dims[r->rows] : w->rows, k = x->dims[r->k] ? x->dims[r->k] : w->k, shape[2] = {rows * (w->one_matrix ? w->n_units : 1), k};
  if (layer >= 0) snprintf(before, sizeof before, "layers.%d.", layer);
  if (r->units == KOI_EXPERTS) snprintf(number, sizeof number, "%u.", unit);
  snprintf(name, sizeof name, "%s%s%s%s%s", before, r->path, number, r->name[sub], r->suffix);
  const koi_piece *p = koi_weight_piece(w, unit, sub);
  if (r->use == KOI_IDS) {
    item *t = remake_add(&x->out, name, koi_dtype_name(p->weight->dtype), p->weight->shape, 2, p->weight->bytes);
    memcpy(t->data, p->weight->data, p->weight->bytes);
    for (size_t i = 0; i < t->bytes && x->n_experts < x->m->config.n_experts; i += koi_dtype_bytes(p->weight->dtype)) t->data[i] %= (uint8_t)x->n_experts;
    return;
  }
  bool full = r->use < KOI_TABLE || r->k == KOI_D_FLAT;
  item *t = remake_add(&x->out, name, full ? "F32" : "BF16", shape, r->use < KOI_TABLE && r->k == KOI_D_ONE ? 1 : 2, shape[0] * k * (full ? 4 : 2));
  for (uint32_t u = 0; u < (w->one_matrix ? w->n_units : 1); u++) put_rows(x, r, w, p, u * w->rows, u * rows, t);
}

static void visit(void *user, int layer, const koi_role *r, const koi_weight *w)
{
  for (uint32_t unit = 0; unit < (r->units == KOI_EXPERTS ? (uint32_t)((wide *)user)->n_experts : 1); unit++)
    for (uint32_t sub = 0; sub < w->n_sub; sub++) put_weight(user, layer, r, w, unit, sub);
}

static void copy(const char *from, const char *to, const char *name)
{
  char path[4200], *text;
  size_t n;
  snprintf(path, sizeof path, "%s/%s", from, name);
  if (koi_file_read(path, 64 << 20, &text, &n)) return;
  remake_put(to, name, text, n);
  koi_free(text);
}

static void put_config(const wide *x, const char *from, const char *to)
{
  const struct { const char *key; uint64_t v; } sizes[] = {
    {"hidden_size", x->dims[KOI_D_HIDDEN]}, {"num_attention_heads", x->heads}, {"q_lora_rank", x->dims[KOI_D_Q_RANK]}, {"o_lora_rank", x->o_rank},
    {"moe_intermediate_size", x->dims[KOI_D_INTER]}, {"n_routed_experts", x->n_experts}};
  char path[4200];
  snprintf(path, sizeof path, "%s/config.json", from);
  json_object *c = json_object_from_file(path);
  must(c != NULL, path);
  json_object_object_del(c, "quantization_config");
  json_object_object_del(c, "expert_dtype");
  for (size_t i = 0; i < KOI_COUNT(sizes); i++) json_object_object_add(c, sizes[i].key, json_object_new_int64((int64_t)sizes[i].v));
  const char *text = json_object_to_json_string(c);
  remake_put(to, "config.json", text, strlen(text));
  json_object_put(c);
}

void widen(const char *from, const char *to, uint32_t n_experts)
{
  koine_model *m;
  must(koi_model_open(from, &m) == KOINE_OK, from);
  const koi_config *c = &m->config;
  uint64_t in = up((uint64_t)c->n_heads / c->o_groups * c->head_dim), grouped = up((uint64_t)c->o_groups * c->o_rank), hidden = up(c->hidden);
  wide x = {.m = m, .heads = in / c->head_dim * c->o_groups, .o_rank = grouped / c->o_groups, .n_experts = n_experts ? n_experts : c->n_experts,
            .dims = {[KOI_D_HIDDEN] = hidden, [KOI_D_Q_RANK] = up(c->q_rank), [KOI_D_INTER] = up(c->inter), [KOI_D_GROUP_IN] = in, [KOI_D_GROUPED] = grouped,
                     [KOI_D_FLAT] = hidden * c->n_streams}};
  x.dims[KOI_D_HEADS] = x.heads, x.dims[KOI_D_Q_DIM] = x.heads * c->head_dim, x.dims[KOI_D_O_RANK] = x.o_rank,
  x.dims[KOI_D_EXPERTS] = x.n_experts;
  koi_model_visit(m, visit, &x);
  remake_write_all(&x.out, to);
  put_config(&x, from, to);
  copy(from, to, "tokenizer.json");
  copy(from, to, "tokenizer_config.json");
  copy(from, to, "generation_config.json");
  remake_free(&x.out);
  koi_model_close(m);
}
