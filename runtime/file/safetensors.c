/* Reads safetensors: maps a folder's shards, checks every header, fills the table of tensors.
 * Owns: the format's rules (formats.md, section 1). Does not know what the tensors mean.
 * Invariant: nothing beyond the header is read, so that opening costs the same however large the data are. */
#include "base/jscan.h"
#include "base/kind.h"
#include "weights_table.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_HEADER_BYTES 100000000u /* the format's own limit */
#define MAX_INDEX_BYTES ((size_t)256 << 20) /* a million tensors */

/* bits of an element; dtypes that no role takes are known for their size only */
static const struct { const char *name; koi_dtype dtype; unsigned bits; } dtypes[] = {
  {"F32", KOI_F32, 32},           {"F16", KOI_F16, 16},           {"BF16", KOI_BF16, 16},         {"F8_E4M3", KOI_F8_E4M3, 8},
  {"F8_E8M0", KOI_F8_E8M0, 8},    {"I8", KOI_I8, 8},              {"U8", KOI_U8, 8},              {"I32", KOI_I32, 32},
  {"I64", KOI_I64, 64},           {"F64", KOI_DTYPE_OTHER, 64},   {"U64", KOI_DTYPE_OTHER, 64},   {"C64", KOI_DTYPE_OTHER, 64},
  {"U32", KOI_DTYPE_OTHER, 32},   {"I16", KOI_DTYPE_OTHER, 16},   {"U16", KOI_DTYPE_OTHER, 16},   {"F8_E5M2", KOI_DTYPE_OTHER, 8},
  {"F8_E4M3FNUZ", KOI_DTYPE_OTHER, 8}, {"F8_E5M2FNUZ", KOI_DTYPE_OTHER, 8}, {"BOOL", KOI_DTYPE_OTHER, 8},
  {"F6_E2M3", KOI_DTYPE_OTHER, 6}, {"F6_E3M2", KOI_DTYPE_OTHER, 6}, {"F4", KOI_DTYPE_OTHER, 4},
};

typedef struct header { /* one header or index being read */
  const char *file, *part;
  koi_jscan j;
  char *names; /* room for every name of the header */
  size_t used;
  const uint8_t *data; /* behind the header */
  size_t data_bytes;
} header;

typedef struct entry { /* one tensor's description */
  const char *name;
  bool has_dtype, has_shape, has_offsets;
  koi_dtype dtype;
  unsigned bits; /* 0: a dtype this table does not know */
  uint32_t n_dims;
  uint64_t shape[KOI_MAX_DIMS], begin, end;
} entry;

static koine_status wrong_json(const header *h, const char *name)
{
  char where[300];
  snprintf(where, sizeof where, "%s%s%.200s", h->part, name ? ": " : "", name ? name : "");
  koine_status s = koi_jscan_error(&h->j, where);
  return s == KOINE_ERR_FILE ? koi_error_prefix(s, "%s", h->file) : s;
}

/* A name that can stand in a one-line message. */
static bool printable(const char *s)
{
  for (; *s; s++)
    if ((unsigned char)*s < 0x20 || *s == 0x7f) return false;
  return true;
}

/* ---- one tensor's description ---- */
static koine_status read_dtype(header *h, entry *e)
{
  char text[24];
  if (e->has_dtype) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected one dtype, found two", h->file, e->name);
  if (!koi_jscan_string(&h->j, text, sizeof text, NULL)) return wrong_json(h, e->name);
  e->has_dtype = true, e->dtype = KOI_DTYPE_OTHER;
  for (size_t i = 0; i < KOI_COUNT(dtypes); i++)
    if (!strcmp(text, dtypes[i].name)) e->dtype = dtypes[i].dtype, e->bits = dtypes[i].bits;
  return KOINE_OK;
}

static koine_status read_shape(header *h, entry *e)
{
  if (e->has_shape) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected one shape, found two", h->file, e->name);
  if (!koi_jscan_open(&h->j, '[')) return wrong_json(h, e->name);
  for (size_t n = 0; koi_jscan_more(&h->j, ']', &n);) {
    if (n > KOI_MAX_DIMS) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected at most %d dimensions, found more", h->file, e->name, KOI_MAX_DIMS);
    if (!koi_jscan_u64(&h->j, &e->shape[n - 1])) break;
    e->n_dims = (uint32_t)n;
  }
  e->has_shape = true;
  return h->j.wrong ? wrong_json(h, e->name) : KOINE_OK;
}

