/* Owns: reading a request: JSON to messages, tool messages into user turns.
 * Does not: render, or read single values (chat_read.c). The texts of all messages lie in one pool.
 * Invariant: no message has the role tool; the blocks of a user turn are neighbours. */
#include <stdlib.h>
#include <string.h>
#include "chat_impl.h"

/* One message while it is read. */
typedef struct draft {
  koi_chat_message m;
  bool has_role;
  koi_chat_span id;      /* tool_call_id */
  koi_chat_span reasoning[3]; /* reasoning_content, reasoning, thinking */
  koi_chat_span refusal;
} draft;

static const char *const role_names[KOI_N_ROLES] = {
  [KOI_ROLE_SYSTEM] = "system", [KOI_ROLE_USER] = "user", [KOI_ROLE_ASSISTANT] = "assistant", [KOI_ROLE_TOOL] = "tool",
  [KOI_ROLE_DEVELOPER] = "developer", [KOI_ROLE_REMINDER] = "latest_reminder",
};
static const struct { const char *name, *token; } tasks[] = {
  {"action", KOI_CHAT_TASK("action")}, {"query", KOI_CHAT_TASK("query")}, {"authority", KOI_CHAT_TASK("authority")},
  {"domain", KOI_CHAT_TASK("domain")}, {"title", KOI_CHAT_TASK("title")}, {"read_url", KOI_CHAT_TASK("read_url")},
};

/* ---- members of a message ---- */
static bool read_role(koi_chat_reader *r, draft *d)
{
  if (!koi_chat_read_string(r)) return false;
  if (koi_chat_read_is(r, "function")) return d->m.role = KOI_ROLE_TOOL, d->has_role = true; /* what a tool was called once */
  for (size_t i = 0; i < KOI_N_ROLES; i++)
    if (koi_chat_read_is(r, role_names[i])) return d->m.role = (koi_chat_role)i, d->has_role = true;
  return koi_chat_read_fail(r, "an unknown role before this: expected system, user, assistant, tool, developer or latest_reminder");
}

static bool read_task(koi_chat_reader *r, draft *d)
{
  if (koi_chat_read_null(r)) return true;
  if (!koi_chat_read_string(r)) return false;
  for (size_t i = 0; i < KOI_COUNT(tasks); i++)
    if (koi_chat_read_is(r, tasks[i].name)) return d->m.task = tasks[i].token, true;
  return koi_chat_read_fail(r, "an unknown task before this: expected action, query, authority, domain, title or read_url");
}

/* A format that is nothing in Python's eyes asks for nothing. */
static bool read_format(koi_chat_reader *r, draft *d)
{
  static const char *const nothing[] = {"null", "false", "0", "0.0", "-0.0", "\"\"", "[]", "{}"};
  if (!koi_chat_read_json(r, &d->m.format)) return false;
  for (size_t i = 0; i < KOI_COUNT(nothing) && !r->r->pool.failed; i++)
    if (strlen(nothing[i]) == d->m.format.n && !memcmp(r->r->pool.s + d->m.format.at, nothing[i], d->m.format.n)) d->m.format.n = 0;
  return true;
}

static bool read_content(koi_chat_reader *r, draft *d) { return koi_chat_read_content(r, &d->m.content); }
static bool read_reasoning_content(koi_chat_reader *r, draft *d) { return koi_chat_read_optional_text(r, &d->reasoning[0]); }
static bool read_reasoning(koi_chat_reader *r, draft *d) { return koi_chat_read_optional_text(r, &d->reasoning[1]); }
static bool read_thinking(koi_chat_reader *r, draft *d) { return koi_jscan_peek(&r->j) == '"' ? koi_chat_read_text(r, &d->reasoning[2]) : koi_jscan_skip(&r->j); }
static bool read_refusal(koi_chat_reader *r, draft *d) { return koi_chat_read_optional_text(r, &d->refusal); }
static bool read_calls(koi_chat_reader *r, draft *d) { return koi_chat_read_calls(r, &d->m.calls); }

/* One call as it was written before there were several. */
static bool read_function_call(koi_chat_reader *r, draft *d)
{
  koi_chat_made made = {0};
  bool named = false;
  if (koi_chat_read_null(r)) return true;
  if (!koi_chat_read_function(r, &made, &named)) return false;
  if (!named) return koi_chat_read_fail(r, "function_call: expected a name before this");
  if (d->m.calls.n) return koi_chat_read_refuse(r, "function_call: the message has tool_calls too");
  d->m.calls = (koi_chat_range){r->r->n_calls, 1};
  return koi_chat_read_add_call(r, made);
}

