/* Owns: an answer as it comes, cut into reasoning, content and tool calls. A whole answer is read by the same code (chat_parse.c).
 * Does not: correct an answer: what is malformed is named, and stays in the text where it stood.
 * Invariant: what lies before `at` was handed out or is markup that was understood; what was handed out does not depend on how the answer
 * was cut. */
#include <string.h>
#include "base/utf8.h"
#include "chat_impl.h"

typedef enum phase { OPENING, IN_REASONING, IN_CONTENT, IN_BLOCK } phase;

struct koi_chat_stream {
  const koi_tok *tok;
  koine_chat_part_fn *fn;
  void *user;
  enum { BY_NOTHING, BY_TEXT, BY_IDS } by;
  koi_utf8 utf8;
  koi_text text, begins; /* all of it; begins: bit 0 where control tokens begin */
  size_t eos, eos_end;   /* by ids: the end token; SIZE_MAX: there is none yet */
  bool control;          /* the next character begins a control token */
  size_t maybe_eos;      /* by ids: where a control token begins that may become it; SIZE_MAX: nowhere */
  bool last, over;       /* nothing follows; the answer was handed over */
  size_t at, run;        /* run: where the text without markup began that `at` is in */
  phase phase;
  bool behind;           /* behind the tool calls, where no text is expected */
  size_t cut, looked;    /* IN_BLOCK: text from `cut` on is still to be handed out if nothing is understood; no end tag before `looked` */
  bool in_reasoning, opened, raw;
  size_t n_good;
  koi_text part[2];      /* handed out */
  koi_chat_answer answer; /* its calls and defects */
  koine_status status;   /* of the receiver, or of memory */
};

koine_status koi_chat_stream_open(const koi_tok *tok, koine_thinking thinking, koine_chat_part_fn *fn, void *user, koi_chat_stream **out)
{
  if (thinking < KOINE_THINK_OFF || thinking > KOINE_THINK_MAX) return koi_error(KOINE_ERR_ARG, "thinking %d is none of off, high, max", (int)thinking);
  koi_chat_stream *s = koi_alloc(1, sizeof *s);
  if (!s) return KOINE_ERR_MEMORY;
  *s = (koi_chat_stream){.tok = tok, .fn = fn, .user = user, .phase = thinking == KOINE_THINK_OFF ? IN_CONTENT : OPENING,
                         .eos = SIZE_MAX, .maybe_eos = SIZE_MAX};
  *out = s;
  return KOINE_OK;
}

void koi_chat_stream_close(koi_chat_stream *s)
{
  if (!s) return;
  koi_free(s->text.s);
  koi_free(s->begins.s);
  koi_free(s->part[0].s);
  koi_free(s->part[1].s);
  koi_chat_answer_clear(&s->answer);
  koi_free(s);
}

/* ---- handing out ---- */
static void tell(koi_chat_stream *s, koine_chat_part part, const char *text, size_t n)
{
  if (!s->fn || s->status || s->fn(s->user, part, text, n)) return;
  s->status = koi_error(KOINE_ERR_CANCELLED, "the receiver of the answer stopped it");
}

static void give(koi_chat_stream *s, koine_chat_part part, const char *text, size_t n)
{
  if (!n) return;
  koi_text_bytes(&s->part[part], text, n);
  tell(s, part, text, n);
}

static void defect(koi_chat_stream *s, const char *words)
{
  koi_chat_answer *a = &s->answer;
  for (size_t i = 0; i < a->n_defects; i++)
    if (!strcmp(a->defect[i], words)) return;
  if (a->n_defects == KOI_CHAT_DEFECTS) return;
  a->defect[a->n_defects++] = words;
  tell(s, KOINE_CHAT_DEFECT, words, strlen(words));
}

/* Text without markup, to `end`; markup that has no business there is told. */
static void give_text(koi_chat_stream *s, const koi_chat_source *t, size_t end)
{
  const koi_chat_mark none[] = {koi_chat_mark_bos, koi_chat_mark_think, koi_chat_mark_think_end, koi_chat_mark_dsml, koi_chat_mark_eos};
  enum { LONGEST = 64 };
  size_t from = s->at > s->run + LONGEST ? s->at - LONGEST : s->run;
  koi_chat_source part = {t->s, end, t->begins, true};
  for (size_t i = 0; i < KOI_COUNT(none); i++)
    if (koi_chat_find(&part, from, none[i]) < end) defect(s, "a control token inside the text");
  give(s, s->phase == IN_REASONING ? KOINE_CHAT_REASONING : KOINE_CHAT_CONTENT, t->s + s->at, end - s->at);
  s->at = end;
}

