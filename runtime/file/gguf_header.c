/* The header of a GGUF file: counts, metadata, and every tensor's type, shape and range, checked.
 * Owns: the format's rules. Does not know what keys and tensors mean, but for the alignment of the data.
 * Invariant: nothing behind the header is read. The header is read twice: first for the room its names take, then into the tables. */
#include "gguf_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAME = 1024, MAX_GGUF_DIMS = 4, MAX_ALIGNMENT = 1 << 24, LEAST_KEY = 13 /* bytes of the shortest key and value */, LEAST_TENSOR = 33 };

/* ggml's numbers; what is not here has a size that is not known */
static const koi_dtype stored[] = {
  [0] = KOI_F32, [1] = KOI_F16, [2] = KOI_Q4_0, [3] = KOI_Q4_1, [4] = KOI_DTYPE_OTHER, [5] = KOI_DTYPE_OTHER, [6] = KOI_Q5_0, [7] = KOI_Q5_1,
  [8] = KOI_Q8_0, [9] = KOI_DTYPE_OTHER, [10] = KOI_Q2_K, [11] = KOI_Q3_K, [12] = KOI_Q4_K, [13] = KOI_Q5_K, [14] = KOI_Q6_K, [15] = KOI_DTYPE_OTHER,
  [16] = KOI_IQ2_XXS, [17] = KOI_IQ2_XS, [18] = KOI_IQ3_XXS, [19] = KOI_IQ1_S, [20] = KOI_IQ4_NL, [21] = KOI_IQ3_S, [22] = KOI_IQ2_S, [23] = KOI_IQ4_XS,
  [24] = KOI_I8, [25] = KOI_DTYPE_OTHER, [26] = KOI_I32, [27] = KOI_I64, [28] = KOI_DTYPE_OTHER, [29] = KOI_IQ1_M, [30] = KOI_BF16, [31] = KOI_DTYPE_OTHER,
  [32] = KOI_DTYPE_OTHER, [33] = KOI_DTYPE_OTHER, [34] = KOI_TQ1_0, [35] = KOI_TQ2_0, [36] = KOI_DTYPE_OTHER, [37] = KOI_DTYPE_OTHER,
  [38] = KOI_DTYPE_OTHER, [39] = KOI_MXFP4, [40] = KOI_NVFP4, [41] = KOI_Q1_0, [42] = KOI_Q2_0,
};

int32_t koi_gguf_dtype_number(koi_dtype d)
{
  for (size_t i = 0; i < KOI_COUNT(stored) && d != KOI_DTYPE_OTHER; i++)
    if (stored[i] == d) return (int32_t)i;
  return -1;
}

typedef struct scan {
  koi_shard *shard;
  const char *file;
  const uint8_t *data;
  size_t n, at;
  uint64_t n_tensors, n_keys;
  char *names; /* NULL: the first reading */
  size_t names_bytes;
  koi_weights *w;
  koi_gguf_table *t;
} scan;

/* `n` bytes of what `what` names; NULL when the file ends before, and the error is set. */
static const uint8_t *take(scan *g, uint64_t n, const char *what)
{
  const uint8_t *p = g->data + g->at;
  if (n > g->n - g->at) {
    koi_error(KOINE_ERR_FILE, "%s: %s: expected %ju bytes at %zu, found %zu (is the file whole?)", g->file, what, (uintmax_t)n, g->at, g->n - g->at);
    return NULL;
  }
  if (g->at + (size_t)n > g->shard->held && koi_shard_hold(g->shard, 2 * (g->at + (size_t)n))) return NULL;
  g->at += (size_t)n;
  return p;
}

static koine_status take_word(scan *g, size_t bytes, const char *what, uint64_t *out)
{
  const uint8_t *p = take(g, bytes, what);
  if (!p) return KOINE_ERR_FILE;
  *out = koi_gguf_word(p, bytes);
  return KOINE_OK;
}

