/* Owns: objects and arrays. Invariant: members are in the schema's order, and no key is written twice where keys are named. */
#include <stdlib.h>
#include <string.h>
#include "schema_impl.h"

typedef koi_schema_member member;
typedef koi_schema_members members;

/* ---- reading ---- */
static bool take_properties(koi_schema *c, struct json_object *schema, members *m)
{
  struct json_object *v = NULL, *required = NULL;
  bool named = json_object_object_get_ex(schema, "properties", &v);
  bool asked = json_object_object_get_ex(schema, "required", &required);
  if (named && !json_object_is_type(v, json_type_object)) return koi_schema_fail(c, m->path, "\"properties\": expected an object"), false;
  if (asked && !json_object_is_type(required, json_type_array)) return koi_schema_fail(c, m->path, "\"required\": expected a list of names"), false;
  size_t n_named = named ? (size_t)json_object_object_length(v) : 0, n_asked = asked ? json_object_array_length(required) : 0;
  m->v = koi_alloc(n_named + n_asked + 1, sizeof *m->v);
  koi_schema_keep(c, m->v);
  if (c->status) return false;
  if (named) {
    json_object_object_foreach(v, name, value) m->v[m->n++] = (member){name, value, false};
  }
  for (size_t k = 0; k < n_asked; k++) {
    struct json_object *name = json_object_array_get_idx(required, k);
    size_t i = 0;
    if (!json_object_is_type(name, json_type_string)) return koi_schema_fail(c, m->path, "\"required\": expected a list of names"), false;
    while (i < m->n && strcmp(m->v[i].name, json_object_get_string(name))) i++;
    if (i == m->n) m->v[m->n++] = (member){json_object_get_string(name), NULL, true};
    m->v[i].required = true;
  }
  return true;
}

static void take_others(koi_schema *c, struct json_object *schema, members *m)
{
  struct json_object *v;
  bool named = json_object_object_get_ex(schema, "properties", NULL);
  if (!json_object_object_get_ex(schema, "additionalProperties", &v)) {
    m->any_others = !named;
  } else if (json_object_is_type(v, json_type_boolean)) {
    m->any_others = json_object_get_boolean(v), m->no_others = !m->any_others;
  } else if (json_object_is_type(v, json_type_object)) {
    m->others = v;
  } else {
    koi_schema_fail(c, m->path, "\"additionalProperties\": expected a schema, true or false");
  }
  for (size_t i = 0; i < m->n; i++)
    if (m->no_others && !m->v[i].schema) koi_schema_fail(c, m->path, "\"%s\" is required, but not among the properties, and no others are allowed", m->v[i].name);
}

/* ---- keys without a name: every text but those ---- */
static bool begins(const char *name, const char *with, size_t n) { return !strncmp(name, with, n); }

/* The rest of a key that has `at` bytes in common with the names from first on; none of them may be written to its end. Only plain
 * characters: an escape could spell a name in another way. */
static uint32_t other_key(koi_schema *c, const members *m, const char *with, size_t at, uint32_t free, uint32_t end)
{
  koi_byte_set plain = {0};
  koi_byte_set_add(&plain, 0x20, 0x21);
  koi_byte_set_add(&plain, 0x23, 0x5b);
  koi_byte_set_add(&plain, 0x5d, 0x7e);
  bool ends = true, beyond = true;
  uint32_t all = KOI_GRAMMAR_NEVER;
  for (size_t i = 0; i < m->n && !c->status; i++) {
    const char *name = m->v[i].name;
    if (!begins(name, with, at)) continue;
    unsigned char b = (unsigned char)name[at];
    if (!b) ends = false;
    if (b >= 0x80) beyond = false;
    if (!b || b >= 0x80 || !koi_byte_set_has(&plain, b)) continue;
    plain.bits[b / 64] &= ~((uint64_t)1 << b % 64);
    uint32_t on = other_key(c, m, name, at + 1, free, end);
    all = koi_grammar_either(c->g, koi_schema_one(c, (const char[]){(char)b, 0}, on), all);
  }
  if (koi_grammar_size(c->g) > KOI_SCHEMA_NODES) koi_schema_fail(c, m->path, "too many names");
  if (beyond) all = koi_grammar_either(c->g, koi_grammar_call(c->g, c->basic[KOI_JSON_OTHER], free), all);
  all = koi_grammar_either(c->g, koi_grammar_bytes(c->g, &plain, free), all);
  return ends ? koi_grammar_either(c->g, end, all) : all;
}

