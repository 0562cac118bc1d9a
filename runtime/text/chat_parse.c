/* Owns: a model's answer back to reasoning, content and tool calls, whole or as it comes.
 * Does not: correct an answer: what is malformed is named, and the rest read as far as it can be.
 * Invariant: a call is given only when all of it was there; its arguments are always a JSON object. */
#include <string.h>
#include "chat_impl.h"

#define MAX_PARAMETERS 4096 /* of one call: looking for one given twice is quadratic */
#define BLOCK "<" KOI_CHAT_DSML "tool_calls"
#define BLOCK_END "</" KOI_CHAT_DSML "tool_calls>"
#define INVOKE "<" KOI_CHAT_DSML "invoke"
#define INVOKE_END "</" KOI_CHAT_DSML "invoke"
#define PARAMETER "<" KOI_CHAT_DSML "parameter"
#define PARAMETER_END "</" KOI_CHAT_DSML "parameter"

typedef struct source {
  const char *s;
  size_t n;
  const bool *control; /* [n] where control tokens begin; NULL: their text counts as such */
} source;

/* A piece of markup and where in it its control token begins. */
typedef struct mark {
  const char *s;
  size_t control;
} mark;
static const mark think = {KOI_CHAT_THINK, 0}, think_end = {KOI_CHAT_THINK_END, 0}, eos = {KOI_CHAT_EOS, 0}, bos = {KOI_CHAT_BOS, 0},
                  dsml = {KOI_CHAT_DSML, 0}, block = {BLOCK, 1}, block_end = {BLOCK_END, 2}, invoke = {INVOKE, 1}, invoke_end = {INVOKE_END, 2},
                  parameter = {PARAMETER, 1}, parameter_end = {PARAMETER_END, 2};

static bool is_at(const source *t, size_t at, mark m)
{
  size_t n = strlen(m.s);
  return t->n - at >= n && !memcmp(t->s + at, m.s, n) && (!t->control || t->control[at + m.control]);
}

/* Where m first begins at or after `from`, t->n when nowhere. */
static size_t find(const source *t, size_t from, mark m)
{
  for (const char *p; from < t->n && (p = memchr(t->s + from, m.s[0], t->n - from)); from++) {
    from = (size_t)(p - t->s);
    if (is_at(t, from, m)) return from;
  }
  return t->n;
}

static size_t spaces(const source *t, size_t at)
{
  while (at < t->n && strchr(" \t\r\n", t->s[at]) && t->s[at]) at++;
  return at;
}

static koine_status copy(const char *s, size_t n, char **out)
{
  *out = koi_realloc(NULL, n + 1, 1);
  if (!*out) return KOINE_ERR_MEMORY;
  memcpy(*out, s, n);
  (*out)[n] = 0;
  return KOINE_OK;
}

/* ---- tool calls ---- */
typedef struct call_reader {
  const source *t;
  size_t at;
  const char *defect;
  koi_text arguments, keys; /* keys: as JSON, a line each */
  size_t n_keys;
  koi_chat_answer *answer;
  koine_status status;
} call_reader;

static bool wrong(call_reader *r, const char *defect)
{
  r->defect = defect;
  return false;
}

static bool is_json(const char *s, size_t n)
{
  koi_jscan j = {.s = s, .n = n};
  return koi_jscan_skip(&j) && koi_jscan_end(&j);
}

/* Whether the last line of `keys` is there before. */
static bool twice(const koi_text *keys, size_t last)
{
  size_t n = keys->len - last;
  for (size_t i = 0; !keys->failed && i + n <= last; i++)
    if ((i == 0 || keys->s[i - 1] == '\n') && !memcmp(keys->s + i, keys->s + last, n)) return true;
  return false;
}

static void put_argument(call_reader *r, const char *key, size_t n_key, const char *value, size_t n, bool is_text)
{
  koi_text_add(&r->arguments, r->keys.len ? ", " : "");
  koi_chat_json_string(&r->arguments, key, n_key);
  koi_text_add(&r->arguments, ": ");
  if (!is_text && is_json(value, n)) {
    koi_text_bytes(&r->arguments, value, n);
    return;
  }
  if (!is_text) r->defect = "the value of a parameter is no JSON";
  koi_chat_json_string(&r->arguments, value, n);
}

