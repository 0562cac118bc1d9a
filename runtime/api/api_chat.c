/* Public functions of conversations: prompts, answers whole and as they come. Thin. */
#include "api_text.h"
#include "base/record.h"
#include "model/vocab.h"

/* ---- prompts ---- */
koine_status koine_chat_open(const char *path, koine_chat **out)
{
  if (!out) return koi_missing("koine_chat_open");
  koine_chat *c = koi_alloc(1, sizeof *c);
  if (!c) return KOINE_ERR_MEMORY;
  koine_status s = koi_vocab_chat(path, &c->chat);
  if (s) koi_free(c);
  else *out = c;
  return s;
}

void koine_chat_close(koine_chat *chat)
{
  if (!chat) return;
  koi_chat_free(chat->chat);
  koi_free(chat);
}

koine_status koine_chat_prompt(const koine_chat *chat, const koine_tokenizer *tokenizer, const char *json, size_t n_json,
                               const koine_chat_options *options, char **prompt, size_t *n_bytes, int32_t **ids, size_t *n_ids)
{
  if (!chat || !json || (ids && (!tokenizer || !n_ids))) return koi_missing("koine_chat_prompt");
  koine_chat_options own;
  koi_chat_prompt p = {0};
  koine_status s = KOI_TAKE(koine_chat_options, options, &own);
  if (!s && own.reserved) s = koi_error(KOINE_ERR_UNSUPPORTED, "koine_chat_options: reserved is %u, expected 0", own.reserved);
  const koi_chat_options o = {.thinking = own.thinking, .keep_reasoning = own.keep_reasoning, .no_bos = own.no_bos};
  if (!s) s = koi_chat_encode(chat->chat, json, n_json, &o, &p);
  if (!s && ids) s = koi_chat_prompt_ids(&p, tokenizer->tok, ids, n_ids);
  if (!s && n_bytes) *n_bytes = p.n_bytes;
  if (!s && prompt) *prompt = p.text, p.text = NULL;
  koi_chat_prompt_clear(&p);
  return s;
}

koine_status koine_chat_encode(const koine_tokenizer *tokenizer, const char *path, const char *json, size_t n_bytes, koine_thinking thinking,
                               char **prompt, int32_t **ids, size_t *n_ids)
{
  koine_chat_options o = {.size = sizeof o, .thinking = thinking};
  koine_chat *chat = NULL;
  if (!json || (ids && (!tokenizer || !n_ids))) return koi_missing("koine_chat_encode");
  koine_status s = koine_chat_open(path, &chat);
  if (!s) s = koine_chat_prompt(chat, tokenizer, json, n_bytes, &o, prompt, NULL, ids, n_ids);
  koine_chat_close(chat);
  return s;
}

/* ---- answers ---- */
/* An answer whose receiver stopped it is there all the same. */
static koine_status as_json(koine_status s, koi_chat_answer *a, char **json)
{
  koine_status made = (!s || s == KOINE_ERR_CANCELLED) && json ? koi_chat_answer_json(a, json) : KOINE_OK;
  koi_chat_answer_clear(a);
  return made ? made : s;
}

koine_status koine_chat_parse(const char *answer, size_t n_bytes, koine_thinking thinking, char **json)
{
  if (!answer || !json) return koi_missing("koine_chat_parse");
  koi_chat_answer a = {0};
  return as_json(koi_chat_parse(answer, n_bytes, thinking, &a), &a, json);
}

koine_status koine_chat_parse_ids(const koine_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, koine_thinking thinking, char **json)
{
  if (!tokenizer || (n_ids && !ids) || !json) return koi_missing("koine_chat_parse_ids");
  koi_chat_answer a = {0};
  return as_json(koi_chat_parse_ids(tokenizer->tok, ids, n_ids, thinking, &a), &a, json);
}

koine_status koine_chat_stream_open(const koine_tokenizer *tokenizer, koine_thinking thinking, koine_chat_part_fn *fn, void *user,
                                    koine_chat_stream **out)
{
  if (!out) return koi_missing("koine_chat_stream_open");
  koine_chat_stream *c = koi_alloc(1, sizeof *c);
  if (!c) return KOINE_ERR_MEMORY;
  koine_status s = koi_chat_stream_open(tokenizer ? tokenizer->tok : NULL, thinking, fn, user, &c->stream);
  if (s) koi_free(c);
  else *out = c;
  return s;
}

void koine_chat_stream_close(koine_chat_stream *stream)
{
  if (!stream) return;
  koi_chat_stream_close(stream->stream);
  koi_free(stream);
}

koine_status koine_chat_stream_feed_ids(koine_chat_stream *stream, const int32_t *ids, size_t n_ids)
{
  if (!stream || (n_ids && !ids)) return koi_missing("koine_chat_stream_feed_ids");
  return koi_chat_stream_feed_ids(stream->stream, ids, n_ids);
}

koine_status koine_chat_stream_feed(koine_chat_stream *stream, const char *text, size_t n_bytes)
{
  if (!stream || (n_bytes && !text)) return koi_missing("koine_chat_stream_feed");
  return koi_chat_stream_feed(stream->stream, text, n_bytes);
}

koine_status koine_chat_stream_end(koine_chat_stream *stream, char **json)
{
  if (!stream) return koi_missing("koine_chat_stream_end");
  koi_chat_answer a = {0};
  return as_json(koi_chat_stream_end(stream->stream, &a), &a, json);
}