static uint32_t other_member(koi_schema *c, const members *m)
{
  uint32_t rule = koi_grammar_rule(c->g), plain = koi_grammar_rule(c->g);
  uint32_t kind = m->others ? koi_schema_rule(c, m->others, m->path, "additionalProperties", NULL) : c->basic[KOI_JSON_VALUE];
  uint32_t value = koi_schema_word(c, "\":", koi_schema_space(c, koi_grammar_call(c->g, kind, KOI_GRAMMAR_END)));
  koi_byte_set set = {0};
  koi_byte_set_add(&set, 0x20, 0x21);
  koi_byte_set_add(&set, 0x23, 0x5b);
  koi_byte_set_add(&set, 0x5d, 0x7e);
  koi_grammar_set(c->g, plain, koi_grammar_either(c->g, koi_grammar_bytes(c->g, &set, KOI_GRAMMAR_END), koi_grammar_call(c->g, c->basic[KOI_JSON_OTHER], KOI_GRAMMAR_END)));
  uint32_t free = koi_grammar_repeat(c->g, plain, 0, KOI_GRAMMAR_ENDLESS, value);
  koi_grammar_set(c->g, rule, koi_schema_word(c, "\"", other_key(c, m, "", 0, free, value)));
  return rule;
}

/* ---- writing ---- */
static uint32_t named_member(koi_schema *c, const members *m, const member *e, uint32_t next)
{
  koi_text key = {0};
  uint32_t rule = e->schema ? koi_schema_rule(c, e->schema, m->path, "properties", e->name) : m->others ? koi_schema_rule(c, m->others, m->path, "additionalProperties", NULL) : c->basic[KOI_JSON_VALUE];
  koi_text_json(&key, e->name);
  koi_text_add(&key, ":");
  koi_schema_keep(c, key.failed ? NULL : key.s);
  uint32_t value = koi_schema_space(c, koi_grammar_call(c->g, rule, next));
  uint32_t all = c->status ? KOI_GRAMMAR_NEVER : koi_grammar_text(c->g, key.s, key.len, value);
  koi_free(key.s);
  return all;
}

static uint32_t write_object(koi_schema *c, const members *m, uint32_t next)
{
  koi_grammar *g = c->g;
  uint32_t close = koi_schema_word(c, "}", next), first = close, rest = koi_schema_space(c, close); /* before any member, and behind one */
  if (m->any_others || m->others) {
    uint32_t one = other_member(c, m), more = koi_grammar_rule(g);
    koi_grammar_set(g, more, koi_schema_word(c, ",", koi_schema_space(c, koi_grammar_call(g, one, KOI_GRAMMAR_END))));
    rest = koi_grammar_repeat(g, more, 0, KOI_GRAMMAR_ENDLESS, rest);
    first = koi_grammar_either(g, koi_grammar_call(g, one, rest), first);
  }
  for (size_t i = m->n; i-- > 0 && !c->status;) {
    uint32_t here = named_member(c, m, &m->v[i], rest), behind = koi_schema_word(c, ",", koi_schema_space(c, here));
    first = m->v[i].required ? here : koi_grammar_either(g, here, first);
    rest = m->v[i].required ? behind : koi_grammar_either(g, behind, rest);
  }
  return koi_schema_word(c, "{", koi_schema_space(c, first));
}

bool koi_schema_take_members(koi_schema *c, struct json_object *schema, koi_schema_members *m)
{
  if (take_properties(c, schema, m)) take_others(c, schema, m);
  return !c->status;
}