/*  name="KEY" string="true">VALUE */
static bool read_parameter(call_reader *r)
{
  static const char before[] = " name=\"", yes[] = "\" string=\"true\">", no[] = "\" string=\"false\">";
  const source *t = r->t;
  size_t from = r->at + strlen(PARAMETER), end = find(t, from, parameter_end), last = r->keys.len;
  if (end == t->n) return wrong(r, "a tool call breaks off");
  if (end - from < sizeof before - 1 || memcmp(t->s + from, before, sizeof before - 1)) return wrong(r, "a parameter without a name");
  size_t key = from + sizeof before - 1, i = key;
  bool is_text = false, is_json_text = false;
  for (; i < end && !is_text && !is_json_text; i++) {
    is_text = end - i >= sizeof yes - 1 && !memcmp(t->s + i, yes, sizeof yes - 1);
    is_json_text = end - i >= sizeof no - 1 && !memcmp(t->s + i, no, sizeof no - 1);
  }
  if (!is_text && !is_json_text) return wrong(r, "a parameter without string=\"true\" or \"false\"");
  size_t n_key = i - 1 - key, value = i - 1 + (is_text ? sizeof yes : sizeof no) - 1;
  put_argument(r, t->s + key, n_key, t->s + value, end - value, is_text);
  koi_chat_json_string(&r->keys, t->s + key, n_key);
  koi_text_add(&r->keys, "\n");
  if (++r->n_keys > MAX_PARAMETERS) return wrong(r, "too many parameters");
  if (twice(&r->keys, last)) return wrong(r, "a parameter is given twice");
  r->at = end + strlen(PARAMETER_END);
  if (r->at >= t->n || t->s[r->at] != '>') return wrong(r, r->at >= t->n ? "a tool call breaks off" : "a parameter's end tag without its >");
  r->at = spaces(t, r->at + 1);
  return true;
}

static bool add_call(call_reader *r, const char *name, size_t n)
{
  koi_chat_answer *a = r->answer;
  koi_chat_call *v = koi_realloc(a->call, a->n_calls + 1, sizeof *v), made = {0};
  koi_text_add(&r->arguments, "}");
  if (v) a->call = v;
  r->status = v ? copy(name, n, &made.name) : KOINE_ERR_MEMORY;
  if (r->status == KOINE_OK) r->status = koi_text_take(&r->arguments, &made.arguments);
  if (r->status == KOINE_OK) v[a->n_calls++] = made;
  else koi_free(made.name);
  return r->status == KOINE_OK;
}

/*  name="NAME"> and parameters, to the end tag. */
static bool read_call(call_reader *r)
{
  static const char before[] = "name=\"";
  const source *t = r->t;
  size_t from = spaces(t, r->at + strlen(INVOKE)), a = find(t, from, parameter), b = find(t, from, invoke_end), end = a < b ? a : b;
  r->at = end;
  if (end == t->n) return wrong(r, "a tool call breaks off");
  while (end > from && strchr(" \t\r\n", t->s[end - 1])) end--;
  if (end - from < sizeof before + 1 || memcmp(t->s + from, before, sizeof before - 1) || memcmp(t->s + end - 2, "\">", 2))
    return wrong(r, "a tool call without a name");
  from += sizeof before - 1, end -= 2;
  r->arguments.len = r->keys.len = r->n_keys = 0;
  koi_text_add(&r->arguments, "{");
  while (is_at(t, r->at, parameter))
    if (!read_parameter(r)) return false;
  if (!is_at(t, r->at, invoke_end)) return wrong(r, r->at == t->n ? "a tool call breaks off" : "text between parameters");
  r->at += strlen(INVOKE_END);
  if (r->at >= t->n || t->s[r->at] != '>') return wrong(r, r->at >= t->n ? "a tool call breaks off" : "a call's end tag without its >");
  r->at = spaces(t, r->at + 1);
  return add_call(r, t->s + from, end - from);
}

/* From the block's opening tag to behind its end tag. */
static void read_calls(call_reader *r)
{
  const source *t = r->t;
  r->at += strlen(BLOCK);
  if (r->at >= t->n || t->s[r->at] != '>') {
    wrong(r, r->at >= t->n ? "the tool calls break off" : "the opening tag of the tool calls without its >");
    return;
  }
  r->at = spaces(t, r->at + 1);
  while (is_at(t, r->at, invoke))
    if (!read_call(r)) return;
  if (is_at(t, r->at, block_end)) r->at += strlen(BLOCK_END);
  else wrong(r, r->at == t->n || is_at(t, r->at, eos) ? "the tool calls break off" : "text between tool calls");
}

static koine_status calls(const source *t, size_t *at, koi_chat_answer *a)
{
  call_reader r = {.t = t, .at = *at, .answer = a};
  read_calls(&r);
  koi_free(r.arguments.s);
  koi_free(r.keys.s);
  *at = r.at;
  if (r.defect) a->defect = r.defect;
  return r.status;
}

/* ---- whole answers ---- */
static void check_text(const source *t, size_t from, size_t end, koi_chat_answer *a)
{
  static const mark *const none[] = {&bos, &think, &think_end, &dsml};
  source part = {t->s, end, t->control};
  for (size_t i = 0; i < KOI_COUNT(none) && !a->defect; i++)
    if (find(&part, from, *none[i]) < end) a->defect = "a control token inside the text";
}

