/* What a request asks for, whichever protocol it came in, and what is wrong with one. */
#ifndef SERVE_ASK_H
#define SERVE_ASK_H
#include "json.h"
#include "koine.h"

enum { SERVE_STOPS = 16, SERVE_CHOICES = 16, SERVE_TOP_LOGPROBS = 20, SERVE_BIASES = 1024, SERVE_TOOLS = 512, SERVE_MESSAGES = 20000, SERVE_PROMPTS = 64 };

/* An error as a client is told it; each protocol has its own form for the same words. */
typedef struct serve_error {
  int status;       /* HTTP's; 0: none */
  const char *code; /* NULL, or OpenAI's word for it: context_length_exceeded */
  char param[64];   /* the field; "" */
  char text[512];   /* one line */
  uint64_t n_prompt, n_context; /* with context_length_exceeded */
  uint32_t retry_s; /* 0, or when to try again */
  char allow[24];   /* the methods of the path; "" */
  bool close;       /* nothing more is read from the connection */
} serve_error;
/* Sets the first one only. Returns false. */
bool serve_error_set(serve_error *e, int status, const char *param, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Status 400: "key: expected this". */
bool serve_error_expected(serve_error *e, const char *key, const char *expected);
/* By a koine_status, with the library's last error. */
bool serve_error_koine(serve_error *e, koine_status s, const char *param);

typedef enum serve_call_choice { SERVE_CALLS_NONE, SERVE_CALLS_AUTO, SERVE_CALLS_REQUIRED, SERVE_CALLS_NAMED } serve_call_choice;

typedef struct serve_bias {
  int32_t id;
  float by;
} serve_bias;

typedef struct serve_ask {
  const koine_tokenizer *tokenizer;
  json_object *chat;       /* messages and tools as koine_chat_prompt takes them; NULL: prompts */
  int32_t *prompt[SERVE_PROMPTS]; /* [n_prompts][n_prompt] */
  size_t n_prompt[SERVE_PROMPTS];
  uint32_t n_prompts;
  char *prompt_text[SERVE_PROMPTS]; /* for echo */
  koine_thinking thinking;
  bool no_thinking;        /* it was switched off in words, whatever the effort */
  bool drop_reasoning;     /* of earlier turns, where the checkpoint leaves that open */
  koine_sampling sampling;
  bool seeded;             /* with a seed of the request's */
  uint64_t n_predict;      /* 0: up to the context */
  bool nothing;            /* n_predict 0 was asked for: the prompt alone */
  uint32_t n_choices;      /* of each prompt */
  const char *stops[SERVE_STOPS]; /* [n_stops] in the body */
  size_t n_stops;
  uint64_t min_tokens;
  bool ignore_eos;
  int n_top;               /* likeliest tokens beside each chosen one; -1: no logprobs */
  serve_bias *bias;        /* [n_biases] */
  size_t n_biases;
  bool stream, stream_usage, echo, one_call;
  bool has_tools;
  serve_call_choice calls;
  const char *call_name;   /* of SERVE_CALLS_NAMED, in the body */
  json_object *schema;     /* that the answer fits; NULL */
  const char *model;       /* as asked for; NULL */
  bool encrypted_reasoning; /* of responses: reasoning as a text that comes back */
  json_object *body;       /* which the texts above lie in */
} serve_ask;
void serve_ask_init(serve_ask *a, const koine_tokenizer *tokenizer, koine_thinking thinking);
void serve_ask_clear(serve_ask *a);

/* ---- fields: fields.c ---- */
typedef enum serve_field_kind {
  SERVE_FLOAT, SERVE_UINT, SERVE_INT, SERVE_BOOL, /* float, uint64_t, int32_t, bool at `offset` */
  SERVE_BY,     /* `read` */
  SERVE_REFUSED /* known, changes the answer, not done: refused unless null, false, 0 or empty */
} serve_field_kind;
typedef bool serve_field_fn(serve_ask *a, const char *key, json_object *value, serve_error *e);
typedef struct serve_field {
  const char *key;
  serve_field_kind kind;
  double low, high; /* inclusive, of numbers */
  size_t offset;    /* in serve_ask */
  serve_field_fn *read;
} serve_field;
/* The members of the body that the table has, null ones left out; others are passed over. */
bool serve_fields_read(serve_ask *a, json_object *body, const serve_field *fields, size_t n, serve_error *e);
/* Those that completions, chat and responses share. */
extern const serve_field serve_fields_sampling[];
extern const size_t serve_fields_sampling_n;
serve_field_fn serve_read_thinking, serve_read_effort, serve_read_seed, serve_read_stop, serve_read_parallel;
/* The words of the published table; "none" is off. */
bool serve_effort(serve_ask *a, const char *word, const char *key, serve_error *e);
#endif