uint32_t koi_schema_object(koi_schema *c, struct json_object *schema, const char *path, uint32_t next)
{
  members m = {.path = path};
  uint32_t all = KOI_GRAMMAR_NEVER;
  if (koi_schema_take_members(c, schema, &m)) all = !m.n && m.any_others ? koi_grammar_call(c->g, c->basic[KOI_JSON_OBJECT], next) : write_object(c, &m, next);
  koi_free(m.v);
  return all;
}

/* ---- arrays ---- */
typedef struct items {
  struct json_object *prefix; /* schemas of the first ones, or NULL */
  uint32_t n_prefix, others;  /* the rule of all others */
  uint32_t least, most;
} items;

static bool take_items(koi_schema *c, struct json_object *schema, const char *path, items *out)
{
  struct json_object *v = NULL, *prefix = NULL;
  bool has = json_object_object_get_ex(schema, "items", &v), none = has && json_object_is_type(v, json_type_boolean) && !json_object_get_boolean(v);
  if (json_object_object_get_ex(schema, "prefixItems", &prefix) && !json_object_is_type(prefix, json_type_array))
    return koi_schema_fail(c, path, "\"prefixItems\": expected a list of schemas"), false;
  if (has && !json_object_is_type(v, json_type_object) && !json_object_is_type(v, json_type_boolean)) return koi_schema_fail(c, path, "\"items\": expected a schema"), false;
  out->prefix = prefix, out->n_prefix = prefix ? (uint32_t)json_object_array_length(prefix) : 0;
  out->others = has && !none ? koi_schema_rule(c, v, path, "items", NULL) : c->basic[KOI_JSON_VALUE];
  out->least = koi_schema_count(c, schema, "minItems", 0, path), out->most = koi_schema_count(c, schema, "maxItems", KOI_GRAMMAR_ENDLESS, path);
  if (none && out->most > out->n_prefix) out->most = out->n_prefix;
  if (out->least > out->most) koi_schema_fail(c, path, "at least %u items and at most %u", out->least, out->most);
  return !c->status;
}

static uint32_t item_rule(koi_schema *c, const items *x, uint32_t i, const char *path)
{
  char number[16];
  koi_print(number, sizeof number, "%u", i);
  return i < x->n_prefix ? koi_schema_rule(c, json_object_array_get_idx(x->prefix, i), path, "prefixItems", number) : x->others;
}

uint32_t koi_schema_array(koi_schema *c, struct json_object *schema, const char *path, uint32_t next)
{
  koi_grammar *g = c->g;
  items x = {0};
  if (!take_items(c, schema, path, &x)) return KOI_GRAMMAR_NEVER;
  uint32_t close = koi_schema_word(c, "]", next), more = koi_grammar_rule(g), first = close;
  koi_grammar_set(g, more, koi_schema_word(c, ",", koi_schema_space(c, koi_grammar_call(g, x.others, KOI_GRAMMAR_END))));
  uint32_t single = x.n_prefix ? x.n_prefix : 1; /* items that are written one by one; the others are a repetition */
  uint32_t left = x.least > single ? x.least - single : 0, right = x.most == KOI_GRAMMAR_ENDLESS ? x.most : x.most > single ? x.most - single : 0;
  uint32_t rest = koi_grammar_repeat(g, more, left, right, koi_schema_space(c, close));
  for (uint32_t i = single; i-- > 0 && !c->status;) {
    if (i >= x.most) {
      rest = koi_schema_space(c, close);
      continue;
    }
    uint32_t item = koi_grammar_call(g, item_rule(c, &x, i, path), rest), behind = koi_schema_word(c, ",", koi_schema_space(c, item));
    if (!i) first = x.least ? item : koi_grammar_either(g, item, close);
    rest = i < x.least ? behind : koi_grammar_either(g, behind, koi_schema_space(c, close));
  }
  return koi_schema_word(c, "[", koi_schema_space(c, first));
}
