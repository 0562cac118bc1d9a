/* See guess.h. Owns the gates' rows as bytes, each row with a scale of its own, which is enough for a guess: reading them is what one costs. Invariant:
 * a layer without rows is one that nothing is guessed of. */
#include "guess.h"
#include <math.h>
#include <string.h>
#include "fetch.h"

enum { TILE = KOI_STRIP, PIECE = 256 /* columns that are decoded at once */, LANES = 64, MOST_W = 127, MOST_X = 16383 };

typedef struct gate { int8_t *rows; /* [n_experts][hidden] */ float *scale, *bias; /* [n_experts] */ } gate;

struct koi_guess {
  const koine_model *m;
  uint32_t layer0, layer1;
  koi_laid_model *laid;
  koi_fetch f;      /* tables of ids stay in the file */
  gate *gates;      /* [layer1 - layer0] */
  float *score;     /* [n_experts] */
  int16_t *x;       /* [hidden] what a router saw */
};

/* ---- gates ---- */
typedef struct reading { koi_values values; double piece[PIECE][KOI_STRIP]; float *rows; /* [TILE][hidden] */ uint8_t *stream[KOI_MAX_STREAMS]; } reading;

/* The largest size; 0: something is no number. */
static float reach(const float *x, uint32_t n)
{
  float most = 0, sum = 0;
  for (uint32_t i = 0; i < n; i++) {
    float size = fabsf(x[i]);
    most = size > most ? size : most, sum += size;
  }
  return isfinite(sum) ? most : 0;
}

static int32_t nearest(float v) { return (int32_t)(v + (v < 0 ? -0.5f : 0.5f)); }

static void put_row(const float *x, uint32_t k, int8_t *row, float *scale)
{
  float most = reach(x, k);
  for (uint32_t i = 0; i < k && most > 0; i++) row[i] = (int8_t)nearest(x[i] / most * MOST_W);
  *scale = most / MOST_W;
}

static void put_strip(const koi_guess *g, reading *r, int wt, uint32_t row, const gate *to)
{
  uint32_t k = g->m->config.hidden, left = g->m->config.n_experts - row, n = left < TILE ? left : TILE;
  koi_strip strip = koi_format_strip(wt, k, TILE, r->stream, 0);
  for (uint32_t k0 = 0; k0 < k; k0 += PIECE) {
    uint32_t columns = k - k0 < PIECE ? k - k0 : PIECE;
    koi_formats[wt].decode(&koi_formats[wt], &r->values, &strip, k0, columns, r->piece);
    for (uint32_t i = 0; i < n; i++)
      for (uint32_t c = 0; c < columns; c++) r->rows[(size_t)i * k + k0 + c] = (float)r->piece[c][i];
  }
  for (uint32_t i = 0; i < n; i++) put_row(r->rows + (size_t)i * k, k, to->rows + (size_t)(row + i) * k, &to->scale[row + i]);
}

static koine_status read_rows(koi_guess *g, uint32_t layer, reading *r, const gate *to)
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
    if (!s) put_strip(g, r, wt, row, to);
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
  uint32_t n = g->m->config.n_experts;
  to->rows = koi_alloc((size_t)n * g->m->config.hidden, sizeof *to->rows), to->scale = koi_alloc(n, sizeof *to->scale), to->bias = koi_alloc(n, sizeof *to->bias);
  if (!to->rows || !to->scale || !to->bias) return KOINE_ERR_MEMORY;
  koine_status s = read_rows(g, layer, r, to);
  return s ? s : read_bias(g, layer, to->bias);
}

static koine_status read_gates(koi_guess *g)
{
  reading *r = koi_alloc(1, sizeof *r);
  koine_status s = r ? KOINE_OK : KOINE_ERR_MEMORY;
  if (r && !(r->rows = koi_alloc((size_t)TILE * g->m->config.hidden, sizeof *r->rows))) s = KOINE_ERR_MEMORY;
  if (r) koi_values_fill(&r->values);
  for (uint32_t n = g->layer0 + 1; n < g->layer1 && !s; n++)
    if (!g->m->layers[n].hash) s = read_gate(g, n, r);
  for (int i = 0; r && i < KOI_MAX_STREAMS; i++) koi_free(r->stream[i]);
  if (r) koi_free(r->rows);
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
  g->x = koi_alloc(m->config.hidden, sizeof *g->x);
  if (!s && (!g->gates || !g->score || !g->x)) s = KOINE_ERR_MEMORY;
  if (!s) s = read_gates(g);
  if (s) koi_guess_close(g);
  else *out = g;
  return s;
}

void koi_guess_close(koi_guess *g)
{
  if (!g) return;
  for (uint32_t n = 0; g->gates && n < g->layer1 - g->layer0; n++) koi_free(g->gates[n].rows), koi_free(g->gates[n].scale), koi_free(g->gates[n].bias);
  koi_free(g->gates);
  koi_free(g->score);
  koi_free(g->x);
  koi_rows_free(&g->f.rows);
  koi_lay_free(g->laid);
  koi_free(g);
}

/* ---- guessing ---- */
/* As whole numbers, so small that no sum of n products with bytes overflows; what one is worth. 0: something is no number, or all are 0. */
static float round_x(const float *x, uint32_t n, int16_t *out)
{
  float most = reach(x, n);
  uint32_t room = INT32_MAX / MOST_W / n, limit = room <= MOST_X ? room - (room > 0) : MOST_X;
  float per = (float)limit / most;
  if (!(most > 0) || !limit || !isfinite(per)) return 0;
  for (uint32_t i = 0; i < n; i++) out[i] = (int16_t)nearest(x[i] * per);
  return most / (float)limit;
}

/* Of one length and as it stands, so that a compiler takes vectors. */
static int32_t dot_piece(const int8_t *w, const int16_t *x)
{
  int32_t sum = 0;
  for (int i = 0; i < LANES; i++) sum += (int16_t)w[i] * x[i];
  return sum;
}

static int32_t dot(const int8_t *w, const int16_t *x, uint32_t n)
{
  int32_t sum = 0;
  uint32_t i = 0;
  for (; i + LANES <= n; i += LANES) sum += dot_piece(w + i, x + i);
  for (; i < n; i++) sum += w[i] * x[i];
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

const float *koi_guess_scores(koi_guess *g, uint32_t layer, const float *x)
{
  const koi_config *c = &g->m->config;
  const gate *gate = layer > g->layer0 && layer < g->layer1 ? &g->gates[layer - g->layer0] : NULL;
  float one = gate && gate->rows ? round_x(x, c->hidden, g->x) : 0;
  if (one == 0) return NULL;
  for (uint32_t e = 0; e < c->n_experts; e++) g->score[e] = (float)dot(gate->rows + (size_t)e * c->hidden, g->x, c->hidden) * gate->scale[e] * one;
  rank(c, gate->bias, g->score);
  return g->score;
}

uint32_t koi_guess_experts(koi_guess *g, uint32_t layer, const float *x, int32_t token, int32_t *ids, bool *known)
{
  *known = layer > g->layer0 && layer < g->layer1 && !g->gates[layer - g->layer0].rows;
  if (*known) return look_up(g, layer, token, ids);
  return koi_guess_scores(g, layer, x) ? best_of(g->score, g->m->config.n_experts, g->m->config.n_used, ids) : 0;
}
