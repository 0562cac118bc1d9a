/* Owns: an answer as it comes, by text or by ids: its bytes as UTF-8, its end token. A whole answer is read by the same code (chat_parse.c).
 * Does not: cut it (chat_step.c).
 * Invariant: `text` is valid UTF-8; by ids `begins` has a byte for each of its bytes. */
#include <string.h>
#include "chat_impl.h"

koine_status koi_chat_stream_open(const koi_tok *tok, koine_thinking thinking, koine_chat_part_fn *fn, void *user, koi_chat_stream **out)
{
  if (thinking < KOINE_THINK_OFF || thinking > KOINE_THINK_MAX) return koi_error(KOINE_ERR_ARG, "thinking %d is none of off, high, max", (int)thinking);
  koi_chat_stream *s = koi_alloc(1, sizeof *s);
  if (!s) return KOINE_ERR_MEMORY;
  *s = (koi_chat_stream){.tok = tok, .fn = fn, .user = user, .phase = thinking == KOINE_THINK_OFF ? KOI_CHAT_IN_CONTENT : KOI_CHAT_OPENING,
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

/* ---- the end token ---- */
/* By text the end token counts only at the very end: before that it is quoted. Where it, or what may become it, begins. */
static size_t text_end(const koi_chat_stream *s, bool *whole)
{
  size_t n = s->text.len, k = strlen(KOI_CHAT_EOS), end = n;
  while (end > 0 && s->text.s[end - 1] && strchr(" \t\r\n", s->text.s[end - 1])) end--;
  *whole = end >= k && !memcmp(s->text.s + end - k, KOI_CHAT_EOS, k);
  if (*whole) return end - k;
  return s->last ? n : n - koi_chat_overlap(s->text.s, n, KOI_CHAT_EOS);
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
  koi_chat_source t = {s->text.s, s->text.len, s->by == KOI_CHAT_BY_IDS ? s->begins.s : NULL, s->last};
  bool whole = false;
  look_for_eos(s);
  if (s->eos != SIZE_MAX) t.n = s->eos, t.last = true;
  else if (s->maybe_eos != SIZE_MAX) t.n = s->maybe_eos;
  else if (s->by == KOI_CHAT_BY_TEXT) t.n = text_end(s, &whole);
  s->answer.ended |= s->eos != SIZE_MAX || (whole && s->last);
  return t;
}

/* ---- feeding ---- */
static koine_status run(koi_chat_stream *s)
{
  koi_text_bytes(&s->text, "", 0);
  koi_text_bytes(&s->begins, "", 0);
  if (s->text.failed || s->begins.failed || s->part[0].failed || s->part[1].failed) s->status = KOINE_ERR_MEMORY;
  if (s->status == KOINE_ERR_MEMORY) return koi_error(KOINE_ERR_MEMORY, "out of host memory for an answer");
  koi_chat_source t = view(s);
  while (s->status != KOINE_ERR_MEMORY && koi_chat_step(s, &t)) continue;
  return s->status == KOINE_ERR_MEMORY ? koi_error(KOINE_ERR_MEMORY, "out of host memory for an answer") : s->status;
}

static koine_status begin(koi_chat_stream *s, int by)
{
  if (s->over) return koi_error(KOINE_ERR_STATE, "the answer has ended: open another stream");
  if (s->by != KOI_CHAT_BY_NOTHING && (int)s->by != by) return koi_error(KOINE_ERR_STATE, "the stream takes %s", s->by == KOI_CHAT_BY_IDS ? "ids, not bytes" : "bytes, not ids");
  s->by = by == KOI_CHAT_BY_IDS ? KOI_CHAT_BY_IDS : KOI_CHAT_BY_TEXT;
  return KOINE_OK;
}

static void put(koi_chat_stream *s, const char *text, size_t n)
{
  char begins[KOI_UTF8_MOST] = {s->control};
  size_t at = s->text.len;
  if (!n) return;
  koi_text_bytes(&s->text, text, n);
  if (s->by == KOI_CHAT_BY_IDS) koi_text_bytes(&s->begins, begins, n);
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
  koine_status status = begin(s, KOI_CHAT_BY_TEXT);
  if (status) return status;
  for (size_t i = 0; i < n; i++) put_byte(s, text[i]);
  return run(s);
}

koine_status koi_chat_stream_push(koi_chat_stream *s, const char *text, const char *begins, size_t n)
{
  koine_status status = begin(s, KOI_CHAT_BY_IDS);
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
  koine_status status = begin(s, KOI_CHAT_BY_IDS);
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
  if (s->by == KOI_CHAT_BY_NOTHING) s->by = KOI_CHAT_BY_TEXT;
  end_character(s);
  s->last = true;
  koine_status status = run(s);
  if (status == KOINE_ERR_MEMORY) return status;
  if (s->phase == KOI_CHAT_OPENING || s->phase == KOI_CHAT_IN_REASONING) koi_chat_step_defect(s, "the reasoning is not closed");
  if (s->eos != SIZE_MAX && s->eos_end < s->text.len) koi_chat_step_defect(s, "text after the end token");
  s->answer.n_reasoning = s->part[0].len, s->answer.n_content = s->part[1].len;
  if (koi_text_take(&s->part[0], &s->answer.reasoning) || koi_text_take(&s->part[1], &s->answer.content)) return KOINE_ERR_MEMORY;
  s->over = true;
  *out = s->answer;
  s->answer = (koi_chat_answer){0};
  return s->status; /* the receiver may have stopped it: the answer is there all the same */
}