/* Where a text before the tool calls ends: the blank line between belongs to neither. */
static size_t before_block(const source *t, size_t from, size_t at) { return at - from >= 2 && !memcmp(t->s + at - 2, "\n\n", 2) ? at - 2 : at; }

static koine_status take(const source *t, size_t from, size_t end, char **out, size_t *n, koi_chat_answer *a)
{
  check_text(t, from, end, a);
  *n = end - from;
  return copy(t->s + from, *n, out);
}

static koine_status read_answer(const source *t, bool thinking, koi_chat_answer *a)
{
  size_t stop = find(t, 0, eos), from = thinking && is_at(t, 0, think) ? strlen(KOI_CHAT_THINK) : 0;
  source all = {t->s, stop, t->control}; /* nothing counts behind the end token */
  size_t at = find(&all, from, block), close = thinking ? find(&all, from, think_end) : from, end;
  a->ended = stop < t->n;
  if (a->ended && stop + strlen(KOI_CHAT_EOS) < t->n) a->defect = "text after the end token";
  if (thinking) {
    bool open = close > at || close == stop;
    end = !open ? close : at < stop ? before_block(&all, from, at) : stop;
    if (open) a->defect = at < stop ? "tool calls inside the reasoning" : "the reasoning is not closed";
    koine_status s = take(t, from, end, &a->reasoning, &a->n_reasoning, a);
    if (s != KOINE_OK) return s;
    from = !open ? close + strlen(KOI_CHAT_THINK_END) : at;
  } else if (copy("", 0, &a->reasoning) != KOINE_OK) {
    return KOINE_ERR_MEMORY;
  }
  at = find(&all, from, block);
  end = at < stop ? before_block(&all, from, at) : stop;
  koine_status s = take(t, from, end, &a->content, &a->n_content, a);
  if (s != KOINE_OK || at == stop) return s;
  s = calls(&all, &at, a);
  if (s == KOINE_OK && !a->defect && spaces(&all, at) < stop) a->defect = "text after the tool calls";
  return s;
}

static koine_status parse(const source *t, koine_thinking thinking, koi_chat_answer *out)
{
  koi_chat_answer a = {0};
  koine_status s = read_answer(t, thinking != KOINE_THINK_OFF, &a);
  if (s == KOINE_OK) *out = a;
  else koi_chat_answer_clear(&a);
  return s;
}

koine_status koi_chat_parse(const char *text, size_t n_bytes, koine_thinking thinking, koi_chat_answer *out)
{
  source t = {n_bytes ? text : "", n_bytes, NULL};
  return parse(&t, thinking, out);
}

koine_status koi_chat_parse_ids(const koi_tok *tok, const int32_t *ids, size_t n, koine_thinking thinking, koi_chat_answer *out)
{
  char *text;
  size_t n_bytes;
  koine_status s = koi_tok_decode(tok, ids, n, KOI_TOK_SPECIAL, &text, &n_bytes);
  if (s != KOINE_OK) return s;
  bool *control = koi_alloc(n_bytes + 1, sizeof *control);
  for (size_t i = 0, at = 0; control && i < n; i++) {
    const char *bytes;
    size_t len;
    koi_tok_piece(tok, ids[i], &bytes, &len);
    control[at] |= len && koi_tok_is_added(tok, ids[i]);
    at += len;
  }
  source t = {text, n_bytes, control};
  s = control ? parse(&t, thinking, out) : KOINE_ERR_MEMORY;
  koi_free(control);
  koi_free(text);
  return s;
}

void koi_chat_answer_clear(koi_chat_answer *a)
{
  koi_free(a->reasoning);
  koi_free(a->content);
  for (size_t i = 0; i < a->n_calls; i++) {
    koi_free(a->call[i].name);
    koi_free(a->call[i].arguments);
  }
  koi_free(a->call);
  *a = (koi_chat_answer){0};
}

koine_status koi_chat_answer_json(const koi_chat_answer *a, char **json)
{
  koi_text t = {0};
  koi_text_add(&t, "{\"role\": \"assistant\", \"reasoning_content\": ");
  koi_chat_json_string(&t, a->reasoning, a->n_reasoning);
  koi_text_add(&t, ", \"content\": ");
  koi_chat_json_string(&t, a->content, a->n_content);
  koi_text_add(&t, ", \"tool_calls\": [");
  for (size_t i = 0; i < a->n_calls; i++) {
    koi_text_add(&t, "%s{\"type\": \"function\", \"function\": {\"name\": ", i ? ", " : "");
    koi_chat_json_string(&t, a->call[i].name, strlen(a->call[i].name));
    koi_text_add(&t, ", \"arguments\": ");
    koi_chat_json_string(&t, a->call[i].arguments, strlen(a->call[i].arguments));
    koi_text_add(&t, "}}");
  }
  koi_text_add(&t, "]}");
  return koi_text_take(&t, json);
}

