/* Owns: when two runs of tokens are the same. Keeps nothing. */
#include "spell.h"
#include "utf8.h"
#include <json-c/json.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct speller {
  const koine_tokenizer *tokenizer;
  const int32_t *held, *ids;
  size_t n_held, n_ids;
  int32_t *out;
  size_t n_out;
} speller;

static size_t run_end(const koine_tokenizer *tokenizer, const int32_t *ids, size_t n, size_t i)
{
  while (i < n && !koine_tokenizer_is_control(tokenizer, ids[i])) i++;
  return i;
}

/* ---- runs of text ---- */
/* The bytes of ids in a form in which a model's own bytes and the text that was made of them are the same: what is no UTF-8, and U+FFFD, which stands
 * for it in text, become one byte that UTF-8 does not have, and at the end nothing. free *out. */
static koine_status plain_text(const koine_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, char **out, size_t *n_out)
{
  static const char unknown[] = "\xef\xbf\xbd";
  char *text = NULL;
  size_t n_bytes = 0, n = 0;
  koine_status s = koine_detokenize(tokenizer, ids, n_ids, true, &text, &n_bytes);
  if (s) return s;
  char *plain = malloc(n_bytes + 1);
  for (size_t i = 0, k; plain && i < n_bytes; i += k ? k : 1) {
    k = serve_utf8(text + i, n_bytes - i);
    if (k && (k != 3 || memcmp(text + i, unknown, 3))) {
      memcpy(plain + n, text + i, k);
      n += k;
    } else if (!n || plain[n - 1] != '\xff') plain[n++] = '\xff';
  }
  koine_text_free(text);
  if (!plain) return KOINE_ERR_MEMORY;
  *out = plain;
  *n_out = n && plain[n - 1] == '\xff' ? n - 1 : n;
  return KOINE_OK;
}

static koine_status same_text(const koine_tokenizer *tokenizer, const int32_t *a, size_t n_a, const int32_t *b, size_t n_b, bool *same)
{
  char *text[2] = {NULL};
  size_t n[2] = {0};
  koine_status s = plain_text(tokenizer, a, n_a, &text[0], &n[0]);
  if (!s) s = plain_text(tokenizer, b, n_b, &text[1], &n[1]);
  *same = !s && n[0] == n[1] && !memcmp(text[0], text[1], n[0]);
  free(text[0]);
  free(text[1]);
  return s;
}

/* ---- answers of the model ---- */
static int32_t token_of(const koine_tokenizer *tokenizer, const char *text)
{
  int32_t *ids = NULL, id = -1;
  size_t n = 0;
  if (!koine_tokenize(tokenizer, text, strlen(text), KOINE_TOKENIZE_SPECIAL, &ids, &n) && n == 1) id = ids[0];
  koine_ids_free(ids);
  return id;
}

/* Where the last answer before `at` begins, behind its header of two tokens; SIZE_MAX: `at` is in none. */
static size_t answer_begin(const speller *p, const int32_t *ids, size_t at)
{
  const int32_t assistant = token_of(p->tokenizer, "<\xEF\xBD\x9C" "Assistant\xEF\xBD\x9C>"), eos = koine_tokenizer_eos(p->tokenizer);
  for (size_t i = at; i > 1; i--) {
    if (ids[i - 1] == eos) return SIZE_MAX;
    if (ids[i - 2] == assistant) return i;
  }
  return SIZE_MAX;
}

static size_t answer_end(const speller *p, const int32_t *ids, size_t n, size_t at)
{
  const int32_t eos = koine_tokenizer_eos(p->tokenizer);
  while (at < n && ids[at] != eos) at++;
  return at;
}

static bool text_is(json_object *a, json_object *b, const char *key)
{
  return json_object_equal(json_object_object_get(a, key), json_object_object_get(b, key));
}

/* Arguments are JSON in a text: another spelling of the same value is the same. */
static bool same_calls(json_object *a, json_object *b)
{
  json_object *x = json_object_object_get(a, "tool_calls"), *y = json_object_object_get(b, "tool_calls");
  size_t n = json_object_array_length(x);
  bool same = n && n == json_object_array_length(y);
  for (size_t i = 0; same && i < n; i++) {
    json_object *f = json_object_object_get(json_object_array_get_idx(x, i), "function"), *g = json_object_object_get(json_object_array_get_idx(y, i), "function");
    json_object *v = json_tokener_parse(json_object_get_string(json_object_object_get(f, "arguments")));
    json_object *w = json_tokener_parse(json_object_get_string(json_object_object_get(g, "arguments")));
    same = text_is(f, g, "name") && v && json_object_equal(v, w);
    json_object_put(v);
    json_object_put(w);
  }
  return same;
}

