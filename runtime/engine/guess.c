/* See guess.h. Owns the gates' rows as BF16, which is enough for a guess and half of the memory, and their biases. Invariant: a layer without rows is
 * one that nothing is guessed of. */
#include "guess.h"
#include <math.h>
#include <string.h>
#include "fetch.h"

enum { TILE = KOI_STRIP, LANES = 16, PIECE = 256 /* columns that are decoded at once */ };

typedef struct gate { uint16_t *rows; /* [n_experts][hidden] */ float *bias; /* [n_experts] */ } gate;

struct koi_guess {
  const koine_model *m;
  uint32_t layer0, layer1;
  koi_laid_model *laid;
  koi_fetch f;      /* tables of ids stay in the file */
  gate *gates;      /* [layer1 - layer0] */
  float *score;     /* [n_experts] */
};

/* ---- gates ---- */
typedef struct reading { koi_values values; double piece[PIECE][KOI_STRIP]; uint8_t *stream[KOI_MAX_STREAMS]; } reading;

static uint16_t to_bf16(double v)
{
  float x = (float)v;
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  return (uint16_t)(x != x ? 0x7fc0 : (u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static void put_strip(const koi_guess *g, reading *r, int wt, uint32_t row, uint16_t *rows)
{
  uint32_t k = g->m->config.hidden, left = g->m->config.n_experts - row, n = left < TILE ? left : TILE;
  koi_strip strip = koi_format_strip(wt, k, TILE, r->stream, 0);
  for (uint32_t k0 = 0; k0 < k; k0 += PIECE) {
    uint32_t columns = k - k0 < PIECE ? k - k0 : PIECE;
    koi_formats[wt].decode(&koi_formats[wt], &r->values, &strip, k0, columns, r->piece);
    for (uint32_t i = 0; i < n; i++)
      for (uint32_t c = 0; c < columns; c++) rows[(size_t)(row + i) * k + k0 + c] = to_bf16(r->piece[c][i]);
  }
}

static koine_status read_rows(koi_guess *g, uint32_t layer, reading *r, uint16_t *rows)
{
  const koi_laid *w = &g->laid->layers[layer][KOI_W_gate];
  int wt = g->laid->parts[w->first].wt;
  koine_status s = KOINE_OK;
  bool care = false;
  for (int i = 0; i < KOI_MAX_STREAMS && !s; i++) {
    size_t bytes = koi_format_tile_bytes(wt, i, g->m->config.hidden, TILE);
    koi_free(r->stream[i]);
    r->stream[i] = bytes ? koi_alloc(bytes, 1) : NULL;
    if (bytes && !r->stream[i]) s = KOINE_ERR_MEMORY;
  }
  for (uint32_t row = 0; row < g->m->config.n_experts && !s; row += TILE) {
    s = koi_fetch_tiles(&g->f, &(koi_span){(int)layer, KOI_W_gate, w->first, 0, row / TILE, row / TILE + 1}, r->stream, &care);
    if (!s) put_strip(g, r, wt, row, rows);
  }
  return s;
}

static koine_status read_bias(koi_guess *g, uint32_t layer, float *bias)
{
  const koi_laid *w = &g->laid->layers[layer][KOI_W_gate_bias];
  uint32_t n = g->m->config.n_experts;
  int wt = g->laid->parts[w->first].wt;
  bool care = false;
  uint8_t *stored = koi_alloc(n, sizeof(float)), *const out[KOI_MAX_STREAMS] = {stored};
  if (!stored) return KOINE_ERR_MEMORY;
  koine_status s = koi_fetch_tiles(&g->f, &(koi_span){(int)layer, KOI_W_gate_bias, w->first, 0, 0, n}, out, &care);
  for (uint32_t i = 0; i < n && !s; i++) {
    uint16_t half;
    if (wt == KOI_WT_F32) memcpy(&bias[i], stored + i * sizeof(float), sizeof(float));
    else memcpy(&half, stored + i * sizeof half, sizeof half), bias[i] = wt == KOI_WT_F16 ? koi_f16(half) : koi_bf16(half);
  }
  koi_free(stored);
  return s;
}

static koine_status read_gate(koi_guess *g, uint32_t layer, reading *r)
{
  gate *to = &g->gates[layer - g->layer0];
  to->rows = koi_alloc((size_t)g->m->config.n_experts * g->m->config.hidden, sizeof *to->rows), to->bias = koi_alloc(g->m->config.n_experts, sizeof *to->bias);
  if (!to->rows || !to->bias) return KOINE_ERR_MEMORY;
  koine_status s = read_rows(g, layer, r, to->rows);
  return s ? s : read_bias(g, layer, to->bias);
}

static koine_status read_gates(koi_guess *g)
{
  reading *r = koi_alloc(1, sizeof *r);
  koine_status s = r ? KOINE_OK : KOINE_ERR_MEMORY;
  if (r) koi_values_fill(&r->values);
  for (uint32_t n = g->layer0 + 1; n < g->layer1 && !s; n++)
    if (!g->m->layers[n].hash) s = read_gate(g, n, r);
  for (int i = 0; r && i < KOI_MAX_STREAMS; i++) koi_free(r->stream[i]);
  koi_free(r);
  koi_rows_free(&g->f.rows);
  return s;
}

koine_status koi_guess_open(const koine_model *m, uint32_t layer0, uint32_t layer1, koi_guess **out)
{
  koi_guess *g = koi_alloc(1, sizeof *g);
  if (!g) return KOINE_ERR_MEMORY;
  g->m = m, g->layer0 = layer0, g->layer1 = layer1;
  koine_status s = koi_lay_share(m, 0, TILE, &(koi_share){.layer0 = layer0, .layer1 = layer1, .of = KOI_OF_TRUNK}, &g->laid);
  g->f.l = g->laid;
  g->gates = koi_alloc(layer1 - layer0, sizeof *g->gates), g->score = koi_alloc(m->config.n_experts, sizeof *g->score);
  if (!s && (!g->gates || !g->score)) s = KOINE_ERR_MEMORY;
  if (!s) s = read_gates(g);
  if (s) koi_guess_close(g);
  else *out = g;
  return s;
}

void koi_guess_close(koi_guess *g)
{
  if (!g) return;
  for (uint32_t n = 0; g->gates && n < g->layer1 - g->layer0; n++) koi_free(g->gates[n].rows), koi_free(g->gates[n].bias);
  koi_free(g->gates);
  koi_free(g->score);
  koi_rows_free(&g->f.rows);
  koi_lay_free(g->laid);
  koi_free(g);
}

/* ---- guessing ---- */
/* Sums side by side, so that a compiler may use vectors. */
static float dot(const uint16_t *w, const float *x, uint32_t n)
{
  float part[LANES] = {0}, sum = 0;
  uint32_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    uint32_t bits[LANES];
    float wide[LANES];
    for (int j = 0; j < LANES; j++) bits[j] = (uint32_t)w[i + (uint32_t)j] << 16;
    memcpy(wide, bits, sizeof wide);
    for (int j = 0; j < LANES; j++) part[j] += wide[j] * x[i + (uint32_t)j];
  }
  for (; i < n; i++) sum += koi_bf16(w[i]) * x[i];
  for (int j = 0; j < LANES; j++) sum += part[j];
  return sum;
}

/* Logits become what the choice goes by, as op route has it. */
static void rank(const koi_config *c, const float *bias, float *z)
{
  float most = z[0], sum = 0;
  for (uint32_t e = 1; e < c->n_experts; e++) most = fmaxf(most, z[e]);
  for (uint32_t e = 0; e < c->n_experts && c->score == KOI_SCORE_SOFTMAX; e++) sum += expf(z[e] - most);
  for (uint32_t e = 0; e < c->n_experts; e++) {
    float score = c->score == KOI_SCORE_SOFTMAX ? expf(z[e] - most) / sum
                : c->score == KOI_SCORE_SIGMOID ? 1 / (1 + expf(-z[e]))
                                                : sqrtf(fmaxf(z[e], 0) + log1pf(expf(-fabsf(z[e]))));
    z[e] = score + bias[e];
  }
}

/* The best, best first; a NaN is never among them. */
static uint32_t best_of(float *z, uint32_t n_experts, uint32_t n_used, int32_t *ids)
{
  uint32_t n = 0;
  for (; n < n_used; n++) {
    uint32_t best = n_experts;
    for (uint32_t e = 0; e < n_experts; e++)
      if (z[e] > (best < n_experts ? z[best] : -INFINITY)) best = e;
    if (best == n_experts) break;
    ids[n] = (int32_t)best, z[best] = -INFINITY;
  }
  return n;
}

/* A row of the table of ids; one that cannot be read is an error only for whoever computes with it. */
static uint32_t look_up(koi_guess *g, uint32_t layer, int32_t token, int32_t *ids)
{
  uint32_t part = g->laid->layers[layer][KOI_W_tid2eid].first;
  uint8_t *const out[KOI_MAX_STREAMS] = {(uint8_t *)ids};
  bool care = false;
  uint64_t row = (uint64_t)(uint32_t)token;
  if (token < 0 || row >= g->m->config.n_vocab) return 0;
  return koi_fetch_tiles(&g->f, &(koi_span){(int)layer, KOI_W_tid2eid, part, 0, row, row + 1}, out, &care) ? 0 : g->m->config.n_used;
}

uint32_t koi_guess_experts(koi_guess *g, uint32_t layer, const float *x, int32_t token, int32_t *ids, bool *known)
{
  const koi_config *c = &g->m->config;
  *known = false;
  if (layer <= g->layer0 || layer >= g->layer1) return 0;
  const gate *gate = &g->gates[layer - g->layer0];
  *known = !gate->rows;
  if (*known) return look_up(g, layer, token, ids);
  for (uint32_t e = 0; e < c->n_experts; e++) g->score[e] = dot(gate->rows + (size_t)e * c->hidden, x, c->hidden);
  rank(c, gate->bias, g->score);
  return best_of(g->score, c->n_experts, c->n_used, ids);
}
