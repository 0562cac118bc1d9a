/* Paged caches for the verifier's cases. Owns nothing but what the slots of a job point to. Invariant: no two entries share a place, some places belong
 * to nobody, and some slabs are not there. */
#include "verify_pages.h"

enum { GAP = 3 }; /* entries of nobody between the tables of two sequences */

size_t koi_verify_n_seqs(const koi_verify_case *v)
{
  size_t n = 0;
  while (n < KOI_VERIFY_SEQS && koi_verify_seq(v)[2 * n + 1] > 0) n++;
  return n;
}

size_t koi_verify_position(const koi_verify_job *j, int rows, size_t t)
{
  int32_t p;
  memcpy(&p, j->slot[rows].in + 2 * sizeof p * t, sizeof p);
  return (size_t)p;
}

size_t koi_verify_seq_end(const koi_verify_case *v, size_t s)
{
  const int32_t *seq = koi_verify_seq(v);
  return (size_t)seq[2 * s] + (size_t)seq[2 * s + 1];
}

/* Allocates slabs of `per` pages: some of the eight. Returns how many, their numbers in `slabs`. */
static size_t make_slabs(koi_verify_job *j, const koi_verify_pool *p, size_t n, int *slabs, size_t *per)
{
  size_t n_slabs = 0;
  uint64_t some = koi_verify_bits(j) >> 40;
  for (int s = 0; s < KOI_SLABS; s++)
    if (some >> s & 1) slabs[n_slabs++] = s;
  if (!n_slabs) slabs[n_slabs++] = KOI_SLABS - 1;
  *per = n / n_slabs + 2;
  for (size_t s = 0; s < n_slabs; s++) {
    size_t bytes = *per * (size_t)p->bytes;
    if (p->out) koi_verify_out(j, p->slab0 + slabs[s], bytes, p->kind);
    else {
      void *all = koi_verify_bytes(j, p->slab0 + slabs[s], bytes, p->kind);
      if (all) memset(all, 0xff, bytes);
    }
  }
  return n_slabs;
}

void koi_verify_places(koi_verify_job *j, const koi_verify_pool *p, int32_t *entry, size_t n)
{
  int slabs[KOI_SLABS];
  size_t per, n_slabs = make_slabs(j, p, n, slabs, &per), total = per * n_slabs;
  int32_t *all = koi_alloc(total, sizeof *all);
  if (!all) j->failed = true;
  for (size_t i = 0; all && i < total; i++) all[i] = slabs[i / per] << KOI_SLAB_SHIFT | (int32_t)(i % per);
  for (size_t i = 0; all && i < n; i++) { /* the first n of a shuffle */
    size_t other = i + (size_t)koi_verify_below(j, (int32_t)(total - i));
    int32_t was = all[i];
    all[i] = all[other], all[other] = was;
    entry[i] = all[i];
  }
  koi_free(all);
}

static size_t nth_page(const koi_verify_pool *p, size_t row)
{
  size_t nth = row / (size_t)p->page;
  return p->ring ? nth % (size_t)p->ring : nth;
}

/* Entries that the table of sequence s has. */
static size_t table_size(const koi_verify_pool *p, size_t s)
{
  return p->ring ? (size_t)p->ring : koi_ceil_div(p->end[s], (uint64_t)p->page);
}

/* Entries from one sequence's tables to the next one's. The sequences lie backwards, behind a gap. */
static size_t stride(const koi_verify_job *j, const koi_verify_pool *p, size_t n)
{
  size_t most = 0;
  for (size_t k = 0; k < n; k++)
    for (size_t s = 0; s < koi_verify_n_seqs(j->v); s++)
      if ((size_t)p[k].table + table_size(&p[k], s) > most) most = (size_t)p[k].table + table_size(&p[k], s);
  return most + GAP;
}

static void make_rows(koi_verify_job *j, int slot, const int32_t *start)
{
  size_t n_seqs = koi_verify_n_seqs(j->v), n = 0;
  const int32_t *seq = koi_verify_seq(j->v);
  for (size_t s = 0; s < n_seqs; s++) n += (size_t)seq[2 * s + 1];
  int32_t *rows = koi_verify_bytes(j, slot, n * 2 * sizeof *rows, KOI_VERIFY_I32), at[KOI_VERIFY_SEQS] = {0};
  for (size_t s = 0, i = 0; rows && i < n; s = j->v->how & KOI_VERIFY_MIXED || at[s] == seq[2 * s + 1] ? (s + 1) % n_seqs : s) {
    if (at[s] == seq[2 * s + 1]) continue;
    rows[2 * i] = seq[2 * s] + at[s]++, rows[2 * i + 1] = start[s], i++;
  }
}