static koine_status read_offsets(header *h, entry *e)
{
  uint64_t v[2];
  size_t n = 0;
  if (e->has_offsets) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected one data_offsets, found two", h->file, e->name);
  if (!koi_jscan_open(&h->j, '[')) return wrong_json(h, e->name);
  while (koi_jscan_more(&h->j, ']', &n) && n <= 2)
    if (!koi_jscan_u64(&h->j, &v[n - 1])) break;
  if (h->j.wrong) return wrong_json(h, e->name);
  if (n != 2) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected two data_offsets, found %s", h->file, e->name, n > 2 ? "more" : "fewer");
  e->has_offsets = true, e->begin = v[0], e->end = v[1];
  return KOINE_OK;
}

static koine_status check_range(const header *h, const entry *e)
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

static koine_status read_entry(header *h, koi_weights *w, const char *name)
{
  static const struct { const char *key; koine_status (*read)(header *, entry *); } fields[] = {
    {"dtype", read_dtype}, {"shape", read_shape}, {"data_offsets", read_offsets}};
  entry e = {.name = name};
  if (!koi_jscan_open(&h->j, '{')) return wrong_json(h, name);
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
  if (h->j.wrong) return wrong_json(h, name);
  koine_status s = check_range(h, &e);
  if (s) return s;
  koi_tensor t = {.name = name, .file = h->file, .dtype = e.dtype, .n_dims = e.n_dims, .data = h->data + e.begin, .bytes = e.end - e.begin};
  memcpy(t.shape, e.shape, sizeof t.shape);
  return koi_weights_add(w, &t);
}

/* ---- a header ---- */
static koine_status read_metadata(header *h)
{
  if (!koi_jscan_open(&h->j, '{')) return wrong_json(h, "__metadata__");
  for (size_t n = 0; koi_jscan_more(&h->j, '}', &n);)
    if (!koi_jscan_key(&h->j, NULL, 0, NULL) || !koi_jscan_string(&h->j, NULL, 0, NULL)) break;
  return h->j.wrong ? wrong_json(h, "__metadata__") : KOINE_OK;
}

