/* Owns: cutting an answer into reasoning, content and tool calls, a step at a time.
 * Does not: take bytes or ids (chat_stream.c), or correct an answer: what is malformed is named, and stays in the text where it stood. A call that the
 * answer was cut off in is no text that the model wrote for a reader, and half of it nothing to run: it is named and left out.
 * Invariant: what lies before `at` was handed out or is markup that was understood; what was handed out does not depend on how the answer
 * was cut. */
#include <string.h>
#include "chat_impl.h"

static const char BREAKS_OFF[] = "the tool calls break off";

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

void koi_chat_step_defect(koi_chat_stream *s, const char *words)
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
  const koi_chat_mark none[] = {koi_chat_mark_bos, koi_chat_mark_think, koi_chat_mark_think_end, koi_chat_mark_dsml, koi_chat_mark_eos, {KOI_CHAT_USER, 0}, {KOI_CHAT_ASSISTANT, 0}, {KOI_CHAT_REMINDER, 0}};
  enum { LONGEST = 64 };
  size_t from = s->at > s->run + LONGEST ? s->at - LONGEST : s->run;
  koi_chat_source part = {t->s, end, t->begins, true};
  for (size_t i = 0; i < KOI_COUNT(none); i++)
    if (koi_chat_find(&part, from, none[i]) < end) koi_chat_step_defect(s, "a control token inside the text");
  give(s, s->phase == KOI_CHAT_IN_REASONING ? KOINE_CHAT_REASONING : KOINE_CHAT_CONTENT, t->s + s->at, end - s->at);
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
static size_t may_begin(const koi_chat_stream *s, const koi_chat_source *t)
{
  const char *const marks[] = {koi_chat_mark_block.s, koi_chat_mark_think_end.s};
  size_t hold = 0, left = t->n - s->at;
  for (size_t i = 0; i < KOI_COUNT(marks) - (s->phase != KOI_CHAT_IN_REASONING); i++) {
    size_t k = koi_chat_overlap(t->s + s->at, left, marks[i]);
    if (k > hold) hold = k;
  }
  size_t block = koi_chat_overlap(t->s + s->at, left, koi_chat_mark_block.s); /* the blank line before it may be a part of it */
  for (size_t k = 0; k < 2 && hold == block && left > hold && t->s[t->n - 1 - hold] == '\n'; k++) hold++, block++;
  return hold;
}

/* Whether the text ends where the model would have gone on: no end token came. */
static bool is_cut_off(const koi_chat_stream *s, const koi_chat_source *t) { return t->last && !s->answer.ended; }

/* How much of the end of an answer that was cut off began a block of tool calls: at least to the control token, since before it is a mere <. */
static size_t begun_block(const koi_chat_stream *s, const koi_chat_source *t)
{
  const koi_chat_mark block = koi_chat_mark_block;
  size_t left = t->n - s->at, k = koi_chat_overlap(t->s + s->at, left, block.s);
  if (k < block.control + strlen(koi_chat_mark_dsml.s) || (t->begins && !(t->begins[t->n - k + block.control] & 1))) return 0;
  for (size_t i = 0; i < 2 && left > k && t->s[t->n - 1 - k] == '\n'; i++) k++;
  return k;
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
  bool reasoning = s->phase == KOI_CHAT_IN_REASONING;
  if (at == t->n || koi_chat_may_be(t, at, koi_chat_mark_block) || (reasoning && koi_chat_may_be(t, at, koi_chat_mark_think_end))) return false;
  s->behind = false, s->at = s->run = at;
  if (koi_chat_is_at(t, at, koi_chat_mark_block)) koi_chat_step_defect(s, "more than one block of tool calls");
  else if (!reasoning || !koi_chat_is_at(t, at, koi_chat_mark_think_end)) {
    koine_chat_part part = reasoning ? KOINE_CHAT_REASONING : KOINE_CHAT_CONTENT;
    koi_chat_step_defect(s, "text after the tool calls");
    if (s->part[part].len) give(s, part, "\n\n", 2);
  }
  return true;
}

static bool step_text(koi_chat_stream *s, const koi_chat_source *t)
{
  bool reasoning = s->phase == KOI_CHAT_IN_REASONING;
  if (s->behind) return step_behind(s, t);
  size_t block = koi_chat_find(t, s->at, koi_chat_mark_block), close = reasoning ? koi_chat_find(t, s->at, koi_chat_mark_think_end) : t->n;
  if (close < block) {
    give_text(s, t, close);
    s->at = s->run = close + strlen(koi_chat_mark_think_end.s), s->phase = KOI_CHAT_IN_CONTENT;
    return true;
  }
  if (block < t->n) {
    give_text(s, t, before_block(t, s->at, block));
    s->cut = s->at, s->at = s->looked = block, s->phase = KOI_CHAT_IN_BLOCK;
    s->in_reasoning = reasoning, s->opened = s->raw = false, s->n_good = 0;
    return true;
  }
  size_t begun = is_cut_off(s, t) ? begun_block(s, t) : 0;
  give_text(s, t, t->last ? t->n - begun : t->n - may_begin(s, t));
  if (begun) koi_chat_step_defect(s, BREAKS_OFF), s->at = t->n;
  return false;
}

/* ---- a block of tool calls ---- */
static koine_chat_part block_part(const koi_chat_stream *s) { return s->in_reasoning ? KOINE_CHAT_REASONING : KOINE_CHAT_CONTENT; }

/* From `from` to `to` nothing was understood. Before the first call that was, the text stays whole, with the block's opening tag. */
static void give_raw(koi_chat_stream *s, const koi_chat_source *t, size_t from, size_t to, const char *words)
{
  if (words) koi_chat_step_defect(s, words);
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
  s->phase = s->in_reasoning ? KOI_CHAT_IN_REASONING : KOI_CHAT_IN_CONTENT;
  s->behind = s->n_good || !s->raw;
  if (!s->behind) s->at = s->cut;
  s->run = s->at;
}

static bool break_off(koi_chat_stream *s, const koi_chat_source *t, size_t at)
{
  if (s->n_good || (at == t->n && is_cut_off(s, t))) koi_chat_step_defect(s, BREAKS_OFF), s->at = s->cut = at;
  else give_raw(s, t, s->at, at, BREAKS_OFF);
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
  if (s->in_reasoning) koi_chat_step_defect(s, "tool calls inside the reasoning");
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
    if (words) koi_chat_step_defect(s, words);
    s->at = s->looked = pos;
    return true;
  }
  if (found == KOI_CHAT_OPEN || !end_of_bad(s, t, pos > at ? pos : at + 1, &end)) {
    if (tag < t->n) s->looked = tag + 1;
    return false;
  }
  if (end == t->n && tag == t->n && is_cut_off(s, t)) return break_off(s, t, end);
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
  if (end == t->n && is_cut_off(s, t)) return break_off(s, t, end);
  give_raw(s, t, at, end, "text between tool calls");
  return true;
}

/* ---- a step ---- */
bool koi_chat_step(koi_chat_stream *s, const koi_chat_source *t)
{
  if (s->phase == KOI_CHAT_IN_BLOCK) return step_block(s, t);
  if (s->phase != KOI_CHAT_OPENING) return step_text(s, t);
  if (koi_chat_may_be(t, 0, koi_chat_mark_think)) return false; /* an opening tag may be repeated */
  if (koi_chat_is_at(t, 0, koi_chat_mark_think)) s->at = s->run = strlen(KOI_CHAT_THINK);
  s->phase = KOI_CHAT_IN_REASONING;
  return true;
}
