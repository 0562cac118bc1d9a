/* Owns: the tokenizer as a whole: loading, text to ids (added tokens, normaliser, words), ids to text.
 * Does not: read the files (tok_file.c, tok_steps.c), split (tok_split.c) or merge (tok_bpe.c).
 * Invariant: const after koi_tok_load; what one call needs lives in its encoder. */
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include "base/kind.h"
#include "tok_impl.h"

/* ---- loading ---- */
static koi_tok *make(void)
{
  koi_tok *tok = koi_alloc(1, sizeof *tok);
  if (!tok) return NULL;
  tok->bos = -1;
  koi_tok_bpe_init(&tok->bpe);
  return tok;
}

koine_status koi_tok_load_text(const char *name, const char *json, size_t n_bytes, koi_tok **out)
{
  if (n_bytes > KOI_TOK_MAX_FILE) return koi_error(KOINE_ERR_FILE, "%s: %zu bytes, expected at most %zu", name, n_bytes, KOI_TOK_MAX_FILE);
  koi_tok *tok = make();
  if (!tok) return KOINE_ERR_MEMORY;
  tok->path = koi_strdup(name);
  koine_status s = tok->path ? koi_tok_file_read(tok, json, n_bytes) : KOINE_ERR_MEMORY;
  if (s == KOINE_OK) *out = tok;
  else koi_tok_free(tok);
  return s;
}

koine_status koi_tok_load(const char *path, koi_tok **out)
{
  struct stat st;
  bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
  const char *slash = strrchr(path, '/');
  char *where = folder ? koi_format("%s", path) : slash ? koi_format("%.*s", (int)(slash - path + 1), path) : koi_format(".");
  char *file = folder ? koi_format("%s/tokenizer.json", path) : koi_strdup(path), *text = NULL;
  size_t n;
  koi_tok *tok = NULL;
  koine_status s = koi_kind_check_folder(path, true);
  if (s == KOINE_OK) s = where && file ? koi_file_read(file, KOI_TOK_MAX_FILE, &text, &n) : KOINE_ERR_MEMORY;
  if (s == KOINE_OK) s = koi_tok_load_text(file, text, n, &tok);
  koi_free(text);
  if (s == KOINE_OK) s = koi_tok_file_configs(tok, where);
  koi_free(where);
  koi_free(file);
  if (s == KOINE_OK) *out = tok;
  else koi_tok_free(tok);
  return s;
}

koine_status koi_tok_set_ends(koi_tok *tok, int32_t bos, const int32_t *eos, size_t n)
{
  for (size_t i = 0; i <= n; i++) {
    int32_t id = i < n ? eos[i] : bos;
    if (id >= 0 && (size_t)id >= tok->bpe.n_vocab)
      return koi_error(KOINE_ERR_FILE, "%s: expected begin and end tokens within the vocabulary of %zu, found %d", tok->path, tok->bpe.n_vocab, id);
    if (i < n && id >= 0 && tok->n_eos < KOI_TOK_MAX_EOS && !koi_tok_is_eos(tok, id)) tok->eos[tok->n_eos++] = id;
  }
  tok->bos = bos;
  return KOINE_OK;
}

void koi_tok_free(koi_tok *tok)
{
  if (!tok) return;
  koi_tok_added_clear(&tok->raw);
  koi_tok_added_clear(&tok->normalized);
  for (size_t i = 0; tok->added && i < tok->n_added; i++) {
    koi_free(tok->added[i].text);
    koi_free(tok->added[i].name);
    koi_free(tok->added[i].shown);
  }
  for (size_t i = 0; i < tok->n_levels; i++)
    if (tok->level[i].code) pcre2_code_free(tok->level[i].code);
  for (size_t i = 0; i < tok->n_norms; i++) {
    if (tok->norm[i].code) pcre2_code_free(tok->norm[i].code);
    koi_free(tok->norm[i].with);
  }
  koi_tok_bpe_clear(&tok->bpe);
  koi_free(tok->added);
  koi_free(tok->path);
  koi_free(tok);
}

