/* Owns: reading a request: JSON to messages, tool messages into user turns, results into the order of the calls.
 * Does not: render. The texts of all messages lie in one pool.
 * Invariant: no message has the role tool; the blocks of a user turn are neighbours. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "chat_impl.h"

typedef struct reader {
  koi_jscan j;
  koi_chat_request *r;
  char *buffer; /* [n_buffer] for one decoded string */
  size_t n_buffer;
  koi_chat_span top_tools; /* of the request */
} reader;

/* One message while it is read. */
typedef struct draft {
  koi_chat_message m;
  bool has_role;
  koi_chat_span id;      /* tool_call_id */
  koi_chat_span reasoning[2]; /* reasoning_content, reasoning */
} draft;

static const char *const role_names[KOI_N_ROLES] = {
  [KOI_ROLE_SYSTEM] = "system", [KOI_ROLE_USER] = "user", [KOI_ROLE_ASSISTANT] = "assistant", [KOI_ROLE_TOOL] = "tool",
  [KOI_ROLE_DEVELOPER] = "developer", [KOI_ROLE_REMINDER] = "latest_reminder",
};
static const struct { const char *name, *token; } tasks[] = {
  {"action", KOI_CHAT_TASK("action")}, {"query", KOI_CHAT_TASK("query")}, {"authority", KOI_CHAT_TASK("authority")},
  {"domain", KOI_CHAT_TASK("domain")}, {"title", KOI_CHAT_TASK("title")}, {"read_url", KOI_CHAT_TASK("read_url")},
};

static bool fail(reader *r, const char *wrong)
{
  if (!r->j.wrong) r->j.wrong = wrong;
  return false;
}

/* Room for one more element. */
static bool room(reader *r, void **array, size_t n, size_t *cap, size_t size)
{
  if (n < *cap) return true;
  size_t more = *cap * 2 + 16;
  void *v = koi_realloc(*array, more, size);
  if (!v) return r->j.memory = true, fail(r, "out of host memory");
  *array = v, *cap = more;
  return true;
}

/* ---- values ---- */
static koi_chat_span since(const reader *r, size_t at) { return (koi_chat_span){at, r->r->pool.len - at}; }

static koi_chat_span put(reader *r, const char *s, size_t n)
{
  size_t at = r->r->pool.len;
  koi_text_bytes(&r->r->pool, s, n);
  return since(r, at);
}

static bool null(reader *r) { return koi_jscan_peek(&r->j) == 'n' && koi_jscan_skip(&r->j); }

static bool text(reader *r, koi_chat_span *out)
{
  size_t n;
  if (!koi_jscan_string(&r->j, r->buffer, r->n_buffer, &n)) return false;
  *out = put(r, r->buffer, n);
  return true;
}

static bool optional_text(reader *r, koi_chat_span *out) { return null(r) || (!r->j.wrong && text(r, out)); }

static bool boolean(reader *r, bool *out)
{
  char c = koi_jscan_peek(&r->j);
  if (c != 't' && c != 'f' && c != 'n') return fail(r, "expected true or false");
  *out = c == 't';
  return koi_jscan_skip(&r->j);
}

/* The next value as JSON text. */
static bool json(reader *r, koi_chat_span *out)
{
  size_t at = r->r->pool.len;
  bool ok = koi_chat_json_value(&r->j, &r->r->pool, r->buffer, r->n_buffer);
  *out = since(r, at);
  return ok;
}