/* What stands apart from the text before it. */
static void give_apart(koi_chat_stream *s, koine_chat_part part, const char *text, size_t n)
{
  while (n && strchr(" \t\r\n", text[n - 1])) n--;
  if (n && s->part[part].len) give(s, part, "\n\n", 2);
  give(s, part, text, n);
}

/* ---- text ---- */
/* How many of the last bytes of s may be the beginning of `of`. */
static size_t overlap(const char *s, size_t n, const char *of)
{
  size_t most = strlen(of) - 1;
  for (size_t k = n < most ? n : most; k > 0; k--)
    if (!memcmp(s + n - k, of, k)) return k;
  return 0;
}

static size_t may_begin(const koi_chat_stream *s, const koi_chat_source *t)
{
  const char *const marks[] = {koi_chat_mark_block.s, koi_chat_mark_think_end.s};
  size_t hold = 0, left = t->n - s->at;
  for (size_t i = 0; i < KOI_COUNT(marks) - (s->phase != IN_REASONING); i++) {
    size_t k = overlap(t->s + s->at, left, marks[i]);
    if (k > hold) hold = k;
  }
  size_t block = overlap(t->s + s->at, left, koi_chat_mark_block.s); /* the blank line before it may be a part of it */
  for (size_t k = 0; k < 2 && hold == block && left > hold && t->s[t->n - 1 - hold] == '\n'; k++) hold++, block++;
  return hold;
}

/* Where a text before the tool calls ends: the blank line between belongs to neither. */
static size_t before_block(const koi_chat_source *t, size_t from, size_t at)
{
  return at - from >= 2 && !memcmp(t->s + at - 2, "\n\n", 2) ? at - 2 : at;
}

/* Past the white space behind the tool calls. False: more must be known. */
static bool step_behind(koi_chat_stream *s, const koi_chat_source *t)
{
  size_t at = koi_chat_spaces(t, s->at);
  bool reasoning = s->phase == IN_REASONING;
  if (at == t->n || koi_chat_may_be(t, at, koi_chat_mark_block) || (reasoning && koi_chat_may_be(t, at, koi_chat_mark_think_end))) return false;
  s->behind = false, s->at = s->run = at;
  if (koi_chat_is_at(t, at, koi_chat_mark_block)) defect(s, "more than one block of tool calls");
  else if (!reasoning || !koi_chat_is_at(t, at, koi_chat_mark_think_end)) {
    koine_chat_part part = reasoning ? KOINE_CHAT_REASONING : KOINE_CHAT_CONTENT;
    defect(s, "text after the tool calls");
    if (s->part[part].len) give(s, part, "\n\n", 2);
  }
  return true;
}

static bool step_text(koi_chat_stream *s, const koi_chat_source *t)
{
  bool reasoning = s->phase == IN_REASONING;
  if (s->behind) return step_behind(s, t);
  size_t block = koi_chat_find(t, s->at, koi_chat_mark_block), close = reasoning ? koi_chat_find(t, s->at, koi_chat_mark_think_end) : t->n;
  if (close < block) {
    give_text(s, t, close);
    s->at = s->run = close + strlen(koi_chat_mark_think_end.s), s->phase = IN_CONTENT;
    return true;
  }
  if (block < t->n) {
    give_text(s, t, before_block(t, s->at, block));
    s->cut = s->at, s->at = s->looked = block, s->phase = IN_BLOCK;
    s->in_reasoning = reasoning, s->opened = s->raw = false, s->n_good = 0;
    return true;
  }
  give_text(s, t, t->last ? t->n : t->n - may_begin(s, t));
  return false;
}

/* ---- a block of tool calls ---- */
static koine_chat_part block_part(const koi_chat_stream *s) { return s->in_reasoning ? KOINE_CHAT_REASONING : KOINE_CHAT_CONTENT; }

/* From `from` to `to` nothing was understood. Before the first call that was, the text stays whole, with the block's opening tag. */
static void give_raw(koi_chat_stream *s, const koi_chat_source *t, size_t from, size_t to, const char *words)
{
  if (words) defect(s, words);
  if (s->n_good) {
    give_apart(s, block_part(s), t->s + from, to - from);
  } else {
    give(s, block_part(s), t->s + s->cut, to - s->cut);
    s->cut = to, s->raw = true;
  }
  s->at = to;
}

