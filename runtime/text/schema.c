/* Owns: reading a schema, its parts as rules, what is supported. Invariant: a keyword that is not in the table is refused. */
#include <stdarg.h>
#include <string.h>
#include "schema_impl.h"
#include "base/jscan.h"

/* ---- errors ---- */
void koi_schema_fail(koi_schema *c, const char *path, const char *fmt, ...)
{
  va_list ap;
  char what[600];
  if (c->status) return;
  va_start(ap, fmt);
  koi_vprint(what, sizeof what, fmt, ap);
  va_end(ap);
  c->status = koi_error(KOINE_ERR_ARG, "schema %s: %s", path, what);
}

void koi_schema_keep(koi_schema *c, const void *memory)
{
  if (!memory && !c->status) c->status = KOINE_ERR_MEMORY;
}

/* ---- parts ---- */
uint32_t koi_schema_rule(koi_schema *c, struct json_object *schema, const char *base, const char *key, const char *name)
{
  for (size_t i = 0; schema && i < c->n_parts; i++) /* true, false and objects are parts of their own each */
    if (c->parts[i].schema == schema) return c->parts[i].rule;
  if (c->n_parts == c->cap_parts) {
    size_t cap = c->cap_parts ? c->cap_parts * 2 : 32;
    koi_schema_part *parts = koi_realloc(c->parts, cap, sizeof *parts);
    koi_schema_keep(c, parts);
    if (!parts) return 0;
    c->parts = parts, c->cap_parts = cap;
  }
  char *path = koi_format("%s%s%s%s%s", base, key ? "/" : "", key ? key : "", name ? "/" : "", name ? name : "");
  koi_schema_keep(c, path);
  if (!path) return 0;
  c->parts[c->n_parts++] = (koi_schema_part){schema, path, koi_grammar_rule(c->g)};
  return c->parts[c->n_parts - 1].rule;
}

/* A step of a JSON pointer, ~1 and ~0 undone. */
static struct json_object *step(struct json_object *at, const char *name, size_t n)
{
  char key[256];
  size_t k = 0;
  struct json_object *to = NULL;
  for (size_t i = 0; i < n && k < sizeof key - 1; i++) {
    bool spelled = name[i] == '~' && i + 1 < n && (name[i + 1] == '0' || name[i + 1] == '1');
    key[k++] = !spelled ? name[i] : name[i + 1] == '0' ? '~' : '/';
    i += spelled;
  }
  key[k] = 0;
  if (json_object_is_type(at, json_type_object)) json_object_object_get_ex(at, key, &to);
  if (json_object_is_type(at, json_type_array)) {
    size_t i = 0;
    for (const char *p = key; koi_is_digit(*p) && i < 100000; p++) i = i * 10 + (size_t)(*p - '0');
    if (koi_is_digit(*key)) to = json_object_array_get_idx(at, i);
  }
  return to;
}

struct json_object *koi_schema_find(koi_schema *c, const char *reference, const char *path)
{
  struct json_object *at = *reference == '#' ? c->root : NULL;
  const char *p = *reference == '#' ? reference + 1 : reference;
  while (at && *p == '/') {
    size_t n = strcspn(++p, "/");
    at = step(at, p, n);
    p += n;
  }
  if ((!at || *p) && path) koi_schema_fail(c, path, "\"$ref\" %s: expected a place in this schema, as #/$defs/NAME", reference);
  return *p ? NULL : at;
}

uint32_t koi_schema_count(koi_schema *c, struct json_object *schema, const char *key, uint32_t otherwise, const char *path)
{
  struct json_object *v;
  if (!json_object_object_get_ex(schema, key, &v)) return otherwise;
  double n = json_object_is_type(v, json_type_int) || json_object_is_type(v, json_type_double) ? json_object_get_double(v) : -1;
  bool fine = n >= 0 && n <= 1e9 && n == (double)(uint32_t)n;
  if (!fine) koi_schema_fail(c, path, "\"%s\": expected a whole number from 0", key);
  return fine ? (uint32_t)n : 0;
}

