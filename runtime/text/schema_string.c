/* Owns: strings with a length, a pattern or a format. */
#include <string.h>
#include "schema_impl.h"

/* Formats as patterns: each text is one of the format, not each text of the format is here. */
#define DAY "(\\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8])))"
#define TIME "(([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d))"
#define BYTE "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define LABEL "[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?"
#define HOST "[a-z]([a-z0-9-]{0,30}[a-z0-9])?(\\." LABEL "){0,4}\\.[a-z]{2,8}"
static const struct { const char *name, *pattern; } formats[] = {
  {"date", "^" DAY "$"}, {"time", "^" TIME "$"}, {"date-time", "^" DAY "T" TIME "$"},
  {"duration", "^P(\\d{1,4}D(T\\d{1,4}H)?|T\\d{1,4}(H|M|S)|\\d{1,4}W)$"},
  {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"},
  {"ipv4", "^" BYTE "\\." BYTE "\\." BYTE "\\." BYTE "$"},
  {"hostname", "^" HOST "$"}, {"email", "^[A-Za-z0-9]([A-Za-z0-9_+-]{0,30})(\\.[A-Za-z0-9_+-]{1,30}){0,3}@" HOST "$"},
  {"uri", "^https?://" HOST "(/[A-Za-z0-9._~-]{1,40}){0,8}/?$"},
};

static const char *format_pattern(koi_schema *c, struct json_object *v, const char *path)
{
  const char *name = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
  koi_text known = {0};
  for (size_t i = 0; i < KOI_COUNT(formats); i++) {
    if (!strcmp(formats[i].name, name)) return koi_free(known.s), formats[i].pattern;
    koi_text_add(&known, "%s%s", i ? ", " : "", formats[i].name);
  }
  koi_schema_fail(c, path, "the format \"%s\" is not supported; supported are %s", name, known.failed ? "" : known.s);
  koi_free(known.s);
  return NULL;
}

uint32_t koi_schema_length(koi_schema *c, struct json_object *schema, const char *path, uint32_t next)
{
  uint32_t least = koi_schema_count(c, schema, "minLength", 0, path), most = koi_schema_count(c, schema, "maxLength", KOI_GRAMMAR_ENDLESS, path);
  if (least > most) koi_schema_fail(c, path, "at least %u characters and at most %u", least, most);
  return c->status ? KOI_GRAMMAR_NEVER : koi_grammar_repeat(c->g, c->character, least, most, next);
}

uint32_t koi_schema_string(koi_schema *c, struct json_object *schema, const char *path, uint32_t next)
{
  struct json_object *pattern = NULL, *format = NULL;
  const char *text = NULL;
  if (json_object_object_get_ex(schema, "pattern", &pattern)) {
    text = json_object_get_string(pattern);
    if (!json_object_is_type(pattern, json_type_string)) koi_schema_fail(c, path, "\"pattern\": expected a regular expression as a string");
  }
  if (json_object_object_get_ex(schema, "format", &format)) {
    if (pattern) koi_schema_fail(c, path, "\"pattern\" beside \"format\" is not supported");
    if (!c->status) text = format_pattern(c, format, path);
  }
  if (text && (koi_schema_count(c, schema, "minLength", 0, path) || koi_schema_count(c, schema, "maxLength", KOI_GRAMMAR_ENDLESS, path) != KOI_GRAMMAR_ENDLESS))
    koi_schema_fail(c, path, "a length beside \"%s\" is not supported", pattern ? "pattern" : "format");
  if (c->status) return KOI_GRAMMAR_NEVER;
  uint32_t end = koi_schema_word(c, "\"", next);
  return koi_schema_word(c, "\"", text ? koi_schema_pattern(c, text, path, end) : koi_schema_length(c, schema, path, end));
}
