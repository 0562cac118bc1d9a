/* Owns: reading the steps of tokenizer.json around the model: normaliser, pre-tokenizer, post-processor, decoder.
 * Does not: run them.
 * Invariant: a step that is not in the tables below is refused by its name. */
#include <json-c/json.h>
#include <string.h>
#include "tok_impl.h"

/* ByteLevel's own split, used when use_regex is set: part of the format, not of a file. */
static const char byte_level_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* ---- JSON ---- */
json_object *koi_tok_json_get(json_object *from, const char *key)
{
  json_object *o = NULL;
  if (json_object_is_type(from, json_type_object)) json_object_object_get_ex(from, key, &o);
  return o;
}

koine_status koi_tok_json_bool(json_object *from, const char *key, bool absent, bool *out)
{
  json_object *o = koi_tok_json_get(from, key);
  if (o && !json_object_is_type(o, json_type_boolean)) return koi_error(KOINE_ERR_FILE, "%s: expected true or false", key);
  *out = o ? json_object_get_boolean(o) : absent;
  return KOINE_OK;
}

koine_status koi_tok_json_text(json_object *from, const char *key, const char **s, size_t *n)
{
  json_object *o = koi_tok_json_get(from, key);
  if (!json_object_is_type(o, json_type_string)) return koi_error(KOINE_ERR_FILE, "%s: expected a string", key);
  *s = json_object_get_string(o), *n = (size_t)json_object_get_string_len(o);
  return KOINE_OK;
}

/* A step by its "type"; steps of a Sequence one after the other. */
typedef koine_status read_fn(json_object *o, koi_tok *tok);
typedef struct step {
  const char *type;
  read_fn *read;
} step;
typedef struct kind {
  const char *name, *list; /* as in the file; the member that holds a Sequence's steps */
  const step *step;
  size_t n_steps;
} kind;

static koine_status read_step(const kind *k, json_object *o, koi_tok *tok, unsigned depth)
{
  const char *type;
  size_t n;
  koine_status s = koi_tok_json_text(o, "type", &type, &n);
  if (s != KOINE_OK) return koi_error_prefix(s, "%s", k->name);
  if (!strcmp(type, "Sequence")) {
    json_object *list = koi_tok_json_get(o, k->list);
    if (!json_object_is_type(list, json_type_array) || depth > 8) return koi_error(KOINE_ERR_FILE, "%s: Sequence: expected an array %s", k->name, k->list);
    for (size_t i = 0; s == KOINE_OK && i < json_object_array_length(list); i++) s = read_step(k, json_object_array_get_idx(list, i), tok, depth + 1);
    return s;
  }
  for (size_t i = 0; i < k->n_steps; i++)
    if (!strcmp(type, k->step[i].type)) {
      s = k->step[i].read(o, tok);
      return s == KOINE_OK ? s : koi_error_prefix(s, "%s %s", k->name, type);
    }
  return koi_error(KOINE_ERR_FILE, "%s: type \"%s\" is not supported", k->name, type);
}

/* {"String": s} or {"Regex": s} */
static koine_status read_pattern(json_object *o, pcre2_code **out)
{
  json_object *pattern = koi_tok_json_get(o, "pattern");
  const char *s;
  size_t n;
  bool literal = koi_tok_json_get(pattern, "String") != NULL;
  if (koi_tok_json_text(pattern, literal ? "String" : "Regex", &s, &n) != KOINE_OK) return koi_error(KOINE_ERR_FILE, "pattern: expected a String or a Regex");
  return literal ? koi_tok_pattern_literal("pattern", s, n, out) : koi_tok_pattern_compile("pattern", s, n, out);
}

/* ---- normaliser ---- */
static koine_status add_norm(koi_tok *tok, pcre2_code *code, const char *with, size_t n)
{
  koi_tok_norm *norm = &tok->norm[tok->n_norms];
  if (tok->n_norms < KOI_TOK_MAX_LEVELS) norm->with = koi_alloc(n + 1, 1);
  if (tok->n_norms == KOI_TOK_MAX_LEVELS || !norm->with) {
    if (code) pcre2_code_free(code);
    return tok->n_norms == KOI_TOK_MAX_LEVELS ? koi_error(KOINE_ERR_FILE, "more than %d steps", KOI_TOK_MAX_LEVELS) : KOINE_ERR_MEMORY;
  }
  memcpy(norm->with, with, n);
  norm->code = code, norm->n_with = n;
  tok->n_norms++;
  return KOINE_OK;
}

