/* An answer in the form of its protocol: gathered, and if it streams written as events of SSE.
 *
 * A protocol is a record of hooks, all on the reply's `out` or as JSON. Every reply is used by its connection's thread alone. */
#ifndef SERVE_REPLY_H
#define SERVE_REPLY_H
#include "event.h"

typedef struct serve_choice {
  serve_text reasoning, content;
  json_object *calls;    /* array, as elements of tool_calls with an id */
  json_object *logprobs; /* array of chat's tokens; those that are still to be sent, where it streams */
  bool ended;
  koine_stop stop;
  int stop_text;
} serve_choice;

typedef struct serve_reply {
  const struct serve_protocol *protocol;
  const serve_ask *ask;
  const char *model; /* as the client called it */
  char id[40];       /* without the protocol's prefix */
  int64_t created;
  serve_choice *choice; /* [n_choices] */
  uint32_t n_choices, n_ended;
  size_t n_prompt;   /* tokens, before the first event */
  serve_usage usage; /* of all choices */
  serve_text out;    /* SSE that is to be sent */
  serve_error error;
  /* Of protocols whose streams have blocks: */
  int open;          /* serve_kind of the block that is open; -1: none */
  uint32_t n_blocks; /* begun until now */
  uint64_t sequence;
  json_object *items; /* what was finished */
} serve_reply;

typedef struct serve_protocol {
  const char *id_prefix;
  bool (*read)(serve_ask *a, json_object *body, serve_error *e);
  void (*begin)(serve_reply *r);                            /* the stream's first events */
  void (*part)(serve_reply *r, const serve_event *event);   /* gathered already */
  void (*end)(serve_reply *r);                              /* all answers ended */
  void (*ping)(serve_reply *r);                             /* keeps the client's timer from running out */
  void (*fail)(serve_reply *r, const serve_error *e);       /* in the stream */
  json_object *(*whole)(serve_reply *r);                    /* without a stream */
  json_object *(*error)(const serve_error *e, const char *id); /* a body */
} serve_protocol;
extern const serve_protocol serve_chat, serve_completions, serve_responses, serve_messages_protocol;
json_object *serve_openai_error(const serve_error *e, const char *id);

bool serve_reply_init(serve_reply *r, const serve_protocol *p, const serve_ask *ask, const char *model);
void serve_reply_clear(serve_reply *r);
void serve_reply_begin(serve_reply *r);
/* Gathers the event, and in a stream writes what it gives. False once it was the last one. */
bool serve_reply_take(serve_reply *r, const serve_event *event);

/* ---- for protocols ---- */
void serve_reply_event(serve_reply *r, const char *name, json_object *data); /* name NULL: without one */
const char *serve_reply_finish(const serve_choice *c);                       /* OpenAI's finish_reason */
json_object *serve_reply_usage(const serve_reply *r);                        /* OpenAI's */
json_object *serve_reply_timings(const serve_reply *r);                      /* llama.cpp's */
void serve_random_id(char *out, size_t n_hex);                               /* [n_hex + 1] */
void serve_random_seed(uint64_t *out);
#endif
