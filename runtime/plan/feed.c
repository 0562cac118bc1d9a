/* See feed.h. Owns the offsets by ratio. Invariant: every record that a call may read is written, also those of windows that do not close. */
#include "feed.h"
#include <string.h>
#include "model/rope.h"

static uint64_t take(uint64_t *at, uint64_t bytes, uint64_t align)
{
  uint64_t from = *at;
  *at += koi_ceil_div(bytes ? bytes : 1, align) * align;
  return from;
}

static uint64_t max_windows(const koi_feed *f, size_t i) { return f->shape.n_tokens / f->caches->ratios[i].ratio + 1; }

koine_status koi_feed_make(const koi_caches *c, const koi_shape *shape, uint64_t align, koi_feed *out)
{
  uint64_t at = 0, n = shape->n_tokens, rd = c->config->rope_dim * sizeof(float);
  *out = (koi_feed){.caches = c, .shape = *shape, .max_marks = shape->n_tokens / KOI_MARK + 1};
  out->ratios = koi_alloc(c->n_ratios + 1, sizeof *out->ratios);
  if (!out->ratios) return KOINE_ERR_MEMORY;
  out->tokens = take(&at, n * sizeof(int32_t), align);
  out->rows = take(&at, n * KOI_ROW_INTS * sizeof(int32_t), align);
  out->rope_main = take(&at, n * rd, align);
  out->rope_comp = take(&at, n * rd, align);
  for (size_t i = 0; i < c->n_ratios; i++) {
    uint64_t w = max_windows(out, i);
    out->ratios[i] = (koi_feed_ratio){.wins = take(&at, w * KOI_WIN_INTS * sizeof(int32_t), align), .win_rows = take(&at, w * KOI_ROW_INTS * sizeof(int32_t), align)};
    out->ratios[i].win_rope = take(&at, w * rd, align);
    out->ratios[i].keep = take(&at, KOI_KEEP_INTS * sizeof(int32_t), align);
    out->ratios[i].marks = take(&at, (uint64_t)out->max_marks * KOI_KEEP_INTS * sizeof(int32_t), align);
  }
  out->bytes = at;
  out->n_syms = KOI_SYM_RATIO + c->n_ratios * ((size_t)KOI_N_RATIO_SYMS + shape->n_rounds);
  if (out->n_syms <= UINT16_MAX) return KOINE_OK;
  koi_feed_free(out);
  return koi_error(KOINE_ERR_ARG, "chunks of %u tokens would go over the rows of so long a conversation in %u rounds: take a smaller chunk", shape->n_tokens, shape->n_rounds);
}

void koi_feed_free(koi_feed *f)
{
  koi_free(f->ratios);
  f->ratios = NULL;
}

koine_status koi_feed_bytes(const koi_caches *c, uint32_t chunk, uint64_t align, uint64_t *out)
{
  koi_feed f;
  koine_status s = koi_feed_make(c, &(koi_shape){.n_tokens = chunk}, align, &f);
  if (s) return s;
  *out = f.bytes;
  koi_feed_free(&f);
  return KOINE_OK;
}

/* ---- filling ---- */
static int32_t smaller(int64_t a, int64_t b) { return (int32_t)(a < b ? a : b); }

static void fill_tokens(const koi_feed *f, const koi_place *p, uint8_t *image)
{
  uint32_t n = f->shape.n_tokens, rd = f->caches->config->rope_dim;
  int32_t *rows = (int32_t *)(void *)(image + f->rows);
  memcpy(image + f->tokens, p->tokens, n * sizeof(int32_t));
  for (uint32_t t = 0; t < n; t++) {
    rows[KOI_ROW_INTS * t] = (int32_t)p->p0 + (int32_t)t, rows[KOI_ROW_INTS * t + 1] = p->tables;
    koi_rope_row(p->freq_main, rd, p->p0 + t, (float *)(void *)(image + f->rope_main) + (size_t)t * rd);
    koi_rope_row(p->freq_comp, rd, p->p0 + t, (float *)(void *)(image + f->rope_comp) + (size_t)t * rd);
  }
}

/* The n windows that close in the chunk. */
static void fill_windows(const koi_feed *f, const koi_place *p, size_t i, int32_t n, uint8_t *image)
{
  const koi_feed_ratio *at = &f->ratios[i];
  uint32_t ratio = f->caches->ratios[i].ratio, rd = f->caches->config->rope_dim;
  uint64_t first = p->p0 / ratio;
  int32_t *wins = (int32_t *)(void *)(image + at->wins), *rows = (int32_t *)(void *)(image + at->win_rows);
  for (int32_t w = 0; w < n; w++) {
    const int32_t win[KOI_WIN_INTS] = {(int32_t)first + w, 0, (int32_t)p->p0, p->slots[i], 0}, row[KOI_ROW_INTS] = {(int32_t)first + w, p->tables};
    memcpy(wins + w * KOI_WIN_INTS, win, sizeof win);
    memcpy(rows + w * KOI_ROW_INTS, row, sizeof row);
    koi_rope_row(p->freq_comp, rd, (first + (uint64_t)w) * ratio, (float *)(void *)(image + at->win_rope) + (size_t)w * rd);
  }
}