static koine_status read_replace(json_object *o, koi_tok *tok)
{
  const char *with;
  size_t n;
  pcre2_code *code;
  koine_status s = koi_tok_json_text(o, "content", &with, &n);
  if (s == KOINE_OK) s = read_pattern(o, &code);
  return s == KOINE_OK ? add_norm(tok, code, with, n) : s;
}

static koine_status read_prepend(json_object *o, koi_tok *tok)
{
  const char *with;
  size_t n;
  koine_status s = koi_tok_json_text(o, "prepend", &with, &n);
  return s == KOINE_OK ? add_norm(tok, NULL, with, n) : s;
}

/* ---- pre-tokenizer ---- */
static koine_status add_level(koi_tok *tok, koi_tok_level level)
{
  if (tok->byte_level || tok->n_levels == KOI_TOK_MAX_LEVELS) {
    if (level.code) pcre2_code_free(level.code);
    return koi_error(KOINE_ERR_FILE, tok->byte_level ? "a step after ByteLevel is not supported" : "too many steps");
  }
  tok->level[tok->n_levels++] = level;
  return KOINE_OK;
}

static koine_status read_behaviour(json_object *o, koi_tok_behaviour *out)
{
  static const struct { const char *name; koi_tok_behaviour behaviour; } known[] = {
    {"Isolated", KOI_TOK_ISOLATED}, {"Removed", KOI_TOK_REMOVED}, {"Contiguous", KOI_TOK_CONTIGUOUS},
    {"MergedWithPrevious", KOI_TOK_WITH_PREVIOUS}, {"MergedWithNext", KOI_TOK_WITH_NEXT},
  };
  const char *name;
  size_t n;
  koine_status s = koi_tok_json_text(o, "behavior", &name, &n);
  if (s != KOINE_OK) return s;
  for (size_t i = 0; i < KOI_COUNT(known); i++)
    if (!strcmp(name, known[i].name)) return *out = known[i].behaviour, KOINE_OK;
  return koi_error(KOINE_ERR_FILE, "behavior \"%s\" is not supported", name);
}

static koine_status read_split(json_object *o, koi_tok *tok)
{
  koi_tok_level level = {0};
  koine_status s = read_behaviour(o, &level.behaviour);
  if (s == KOINE_OK) s = koi_tok_json_bool(o, "invert", false, &level.invert);
  if (s == KOINE_OK) s = read_pattern(o, &level.code);
  return s == KOINE_OK ? add_level(tok, level) : s;
}

static koine_status add_pattern(koi_tok *tok, const char *pattern, koi_tok_behaviour behaviour)
{
  koi_tok_level level = {.behaviour = behaviour};
  koine_status s = koi_tok_pattern_compile("pattern", pattern, strlen(pattern), &level.code);
  return s == KOINE_OK ? add_level(tok, level) : s;
}

static koine_status read_digits(json_object *o, koi_tok *tok)
{
  bool individual;
  koine_status s = koi_tok_json_bool(o, "individual_digits", false, &individual);
  return s == KOINE_OK ? add_pattern(tok, "\\p{N}", individual ? KOI_TOK_ISOLATED : KOI_TOK_CONTIGUOUS) : s;
}

static koine_status read_white_space(json_object *o, koi_tok *tok)
{
  (void)o;
  return add_pattern(tok, "\\s", KOI_TOK_REMOVED);
}

static koine_status read_delimiter(json_object *o, koi_tok *tok)
{
  const char *s;
  size_t n;
  koi_tok_level level = {.behaviour = KOI_TOK_REMOVED};
  koine_status status = koi_tok_json_text(o, "delimiter", &s, &n);
  if (status == KOINE_OK) status = koi_tok_pattern_literal("delimiter", s, n, &level.code);
  return status == KOINE_OK ? add_level(tok, level) : status;
}

static koine_status read_byte_level(json_object *o, koi_tok *tok)
{
  bool space, regex;
  koine_status s = koi_tok_json_bool(o, "add_prefix_space", true, &space);
  if (s == KOINE_OK) s = koi_tok_json_bool(o, "use_regex", true, &regex);
  if (s == KOINE_OK && space) s = add_level(tok, (koi_tok_level){.code = NULL});
  if (s == KOINE_OK && regex) s = add_pattern(tok, byte_level_pattern, KOI_TOK_ISOLATED);
  tok->byte_level = true;
  return s;
}

