/* Owns: rendering messages into a prompt of control and data segments, and the prompt's tokens.
 * Does not: read requests (chat_request.c), prose (chat_wording.c) or answers (chat_parse.c).
 * Invariant: what came from a request is only ever put as data. */
#include <stdlib.h>
#include <string.h>
#include "chat_impl.h"

koine_status koi_chat_load(const char *folder, koi_chat **out)
{
  koi_chat *chat = koi_alloc(1, sizeof *chat);
  if (!chat) return KOINE_ERR_MEMORY;
  koine_status s = koi_chat_wording_read(folder, chat);
  if (s == KOINE_OK) *out = chat;
  else koi_chat_free(chat);
  return s;
}

koine_status koi_chat_load_template(const char *path, const char *text, size_t n, koi_chat **out)
{
  koi_chat *chat = koi_alloc(1, sizeof *chat);
  if (!chat) return KOINE_ERR_MEMORY;
  koine_status s = koi_chat_wording_template(path, text, n, chat);
  if (s == KOINE_OK) *out = chat;
  else koi_chat_free(chat);
  return s;
}

void koi_chat_free(koi_chat *chat)
{
  if (!chat) return;
  koi_free(chat->tools);
  koi_free(chat->response_format);
  for (size_t i = 0; i < KOI_COUNT(chat->effort); i++) koi_free(chat->effort[i]);
  koi_free(chat);
}

/* ---- segments ---- */
static const char *const controls[] = {
  KOI_CHAT_BOS, KOI_CHAT_EOS, KOI_CHAT_USER, KOI_CHAT_ASSISTANT, KOI_CHAT_REMINDER, KOI_CHAT_THINK, KOI_CHAT_THINK_END, KOI_CHAT_DSML,
};

typedef struct writer {
  const koi_chat *chat;
  const koi_chat_request *q;
  bool thinking, drop; /* drop: earlier reasoning */
  koi_text text;
  koi_chat_segment *segment;
  size_t n, cap;
  bool failed;
} writer;

static void segment(writer *w, bool control)
{
  if (!control && w->n && !w->segment[w->n - 1].control) {
    w->segment[w->n - 1].end = w->text.len;
    return;
  }
  if (w->n == w->cap) {
    size_t cap = w->cap * 2 + 32;
    koi_chat_segment *v = koi_realloc(w->segment, cap, sizeof *v);
    if (!v) {
      w->failed = true;
      return;
    }
    w->segment = v, w->cap = cap;
  }
  w->segment[w->n++] = (koi_chat_segment){w->text.len, control};
}

static void data(writer *w, const char *s, size_t n)
{
  if (!n) return;
  koi_text_bytes(&w->text, s, n);
  segment(w, false);
}

static void words(writer *w, const char *s) { data(w, s, strlen(s)); }
static void span(writer *w, koi_chat_span s) { data(w, koi_chat_request_text(w->q, s), s.n); }

static void control(writer *w, const char *token)
{
  koi_text_add(&w->text, "%s", token);
  segment(w, true);
}

/* Text of the checkpoint: control tokens written in it are meant as such. */
static void prose(writer *w, const char *s, size_t n)
{
  size_t done = 0;
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < KOI_COUNT(controls); k++) {
      size_t len = strlen(controls[k]);
      if (len > n - i || memcmp(s + i, controls[k], len)) continue;
      data(w, s + done, i - done);
      control(w, controls[k]);
      done = i + len;
      i = done - 1;
      break;
    }
  data(w, s + done, n - done);
}

/* A template with the placeholder that is none of the tokens filled by `value`. */
static void expand(writer *w, const char *template, koi_chat_span value)
{
  static const struct { const char *name, *token; } tokens[] = {
    {"dsml_token", KOI_CHAT_DSML}, {"thinking_start_token", KOI_CHAT_THINK}, {"thinking_end_token", KOI_CHAT_THINK_END},
  };
  koi_chat_template_part part;
  while (koi_chat_template_next(&template, &part)) {
    size_t k = 0;
    while (k < KOI_COUNT(tokens) && (strlen(tokens[k].name) != part.n || memcmp(tokens[k].name, part.s, part.n))) k++;
    if (!part.name) prose(w, part.s, part.n);
    else if (k < KOI_COUNT(tokens)) control(w, tokens[k].token);
    else span(w, value);
  }
}

