/* See vocab.h. A GGUF file's tokens, their types and merges become the text of a tokenizer.json, which the one reader then checks.
 * Owns: what the types of tokens mean, and which split patterns a file names. Invariant: a pattern that is not here is refused by its name. */
#include "vocab.h"
#include <stdio.h>
#include <string.h>
#include "file/gguf.h"

enum { MAX_TOKEN = 4096 /* bytes */, NORMAL = 1, CONTROL = 3, USER = 4, UNUSED = 5 /* types of tokens */ };

/* The published tokenizer's steps. */
static const char published[] =
  "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\p{N}{1,3}\"},\"behavior\":\"Isolated\",\"invert\":false},"
  "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[一-龥぀-ゟ゠-ヿ]+\"},\"behavior\":\"Isolated\",\"invert\":false},"
  "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[!\\\"#$%&'()*+,\\\\-./:;<=>?@\\\\[\\\\\\\\\\\\]^_`{|}~][A-Za-z]+|[^\\\\r\\\\n\\\\p{L}\\\\p{P}\\\\p{S}]?"
  "[\\\\p{L}\\\\p{M}]+| ?[\\\\p{P}\\\\p{S}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":\"Isolated\",\"invert\":false},"
  "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}]}";
/* What llama.cpp calls them. */
static const char *const pre_names[] = {"deepseek-v3", "joyai-llm"};

/* Text in which no quote of a pattern has a backslash of its own before it, which changes no pattern. */
static char *without_escapes(const char *s)
{
  char *out = koi_strdup(s), *to = out;
  for (const char *p = s; out && *p; p++)
    if (strncmp(p, "\\\\\\\"", 4)) *to++ = *p;
    else p++, to[0] = '\\', to[1] = '"', to += 2, p += 2;
  if (out) *to = 0;
  return out;
}

bool koi_vocab_published(json_object *pre_tokenizer)
{
  char *text = without_escapes(pre_tokenizer ? json_object_to_json_string_ext(pre_tokenizer, JSON_C_TO_STRING_PLAIN) : "null");
  json_object *ours = json_tokener_parse(published), *theirs = text ? json_tokener_parse(text) : NULL;
  bool same = ours && json_object_equal(ours, theirs);
  json_object_put(ours);
  json_object_put(theirs);
  koi_free(text);
  return same;
}

typedef struct source {
  const koi_gguf *g;
  const koi_gguf_value *tokens, *types, *merges;
  koi_text text;
} source;

static koine_status find_array(const koi_gguf *g, const char *key, koi_gguf_type type, const koi_gguf_value **out)
{
  *out = koi_gguf_find(g, key);
  if (*out && (*out)->array && (*out)->type == type) return KOINE_OK;
  return koi_error(KOINE_ERR_FILE, "%s: %s: expected an array of %s, found %s", koi_gguf_path(g), key, koi_gguf_type_name(type), *out ? "another type" : "no such key");
}

/* A text that is one of `names`. */
static koine_status expect_name(const koi_gguf *g, const char *key, const char *const *names, size_t n)
{
  koi_gguf_cursor c = {.value = koi_gguf_find(g, key)};
  const char *s = "nothing";
  size_t len = strlen(s);
  if (c.value && !c.value->array) koi_gguf_string(&c, &s, &len);
  for (size_t i = 0; i < n && c.value; i++)
    if (len == strlen(names[i]) && !memcmp(s, names[i], len)) return KOINE_OK;
  return koi_error(KOINE_ERR_FILE, "%s: %s: expected \"%s\"%s%s%s, found %.*s", koi_gguf_path(g), key, names[0], n > 1 ? " or \"" : "", n > 1 ? names[1] : "",
                   n > 1 ? "\"" : "", (int)(len < 80 ? len : 80), s);
}

static koine_status add_text(source *f, const char *key, uint64_t i, const char *s, size_t n)
{
  char copy[MAX_TOKEN + 1];
  if (n > MAX_TOKEN || memchr(s, 0, n))
    return koi_error(KOINE_ERR_FILE, "%s: %s: item %ju: expected text of at most %d bytes without a zero byte, found %zu bytes", koi_gguf_path(f->g), key, (uintmax_t)i,
                     MAX_TOKEN, n);
  memcpy(copy, s, n);
  copy[n] = 0;
  koi_text_json(&f->text, copy);
  return KOINE_OK;
}

static int64_t type_of(const source *f, uint64_t i)
{
  int64_t type = NORMAL;
  koi_gguf_int(f->types, i, &type);
  return type;
}

