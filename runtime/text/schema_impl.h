/* What the files of the schema compiler share. Nodes are written from the end: `next` follows. On an error status is set, and what is
 * returned means nothing. */
#ifndef KOI_SCHEMA_IMPL_H
#define KOI_SCHEMA_IMPL_H
#include <json-c/json.h>
#include "schema.h"

typedef enum koi_schema_basic {
  KOI_JSON_VALUE, KOI_JSON_OBJECT, KOI_JSON_ARRAY, KOI_JSON_STRING, KOI_JSON_NUMBER, KOI_JSON_INTEGER,
  KOI_JSON_CHAR,  /* of a string: a character or an escape */
  KOI_JSON_OTHER, /* a character beyond ASCII, in UTF-8 */
  KOI_JSON_DIGIT, KOI_JSON_SPACE, KOI_JSON_N
} koi_schema_basic;

typedef enum koi_schema_group {
  KOI_SCHEMA_NOTE, KOI_SCHEMA_TYPE, KOI_SCHEMA_CONSTANT, KOI_SCHEMA_PARTS, KOI_SCHEMA_OF_OBJECT, KOI_SCHEMA_OF_ARRAY, KOI_SCHEMA_OF_STRING, KOI_SCHEMA_OF_NUMBER
} koi_schema_group;

/* A part of the schema, and the rule that it becomes. */
typedef struct koi_schema_part {
  struct json_object *schema;
  char *path;
  uint32_t rule;
} koi_schema_part;

typedef struct koi_schema {
  koi_grammar *g;
  struct json_object *root;
  koi_schema_part *parts;
  size_t n_parts, cap_parts, n_written;
  uint32_t basic[KOI_JSON_N]; /* rules */
  uint32_t character;         /* the rule of one of a text: KOI_JSON_CHAR, or what it is when nothing is escaped */
  const char *call; /* of schema_calls.c: the tool's name; NULL: any */
  bool one_call, begun;
  koine_status status;
} koi_schema;

enum { KOI_SCHEMA_NODES = 2000000 }; /* more is no schema */

/* ---- schema.c ---- */
void koi_schema_fail(koi_schema *c, const char *path, const char *fmt, ...) KOI_PRINTF(3, 4); /* the first one stays */
void koi_schema_keep(koi_schema *c, const void *memory); /* NULL: memory is short */
/* Reads the JSON into c->root, has it compiled, and finishes the grammar. compile may set another root for a while. */
koine_status koi_schema_compile(koi_schema *c, const char *json, size_t n, void (*compile)(koi_schema *c), koi_grammar **out);
void koi_schema_write(koi_schema *c); /* the parts that were found and not written yet */
/* The rule of a part, which is written later; its path is "base/key/name", as far as they are not NULL. */
uint32_t koi_schema_rule(koi_schema *c, struct json_object *schema, const char *base, const char *key, const char *name);
struct json_object *koi_schema_find(koi_schema *c, const char *reference, const char *path); /* what a $ref names */
/* What a keyword is about; false: it is not known. */
bool koi_schema_group_of(const char *name, koi_schema_group *out);
/* The groups of a schema's keywords, a bit each; an error for keywords that are not known, or not supported beside each other. */
unsigned koi_schema_check(koi_schema *c, struct json_object *schema, const char *path);
/* A number of `schema` from 0, or `otherwise` if it has none. */
uint32_t koi_schema_count(koi_schema *c, struct json_object *schema, const char *key, uint32_t otherwise, const char *path);
bool koi_schema_apart(koi_schema *c, struct json_object *a, struct json_object *b, int depth); /* no value fits both (schema_apart.c) */
const char *koi_schema_type_of(struct json_object *value); /* "null", "integer", ... */
bool koi_schema_has_type(struct json_object *schema, const char *type); /* true without `type`, too */

/* ---- schema_basic.c ---- */
void koi_schema_basics(koi_schema *c);
uint32_t koi_schema_one(koi_schema *c, const char *bytes, uint32_t next); /* one of these bytes */
uint32_t koi_schema_space(koi_schema *c, uint32_t next);                  /* white space, if any */
uint32_t koi_schema_word(koi_schema *c, const char *text, uint32_t next);

/* ---- a value of each type ---- */
typedef struct koi_schema_member {
  const char *name;
  struct json_object *schema; /* NULL: anything */
  bool required;
} koi_schema_member;
typedef struct koi_schema_members {
  koi_schema_member *v; /* [n], in the schema's order, then what else is required; koi_free */
  size_t n;
  struct json_object *others; /* the schema of members without a name here */
  bool any_others, no_others; /* others of any kind; none */
  const char *path;
} koi_schema_members;
bool koi_schema_take_members(koi_schema *c, struct json_object *schema, koi_schema_members *m); /* false: status says why not */
uint32_t koi_schema_object(koi_schema *c, struct json_object *schema, const char *path, uint32_t next);
uint32_t koi_schema_array(koi_schema *c, struct json_object *schema, const char *path, uint32_t next);
/* Of minLength characters to maxLength, each by c->character. */
uint32_t koi_schema_length(koi_schema *c, struct json_object *schema, const char *path, uint32_t next);
uint32_t koi_schema_string(koi_schema *c, struct json_object *schema, const char *path, uint32_t next);
uint32_t koi_schema_number(koi_schema *c, struct json_object *schema, const char *path, uint32_t next);
uint32_t koi_schema_integer(koi_schema *c, struct json_object *schema, const char *path, uint32_t next);
/* The characters of a string that a regular expression matches, as c->character has them. */
uint32_t koi_schema_pattern(koi_schema *c, const char *pattern, const char *path, uint32_t next);
#endif