/* One part of a content array: its text, or [Unsupported TYPE]. */
static bool content_part(reader *r, bool first)
{
  char type[64] = "None";
  koi_chat_span said = {0};
  koi_text *pool = &r->r->pool;
  size_t from = pool->len, n;
  bool has_text = false;
  if (!first) koi_text_add(pool, "\n\n");
  if (!koi_jscan_open(&r->j, '{')) return false;
  for (size_t i = 0; koi_jscan_more(&r->j, '}', &i);) {
    if (!koi_jscan_key(&r->j, r->buffer, r->n_buffer, &n)) return false;
    if (!strcmp(r->buffer, "text") && koi_jscan_peek(&r->j) == '"' && !has_text) has_text = text(r, &said);
    else if (!strcmp(r->buffer, "type") && koi_jscan_peek(&r->j) == '"') {
      if (!koi_jscan_string(&r->j, r->buffer, r->n_buffer, &n)) return false;
      if (n >= sizeof type) return fail(r, "the type of a content part is too long");
      memcpy(type, r->buffer, n + 1);
    } else koi_jscan_skip(&r->j);
  }
  if (r->j.wrong) return false;
  if (!strcmp(type, "text") && !pool->failed) return true; /* the text, if any, was put behind the blank line */
  pool->len = from;
  koi_text_add(pool, "%s[Unsupported %s]", first ? "" : "\n\n", type);
  return true;
}

static bool content(reader *r, koi_chat_span *out)
{
  char c = koi_jscan_peek(&r->j);
  if (c == '"' || c == 'n') return optional_text(r, out);
  if (c != '[') return fail(r, "content: expected a string, null or an array of parts");
  size_t at = r->r->pool.len;
  koi_jscan_open(&r->j, '[');
  for (size_t i = 0; koi_jscan_more(&r->j, ']', &i);)
    if (!content_part(r, i == 1)) return false;
  *out = since(r, at);
  return !r->j.wrong;
}

/* ---- tools and calls ---- */
/* The function of one tool, as JSON; a bare function stands for itself. */
static bool tool(reader *r)
{
  koi_jscan start = r->j;
  koi_chat_span unused;
  bool has_name = false;
  size_t n;
  if (!koi_jscan_open(&r->j, '{')) return false;
  for (size_t i = 0; koi_jscan_more(&r->j, '}', &i);) {
    if (!koi_jscan_key(&r->j, r->buffer, r->n_buffer, &n)) return false;
    if (!strcmp(r->buffer, "function")) {
      if (koi_jscan_peek(&r->j) != '{' || !json(r, &unused)) return fail(r, "tools: function: expected an object");
      while (koi_jscan_more(&r->j, '}', &i))
        if (!koi_jscan_key(&r->j, NULL, 0, NULL) || !koi_jscan_skip(&r->j)) return false;
      return !r->j.wrong;
    }
    has_name |= !strcmp(r->buffer, "name");
    if (!koi_jscan_skip(&r->j)) return false;
  }
  if (r->j.wrong || !has_name) return fail(r, "tools: expected an object with a function");
  r->j = start;
  return json(r, &unused);
}

static bool tools(reader *r, koi_chat_span *out)
{
  if (null(r)) return true;
  if (!koi_jscan_open(&r->j, '[')) return false;
  size_t at = r->r->pool.len;
  for (size_t i = 0; koi_jscan_more(&r->j, ']', &i);) {
    if (i > 1) koi_text_add(&r->r->pool, "\n");
    if (!tool(r)) return false;
  }
  *out = since(r, at);
  return !r->j.wrong;
}

/* Arguments are JSON in a string; an object is taken for its text. */
static bool arguments(reader *r, koi_chat_span *out)
{
  if (koi_jscan_peek(&r->j) != '{') return text(r, out);
  size_t from = r->j.at;
  if (!koi_jscan_skip(&r->j)) return false;
  *out = put(r, r->j.s + from, r->j.at - from);
  return true;
}

static bool function(reader *r, koi_chat_made *call, bool seen[2])
{
  size_t n;
  if (!koi_jscan_open(&r->j, '{')) return false;
  for (size_t i = 0; koi_jscan_more(&r->j, '}', &i);) {
    if (!koi_jscan_key(&r->j, r->buffer, r->n_buffer, &n)) return false;
    bool ok;
    if (!strcmp(r->buffer, "name")) ok = seen[0] = text(r, &call->name);
    else if (!strcmp(r->buffer, "arguments")) ok = seen[1] = arguments(r, &call->arguments);
    else if (!strcmp(r->buffer, "id") && !call->id.n) ok = optional_text(r, &call->id);
    else ok = koi_jscan_skip(&r->j);
    if (!ok) return false;
  }
  return !r->j.wrong;
}

