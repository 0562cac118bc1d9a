/* The header of a shard: every tensor's dtype, shape and range, checked.
 * Owns: the format's rules. Does not know what the tensors mean.
 * Invariant: nothing beyond the header is read, so that opening costs the same however large the data are. */
#include "safetensors_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER_BYTES 100000000u /* the format's own limit */

/* bits of an element; dtypes that no role takes are known for their size only */
static const struct { const char *name; koi_dtype dtype; unsigned bits; } dtypes[] = {
  {"F32", KOI_F32, 32},           {"F16", KOI_F16, 16},           {"BF16", KOI_BF16, 16},         {"F8_E4M3", KOI_F8_E4M3, 8},
  {"F8_E8M0", KOI_F8_E8M0, 8},    {"I8", KOI_I8, 8},              {"U8", KOI_U8, 8},              {"I32", KOI_I32, 32},
  {"I64", KOI_I64, 64},           {"F64", KOI_DTYPE_OTHER, 64},   {"U64", KOI_DTYPE_OTHER, 64},   {"C64", KOI_DTYPE_OTHER, 64},
  {"U32", KOI_DTYPE_OTHER, 32},   {"I16", KOI_DTYPE_OTHER, 16},   {"U16", KOI_DTYPE_OTHER, 16},   {"F8_E5M2", KOI_DTYPE_OTHER, 8},
  {"F8_E4M3FNUZ", KOI_DTYPE_OTHER, 8}, {"F8_E5M2FNUZ", KOI_DTYPE_OTHER, 8}, {"BOOL", KOI_DTYPE_OTHER, 8},
  {"F6_E2M3", KOI_DTYPE_OTHER, 6}, {"F6_E3M2", KOI_DTYPE_OTHER, 6}, {"F4", KOI_DTYPE_OTHER, 4},
};

typedef struct entry { /* one tensor's description */
  const char *name;
  bool has_dtype, has_shape, has_offsets;
  koi_dtype dtype;
  unsigned bits; /* 0: a dtype this table does not know */
  uint32_t n_dims;
  uint64_t shape[KOI_MAX_DIMS], begin, end;
} entry;

koine_status koi_safetensors_wrong(const koi_safetensors_scan *h, const char *name)
{
  char where[300];
  snprintf(where, sizeof where, "%s%s%.200s", h->part, name ? ": " : "", name ? name : "");
  koine_status s = koi_jscan_error(&h->j, where);
  return s == KOINE_ERR_FILE ? koi_error_prefix(s, "%s", h->file) : s;
}

bool koi_safetensors_printable(const char *s)
{
  for (; *s; s++)
    if ((unsigned char)*s < 0x20 || *s == 0x7f) return false;
  return true;
}

const char *koi_safetensors_bare(const char *name) { return strncmp(name, "model.", 6) ? name : name + 6; }

/* ---- one tensor's description ---- */
static koine_status read_dtype(koi_safetensors_scan *h, entry *e)
{
  char text[24];
  if (e->has_dtype) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected one dtype, found two", h->file, e->name);
  if (!koi_jscan_string(&h->j, text, sizeof text, NULL)) return koi_safetensors_wrong(h, e->name);
  e->has_dtype = true, e->dtype = KOI_DTYPE_OTHER;
  for (size_t i = 0; i < KOI_COUNT(dtypes); i++)
    if (!strcmp(text, dtypes[i].name)) e->dtype = dtypes[i].dtype, e->bits = dtypes[i].bits;
  return KOINE_OK;
}

static koine_status read_shape(koi_safetensors_scan *h, entry *e)
{
  if (e->has_shape) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected one shape, found two", h->file, e->name);
  if (!koi_jscan_open(&h->j, '[')) return koi_safetensors_wrong(h, e->name);
  for (size_t n = 0; koi_jscan_more(&h->j, ']', &n);) {
    if (n > KOI_MAX_DIMS) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected at most %d dimensions, found more", h->file, e->name, KOI_MAX_DIMS);
    if (!koi_jscan_u64(&h->j, &e->shape[n - 1])) break;
    e->n_dims = (uint32_t)n;
  }
  e->has_shape = true;
  return h->j.wrong ? koi_safetensors_wrong(h, e->name) : KOINE_OK;
}

