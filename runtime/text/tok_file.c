/* Owns: reading tokenizer.json's model options and added tokens, and what tokenizer_config.json and generation_config.json say of the begin
 * and end tokens.
 * Does not: use them.
 * Invariant: every id is below n_vocab and belongs to one token; no two tokens have the same text. */
#include <json-c/json.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>
#include "base/jscan.h"
#include "tok_impl.h"

static koine_status tree(const char *path, const char *text, size_t n, json_object **out)
{
  koi_jscan j = {.s = text, .n = n}; /* json-c 0.18 takes any character beyond ASCII for wrong when it is asked to be strict */
  if (!koi_jscan_skip(&j) || !koi_jscan_end(&j)) return koi_jscan_error(&j, path);
  json_tokener *t = json_tokener_new_ex(KOI_JSCAN_DEPTH + 2);
  if (!t) return koi_error(KOINE_ERR_MEMORY, "%s: out of host memory", path);
  json_object *root = json_tokener_parse_ex(t, text, (int)n);
  json_tokener_free(t);
  if (json_object_is_type(root, json_type_object)) return *out = root, KOINE_OK;
  json_object_put(root);
  return koi_error(KOINE_ERR_FILE, "%s: expected a JSON object", path);
}

static koine_status parse(const char *path, json_object **out)
{
  char *text;
  size_t n;
  koine_status s = koi_file_read(path, KOI_TOK_MAX_FILE, &text, &n);
  if (s != KOINE_OK) return s;
  s = tree(path, text, n, out);
  koi_free(text);
  return s;
}

static koine_status read_id(json_object *o, int32_t *id)
{
  int64_t v = json_object_is_type(o, json_type_int) ? json_object_get_int64(o) : -1;
  if (v < 0 || v >= KOI_TOK_MAX_ID) return koi_error(KOINE_ERR_FILE, "expected an id from 0 to %d, found %s", KOI_TOK_MAX_ID - 1, o ? json_object_get_string(o) : "nothing");
  return *id = (int32_t)v, KOINE_OK;
}

/* ---- model ---- */
/* What this code does not do, by the value that asks for it. */
static koine_status refuse_options(json_object *model)
{
  const char *type = json_object_get_string(koi_tok_json_get(model, "type"));
  bool fallback;
  if (type && strcmp(type, "BPE")) return koi_error(KOINE_ERR_FILE, "type \"%s\" is not supported, only BPE", type);
  static const char *const affix[] = {"continuing_subword_prefix", "end_of_word_suffix"};
  for (size_t i = 0; i < KOI_COUNT(affix); i++) {
    json_object *o = koi_tok_json_get(model, affix[i]);
    if (o && !(json_object_is_type(o, json_type_string) && json_object_get_string_len(o) == 0)) return koi_error(KOINE_ERR_FILE, "%s is not supported", affix[i]);
  }
  koine_status s = koi_tok_json_bool(model, "byte_fallback", false, &fallback);
  return s == KOINE_OK && fallback ? koi_error(KOINE_ERR_FILE, "byte_fallback is not supported") : s;
}

static koine_status read_model(json_object *model, koi_tok_bpe *b)
{
  json_object *unk = koi_tok_json_get(model, "unk_token");
  koine_status s = refuse_options(model);
  if (s == KOINE_OK) s = koi_tok_json_bool(model, "fuse_unk", false, &b->fuse_unk);
  if (s == KOINE_OK) s = koi_tok_json_bool(model, "ignore_merges", false, &b->ignore_merges);
  if (s != KOINE_OK || !unk) return s;
  s = koi_tok_bpe_find_text(b, json_object_get_string(unk), (size_t)json_object_get_string_len(unk), &b->unk);
  return s != KOINE_OK ? s : b->unk < 0 ? koi_error(KOINE_ERR_FILE, "unk_token: %s is not in the vocabulary", json_object_get_string(unk)) : KOINE_OK;
}

/* ---- added tokens ---- */
static koine_status read_added_one(json_object *o, koi_tok *tok)
{
  koi_tok_added *a = &tok->added[tok->n_added];
  const char *text;
  size_t n;
  koine_status s = koi_tok_json_text(o, "content", &text, &n);
  if (s == KOINE_OK) s = read_id(koi_tok_json_get(o, "id"), &a->id);
  if (s == KOINE_OK) s = koi_tok_json_bool(o, "special", false, &a->special);
  if (s == KOINE_OK) s = koi_tok_json_bool(o, "single_word", false, &a->single_word);
  if (s == KOINE_OK) s = koi_tok_json_bool(o, "lstrip", false, &a->lstrip);
  if (s == KOINE_OK) s = koi_tok_json_bool(o, "rstrip", false, &a->rstrip);
  if (s == KOINE_OK) s = koi_tok_json_bool(o, "normalized", !a->special, &a->normalized);
  if (s != KOINE_OK) return s;
  if (n == 0 || strlen(text) != n) return koi_error(KOINE_ERR_FILE, "content: expected text without a zero byte");
  int32_t known;
  s = koi_tok_bpe_find_text(&tok->bpe, text, n, &known);
  if (s != KOINE_OK) return s;
  bool taken = (size_t)a->id < tok->bpe.n_vocab && tok->bpe.flags[a->id];
  if (known >= 0 && known != a->id) return koi_error(KOINE_ERR_FILE, "\"%s\" has id %d, but %d in the vocabulary", text, a->id, known);
  if (known < 0 && taken) return koi_error(KOINE_ERR_FILE, "\"%s\" has id %d, which another token has", text, a->id);
  unsigned flags = KOI_TOK_PIECE_ADDED | (a->special ? KOI_TOK_PIECE_SPECIAL : 0);
  if (known < 0) s = koi_tok_bpe_piece(&tok->bpe, a->id, text, n, flags);
  else tok->bpe.flags[a->id] |= (uint8_t)flags;
  if (s != KOINE_OK) return s;
  a->name = koi_strdup(text);
  if (!a->name) return KOINE_ERR_MEMORY;
  tok->n_added++;
  return KOINE_OK;
}