/* A key's or a tensor's name, of printable characters, into the names; *out NULL on the first reading. */
static koine_status take_name(scan *g, const char *what, const char **out)
{
  uint64_t n;
  koine_status s = take_word(g, 8, what, &n);
  if (s) return s;
  if (!n || n > MAX_NAME) return koi_error(KOINE_ERR_FILE, "%s: %s: expected a name of 1 to %d bytes at %zu, found %ju", g->file, what, MAX_NAME, g->at, (uintmax_t)n);
  const uint8_t *p = take(g, n, what);
  if (!p) return KOINE_ERR_FILE;
  for (uint64_t i = 0; i < n; i++)
    if (p[i] < 0x20 || p[i] == 0x7f) return koi_error(KOINE_ERR_FILE, "%s: %s: byte %zu: a name has a control character", g->file, what, g->at - (size_t)(n - i));
  *out = NULL;
  if (g->names) {
    char *to = g->names + g->names_bytes;
    memcpy(to, p, (size_t)n);
    to[n] = 0;
    *out = to;
  }
  g->names_bytes += (size_t)n + 1;
  return KOINE_OK;
}

/* ---- metadata ---- */
static koine_status wrong_type(const scan *g, const char *what, uint64_t type)
{
  return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected a type from 0 to %d, found %ju", g->file, what, KOI_N_GGUF_TYPES - 1, (uintmax_t)type);
}

/* The n items of v, passed over. */
static koine_status take_items(scan *g, const char *what, koi_gguf_value *v)
{
  size_t size = koi_gguf_type_bytes(v->type), bytes = 0, from = g->at;
  v->data = g->data + from;
  if (v->n > (g->n - g->at) / (size ? size : 8))
    return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected at most %zu bytes of items, found %ju items of %s (is the file whole?)", g->file, what,
                     g->n - g->at, (uintmax_t)v->n, koi_gguf_type_name(v->type));
  if (size && !koi_mul((size_t)v->n, size, &bytes)) return koi_error(KOINE_ERR_FILE, "%s: %.200s: more than 2^64 bytes", g->file, what);
  if (!take(g, bytes, what)) return KOINE_ERR_FILE;
  for (uint64_t i = 0; i < v->n && !size; i++) {
    uint64_t n;
    koine_status s = take_word(g, 8, what, &n);
    if (s) return s;
    if (!take(g, n, what)) return KOINE_ERR_FILE;
  }
  for (size_t i = 0; i < bytes && v->type == KOI_GGUF_BOOL; i++)
    if (v->data[i] > 1) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected a bool of 0 or 1, found %u", g->file, what, v->data[i]);
  v->bytes = g->at - from;
  return KOINE_OK;
}

static koine_status take_value(scan *g, uint64_t i)
{
  koi_gguf_value v = {.n = 1};
  uint64_t type = 0;
  char number[64];
  snprintf(number, sizeof number, "key %ju of %ju", (uintmax_t)i + 1, (uintmax_t)g->n_keys);
  koine_status s = take_name(g, number, &v.key);
  const char *what = v.key ? v.key : number;
  if (!s) s = take_word(g, 4, what, &type);
  if (!s && type == KOI_GGUF_ARRAY) {
    v.array = true;
    s = take_word(g, 4, what, &type);
    if (!s && type == KOI_GGUF_ARRAY) return koi_error(KOINE_ERR_FILE, "%s: %.200s: an array of arrays is not supported", g->file, what);
    if (!s) s = take_word(g, 8, what, &v.n);
  }
  if (s) return s;
  if (type >= KOI_N_GGUF_TYPES) return wrong_type(g, what, type);
  v.type = (koi_gguf_type)type;
  s = take_items(g, what, &v);
  if (!s && g->names) g->t->values[g->t->n++] = v;
  return s;
}

/* ---- tensors ---- */
static koine_status take_shape(scan *g, const char *what, koi_tensor *t)
{
  uint64_t n;
  koine_status s = take_word(g, 4, what, &n);
  if (s) return s;
  if (!n || n > MAX_GGUF_DIMS) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected 1 to %d dimensions, found %ju", g->file, what, MAX_GGUF_DIMS, (uintmax_t)n);
  t->n_dims = (uint32_t)n;
  for (uint32_t d = t->n_dims; d-- > 0 && !s;) { /* the fastest comes first */
    s = take_word(g, 8, what, &t->shape[d]);
    if (!s && !t->shape[d]) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected dimensions of at least 1, found 0", g->file, what);
  }
  if (!s && t->n_dims == MAX_GGUF_DIMS && t->shape[0] == 1) { /* ggml has four dimensions always, and some writers say so: a stack of matrices has three */
    t->n_dims--;
    memmove(t->shape, t->shape + 1, t->n_dims * sizeof *t->shape);
  }
  return s;
}