/* ---- keywords ---- */
typedef koi_schema_group group;
static const struct { const char *name; group group; } keywords[] = {
  {"title", KOI_SCHEMA_NOTE}, {"description", KOI_SCHEMA_NOTE}, {"default", KOI_SCHEMA_NOTE}, {"examples", KOI_SCHEMA_NOTE}, {"$schema", KOI_SCHEMA_NOTE}, {"$id", KOI_SCHEMA_NOTE}, {"$comment", KOI_SCHEMA_NOTE}, {"$defs", KOI_SCHEMA_NOTE},
  {"definitions", KOI_SCHEMA_NOTE}, {"deprecated", KOI_SCHEMA_NOTE}, {"readOnly", KOI_SCHEMA_NOTE}, {"writeOnly", KOI_SCHEMA_NOTE}, {"discriminator", KOI_SCHEMA_NOTE}, {"example", KOI_SCHEMA_NOTE},
  {"type", KOI_SCHEMA_TYPE}, {"enum", KOI_SCHEMA_CONSTANT}, {"const", KOI_SCHEMA_CONSTANT}, {"$ref", KOI_SCHEMA_PARTS}, {"anyOf", KOI_SCHEMA_PARTS}, {"oneOf", KOI_SCHEMA_PARTS}, {"allOf", KOI_SCHEMA_PARTS},
  {"properties", KOI_SCHEMA_OF_OBJECT}, {"required", KOI_SCHEMA_OF_OBJECT}, {"additionalProperties", KOI_SCHEMA_OF_OBJECT},
  {"items", KOI_SCHEMA_OF_ARRAY}, {"prefixItems", KOI_SCHEMA_OF_ARRAY}, {"minItems", KOI_SCHEMA_OF_ARRAY}, {"maxItems", KOI_SCHEMA_OF_ARRAY},
  {"minLength", KOI_SCHEMA_OF_STRING}, {"maxLength", KOI_SCHEMA_OF_STRING}, {"pattern", KOI_SCHEMA_OF_STRING}, {"format", KOI_SCHEMA_OF_STRING},
  {"minimum", KOI_SCHEMA_OF_NUMBER}, {"maximum", KOI_SCHEMA_OF_NUMBER}, {"exclusiveMinimum", KOI_SCHEMA_OF_NUMBER}, {"exclusiveMaximum", KOI_SCHEMA_OF_NUMBER},
};

typedef uint32_t value_fn(koi_schema *c, struct json_object *schema, const char *path, uint32_t next);
static uint32_t word(koi_schema *c, const char *text, uint32_t next) { return koi_schema_word(c, text, next); }
static uint32_t null_value(koi_schema *c, struct json_object *s, const char *p, uint32_t next) { return (void)s, (void)p, word(c, "null", next); }
static uint32_t boolean(koi_schema *c, struct json_object *s, const char *p, uint32_t next)
{
  (void)s, (void)p;
  return koi_grammar_either(c->g, word(c, "true", next), word(c, "false", next));
}
static const struct { const char *name; value_fn *write; group group; } types[] = {
  {"null", null_value, KOI_SCHEMA_TYPE}, {"boolean", boolean, KOI_SCHEMA_TYPE}, {"integer", koi_schema_integer, KOI_SCHEMA_TYPE}, {"number", koi_schema_number, KOI_SCHEMA_OF_NUMBER},
  {"string", koi_schema_string, KOI_SCHEMA_OF_STRING}, {"array", koi_schema_array, KOI_SCHEMA_OF_ARRAY}, {"object", koi_schema_object, KOI_SCHEMA_OF_OBJECT},
};

static bool asks_nothing(struct json_object *schema, const char *name) /* keywords that say what holds anyway */
{
  struct json_object *v;
  return !strcmp(name, "uniqueItems") && json_object_object_get_ex(schema, name, &v) && json_object_is_type(v, json_type_boolean) && !json_object_get_boolean(v);
}

bool koi_schema_group_of(const char *name, koi_schema_group *out)
{
  size_t i = 0;
  while (i < KOI_COUNT(keywords) && strcmp(keywords[i].name, name)) i++;
  if (i < KOI_COUNT(keywords)) *out = keywords[i].group;
  return i < KOI_COUNT(keywords);
}

/* Which groups of keywords a schema has, a bit each; 0 and an error for one that is not known. */
static unsigned groups_of(koi_schema *c, struct json_object *schema, const char *path)
{
  unsigned groups = 0;
  json_object_object_foreach(schema, name, value) {
    group own;
    (void)value;
    if (koi_schema_group_of(name, &own)) groups |= 1u << own;
    else if (!asks_nothing(schema, name)) koi_schema_fail(c, path, "\"%s\" is not supported", name);
  }
  return groups & ~(1u << KOI_SCHEMA_NOTE);
}