static void put_keep(int32_t *to, const koi_place *p, uint32_t n, int32_t from_slot, int32_t to_slot)
{
  const int32_t record[KOI_KEEP_INTS] = {0, (int32_t)n, (int32_t)p->p0, from_slot, to_slot};
  memcpy(to, record, sizeof record);
}

/* What the compressors carry over: for the sequence itself, and for the marks on the way; how many of these. */
static int32_t fill_keeps(const koi_feed *f, const koi_place *p, size_t i, uint8_t *image)
{
  int32_t *marks = (int32_t *)(void *)(image + f->ratios[i].marks), n = 0;
  for (size_t k = 0; k < p->n_marks; k++) {
    const koi_feed_mark *m = &p->marks[i * p->n_marks + k];
    if (m->to >= 0) put_keep(marks + n++ * KOI_KEEP_INTS, p, m->n, p->slots[i], m->to);
  }
  put_keep((int32_t *)(void *)(image + f->ratios[i].keep), p, f->shape.n_tokens, p->slots[i], p->slots[i]);
  return n;
}

/* Visible rows are cut so that there is work for every unit, but never into less than min_rows. */
static void cut_rows(const koi_splits *s, int64_t visible, int32_t *n_splits, int32_t *rows)
{
  *rows = (int32_t)koi_ceil_div((uint64_t)visible, (uint64_t)s->max_splits);
  if (*rows < s->min_rows) *rows = s->min_rows;
  *n_splits = (int32_t)koi_ceil_div((uint64_t)visible, (uint64_t)*rows);
}

static void ratio_syms(const koi_feed *f, uint64_t p0, const koi_splits *s, int32_t lds, size_t i, int32_t *syms)
{
  const koi_ratio *r = &f->caches->ratios[i];
  const koi_config *c = f->caches->config;
  int64_t end = (int64_t)p0 + f->shape.n_tokens, rows = end / r->ratio, window = smaller(end, c->window);
  bool chosen = r->index && rows > c->index_topk;
  int32_t *y = syms + koi_sym_ratio(i, 0);
  y[KOI_SYM_WINDOWS] = (int32_t)(rows - (int64_t)(p0 / r->ratio));
  y[KOI_SYM_ALL] = !chosen, y[KOI_SYM_CHOSEN] = chosen;
  cut_rows(s, window + (chosen ? (int64_t)c->index_topk : rows), &y[KOI_SYM_C_SPLITS], &y[KOI_SYM_C_SPLIT_ROWS]);
  for (uint32_t k = 0; k < f->shape.n_rounds; k++) {
    int64_t left = rows - (int64_t)k * lds;
    syms[koi_sym_round(f->caches->n_ratios, f->shape.n_rounds, i, k)] = !chosen || left <= 0 ? 0 : smaller(left, lds);
  }
}

void koi_feed_syms(const koi_feed *f, uint64_t p0, const koi_splits *s, int32_t lds, int32_t *syms)
{
  memset(syms, 0, f->n_syms * sizeof *syms);
  cut_rows(s, smaller((int64_t)p0 + f->shape.n_tokens, f->caches->config->window), &syms[KOI_SYM_SPLITS], &syms[KOI_SYM_SPLIT_ROWS]);
  for (size_t i = 0; i < f->caches->n_ratios; i++) ratio_syms(f, p0, s, lds, i, syms);
}

void koi_feed_fill(const koi_feed *f, const koi_place *p, const koi_splits *s, int32_t lds, uint8_t *image, int32_t *syms)
{
  koi_feed_syms(f, p->p0, s, lds, syms);
  fill_tokens(f, p, image);
  syms[KOI_SYM_W_TABLE] = p->table_at[0];
  for (size_t i = 0; i < f->caches->n_ratios; i++) {
    const koi_ratio *r = &f->caches->ratios[i];
    int32_t *y = syms + koi_sym_ratio(i, 0);
    fill_windows(f, p, i, y[KOI_SYM_WINDOWS], image);
    y[KOI_SYM_MARKS] = fill_keeps(f, p, i, image);
    y[KOI_SYM_C_TABLE] = p->table_at[r->comp], y[KOI_SYM_I_TABLE] = r->index ? p->table_at[r->index_kind] : 0;
  }
}

void koi_feed_most(const koi_feed *f, const koi_splits *s, int32_t lds, uint64_t context, int32_t *syms)
{
  memset(syms, 0, f->n_syms * sizeof *syms);
  syms[KOI_SYM_SPLITS] = s->max_splits, syms[KOI_SYM_SPLIT_ROWS] = s->min_rows;
  for (size_t i = 0; i < f->caches->n_ratios; i++) {
    const koi_ratio *r = &f->caches->ratios[i];
    int32_t *y = syms + koi_sym_ratio(i, 0), rows = smaller((int64_t)(context / r->ratio), lds);
    y[KOI_SYM_WINDOWS] = (int32_t)max_windows(f, i), y[KOI_SYM_MARKS] = (int32_t)f->max_marks;
    y[KOI_SYM_ALL] = 1, y[KOI_SYM_CHOSEN] = r->index;
    y[KOI_SYM_C_SPLITS] = s->max_splits, y[KOI_SYM_C_SPLIT_ROWS] = s->min_rows;
    for (uint32_t k = 0; k < f->shape.n_rounds; k++) syms[koi_sym_round(f->caches->n_ratios, f->shape.n_rounds, i, k)] = r->index ? rows : 0;
  }
}