static void leave_block(koi_chat_stream *s)
{
  s->phase = s->in_reasoning ? IN_REASONING : IN_CONTENT;
  s->behind = s->n_good || !s->raw;
  if (!s->behind) s->at = s->cut;
  s->run = s->at;
}

static bool break_off(koi_chat_stream *s, const koi_chat_source *t, size_t at)
{
  if (s->n_good) defect(s, "the tool calls break off"), s->at = at;
  else give_raw(s, t, s->at, at, "the tool calls break off");
  leave_block(s);
  return true;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Where what is not understood ends: at the next piece of markup that means something here. t->n when there is none. */
static size_t next_mark(const koi_chat_stream *s, const koi_chat_source *t, size_t from)
{
  size_t end = least(koi_chat_find(t, from, koi_chat_mark_invoke), koi_chat_find(t, from, koi_chat_mark_block_end));
  end = least(end, koi_chat_find(t, from, koi_chat_mark_block));
  return s->in_reasoning ? least(end, koi_chat_find(t, from, koi_chat_mark_think_end)) : end;
}

/* Behind a call that went wrong at `from`: its end tag, or what comes before that. False: more must be known. */
static bool end_of_bad(const koi_chat_stream *s, const koi_chat_source *t, size_t from, size_t *end)
{
  size_t tag = koi_chat_find(t, from, koi_chat_mark_invoke_end), other = next_mark(s, t, from);
  *end = other;
  if (other < tag || tag == t->n) return other < t->n || t->last;
  *end = tag + strlen(koi_chat_mark_invoke_end.s);
  if (*end == t->n) return t->last;
  *end += t->s[*end] == '>';
  return true;
}

static bool add_call(koi_chat_stream *s, koi_chat_call *call)
{
  koi_chat_answer *a = &s->answer;
  koi_chat_call *v = koi_realloc(a->call, a->n_calls + 1, sizeof *v);
  koi_text json = {0};
  char *text = NULL;
  if (v) a->call = v, v[a->n_calls++] = *call;
  else koi_free(call->name), koi_free(call->arguments);
  if (!v) return false;
  s->n_good++;
  if (s->in_reasoning) defect(s, "tool calls inside the reasoning");
  if (!s->fn) return true;
  koi_chat_call_json(call, &json);
  if (koi_text_take(&json, &text)) return false;
  tell(s, KOINE_CHAT_TOOL_CALL, text, strlen(text));
  koi_free(text);
  return true;
}

static bool step_call(koi_chat_stream *s, const koi_chat_source *t, size_t at)
{
  size_t tag = koi_chat_find(t, s->looked > at ? s->looked : at, koi_chat_mark_invoke_end), pos = at, end;
  size_t len = strlen(koi_chat_mark_invoke_end.s);
  if (tag == t->n && !t->last) {
    if (t->n > s->looked + len) s->looked = t->n - len; /* before that there is none, nor the beginning of one */
    return false;
  }
  koi_chat_call call;
  const char *words = NULL;
  koi_chat_found found = koi_chat_call_read(t, &pos, &call, &words);
  if (found == KOI_CHAT_NO_MEMORY || (found == KOI_CHAT_WHOLE && !add_call(s, &call))) {
    s->status = KOINE_ERR_MEMORY;
    return false;
  }
  if (found == KOI_CHAT_WHOLE) {
    if (words) defect(s, words);
    s->at = s->looked = pos;
    return true;
  }
  if (found == KOI_CHAT_OPEN || !end_of_bad(s, t, pos > at ? pos : at + 1, &end)) {
    if (tag < t->n) s->looked = tag + 1;
    return false;
  }
  give_raw(s, t, at, end, words);
  s->looked = end;
  return true;
}

static bool step_opening_tag(koi_chat_stream *s, const koi_chat_source *t)
{
  size_t behind = s->at + strlen(koi_chat_mark_block.s);
  if (behind == t->n) return t->last && break_off(s, t, t->n);
  if (t->s[behind] == '>') {
    s->at = s->looked = behind + 1, s->opened = true;
    return true;
  }
  give_raw(s, t, s->at, behind, "the opening tag of the tool calls without its >");
  leave_block(s);
  return true;
}

static bool step_block(koi_chat_stream *s, const koi_chat_source *t)
{
  if (!s->opened) return step_opening_tag(s, t);
  size_t at = koi_chat_spaces(t, s->at);
  if (at == t->n) return t->last && break_off(s, t, t->n);
  if (koi_chat_is_at(t, at, koi_chat_mark_invoke)) return step_call(s, t, at);
  if (koi_chat_is_at(t, at, koi_chat_mark_block_end)) {
    size_t end = at + strlen(koi_chat_mark_block_end.s);
    if (s->raw && !s->n_good) give_raw(s, t, at, end, NULL);
    s->at = end;
    leave_block(s);
    return true;
  }
  if (koi_chat_may_be(t, at, koi_chat_mark_invoke) || koi_chat_may_be(t, at, koi_chat_mark_block_end)) return false;
  if (koi_chat_is_at(t, at, koi_chat_mark_block) || (s->in_reasoning && koi_chat_is_at(t, at, koi_chat_mark_think_end))) return break_off(s, t, at);
  size_t end = next_mark(s, t, at);
  if (end == t->n && !t->last) return false;
  give_raw(s, t, at, end, "text between tool calls");
  return true;
}

/* ---- the end token ---- */
/* By text the end token counts only at the very end: before that it is quoted. Where it, or what may become it, begins. */
static size_t text_end(const koi_chat_stream *s, bool *whole)
{
  size_t n = s->text.len, k = strlen(KOI_CHAT_EOS), end = n;
  while (end > 0 && s->text.s[end - 1] && strchr(" \t\r\n", s->text.s[end - 1])) end--;
  *whole = end >= k && !memcmp(s->text.s + end - k, KOI_CHAT_EOS, k);
  if (*whole) return end - k;
  return s->last ? n : n - overlap(s->text.s, n, KOI_CHAT_EOS);
}

/* By ids it counts where it is one token. Its text may come in pieces. */
static void look_for_eos(koi_chat_stream *s)
{
  size_t n = strlen(KOI_CHAT_EOS), at = s->maybe_eos;
  if (at == SIZE_MAX || s->eos != SIZE_MAX) return;
  size_t left = s->text.len - at;
  bool same = !memcmp(s->text.s + at, KOI_CHAT_EOS, left < n ? left : n);
  if (same && left < n && !s->last) return;
  if (same && left >= n) s->eos = at, s->eos_end = at + n;
  s->maybe_eos = SIZE_MAX;
}

/* What may be read now. */
static koi_chat_source view(koi_chat_stream *s)
{
  koi_chat_source t = {s->text.s, s->text.len, s->by == BY_IDS ? s->begins.s : NULL, s->last};
  bool whole = false;
  look_for_eos(s);
  if (s->eos != SIZE_MAX) t.n = s->eos, t.last = true;
  else if (s->maybe_eos != SIZE_MAX) t.n = s->maybe_eos;
  else if (s->by == BY_TEXT) t.n = text_end(s, &whole);
  s->answer.ended |= s->eos != SIZE_MAX || (whole && s->last);
  return t;
}

static bool step(koi_chat_stream *s, const koi_chat_source *t)
{
  if (s->phase == IN_BLOCK) return step_block(s, t);
  if (s->phase != OPENING) return step_text(s, t);
  if (koi_chat_may_be(t, 0, koi_chat_mark_think)) return false; /* an opening tag may be repeated */
  if (koi_chat_is_at(t, 0, koi_chat_mark_think)) s->at = s->run = strlen(KOI_CHAT_THINK);
  s->phase = IN_REASONING;
  return true;
}

static koine_status run(koi_chat_stream *s)
{
  koi_text_bytes(&s->text, "", 0);
  koi_text_bytes(&s->begins, "", 0);
  if (s->text.failed || s->begins.failed || s->part[0].failed || s->part[1].failed) s->status = KOINE_ERR_MEMORY;
  if (s->status == KOINE_ERR_MEMORY) return koi_error(KOINE_ERR_MEMORY, "out of host memory for an answer");
  koi_chat_source t = view(s);
  while (s->status != KOINE_ERR_MEMORY && step(s, &t)) continue;
  return s->status == KOINE_ERR_MEMORY ? koi_error(KOINE_ERR_MEMORY, "out of host memory for an answer") : s->status;
}

/* ---- feeding ---- */
static koine_status begin(koi_chat_stream *s, int by)
{
  if (s->over) return koi_error(KOINE_ERR_STATE, "the answer has ended: open another stream");
  if (s->by != BY_NOTHING && (int)s->by != by) return koi_error(KOINE_ERR_STATE, "the stream takes %s", s->by == BY_IDS ? "ids, not bytes" : "bytes, not ids");
  s->by = by == BY_IDS ? BY_IDS : BY_TEXT;
  return KOINE_OK;
}

static void put(koi_chat_stream *s, const char *text, size_t n)
{
  char begins[KOI_UTF8_MOST] = {s->control};
  size_t at = s->text.len;
  if (!n) return;
  koi_text_bytes(&s->text, text, n);
  if (s->by == BY_IDS) koi_text_bytes(&s->begins, begins, n);
  if (s->control && s->eos == SIZE_MAX) s->maybe_eos = at;
  s->control = false;
}

static void put_byte(koi_chat_stream *s, char c)
{
  char text[KOI_UTF8_MOST];
  put(s, text, koi_utf8_take(&s->utf8, c, text));
}

static void end_character(koi_chat_stream *s)
{
  char text[KOI_UTF8_MOST];
  put(s, text, koi_utf8_end(&s->utf8, text));
}

/* The next byte begins a control token. */
static void put_control(koi_chat_stream *s, char c)
{
  end_character(s);
  look_for_eos(s);
  s->control = true;
  put_byte(s, c);
}

koine_status koi_chat_stream_feed(koi_chat_stream *s, const char *text, size_t n)
{
  koine_status status = begin(s, BY_TEXT);
  if (status) return status;
  for (size_t i = 0; i < n; i++) put_byte(s, text[i]);
  return run(s);
}

koine_status koi_chat_stream_push(koi_chat_stream *s, const char *text, const char *begins, size_t n)
{
  koine_status status = begin(s, BY_IDS);
  if (status) return status;
  for (size_t i = 0; i < n; i++) {
    if (begins[i] & 1) put_control(s, text[i]);
    else put_byte(s, text[i]);
  }
  return run(s);
}

void koi_chat_stream_ended(koi_chat_stream *s) { s->answer.ended = true; }

koine_status koi_chat_stream_feed_ids(koi_chat_stream *s, const int32_t *ids, size_t n)
{
  koine_status status = begin(s, BY_IDS);
  if (!status && !s->tok) status = koi_error(KOINE_ERR_STATE, "the stream was opened without a tokenizer, so it takes bytes, not ids");
  if (status) return status;
  for (size_t i = 0; i < n; i++) {
    if (ids[i] < 0 || (size_t)ids[i] >= koi_tok_n_vocab(s->tok)) return koi_error(KOINE_ERR_ARG, "id %d at position %zu is outside the vocabulary", ids[i], i);
    const char *bytes;
    size_t len;
    bool control = koi_tok_is_added(s->tok, ids[i]);
    koi_tok_piece(s->tok, ids[i], &bytes, &len);
    if (koi_tok_is_eos(s->tok, ids[i]) && s->eos == SIZE_MAX) {
      end_character(s);
      s->eos = s->eos_end = s->text.len, s->maybe_eos = SIZE_MAX;
      continue;
    }
    if (control && len) put_control(s, bytes[0]);
    for (size_t k = control; k < len; k++) put_byte(s, bytes[k]);
  }
  return run(s);
}

koine_status koi_chat_stream_end(koi_chat_stream *s, koi_chat_answer *out)
{
  if (s->over) return koi_error(KOINE_ERR_STATE, "the answer has ended already");
  if (s->by == BY_NOTHING) s->by = BY_TEXT;
  end_character(s);
  s->last = true;
  koine_status status = run(s);
  if (status == KOINE_ERR_MEMORY) return status;
  if (s->phase == OPENING || s->phase == IN_REASONING) defect(s, "the reasoning is not closed");
  if (s->eos != SIZE_MAX && s->eos_end < s->text.len) defect(s, "text after the end token");
  s->answer.n_reasoning = s->part[0].len, s->answer.n_content = s->part[1].len;
  if (koi_text_take(&s->part[0], &s->answer.reasoning) || koi_text_take(&s->part[1], &s->answer.content)) return KOINE_ERR_MEMORY;
  s->over = true;
  *out = s->answer;
  s->answer = (koi_chat_answer){0};
  return s->status; /* the receiver may have stopped it: the answer is there all the same */
}