/* ---- messages ---- */
static void tools_and_format(writer *w, const koi_chat_message *m)
{
  if (m->tools.n) words(w, "\n\n"), expand(w, w->chat->tools, m->tools);
  if (m->format.n) words(w, "\n\n"), expand(w, w->chat->response_format, m->format);
}

static void dsml(writer *w, const char *before, const char *after)
{
  words(w, before);
  control(w, KOI_CHAT_DSML);
  words(w, after);
}

static void parameter(writer *w, const char *key, size_t n_key, const char *value, size_t n, bool is_text, bool first)
{
  dsml(w, first ? "<" : "\n<", "parameter name=\"");
  data(w, key, n_key);
  words(w, is_text ? "\" string=\"true\">" : "\" string=\"false\">");
  data(w, value, n);
  dsml(w, "</", "parameter>");
}

/* The arguments of one call, in the order of the object. */
typedef struct argument {
  koi_chat_span key, value; /* in the list's text */
  bool is_text, gone;       /* gone: the key stands before */
} argument;
typedef struct argument_list {
  koi_text text;
  argument *v;
  size_t n, cap;
  bool failed;
} argument_list;

static argument *add(argument_list *a)
{
  if (a->n == a->cap) {
    argument *v = koi_realloc(a->v, a->cap * 2 + 8, sizeof *v);
    if (!v) return a->failed = true, NULL;
    a->v = v, a->cap = a->cap * 2 + 8;
  }
  a->v[a->n] = (argument){.gone = false};
  return &a->v[a->n++];
}

typedef struct keyed {
  const char *s;
  size_t n;
  argument *p;
} keyed;

static int by_key(const void *a, const void *b)
{
  const keyed *x = a, *y = b;
  int c = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
  if (!c) c = (x->n > y->n) - (x->n < y->n);
  return c ? c : (x->p > y->p) - (x->p < y->p);
}

/* Of equal keys the first gives the place and the last the value, as in Python. */
static void unite(argument_list *a)
{
  keyed *k = a->n > 1 && !a->failed ? koi_alloc(a->n, sizeof *k) : NULL;
  if (!k) {
    a->failed |= a->n > 1;
    return;
  }
  for (size_t i = 0; i < a->n; i++) k[i] = (keyed){a->text.s + a->v[i].key.at, a->v[i].key.n, &a->v[i]};
  qsort(k, a->n, sizeof *k, by_key);
  for (size_t i = 1, first = 0; i < a->n; i++) {
    if (k[i].n != k[first].n || memcmp(k[i].s, k[first].s, k[i].n)) {
      first = i;
      continue;
    }
    k[first].p->value = k[i].p->value, k[first].p->is_text = k[i].p->is_text;
    k[i].p->gone = true;
  }
  koi_free(k);
}

/* The members of the object; false when the text is none. */
static bool read_arguments(argument_list *a, const char *s, size_t n, char *buffer)
{
  koi_jscan j = {.s = s, .n = n, .zeros = true, .halves = true};
  size_t len;
  if (!koi_jscan_open(&j, '{')) return false;
  for (size_t i = 0; koi_jscan_more(&j, '}', &i);) {
    argument *p = add(a);
    if (!p || !koi_jscan_key(&j, buffer, n + 1, &len)) return a->failed;
    p->key = (koi_chat_span){a->text.len, len};
    koi_text_bytes(&a->text, buffer, len);
    p->is_text = koi_jscan_peek(&j) == '"';
    p->value.at = a->text.len;
    if (p->is_text) {
      if (!koi_jscan_string(&j, buffer, n + 1, &len)) return false;
      koi_text_bytes(&a->text, buffer, len);
    } else if (!koi_chat_json_value(&j, &a->text, buffer, n + 1)) {
      return false;
    }
    p->value.n = a->text.len - p->value.at;
  }
  a->failed |= a->text.failed;
  return koi_jscan_end(&j);
}