static koine_status read_offsets(koi_safetensors_scan *h, entry *e)
{
  uint64_t v[2];
  size_t n = 0;
  if (e->has_offsets) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected one data_offsets, found two", h->file, e->name);
  if (!koi_jscan_open(&h->j, '[')) return koi_safetensors_wrong(h, e->name);
  while (koi_jscan_more(&h->j, ']', &n) && n <= 2)
    if (!koi_jscan_u64(&h->j, &v[n - 1])) break;
  if (h->j.wrong) return koi_safetensors_wrong(h, e->name);
  if (n != 2) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected two data_offsets, found %s", h->file, e->name, n > 2 ? "more" : "fewer");
  e->has_offsets = true, e->begin = v[0], e->end = v[1];
  return KOINE_OK;
}

static koine_status check_range(const koi_safetensors_scan *h, const entry *e)
{
  const char *absent = !e->has_dtype ? "dtype" : !e->has_shape ? "shape" : !e->has_offsets ? "data_offsets" : NULL;
  if (absent) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected a %s, found none", h->file, e->name, absent);
  if (e->begin > e->end || e->end > h->data_bytes)
    return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected offsets within %zu bytes of data, found %ju to %ju%s", h->file, e->name,
                     h->data_bytes, (uintmax_t)e->begin, (uintmax_t)e->end, e->begin > e->end ? "" : " (is the file whole?)");
  if (!e->bits) return KOINE_OK; /* a role that needs it will refuse it */
  size_t n = e->bits;
  for (uint32_t i = 0; i < e->n_dims; i++)
    if (!koi_mul(n, e->shape[i], &n)) return koi_error(KOINE_ERR_FILE, "%s: %.200s: its shape has more than 2^64 bits", h->file, e->name);
  if (n % 8 || n / 8 != e->end - e->begin)
    return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected %zu%s bytes for its shape and dtype, found %ju", h->file, e->name, n / 8,
                     n % 8 ? " and a part" : "", (uintmax_t)(e->end - e->begin));
  return KOINE_OK;
}

static koine_status read_entry(koi_safetensors_scan *h, koi_weights *w, const char *name)
{
  static const struct { const char *key; koine_status (*read)(koi_safetensors_scan *, entry *); } fields[] = {
    {"dtype", read_dtype}, {"shape", read_shape}, {"data_offsets", read_offsets}};
  entry e = {.name = name};
  if (!koi_jscan_open(&h->j, '{')) return koi_safetensors_wrong(h, name);
  for (size_t n = 0; koi_jscan_more(&h->j, '}', &n);) {
    char key[64];
    size_t i = 0;
    if (!koi_jscan_key(&h->j, key, sizeof key, NULL)) break;
    while (i < KOI_COUNT(fields) && strcmp(key, fields[i].key)) i++;
    if (i == KOI_COUNT(fields)) {
      if (!koi_jscan_skip(&h->j)) break;
      continue;
    }
    koine_status s = fields[i].read(h, &e);
    if (s) return s;
  }
  if (h->j.wrong) return koi_safetensors_wrong(h, name);
  koine_status s = check_range(h, &e);
  if (s) return s;
  koi_tensor t = {.name = name, .file = h->file, .dtype = e.dtype, .n_dims = e.n_dims, .data = h->data + e.begin, .bytes = e.end - e.begin,
                  .offset = h->start + e.begin, .opened = h->opened};
  memcpy(t.shape, e.shape, sizeof t.shape);
  return koi_weights_add(w, &t);
}

/* ---- a header ---- */
static koine_status read_metadata(koi_safetensors_scan *h)
{
  if (!koi_jscan_open(&h->j, '{')) return koi_safetensors_wrong(h, "__metadata__");
  for (size_t n = 0; koi_jscan_more(&h->j, '}', &n);)
    if (!koi_jscan_key(&h->j, NULL, 0, NULL) || !koi_jscan_string(&h->j, NULL, 0, NULL)) break;
  return h->j.wrong ? koi_safetensors_wrong(h, "__metadata__") : KOINE_OK;
}

