/* See rows.h. Owns the memory that it reads into. Invariant: nothing is touched that was not read. */
#include "rows.h"

static koine_status room(uint8_t **p, size_t *have, uint64_t want)
{
  if (want <= *have) return KOINE_OK;
  koi_free(*p);
  *have = 0;
  if (!(*p = koi_alloc((size_t)want, 1))) return KOINE_ERR_MEMORY;
  *have = (size_t)want;
  return KOINE_OK;
}

/* Rows that share a row of scales. */
static uint64_t together(const koi_weight_format *f) { return f->scale_rows ? f->scale_rows : 1; }

koine_status koi_rows_room(koi_rows *r, const koi_weight *w, const koi_piece *p, uint64_t n)
{
  const koi_weight_format *f = &koi_formats[p->format];
  koine_status s = room(&r->codes, &r->codes_room, (n + together(f) - 1) * koi_format_row_bytes(p->format, w->k));
  if (s || !f->scale_rows) return s;
  return room(&r->scales, &r->scales_room, (n / f->scale_rows + 2) * koi_ceil_div(w->k, f->scale_columns));
}

static koine_status take(const koi_rows *r, const koi_tensor *t, uint64_t at, size_t n, uint8_t *to)
{
  koine_status s = koi_tensor_read(t, at, n, to);
  if (!s && r->pass) koi_tensor_pass(t, at, n);
  return s;
}

koine_status koi_rows_read(koi_rows *r, const koi_weight *w, const koi_piece *p, uint64_t row, uint64_t n)
{
  const koi_weight_format *f = &koi_formats[p->format];
  uint64_t bytes = koi_format_row_bytes(p->format, w->k), all = w->one_matrix ? w->rows * w->n_units : w->rows, from = row / together(f) * together(f);
  r->m = (koi_stored){NULL, NULL, all, w->k}, r->first = row;
  if (!p->weight) return KOINE_OK;
  koine_status s = koi_rows_room(r, w, p, n);
  r->first = row - from; /* the rows before it have only their scales */
  if (!s) s = take(r, p->weight, row * bytes, (size_t)(n * bytes), r->codes + r->first * bytes);
  if (!s && f->scale_rows) {
    uint64_t columns = koi_ceil_div(w->k, f->scale_columns), scale = from / f->scale_rows;
    s = take(r, p->scale, scale * columns, (size_t)((koi_ceil_div(row + n, f->scale_rows) - scale) * columns), r->scales);
  }
  r->m = (koi_stored){r->codes, f->scale_rows ? r->scales : NULL, r->first + n, w->k};
  return s;
}

koine_status koi_rows_bytes_room(koi_rows *r, uint64_t n) { return room(&r->codes, &r->codes_room, n); }

const uint8_t *koi_rows_bytes(koi_rows *r, const koi_tensor *t, uint64_t at, size_t n, koine_status *s)
{
  *s = koi_rows_bytes_room(r, n);
  if (!*s) *s = take(r, t, at, n, r->codes);
  return *s ? NULL : r->codes;
}

void koi_rows_free(koi_rows *r)
{
  koi_free(r->codes);
  koi_free(r->scales);
  *r = (koi_rows){0};
}