/* Arguments that are no JSON object become one text named "arguments". */
static void arguments(writer *w, koi_chat_span source)
{
  const char *s = koi_chat_request_text(w->q, source);
  argument_list a = {0};
  char *buffer = koi_alloc(source.n + 1, 1);
  if (buffer && read_arguments(&a, s, source.n, buffer)) {
    bool first = true;
    unite(&a);
    for (size_t i = 0; i < a.n && !a.failed; i++) {
      const argument *p = &a.v[i];
      if (p->gone) continue;
      parameter(w, a.text.s + p->key.at, p->key.n, a.text.s + p->value.at, p->value.n, p->is_text, first);
      first = false;
    }
  } else if (buffer) {
    parameter(w, "arguments", 9, s, source.n, true, true);
  }
  w->failed |= a.failed || !buffer;
  koi_free(buffer);
  koi_free(a.text.s);
  koi_free(a.v);
}

static void calls(writer *w, koi_chat_range made)
{
  if (!made.n) return;
  dsml(w, "\n\n<", "tool_calls>\n");
  for (size_t i = 0; i < made.n; i++) {
    const koi_chat_made *call = &w->q->call[made.at + i];
    dsml(w, "<", "invoke name=\"");
    span(w, call->name);
    words(w, "\">\n");
    arguments(w, call->arguments);
    dsml(w, "\n</", "invoke>\n");
  }
  dsml(w, "</", "tool_calls>");
}

static void user(writer *w, const koi_chat_message *m)
{
  control(w, KOI_CHAT_USER);
  for (size_t i = 0; i < m->blocks.n; i++) {
    const koi_chat_block *b = &w->q->block[m->blocks.at + i];
    if (i) words(w, "\n\n");
    if (b->result) words(w, "<tool_result>");
    span(w, b->text);
    if (b->result) words(w, "</tool_result>");
  }
}

static void assistant(writer *w, const koi_chat_message *m, const koi_chat_message *before, bool reasons)
{
  if (w->thinking && reasons && !(before && before->task)) {
    span(w, m->reasoning);
    control(w, KOI_CHAT_THINK_END);
  }
  span(w, m->content);
  calls(w, m->calls);
  if (!m->unended) control(w, KOI_CHAT_EOS);
}

/* What opens the assistant's turn after m; thinks: its reasoning is part of the prompt or still to come. */
static void turn(writer *w, const koi_chat_message *m, bool thinks)
{
  if (m->task && strcmp(m->task, KOI_CHAT_TASK("action"))) {
    control(w, m->task);
    return;
  }
  if (!m->task && m->role != KOI_ROLE_USER && m->role != KOI_ROLE_DEVELOPER) return;
  control(w, KOI_CHAT_ASSISTANT);
  control(w, w->thinking && (m->task || thinks) ? KOI_CHAT_THINK : KOI_CHAT_THINK_END);
  if (m->task) control(w, m->task);
}

static void message(writer *w, const koi_chat_message *const *list, size_t n, size_t i, size_t last_user)
{
  const koi_chat_message *m = list[i];
  switch (m->role) {
  case KOI_ROLE_USER: user(w, m); break;
  case KOI_ROLE_ASSISTANT: assistant(w, m, i ? list[i - 1] : NULL, !w->drop || last_user == SIZE_MAX || i > last_user); break;
  case KOI_ROLE_REMINDER: control(w, KOI_CHAT_REMINDER), span(w, m->content); break;
  case KOI_ROLE_DEVELOPER: control(w, KOI_CHAT_USER); /* then as a system text */ /* fallthrough */
  default: span(w, m->content), tools_and_format(w, m);
  }
  bool next_is_ours = i + 1 == n || list[i + 1]->role == KOI_ROLE_ASSISTANT || list[i + 1]->role == KOI_ROLE_REMINDER;
  if (next_is_ours) turn(w, m, !w->drop || last_user == SIZE_MAX || i >= last_user);
}

