/* What the tests of koine serve share: a server on models/austen, requests and what came of them. Failures end the test. */
#ifndef TESTS_SERVE_ASKS_H
#define TESTS_SERVE_ASKS_H
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <json-c/json.h>
#include <cmocka.h>
#include "http.h"

#define ASK "\"messages\":[{\"role\":\"user\",\"content\":\"How is your sister?\"}]"
#define CHAT "/v1/chat/completions"

/* `server` is started with these options behind model, device and -ub 64; NULL-terminated. KOINE_TEST_DEVICE: a device. */
extern http_server server;
extern char folder[4096]; /* the model's */
const char *asks_device(void);
void asks_start(const char *const *options);

json_object *parse(const char *text);
/* A value by its path, "choices/0/message/content"; NULL where nothing is. */
json_object *at(json_object *o, const char *path);
const char *text_at(json_object *o, const char *path);
int64_t number_at(json_object *o, const char *path);
/* A request that must succeed; body NULL: GET. */
json_object *ask(const char *path, const char *body);

typedef struct stream {
  char *text, *next;
} stream;
void stream_ask(stream *s, const char *path, const char *body);
/* The next event's data as JSON; NULL at the end, or at [DONE]. Comments are passed over. */
json_object *stream_next(stream *s);

typedef struct gathered {
  char reasoning[8192], content[8192], arguments[8192], name[64], id[64], finish[64], types[8192];
  int64_t n_prompt, n_new;
} gathered;
void add(char *to /* [8192] */, const char *text);
/* A chat's stream; that its first event has the role, that every one has choices, and that [DONE] ends it, is checked. */
void gather_chat(const char *body, gathered *g);

double metric(const char *name);
void wait_metric(const char *name, double want);
#endif