/* ---- an answer as it comes ---- */
typedef enum phase { BEGIN, IN_REASONING, IN_CONTENT, DONE } phase;

struct koi_chat_stream {
  koine_thinking thinking;
  koi_chat_part_fn *fn;
  void *user;
  koi_text text;  /* all of it */
  size_t at;      /* what is before was handed out, or is markup */
  size_t given[2]; /* bytes handed out, by part */
  phase phase;
};

koine_status koi_chat_stream_open(koine_thinking thinking, koi_chat_part_fn *fn, void *user, koi_chat_stream **out)
{
  koi_chat_stream *s = koi_alloc(1, sizeof *s);
  if (!s) return KOINE_ERR_MEMORY;
  *s = (koi_chat_stream){.thinking = thinking, .fn = fn, .user = user, .phase = thinking == KOINE_THINK_OFF ? IN_CONTENT : BEGIN};
  *out = s;
  return KOINE_OK;
}

void koi_chat_stream_close(koi_chat_stream *stream)
{
  if (!stream) return;
  koi_free(stream->text.s);
  koi_free(stream);
}

static koine_status give(koi_chat_stream *s, koi_chat_part part, const char *text, size_t n)
{
  if (!n) return KOINE_OK;
  s->given[part] += n;
  return s->fn(s->user, part, text, n) ? KOINE_OK : koi_error(KOINE_ERR_CANCELLED, "the receiver of the answer stopped it");
}

/* How many of the last bytes of s may be the beginning of `of`. */
static size_t overlap(const char *s, size_t n, const char *of)
{
  size_t most = strlen(of) - 1;
  for (size_t k = n < most ? n : most; k > 0; k--)
    if (!memcmp(s + n - k, of, k)) return k;
  return 0;
}

/* Text up to the next piece of markup, or to what may become one. True when markup was found: its phase begins. */
static bool advance(koi_chat_stream *s, koine_status *status)
{
  static const char *const held[] = {"\n\n" BLOCK, BLOCK, KOI_CHAT_EOS, KOI_CHAT_THINK_END};
  bool reasoning = s->phase == IN_REASONING;
  source t = {s->text.s, s->text.len, NULL};
  size_t at[3] = {find(&t, s->at, block), find(&t, s->at, eos), reasoning ? find(&t, s->at, think_end) : t.n};
  size_t end = at[0] < at[1] ? at[0] : at[1], hold = 0;
  bool closed = at[2] < end;
  if (closed) end = at[2];
  for (size_t i = 0; end == t.n && i < KOI_COUNT(held) - !reasoning; i++) {
    size_t k = overlap(t.s + s->at, t.n - s->at, held[i]);
    if (k > hold) hold = k;
  }
  size_t text_end = end == t.n ? t.n - hold : !closed && end == at[0] ? before_block(&t, s->at, end) : end;
  *status = give(s, reasoning ? KOI_CHAT_REASONING : KOI_CHAT_CONTENT, t.s + s->at, text_end - s->at);
  s->at = text_end;
  if (end == t.n) return false;
  s->phase = closed ? IN_CONTENT : DONE;
  s->at = closed ? end + strlen(KOI_CHAT_THINK_END) : end;
  return true;
}

koine_status koi_chat_stream_feed(koi_chat_stream *s, const char *text, size_t n)
{
  koine_status status = KOINE_OK;
  if (!n) return KOINE_OK;
  koi_text_bytes(&s->text, text, n);
  if (s->text.failed) return koi_error(KOINE_ERR_MEMORY, "out of host memory for an answer");
  if (s->phase == BEGIN) { /* an opening tag may be repeated */
    size_t len = strlen(KOI_CHAT_THINK), k = s->text.len < len ? s->text.len : len;
    bool same = !memcmp(s->text.s, KOI_CHAT_THINK, k);
    if (same && k < len) return KOINE_OK;
    s->at = same ? len : 0;
    s->phase = IN_REASONING;
  }
  while (status == KOINE_OK && s->phase != DONE && advance(s, &status)) continue;
  return status;
}

koine_status koi_chat_stream_end(koi_chat_stream *s, koi_chat_answer *out)
{
  koi_chat_answer a;
  koine_status status = koi_chat_parse(s->text.s, s->text.len, s->thinking, &a);
  if (status != KOINE_OK) return status;
  status = give(s, KOI_CHAT_REASONING, a.reasoning + s->given[0], a.n_reasoning - s->given[0]);
  if (status == KOINE_OK) status = give(s, KOI_CHAT_CONTENT, a.content + s->given[1], a.n_content - s->given[1]);
  if (status != KOINE_OK) return koi_chat_answer_clear(&a), status;
  *out = a;
  return KOINE_OK;
}
