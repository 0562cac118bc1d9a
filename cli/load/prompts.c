/* Owns: prompts, what fills them up to a context, the bodies of requests. */
#include <stdlib.h>
#include <string.h>
#include "load.h"

static const char built_in[] =
  "What is the difference between a process and a thread?\nExplain how a bicycle stays upright.\nWrite a short story about a lighthouse keeper who finds a letter.\n"
  "List the planets of the solar system with one fact about each.\nHow does a hash table resolve collisions?\nDescribe a walk through a forest in autumn.\n"
  "Write a function in C that reverses a linked list, and explain it.\nWhy is the sky blue in the day and red in the evening?\n";

/* ---- reading ---- */
static json_object *message_of(const char *text, size_t n)
{
  json_object *messages = json_object_new_array(), *m = json_object_new_object();
  json_object_object_add(m, "role", json_object_new_string("user"));
  json_object_object_add(m, "content", json_object_new_string_len(text, (int)n));
  json_object_array_add(messages, m);
  return messages;
}

/* {"prompt": "..."} or {"messages": [...]}, and max_tokens. */
static const char *read_object(const char *line, size_t n, load_prompt *out)
{
  struct json_tokener *t = json_tokener_new();
  json_object *o = t ? json_tokener_parse_ex(t, line, (int)n) : NULL, *v = NULL;
  bool whole = o && json_object_is_type(o, json_type_object) && json_tokener_get_parse_end(t) == n;
  const char *why = whole ? NULL : "expected an object of JSON on one line";
  if (t) json_tokener_free(t);
  if (whole && json_object_object_get_ex(o, "messages", &v) && json_object_is_type(v, json_type_array) && json_object_array_length(v)) out->messages = json_object_get(v);
  else if (whole && json_object_object_get_ex(o, "prompt", &v) && json_object_is_type(v, json_type_string))
    out->messages = message_of(json_object_get_string(v), (size_t)json_object_get_string_len(v));
  else if (whole) why = "expected messages, an array, or prompt, a text";
  if (!why && json_object_object_get_ex(o, "max_tokens", &v)) {
    out->max_tokens = json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : 0;
    if (out->max_tokens < 1) why = "max_tokens: expected a whole number from 1 on";
  }
  json_object_put(o);
  return why;
}

static const char *add_line(load_prompts *p, const char *line, size_t n)
{
  load_prompt *v = realloc(p->v, (p->n + 1) * sizeof *v);
  if (!v) return "out of memory";
  p->v = v;
  v[p->n] = (load_prompt){0};
  const char *why = NULL;
  if (line[0] == '{') why = read_object(line, n, &v[p->n]);
  else v[p->n].messages = message_of(line, n);
  p->n++; /* to be freed in either case */
  return why;
}

bool load_prompts_read(const char *text, load_prompts *out, char *why, size_t n_why)
{
  size_t at = 0;
  for (const char *line = text ? text : built_in, *end; *line; line = *end ? end + 1 : end) {
    end = line + strcspn(line, "\n");
    size_t n = (size_t)(end - line);
    at++;
    while (n && (line[n - 1] == '\r' || line[n - 1] == ' ')) n--;
    const char *wrong = n ? add_line(out, line, n) : NULL;
    if (wrong) return snprintf(why, n_why, "line %zu: %s", at, wrong), false;
  }
  return out->n || (snprintf(why, n_why, "expected a prompt on a line, found none"), false);
}

void load_prompts_free(load_prompts *p)
{
  for (size_t i = 0; i < p->n; i++) json_object_put(p->v[i].messages);
  free(p->v);
  *p = (load_prompts){0};
}

/* ---- filling ---- */
/* Words that look like a text to a tokenizer, in an order that seed chooses. */
static char *filling(int64_t n_words, uint64_t seed)
{
  static const char *const words[32] = {
    "river", "the", "morning", "of", "a", "stone", "and", "letter", "under", "window", "had", "been", "old", "garden", "with", "many",
    "people", "who", "were", "walking", "to", "market", "through", "narrow", "streets", "before", "rain", "came", "from", "hills", "in", "silence",
  };
  char *text = malloc((size_t)n_words * 9 + 64), *at = text;
  if (!text) return NULL;
  at += sprintf(at, "Text %llu:", (unsigned long long)seed);
  for (int64_t i = 0; i < n_words; i++) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    at += sprintf(at, " %s", words[seed >> 59]);
  }
  strcpy(at, "\n\n");
  return text;
}

/* Before the first message of the user whose content is a text; the others stay as they are. */
static json_object *filled(json_object *messages, const char *before)
{
  json_object *out = json_object_new_array(), *role, *content;
  for (size_t i = 0; i < json_object_array_length(messages); i++) {
    json_object *m = json_object_array_get_idx(messages, i), *copy = NULL;
    bool here = before && json_object_object_get_ex(m, "role", &role) && json_object_is_type(role, json_type_string) && !strcmp(json_object_get_string(role), "user") &&
                json_object_object_get_ex(m, "content", &content) && json_object_is_type(content, json_type_string);
    size_t n = here ? strlen(before) + (size_t)json_object_get_string_len(content) : 0;
    char *both = here ? malloc(n + 1) : NULL;
    if (both) {
      sprintf(both, "%s%s", before, json_object_get_string(content));
      json_object_deep_copy(m, &copy, NULL);
      json_object_object_add(copy, "content", json_object_new_string(both));
      before = NULL;
    }
    free(both);
    json_object_array_add(out, copy ? copy : json_object_get(m));
  }
  return out;
}

char *load_body(const load_options *o, const load_target *t, const load_prompt *p, int64_t n_words, int64_t max_tokens, uint64_t i)
{
  json_object *b = json_object_new_object(), *usage = json_object_new_object();
  char *before = n_words > 0 ? filling(n_words, o->same_context ? 1 : i + 1) : NULL;
  if (n_words > 0 && !before) return json_object_put(b), json_object_put(usage), NULL;
  if (t->model[0]) json_object_object_add(b, "model", json_object_new_string(t->model));
  json_object_object_add(b, "messages", filled(p->messages, before));
  json_object_object_add(b, "max_tokens", json_object_new_int64(max_tokens));
  json_object_object_add(b, "temperature", json_object_new_double(o->temperature));
  if (o->ignore_eos) json_object_object_add(b, "ignore_eos", json_object_new_boolean(1));
  json_object_object_add(b, "stream", json_object_new_boolean(1));
  json_object_object_add(usage, "include_usage", json_object_new_boolean(1));
  json_object_object_add(b, "stream_options", usage);
  char *body = strdup(json_object_to_json_string_ext(b, JSON_C_TO_STRING_PLAIN));
  free(before);
  json_object_put(b);
  return body;
}