static bool call(reader *r)
{
  koi_chat_made made = {0};
  koi_chat_span id = {0};
  bool seen[2] = {false, false};
  size_t n;
  if (!koi_jscan_open(&r->j, '{')) return false;
  for (size_t i = 0; koi_jscan_more(&r->j, '}', &i);) {
    if (!koi_jscan_key(&r->j, r->buffer, r->n_buffer, &n)) return false;
    bool ok = !strcmp(r->buffer, "id") ? optional_text(r, &id) : !strcmp(r->buffer, "function") ? function(r, &made, seen) : koi_jscan_skip(&r->j);
    if (!ok) return false;
  }
  if (r->j.wrong) return false;
  if (!seen[0] || !seen[1]) return fail(r, "tool_calls: expected a function with name and arguments before this");
  if (id.n) made.id = id;
  koi_chat_request *q = r->r;
  if (!room(r, (void **)&q->call, q->n_calls, &q->cap_calls, sizeof *q->call)) return false;
  q->call[q->n_calls++] = made;
  return true;
}

static bool calls(reader *r, koi_chat_range *out)
{
  if (null(r)) return true;
  if (!koi_jscan_open(&r->j, '[')) return false;
  out->at = r->r->n_calls;
  for (size_t i = 0; koi_jscan_more(&r->j, ']', &i);)
    if (!call(r)) return false;
  out->n = r->r->n_calls - out->at;
  return !r->j.wrong;
}

/* ---- members of a message ---- */
static bool read_role(reader *r, draft *d)
{
  size_t n;
  if (!koi_jscan_string(&r->j, r->buffer, r->n_buffer, &n)) return false;
  for (size_t i = 0; i < KOI_N_ROLES; i++)
    if (!strcmp(r->buffer, role_names[i])) return d->m.role = (koi_chat_role)i, d->has_role = true;
  return fail(r, "an unknown role before this: expected system, user, assistant, tool, developer or latest_reminder");
}

static bool read_task(reader *r, draft *d)
{
  size_t n;
  if (null(r)) return true;
  if (!koi_jscan_string(&r->j, r->buffer, r->n_buffer, &n)) return false;
  for (size_t i = 0; i < KOI_COUNT(tasks); i++)
    if (!strcmp(r->buffer, tasks[i].name)) return d->m.task = tasks[i].token, true;
  return fail(r, "an unknown task before this: expected action, query, authority, domain, title or read_url");
}

/* A format that is nothing in Python's eyes asks for nothing. */
static bool read_format(reader *r, draft *d)
{
  static const char *const nothing[] = {"null", "false", "0", "0.0", "-0.0", "\"\"", "[]", "{}"};
  if (!json(r, &d->m.format)) return false;
  for (size_t i = 0; i < KOI_COUNT(nothing) && !r->r->pool.failed; i++)
    if (strlen(nothing[i]) == d->m.format.n && !memcmp(r->r->pool.s + d->m.format.at, nothing[i], d->m.format.n)) d->m.format.n = 0;
  return true;
}

static bool read_content(reader *r, draft *d) { return content(r, &d->m.content); }
static bool read_reasoning_content(reader *r, draft *d) { return optional_text(r, &d->reasoning[0]); }
static bool read_reasoning(reader *r, draft *d) { return optional_text(r, &d->reasoning[1]); }
static bool read_calls(reader *r, draft *d) { return calls(r, &d->m.calls); }
static bool read_call_id(reader *r, draft *d) { return optional_text(r, &d->id); }
static bool read_tools(reader *r, draft *d) { return tools(r, &d->m.tools); }

static bool read_unended(reader *r, draft *d)
{
  bool yes;
  if (!boolean(r, &yes)) return false;
  d->m.unended |= yes;
  return true;
}