static int by_range(const void *a, const void *b)
{
  const koi_tensor *x = *(const koi_tensor *const *)a, *y = *(const koi_tensor *const *)b;
  if (x->data != y->data) return x->data < y->data ? -1 : 1;
  return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The tensors from `first` on are one file's: together they must cover its data once. */
static koine_status check_cover(const header *h, const koi_weights *w, size_t first)
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

/* Where the names begin in the table: without a leading "model.". */
static const char *bare(const char *name) { return strncmp(name, "model.", 6) ? name : name + 6; }

static koine_status read_members(header *h, koi_weights *w)
{
  bool metadata = false;
  koine_status s = KOINE_OK;
  if (!koi_jscan_open(&h->j, '{')) return wrong_json(h, NULL);
  for (size_t n = 0; !s && koi_jscan_more(&h->j, '}', &n);) {
    size_t len;
    char *name = h->names + h->used;
    if (!koi_jscan_key(&h->j, name, h->j.n + 1 - h->used, &len)) break;
    h->used += len + 1;
    if (!printable(name)) return koi_error(KOINE_ERR_FILE, "%s: header byte %zu: a tensor's name has a control character", h->file, h->j.at);
    if (strcmp(name, "__metadata__")) s = read_entry(h, w, bare(name));
    else if (metadata) s = koi_error(KOINE_ERR_FILE, "%s: expected one __metadata__, found two", h->file);
    else s = read_metadata(h), metadata = true;
  }
  if (s) return s;
  return koi_jscan_end(&h->j) ? KOINE_OK : wrong_json(h, NULL);
}

/* Reads the header of `shard`, whose path, data and bytes are set. */
static koine_status read_shard(koi_weights *w, koi_shard *shard)
{
  uint64_t n = 0;
  size_t first = w->n;
  if (shard->bytes < 8) return koi_error(KOINE_ERR_FILE, "%s: expected at least 8 bytes, found %zu", shard->path, shard->bytes);
  for (int i = 8; i-- > 0;) n = n << 8 | shard->data[i];
  if (n > MAX_HEADER_BYTES || n > shard->bytes - 8)
    return koi_error(KOINE_ERR_FILE, "%s: expected a header of at most %zu bytes, found one of %ju bytes (is the file whole?)", shard->path,
                     shard->bytes - 8 < MAX_HEADER_BYTES ? shard->bytes - 8 : MAX_HEADER_BYTES, (uintmax_t)n);
  if (!n || shard->data[8] != '{') return koi_error(KOINE_ERR_FILE, "%s: expected a header that begins with '{'", shard->path);
  header h = {.file = shard->path, .part = "header", .j = {.s = (const char *)shard->data + 8, .n = (size_t)n}};
  h.data = shard->data + 8 + n, h.data_bytes = shard->bytes - 8 - (size_t)n;
  h.names = shard->names = koi_alloc((size_t)n + 1, 1);
  if (!h.names) return KOINE_ERR_MEMORY;
  koine_status s = read_members(&h, w);
  return s ? s : check_cover(&h, w, first);
}

static koine_status map_shard(koi_shard *shard)
{
  koine_status s = koi_kind_check(shard->path);
  if (s) return s;
  int fd = open(shard->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return koi_error(KOINE_ERR_FILE, "%s: cannot open: %s", shard->path, strerror(errno));
  struct stat st;
  if (fstat(fd, &st) || !S_ISREG(st.st_mode)) s = koi_error(KOINE_ERR_FILE, "%s: expected a regular file", shard->path);
  else if (!st.st_size) s = koi_error(KOINE_ERR_FILE, "%s: expected at least 8 bytes, found an empty file: download it again", shard->path);
  else if (st.st_size < 8) s = koi_error(KOINE_ERR_FILE, "%s: expected at least 8 bytes, found %jd", shard->path, (intmax_t)st.st_size);
  else {
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) s = koi_error(KOINE_ERR_MEMORY, "%s: cannot map %jd bytes: %s", shard->path, (intmax_t)st.st_size, strerror(errno));
    else shard->mapped = p, shard->data = p, shard->bytes = (size_t)st.st_size;
  }
  close(fd);
  return s;
}

/* ---- the index ---- */
typedef struct place { const char *name, *file; } place; /* one entry of weight_map */
typedef struct map {
  char *text; /* names and files of the links */
  size_t used, size;
  place *links; /* [n] of cap */
  size_t n, cap;
  const char **files; /* [n_files], sorted, each once */
  size_t n_files;
} map;

static void map_free(map *m)
{
  koi_free(m->text);
  koi_free(m->links);
  koi_free(m->files);
}

static koine_status add_link(map *m, place l)
{
  if (m->n == m->cap) {
    size_t cap = m->cap ? m->cap * 2 : 256;
    place *p = koi_realloc(m->links, cap, sizeof *p);
    if (!p) return KOINE_ERR_MEMORY;
    m->links = p, m->cap = cap;
  }
  m->links[m->n++] = l;
  return KOINE_OK;
}

static koine_status read_links(header *h, map *m)
{
  if (!koi_jscan_open(&h->j, '{')) return wrong_json(h, "weight_map");
  for (size_t n = 0; koi_jscan_more(&h->j, '}', &n);) {
    size_t len;
    char *name = m->text + m->used, *file;
    if (!koi_jscan_key(&h->j, name, m->size - m->used, &len)) break;
    file = name + len + 1, m->used += len + 1;
    if (!koi_jscan_string(&h->j, file, m->size - m->used, &len)) break;
    m->used += len + 1;
    if (!printable(name) || !printable(file)) return koi_error(KOINE_ERR_FILE, "%s: byte %zu: a name has a control character", h->file, h->j.at);
    if (!*file || strchr(file, '/') || !strcmp(file, ".") || !strcmp(file, ".."))
      return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected the name of a file in this folder, found \"%.200s\"", h->file, name, file);
    koine_status s = add_link(m, (place){bare(name), file});
    if (s) return s;
  }
  return h->j.wrong ? wrong_json(h, "weight_map") : KOINE_OK;
}

/* total_size is a hint: one that is no integer counts as absent. */
static koine_status read_total(header *h, uint64_t *total)
{
  if (koi_jscan_peek(&h->j) != '{') return koi_jscan_skip(&h->j) ? KOINE_OK : wrong_json(h, "metadata");
  h->j.at++;
  for (size_t n = 0; koi_jscan_more(&h->j, '}', &n);) {
    char key[64];
    if (!koi_jscan_key(&h->j, key, sizeof key, NULL)) break;
    koi_jscan probe = h->j;
    if (!strcmp(key, "total_size")) koi_jscan_u64(&probe, total);
    if (!koi_jscan_skip(&h->j)) break;
  }
  return h->j.wrong ? wrong_json(h, "metadata") : KOINE_OK;
}