static bool read_media(koi_chat_reader *r, draft *d)
{
  (void)d;
  return koi_chat_read_null(r) || (!r->j.wrong && koi_chat_read_refuse(r, "this model reads text only: audio, images and files of a message are not supported"));
}
static bool read_call_id(koi_chat_reader *r, draft *d) { return koi_chat_read_optional_text(r, &d->id); }
static bool read_tools(koi_chat_reader *r, draft *d) { return koi_chat_read_tools(r, &d->m.tools); }

static bool read_unended(koi_chat_reader *r, draft *d)
{
  bool yes;
  if (!koi_chat_read_boolean(r, &yes)) return false;
  d->m.unended |= yes;
  return true;
}

static const struct { const char *key; bool (*read)(koi_chat_reader *r, draft *d); } members[] = {
  {"role", read_role}, {"content", read_content}, {"reasoning_content", read_reasoning_content}, {"reasoning", read_reasoning},
  {"tool_calls", read_calls}, {"tool_call_id", read_call_id}, {"tools", read_tools}, {"response_format", read_format},
  {"task", read_task}, {"wo_eos", read_unended}, {"prefix", read_unended}, {"thinking", read_thinking}, {"refusal", read_refusal},
  {"function_call", read_function_call}, {"audio", read_media}, {"images", read_media}, {"videos", read_media}, {"files", read_media},
  {"attachments", read_media},
};

/* ---- messages ---- */
static bool add_message(koi_chat_reader *r, size_t at, koi_chat_message m)
{
  koi_chat_request *q = r->r;
  if (!koi_chat_read_room(r, (void **)&q->message, q->n_messages, &q->cap_messages, sizeof *q->message)) return false;
  memmove(q->message + at + 1, q->message + at, (q->n_messages - at) * sizeof *q->message);
  q->message[at] = m;
  q->n_messages++;
  return true;
}

/* A user's text or a tool's result: into the user turn before it, or a turn of its own. A turn with a task takes no more text, and of a
 * text that joins a turn nothing but the text counts. */
static bool add_block(koi_chat_reader *r, const draft *d)
{
  koi_chat_request *q = r->r;
  bool result = d->m.role == KOI_ROLE_TOOL;
  koi_chat_message *last = q->n_messages ? &q->message[q->n_messages - 1] : NULL;
  if (!koi_chat_read_room(r, (void **)&q->block, q->n_blocks, &q->cap_blocks, sizeof *q->block)) return false;
  q->block[q->n_blocks++] = (koi_chat_block){d->m.content, d->id, result};
  if (last && last->role == KOI_ROLE_USER && (result || !last->task)) {
    last->blocks.n++;
    return true;
  }
  koi_chat_message turn = {.role = KOI_ROLE_USER, .blocks = {q->n_blocks - 1, 1}, .task = result ? NULL : d->m.task};
  return add_message(r, q->n_messages, turn);
}

/* What only some roles have is not passed over in others. */
static bool check_role(koi_chat_reader *r, const draft *d)
{
  bool says = d->m.role == KOI_ROLE_USER || d->m.role == KOI_ROLE_TOOL;
  if (says && d->m.tools.n) return koi_chat_read_refuse(r, "tools of a user's or tool's message are not supported: give them to the request, or to a system message");
  if (says && d->m.format.n) return koi_chat_read_refuse(r, "response_format of a user's or tool's message is not supported: give it to the request, or to a system message");
  if (d->m.role != KOI_ROLE_ASSISTANT && d->m.calls.n) return koi_chat_read_refuse(r, "calls are an assistant's: those of another role are not supported");
  return true;
}

static bool message(koi_chat_reader *r)
{
  draft d = {0};
  if (!koi_jscan_open(&r->j, '{')) return false;
  for (size_t i = 0; koi_jscan_more(&r->j, '}', &i);) {
    if (!koi_chat_read_key(r)) return false;
    size_t k = 0;
    while (k < KOI_COUNT(members) && !koi_chat_read_is(r, members[k].key)) k++;
    if (!(k < KOI_COUNT(members) ? members[k].read(r, &d) : koi_jscan_skip(&r->j))) return false;
  }
  if (r->j.wrong) return false;
  if (!d.has_role) return koi_chat_read_fail(r, "a message without a role ends here");
  if (d.m.role == KOI_ROLE_DEVELOPER && !d.m.content.n) return koi_chat_read_fail(r, "a developer message without content ends here");
  if (!check_role(r, &d)) return false;
  for (size_t i = 0; i < KOI_COUNT(d.reasoning) && !d.m.reasoning.n; i++) d.m.reasoning = d.reasoning[i];
  if (!d.m.content.n) d.m.content = d.refusal;
  return d.m.role == KOI_ROLE_USER || d.m.role == KOI_ROLE_TOOL ? add_block(r, &d) : add_message(r, r->r->n_messages, d.m);
}

