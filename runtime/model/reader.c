/* See reader.h. Owns nothing. */
#include "reader.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* "rope_scaling.factor", into the room for it. */
const char *koi_reader_full_key(const koi_reader *r, const char *key, char out[KOI_READER_KEY])
{
  if (r->shown) return r->shown(r->path, key);
  snprintf(out, KOI_READER_KEY, "%s%s", r->path, key);
  return out;
}

koine_status koi_reader_bad(const koi_reader *r, const char *key, const char *expected, json_object *found)
{
  const char *text = found ? json_object_to_json_string_ext(found, JSON_C_TO_STRING_PLAIN) : "null";
  char full[KOI_READER_KEY];
  return koi_error(KOINE_ERR_FILE, "%s: %s: expected %s, found %.80s", r->where, koi_reader_full_key(r, key, full), expected, text ? text : "?");
}

koine_status koi_reader_absent(const koi_reader *r, const char *key, const char *expected)
{
  bool null = json_object_object_get_ex(r->object, key, NULL);
  char full[KOI_READER_KEY];
  return koi_error(KOINE_ERR_FILE, "%s: %s: expected %s, found %s", r->where, koi_reader_full_key(r, key, full), expected, null ? "null" : "no such key");
}

json_object *koi_reader_get(const koi_reader *r, const char *key) { return json_object_object_get(r->object, key); }

koine_status koi_reader_u64(const koi_reader *r, const char *key, uint64_t min, uint64_t max, uint64_t *out)
{
  char expected[64];
  json_object *v = koi_reader_get(r, key);
  snprintf(expected, sizeof expected, "an integer from %ju to %ju", (uintmax_t)min, (uintmax_t)max);
  if (!v) return koi_reader_absent(r, key, expected);
  if (!json_object_is_type(v, json_type_int) || json_object_get_int64(v) < 0) return koi_reader_bad(r, key, expected, v);
  uint64_t n = json_object_get_uint64(v);
  if (n < min || n > max) return koi_reader_bad(r, key, expected, v);
  *out = n;
  return KOINE_OK;
}

koine_status koi_reader_u32(const koi_reader *r, const char *key, uint32_t min, uint32_t max, uint32_t *out)
{
  uint64_t n = 0;
  koine_status s = koi_reader_u64(r, key, min, max, &n);
  if (!s) *out = (uint32_t)n;
  return s;
}

koine_status koi_reader_number(const koi_reader *r, const char *key, double above, double max, double *out)
{
  char expected[64];
  json_object *v = koi_reader_get(r, key);
  koi_print(expected, sizeof expected, "a number above %g, up to %g", above, max);
  if (!v) return koi_reader_absent(r, key, expected);
  double x = json_object_get_double(v);
  if (!json_object_is_type(v, json_type_int) && !json_object_is_type(v, json_type_double)) return koi_reader_bad(r, key, expected, v);
  if (!isfinite(x) || !(x > above) || x > max) return koi_reader_bad(r, key, expected, v);
  *out = x;
  return KOINE_OK;
}

koine_status koi_reader_bool(const koi_reader *r, const char *key, bool *out)
{
  json_object *v = koi_reader_get(r, key);
  if (!v) return KOINE_OK;
  if (!json_object_is_type(v, json_type_boolean)) return koi_reader_bad(r, key, "true or false", v);
  *out = json_object_get_boolean(v);
  return KOINE_OK;
}

koine_status koi_reader_name(const koi_reader *r, const char *key, const char *const *names, size_t n, size_t *out)
{
  json_object *v = koi_reader_get(r, key);
  if (!v) return KOINE_OK;
  for (size_t i = 0; i < n && json_object_is_type(v, json_type_string); i++)
    if (!strcmp(json_object_get_string(v), names[i])) return *out = i, KOINE_OK;
  char expected[160];
  size_t at = (size_t)snprintf(expected, sizeof expected, "\"%s\"", names[0]);
  for (size_t i = 1; i < n && at < sizeof expected; i++) at += (size_t)snprintf(expected + at, sizeof expected - at, " or \"%s\"", names[i]);
  return koi_reader_bad(r, key, expected, v);
}

/* A sub-object as a koi_reader of its own; object NULL when absent or null. */
koine_status koi_reader_object(const koi_reader *r, const char *key, const char *path, koi_reader *out)
{
  json_object *v = koi_reader_get(r, key);
  if (v && !json_object_is_type(v, json_type_object)) return koi_reader_bad(r, key, "an object", v);
  *out = (koi_reader){v, r->where, path, r->shown};
  return KOINE_OK;
}

koine_status koi_reader_list(const koi_reader *r, const char *key, size_t min, size_t max, json_object **out)
{
  char expected[80], full[96];
  json_object *v = koi_reader_get(r, key);
  *out = v;
  if (!v) return KOINE_OK;
  snprintf(expected, sizeof expected, "a list of %zu entries (one a layer)", min);
  if (!json_object_is_type(v, json_type_array)) return koi_reader_bad(r, key, expected, v);
  size_t n = json_object_array_length(v);
  return n < min || n > max
           ? koi_error(KOINE_ERR_FILE, "%s: %s: expected %s, found %zu entries", r->where, koi_reader_full_key(r, key, full), expected, n)
           : KOINE_OK;
}