static koine_status count_bytes(const scan *g, const char *what, koi_tensor *t)
{
  size_t values = koi_dtype_values(t->dtype), n = koi_dtype_bytes(t->dtype);
  uint64_t row = t->shape[t->n_dims - 1];
  if (values && row % values)
    return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected a multiple of %zu values a row in %s, found %ju", g->file, what, values, koi_dtype_name(t->dtype),
                     (uintmax_t)row);
  for (uint32_t d = 0; d < t->n_dims; d++)
    if (!koi_mul(n, (size_t)(d + 1 == t->n_dims && values ? row / values : t->shape[d]), &n))
      return koi_error(KOINE_ERR_FILE, "%s: %.200s: its shape has more than 2^64 bytes", g->file, what);
  t->bytes = n;
  return KOINE_OK;
}

/* The tensor's offset is kept in `data` until the header's end is known. */
static koine_status take_tensor(scan *g, uint64_t i)
{
  koi_tensor t = {.file = g->file, .opened = g->shard->opened};
  uint64_t type = 0, offset = 0;
  char number[64];
  snprintf(number, sizeof number, "tensor %ju of %ju", (uintmax_t)i + 1, (uintmax_t)g->n_tensors);
  koine_status s = take_name(g, number, &t.name);
  const char *what = t.name ? t.name : number;
  if (!s) s = take_shape(g, what, &t);
  if (!s) s = take_word(g, 4, what, &type);
  if (!s) s = take_word(g, 8, what, &offset);
  if (s || !g->names) return s;
  t.dtype = type < KOI_COUNT(stored) ? stored[type] : KOI_DTYPE_OTHER;
  s = count_bytes(g, what, &t);
  uint64_t most = g->w->may_end ? SIZE_MAX / 4 : g->n - g->at;
  t.data = (const uint8_t *)((uintptr_t)g->data + (offset < most ? offset : most));
  if (!s && offset > most)
    s = koi_error(KOINE_ERR_FILE, "%s: %.200s: expected its offset within the file's %zu bytes, found %ju (is the file whole?)", g->file, what, g->n, (uintmax_t)offset);
  return s ? s : koi_weights_add(g->w, &t);
}

/* ---- where the data lie ---- */
static koine_status find_alignment(const scan *g, size_t *out)
{
  const koi_gguf_value *v = koi_gguf_look(g->t, "general.alignment");
  int64_t n = 32;
  if (v && (v->array || !koi_gguf_int(v, 0, &n) || n < 1 || n > MAX_ALIGNMENT || (n & (n - 1))))
    return koi_error(KOINE_ERR_FILE, "%s: general.alignment: expected a power of two up to %d, found %jd", g->file, MAX_ALIGNMENT, (intmax_t)n);
  *out = (size_t)n;
  return KOINE_OK;
}

