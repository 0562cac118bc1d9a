/* Owns: reading the vocabulary and the merges of tokenizer.json in one pass: they are most of its megabytes.
 * Does not: read the rest of the file, which it hands on.
 * Invariant: every merge joins two tokens of the vocabulary into a third. */
#include <string.h>
#include "base/jscan.h"
#include "tok_impl.h"

typedef struct tables {
  koi_jscan j;
  koi_tok_bpe *b;
  char *buffer;          /* [n_buffer] for texts with escapes, and for the bytes of a merge */
  size_t n_buffer;
  bool have_vocab;
  size_t late_merges;    /* where merges begin that came before the vocabulary; 0: nowhere */
  koi_tok_merge *merge;  /* [n_merges] */
  size_t n_merges, cap;
  koi_text rest;
  size_t copied;         /* how much of the text is in rest, or left out of it */
} tables;

static koine_status wrong(const tables *t, const char *where)
{
  return t->j.wrong ? koi_jscan_error(&t->j, where) : koi_error(KOINE_ERR_FILE, "%s: byte %zu: expected another value", where, t->j.at);
}

/* Whether c comes next. White space is passed over at once: a pretty-printed table is full of it. */
static bool ahead(tables *t, char c)
{
  while (t->j.at < t->j.n && (t->j.s[t->j.at] == ' ' || t->j.s[t->j.at] == '\n')) t->j.at++;
  return (t->j.at < t->j.n && t->j.s[t->j.at] == c) || koi_jscan_peek(&t->j) == c;
}

static bool more(tables *t, char close, size_t *n)
{
  ahead(t, ',');
  return koi_jscan_more(&t->j, close, n);
}

/* A string as a slice of the text where it has no escape, else decoded into the buffer. The slice need not be UTF-8. */
static bool string(tables *t, const char **s, size_t *n)
{
  if (!t->j.wrong && ahead(t, '"')) {
    const char *from = t->j.s + t->j.at + 1, *end = t->j.s + t->j.n, *p = from;
    while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20) p++;
    if (p < end && *p == '"') {
      t->j.at = (size_t)(p + 1 - t->j.s);
      return *s = from, *n = (size_t)(p - from), true;
    }
  }
  *s = t->buffer;
  return koi_jscan_string(&t->j, t->buffer, t->n_buffer, n);
}

static bool utf8(const char *s, size_t n)
{
  uint32_t code;
  for (size_t i = 0, len; i < n; i += len)
    if ((len = koi_utf8_char(s + i, n - i, &code)) == 0) return false;
  return true;
}

static koine_status read_vocab(tables *t)
{
  if (t->have_vocab) return koi_error(KOINE_ERR_FILE, "model: vocab: given twice");
  if (!koi_jscan_open(&t->j, '{')) return wrong(t, "model: vocab");
  for (size_t i = 0; more(t, '}', &i);) {
    const char *text;
    size_t n;
    uint64_t id;
    if (!string(t, &text, &n) || !ahead(t, ':')) return wrong(t, "model: vocab");
    t->j.at++;
    if (!koi_jscan_u64(&t->j, &id) || id >= KOI_TOK_MAX_ID)
      return koi_error(KOINE_ERR_FILE, "model: vocab: \"%.*s\": expected an id from 0 to %d", (int)(n < 100 ? n : 100), text, KOI_TOK_MAX_ID - 1);
    if (id < t->b->n_vocab && t->b->flags[id])
      return koi_error(KOINE_ERR_FILE, "model: vocab: id %d is given to \"%.*s\" and to another token", (int)id, (int)(n < 100 ? n : 100), text);
    koine_status s = koi_tok_bpe_piece(t->b, (int32_t)id, text, n, 0);
    if (s != KOINE_OK) return s;
    if (!(t->b->flags[id] & KOI_TOK_PIECE_MAPPED) && !utf8(text, n)) return koi_error(KOINE_ERR_FILE, "model: vocab: the text of id %d is not UTF-8", (int)id);
  }
  if (t->j.wrong) return wrong(t, "model: vocab");
  if (t->b->n_vocab == 0) return koi_error(KOINE_ERR_FILE, "model: vocab: no token");
  t->have_vocab = true;
  koine_status s = koi_tok_bpe_index(t->b);
  return s == KOINE_OK ? s : koi_error_prefix(s, "model: vocab");
}

/* The byte-level letters at text, as bytes behind the first `at` of the buffer. */
static bool half(tables *t, const char *text, size_t n, size_t at, size_t *n_bytes)
{
  return at + n <= t->n_buffer && n > 0 && koi_tok_bpe_unmap(text, n, t->buffer + at, n_bytes);
}

/* "a b" or ["a", "b"]: a then b in the buffer. */
static bool halves(tables *t, size_t *n_left, size_t *n_right)
{
  const char *s;
  size_t n, k = 0;
  if (ahead(t, '"')) {
    if (!string(t, &s, &n)) return false;
    const char *space = memchr(s, ' ', n);
    if (!space) return false;
    size_t n_first = (size_t)(space - s); /* unmapped text is no longer than its letters, so a decoded text is not overwritten ahead */
    return half(t, s, n_first, 0, n_left) && half(t, space + 1, n - n_first - 1, *n_left, n_right);
  }
  if (!koi_jscan_open(&t->j, '[') || !more(t, ']', &k) || !string(t, &s, &n) || !half(t, s, n, 0, n_left)) return false;
  if (!more(t, ']', &k)) return false;
  t->buffer += *n_left, t->n_buffer -= *n_left; /* a decoded second half must not overwrite the first */
  bool ok = string(t, &s, &n) && half(t, s, n, 0, n_right);
  t->buffer -= *n_left, t->n_buffer += *n_left;
  return ok && !more(t, ']', &k) && !t->j.wrong;
}