static const struct { const char *key; bool (*read)(reader *r, draft *d); } members[] = {
  {"role", read_role}, {"content", read_content}, {"reasoning_content", read_reasoning_content}, {"reasoning", read_reasoning},
  {"tool_calls", read_calls}, {"tool_call_id", read_call_id}, {"tools", read_tools}, {"response_format", read_format},
  {"task", read_task}, {"wo_eos", read_unended}, {"prefix", read_unended},
};

/* ---- messages ---- */
static bool add_message(reader *r, size_t at, koi_chat_message m)
{
  koi_chat_request *q = r->r;
  if (!room(r, (void **)&q->message, q->n_messages, &q->cap_messages, sizeof *q->message)) return false;
  memmove(q->message + at + 1, q->message + at, (q->n_messages - at) * sizeof *q->message);
  q->message[at] = m;
  q->n_messages++;
  return true;
}

/* A user's text or a tool's result: into the user turn before it, or a turn of its own. A turn with a task takes no more text, and of a
 * text that joins a turn nothing but the text counts. */
static bool add_block(reader *r, const draft *d)
{
  koi_chat_request *q = r->r;
  bool result = d->m.role == KOI_ROLE_TOOL;
  koi_chat_message *last = q->n_messages ? &q->message[q->n_messages - 1] : NULL;
  if (!room(r, (void **)&q->block, q->n_blocks, &q->cap_blocks, sizeof *q->block)) return false;
  q->block[q->n_blocks++] = (koi_chat_block){d->m.content, d->id, result};
  if (last && last->role == KOI_ROLE_USER && (result || !last->task)) {
    last->blocks.n++;
    return true;
  }
  koi_chat_message turn = {.role = KOI_ROLE_USER, .blocks = {q->n_blocks - 1, 1}, .task = result ? NULL : d->m.task};
  return add_message(r, q->n_messages, turn);
}

static bool message(reader *r)
{
  draft d = {0};
  size_t n;
  if (!koi_jscan_open(&r->j, '{')) return false;
  for (size_t i = 0; koi_jscan_more(&r->j, '}', &i);) {
    if (!koi_jscan_key(&r->j, r->buffer, r->n_buffer, &n)) return false;
    size_t k = 0;
    while (k < KOI_COUNT(members) && strcmp(members[k].key, r->buffer)) k++;
    if (!(k < KOI_COUNT(members) ? members[k].read(r, &d) : koi_jscan_skip(&r->j))) return false;
  }
  if (r->j.wrong) return false;
  if (!d.has_role) return fail(r, "a message without a role ends here");
  if (d.m.role == KOI_ROLE_DEVELOPER && !d.m.content.n) return fail(r, "a developer message without content ends here");
  d.m.reasoning = d.reasoning[d.reasoning[0].n ? 0 : 1];
  return d.m.role == KOI_ROLE_USER || d.m.role == KOI_ROLE_TOOL ? add_block(r, &d) : add_message(r, r->r->n_messages, d.m);
}

static koine_status error(const reader *r, const char *where) { return koi_jscan_error(&r->j, where); }

static koine_status messages(reader *r)
{
  char where[48];
  if (!koi_jscan_open(&r->j, '[')) return error(r, "messages");
  for (size_t i = 0; koi_jscan_more(&r->j, ']', &i);)
    if (!message(r)) {
      snprintf(where, sizeof where, "message %zu", i - 1);
      return error(r, where);
    }
  return r->j.wrong ? error(r, "messages") : KOINE_OK;
}

static koine_status request(reader *r)
{
  bool seen = false;
  size_t n;
  if (!koi_jscan_open(&r->j, '{')) return error(r, "request");
  for (size_t i = 0; koi_jscan_more(&r->j, '}', &i);) {
    if (!koi_jscan_key(&r->j, r->buffer, r->n_buffer, &n)) return error(r, "request");
    if (!strcmp(r->buffer, "messages") && !seen) {
      koine_status s = messages(r);
      if (s != KOINE_OK) return s;
      seen = true;
    } else if (!(!strcmp(r->buffer, "tools") ? tools(r, &r->top_tools) : koi_jscan_skip(&r->j))) {
      return error(r, "request");
    }
  }
  if (r->j.wrong) return error(r, "request");
  return seen ? KOINE_OK : koi_error(KOINE_ERR_FILE, "request: no array `messages`");
}

