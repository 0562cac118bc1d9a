/* JSON Schema to a grammar: of the JSON texts that a schema allows, those that a model should write.
 *
 * A subset of draft 2020-12; what is not read is refused by name and place, never passed over (titles, descriptions and the like ask for
 * nothing). Every text of the grammar is valid; not every valid text is in the grammar: properties come in the schema's order, an object
 * with properties has no others unless `additionalProperties` says so, white space is a space, or a newline and spaces, numbers have at
 * most 15 digits before the point.
 *
 *   type, enum, const, $ref within the schema ($defs, definitions), anyOf, oneOf whose parts are apart by type or by a property's constant,
 *   allOf of one; properties, required, additionalProperties; items, prefixItems, minItems, maxItems; minLength, maxLength, pattern
 *   (characters, classes, groups, alternatives, repetition, ^ and $ around the whole), format (koi_schema_format);
 *   minimum, maximum, exclusiveMinimum, exclusiveMaximum (of numbers: whole ones). */
#ifndef KOI_SCHEMA_H
#define KOI_SCHEMA_H
#include "grammar.h"

/* json [n] is the schema. KOINE_ERR_ARG names what is wrong and where, as "schema #/properties/a: ...". *out: koi_grammar_free. */
koine_status koi_schema_grammar(const char *json, size_t n, koi_grammar **out);

/* Calls of tools as an answer has them: a block of one call or more, of the tools in json [n], an array as a request's. name: of this tool alone, NULL:
 * of any. one: one call. begun: all
 * but its first control token, and what stands before that. The control token of the markup is the byte KOI_GRAMMAR_MARK, which no text has.
 * Arguments come in the order of the schema's properties, required ones all, those without a property last; those of type string are text as it is, of
 * which format is a note. */
koine_status koi_schema_calls(const char *json, size_t n, const char *name, bool one, bool begun, koi_grammar **out);
#endif