/* ---- values ---- */
static uint32_t constants(koi_schema *c, struct json_object *schema, const char *path, uint32_t next)
{
  struct json_object *one = NULL, *list = NULL;
  bool single = json_object_object_get_ex(schema, "const", &one);
  if (single && json_object_object_get_ex(schema, "enum", NULL)) koi_schema_fail(c, path, "\"enum\" beside \"const\" is not supported");
  if (!single && json_object_object_get_ex(schema, "enum", &list) && !json_object_is_type(list, json_type_array)) koi_schema_fail(c, path, "\"enum\": expected a list");
  uint32_t all = KOI_GRAMMAR_NEVER;
  for (size_t i = 0; !c->status && i < (single ? 1 : json_object_array_length(list)); i++) {
    struct json_object *v = single ? one : json_object_array_get_idx(list, i);
    size_t n;
    if (!koi_schema_has_type(schema, koi_schema_type_of(v))) continue;
    const char *text = json_object_to_json_string_length(v, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);
    koi_schema_keep(c, text);
    if (text) all = koi_grammar_either(c->g, koi_grammar_text(c->g, text, n, next), all);
  }
  if (all == KOI_GRAMMAR_NEVER) koi_schema_fail(c, path, "no value is left of the constants");
  return all;
}

static uint32_t alternatives(koi_schema *c, struct json_object *list, const char *key, const char *path, uint32_t next)
{
  uint32_t all = KOI_GRAMMAR_NEVER;
  size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
  if (!n) koi_schema_fail(c, path, "\"%s\": expected a list of schemas", key);
  if (n > 1 && !strcmp(key, "allOf")) koi_schema_fail(c, path, "\"allOf\" with more than one part is not supported");
  for (size_t i = n; i-- > 0 && !c->status;) {
    struct json_object *one = json_object_array_get_idx(list, i);
    for (size_t k = 0; k < i && !strcmp(key, "oneOf") && !c->status; k++)
      if (!koi_schema_apart(c, one, json_object_array_get_idx(list, k), 0))
        koi_schema_fail(c, path, "\"oneOf\" is not supported where a value may fit two parts, here %zu and %zu: say \"anyOf\", or give them a constant that differs", k, i);
    char number[24];
    koi_print(number, sizeof number, "%zu", i);
    all = koi_grammar_either(c->g, koi_grammar_call(c->g, koi_schema_rule(c, one, path, key, number), next), all);
  }
  return all;
}

static uint32_t combined(koi_schema *c, struct json_object *schema, const char *path, uint32_t next)
{
  static const char *const keys[] = {"anyOf", "oneOf", "allOf"};
  struct json_object *v = NULL;
  const char *found = NULL;
  size_t n = 0;
  for (size_t i = 0; i < KOI_COUNT(keys); i++)
    if (json_object_object_get_ex(schema, keys[i], &v)) found = keys[i], n++;
  if (json_object_object_get_ex(schema, "$ref", &v)) {
    const char *to = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
    struct json_object *target = koi_schema_find(c, to, path);
    if (n) koi_schema_fail(c, path, "\"%s\" beside \"$ref\" is not supported", found);
    return c->status ? KOI_GRAMMAR_NEVER : koi_grammar_call(c->g, koi_schema_rule(c, target, to, NULL, NULL), next);
  }
  if (n > 1) koi_schema_fail(c, path, "only one of anyOf, oneOf and allOf is supported");
  json_object_object_get_ex(schema, found, &v);
  return alternatives(c, v, found, path, next);
}

static bool named_type(struct json_object *v, const char *name)
{
  if (json_object_is_type(v, json_type_string)) return !strcmp(json_object_get_string(v), name);
  for (size_t i = 0; json_object_is_type(v, json_type_array) && i < json_object_array_length(v); i++)
    if (json_object_is_type(json_object_array_get_idx(v, i), json_type_string) && !strcmp(json_object_get_string(json_object_array_get_idx(v, i)), name)) return true;
  return false;
}

/* The types that a schema names; without any, those that its keywords are about. */
static uint32_t typed(koi_schema *c, struct json_object *schema, unsigned groups, const char *path, uint32_t next)
{
  struct json_object *v = NULL;
  bool named = json_object_object_get_ex(schema, "type", &v);
  size_t found = 0, wanted = !named || json_object_is_type(v, json_type_string) ? 1 : json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 1;
  uint32_t all = KOI_GRAMMAR_NEVER;
  for (size_t i = 0; i < KOI_COUNT(types) && !c->status; i++) {
    if (named ? !named_type(v, types[i].name) : !(groups >> types[i].group & 1) || types[i].group == KOI_SCHEMA_TYPE) continue;
    found++;
    all = koi_grammar_either(c->g, types[i].write(c, schema, path, next), all);
  }
  if (!found || (named && found != wanted)) koi_schema_fail(c, path, "\"type\": expected null, boolean, integer, number, string, array or object, or a list of them");
  return all;
}

