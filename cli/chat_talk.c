/* The conversation of koine chat: its messages and the tokens that the session holds of it. The prompt is made anew from the messages each
 * turn, so it is always what the checkpoint prescribes; only its spelling follows the session. Where held tokens
 * may replace others serve/spell.h says. */
#define _POSIX_C_SOURCE 200809L
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include "cmd_chat.h"
#include "out.h"
#include "serve/spell.h"

struct chat_talk {
  const koine_tokenizer *tokenizer;
  koine_chat *chat;
  const char *system;
  json_object *request; /* {"messages": [...]}, with whatever else a loaded file has (tools) */
  json_object *before;  /* [...] the messages when the turn began */
  int32_t *held;        /* [n_held] the last prompt and its answer, as sampled */
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
  *k = (chat_talk){.tokenizer = tokenizer, .system = system};
  koine_status s = koine_chat_open(folder, &k->chat);
  int status = s ? cli_fail(s) : chat_talk_reset(k);
  if (status) chat_talk_close(k);
  else *out = k;
  return status;
}

void chat_talk_close(chat_talk *k)
{
  if (!k) return;
  json_object_put(k->request);
  json_object_put(k->before);
  koine_chat_close(k->chat);
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
  json_object_object_del(m, "defects"); /* they were told */
}

int chat_talk_add_answer(chat_talk *k, const char *message)
{
  json_object *m = json_tokener_parse(message);
  if (!m) return no_memory();
  drop_empty(m);
  return json_object_array_add(messages(k), m) ? no_memory() : EXIT_DONE;
}

int chat_talk_begin(chat_talk *k)
{
  json_object *all = json_object_new_array();
  for (size_t i = 0; all && i < chat_talk_n_messages(k); i++) {
    json_object *m = json_object_get(json_object_array_get_idx(messages(k), i)); /* shared: a message does not change */
    if (!json_object_array_add(all, m)) continue;
    json_object_put(m);
    json_object_put(all);
    all = NULL;
  }
  if (!all) return no_memory();
  json_object_put(k->before);
  k->before = all;
  return EXIT_DONE;
}

void chat_talk_undo(chat_talk *k)
{
  if (k->before) json_object_object_add(k->request, "messages", k->before); /* a name that is there: nothing is allocated */
  k->before = NULL;
}

static bool last_is(const chat_talk *k, const char *role)
{
  size_t n = chat_talk_n_messages(k);
  const char *is = n ? json_object_get_string(json_object_object_get(json_object_array_get_idx(messages(k), n - 1), "role")) : NULL;
  return is && !strcmp(is, role);
}

static void drop_last(chat_talk *k) { json_object_array_del_idx(messages(k), chat_talk_n_messages(k) - 1, 1); }

int chat_talk_take_back(chat_talk *k, const char *name, bool question)
{
  while (last_is(k, "assistant")) drop_last(k);
  bool asked = last_is(k, "user");
  if (question ? !asked : !asked && !last_is(k, "tool")) return cli_fail_with(EXIT_USAGE, "%s: expected a message of yours before it, found none", name);
  if (question) drop_last(k);
  return EXIT_DONE;
}

/* ---- tokens ---- */
int chat_talk_encode(chat_talk *k, koine_thinking thinking, int32_t **ids, size_t *n_ids)
{
  int32_t *made = NULL;
  size_t n_bytes, n = 0;
  const char *json = json_object_to_json_string_length(k->request, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n_bytes);
  if (!json) return no_memory();
  koine_chat_options options = {.size = sizeof options, .thinking = thinking};
  koine_status s = koine_chat_prompt(k->chat, k->tokenizer, json, n_bytes, &options, NULL, NULL, &made, &n);
  if (s) return cli_is_request_error(s) ? cli_fail_with(EXIT_FILE, "%s", koine_last_error()) : cli_fail(s);
  int32_t *spelled = malloc((k->n_held + n + 1) * sizeof *spelled);
  s = spelled ? serve_spell(k->tokenizer, k->held, k->n_held, made, n, spelled, n_ids) : KOINE_OK;
  int status = !spelled ? no_memory() : s ? cli_fail(s) : EXIT_DONE;
  koine_ids_free(made);
  if (status) free(spelled);
  else *ids = spelled;
  return status;
}

int chat_talk_hold(chat_talk *k, const int32_t *prompt, size_t n_prompt, const int32_t *answer, size_t n_answer)
{
  int32_t *held = malloc((n_prompt + n_answer + 1) * sizeof *held);
  if (!held) return no_memory();
  memcpy(held, prompt, n_prompt * sizeof *held);
  if (n_answer) memcpy(held + n_prompt, answer, n_answer * sizeof *held);
  free(k->held);
  k->held = held;
  k->n_held = n_prompt + n_answer;
  return EXIT_DONE;
}

/* ---- files ---- */
int chat_talk_save(const chat_talk *k, const char *path)
{
  json_object *what = json_object_object_length(k->request) == 1 ? messages(k) : k->request;
  const char *json = json_object_to_json_string_ext(what, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);
  char *full = json ? chat_file_path(path) : NULL;
  cli_out o;
  if (!full) return no_memory();
  int status = cli_out_open(full, &o);
  if (!status && cli_out_put(&o, json, strlen(json))) cli_out_put(&o, "\n", 1);
  int closed = cli_out_close(&o, !status);
  free(full);
  return status ? status : closed;
}

int chat_talk_load(chat_talk *k, const char *path)
{
  char *text = NULL;
  size_t n_bytes, n_ids;
  int32_t *ids = NULL;
  koine_status s = KOINE_OK;
  char *full = chat_file_path(path);
  int status = full ? cli_read_file(full, &text, &n_bytes) : no_memory();
  free(full);
  if (status) return status;
  json_object *request = chat_file_parse(path, text, n_bytes);
  if (!request) status = EXIT_FILE;
  else if (json_object_array_length(json_object_object_get(request, "messages"))) /* one without a message encodes to nothing, but may be begun */
    s = koine_chat_prompt(k->chat, k->tokenizer, text, n_bytes, NULL, NULL, NULL, &ids, &n_ids);
  koine_ids_free(ids);
  free(text);
  if (s) status = cli_is_request_error(s) ? cli_fail_with(EXIT_FILE, "%s: %s", path, koine_last_error()) : cli_fail(s);
  if (status) {
    json_object_put(request);
    return status;
  }
  json_object_put(k->request);
  k->request = request;
  return EXIT_DONE;
}