static bool asks(const koi_chat_message *m) { return m->role == KOI_ROLE_USER || m->role == KOI_ROLE_DEVELOPER; }

/* The messages that are rendered: where earlier reasoning is dropped, developers' earlier messages go with it. */
static void messages(writer *w, const koi_chat_message **list)
{
  const koi_chat_request *q = w->q;
  size_t n = 0, last = SIZE_MAX, last_kept = SIZE_MAX;
  for (size_t i = 0; i < q->n_messages; i++)
    if (asks(&q->message[i])) last = i;
  for (size_t i = 0; i < q->n_messages; i++) {
    const koi_chat_message *m = &q->message[i];
    if (w->thinking && w->drop && m->role == KOI_ROLE_DEVELOPER && i < last) continue;
    if (asks(m)) last_kept = n;
    list[n++] = m;
  }
  for (size_t i = 0; i < n; i++) message(w, list, n, i, last_kept);
}

static koine_status render(writer *w, const koi_chat_options *o)
{
  const koi_chat_message **list = koi_alloc(w->q->n_messages, sizeof *list);
  if (!list) return KOINE_ERR_MEMORY;
  w->thinking = o->thinking != KOINE_THINK_OFF;
  w->drop = !o->keep_reasoning;
  for (size_t i = 0; i < w->q->n_messages; i++)
    if (w->q->message[i].tools.n) w->drop = false;
  if (!o->no_bos) control(w, KOI_CHAT_BOS);
  const char *effort = w->thinking ? w->chat->effort[o->thinking] : NULL;
  if (effort) prose(w, effort, strlen(effort));
  messages(w, list);
  koi_free(list);
  return w->failed || w->text.failed ? koi_error(KOINE_ERR_MEMORY, "out of host memory for the prompt") : KOINE_OK;
}

koine_status koi_chat_encode(const koi_chat *chat, const char *json, size_t n_bytes, const koi_chat_options *options, koi_chat_prompt *out)
{
  static const koi_chat_options none;
  koi_chat_request q;
  const koi_chat_options *o = options ? options : &none;
  if (o->thinking < KOINE_THINK_OFF || o->thinking > KOINE_THINK_MAX) return koi_error(KOINE_ERR_ARG, "thinking %d is none of off, high, max", (int)o->thinking);
  koine_status s = koi_chat_request_read(json, n_bytes, &q);
  if (s != KOINE_OK) return s;
  writer w = {.chat = chat, .q = &q};
  s = render(&w, o);
  koi_chat_request_clear(&q);
  size_t n = w.text.len;
  char *text = NULL;
  if (s == KOINE_OK) s = koi_text_take(&w.text, &text);
  if (s != KOINE_OK) {
    koi_free(w.text.s);
    koi_free(w.segment);
    return s;
  }
  *out = (koi_chat_prompt){text, n, w.segment, w.n};
  return KOINE_OK;
}

void koi_chat_prompt_clear(koi_chat_prompt *prompt)
{
  koi_free(prompt->text);
  koi_free(prompt->segment);
  *prompt = (koi_chat_prompt){0};
}

koine_status koi_chat_prompt_ids(const koi_chat_prompt *prompt, const koi_tok *tok, int32_t **ids, size_t *n)
{
  koi_tok_ids made = {0};
  koine_status s = KOINE_OK;
  char name[64];
  for (size_t i = 0, from = 0; s == KOINE_OK && i < prompt->n_segments; from = prompt->segment[i++].end) {
    const char *text = prompt->text + from;
    size_t len = prompt->segment[i].end - from;
    if (!prompt->segment[i].control) {
      s = koi_tok_append(tok, text, len, 0, &made);
      continue;
    }
    koi_print(name, sizeof name, "%.*s", (int)len, text);
    int32_t id = koi_tok_id(tok, name);
    s = id < 0 ? koi_error(KOINE_ERR_FILE, "the tokenizer has no token %s, which the chat encoding needs", name) : koi_tok_push(&made, id);
  }
  if (s != KOINE_OK) return koi_free(made.v), s;
  *ids = made.v, *n = made.n;
  return KOINE_OK;
}