/* ---- text to ids ---- */
typedef struct encoder {
  const koi_tok *tok;
  bool special;
  koi_tok_ids *ids;
  koi_tok_words words;
  koi_tok_matcher matcher;
} encoder;

static koine_status word(void *user, const char *s, size_t n)
{
  encoder *e = user;
  return koi_tok_bpe_word(&e->tok->bpe, &e->words, s, n, !e->special, e->ids);
}

/* Text without added tokens. */
static koine_status encode_plain(encoder *e, const char *s, size_t n)
{
  char *shadow;
  koine_status status = koi_tok_uni_shadow(s, n, &shadow);
  if (status != KOINE_OK) return status;
  status = koi_tok_split_run(e->tok->level, e->tok->n_levels, &e->matcher, s, shadow ? shadow : s, n, word, e);
  koi_free(shadow);
  return status;
}

typedef koine_status text_fn(encoder *e, const char *s, size_t n);

/* Calls fn for the text around the tokens of a set, and appends the tokens. */
static koine_status around(encoder *e, const koi_tok_added_set *set, const char *s, size_t n, text_fn *fn)
{
  size_t from = 0, done = 0;
  koine_status status = KOINE_OK;
  for (bool more = e->special && set->n; status == KOINE_OK && more;) {
    koi_tok_found found = koi_tok_added_next(set, s, n, &from, done);
    if (found.id == -2) return KOINE_ERR_MEMORY;
    if (found.id < 0) break;
    if (found.begin > done) status = fn(e, s + done, found.begin - done);
    if (status == KOINE_OK) status = koi_tok_push(e->ids, found.id);
    done = found.end;
  }
  return status == KOINE_OK && done < n ? fn(e, s + done, n - done) : status;
}

static koine_status encode_normalized(encoder *e, const char *s, size_t n) { return around(e, &e->tok->normalized, s, n, encode_plain); }

static koine_status encode_raw(encoder *e, const char *s, size_t n)
{
  char *normal;
  koine_status status = koi_tok_norm_run(e->tok->norm, e->tok->n_norms, s, n, &normal, &n);
  if (status == KOINE_OK) status = encode_normalized(e, normal ? normal : s, n);
  else return status;
  koi_free(normal);
  return status;
}

static koine_status encode_text(const koi_tok *tok, const char *s, size_t n, bool special, koi_tok_ids *ids)
{
  encoder e = {.tok = tok, .special = special, .ids = ids};
  koine_status status = koi_tok_words_init(&e.words, n);
  if (status == KOINE_OK) status = koi_tok_matcher_init(&e.matcher);
  if (status == KOINE_OK) {
    status = around(&e, &tok->raw, s, n, encode_raw);
    koi_tok_matcher_clear(&e.matcher);
  }
  koi_tok_words_clear(&e.words);
  return status;
}

koine_status koi_tok_append(const koi_tok *tok, const char *text, size_t n_bytes, unsigned flags, koi_tok_ids *ids)
{
  bool template = flags & KOI_TOK_TEMPLATE, bos = flags & KOI_TOK_BOS;
  koine_status s = KOINE_OK;
  if (bos && tok->bos < 0) return koi_error(KOINE_ERR_ARG, "%s: the checkpoint names no beginning-of-text token", tok->path);
  if (bos && !(template && tok->n_before && tok->before[0] == tok->bos)) s = koi_tok_push(ids, tok->bos);
  for (size_t i = 0; template && s == KOINE_OK && i < tok->n_before; i++) s = koi_tok_push(ids, tok->before[i]);
  if (s == KOINE_OK && n_bytes) s = encode_text(tok, text, n_bytes, flags & KOI_TOK_SPECIAL, ids);
  for (size_t i = 0; template && s == KOINE_OK && i < tok->n_after; i++) s = koi_tok_push(ids, tok->after[i]);
  return s;
}