static koine_status read_added(json_object *list, koi_tok *tok)
{
  size_t n = list ? json_object_array_length(list) : 0;
  tok->added = koi_alloc(n ? n : 1, sizeof *tok->added);
  if (!tok->added) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < n; i++) {
    koine_status s = read_added_one(json_object_array_get_idx(list, i), tok);
    if (s != KOINE_OK) return koi_error_prefix(s, "added_tokens: item %zu", i);
  }
  return koi_tok_bpe_index(&tok->bpe);
}

/* `tokenizers` decodes a token whose text the normaliser changes to the changed text. */
static koine_status rename_token(koi_tok *tok, koi_tok_added *a)
{
  a->shown = koi_alloc(a->n + 1, 1);
  if (!a->shown) return KOINE_ERR_MEMORY;
  if (!koi_tok_bpe_unmap(a->text, a->n, a->shown, &a->n_shown)) memcpy(a->shown, a->text, a->n_shown = a->n);
  tok->bpe.flags[a->id] |= KOI_TOK_PIECE_RENAMED;
  return KOINE_OK;
}

/* The texts that are looked for: those marked normalized as the normaliser leaves them. */
static koine_status index_added(koi_tok *tok)
{
  for (size_t i = 0; i < tok->n_added; i++) {
    koi_tok_added *a = &tok->added[i];
    a->n = strlen(a->name);
    if (a->normalized) {
      koine_status s = koi_tok_norm_run(tok->norm, tok->n_norms, a->name, a->n, &a->text, &a->n);
      if (s == KOINE_OK && a->text && strcmp(a->text, a->name)) s = rename_token(tok, a);
      if (s != KOINE_OK) return s;
    }
    if (!a->text) a->text = koi_strdup(a->name);
    if (!a->text) return KOINE_ERR_MEMORY;
  }
  koine_status s = koi_tok_added_index(tok->added, tok->n_added, false, &tok->raw);
  return s == KOINE_OK ? koi_tok_added_index(tok->added, tok->n_added, true, &tok->normalized) : s;
}

/* Members that are for training and batches: what they ask for is not done, and was never meant for one text. */
static void note_training(const char *path, json_object *root, json_object *model)
{
  static const char *const names[] = {"truncation", "padding"};
  json_object *dropout = koi_tok_json_get(model, "dropout");
  for (size_t i = 0; i < KOI_COUNT(names); i++)
    if (koi_tok_json_get(root, names[i])) koi_log(KOINE_LOG_NOTE, "%s: %s is ignored: it is for training", path, names[i]);
  if (dropout && json_object_get_double(dropout) != 0) koi_log(KOINE_LOG_NOTE, "%s: dropout is ignored: it is for training", path);
}

static koine_status read_root(json_object *root, koi_tok *tok)
{
  json_object *model = koi_tok_json_get(root, "model"), *added = koi_tok_json_get(root, "added_tokens");
  note_training(tok->path, root, model);
  if (added && !json_object_is_type(added, json_type_array)) return koi_error(KOINE_ERR_FILE, "added_tokens: expected an array");
  koine_status s = read_model(model, &tok->bpe);
  if (s != KOINE_OK) return koi_error_prefix(s, "model");
  s = read_added(added, tok);
  if (s == KOINE_OK) s = koi_tok_steps_read(root, tok);
  return s == KOINE_OK ? index_added(tok) : s;
}

koine_status koi_tok_file_read(koi_tok *tok, const char *text, size_t n)
{
  char *rest = NULL;
  size_t n_rest;
  json_object *root = NULL;
  koine_status s = koi_tok_vocab_read(text, n, &tok->bpe, &rest, &n_rest);
  if (s != KOINE_OK) return koi_error_prefix(s, "%s", tok->path);
  s = tree(tok->path, rest, n_rest, &root);
  koi_free(rest);
  if (s != KOINE_OK) return s;
  s = read_root(root, tok);
  json_object_put(root);
  return s == KOINE_OK ? s : koi_error_prefix(s, "%s", tok->path);
}

