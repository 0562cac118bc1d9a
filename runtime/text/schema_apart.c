/* Owns: whether two schemas have no value in common, as far as types, constants and properties that both require tell. */
#include <string.h>
#include "schema_impl.h"

enum { DEEPEST = 16 };

const char *koi_schema_type_of(struct json_object *v)
{
  switch (json_object_get_type(v)) {
  case json_type_boolean: return "boolean";
  case json_type_double: return "number";
  case json_type_int: return "integer";
  case json_type_object: return "object";
  case json_type_array: return "array";
  case json_type_string: return "string";
  default: return "null";
  }
}

static bool covers(const char *type, const char *other) { return !strcmp(type, other) || (!strcmp(type, "number") && !strcmp(other, "integer")); }

bool koi_schema_has_type(struct json_object *schema, const char *type)
{
  struct json_object *v;
  if (!json_object_object_get_ex(schema, "type", &v)) return true;
  if (json_object_is_type(v, json_type_string)) return covers(json_object_get_string(v), type);
  for (size_t i = 0; json_object_is_type(v, json_type_array) && i < json_object_array_length(v); i++) {
    struct json_object *one = json_object_array_get_idx(v, i);
    if (json_object_is_type(one, json_type_string) && covers(json_object_get_string(one), type)) return true;
  }
  return false;
}

/* The constants of a schema: how many, and each; 0 when it has none. */
static size_t n_constants(struct json_object *schema)
{
  struct json_object *v;
  if (json_object_object_get_ex(schema, "const", NULL)) return 1;
  return json_object_object_get_ex(schema, "enum", &v) && json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 0;
}

static struct json_object *constant(struct json_object *schema, size_t i)
{
  struct json_object *v;
  if (json_object_object_get_ex(schema, "const", &v)) return v;
  return json_object_object_get_ex(schema, "enum", &v) ? json_object_array_get_idx(v, i) : NULL;
}

static bool apart_by_constants(struct json_object *a, struct json_object *b)
{
  size_t n = n_constants(a), m = n_constants(b);
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < (m ? m : 1); k++)
      if (m ? json_object_equal(constant(a, i), constant(b, k)) : koi_schema_has_type(b, koi_schema_type_of(constant(a, i)))) return false;
  return n > 0;
}

static bool apart_by_type(struct json_object *a, struct json_object *b)
{
  static const char *const types[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
  for (size_t i = 0; i < KOI_COUNT(types); i++)
    if (koi_schema_has_type(a, types[i]) && koi_schema_has_type(b, types[i])) return false;
  return true;
}

static bool requires(struct json_object *schema, const char *name)
{
  struct json_object *v;
  if (!json_object_object_get_ex(schema, "required", &v) || !json_object_is_type(v, json_type_array)) return false;
  for (size_t i = 0; i < json_object_array_length(v); i++) {
    struct json_object *one = json_object_array_get_idx(v, i);
    if (json_object_is_type(one, json_type_string) && !strcmp(json_object_get_string(one), name)) return true;
  }
  return false;
}

static bool apart_by_property(koi_schema *c, struct json_object *a, struct json_object *b, int depth)
{
  struct json_object *pa, *pb, *other, *type;
  if (!json_object_object_get_ex(a, "type", &type) || !json_object_object_get_ex(b, "type", &type)) return false;
  if (!json_object_object_get_ex(a, "properties", &pa) || !json_object_object_get_ex(b, "properties", &pb)) return false;
  if (!json_object_is_type(pa, json_type_object) || !json_object_is_type(pb, json_type_object)) return false;
  json_object_object_foreach(pa, name, value) {
    if (requires(a, name) && requires(b, name) && json_object_object_get_ex(pb, name, &other) && koi_schema_apart(c, value, other, depth)) return true;
  }
  return false;
}

static struct json_object *followed(koi_schema *c, struct json_object *s, int depth)
{
  struct json_object *v;
  while (s && depth++ < DEEPEST && json_object_is_type(s, json_type_object) && json_object_object_get_ex(s, "$ref", &v) && json_object_is_type(v, json_type_string))
    s = koi_schema_find(c, json_object_get_string(v), NULL);
  return s && json_object_is_type(s, json_type_object) ? s : NULL;
}

bool koi_schema_apart(koi_schema *c, struct json_object *a, struct json_object *b, int depth)
{
  a = followed(c, a, depth), b = followed(c, b, depth);
  if (depth >= DEEPEST || !a || !b) return false;
  return apart_by_type(a, b) || apart_by_constants(a, b) || apart_by_constants(b, a) || apart_by_property(c, a, b, depth + 1);
}
