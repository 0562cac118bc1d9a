/* Owns: the pieces, the vocabulary and the merges, and turning one word into ids.
 * Does not: find words, read files.
 * Invariant: of all adjacent pairs that have a merge, the one of lowest rank is merged first, the leftmost of equals. */
#include <limits.h>
#include <string.h>
#include "tok_impl.h"

#define SHORT 32        /* words up to so many bytes are merged by looking at every pair */
#define KEY 26          /* cached words are no longer, */
#define VALUES 8        /* nor are their ids more */
#define MAX_ENTRIES ((size_t)1 << 14)
#define MAX_WORD ((size_t)1 << 30)

struct koi_tok_entry { /* one cache line */
  uint32_t hash;
  uint8_t n_key, n_ids; /* n_key 0: free */
  char key[KEY];
  int32_t ids[VALUES];
};

static uint64_t hash_bytes(const char *s, size_t n)
{
  uint64_t h = n * 0x9E3779B97F4A7C15u, w;
  for (; n >= 8; s += 8, n -= 8) {
    memcpy(&w, s, 8);
    h = (h ^ w) * 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
  }
  w = 0;
  memcpy(&w, s, n);
  h = (h ^ w) * 0xD6E8FEB86659FD93u;
  return h ^ h >> 32;
}

static size_t power_of_two(size_t least)
{
  size_t n = 16;
  while (n < least) n *= 2;
  return n;
}

/* ---- pieces ---- */
void koi_tok_bpe_init(koi_tok_bpe *b)
{
  *b = (koi_tok_bpe){.unk = -1};
  memset(b->byte_id, 0xFF, sizeof b->byte_id);
}

void koi_tok_bpe_clear(koi_tok_bpe *b)
{
  koi_free(b->pool);
  koi_free(b->at);
  koi_free(b->len);
  koi_free(b->flags);
  koi_free(b->slot);
  koi_free(b->merge);
  *b = (koi_tok_bpe){0};
}

bool koi_tok_bpe_unmap(const char *text, size_t n, char *out, size_t *n_out)
{
  size_t k = 0;
  for (size_t i = 0; i < n;) {
    uint32_t code;
    size_t len = koi_utf8_char(text + i, n - i, &code);
    int byte = len ? koi_tok_uni_byte(code) : -1;
    if (byte < 0) return false;
    out[k++] = (char)byte;
    i += len;
  }
  *n_out = k;
  return true;
}

/* Room for `id` and for n bytes more. */
static koine_status grow(koi_tok_bpe *b, int32_t id, size_t n)
{
  if ((size_t)id >= b->cap) {
    size_t cap = (size_t)id + (size_t)id / 2 + 1024;
    size_t *at = koi_realloc(b->at, cap, sizeof *at);
    if (at) b->at = at;
    uint32_t *len = koi_realloc(b->len, cap, sizeof *len);
    if (len) b->len = len;
    uint8_t *flags = koi_realloc(b->flags, cap, sizeof *flags);
    if (flags) b->flags = flags;
    if (!at || !len || !flags) return KOINE_ERR_MEMORY;
    memset(at + b->cap, 0, (cap - b->cap) * sizeof *at);
    memset(len + b->cap, 0, (cap - b->cap) * sizeof *len);
    memset(flags + b->cap, 0, cap - b->cap);
    b->cap = cap;
  }
  size_t need;
  if (n > UINT32_MAX || !koi_add(b->pool_bytes, n, &need) || need > SIZE_MAX / 4) return koi_error(KOINE_ERR_MEMORY, "vocabulary too large");
  if (need > b->pool_cap || !b->pool) {
    char *pool = koi_realloc(b->pool, need * 2 + 4096, 1);
    if (!pool) return KOINE_ERR_MEMORY;
    b->pool = pool, b->pool_cap = need * 2 + 4096;
  }
  return KOINE_OK;
}

koine_status koi_tok_bpe_piece(koi_tok_bpe *b, int32_t id, const char *text, size_t n, unsigned flags)
{
  koine_status s = grow(b, id, n);
  if (s != KOINE_OK) return s;
  char *to = b->pool + b->pool_bytes;
  size_t len = n;
  flags |= KOI_TOK_PIECE_USED;
  if (koi_tok_bpe_unmap(text, n, to, &len)) flags |= KOI_TOK_PIECE_MAPPED;
  else memcpy(to, text, len = n);
  b->at[id] = b->pool_bytes, b->len[id] = (uint32_t)len, b->flags[id] |= (uint8_t)flags;
  b->pool_bytes += len;
  if ((size_t)id >= b->n_vocab) b->n_vocab = (size_t)id + 1;
  return KOINE_OK;
}

