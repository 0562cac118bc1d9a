/* The conversation of koine chat: its messages and the tokens that the session holds of it. The prompt is made anew from the messages each
 * turn, so it is always what the checkpoint prescribes; only its spelling follows the session. Invariant: a held token replaces others
 * only where both sides are the same bytes and neither is a control token. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cmd_chat.h"

enum { JSON_DEPTH = 128 };

struct chat_talk {
  const koine_tokenizer *tokenizer;
  const char *folder, *system;
  json_object *request; /* {"messages": [...]}, with whatever else a loaded file has (tools) */
  int32_t *held;        /* [n_held] what the session holds */
  size_t n_held;
};

static int no_memory(void) { return cli_fail_with(EXIT_DEVICE, "out of memory"); }
static json_object *messages(const chat_talk *k) { return json_object_object_get(k->request, "messages"); }
size_t chat_talk_n_messages(const chat_talk *k) { return json_object_array_length(messages(k)); }

/* ---- messages ---- */
static int add(chat_talk *k, const char *role, const char *text, size_t n_bytes)
{
  json_object *m = json_object_new_object();
  if (!m || n_bytes > INT32_MAX) {
    json_object_put(m);
    return no_memory();
  }
  json_object_object_add(m, "role", json_object_new_string(role));
  json_object_object_add(m, "content", json_object_new_string_len(text, (int)n_bytes));
  return json_object_array_add(messages(k), m) ? no_memory() : EXIT_DONE;
}

int chat_talk_reset(chat_talk *k)
{
  json_object_put(k->request);
  k->request = json_object_new_object();
  if (!k->request || json_object_object_add(k->request, "messages", json_object_new_array())) return no_memory();
  return k->system ? add(k, "system", k->system, strlen(k->system)) : EXIT_DONE;
}

int chat_talk_open(const koine_tokenizer *tokenizer, const char *folder, const char *system, chat_talk **out)
{
  if (system && !cli_text_is_utf8(system, strlen(system))) return cli_fail_with(EXIT_USAGE, "-sys: expected text in UTF-8, found other bytes");
  chat_talk *k = calloc(1, sizeof *k);
  if (!k) return no_memory();
  *k = (chat_talk){.tokenizer = tokenizer, .folder = folder, .system = system};
  int status = chat_talk_reset(k);
  if (status) chat_talk_close(k);
  else *out = k;
  return status;
}

void chat_talk_close(chat_talk *k)
{
  if (!k) return;
  json_object_put(k->request);
  free(k->held);
  free(k);
}

int chat_talk_add_user(chat_talk *k, const char *text, size_t n_bytes)
{
  if (!cli_text_is_utf8(text, n_bytes)) return cli_fail_with(EXIT_FILE, "the message is left out: expected UTF-8, found other bytes");
  return add(k, "user", text, n_bytes);
}

/* Members that say nothing. */
static void drop_empty(json_object *m)
{
  const char *reasoning = json_object_get_string(json_object_object_get(m, "reasoning_content"));
  json_object *calls = json_object_object_get(m, "tool_calls");
  if (!reasoning || !*reasoning) json_object_object_del(m, "reasoning_content");
  if (!calls || !json_object_array_length(calls)) json_object_object_del(m, "tool_calls");
}

int chat_talk_add_answer(chat_talk *k, const char *text, size_t n_bytes, koine_thinking thinking)
{
  char *json = NULL;
  koine_status s = koine_chat_parse(n_bytes ? text : "", n_bytes, thinking, &json);
  if (s) return cli_fail(s);
  json_object *m = json_tokener_parse(json);
  koine_text_free(json);
  if (!m) return no_memory();
  drop_empty(m);
  return json_object_array_add(messages(k), m) ? no_memory() : EXIT_DONE;
}

void chat_talk_drop_last(chat_talk *k)
{
  size_t n = chat_talk_n_messages(k);
  if (n) json_object_array_del_idx(messages(k), n - 1, 1);
}

/* ---- tokens ---- */
/* The bytes of one ordinary token; NULL for a control token, or one that has none. */
static char *piece(const koine_tokenizer *tokenizer, int32_t id, size_t *n)
{
  char *text = NULL;
  if (koine_detokenize(tokenizer, &id, 1, false, &text, n)) return NULL;
  if (*n) return text;
  koine_text_free(text);
  return NULL;
}

/* How far a run of held tokens and a run of the prompt's, both beginning at the same byte, go until they end at the same byte again. False
 * when they are not the same text. */
static bool same_text(const chat_talk *k, size_t *i, const int32_t *ids, size_t n_ids, size_t *j)
{
  char *a = NULL, *b = NULL;
  size_t n_a = 0, n_b = 0, at_a = 0, at_b = 0;
  bool same = true;
  do { /* the side whose piece is used up takes its next one */
    if (at_a == n_a) {
      koine_text_free(a);
      a = *i < k->n_held ? piece(k->tokenizer, k->held[(*i)++], &n_a) : NULL;
      at_a = 0;
    }
    if (at_b == n_b) {
      koine_text_free(b);
      b = *j < n_ids ? piece(k->tokenizer, ids[(*j)++], &n_b) : NULL;
      at_b = 0;
    }
    size_t left_a = n_a - at_a, left_b = n_b - at_b, n = left_a < left_b ? left_a : left_b;
    same = a && b && !memcmp(a + at_a, b + at_b, n);
    at_a += n;
    at_b += n;
  } while (same && (at_a < n_a || at_b < n_b));
  koine_text_free(a);
  koine_text_free(b);
  return same;
}