static koine_status error(const koi_chat_reader *r, const char *where) { return koi_jscan_error(&r->j, where); }

static koine_status messages(koi_chat_reader *r)
{
  char where[48];
  if (!koi_jscan_open(&r->j, '[')) return error(r, "messages");
  for (size_t i = 0; koi_jscan_more(&r->j, ']', &i);)
    if (!message(r)) {
      koi_print(where, sizeof where, "message %zu", i - 1);
      return error(r, where);
    }
  return r->j.wrong ? error(r, "messages") : KOINE_OK;
}

/* ---- members of a request ---- */
/* none hides the tools; auto is what happens anyway. */
static bool top_choice(koi_chat_reader *r)
{
  if (koi_chat_read_null(r)) return true;
  if (koi_jscan_peek(&r->j) == '"') {
    if (!koi_chat_read_string(r)) return false;
    if (koi_chat_read_is(r, "none")) return r->hide_tools = true;
    if (koi_chat_read_is(r, "auto")) return true;
  }
  return koi_chat_read_refuse(r, "tool_choice: only auto and none are supported: a prompt cannot force a call");
}

/* The schema of {"type": "json_schema", "json_schema": {"schema": ...}}; r->j stands behind the value in any case. */
static bool inner_schema(koi_chat_reader *r, koi_jscan at, koi_chat_span *out)
{
  koi_jscan end = r->j;
  bool found = false;
  r->j = at;
  koi_jscan_open(&r->j, '{');
  for (size_t i = 0; !found && koi_jscan_more(&r->j, '}', &i);) {
    if (!koi_chat_read_key(r)) return false;
    found = koi_chat_read_is(r, "schema") && koi_jscan_peek(&r->j) == '{';
    if (found ? !koi_chat_read_json(r, out) : !koi_jscan_skip(&r->j)) return false;
  }
  if (r->j.wrong) return false;
  r->j = end;
  return found || koi_chat_read_fail(r, "response_format: json_schema: expected an object with a schema before this");
}

/* {"type": "text" | "json_object" | "json_schema"}; without a type it is a schema itself. */
static bool top_format(koi_chat_reader *r)
{
  koi_jscan start = r->j, schema = {0};
  enum { NONE, TEXT, OBJECT, SCHEMA, OTHER } type = NONE;
  if (koi_chat_read_null(r)) return true;
  if (!koi_jscan_open(&r->j, '{')) return false;
  for (size_t i = 0; koi_jscan_more(&r->j, '}', &i);) {
    if (!koi_chat_read_key(r)) return false;
    if (koi_chat_read_is(r, "type") && koi_jscan_peek(&r->j) == '"') {
      if (!koi_chat_read_string(r)) return false;
      type = koi_chat_read_is(r, "text") ? TEXT : koi_chat_read_is(r, "json_object") ? OBJECT : koi_chat_read_is(r, "json_schema") ? SCHEMA : OTHER;
      continue;
    }
    if (koi_chat_read_is(r, "json_schema") && koi_jscan_peek(&r->j) == '{') schema = r->j;
    if (!koi_jscan_skip(&r->j)) return false;
  }
  if (r->j.wrong) return false;
  if (type == OTHER) return koi_chat_read_refuse(r, "response_format: only the types text, json_object and json_schema are supported");
  if (type == OBJECT) r->top_format = koi_chat_read_put(r, "{\"type\": \"object\"}", 18);
  if (type == SCHEMA) return schema.s ? inner_schema(r, schema, &r->top_format) : koi_chat_read_fail(r, "response_format: expected json_schema before this");
  if (type != NONE) return true;
  r->j = start;
  return koi_chat_read_json(r, &r->top_format) && (r->top_format.n > 2 || (r->top_format.n = 0, true));
}

static bool top_tools(koi_chat_reader *r) { return koi_chat_read_tools(r, &r->top_tools); }

static bool top_refused(koi_chat_reader *r)
{
  return koi_chat_read_null(r) || (!r->j.wrong && koi_chat_read_refuse(r, "this member of the request changes the prompt and is not supported; thinking is an option of the caller"));
}