/* ---- post-processor ---- */
static koine_status add_edge(koi_tok *tok, bool before, json_object *id)
{
  int64_t v = json_object_is_type(id, json_type_int) ? json_object_get_int64(id) : -1;
  size_t *n = before ? &tok->n_before : &tok->n_after;
  if (v < 0 || (uint64_t)v >= tok->bpe.n_vocab) return koi_error(KOINE_ERR_FILE, "expected an id below %zu", tok->bpe.n_vocab);
  if (*n == KOI_TOK_MAX_EDGE) return koi_error(KOINE_ERR_FILE, "more than %d tokens around a text", KOI_TOK_MAX_EDGE);
  (before ? tok->before : tok->after)[(*n)++] = (int32_t)v;
  return KOINE_OK;
}

static koine_status read_template(json_object *o, koi_tok *tok)
{
  json_object *list = koi_tok_json_get(o, "single"), *known = koi_tok_json_get(o, "special_tokens");
  size_t n_texts = 0;
  if (!json_object_is_type(list, json_type_array)) return koi_error(KOINE_ERR_FILE, "single: expected an array");
  for (size_t i = 0; i < json_object_array_length(list); i++) {
    json_object *part = json_object_array_get_idx(list, i), *special = koi_tok_json_get(part, "SpecialToken");
    const char *name;
    size_t n;
    if (koi_tok_json_get(part, "Sequence")) {
      n_texts++;
      continue;
    }
    koine_status s = koi_tok_json_text(special, "id", &name, &n);
    json_object *ids = s == KOINE_OK ? koi_tok_json_get(koi_tok_json_get(known, name), "ids") : NULL;
    if (!json_object_is_type(ids, json_type_array)) return koi_error(KOINE_ERR_FILE, "single: item %zu names no token of special_tokens", i);
    for (size_t k = 0; s == KOINE_OK && k < json_object_array_length(ids); k++) s = add_edge(tok, n_texts == 0, json_object_array_get_idx(ids, k));
    if (s != KOINE_OK) return s;
  }
  return n_texts == 1 ? KOINE_OK : koi_error(KOINE_ERR_FILE, "single: expected the text once, found it %zu times", n_texts);
}

static koine_status read_nothing(json_object *o, koi_tok *tok)
{
  (void)o, (void)tok;
  return KOINE_OK;
}

static koine_status read_byte_level_decoder(json_object *o, koi_tok *tok)
{
  (void)o;
  tok->byte_level_decoder = true;
  return KOINE_OK;
}

static const step norm_steps[] = {{"Replace", read_replace}, {"Prepend", read_prepend}};
static const step pre_steps[] = {{"Split", read_split}, {"ByteLevel", read_byte_level}, {"Digits", read_digits},
                                 {"WhitespaceSplit", read_white_space}, {"CharDelimiterSplit", read_delimiter}};
static const step post_steps[] = {{"ByteLevel", read_nothing}, {"TemplateProcessing", read_template}}; /* ByteLevel moves offsets, not ids */
static const step decoder_steps[] = {{"ByteLevel", read_byte_level_decoder}, {"Fuse", read_nothing}};  /* ours is always fused */
static const kind kinds[] = {
  {"normalizer", "normalizers", norm_steps, KOI_COUNT(norm_steps)},
  {"pre_tokenizer", "pretokenizers", pre_steps, KOI_COUNT(pre_steps)},
  {"post_processor", "processors", post_steps, KOI_COUNT(post_steps)},
  {"decoder", "decoders", decoder_steps, KOI_COUNT(decoder_steps)},
};

koine_status koi_tok_steps_read(json_object *root, koi_tok *tok)
{
  for (size_t i = 0; i < KOI_COUNT(kinds); i++) {
    json_object *o = koi_tok_json_get(root, kinds[i].name);
    koine_status s = o ? read_step(&kinds[i], o, tok, 0) : KOINE_OK;
    if (s != KOINE_OK) return s;
  }
  if (!tok->byte_level) return koi_error(KOINE_ERR_FILE, "pre_tokenizer: no ByteLevel step: only byte-level tokenizers are supported");
  if (!tok->byte_level_decoder) return koi_error(KOINE_ERR_FILE, "decoder: no ByteLevel step: only byte-level tokenizers are supported");
  return KOINE_OK;
}