/* The vocabulary, or the added tokens. */
static koine_status put_tokens(source *f, bool added)
{
  koi_gguf_cursor c = {.value = f->tokens};
  const char *s;
  size_t n;
  bool first = true;
  koine_status st = KOINE_OK;
  while (!st && koi_gguf_string(&c, &s, &n)) {
    uint64_t id = c.i - 1;
    int64_t type = type_of(f, id);
    if (type == UNUSED || added != (type == CONTROL || type == USER)) continue;
    koi_text_add(&f->text, "%s%s", first ? "" : ",", added ? "{\"content\":" : "");
    st = add_text(f, "tokenizer.ggml.tokens", id, s, n);
    if (added) koi_text_add(&f->text, ",\"id\":%ju,\"special\":%s}", (uintmax_t)id, type == CONTROL ? "true" : "false");
    else koi_text_add(&f->text, ":%ju", (uintmax_t)id);
    first = false;
  }
  return st;
}

static koine_status put_merges(source *f)
{
  koi_gguf_cursor c = {.value = f->merges};
  const char *s;
  size_t n;
  koine_status st = KOINE_OK;
  while (!st && koi_gguf_string(&c, &s, &n)) {
    if (c.i > 1) koi_text_add(&f->text, ",");
    st = add_text(f, "tokenizer.ggml.merges", c.i - 1, s, n);
  }
  return st;
}

static koine_status put_all(source *f)
{
  koi_text_add(&f->text, "{\"added_tokens\":[");
  koine_status s = put_tokens(f, true);
  koi_text_add(&f->text, "],\"pre_tokenizer\":%s,\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{", published);
  if (!s) s = put_tokens(f, false);
  koi_text_add(&f->text, "},\"merges\":[");
  if (!s) s = put_merges(f);
  koi_text_add(&f->text, "]}}");
  return s;
}

/* ---- ids with a meaning ---- */
static koine_status find_id(const koi_gguf *g, const char *key, int32_t *out)
{
  const koi_gguf_value *v = koi_gguf_find(g, key);
  int64_t n = -1;
  *out = -1;
  if (!v) return KOINE_OK;
  if (v->array || !koi_gguf_int(v, 0, &n) || n < 0 || n > INT32_MAX) return koi_error(KOINE_ERR_FILE, "%s: %s: expected a token's id", koi_gguf_path(g), key);
  *out = (int32_t)n;
  return KOINE_OK;
}

static koine_status set_ends(const koi_gguf *g, koi_tok *tok)
{
  int32_t bos, eos, eot;
  koine_status s = find_id(g, "tokenizer.ggml.bos_token_id", &bos);
  if (!s) s = find_id(g, "tokenizer.ggml.eos_token_id", &eos);
  if (!s) s = find_id(g, "tokenizer.ggml.eot_token_id", &eot);
  return s ? s : koi_tok_set_ends(tok, bos, (const int32_t[]){eos, eot}, 2);
}

static koine_status load(const koi_gguf *g, koi_tok **out)
{
  static const char *const models[] = {"gpt2"};
  source f = {.g = g};
  char *json = NULL;
  koi_tok *tok = NULL;
  koine_status s = expect_name(g, "tokenizer.ggml.model", models, 1);
  if (!s) s = expect_name(g, "tokenizer.ggml.pre", pre_names, KOI_COUNT(pre_names));
  if (!s) s = find_array(g, "tokenizer.ggml.tokens", KOI_GGUF_STRING, &f.tokens);
  if (!s) s = find_array(g, "tokenizer.ggml.token_type", KOI_GGUF_I32, &f.types);
  if (!s) s = find_array(g, "tokenizer.ggml.merges", KOI_GGUF_STRING, &f.merges);
  if (!s && f.types->n != f.tokens->n)
    s = koi_error(KOINE_ERR_FILE, "%s: tokenizer.ggml.token_type: expected a type for each of %ju tokens, found %ju", koi_gguf_path(g), (uintmax_t)f.tokens->n,
                  (uintmax_t)f.types->n);
  if (s) return s;
  s = put_all(&f);
  size_t n = f.text.len;
  if (!s) s = koi_text_take(&f.text, &json);
  else koi_free(f.text.s);
  if (!s) s = koi_tok_load_text(koi_gguf_path(g), json, n, &tok);
  koi_free(json);
  if (!s) s = set_ends(g, tok);
  if (!s) *out = tok;
  else koi_tok_free(tok);
  return s;
}

koine_status koi_vocab_load(const char *path, koi_tok **out)
{
  koi_gguf *g;
  if (!koi_gguf_is(path)) return koi_tok_load(path, out);
  koine_status s = koi_gguf_open_header(path, &g);
  if (s) return s;
  s = load(g, out);
  koi_gguf_close(g);
  return s;
}

koine_status koi_vocab_chat(const char *path, koi_chat **out)
{
  koi_gguf *g;
  const char *text;
  size_t n;
  if (!path || !koi_gguf_is(path)) return koi_chat_load(path, out);
  koine_status s = koi_gguf_open_header(path, &g);
  if (s) return s;
  koi_gguf_cursor c = {.value = koi_gguf_find(g, "tokenizer.chat_template")};
  s = c.value && koi_gguf_string(&c, &text, &n) ? koi_chat_load_template(path, text, n, out) : koi_chat_load(NULL, out);
  koi_gguf_close(g);
  return s;
}