static int32_t *slot_of(const koi_tok_bpe *b, const char *bytes, size_t n, bool mapped)
{
  for (size_t i = (hash_bytes(bytes, n) + !mapped) & (b->n_slots - 1);; i = (i + 1) & (b->n_slots - 1)) {
    int32_t id = b->slot[i];
    if (id < 0) return &b->slot[i];
    if (b->len[id] == n && !(b->flags[id] & KOI_TOK_PIECE_MAPPED) == !mapped && memcmp(b->pool + b->at[id], bytes, n) == 0) return &b->slot[i];
  }
}

koine_status koi_tok_bpe_index(koi_tok_bpe *b)
{
  size_t n = power_of_two(2 * b->n_vocab);
  int32_t *slots = koi_realloc(b->slot, n, sizeof *slots);
  if (!slots) return KOINE_ERR_MEMORY;
  memset(slots, 0xFF, n * sizeof *slots);
  b->slot = slots, b->n_slots = n;
  for (size_t id = 0; id < b->n_vocab; id++) {
    if (!(b->flags[id] & KOI_TOK_PIECE_USED)) continue;
    const char *bytes = b->pool + b->at[id];
    bool mapped = b->flags[id] & KOI_TOK_PIECE_MAPPED;
    int32_t *slot = slot_of(b, bytes, b->len[id], mapped);
    if (*slot >= 0) return koi_error(KOINE_ERR_FILE, "ids %d and %zu have the same text", *slot, id);
    *slot = (int32_t)id;
    if (mapped && b->len[id] == 1) b->byte_id[(unsigned char)*bytes] = (int32_t)id;
  }
  return KOINE_OK;
}

int32_t koi_tok_bpe_find(const koi_tok_bpe *b, const char *bytes, size_t n, bool mapped) { return b->n_slots ? *slot_of(b, bytes, n, mapped) : -1; }

koine_status koi_tok_bpe_find_text(const koi_tok_bpe *b, const char *text, size_t n, int32_t *id)
{
  char *bytes = koi_alloc(n ? n : 1, 1);
  size_t len = n;
  if (!bytes) return KOINE_ERR_MEMORY;
  bool mapped = koi_tok_bpe_unmap(text, n, bytes, &len);
  *id = koi_tok_bpe_find(b, mapped ? bytes : text, mapped ? len : n, mapped);
  koi_free(bytes);
  return KOINE_OK;
}

/* ---- merges ---- */
static koi_tok_merge *merge_slot(const koi_tok_bpe *b, int32_t left, int32_t right)
{
  uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
  for (size_t i = (h ^ h >> 32) & (b->n_merges - 1);; i = (i + 1) & (b->n_merges - 1)) {
    koi_tok_merge *m = &b->merge[i];
    if (m->left < 0 || (m->left == left && m->right == right)) return m;
  }
}

koine_status koi_tok_bpe_merges(koi_tok_bpe *b, const koi_tok_merge *v, size_t n)
{
  b->n_merges = power_of_two(2 * n);
  b->merge = koi_alloc(b->n_merges, sizeof *b->merge);
  if (!b->merge) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < b->n_merges; i++) b->merge[i].left = -1;
  for (size_t i = 0; i < n; i++) *merge_slot(b, v[i].left, v[i].right) = v[i];
  return KOINE_OK;
}

/* The rank of a pair, INT32_MAX when it has no merge (or, for plain text, when that would make an added token). */
static inline int32_t rank_of(const koi_tok_bpe *b, bool plain, int32_t left, int32_t right, int32_t *id)
{
  const koi_tok_merge *m = merge_slot(b, left, right);
  if (m->left < 0 || (plain && (b->flags[m->id] & KOI_TOK_PIECE_ADDED))) return INT32_MAX;
  *id = m->id;
  return m->rank;
}

