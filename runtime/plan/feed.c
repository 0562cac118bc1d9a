/* See feed.h. Owns the offsets by ratio and by round of the head. Invariant: every record that a call may read is written. */
#include "feed.h"
#include <string.h>
#include "model/rope.h"

static uint64_t take(uint64_t *at, uint64_t bytes, uint64_t align)
{
  uint64_t from = *at;
  *at += koi_ceil_div(bytes ? bytes : 1, align) * align;
  return from;
}

/* A sequence may close one more window than its tokens are windows long. */
static uint64_t max_windows(const koi_feed *f, size_t i) { return f->shape.n_tokens / f->caches->ratios[i].ratio + f->shape.n_seqs; }

static uint64_t place_ratio(koi_feed *f, size_t i, uint64_t at, uint64_t align)
{
  uint64_t w = max_windows(f, i), rd = f->caches->config->rope_dim * sizeof(float);
  koi_feed_ratio *r = &f->ratios[i];
  r->wins = take(&at, w * POOL_WIN * sizeof(int32_t), align);
  r->win_rows = take(&at, w * KOI_ROW_INTS * sizeof(int32_t), align);
  r->win_rope = take(&at, w * rd, align);
  r->keep = take(&at, (uint64_t)f->shape.n_seqs * POOL_KEEP_RECORD * sizeof(int32_t), align);
  r->marks = take(&at, (uint64_t)f->max_marks * POOL_KEEP_RECORD * sizeof(int32_t), align);
  return at;
}

koine_status koi_feed_make(const koi_caches *c, const koi_shape *shape, uint64_t align, koi_feed *out)
{
  uint64_t at = 0, n = shape->n_tokens, rd = c->config->rope_dim * sizeof(float), rounds = koi_ceil_div(shape->n_logits, KOI_HEAD_ROWS);
  *out = (koi_feed){.caches = c, .shape = *shape, .max_marks = shape->n_tokens / KOI_MARK + shape->n_seqs};
  out->ratios = koi_alloc(c->n_ratios + 1, sizeof *out->ratios);
  out->logit_rows = koi_alloc(rounds + 1, sizeof *out->logit_rows);
  if (!out->ratios || !out->logit_rows) {
    koi_feed_free(out);
    return KOINE_ERR_MEMORY;
  }
  out->tokens = take(&at, n * sizeof(int32_t), align);
  out->rows = take(&at, n * KOI_ROW_INTS * sizeof(int32_t), align);
  out->rope_main = take(&at, n * rd, align);
  out->rope_comp = take(&at, n * rd, align);
  for (uint64_t i = 0; i < rounds; i++) out->logit_rows[i] = take(&at, KOI_HEAD_ROWS * sizeof(int32_t), align);
  for (size_t i = 0; i < c->n_ratios; i++) at = place_ratio(out, i, at, align);
  out->bytes = at;
  out->n_syms = KOI_SYM_RATIO + c->n_ratios * ((size_t)KOI_N_RATIO_SYMS + shape->n_rounds);
  if (out->n_syms <= UINT16_MAX) return KOINE_OK;
  koi_feed_free(out);
  return koi_error(KOINE_ERR_ARG, "chunks of %u tokens would go over the rows of so long a conversation in %u rounds: take a smaller chunk", shape->n_tokens, shape->n_rounds);
}

void koi_feed_free(koi_feed *f)
{
  koi_free(f->ratios);
  koi_free(f->logit_rows);
  f->ratios = NULL, f->logit_rows = NULL;
}

koine_status koi_feed_bytes(const koi_caches *c, uint32_t chunk, uint64_t align, uint64_t *out)
{
  koi_feed f;
  koine_status s = koi_feed_make(c, &(koi_shape){.n_tokens = chunk, .n_logits = chunk, .n_seqs = chunk < KOI_MAX_SEQS ? chunk : KOI_MAX_SEQS}, align, &f);
  if (s) return s;
  *out = f.bytes;
  koi_feed_free(&f);
  return KOINE_OK;
}

/* ---- filling ---- */
static int32_t smaller(int64_t a, int64_t b) { return (int32_t)(a < b ? a : b); }
static int32_t *ints(uint8_t *image, uint64_t at) { return (int32_t *)(void *)(image + at); }
static float *floats(uint8_t *image, uint64_t at) { return (float *)(void *)(image + at); }

void koi_feed_of_states(const koi_feed *f, uint8_t *image)
{
  for (size_t i = 0; i < f->caches->n_ratios; i++)
    for (uint64_t w = 0; w < max_windows(f, i); w++) ints(image, f->ratios[i].wins)[w * POOL_WIN + WIN_P0] = INT32_MAX;
}