static void make_table(koi_verify_job *j, const koi_verify_pool *p, const int32_t *start, int32_t *tables)
{
  size_t n = 0;
  int32_t *used[KOI_VERIFY_SEQS * 1024], entry[KOI_VERIFY_SEQS * 1024];
  for (size_t s = 0; s < koi_verify_n_seqs(j->v); s++)
    for (size_t row = p->first[s]; row < p->end[s]; row++) {
      int32_t *e = tables + start[s] + p->table + nth_page(p, row);
      if (*e == -1) *e = -2, used[n++] = e;
    }
  koi_verify_places(j, p, entry, n);
  for (size_t i = 0; i < n && !j->failed; i++) *used[i] = entry[i];
}

void koi_verify_rows_only(koi_verify_job *j, int rows) { make_rows(j, rows, (const int32_t[KOI_VERIFY_SEQS]){0}); }

static int32_t start_of(size_t stride, size_t n_seqs, size_t s) { return (int32_t)(GAP + (n_seqs - 1 - s) * stride); }

void koi_verify_tables(koi_verify_job *j, int rows, int tables, const koi_verify_pool *p, size_t n)
{
  size_t n_seqs = koi_verify_n_seqs(j->v), each = stride(j, p, n), all = GAP + n_seqs * each;
  int32_t start[KOI_VERIFY_SEQS], *t = koi_verify_bytes(j, tables, all * sizeof *t, KOI_VERIFY_I32);
  for (size_t i = 0; t && i < all; i++) t[i] = -1;
  for (size_t s = 0; s < n_seqs; s++) start[s] = start_of(each, n_seqs, s);
  make_rows(j, rows, start);
  for (size_t k = 0; t && k < n; k++) make_table(j, &p[k], start, t);
}

void *koi_verify_part(const koi_verify_job *j, const koi_verify_pool *p, int32_t entry)
{
  void *slabs[KOI_SLABS];
  for (int s = 0; s < KOI_SLABS; s++) slabs[s] = j->slot[p->slab0 + s].in;
  return koi_ref_part(slabs, entry, p->bytes, p->at);
}

void *koi_verify_row_part(const koi_verify_job *j, int tables, const koi_verify_pool *p, size_t s, size_t row)
{
  size_t n_seqs = koi_verify_n_seqs(j->v), each = (j->slot[tables].bytes / sizeof(int32_t) - GAP) / n_seqs;
  const int32_t *t = (const int32_t *)(const void *)j->slot[tables].in;
  return koi_verify_part(j, p, t[(size_t)start_of(each, n_seqs, s) + (size_t)p->table + nth_page(p, row)]);
}

void koi_verify_chunk(koi_verify_job *j, int kv, size_t n_rows, size_t ld, size_t wide)
{
  float *x = koi_verify_floats(j, kv, n_rows * ld, 2);
  for (size_t row = 0; x && row < n_rows; row++, x += ld)
    for (size_t k = wide; k < 2 * wide; k++) x[k] = koi_verify_below(j, 40) == 0 ? koi_verify_below(j, 2) ? 60 : -60 : 3 * x[k];
}

void koi_verify_whole(koi_verify_job *j, float *x, size_t n, size_t ih)
{
  for (size_t r = 0; r < n; r++) {
    float size = r % 5 == 4 ? 0 : ldexpf(1, koi_verify_below(j, 40) - 20);
    for (size_t d = 0; d < ih; d++) x[r * ih + d] = (float)(koi_verify_below(j, 5) - 2) * size + 0.0f;
  }
}

void koi_verify_without_minus_zero(koi_verify_job *j, int slab0, int32_t page_bytes, int32_t at, int32_t page, int32_t ih)
{
  size_t n_bytes = 4 * (size_t)page * koi_ceil_div((uint64_t)ih, 8);
  for (koi_verify_slot *s = &j->slot[slab0]; s < &j->slot[slab0 + KOI_SLABS]; s++)
    for (size_t n = 0; s->in && n < 2 * (s->bytes / (size_t)page_bytes); n++) {
      uint8_t *part = (n % 2 ? s->want : s->got) + n / 2 * (size_t)page_bytes + at;
      for (size_t k = 0; k < n_bytes; k++) {
        if ((part[k] & 15) == 8) part[k] &= 0xf0;
        if ((part[k] >> 4) == 8) part[k] &= 0x0f;
      }
    }
}
