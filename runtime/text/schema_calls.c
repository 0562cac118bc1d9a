/* Owns: tools to a grammar of their calls, in the markup of answers. Invariant: every text of it is read as whole calls, of tools that are there and with
 * arguments that their schemas name. */
#include <string.h>
#include "schema_impl.h"

#define TAG "<" KOI_GRAMMAR_MARK
#define END_TAG "</" KOI_GRAMMAR_MARK

/* ---- values ---- */
/* A character of a text that stands as it is: of no control token. */
static uint32_t plain_character(koi_schema *c)
{
  uint32_t one = koi_grammar_rule(c->g);
  koi_byte_set plain = {0};
  koi_byte_set_add(&plain, '\t', '\n');
  koi_byte_set_add(&plain, 0x20, 0x7e);
  koi_grammar_set(c->g, one, koi_grammar_either(c->g, koi_grammar_bytes(c->g, &plain, KOI_GRAMMAR_END), koi_grammar_call(c->g, c->basic[KOI_JSON_OTHER], KOI_GRAMMAR_END)));
  return one;
}

/* A text as its schema has it, but for its format, which is a note there. */
static uint32_t text(koi_schema *c, struct json_object *schema, const char *path, uint32_t next)
{
  struct json_object *pattern = NULL, *least = NULL, *most = NULL;
  uint32_t json = c->character, all;
  c->character = plain_character(c);
  if (json_object_object_get_ex(schema, "pattern", &pattern)) {
    bool length = json_object_object_get_ex(schema, "minLength", &least) || json_object_object_get_ex(schema, "maxLength", &most);
    if (!json_object_is_type(pattern, json_type_string)) koi_schema_fail(c, path, "\"pattern\": expected a regular expression as a string");
    if (length) koi_schema_fail(c, path, "a length beside \"pattern\" is not supported");
    all = c->status ? KOI_GRAMMAR_NEVER : koi_schema_pattern(c, json_object_get_string(pattern), path, next);
  } else {
    all = koi_schema_length(c, schema, path, next);
  }
  c->character = json;
  return all;
}

/* The texts among the constants of a schema; without constants any text. */
static uint32_t texts(koi_schema *c, struct json_object *schema, const char *path, uint32_t next)
{
  struct json_object *one = NULL, *list = NULL;
  bool single = json_object_object_get_ex(schema, "const", &one), several = json_object_object_get_ex(schema, "enum", &list) && json_object_is_type(list, json_type_array);
  uint32_t all = KOI_GRAMMAR_NEVER;
  koi_schema_check(c, schema, path);
  if (!single && !several) return text(c, schema, path, next);
  for (size_t i = 0; i < (single ? 1 : json_object_array_length(list)); i++) {
    struct json_object *v = single ? one : json_object_array_get_idx(list, i);
    if (!json_object_is_type(v, json_type_string)) continue;
    all = koi_grammar_either(c->g, koi_grammar_text(c->g, json_object_get_string(v), (size_t)json_object_get_string_len(v), next), all);
  }
  return all;
}

/* schema NULL: any value. */
static uint32_t parameter(koi_schema *c, const char *name, struct json_object *schema, const char *path, uint32_t next)
{
  struct json_object *type = NULL;
  bool is_object = json_object_is_type(schema, json_type_object), typed = is_object && json_object_object_get_ex(schema, "type", &type);
  bool is_text = typed && json_object_is_type(type, json_type_string) && !strcmp(json_object_get_string(type), "string");
  bool may_be_text = is_text || (typed && !json_object_is_type(type, json_type_string) && koi_schema_has_type(schema, "string"));
  uint32_t end = koi_schema_word(c, END_TAG "parameter>\n", next), all = KOI_GRAMMAR_NEVER;
  char *own = koi_format("%s/properties/%s", path, name);
  koi_schema_keep(c, own);
  if (own && may_be_text) all = koi_schema_word(c, "true\">", texts(c, schema, own, end));
  koi_free(own);
  if (!is_text) {
    uint32_t rule = schema ? koi_schema_rule(c, schema, path, "properties", name) : c->basic[KOI_JSON_VALUE];
    all = koi_grammar_either(c->g, koi_schema_word(c, "false\">", koi_grammar_call(c->g, rule, end)), all);
  }
  all = koi_schema_word(c, TAG "parameter name=\"", koi_schema_word(c, name, koi_schema_word(c, "\" string=\"", all)));
  return all;
}

