/* Values of a JSON object by key, checked: what is wrong is one line with the file, the key, what was expected and what was found.
 * Outputs stay untouched after an error, and where a key may be absent, when it is. */
#ifndef KOI_READER_H
#define KOI_READER_H
#include <json-c/json.h>
#include "base/base.h"

/* The object being read. `path` stands before its keys in messages: "" or "rope_scaling.". */
typedef struct koi_reader {
  json_object *object;
  const char *where, *path;
  const char *(*shown)(const char *path, const char *key); /* what messages call a key, where the tree was made of something else; else NULL */
} koi_reader;

/* What messages call a key, perhaps in the room for it. */
enum { KOI_READER_KEY = 96 };
const char *koi_reader_full_key(const koi_reader *r, const char *key, char out[KOI_READER_KEY]);
/* The error: a value that is not as expected (NULL: null), or a key that is not there. */
koine_status koi_reader_bad(const koi_reader *r, const char *key, const char *expected, json_object *found);
koine_status koi_reader_absent(const koi_reader *r, const char *key, const char *expected);
/* A key's value; NULL when it is absent or null. */
json_object *koi_reader_get(const koi_reader *r, const char *key);
koine_status koi_reader_u64(const koi_reader *r, const char *key, uint64_t min, uint64_t max, uint64_t *out);
koine_status koi_reader_u32(const koi_reader *r, const char *key, uint32_t min, uint32_t max, uint32_t *out);
/* above < value <= max */
koine_status koi_reader_number(const koi_reader *r, const char *key, double above, double max, double *out);
/* These may be absent. A name must be one of `names`; *out is its index. */
koine_status koi_reader_bool(const koi_reader *r, const char *key, bool *out);
koine_status koi_reader_name(const koi_reader *r, const char *key, const char *const *names, size_t n, size_t *out);
/* A sub-object as a reader of its own; object NULL when absent or null. */
koine_status koi_reader_object(const koi_reader *r, const char *key, const char *path, koi_reader *out);
/* With min to max entries; NULL when absent or null. */
koine_status koi_reader_list(const koi_reader *r, const char *key, size_t min, size_t max, json_object **out);
#endif