/* ---- configs ---- */
/* A token by name, or by an object with its name in `content`; -1 when the member is not there. */
static koine_status named_token(const koi_tok *tok, json_object *root, const char *key, int32_t *id)
{
  json_object *o = koi_tok_json_get(root, key);
  if (json_object_is_type(o, json_type_object)) o = koi_tok_json_get(o, "content");
  *id = -1;
  if (!o) return KOINE_OK;
  if (!json_object_is_type(o, json_type_string)) return koi_error(KOINE_ERR_FILE, "%s: expected a token's text", key);
  *id = koi_tok_id(tok, json_object_get_string(o));
  return *id < 0 ? koi_error(KOINE_ERR_FILE, "%s: %s has no token \"%s\"", key, tok->path, json_object_get_string(o)) : KOINE_OK;
}

static koine_status add_eos(koi_tok *tok, json_object *o)
{
  int32_t id;
  koine_status s = read_id(o, &id);
  if (s == KOINE_OK && (size_t)id >= tok->bpe.n_vocab) s = koi_error(KOINE_ERR_FILE, "id %d is outside the vocabulary of %zu", id, tok->bpe.n_vocab);
  if (s != KOINE_OK || koi_tok_is_eos(tok, id)) return s;
  if (tok->n_eos == KOI_TOK_MAX_EOS) return koi_error(KOINE_ERR_FILE, "more than %d end tokens", KOI_TOK_MAX_EOS);
  tok->eos[tok->n_eos++] = id;
  return KOINE_OK;
}

static koine_status edge(koi_tok *tok, bool before, int32_t id, const char *key)
{
  int32_t *v = before ? tok->before : tok->after;
  size_t *n = before ? &tok->n_before : &tok->n_after;
  if (id < 0) return koi_error(KOINE_ERR_FILE, "%s is set, but no such token is named", key);
  if (*n && v[before ? 0 : *n - 1] == id) return KOINE_OK; /* the post-processor puts it there already */
  if (*n == KOI_TOK_MAX_EDGE) return koi_error(KOINE_ERR_FILE, "%s: too many tokens around a text", key);
  if (before) memmove(v + 1, v, *n * sizeof *v);
  v[before ? 0 : *n] = id;
  ++*n;
  return KOINE_OK;
}

static koine_status tokenizer_config(koi_tok *tok, json_object *root)
{
  int32_t eos = -1;
  bool add_bos = false, add_eos_token = false;
  koine_status s = named_token(tok, root, "bos_token", &tok->bos);
  if (s == KOINE_OK) s = named_token(tok, root, "eos_token", &eos);
  if (s == KOINE_OK) s = koi_tok_json_bool(root, "add_bos_token", false, &add_bos);
  if (s == KOINE_OK) s = koi_tok_json_bool(root, "add_eos_token", false, &add_eos_token);
  if (s == KOINE_OK && eos >= 0) tok->eos[tok->n_eos++] = eos;
  if (s == KOINE_OK && add_bos) s = edge(tok, true, tok->bos, "add_bos_token");
  if (s == KOINE_OK && add_eos_token) s = edge(tok, false, eos, "add_eos_token");
  return s;
}

static koine_status generation_config(koi_tok *tok, json_object *root)
{
  json_object *bos = koi_tok_json_get(root, "bos_token_id"), *eos = koi_tok_json_get(root, "eos_token_id");
  int32_t id = -1;
  koine_status s = bos ? read_id(bos, &id) : KOINE_OK;
  if (s == KOINE_OK && id >= 0 && (size_t)id >= tok->bpe.n_vocab) s = koi_error(KOINE_ERR_FILE, "id %d is outside the vocabulary of %zu", id, tok->bpe.n_vocab);
  if (s != KOINE_OK) return koi_error_prefix(s, "bos_token_id");
  if (tok->bos < 0) tok->bos = id;
  if (json_object_is_type(eos, json_type_array))
    for (size_t i = 0; s == KOINE_OK && i < json_object_array_length(eos); i++) s = add_eos(tok, json_object_array_get_idx(eos, i));
  else if (eos) s = add_eos(tok, eos);
  return s == KOINE_OK ? s : koi_error_prefix(s, "eos_token_id");
}

koine_status koi_tok_file_configs(koi_tok *tok, const char *folder)
{
  static const struct { const char *name; koine_status (*read)(koi_tok *, json_object *); } configs[] = {
    {"tokenizer_config.json", tokenizer_config},
    {"generation_config.json", generation_config},
  };
  koine_status s = KOINE_OK;
  for (size_t i = 0; s == KOINE_OK && i < KOI_COUNT(configs); i++) {
    json_object *root;
    char *path = koi_format("%s/%s", folder, configs[i].name);
    if (!path) return KOINE_ERR_MEMORY;
    if (access(path, F_OK) == 0 && (s = parse(path, &root)) == KOINE_OK) {
      s = configs[i].read(tok, root);
      json_object_put(root);
      if (s != KOINE_OK) koi_error_prefix(s, "%s", path);
    }
    koi_free(path);
  }
  return s;
}