/* The schema of a tool's arguments, behind its $refs: an object's by its own keywords alone. NULL: status says why not. */
static struct json_object *object_of(koi_schema *c, struct json_object *schema, const char *path)
{
  struct json_object *v = NULL;
  for (int i = 0; i < 8 && !c->status && json_object_is_type(schema, json_type_object) && json_object_object_get_ex(schema, "$ref", &v); i++) {
    koi_schema_check(c, schema, path);
    schema = koi_schema_find(c, json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "", path);
  }
  if (c->status) return NULL;
  if (!json_object_is_type(schema, json_type_object)) return koi_schema_fail(c, path, "expected a schema of an object"), NULL;
  if (json_object_object_get_ex(schema, "$ref", NULL)) return koi_schema_fail(c, path, "expected a value that ends, found one that refers to itself"), NULL;
  json_object_object_foreach(schema, name, value) {
    koi_schema_group group;
    (void)value;
    if (koi_schema_group_of(name, &group) && group != KOI_SCHEMA_NOTE && group != KOI_SCHEMA_TYPE && group != KOI_SCHEMA_OF_OBJECT)
      koi_schema_fail(c, path, "\"%s\" is not supported for all arguments of a tool", name);
  }
  koi_schema_check(c, schema, path);
  if (!koi_schema_has_type(schema, "object")) koi_schema_fail(c, path, "\"type\": expected object for the arguments of a tool");
  return schema;
}

/* In the order of the properties, and what else is required; each part is written from its end, so the last one first. */
static uint32_t parameters(koi_schema *c, struct json_object *schema, const char *path, uint32_t next)
{
  koi_schema_members m = {.path = path};
  if (!schema || !(schema = object_of(c, schema, path))) return next;
  if (koi_schema_take_members(c, schema, &m)) {
    for (size_t i = m.n; i-- > 0 && !c->status;) {
      uint32_t here = parameter(c, m.v[i].name, m.v[i].schema ? m.v[i].schema : m.others, path, next);
      next = m.v[i].required ? here : koi_grammar_either(c->g, here, next);
    }
  }
  koi_free(m.v);
  return next;
}

/* ---- calls ---- */
/* The rule's alternatives: a call of each tool. */
static uint32_t calls(koi_schema *c, struct json_object *tools)
{
  uint32_t all = KOI_GRAMMAR_NEVER;
  for (size_t i = 0; json_object_is_type(tools, json_type_array) && i < json_object_array_length(tools) && !c->status; i++) {
    struct json_object *f = NULL, *name = NULL, *schema = NULL;
    char path[64];
    koi_print(path, sizeof path, "tools[%zu]", i);
    json_object_object_get_ex(json_object_array_get_idx(tools, i), "function", &f);
    if (!json_object_is_type(f, json_type_object) || !json_object_object_get_ex(f, "name", &name) || !json_object_is_type(name, json_type_string)) {
      koi_schema_fail(c, path, "expected a function with a name");
      continue;
    }
    if (c->call && strcmp(c->call, json_object_get_string(name))) continue;
    json_object_object_get_ex(f, "parameters", &schema);
    c->root = schema; /* what its references are about */
    uint32_t next = parameters(c, schema, path, koi_schema_word(c, END_TAG "invoke>", KOI_GRAMMAR_END));
    koi_schema_write(c);
    all = koi_grammar_either(c->g, koi_schema_word(c, TAG "invoke name=\"", koi_schema_word(c, json_object_get_string(name), koi_schema_word(c, "\">\n", next))), all);
  }
  return all;
}

static void compile(koi_schema *c)
{
  uint32_t start = koi_grammar_rule(c->g), call = koi_grammar_rule(c->g), more = koi_grammar_rule(c->g);
  koi_schema_basics(c);
  koi_grammar_set(c->g, call, calls(c, c->root));
  koi_grammar_set(c->g, more, koi_schema_word(c, "\n", koi_grammar_call(c->g, call, KOI_GRAMMAR_END)));
  uint32_t end = koi_schema_word(c, "\n" END_TAG "tool_calls>", KOI_GRAMMAR_END);
  uint32_t others = c->one_call ? end : koi_grammar_repeat(c->g, more, 0, KOI_GRAMMAR_ENDLESS, end);
  koi_grammar_set(c->g, start, koi_schema_word(c, c->begun ? "tool_calls>\n" : "\n\n" TAG "tool_calls>\n", koi_grammar_call(c->g, call, others)));
}

koine_status koi_schema_calls(const char *json, size_t n, const char *name, bool one, bool begun, koi_grammar **out)
{
  koi_schema c = {.call = name, .one_call = one, .begun = begun};
  return koi_schema_compile(&c, json, n, compile, out);
}
