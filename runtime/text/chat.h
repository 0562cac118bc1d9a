/* Chat encoding: messages to a prompt, a model's answer back to a message, as the checkpoint's encoding/ prescribes.
 *
 * A prompt is a list of segments, control or data. Control is one token by its name; all else is data, encoded with special tokens
 * off. So whatever a user, a system text, a tool or an earlier answer says, it never becomes a control token.
 *
 * Prose that a prompt contains (how tools are called, effort, response format) belongs to the checkpoint: it is read, as data, from the
 * string constants of encoding/encoding_dsv4.py, or of a chat template. Without either there is wording of our own.
 *
 * A request is JSON: an array of messages, or an object with `messages`; koine.h says what a message has. Members that would change the
 * prompt and cannot be followed are refused by name (KOINE_ERR_UNSUPPORTED), others that are not known are passed over; a known one of the
 * wrong kind is an error.
 *
 * Threads: a koi_chat is const after koi_chat_load. Errors: KOINE_ERR_FILE for what a file says, KOINE_ERR_ARG and
 * KOINE_ERR_UNSUPPORTED for a request, with the message's number; KOINE_ERR_MEMORY. On failure out-parameters are untouched. */
#ifndef KOI_CHAT_H
#define KOI_CHAT_H
#include "tok.h"

typedef struct koi_chat koi_chat;

/* `folder`: the checkpoint; NULL: our own wording. KOINE_ERR_FILE also for an encoding that spells its markup in another way. */
koine_status koi_chat_load(const char *folder, koi_chat **out);
/* The same with the prose of a chat template in Jinja, of n bytes; `path` stands for it in messages. */
koine_status koi_chat_load_template(const char *path, const char *text, size_t n, koi_chat **out);
void koi_chat_free(koi_chat *chat);

typedef struct koi_chat_options {
  koine_thinking thinking;
  bool keep_reasoning; /* of earlier turns too; otherwise it is dropped before the last user turn, unless a message has tools */
  bool no_bos;         /* without the beginning-of-text token */
} koi_chat_options;

typedef struct koi_chat_segment {
  size_t end; /* in text; it begins where the one before ends */
  bool control;
} koi_chat_segment;

typedef struct koi_chat_prompt {
  char *text; /* [n_bytes], then a zero byte */
  size_t n_bytes;
  koi_chat_segment *segment; /* [n_segments]; no two data segments are neighbours */
  size_t n_segments;
} koi_chat_prompt;

/* *out is released with koi_chat_prompt_clear. options NULL: all zero. */
koine_status koi_chat_encode(const koi_chat *chat, const char *json, size_t n_bytes, const koi_chat_options *options, koi_chat_prompt *out);
void koi_chat_prompt_clear(koi_chat_prompt *prompt);
/* The prompt's tokens; *ids is released with koi_free. KOINE_ERR_FILE when the tokenizer lacks a control token that the prompt has. */
koine_status koi_chat_prompt_ids(const koi_chat_prompt *prompt, const koi_tok *tok, int32_t **ids, size_t *n);

/* ---- answers ---- */
typedef struct koi_chat_call {
  char *name; /* [n_name] */
  size_t n_name;
  char *arguments; /* a JSON object */
} koi_chat_call;

enum { KOI_CHAT_DEFECTS = 16 };

/* All texts are valid UTF-8 and end in a zero byte. */
typedef struct koi_chat_answer {
  char *reasoning;
  size_t n_reasoning;
  char *content;
  size_t n_content;
  koi_chat_call *call; /* [n_calls] whole calls only: what is left of others stays in the text */
  size_t n_calls;
  bool ended; /* the end token was there */
  const char *defect[KOI_CHAT_DEFECTS]; /* [n_defects] what is wrong with the answer, in words: constant texts */
  size_t n_defects;
} koi_chat_answer;

/* Reads an answer: what follows the prompt, with or without the end token. thinking as the prompt was encoded. The text must hold the
 * control tokens as text. Fails only for want of memory; malformed answers have defects. */
koine_status koi_chat_parse(const char *text, size_t n_bytes, koine_thinking thinking, koi_chat_answer *out);
/* The same from tokens: here only control tokens count as such, and never text that looks like one. */
koine_status koi_chat_parse_ids(const koi_tok *tok, const int32_t *ids, size_t n, koine_thinking thinking, koi_chat_answer *out);
void koi_chat_answer_clear(koi_chat_answer *answer);
/* As a message for the next request: {"role": "assistant", "reasoning_content": ..., "content": ..., "tool_calls": [...]}, and "defects"
 * where there are any. */
koine_status koi_chat_answer_json(const koi_chat_answer *answer, char **json);

/* ---- an answer as it comes ---- */
typedef struct koi_chat_stream koi_chat_stream;
/* tok: for ids, else NULL. fn may be NULL; once it returned false it is not called again, and what was fed gives KOINE_ERR_CANCELLED. */
koine_status koi_chat_stream_open(const koi_tok *tok, koine_thinking thinking, koine_chat_part_fn *fn, void *user, koi_chat_stream **out);
/* The next bytes or ids of the answer, cut anywhere; KOINE_ERR_STATE for the other kind than before. Calls fn with what is certain. */
koine_status koi_chat_stream_feed(koi_chat_stream *stream, const char *text, size_t n);
koine_status koi_chat_stream_feed_ids(koi_chat_stream *stream, const int32_t *ids, size_t n);
/* As ids, but from their text: bit 0 of begins[i] says that a control token begins at text[i]. */
koine_status koi_chat_stream_push(koi_chat_stream *stream, const char *text, const char *begins, size_t n);
void koi_chat_stream_ended(koi_chat_stream *stream); /* the end token came, though not its text */
/* The end: hands out what was held back and gives the whole answer. KOINE_ERR_CANCELLED gives it too. */
koine_status koi_chat_stream_end(koi_chat_stream *stream, koi_chat_answer *out);
void koi_chat_stream_close(koi_chat_stream *stream);
#endif