koine_status koi_tok_encode(const koi_tok *tok, const char *text, size_t n_bytes, unsigned flags, int32_t **ids, size_t *n)
{
  koi_tok_ids made = {0};
  koine_status s = koi_tok_append(tok, text, n_bytes, flags, &made);
  if (s != KOINE_OK) return koi_free(made.v), s;
  *ids = made.v, *n = made.n;
  return KOINE_OK;
}

/* ---- ids to text ---- */
static bool left_out(const koi_tok *tok, int32_t id, unsigned flags)
{
  return (tok->bpe.flags[id] & KOI_TOK_PIECE_SPECIAL) && !(flags & KOI_TOK_SPECIAL);
}

void koi_tok_piece(const koi_tok *tok, int32_t id, const char **bytes, size_t *n)
{
  const koi_tok_bpe *b = &tok->bpe;
  *bytes = "", *n = 0;
  if (id < 0 || (size_t)id >= b->n_vocab || !(b->flags[id] & KOI_TOK_PIECE_USED)) return;
  *bytes = b->pool + b->at[id], *n = b->len[id];
  for (size_t i = 0; (b->flags[id] & KOI_TOK_PIECE_RENAMED) && i < tok->n_added; i++)
    if (tok->added[i].id == id) *bytes = tok->added[i].shown, *n = tok->added[i].n_shown;
}

koine_status koi_tok_decode(const koi_tok *tok, const int32_t *ids, size_t n, unsigned flags, char **text, size_t *n_bytes)
{
  const char *piece;
  size_t total = 1, len;
  for (size_t i = 0; i < n; i++) {
    if (ids[i] < 0 || (size_t)ids[i] >= tok->bpe.n_vocab)
      return koi_error(KOINE_ERR_ARG, "id %d at position %zu is outside the vocabulary of %zu", ids[i], i, tok->bpe.n_vocab);
    koi_tok_piece(tok, ids[i], &piece, &len);
    if (!left_out(tok, ids[i], flags) && !koi_add(total, len, &total)) return koi_error(KOINE_ERR_MEMORY, "text too large");
  }
  char *s = koi_realloc(NULL, total, 1), *to = s;
  if (!s) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < n; i++) {
    if (left_out(tok, ids[i], flags)) continue;
    koi_tok_piece(tok, ids[i], &piece, &len);
    memcpy(to, piece, len);
    to += len;
  }
  *to = 0;
  *text = s, *n_bytes = total - 1;
  return KOINE_OK;
}

/* ---- questions ---- */
size_t koi_tok_n_vocab(const koi_tok *tok) { return tok->bpe.n_vocab; }

int32_t koi_tok_id(const koi_tok *tok, const char *text)
{
  for (size_t i = 0; i < tok->n_added; i++)
    if (!strcmp(tok->added[i].name, text)) return tok->added[i].id;
  int32_t id = koi_tok_bpe_find(&tok->bpe, text, strlen(text), true);
  return id >= 0 ? id : koi_tok_bpe_find(&tok->bpe, text, strlen(text), false);
}

static bool has(const koi_tok *tok, int32_t id, unsigned flag) { return id >= 0 && (size_t)id < tok->bpe.n_vocab && (tok->bpe.flags[id] & flag); }
bool koi_tok_is_added(const koi_tok *tok, int32_t id) { return has(tok, id, KOI_TOK_PIECE_ADDED); }
bool koi_tok_is_special(const koi_tok *tok, int32_t id) { return has(tok, id, KOI_TOK_PIECE_SPECIAL); }
int32_t koi_tok_bos(const koi_tok *tok) { return tok->bos; }
int32_t koi_tok_eos(const koi_tok *tok) { return tok->n_eos ? tok->eos[0] : -1; }

bool koi_tok_is_eos(const koi_tok *tok, int32_t id)
{
  for (size_t i = 0; i < tok->n_eos; i++)
    if (tok->eos[i] == id) return true;
  return false;
}