/* Of the place whose first token is row `row` of the step. */
static void fill_tokens(const koi_feed *f, const koi_place *p, const koi_freqs *freqs, uint32_t row, uint8_t *image)
{
  uint32_t rd = f->caches->config->rope_dim;
  int32_t *rows = ints(image, f->rows) + (size_t)row * KOI_ROW_INTS;
  memcpy(ints(image, f->tokens) + row, p->tokens, p->n_tokens * sizeof(int32_t));
  for (uint32_t t = 0; t < p->n_tokens; t++) {
    rows[KOI_ROW_INTS * t] = (int32_t)p->p0 + (int32_t)t, rows[KOI_ROW_INTS * t + 1] = p->tables;
    koi_rope_row(freqs->main, rd, p->p0 + t, floats(image, f->rope_main) + (size_t)(row + t) * rd);
    koi_rope_row(freqs->comp, rd, p->p0 + t, floats(image, f->rope_comp) + (size_t)(row + t) * rd);
  }
}

static void fill_logits(const koi_feed *f, const koi_place *p, uint32_t row, uint32_t done, uint8_t *image)
{
  for (uint32_t i = 0; i < p->n_logits; i++)
    ints(image, f->logit_rows[(done + i) / KOI_HEAD_ROWS])[(done + i) % KOI_HEAD_ROWS] = (int32_t)(row + p->n_tokens - p->n_logits + i);
}

/* The windows of the place that close in the step, behind the `done` ones of others; how many these are then. */
static int32_t fill_windows(const koi_feed *f, const koi_place *p, const koi_freqs *freqs, size_t i, uint32_t at_row, int32_t done, uint8_t *image)
{
  const koi_feed_ratio *at = &f->ratios[i];
  uint32_t ratio = f->caches->ratios[i].ratio, rd = f->caches->config->rope_dim;
  for (uint64_t w = p->p0 / ratio; w < (p->p0 + p->n_tokens) / ratio; w++, done++) {
    const int32_t win[POOL_WIN] = {[WIN_INDEX] = (int32_t)w, [WIN_ROW] = (int32_t)at_row, [WIN_P0] = (int32_t)p->p0, [WIN_SLOT] = p->slots[i]}, row[KOI_ROW_INTS] = {(int32_t)w, p->tables};
    memcpy(ints(image, at->wins) + done * POOL_WIN, win, sizeof win);
    memcpy(ints(image, at->win_rows) + done * KOI_ROW_INTS, row, sizeof row);
    koi_rope_row(freqs->comp, rd, w * ratio, floats(image, at->win_rope) + (size_t)done * rd);
  }
  return done;
}

static void put_keep(int32_t *to, const koi_place *p, uint32_t row, uint32_t n, int32_t from_slot, int32_t to_slot)
{
  const int32_t record[POOL_KEEP_RECORD] = {[KEEP_ROW] = (int32_t)row, [KEEP_N] = (int32_t)n, [KEEP_P0] = (int32_t)p->p0, [KEEP_FROM] = from_slot, [KEEP_TO] = to_slot};
  memcpy(to, record, sizeof record);
}

/* What the compressors carry over at the marks that the place passes, behind `done` of others. */
static int32_t fill_marks(const koi_feed *f, const koi_place *p, size_t i, uint32_t row, int32_t done, uint8_t *image)
{
  for (size_t k = 0; k < p->n_marks; k++) {
    const koi_feed_mark *m = &p->marks[i * p->n_marks + k];
    if (m->to >= 0) put_keep(ints(image, f->ratios[i].marks) + done++ * POOL_KEEP_RECORD, p, row, m->n, p->slots[i], m->to);
  }
  return done;
}

/* Visible rows are cut so that there is work for every unit, but never into less than min_rows. */
static void cut_rows(const koi_splits *s, int64_t visible, int32_t *n_splits, int32_t *rows)
{
  *rows = (int32_t)koi_ceil_div((uint64_t)visible, (uint64_t)s->max_splits);
  if (*rows < s->min_rows) *rows = s->min_rows;
  *n_splits = (int32_t)koi_ceil_div((uint64_t)visible, (uint64_t)*rows);
}