static koine_status add_merge(tables *t, size_t n_left, size_t n_right)
{
  const char *s = t->buffer;
  int32_t left = koi_tok_bpe_find(t->b, s, n_left, true), right = koi_tok_bpe_find(t->b, s + n_left, n_right, true);
  int32_t id = koi_tok_bpe_find(t->b, s, n_left + n_right, true);
  if (left < 0 || right < 0 || id < 0)
    return koi_error(KOINE_ERR_FILE, "model: merges: item %zu: %s is not in the vocabulary", t->n_merges,
                     left < 0 ? "its left half" : right < 0 ? "its right half" : "what it makes");
  if (t->n_merges == t->cap) {
    size_t cap = t->cap * 2 + 1024;
    koi_tok_merge *v = koi_realloc(t->merge, cap, sizeof *v);
    if (!v) return KOINE_ERR_MEMORY;
    t->merge = v, t->cap = cap;
  }
  t->merge[t->n_merges] = (koi_tok_merge){left, right, (int32_t)t->n_merges, id};
  t->n_merges++;
  return KOINE_OK;
}

static koine_status read_merges(tables *t)
{
  if (t->b->merge) return koi_error(KOINE_ERR_FILE, "model: merges: given twice");
  if (!koi_jscan_open(&t->j, '[')) return wrong(t, "model: merges");
  for (size_t i = 0; more(t, ']', &i);) {
    size_t n_left, n_right;
    if (!halves(t, &n_left, &n_right))
      return t->j.wrong ? wrong(t, "model: merges")
                        : koi_error(KOINE_ERR_FILE, "model: merges: item %zu: expected \"a b\" or [\"a\", \"b\"] in byte-level letters", i - 1);
    koine_status s = add_merge(t, n_left, n_right);
    if (s != KOINE_OK) return s;
  }
  return t->j.wrong ? wrong(t, "model: merges") : koi_tok_bpe_merges(t->b, t->merge, t->n_merges);
}

/* Leaves what was read since `from` out of the rest. */
static void leave_out(tables *t, size_t from, const char *instead)
{
  koi_text_bytes(&t->rest, t->j.s + t->copied, from - t->copied);
  koi_text_add(&t->rest, "%s", instead);
  t->copied = t->j.at;
}

static koine_status read_model(tables *t)
{
  if (!koi_jscan_open(&t->j, '{')) return wrong(t, "model");
  for (size_t i = 0; more(t, '}', &i);) {
    char key[64];
    size_t n;
    koine_status s = KOINE_OK;
    if (!koi_jscan_key(&t->j, key, sizeof key, &n)) return wrong(t, "model");
    koi_jscan_peek(&t->j);
    size_t from = t->j.at;
    if (!strcmp(key, "vocab")) {
      s = read_vocab(t);
      leave_out(t, from, "{}");
    } else if (!strcmp(key, "merges") && t->have_vocab) {
      s = read_merges(t);
      leave_out(t, from, "[]");
    } else {
      if (!strcmp(key, "merges")) t->late_merges = from;
      koi_jscan_skip(&t->j);
      if (t->late_merges == from) leave_out(t, from, "[]");
    }
    if (s != KOINE_OK) return s;
  }
  if (t->j.wrong) return wrong(t, "model");
  if (!t->have_vocab) return koi_error(KOINE_ERR_FILE, "model: vocab: expected an object");
  if (!t->late_merges) return t->b->merge ? KOINE_OK : koi_error(KOINE_ERR_FILE, "model: merges: expected an array");
  size_t end = t->j.at;
  t->j.at = t->late_merges;
  koine_status s = read_merges(t);
  t->j.at = end;
  return s;
}

static koine_status read_root(tables *t)
{
  bool model = false;
  if (!koi_jscan_open(&t->j, '{')) return wrong(t, "root");
  for (size_t i = 0; more(t, '}', &i);) {
    char key[256];
    size_t n;
    if (!koi_jscan_key(&t->j, key, sizeof key, &n)) return wrong(t, "root");
    if (strcmp(key, "model")) {
      koi_jscan_skip(&t->j);
      continue;
    }
    if (model) return koi_error(KOINE_ERR_FILE, "model: given twice");
    model = true;
    koine_status s = read_model(t);
    if (s != KOINE_OK) return s;
  }
  if (!koi_jscan_end(&t->j)) return wrong(t, "root");
  return model ? KOINE_OK : koi_error(KOINE_ERR_FILE, "model: expected an object");
}

koine_status koi_tok_vocab_read(const char *text, size_t n, koi_tok_bpe *b, char **rest, size_t *n_rest)
{
  tables t = {.j = {.s = text, .n = n}, .b = b, .n_buffer = n + 1};
  t.buffer = koi_realloc(NULL, t.n_buffer, 1);
  if (!t.buffer) return KOINE_ERR_MEMORY;
  koine_status s = read_root(&t);
  koi_text_bytes(&t.rest, text + t.copied, n - t.copied);
  *n_rest = t.rest.len;
  if (s == KOINE_OK) s = koi_text_take(&t.rest, rest);
  else koi_free(t.rest.s);
  koi_free(t.buffer);
  koi_free(t.merge);
  return s;
}
