/* What comes of a request while it is worked on, in order, for each of its answers. */
#ifndef SERVE_EVENT_H
#define SERVE_EVENT_H
#include "ask.h"

typedef enum serve_kind {
  SERVE_REASONING, SERVE_CONTENT, /* text [n] */
  SERVE_CALL,   /* text: a call as an element of tool_calls */
  SERVE_TOKEN,  /* token: where logprobs were asked for */
  SERVE_ENDED,  /* stop, stop_text, usage */
  SERVE_FAILED, /* text [n], status: the answer ends with it */
  SERVE_WAITING /* nothing came for a while */
} serve_kind;

typedef struct serve_token {
  int32_t id;
  float logprob; /* of the model's softmax, before temperature, biases and filters */
  int n_top;
  struct { int32_t id; float logprob; } top[SERVE_TOP_LOGPROBS]; /* [n_top] likeliest first */
} serve_token;

typedef struct serve_usage {
  uint64_t n_prompt, n_cached, n_new, n_reasoning; /* tokens; cached: of the prompt, not evaluated */
  uint64_t prefill_ns, decode_ns;
} serve_usage;

typedef struct serve_event {
  struct serve_event *next;
  serve_kind kind;
  uint32_t choice;
  koine_stop stop;
  int stop_text; /* which of the stops; -1 */
  int status;    /* HTTP's, of SERVE_FAILED */
  serve_usage usage;
  serve_token token;
  size_t n;
  char text[];
} serve_event;
#endif