/* ---- words ---- */
koine_status koi_tok_words_init(koi_tok_words *w, size_t n_bytes)
{
  *w = (koi_tok_words){0};
  if (n_bytes < 256) return KOINE_OK; /* too short for words to come back */
  w->n_entries = power_of_two(n_bytes / 4 < MAX_ENTRIES ? n_bytes / 4 : MAX_ENTRIES);
  w->entry = koi_alloc(w->n_entries, sizeof *w->entry);
  return w->entry ? KOINE_OK : KOINE_ERR_MEMORY;
}

void koi_tok_words_clear(koi_tok_words *w)
{
  koi_free(w->entry);
  koi_free(w->scratch);
  *w = (koi_tok_words){0};
}

/* The ids of the bytes; *n_out is less than n only where unknown bytes were fused. */
static koine_status start(const koi_tok_bpe *b, const char *word, size_t n, int32_t *ids, size_t *n_out)
{
  size_t k = 0;
  bool unknown = false;
  for (size_t i = 0; i < n; i++) {
    int32_t id = b->byte_id[(unsigned char)word[i]];
    if (id < 0 && b->unk < 0) return koi_error(KOINE_ERR_FILE, "the tokenizer has no token for byte 0x%02X and no unknown token", (unsigned char)word[i]);
    if (id >= 0 || !unknown || !b->fuse_unk) ids[k++] = id >= 0 ? id : b->unk;
    unknown = id < 0;
  }
  *n_out = k;
  return KOINE_OK;
}

static size_t merge_short(const koi_tok_bpe *b, bool plain, int32_t *ids, size_t n)
{
  int32_t rank[SHORT], made[SHORT];
  for (size_t i = 0; i + 1 < n; i++) rank[i] = rank_of(b, plain, ids[i], ids[i + 1], &made[i]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; i++)
      if (rank[i] < rank[best]) best = i;
    if (rank[best] == INT32_MAX) break;
    ids[best] = made[best];
    n--;
    for (size_t i = best + 1; i < n; i++) ids[i] = ids[i + 1];
    for (size_t i = best; i + 1 < n; i++) rank[i] = rank[i + 1], made[i] = made[i + 1];
    if (best > 0) rank[best - 1] = rank_of(b, plain, ids[best - 1], ids[best], &made[best - 1]);
    if (best + 1 < n) rank[best] = rank_of(b, plain, ids[best], ids[best + 1], &made[best]);
  }
  return n;
}

/* A heap of rank << 32 | position: the lowest rank first, then the leftmost. */
typedef struct heap {
  uint64_t *v;
  size_t n;
} heap;

static void heap_push(heap *h, uint64_t key)
{
  size_t i = h->n++;
  for (; i > 0 && h->v[(i - 1) / 2] > key; i = (i - 1) / 2) h->v[i] = h->v[(i - 1) / 2];
  h->v[i] = key;
}

static uint64_t heap_pop(heap *h)
{
  uint64_t top = h->v[0], key = h->v[--h->n];
  size_t i = 0;
  for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
    if (child + 1 < h->n && h->v[child + 1] < h->v[child]) child++;
    if (h->v[child] >= key) break;
    h->v[i] = h->v[child];
  }
  if (h->n) h->v[i] = key;
  return top;
}

static void consider(const koi_tok_bpe *b, bool plain, heap *h, const int32_t *ids, uint32_t left, uint32_t right)
{
  int32_t id, rank = rank_of(b, plain, ids[left], ids[right], &id);
  if (rank != INT32_MAX) heap_push(h, (uint64_t)(uint32_t)rank << 32 | left);
}

/* ids[0..n) in place; v: [2 * n] keys, next and last: [n] neighbours. A merge adds at most two keys for the one it takes. */
static size_t merge_long(const koi_tok_bpe *b, bool plain, int32_t *ids, size_t n, uint64_t *v, uint32_t *next, uint32_t *last)
{
  heap h = {v, 0};
  uint32_t end = (uint32_t)n;
  for (uint32_t i = 0; i < end; i++) next[i] = i + 1, last[i] = i - 1;
  for (uint32_t i = 0; i + 1 < end; i++) consider(b, plain, &h, ids, i, i + 1);
  while (h.n) {
    uint64_t key = heap_pop(&h);
    uint32_t left = (uint32_t)key, right = next[left];
    int32_t id = -1;
    if (ids[left] < 0 || right == end || rank_of(b, plain, ids[left], ids[right], &id) != (int32_t)(key >> 32)) continue; /* merged since */
    ids[left] = id, ids[right] = -1;
    next[left] = next[right];
    if (next[left] != end) last[next[left]] = left, consider(b, plain, &h, ids, left, next[left]);
    if (left > 0) consider(b, plain, &h, ids, last[left], left);
  }
  size_t k = 0;
  for (uint32_t i = 0; i < end; i = next[i]) ids[k++] = ids[i];
  return k;
}

