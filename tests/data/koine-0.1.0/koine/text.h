/* Text: its tokens, conversations as prompts and answers, choosing tokens, whole answers. koine.h has the rules. */
#ifndef KOINE_TEXT_H
#define KOINE_TEXT_H
#include "run.h"
#ifdef __cplusplus
extern "C" {
#endif

/* ---- tokens and text --------------------------------------------------------------------------------------------------- */
typedef struct koine_tokenizer koine_tokenizer;

enum {
  KOINE_TOKENIZE_SPECIAL = 1, /* special tokens written in the text become control tokens; otherwise they stay text */
  KOINE_TOKENIZE_BOS = 2      /* put the beginning-of-text token first, unless KOINE_TOKENIZE_SPECIAL found it there already */
};
/* Reads tokenizer.json (and tokenizer_config.json) of a checkpoint folder, or what a GGUF file has of them. Const after loading: any number of threads may
 * use it. KOINE_ERR_FILE names the file, KOINE_ERR_UNSUPPORTED what a tokenizer needs and Koine has not. */
KOINE_API koine_status koine_tokenizer_open(const char *path, koine_tokenizer **out);
KOINE_API void koine_tokenizer_close(koine_tokenizer *tokenizer);
KOINE_API size_t koine_tokenizer_n_vocab(const koine_tokenizer *tokenizer);
/* -1 when the checkpoint names none. */
KOINE_API int32_t koine_tokenizer_bos(const koine_tokenizer *tokenizer);
KOINE_API int32_t koine_tokenizer_eos(const koine_tokenizer *tokenizer);
/* Whether an id is a token of its own, such as </think>, which no text becomes without KOINE_TOKENIZE_SPECIAL. */
KOINE_API bool koine_tokenizer_is_control(const koine_tokenizer *tokenizer, int32_t id);
/* Bytes to ids; *out (release with koine_ids_free) has *n_ids ids. */
KOINE_API koine_status koine_tokenize(const koine_tokenizer *tokenizer, const char *text, size_t n_bytes, unsigned flags,
                                      int32_t **out, size_t *n_ids);
/* Ids to bytes (any bytes: an id may be a part of a character); zero-terminated beyond *n_bytes. special: include control tokens. */
KOINE_API koine_status koine_detokenize(const koine_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, bool special, char **out,
                                        size_t *n_bytes);
KOINE_API void koine_ids_free(int32_t *ids);

/* ---- chat --------------------------------------------------------------------------------------------------------------- */
typedef enum koine_thinking { KOINE_THINK_OFF, KOINE_THINK_HIGH, KOINE_THINK_MAX } koine_thinking;

/* How a checkpoint writes conversations: its encoding/ folder, read once. Const: any number of threads may use it. */
typedef struct koine_chat koine_chat;
/* path: the checkpoint folder, or a GGUF file, whose chat template has the wording; without an encoding, or NULL: wording of the library's own.
 * KOINE_ERR_FILE. */
KOINE_API koine_status koine_chat_open(const char *path, koine_chat **out);
KOINE_API void koine_chat_close(koine_chat *chat);

typedef struct koine_chat_options {
  size_t size;             /* sizeof this struct */
  koine_thinking thinking;
  bool keep_reasoning;     /* of earlier turns too; otherwise it is dropped before the last user turn, unless a message has tools */
  bool no_bos;             /* without the beginning-of-text token */
  uint16_t reserved;
} koine_chat_options;
#define KOINE_CHAT_OPTIONS_INIT {sizeof(koine_chat_options), KOINE_THINK_OFF, false, false, 0}

/* A request as the prompt that the checkpoint prescribes, as text (*n_bytes bytes and a zero byte; koine_text_free), as ids
 * (koine_ids_free), or both: prompt and ids may each be NULL when not wanted. tokenizer is needed for ids alone; options may be NULL.
 *
 * json: an array of messages, or an object with `messages` and, if wanted, `tools` (or `functions`), `tool_choice`, `response_format`.
 * A message has `role` (system, user, assistant, tool, developer, latest_reminder) and `content` (text, null, or an array of parts of which
 * those of type text count); an assistant's also `reasoning_content` and `tool_calls`, a tool's `tool_call_id`. Text of users, systems
 * and tools is data: it never becomes a control token, whatever it says, and U+0000 in it is a character like others. Arguments of a call
 * that are null, missing or blank are {}. Members that would change the prompt and cannot be followed, such as a tool_choice that forces a
 * call, are refused with KOINE_ERR_UNSUPPORTED and their name; members that only concern sampling are passed over.
 * KOINE_ERR_ARG for JSON that is no such request, with the message's number. */
KOINE_API koine_status koine_chat_prompt(const koine_chat *chat, const koine_tokenizer *tokenizer, const char *json, size_t n_json,
                                         const koine_chat_options *options, char **prompt, size_t *n_bytes, int32_t **ids, size_t *n_ids);
/* The same for one prompt: opens the chat of `path`, and closes it. */
KOINE_API koine_status koine_chat_encode(const koine_tokenizer *tokenizer, const char *path, const char *json, size_t n_bytes,
                                         koine_thinking thinking, char **prompt, int32_t **ids, size_t *n_ids);

/* An answer, what follows the prompt with or without the end token, as a JSON message for the next request: role, reasoning_content,
 * content, tool_calls. thinking: as the prompt was made. By ids only control tokens count as markup, never text that looks like one: this
 * is the way to read what a model wrote. By text, which is the ids with their control tokens spelled, quoted markup cannot be told from
 * real markup.
 * Whole calls are given, and what was not understood stays in the text where it stood; nothing is lost but the beginning of a call, or of a block of
 * calls, in which an answer without an end token was cut off, by a limit or a stop text. In both cases the message has a member `defects` too, an
 * array that says what is wrong in words. Bytes that are no UTF-8 become U+FFFD. Malformed answers are no errors. */
KOINE_API koine_status koine_chat_parse_ids(const koine_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, koine_thinking thinking,
                                            char **json);
KOINE_API koine_status koine_chat_parse(const char *answer, size_t n_bytes, koine_thinking thinking, char **json);

/* The same while the answer comes. Pieces are handed out as soon as nothing that may follow can change them, in whole characters; together
 * they are the texts that koine_chat_parse_ids gives. */
typedef enum koine_chat_part {
  KOINE_CHAT_REASONING,
  KOINE_CHAT_CONTENT,
  KOINE_CHAT_TOOL_CALL, /* a whole call as JSON, as an element of tool_calls */
  KOINE_CHAT_DEFECT     /* what is wrong with the answer, in words */
} koine_chat_part;
/* text [n_bytes], valid UTF-8, zero-terminated for calls and defects only. Return false to stop: the feeding call then ends in
 * KOINE_ERR_CANCELLED. Must not use the stream. */
typedef bool koine_chat_part_fn(void *user, koine_chat_part part, const char *text, size_t n_bytes);
typedef struct koine_chat_stream koine_chat_stream;
/* tokenizer: for ids; NULL when bytes are fed. It outlives the stream. fn may be NULL. One stream is used by one thread at a time. */
KOINE_API koine_status koine_chat_stream_open(const koine_tokenizer *tokenizer, koine_thinking thinking, koine_chat_part_fn *fn, void *user,
                                              koine_chat_stream **out);
KOINE_API void koine_chat_stream_close(koine_chat_stream *stream);
/* What comes next, cut anywhere. A stream takes ids or bytes, KOINE_ERR_STATE for the other or after the end. */
KOINE_API koine_status koine_chat_stream_feed_ids(koine_chat_stream *stream, const int32_t *ids, size_t n_ids);
KOINE_API koine_status koine_chat_stream_feed(koine_chat_stream *stream, const char *text, size_t n_bytes);
/* The end: hands out what was held back. *json (may be NULL) is the message as koine_chat_parse_ids gives it, with KOINE_ERR_CANCELLED
 * too, which says that the receiver had stopped the stream. */
KOINE_API koine_status koine_chat_stream_end(koine_chat_stream *stream, char **json);

/* ---- choosing tokens ------------------------------------------------------------------------------------------------------ */
typedef struct koine_sampling {
  size_t size;               /* sizeof this struct */
  float temperature;         /* 0: greedy */
  int32_t top_k;             /* 0: off */
  float top_p, min_p;        /* 1, 0: off */
  float repetition_penalty;  /* 1: off */
  float presence_penalty, frequency_penalty; /* 0: off */
  uint64_t seed;
  const koine_tokenizer *tokenizer; /* its control tokens take no part in penalties; NULL: ids 0 and 1 do not, which begin and end a text in
                                       every published checkpoint. koine_generate sets its own */
} koine_sampling;
/* Greedy, nothing filtered, no penalty. */
#define KOINE_SAMPLING_INIT {sizeof(koine_sampling), 0, 0, 1, 0, 1, 0, 0, 0, NULL}
typedef struct koine_sampler koine_sampler;
/* Keeps the pointer to sampling's tokenizer. KOINE_ERR_ARG names the value that is out of its range. */
KOINE_API koine_status koine_sampler_open(const koine_sampling *sampling, size_t n_vocab, koine_sampler **out);
KOINE_API void koine_sampler_close(koine_sampler *sampler);
/* As just opened: no token seen, the seed anew. */
KOINE_API void koine_sampler_reset(koine_sampler *sampler);
/* Chooses from logits [n_vocab] given the tokens so far, by which the penalties go: all of them, each time, also when they are others than
 * before. KOINE_ERR_NUMERIC for a NaN. */
KOINE_API koine_status koine_sample(koine_sampler *sampler, const float *logits, const int32_t *tokens, size_t n_tokens, int32_t *out);

/* ---- answers -------------------------------------------------------------------------------------------------------------- */
/* A piece of generated text, in whole characters: what is no UTF-8 becomes U+FFFD. Return false to stop. */
typedef bool koine_text_fn(void *user, const char *text, size_t n_bytes);
/* A token that was chosen, before its text; return false to stop after it. */
typedef bool koine_token_fn(void *user, int32_t id);
/* The form of an answer: a JSON Schema, of which the generated text is a valid value whatever the model would rather say. json [n_bytes] is the
 * schema, {"type":"object"} for any object; a subset of draft 2020-12, and what is not supported is refused by name and place with
 * KOINE_ERR_ARG. `tokenizer` outlives it. One answer at a time uses it. */
typedef struct koine_schema koine_schema;
KOINE_API koine_status koine_schema_open(const koine_tokenizer *tokenizer, const char *json, size_t n_bytes, koine_schema **out);
/* The same for calls of tools: the answer is a block of calls, of `tools` [n_bytes], an array as a request has it. name: of this tool, NULL: of any. flags:
 * KOINE_CALLS_*. Arguments come in the order of the schema's properties; of those that are texts format is a note. What of their schemas is not supported is
 * refused as koine_schema_open does. */
enum {
  KOINE_CALLS_ONE = 1,  /* a single call */
  KOINE_CALLS_BEGUN = 2 /* the block's first token of markup is there: with it as schema_after an answer is free, but once it begins to call it does so well */
};
#define KOINE_CALLS_MARK "\xEF\xBD\x9C" "DSML\xEF\xBD\x9C" /* that token */
KOINE_API koine_status koine_schema_open_calls(const koine_tokenizer *tokenizer, const char *tools, size_t n_bytes, const char *name, unsigned flags,
                                               koine_schema **out);
KOINE_API void koine_schema_close(koine_schema *schema);

typedef struct koine_generate_options {
  size_t size;               /* sizeof this struct */
  koine_sampling sampling;   /* its size must be set too */
  uint64_t n_predict;        /* most new tokens; 0: up to the context */
  const char *const *stops;  /* [n_stops] texts that end the answer; not handed out */
  size_t n_stops;
  bool special;              /* hand out the text of control tokens too */
  koine_text_fn *text;       /* may be NULL */
  koine_progress_fn *progress; /* prefill; may be NULL */
  void *user;                /* for all callbacks here */
  koine_token_fn *token;     /* may be NULL */
  koine_chat_stream *stream; /* takes the answer too, by ids and up to a stop text; the caller ends it. May be NULL */
  koine_schema *schema;      /* the answer is a value of it, and ends with it (KOINE_STOP_EOS); with n_predict it is kept as short as must be. NULL: any text */
  const char *schema_after;  /* the text of a token, such as </think>, behind which the value begins; NULL: at once */
  const char *stops_after;   /* the same of `stops`: texts before that token end nothing. schema_after counts from there on, too */
} koine_generate_options;
#define KOINE_GENERATE_OPTIONS_INIT {sizeof(koine_generate_options), KOINE_SAMPLING_INIT, 0, NULL, 0, false, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL}
typedef enum koine_stop {
  KOINE_STOP_EOS,    /* the model ended the answer */
  KOINE_STOP_LENGTH, /* n_predict */
  KOINE_STOP_TEXT,   /* one of `stops` */
  KOINE_STOP_CALLER, /* a callback returned false */
  KOINE_STOP_CONTEXT /* the session's context is full: a session with a larger one can go on */
} koine_stop;
KOINE_API const char *koine_stop_text(koine_stop stop); /* in words; never NULL */
/* Continues `prompt` until a stop. *out (koine_ids_free) has the *n_out new tokens, end token included; why in *stop (may be NULL).
 * KOINE_ERR_CANCELLED: koine_session_cancel; *out then has what came before. KOINE_ERR_ARG for a prompt longer than the context. */
KOINE_API koine_status koine_generate(koine_session *session, const koine_tokenizer *tokenizer, const int32_t *prompt, size_t n_prompt,
                                      const koine_generate_options *options, int32_t **out, size_t *n_out, koine_stop *stop);

/* An answer that is made token by token, for a program that evaluates several conversations in turns; koine_generate is a loop over it:
 *   while (!koine_answer_is_ended(a)) { tokens = koine_answer_tokens(a, &n); evaluate them; koine_answer_take(a, logits of the last one); }
 * One answer is used by one thread at a time. What `options` point to, but for texts, outlives it; its progress is not called. */
typedef struct koine_answer koine_answer;
/* context: most tokens of prompt and answer. KOINE_ERR_ARG for a prompt longer than that, and as koine_generate. */
KOINE_API koine_status koine_answer_open(const koine_tokenizer *tokenizer, size_t n_vocab, uint64_t context, const int32_t *prompt, size_t n_prompt,
                                         const koine_generate_options *options, koine_answer **out);
KOINE_API void koine_answer_close(koine_answer *answer);
/* Prompt and answer so far, [*n_tokens], until the next koine_answer_take. */
KOINE_API const int32_t *koine_answer_tokens(const koine_answer *answer, size_t *n_tokens);
/* Chooses the next token from the logits [n_vocab] of the last one, and hands out its text. KOINE_ERR_STATE when it has ended; KOINE_ERR_NUMERIC. */
KOINE_API koine_status koine_answer_take(koine_answer *answer, const float *logits);
KOINE_API bool koine_answer_is_ended(const koine_answer *answer);
/* Hands out what was held back; an answer that had not ended does now, by the caller. Why in *stop, which of `stops` in *stop_text (-1: none); both may
 * be NULL. Once. */
KOINE_API koine_status koine_answer_end(koine_answer *answer, koine_stop *stop, int *stop_text);

/* Bits of information per byte of `text` under the model: consecutive pieces of `segment` tokens, each after a beginning-of-text token.
 * segment 0: 256. The session loses its tokens. KOINE_ERR_ARG: a text without a token, or pieces that do not fit the session's context;
 * KOINE_ERR_STATE: the session has work in a batch; KOINE_ERR_FILE: the tokenizer names no beginning-of-text token; KOINE_ERR_NUMERIC; KOINE_ERR_CANCELLED. */
typedef struct koine_perplexity_result {
  size_t size; /* sizeof this struct */
  double bits_per_byte, nats_per_token;
  uint64_t n_tokens, n_bytes;
} koine_perplexity_result;
#define KOINE_PERPLEXITY_RESULT_INIT {sizeof(koine_perplexity_result), 0, 0, 0, 0}
KOINE_API koine_status koine_perplexity(koine_session *session, const koine_tokenizer *tokenizer, const char *text, size_t n_bytes,
                                        uint32_t segment, koine_progress_fn *progress, void *user, koine_perplexity_result *out);

#ifdef __cplusplus
}
#endif
#endif