/* A model's own tokens may spell its text in another way than the tokenizer would: the session holds those, so the prompt takes them. */
static int spell_as_held(const chat_talk *k, int32_t **ids, size_t *n_ids)
{
  size_t i = 0, j = 0;
  while (i < k->n_held && j < *n_ids) {
    if (k->held[i] == (*ids)[j]) i++, j++;
    else if (!same_text(k, &i, *ids, *n_ids, &j)) return EXIT_DONE;
  }
  if (i < k->n_held) return EXIT_DONE;
  size_t n = k->n_held + (*n_ids - j);
  int32_t *spelled = malloc((n + 1) * sizeof *spelled);
  if (!spelled) return no_memory();
  if (k->n_held) memcpy(spelled, k->held, k->n_held * sizeof *spelled);
  memcpy(spelled + k->n_held, *ids + j, (*n_ids - j) * sizeof *spelled);
  free(*ids);
  *ids = spelled;
  *n_ids = n;
  return EXIT_DONE;
}

int chat_talk_encode(chat_talk *k, koine_thinking thinking, int32_t **ids, size_t *n_ids)
{
  int32_t *made = NULL;
  size_t n_bytes, n = 0;
  const char *json = json_object_to_json_string_length(k->request, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n_bytes);
  if (!json) return no_memory();
  koine_status s = koine_chat_encode(k->tokenizer, k->folder, json, n_bytes, thinking, NULL, &made, &n);
  if (s) return cli_fail(s);
  int32_t *own = malloc((n + 1) * sizeof *own);
  if (own) memcpy(own, made, n * sizeof *own);
  koine_ids_free(made);
  if (!own) return no_memory();
  int status = spell_as_held(k, &own, &n);
  if (status) free(own);
  else *ids = own, *n_ids = n;
  return status;
}

int chat_talk_hold(chat_talk *k, const int32_t *prompt, size_t n_prompt, const int32_t *answer, size_t n_answer, size_t n_held)
{
  if (n_held > n_prompt + n_answer) n_held = 0;
  int32_t *held = malloc((n_held + 1) * sizeof *held);
  if (!held) return no_memory();
  size_t n = n_held < n_prompt ? n_held : n_prompt;
  if (n) memcpy(held, prompt, n * sizeof *held);
  if (n_held > n) memcpy(held + n, answer, (n_held - n) * sizeof *held);
  free(k->held);
  k->held = held;
  k->n_held = n_held;
  return EXIT_DONE;
}

/* ---- files ---- */
int chat_talk_save(const chat_talk *k, const char *path)
{
  json_object *what = json_object_object_length(k->request) == 1 ? messages(k) : k->request;
  const char *json = json_object_to_json_string_ext(what, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);
  if (!json) return no_memory();
  FILE *f = fopen(path, "w");
  if (!f) return cli_fail_with(EXIT_FILE, "%s: writing failed: %s", path, strerror(errno));
  bool written = fputs(json, f) >= 0 && fputc('\n', f) != EOF;
  if (fclose(f) || !written) return cli_fail_with(EXIT_FILE, "%s: writing failed: %s", path, strerror(errno));
  return EXIT_DONE;
}

/* The file's JSON as a request, NULL after a message. What else is wrong with it the encoder finds, whose reading is stricter. */
static json_object *parse(const char *path, const char *text, size_t n_bytes)
{
  json_object *found = NULL;
  json_tokener *t = n_bytes < INT32_MAX ? json_tokener_new_ex(JSON_DEPTH) : NULL;
  if (!t) return no_memory(), NULL;
  found = json_tokener_parse_ex(t, text, (int)n_bytes + 1); /* with the zero byte, which ends a number too */
  enum json_tokener_error e = json_tokener_get_error(t);
  size_t end = json_tokener_get_parse_end(t);
  json_tokener_free(t);
  json_object *list = json_object_is_type(found, json_type_object) ? json_object_object_get(found, "messages") : found;
  if (e == json_tokener_success && end >= n_bytes && json_object_is_type(list, json_type_array)) {
    if (list != found) return found;
    json_object *request = json_object_new_object();
    if (request) json_object_object_add(request, "messages", found);
    return request;
  }
  json_object_put(found);
  if (e == json_tokener_success) cli_fail_with(EXIT_FILE, "%s: expected a JSON array of messages, or an object with messages, found other JSON", path);
  else cli_fail_with(EXIT_FILE, "%s: expected JSON messages, found: %s at byte %zu", path, json_tokener_error_desc(e), end);
  return NULL;
}

int chat_talk_load(chat_talk *k, const char *path)
{
  char *text = NULL;
  size_t n_bytes, n_ids;
  int32_t *ids = NULL;
  koine_status s = KOINE_OK;
  int status = cli_read_file(path, &text, &n_bytes);
  if (status) return status;
  json_object *request = parse(path, text, n_bytes);
  if (!request) status = EXIT_FILE;
  else if (json_object_array_length(json_object_object_get(request, "messages"))) /* one without a message encodes to nothing, but may be begun */
    s = koine_chat_encode(k->tokenizer, k->folder, text, n_bytes, KOINE_THINK_OFF, NULL, &ids, &n_ids);
  koine_ids_free(ids);
  free(text);
  if (s) status = s == KOINE_ERR_FILE ? cli_fail_with(EXIT_FILE, "%s: %s", path, koine_last_error()) : cli_fail(s);
  if (status) {
    json_object_put(request);
    return status;
  }
  json_object_put(k->request);
  k->request = request;
  return EXIT_DONE;
}