static int by_place(const void *a, const void *b)
{
  const koi_tensor *x = *(const koi_tensor *const *)a, *y = *(const koi_tensor *const *)b;
  if (x->data != y->data) return x->data < y->data ? -1 : 1;
  return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static koine_status check_overlap(const scan *g, size_t first)
{
  size_t n = g->w->n - first;
  const koi_tensor **t = koi_alloc(n ? n : 1, sizeof *t);
  koine_status s = t ? KOINE_OK : KOINE_ERR_MEMORY;
  for (size_t i = 0; i < n && t; i++) t[i] = &g->w->tensors[first + i];
  if (n && t) qsort(t, n, sizeof *t, by_place);
  for (size_t i = 1; i < n && !s; i++)
    if (t[i]->data < t[i - 1]->data + t[i - 1]->bytes)
      s = koi_error(KOINE_ERR_FILE, "%s: %.200s: its data overlap those of %.200s", g->file, t[i]->name, t[i - 1]->name);
  koi_free(t);
  return s;
}

/* Whether the file may end before its tensors do, and does; they then lie one behind the other, as in every file that was whole once. */
static bool ends_early(scan *g, size_t first, size_t start, size_t align)
{
  size_t at = 0, end = 0;
  for (size_t i = first; g->w->may_end && i < g->w->n; i++) {
    const koi_tensor *t = &g->w->tensors[i];
    if ((uintptr_t)t->data - (uintptr_t)g->data != at || t->bytes > SIZE_MAX / 4 - at) return false;
    end = start + at + t->bytes, at = (at + t->bytes + align - 1) / align * align;
  }
  if (end <= g->n) return false;
  if (!g->w->absent) g->w->absent = koi_format("%s: %zu of its %zu bytes", g->file, end - g->n, end);
  return g->w->absent;
}

/* From offsets behind the header to places in the file. */
static koine_status place(scan *g, size_t first)
{
  size_t align = 1, start;
  koine_status s = find_alignment(g, &align);
  if (s) return s;
  start = (g->at + align - 1) / align * align; /* at is within the file, and align is small */
  bool early = ends_early(g, first, start, align);
  if (g->n_tensors && start > g->n && !early)
    return koi_error(KOINE_ERR_FILE, "%s: expected data at %zu, found the file's end at %zu (is the file whole?)", g->file, start, g->n);
  for (size_t i = first; i < g->w->n; i++) {
    koi_tensor *t = &g->w->tensors[i];
    size_t offset = (size_t)((uintptr_t)t->data - (uintptr_t)g->data);
    if (offset % align) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected an offset that is a multiple of %zu, found %zu", g->file, t->name, align, offset);
    if (!early && (offset > g->n - start || t->bytes > g->n - start - offset))
      return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected its %zu bytes at %zu within %zu bytes of data (is the file whole?)", g->file, t->name, t->bytes, offset,
                       g->n - start);
    t->data = (const uint8_t *)((uintptr_t)g->data + start + offset); /* perhaps beyond the end */
    t->offset = start + offset;
  }
  return check_overlap(g, first);
}

/* ---- the header ---- */
static koine_status take_counts(scan *g)
{
  uint64_t magic = 0, version = 0;
  koine_status s = take_word(g, 4, "header", &magic);
  if (!s && magic != 0x46554747) return koi_error(KOINE_ERR_FILE, "%s: expected a GGUF file, which begins with GGUF", g->file);
  if (!s) s = take_word(g, 4, "version", &version);
  if (!s && (version == 0x02000000 || version == 0x03000000)) return koi_error(KOINE_ERR_FILE, "%s: expected a little-endian GGUF file, found a big-endian one", g->file);
  if (!s && version != 2 && version != 3) return koi_error(KOINE_ERR_FILE, "%s: expected version 2 or 3 of GGUF, found %ju", g->file, (uintmax_t)version);
  if (!s) s = take_word(g, 8, "tensor count", &g->n_tensors);
  if (!s) s = take_word(g, 8, "key count", &g->n_keys);
  if (s) return s;
  const struct { const char *what; uint64_t n; size_t least; } counts[] = {{"tensors", g->n_tensors, LEAST_TENSOR}, {"keys", g->n_keys, LEAST_KEY}};
  for (size_t i = 0; i < KOI_COUNT(counts); i++)
    if (counts[i].n > (g->n - g->at) / counts[i].least)
      return koi_error(KOINE_ERR_FILE, "%s: expected at most %zu %s in %zu bytes, found %ju (is the file whole?)", g->file, (g->n - g->at) / counts[i].least,
                       counts[i].what, g->n, (uintmax_t)counts[i].n);
  return KOINE_OK;
}

static koine_status take_all(scan *g)
{
  koine_status s = take_counts(g);
  for (uint64_t i = 0; i < g->n_keys && !s; i++) s = take_value(g, i);
  for (uint64_t i = 0; i < g->n_tensors && !s; i++) s = take_tensor(g, i);
  return s;
}

koine_status koi_gguf_header(koi_weights *w, koi_shard *shard, koi_gguf_table *t)
{
  scan g = {.shard = shard, .file = shard->path, .data = shard->data, .n = shard->bytes, .w = w, .t = t};
  size_t first = w->n;
  koine_status s = take_all(&g);
  if (s) return s;
  g.names = shard->names = koi_alloc(g.names_bytes + 1, 1);
  t->values = koi_alloc((size_t)g.n_keys + 1, sizeof *t->values);
  if (!g.names || !t->values) return KOINE_ERR_MEMORY;
  g.at = g.names_bytes = 0;
  s = take_all(&g);
  if (!s) s = koi_gguf_sort(t, g.file);
  return s ? s : place(&g, first);
}