static koine_status reserve(koi_tok_ids *ids, size_t more)
{
  size_t need;
  if (!koi_add(ids->n, more, &need)) return koi_error(KOINE_ERR_MEMORY, "too many tokens");
  if (need <= ids->cap) return KOINE_OK;
  size_t cap = need + need / 2 + 64;
  int32_t *v = koi_realloc(ids->v, cap, sizeof *v);
  if (!v) return KOINE_ERR_MEMORY;
  ids->v = v, ids->cap = cap;
  return KOINE_OK;
}

koine_status koi_tok_push(koi_tok_ids *ids, int32_t id)
{
  koine_status s = reserve(ids, 1);
  if (s == KOINE_OK) ids->v[ids->n++] = id;
  return s;
}

static koine_status long_word(const koi_tok_bpe *b, koi_tok_words *w, const char *word, size_t n, bool plain, int32_t *out, size_t *n_out)
{
  const size_t each = 2 * sizeof(uint64_t) + 2 * sizeof(uint32_t);
  if (n > MAX_WORD) return koi_error(KOINE_ERR_ARG, "a word of %zu bytes: at most %zu are supported; split the text", n, MAX_WORD);
  if (n * each > w->scratch_bytes) {
    koi_free(w->scratch);
    w->scratch_bytes = 0;
    w->scratch = koi_alloc(n, each);
    if (!w->scratch) return KOINE_ERR_MEMORY;
    w->scratch_bytes = n * each;
  }
  uint64_t *v = w->scratch;
  uint32_t *next = (uint32_t *)(v + 2 * n), *last = next + n;
  koine_status s = start(b, word, n, out, n_out);
  if (s == KOINE_OK) *n_out = merge_long(b, plain, out, *n_out, v, next, last);
  return s;
}

static koine_status word_ids(const koi_tok_bpe *b, koi_tok_words *w, const char *word, size_t n, bool plain, int32_t *out, size_t *n_out)
{
  if (b->ignore_merges) {
    int32_t id = koi_tok_bpe_find(b, word, n, true);
    if (id >= 0 && !(plain && (b->flags[id] & KOI_TOK_PIECE_ADDED))) return out[0] = id, *n_out = 1, KOINE_OK;
  }
  if (n > SHORT) return long_word(b, w, word, n, plain, out, n_out);
  koine_status s = start(b, word, n, out, n_out);
  if (s == KOINE_OK) *n_out = merge_short(b, plain, out, *n_out);
  return s;
}

koine_status koi_tok_bpe_word(const koi_tok_bpe *b, koi_tok_words *w, const char *word, size_t n, bool plain, koi_tok_ids *ids)
{
  koine_status s = reserve(ids, n > VALUES ? n : VALUES);
  if (s != KOINE_OK) return s;
  int32_t *out = ids->v + ids->n;
  size_t n_out = 0;
  koi_tok_entry *e = NULL;
  uint32_t hash = 0;
  if (w->entry && n <= KEY) {
    uint64_t h = hash_bytes(word, n);
    hash = (uint32_t)(h >> 32);
    e = &w->entry[h & (w->n_entries - 1)];
    if (e->hash == hash && e->n_key == n && memcmp(e->key, word, n) == 0) {
      memcpy(out, e->ids, sizeof e->ids);
      ids->n += e->n_ids;
      return KOINE_OK;
    }
  }
  s = word_ids(b, w, word, n, plain, out, &n_out);
  if (s != KOINE_OK) return s;
  ids->n += n_out;
  if (e && n_out <= VALUES) {
    *e = (koi_tok_entry){.hash = hash, .n_key = (uint8_t)n, .n_ids = (uint8_t)n_out};
    memcpy(e->key, word, n);
    memcpy(e->ids, out, n_out * sizeof *out);
  }
  return KOINE_OK;
}