static int by_link(const void *a, const void *b) { return strcmp(((const place *)a)->name, ((const place *)b)->name); }
static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Sorts the links, refuses doubles, lists the files. */
static koine_status order(const header *h, map *m)
{
  if (!m->n) return koi_error(KOINE_ERR_FILE, "%s: expected a weight_map with tensors, found none", h->file);
  qsort(m->links, m->n, sizeof *m->links, by_link);
  for (size_t i = 1; i < m->n; i++)
    if (!strcmp(m->links[i - 1].name, m->links[i].name))
      return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected every tensor once, found it twice (perhaps with and without \"model.\")", h->file,
                       m->links[i].name);
  if (!(m->files = koi_alloc(m->n, sizeof *m->files))) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < m->n; i++) m->files[i] = m->links[i].file;
  qsort(m->files, m->n, sizeof *m->files, by_text);
  for (size_t i = 0; i < m->n; i++)
    if (!m->n_files || strcmp(m->files[m->n_files - 1], m->files[i])) m->files[m->n_files++] = m->files[i];
  return KOINE_OK;
}

static koine_status read_index(koi_weights *w, const char *file, const char *text, size_t n, map *m)
{
  header h = {.file = file, .part = "index", .j = {.s = text, .n = n}};
  bool seen = false;
  koine_status s = KOINE_OK;
  m->size = n + 1;
  if (!(m->text = koi_alloc(m->size, 1))) return KOINE_ERR_MEMORY;
  if (!koi_jscan_open(&h.j, '{')) return wrong_json(&h, NULL);
  for (size_t i = 0; !s && koi_jscan_more(&h.j, '}', &i);) {
    char key[64];
    if (!koi_jscan_key(&h.j, key, sizeof key, NULL)) break;
    if (!strcmp(key, "metadata")) s = read_total(&h, &w->index.total_bytes);
    else if (strcmp(key, "weight_map")) s = koi_jscan_skip(&h.j) ? KOINE_OK : wrong_json(&h, NULL);
    else if (seen) s = koi_error(KOINE_ERR_FILE, "%s: expected one weight_map, found two", file);
    else s = read_links(&h, m), seen = true;
  }
  if (!s && !koi_jscan_end(&h.j)) s = wrong_json(&h, NULL);
  if (!s) s = order(&h, m);
  if (s) return s;
  w->index.n_tensors = m->n, w->index.n_files = m->n_files;
  for (size_t i = 0; i < m->n; i++) w->index.n_mtp += !strncmp(m->links[i].name, "mtp.", 4);
  return KOINE_OK;
}

/* Every tensor lies where the index says. */
static koine_status check_links(const koi_weights *w, const map *m, const char *index)
{
  for (size_t i = 0; i < m->n; i++) {
    const koi_tensor *t = koi_weights_find(w, m->links[i].name);
    if (!t) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected in %s, found in no shard", index, m->links[i].name, m->links[i].file);
    const char *slash = strrchr(t->file, '/'), *name = slash ? slash + 1 : t->file;
    if (strcmp(name, m->links[i].file))
      return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected in %s by the index, found here", t->file, t->name, m->links[i].file);
  }
  if (w->n > m->n) koi_log(KOINE_LOG_WARNING, "%s: %zu tensors are in the shards but not in this index", index, w->n - m->n);
  return KOINE_OK;
}

/* ---- a folder ---- */
/* Adds a shard for `path` (taken over); NULL when memory is out. */
static koi_shard *add_shard(koi_weights *w, char *path)
{
  koi_shard *p = path ? koi_realloc(w->shards, w->n_shards + 1, sizeof *p) : NULL;
  if (!p) return koi_free(path), NULL;
  w->shards = p;
  p += w->n_shards++;
  *p = (koi_shard){.path = path};
  return p;
}

static koine_status open_files(koi_weights *w, const char *folder, const char *const *files, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    koi_shard *shard = add_shard(w, koi_format("%s/%s", folder, files[i]));
    koine_status s = shard ? map_shard(shard) : KOINE_ERR_MEMORY;
    if (!s) s = read_shard(w, shard);
    if (s) return s;
  }
  return koi_weights_seal(w);
}

/* How many of the files are there; *absent gets the path of the first that is not. */
static koine_status count_present(const char *folder, const char *const *files, size_t n, size_t *present, char **absent)
{
  *present = 0;
  for (size_t i = 0; i < n; i++) {
    char *path = koi_format("%s/%s", folder, files[i]);
    struct stat st;
    if (!path) return KOINE_ERR_MEMORY;
    koine_status s = koi_kind_check(path); /* what is no shard is said before what is missing */
    if (s) return koi_free(path), s;
    if (!stat(path, &st)) ++*present;
    else if (!*absent) {
      *absent = path;
      continue;
    }
    koi_free(path);
  }
  return KOINE_OK;
}