/* Whether the answers with calls in held [i..end_i) and ids [j..end_j) say the same. A client that lost the reasoning gets it back. */
static koine_status same_answer(const speller *p, size_t i, size_t end_i, size_t j, size_t end_j, bool *same)
{
  koine_thinking thinking = p->ids[j - 1] == token_of(p->tokenizer, "<think>") ? KOINE_THINK_HIGH : KOINE_THINK_OFF;
  char *text[2] = {NULL};
  *same = false;
  if (p->held[i - 1] != p->ids[j - 1]) return KOINE_OK;
  koine_status s = koine_chat_parse_ids(p->tokenizer, p->held + i, end_i - i, thinking, &text[0]);
  if (!s) s = koine_chat_parse_ids(p->tokenizer, p->ids + j, end_j - j, thinking, &text[1]);
  json_object *a = s ? NULL : json_tokener_parse(text[0]), *b = s ? NULL : json_tokener_parse(text[1]);
  bool lost = b && !json_object_get_string_len(json_object_object_get(b, "reasoning_content"));
  *same = a && b && same_calls(a, b) && text_is(a, b, "content") && (lost || text_is(a, b, "reasoning_content"));
  json_object_put(a);
  json_object_put(b);
  koine_text_free(text[0]);
  koine_text_free(text[1]);
  return s;
}

/* Both stand where they first differ. Takes the whole answer that they are in, if it says the same; *took says so. */
static koine_status take_answer(speller *p, size_t *i, size_t *j, bool *took)
{
  size_t from_i = answer_begin(p, p->held, *i), from_j = answer_begin(p, p->ids, *j);
  *took = false;
  if (from_i == SIZE_MAX || from_j == SIZE_MAX) return KOINE_OK;
  size_t end_i = answer_end(p, p->held, p->n_held, *i), end_j = answer_end(p, p->ids, p->n_ids, *j);
  koine_status s = same_answer(p, from_i, end_i, from_j, end_j, took);
  if (s || !*took) return s;
  p->n_out -= *i - from_i;
  memcpy(p->out + p->n_out, p->held + from_i, (end_i - from_i) * sizeof *p->out);
  p->n_out += end_i - from_i;
  *i = end_i, *j = end_j;
  return KOINE_OK;
}

/* ---- the whole ---- */
/* The run of text that both are in; `synced` is where the last one that was taken ended. */
static koine_status take_run(speller *p, size_t *i, size_t *j, size_t synced, bool *took)
{
  size_t at_i = *i, at_j = *j, n = p->n_out;
  while (n > synced && !koine_tokenizer_is_control(p->tokenizer, p->out[n - 1])) at_i--, at_j--, n--;
  size_t end_i = run_end(p->tokenizer, p->held, p->n_held, at_i), end_j = run_end(p->tokenizer, p->ids, p->n_ids, at_j);
  koine_status s = same_text(p->tokenizer, p->held + at_i, end_i - at_i, p->ids + at_j, end_j - at_j, took);
  *took = *took && end_i > at_i && end_j > at_j;
  if (s || !*took) return s;
  memcpy(p->out + n, p->held + at_i, (end_i - at_i) * sizeof *p->out);
  p->n_out = n + (end_i - at_i);
  *i = end_i, *j = end_j;
  return KOINE_OK;
}

koine_status serve_spell(const koine_tokenizer *tokenizer, const int32_t *held, size_t n_held, const int32_t *ids, size_t n_ids, int32_t *spelled,
                         size_t *n_spelled)
{
  speller p = {.tokenizer = tokenizer, .held = held, .n_held = n_held, .ids = ids, .n_ids = n_ids, .out = spelled};
  size_t i = 0, j = 0, synced = 0;
  koine_status s = KOINE_OK;
  for (bool same = true; i < n_held && j < n_ids && same && !s;) {
    if (held[i] == ids[j]) {
      spelled[p.n_out++] = ids[j];
      i++, j++;
      continue;
    }
    s = take_run(&p, &i, &j, synced, &same);
    if (!s && !same) s = take_answer(&p, &i, &j, &same);
    if (same) synced = p.n_out;
  }
  if (s) return s;
  memcpy(spelled + p.n_out, ids + j, (n_ids - j) * sizeof *spelled);
  *n_spelled = p.n_out + (n_ids - j);
  return KOINE_OK;
}