/* The same, and an error for keywords that are not supported beside each other. */
unsigned koi_schema_check(koi_schema *c, struct json_object *schema, const char *path)
{
  unsigned groups = groups_of(c, schema, path), alone = groups & ~(1u << KOI_SCHEMA_TYPE);
  if (groups >> KOI_SCHEMA_PARTS & 1 && groups != 1u << KOI_SCHEMA_PARTS) koi_schema_fail(c, path, "other keywords beside $ref, anyOf, oneOf or allOf are not supported");
  if (groups >> KOI_SCHEMA_CONSTANT & 1 && alone != 1u << KOI_SCHEMA_CONSTANT) koi_schema_fail(c, path, "other keywords than \"type\" beside enum or const are not supported");
  return groups;
}

static uint32_t value(koi_schema *c, struct json_object *schema, const char *path, uint32_t next)
{
  if (json_object_is_type(schema, json_type_boolean)) return json_object_get_boolean(schema) ? koi_grammar_call(c->g, c->basic[KOI_JSON_VALUE], next) : KOI_GRAMMAR_NEVER;
  if (!json_object_is_type(schema, json_type_object)) return koi_schema_fail(c, path, "expected a schema, which is an object, true or false"), KOI_GRAMMAR_NEVER;
  unsigned groups = koi_schema_check(c, schema, path);
  if (c->status) return KOI_GRAMMAR_NEVER;
  if (!groups) return koi_grammar_call(c->g, c->basic[KOI_JSON_VALUE], next);
  if (groups >> KOI_SCHEMA_PARTS & 1) return combined(c, schema, path, next);
  return groups >> KOI_SCHEMA_CONSTANT & 1 ? constants(c, schema, path, next) : typed(c, schema, groups, path, next);
}

/* ---- all of it ---- */
static void compile(koi_schema *c)
{
  uint32_t start = koi_grammar_rule(c->g); /* rule 0 */
  koi_schema_basics(c);
  koi_grammar_set(c->g, start, koi_grammar_call(c->g, koi_schema_rule(c, c->root, "#", NULL, NULL), KOI_GRAMMAR_END));
  koi_schema_write(c);
}

void koi_schema_write(koi_schema *c)
{
  for (; c->n_written < c->n_parts && !c->status; c->n_written++) { /* parts are found while parts are written */
    const koi_schema_part p = c->parts[c->n_written];
    koi_grammar_set(c->g, p.rule, value(c, p.schema, p.path, KOI_GRAMMAR_END));
    if (koi_grammar_size(c->g) > KOI_SCHEMA_NODES) koi_schema_fail(c, p.path, "the schema is too large");
  }
}

static koine_status finish(koi_schema *c)
{
  uint32_t rule;
  koine_status s = c->status ? c->status : koi_grammar_finish(c->g, &rule);
  const char *where = "#";
  if (c->status || s != KOINE_ERR_ARG) return s;
  for (size_t i = 0; i < c->n_parts; i++)
    if (c->parts[i].rule == rule) where = c->parts[i].path;
  return koi_error_prefix(s, "schema %s", where);
}

static koine_status read(koi_schema *c, const char *json, size_t n)
{
  koine_status s = koi_jscan_check(json, n, "schema");
  if (s) return s == KOINE_ERR_FILE ? KOINE_ERR_ARG : s;
  struct json_tokener *t = json_tokener_new_ex(KOI_JSCAN_DEPTH + 2);
  char *text = n < INT32_MAX ? koi_format("%.*s", (int)n, json) : NULL; /* with a zero byte, where a lone word ends */
  if (t && text) c->root = json_tokener_parse_ex(t, text, (int)n + 1);
  if (t) json_tokener_free(t);
  koi_free(text);
  if (!t || !text) return koi_error(KOINE_ERR_MEMORY, "schema: out of memory");
  return c->root ? KOINE_OK : koi_error(KOINE_ERR_ARG, "schema: expected a schema, which is an object, true or false");
}

koine_status koi_schema_compile(koi_schema *c, const char *json, size_t n, void (*compile)(koi_schema *c), koi_grammar **out)
{
  koine_status s = read(c, json, n);
  struct json_object *root = c->root;
  if (!s) s = koi_grammar_new(&c->g);
  if (!s) compile(c), s = finish(c);
  for (size_t i = 0; i < c->n_parts; i++) koi_free(c->parts[i].path);
  koi_free(c->parts);
  json_object_put(root);
  if (s) koi_grammar_free(c->g);
  else *out = c->g;
  return s;
}

koine_status koi_schema_grammar(const char *json, size_t n, koi_grammar **out)
{
  koi_schema c = {0};
  return koi_schema_compile(&c, json, n, compile, out);
}