static int by_range(const void *a, const void *b)
{
  const koi_tensor *x = *(const koi_tensor *const *)a, *y = *(const koi_tensor *const *)b;
  if (x->data != y->data) return x->data < y->data ? -1 : 1;
  return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The tensors from `first` on are one file's: together they must cover its data once. */
static koine_status check_cover(const koi_safetensors_scan *h, const koi_weights *w, size_t first)
{
  size_t n = w->n - first, at = 0;
  const koi_tensor **t = koi_alloc(n, sizeof *t), *last = NULL;
  koine_status s = KOINE_OK;
  if (!t) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < n; i++) t[i] = &w->tensors[first + i];
  if (n) qsort(t, n, sizeof *t, by_range);
  for (size_t i = 0; i < n && !s; i++) {
    size_t begin = (size_t)(t[i]->data - h->data);
    if (begin < at) s = koi_error(KOINE_ERR_FILE, "%s: %.200s: its data overlap those of %.200s", h->file, t[i]->name, last->name);
    else if (begin > at)
      s = koi_error(KOINE_ERR_FILE, "%s: %.200s: expected its data at offset %zu, found a hole up to %zu", h->file, t[i]->name, at, begin);
    at = begin + t[i]->bytes, last = t[i];
  }
  if (!s && at != h->data_bytes)
    s = koi_error(KOINE_ERR_FILE, "%s: expected %zu bytes of data behind the header as its tensors say, found %zu", h->file, at, h->data_bytes);
  koi_free(t);
  return s;
}

static koine_status read_members(koi_safetensors_scan *h, koi_weights *w)
{
  bool metadata = false;
  koine_status s = KOINE_OK;
  if (!koi_jscan_open(&h->j, '{')) return koi_safetensors_wrong(h, NULL);
  for (size_t n = 0; !s && koi_jscan_more(&h->j, '}', &n);) {
    size_t len;
    char *name = h->names + h->used;
    if (!koi_jscan_key(&h->j, name, h->j.n + 1 - h->used, &len)) break;
    h->used += len + 1;
    if (!koi_safetensors_printable(name)) return koi_error(KOINE_ERR_FILE, "%s: header byte %zu: a tensor's name has a control character", h->file, h->j.at);
    if (strcmp(name, "__metadata__")) s = read_entry(h, w, koi_safetensors_bare(name));
    else if (metadata) s = koi_error(KOINE_ERR_FILE, "%s: expected one __metadata__, found two", h->file);
    else s = read_metadata(h), metadata = true;
  }
  if (s) return s;
  return koi_jscan_end(&h->j) ? KOINE_OK : koi_safetensors_wrong(h, NULL);
}

koine_status koi_safetensors_header(koi_weights *w, koi_shard *shard)
{
  uint64_t n = 0;
  size_t first = w->n;
  if (shard->bytes < 8) return koi_error(KOINE_ERR_FILE, "%s: expected at least 8 bytes, found %zu", shard->path, shard->bytes);
  for (int i = 8; i-- > 0;) n = n << 8 | shard->data[i];
  if (n > MAX_HEADER_BYTES || n > shard->bytes - 8)
    return koi_error(KOINE_ERR_FILE, "%s: expected a header of at most %zu bytes, found one of %ju bytes (is the file whole?)", shard->path,
                     shard->bytes - 8 < MAX_HEADER_BYTES ? shard->bytes - 8 : MAX_HEADER_BYTES, (uintmax_t)n);
  koine_status s = koi_shard_hold(shard, 8 + (size_t)n);
  if (s) return s;
  if (!n || shard->data[8] != '{') return koi_error(KOINE_ERR_FILE, "%s: expected a header that begins with '{'", shard->path);
  koi_safetensors_scan h = {.file = shard->path, .part = "header", .j = {.s = (const char *)shard->data + 8, .n = (size_t)n}};
  h.data = shard->data + 8 + n, h.data_bytes = shard->bytes - 8 - (size_t)n;
  h.names = shard->names = koi_alloc((size_t)n + 1, 1);
  if (!h.names) return KOINE_ERR_MEMORY;
  h.opened = shard->opened, h.start = 8 + n;
  s = read_members(&h, w);
  return s ? s : check_cover(&h, w, first);
}