/* Tools of the request as a whole belong to the first message when that is a system's or developer's, else to a system message of
 * their own. */
static bool place_tools(reader *r)
{
  koi_chat_request *q = r->r;
  if (!r->top_tools.n) return true;
  koi_chat_message *first = q->n_messages ? &q->message[0] : NULL;
  if (first && (first->role == KOI_ROLE_SYSTEM || first->role == KOI_ROLE_DEVELOPER) && !first->tools.n) {
    first->tools = r->top_tools;
    return true;
  }
  return add_message(r, 0, (koi_chat_message){.role = KOI_ROLE_SYSTEM, .tools = r->top_tools});
}

/* ---- the order of results ---- */
/* Where the call with this id stands among those that an assistant made; 0 for an unknown one. */
static size_t rank(const koi_chat_request *q, koi_chat_range made, koi_chat_span id)
{
  size_t found = 0;
  for (size_t i = 0; i < made.n; i++) { /* of equal ids the last one counts */
    koi_chat_span other = q->call[made.at + i].id;
    if (other.n && other.n == id.n && !memcmp(q->pool.s + other.at, q->pool.s + id.at, id.n)) found = i;
  }
  return found;
}

typedef struct ranked {
  koi_chat_block block;
  size_t rank, at;
} ranked;

static int by_rank(const void *a, const void *b)
{
  const ranked *x = a, *y = b;
  return x->rank != y->rank ? (x->rank > y->rank) - (x->rank < y->rank) : (x->at > y->at) - (x->at < y->at);
}

/* The results of one turn; its texts stay where they are. */
static bool sort_turn(const koi_chat_request *q, koi_chat_range made, koi_chat_range blocks)
{
  ranked *v = koi_alloc(blocks.n, sizeof *v);
  size_t n = 0;
  if (!v) return false;
  for (size_t i = 0; i < blocks.n; i++) {
    const koi_chat_block *b = &q->block[blocks.at + i];
    if (b->result) v[n] = (ranked){*b, rank(q, made, b->id), n}, n++;
  }
  if (n > 1) qsort(v, n, sizeof *v, by_rank);
  for (size_t i = 0, k = 0; i < blocks.n; i++)
    if (q->block[blocks.at + i].result) q->block[blocks.at + i] = v[k++].block;
  koi_free(v);
  return true;
}

static bool sort_results(const koi_chat_request *q)
{
  koi_chat_range made = {0};
  for (size_t i = 0; i < q->n_messages; i++) {
    const koi_chat_message *m = &q->message[i];
    if (m->role == KOI_ROLE_ASSISTANT && m->calls.n) made = m->calls;
    else if (m->role == KOI_ROLE_USER && m->blocks.n > 1 && made.n && !sort_turn(q, made, m->blocks)) return false;
  }
  return true;
}

koine_status koi_chat_request_read(const char *json, size_t n, koi_chat_request *out)
{
  *out = (koi_chat_request){0};
  reader r = {.j = {.s = json, .n = n}, .r = out, .n_buffer = n + 1};
  r.buffer = koi_alloc(r.n_buffer, 1);
  if (!r.buffer) return KOINE_ERR_MEMORY;
  koine_status s = koi_jscan_peek(&r.j) == '[' ? messages(&r) : request(&r);
  if (s == KOINE_OK && !koi_jscan_end(&r.j)) s = error(&r, "request");
  if (s == KOINE_OK && !place_tools(&r)) s = error(&r, "request");
  koi_text_bytes(&out->pool, "", 0);
  if (s == KOINE_OK && out->pool.failed) s = koi_error(KOINE_ERR_MEMORY, "out of host memory for the messages");
  if (s == KOINE_OK && out->n_messages == 0) s = koi_error(KOINE_ERR_FILE, "request: no message");
  if (s == KOINE_OK && !sort_results(out)) s = KOINE_ERR_MEMORY;
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