/* Of one ratio, where the farthest sequence ends at `end`. */
static void ratio_syms(const koi_feed *f, int64_t end, const koi_splits *s, int32_t lds, size_t i, int32_t *syms)
{
  const koi_ratio *r = &f->caches->ratios[i];
  const koi_config *c = f->caches->config;
  int64_t rows = end / r->ratio, window = smaller(end, c->window);
  bool chosen = r->index && rows > c->index_topk;
  int32_t *y = syms + koi_sym_ratio(i, 0);
  y[KOI_SYM_ALL] = !chosen, y[KOI_SYM_CHOSEN] = chosen;
  cut_rows(s, window + (chosen ? (int64_t)c->index_topk : rows), &y[KOI_SYM_C_SPLITS], &y[KOI_SYM_C_SPLIT_ROWS]);
  for (uint32_t k = 0; k < f->shape.n_rounds; k++) {
    int64_t left = rows - (int64_t)k * lds;
    syms[koi_sym_round(f->caches->n_ratios, f->shape.n_rounds, i, k)] = !chosen || left <= 0 ? 0 : smaller(left, lds);
  }
}

void koi_feed_syms(const koi_feed *f, const koi_place *p, size_t n, const koi_splits *s, int32_t lds, int32_t *syms)
{
  int64_t farthest = 0;
  memset(syms, 0, f->n_syms * sizeof *syms);
  for (size_t k = 0; k < n; k++) {
    int64_t p0 = (int64_t)p[k].p0, end = p0 + p[k].n_tokens;
    for (size_t i = 0; i < f->caches->n_ratios; i++) syms[koi_sym_ratio(i, KOI_SYM_WINDOWS)] += (int32_t)(end / f->caches->ratios[i].ratio - p0 / f->caches->ratios[i].ratio);
    if (end > farthest) farthest = end;
  }
  syms[KOI_SYM_SEQS] = (int32_t)n;
  cut_rows(s, smaller(farthest, f->caches->config->window), &syms[KOI_SYM_SPLITS], &syms[KOI_SYM_SPLIT_ROWS]);
  for (size_t i = 0; i < f->caches->n_ratios; i++) ratio_syms(f, farthest, s, lds, i, syms);
}

/* What the compressors of one ratio want to know of all places. */
static void fill_ratio(const koi_feed *f, const koi_place *p, size_t n, const koi_freqs *freqs, size_t i, uint8_t *image, int32_t *syms)
{
  int32_t windows = 0, marks = 0;
  for (size_t k = 0, row = 0; k < n; row += p[k++].n_tokens) {
    windows = fill_windows(f, &p[k], freqs, i, (uint32_t)row, windows, image);
    marks = fill_marks(f, &p[k], i, (uint32_t)row, marks, image);
    put_keep(ints(image, f->ratios[i].keep) + k * POOL_KEEP_RECORD, &p[k], (uint32_t)row, p[k].n_tokens, p[k].slots[i], p[k].slots[i]);
  }
  syms[koi_sym_ratio(i, KOI_SYM_MARKS)] = marks;
}

void koi_feed_fill(const koi_feed *f, const koi_place *p, size_t n, const koi_freqs *freqs, const koi_splits *s, int32_t lds, uint8_t *image, int32_t *syms)
{
  uint32_t row = 0, logits = 0;
  koi_feed_syms(f, p, n, s, lds, syms);
  for (size_t k = 0; k < n; row += p[k].n_tokens, logits += p[k++].n_logits) {
    fill_tokens(f, &p[k], freqs, row, image);
    if (f->shape.n_logits) fill_logits(f, &p[k], row, logits, image);
  }
  for (size_t i = 0; i < f->caches->n_ratios; i++) fill_ratio(f, p, n, freqs, i, image, syms);
}

void koi_feed_most(const koi_feed *f, const koi_splits *s, int32_t lds, uint64_t context, int32_t *syms)
{
  memset(syms, 0, f->n_syms * sizeof *syms);
  syms[KOI_SYM_SEQS] = (int32_t)f->shape.n_seqs, syms[KOI_SYM_SPLITS] = s->max_splits, syms[KOI_SYM_SPLIT_ROWS] = s->min_rows;
  for (size_t i = 0; i < f->caches->n_ratios; i++) {
    const koi_ratio *r = &f->caches->ratios[i];
    int32_t *y = syms + koi_sym_ratio(i, 0), rows = smaller((int64_t)(context / r->ratio), lds);
    y[KOI_SYM_WINDOWS] = (int32_t)max_windows(f, i), y[KOI_SYM_MARKS] = (int32_t)f->max_marks;
    y[KOI_SYM_ALL] = 1, y[KOI_SYM_CHOSEN] = r->index;
    y[KOI_SYM_C_SPLITS] = s->max_splits, y[KOI_SYM_C_SPLIT_ROWS] = s->min_rows;
    for (uint32_t k = 0; k < f->shape.n_rounds; k++) syms[koi_sym_round(f->caches->n_ratios, f->shape.n_rounds, i, k)] = r->index ? rows : 0;
  }
}
