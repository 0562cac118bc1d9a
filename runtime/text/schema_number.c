/* Owns: numbers within bounds, as alternatives of digits. Invariant: no text is outside the bounds, none has more than LONGEST digits
 * before the point. */
#include <math.h>
#include <string.h>
#include "schema_impl.h"

#define LARGEST 999999999999999 /* 15 digits: a double holds each of them */

typedef struct bounds {
  int64_t low, high;        /* whole numbers */
  bool low_open, high_open; /* the bound itself is outside */
} bounds;

static uint32_t digits(koi_schema *c, uint32_t least, uint32_t most, uint32_t next) { return koi_grammar_repeat(c->g, c->basic[KOI_JSON_DIGIT], least, most, next); }

static uint32_t one_digit(koi_schema *c, int from, int to, uint32_t next)
{
  koi_byte_set set = {0};
  if (from > to) return KOI_GRAMMAR_NEVER;
  koi_byte_set_add(&set, '0' + (unsigned)from, '0' + (unsigned)to);
  return koi_grammar_bytes(c->g, &set, next);
}

/* Texts of n digits from low to high; NULL: no bound on that side. */
static uint32_t between(koi_schema *c, const char *low, const char *high, size_t n, uint32_t next)
{
  if (!n) return next;
  if (!low && !high) return digits(c, (uint32_t)n, (uint32_t)n, next);
  int a = low ? *low - '0' : 0, b = high ? *high - '0' : 9;
  const char *low_on = low ? low + 1 : NULL, *high_on = high ? high + 1 : NULL;
  if (low && high && a == b) return one_digit(c, a, a, between(c, low_on, high_on, n - 1, next));
  uint32_t all = one_digit(c, a + (low != NULL), b - (high != NULL), digits(c, (uint32_t)n - 1, (uint32_t)n - 1, next));
  if (low) all = koi_grammar_either(c->g, one_digit(c, a, a, between(c, low_on, NULL, n - 1, next)), all);
  if (high) all = koi_grammar_either(c->g, one_digit(c, b, b, between(c, NULL, high_on, n - 1, next)), all);
  return all;
}

/* Whole numbers from low to high, neither below 0. */
static uint32_t whole(koi_schema *c, int64_t low, int64_t high, uint32_t next)
{
  uint32_t all = KOI_GRAMMAR_NEVER;
  for (int64_t first = 0, last = 9; low <= high && last <= LARGEST; first = last + 1, last = last * 10 + 9) {
    int64_t from = low > first ? low : first, to = high < last ? high : last;
    char a[24], b[24];
    if (from > to) continue;
    koi_print(a, sizeof a, "%lld", (long long)from);
    koi_print(b, sizeof b, "%lld", (long long)to);
    all = koi_grammar_either(c->g, between(c, a, b, strlen(a), next), all);
  }
  return all;
}

/* Numbers with the sign taken off. A fraction stays below the next whole number, so that only the upper bound itself needs care. */
static uint32_t magnitude(koi_schema *c, bounds b, bool fractions, uint32_t next)
{
  enum { PLACES = 15 };
  if (b.low > b.high) return KOI_GRAMMAR_NEVER;
  if (!fractions) return whole(c, b.low + b.low_open, b.high - b.high_open, next);
  uint32_t fraction = koi_grammar_either(c->g, next, koi_schema_one(c, ".", digits(c, 1, PLACES, next)));
  uint32_t all = whole(c, b.low + b.low_open, b.high - 1, fraction);
  if (!b.high_open && (b.high > b.low || !b.low_open)) all = koi_grammar_either(c->g, whole(c, b.high, b.high, koi_grammar_either(c->g, next, koi_schema_word(c, ".0", next))), all);
  if (!b.low_open || b.low == b.high) return all;
  uint32_t zero = koi_grammar_rule(c->g); /* just above the lower bound: a fraction that is not 0 */
  koi_grammar_set(c->g, zero, koi_schema_one(c, "0", KOI_GRAMMAR_END));
  uint32_t above = koi_grammar_repeat(c->g, zero, 0, 6, koi_schema_one(c, "123456789", digits(c, 0, 8, next)));
  return koi_grammar_either(c->g, whole(c, b.low, b.low, koi_schema_one(c, ".", above)), all);
}

static bool bound(koi_schema *c, struct json_object *schema, const char *key, const char *path, bool fractions, double *out)
{
  struct json_object *v;
  if (!json_object_object_get_ex(schema, key, &v)) return false;
  if (!json_object_is_type(v, json_type_int) && !json_object_is_type(v, json_type_double)) return koi_schema_fail(c, path, "\"%s\": expected a number", key), false;
  *out = json_object_get_double(v);
  if (!(fabs(*out) <= LARGEST)) koi_schema_fail(c, path, "\"%s\": expected a number of at most 15 digits", key);
  else if (fractions && *out != floor(*out)) koi_schema_fail(c, path, "\"%s\" is %g: only whole numbers are supported as bounds of a number", key, *out);
  return !c->status;
}

static bounds read_bounds(koi_schema *c, struct json_object *schema, const char *path, bool fractions)
{
  bounds b = {-LARGEST, LARGEST, false, false};
  double v;
  if (bound(c, schema, "minimum", path, fractions, &v)) b.low = (int64_t)ceil(v);
  if (bound(c, schema, "maximum", path, fractions, &v)) b.high = (int64_t)floor(v);
  if (bound(c, schema, "exclusiveMinimum", path, fractions, &v) && ceil(v) >= (double)b.low) b.low = (int64_t)ceil(v), b.low_open = v == ceil(v);
  if (bound(c, schema, "exclusiveMaximum", path, fractions, &v) && floor(v) <= (double)b.high) b.high = (int64_t)floor(v), b.high_open = v == floor(v);
  return b;
}

static uint32_t within(koi_schema *c, struct json_object *schema, const char *path, bool fractions, uint32_t next)
{
  bounds b = read_bounds(c, schema, path, fractions), above = b, below = {-b.high, -b.low, b.high_open, b.low_open};
  if (above.low < 0) above.low = 0, above.low_open = false;
  if (below.low <= 0) below.low = 0, below.low_open = true; /* -0 is left out */
  uint32_t positive = above.high >= 0 ? magnitude(c, above, fractions, next) : KOI_GRAMMAR_NEVER;
  uint32_t negative = below.high >= 0 ? magnitude(c, below, fractions, next) : KOI_GRAMMAR_NEVER;
  if (negative != KOI_GRAMMAR_NEVER) negative = koi_schema_one(c, "-", negative);
  uint32_t all = koi_grammar_either(c->g, positive, negative);
  if (all == KOI_GRAMMAR_NEVER) koi_schema_fail(c, path, "no number is within the bounds");
  return all;
}

static bool bounded(struct json_object *schema)
{
  static const char *const keys[] = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"};
  for (size_t i = 0; i < KOI_COUNT(keys); i++)
    if (json_object_object_get_ex(schema, keys[i], NULL)) return true;
  return false;
}

uint32_t koi_schema_number(koi_schema *c, struct json_object *schema, const char *path, uint32_t next)
{
  return bounded(schema) ? within(c, schema, path, true, next) : koi_grammar_call(c->g, c->basic[KOI_JSON_NUMBER], next);
}

uint32_t koi_schema_integer(koi_schema *c, struct json_object *schema, const char *path, uint32_t next)
{
  return bounded(schema) ? within(c, schema, path, false, next) : koi_grammar_call(c->g, c->basic[KOI_JSON_INTEGER], next);
}