static const struct { const char *key; bool (*read)(koi_chat_reader *r); } top_members[] = {
  {"tools", top_tools}, {"functions", top_tools}, {"tool_choice", top_choice}, {"function_call", top_choice}, {"response_format", top_format},
  {"reasoning_effort", top_refused}, {"reasoning", top_refused}, {"thinking", top_refused}, {"enable_thinking", top_refused},
  {"chat_template", top_refused}, {"chat_template_kwargs", top_refused}, {"documents", top_refused}, {"system", top_refused},
  {"instructions", top_refused}, {"prompt", top_refused}, {"suffix", top_refused}, {"input", top_refused}, {"audio", top_refused},
  {"prediction", top_refused}, {"web_search_options", top_refused}, {"continue_final_message", top_refused}, {"guided_json", top_refused},
  {"guided_regex", top_refused}, {"guided_choice", top_refused}, {"guided_grammar", top_refused}, {"structured_outputs", top_refused},
  {"json_schema", top_refused}, {"grammar", top_refused},
};

static koine_status member(koi_chat_reader *r)
{
  char where[64];
  size_t k = 0;
  while (k < KOI_COUNT(top_members) && !koi_chat_read_is(r, top_members[k].key)) k++;
  if (k == KOI_COUNT(top_members)) return koi_jscan_skip(&r->j) ? KOINE_OK : error(r, "request");
  if (top_members[k].read(r)) return KOINE_OK;
  koi_print(where, sizeof where, "request: %s", top_members[k].key);
  return error(r, where);
}

static koine_status request(koi_chat_reader *r)
{
  bool seen = false;
  if (!koi_jscan_open(&r->j, '{')) return error(r, "request");
  for (size_t i = 0; koi_jscan_more(&r->j, '}', &i);) {
    if (!koi_chat_read_key(r)) return error(r, "request");
    bool list = koi_chat_read_is(r, "messages");
    if (list && seen) return koi_error(KOINE_ERR_ARG, "request: `messages` is given twice");
    koine_status s = list ? messages(r) : member(r);
    if (s != KOINE_OK) return s;
    seen |= list;
  }
  if (r->j.wrong) return error(r, "request");
  return seen ? KOINE_OK : koi_error(KOINE_ERR_ARG, "request: no array `messages`");
}

/* What the request has as a whole belongs to the first message when that is a system's or developer's without its own, else to a system
 * message that is put before it. */
static bool place_top(koi_chat_reader *r)
{
  koi_chat_request *q = r->r;
  for (size_t i = 0; r->hide_tools && i < q->n_messages; i++) q->message[i].tools.n = 0;
  if (r->hide_tools) r->top_tools.n = 0;
  if (!r->top_tools.n && !r->top_format.n) return true;
  koi_chat_message *first = q->n_messages ? &q->message[0] : NULL;
  bool takes = first && (first->role == KOI_ROLE_SYSTEM || first->role == KOI_ROLE_DEVELOPER) && !(r->top_tools.n && first->tools.n) &&
               !(r->top_format.n && first->format.n);
  if (!takes) return add_message(r, 0, (koi_chat_message){.role = KOI_ROLE_SYSTEM, .tools = r->top_tools, .format = r->top_format});
  if (r->top_tools.n) first->tools = r->top_tools;
  if (r->top_format.n) first->format = r->top_format;
  return true;
}

/* ---- the whole ---- */
koine_status koi_chat_request_read(const char *json, size_t n, koi_chat_request *out)
{
  *out = (koi_chat_request){0};
  koi_chat_reader r = {.j = {.s = json, .n = n, .zeros = true, .halves = true, .status = KOINE_ERR_ARG}, .r = out, .n_buffer = n + 1};
  r.buffer = koi_alloc(r.n_buffer, 1);
  if (!r.buffer) return KOINE_ERR_MEMORY;
  koine_status s = koi_jscan_peek(&r.j) == '[' ? messages(&r) : request(&r);
  if (s == KOINE_OK && !koi_jscan_end(&r.j)) s = error(&r, "request");
  if (s == KOINE_OK && !place_top(&r)) s = error(&r, "request");
  koi_text_bytes(&out->pool, "", 0);
  if (s == KOINE_OK && out->pool.failed) s = koi_error(KOINE_ERR_MEMORY, "out of host memory for the messages");
  if (s == KOINE_OK && out->n_messages == 0) s = koi_error(KOINE_ERR_ARG, "request: no message");
  if (s == KOINE_OK && !koi_chat_order_results(out)) s = KOINE_ERR_MEMORY;
  koi_free(r.buffer);
  if (s != KOINE_OK) koi_chat_request_clear(out);
  return s;
}

void koi_chat_request_clear(koi_chat_request *r)
{
  koi_free(r->pool.s);
  koi_free(r->message);
  koi_free(r->block);
  koi_free(r->call);
  *r = (koi_chat_request){0};
}

const char *koi_chat_request_text(const koi_chat_request *r, koi_chat_span span) { return r->pool.s + span.at; }