static bool ends_with(const char *text, const char *end)
{
  size_t n = strlen(text), m = strlen(end);
  return n > m && !strcmp(text + n - m, end);
}

/* "ANY-12-of-345.safetensors", whatever the number of digits. */
static bool like_shard(const char *name)
{
  const char *of = strstr(name, "-of-");
  return of && of > name && of[-1] >= '0' && of[-1] <= '9' && of[4] >= '0' && of[4] <= '9' && ends_with(name, ".safetensors");
}

/* Weights of other forms beside a config: the folder can be described, and it is said what was passed over. */
static void tell_others(const char *folder, const char *name)
{
  static const char *const ends[] = {".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt", ".part", ".partial", ".incomplete", ".crdownload", ".download", ".aria2", ".SAFETENSORS", ".GGUF"};
  for (size_t i = 0; i < KOI_COUNT(ends); i++)
    if (ends_with(name, ends[i]))
      koi_log(KOINE_LOG_WARNING, "%s: %s is not read: expected model.safetensors, or shards with model.safetensors.index.json", folder, name);
}

/* Without an index, files named like shards mean that the index is what is missing. */
static koine_status check_no_shards(const char *folder)
{
  koine_status s = KOINE_OK;
  DIR *d = opendir(folder);
  for (struct dirent *e; d && !s && (e = readdir(d));) {
    if (!like_shard(e->d_name)) {
      tell_others(folder, e->d_name);
      continue;
    }
    char *path = koi_format("%s/%s", folder, e->d_name);
    s = path ? koi_kind_check(path) : KOINE_ERR_MEMORY; /* a pointer in place of the shard: the index is not all that is missing */
    koi_free(path);
    if (!s) s = koi_error(KOINE_ERR_FILE, "%s: expected model.safetensors.index.json or model.safetensors beside %s, found neither", folder, e->d_name);
  }
  if (d) closedir(d);
  return s;
}

static koine_status open_some(koi_weights *w, const char *folder, const char *const *files, size_t n)
{
  size_t present;
  koine_status s = count_present(folder, files, n, &present, &w->absent);
  if (s || !present) return s;
  if (w->absent) return koi_error(KOINE_ERR_FILE, "%s: expected this shard as the index names it, found no such file", w->absent);
  return open_files(w, folder, files, n);
}

static koine_status open_indexed(koi_weights *w, const char *folder, const char *index)
{
  map m = {0};
  char *text = NULL;
  size_t n;
  koine_status s = koi_file_read(index, MAX_INDEX_BYTES, &text, &n);
  if (!s) s = read_index(w, index, text, n, &m);
  koi_free(text);
  if (!s) s = open_some(w, folder, m.files, m.n_files);
  if (!s && !w->absent) s = check_links(w, &m, index);
  map_free(&m);
  return s;
}

static koine_status finish(koi_weights *w, koine_status s, koi_weights **out)
{
  if (s) koi_weights_close(w);
  else *out = w;
  return s;
}

koine_status koi_safetensors_open(const char *path, koi_weights **out)
{
  static const char *const single[] = {"model.safetensors"};
  struct stat st;
  char *index = koi_format("%s/model.safetensors.index.json", path);
  koi_weights *w = index ? koi_alloc(1, sizeof *w) : NULL;
  koine_status s = w ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!s && !stat(index, &st)) s = S_ISREG(st.st_mode) ? open_indexed(w, path, index) : koi_error(KOINE_ERR_FILE, "%s: expected a regular file", index);
  else if (!s) {
    s = open_some(w, path, single, 1);
    if (!s && w->absent) s = check_no_shards(path);
  }
  koi_free(index);
  return finish(w, s, out);
}

koine_status koi_safetensors_open_file(const char *file, koi_weights **out)
{
  koi_weights *w = koi_alloc(1, sizeof *w);
  koi_shard *shard = w ? add_shard(w, koi_strdup(file)) : NULL;
  koine_status s = shard ? map_shard(shard) : KOINE_ERR_MEMORY;
  if (!s) s = read_shard(w, shard);
  if (!s) s = koi_weights_seal(w);
  return finish(w, s, out);
}

koine_status koi_safetensors_open_memory(const void *data, size_t bytes, const char *name, koi_weights **out)
{
  koi_weights *w = koi_alloc(1, sizeof *w);
  koi_shard *shard = w ? add_shard(w, koi_strdup(name)) : NULL;
  koine_status s = shard ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!s) shard->data = data, shard->bytes = bytes, s = read_shard(w, shard);
  if (!s) s = koi_weights_seal(w);
  return finish(w, s, out);
}
