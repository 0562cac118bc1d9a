/* Requests on the wire: one that is whole before its answer is read, and one that streams. libcurl is included here alone. */
#ifndef LOAD_WIRE_H
#define LOAD_WIRE_H
#include <curl/curl.h>
#include "load.h"

typedef struct load_buffer { char *s; size_t n, cap; } load_buffer; /* zero-terminated; NULL while empty */
bool load_buffer_add(load_buffer *b, const char *s, size_t n);

/* GET of a path behind the base, /models, or of /metrics beside it. The status, 0 where nothing answered. Free body->s. */
long load_get(const load_target *t, const char *path, load_buffer *body);

/* A chat that streams. */
typedef struct load_request {
  CURL *easy;
  struct curl_slist *headers;
  char *body;
  load_buffer line;  /* what came of a line that has not ended */
  load_buffer other; /* an answer that is no stream: an error's body */
  bool ended;        /* [DONE] came */
  bool no_memory;
  uint64_t n_pieces;
  load_result r;
} load_request;
/* Body is taken over. Free with load_request_close. */
bool load_request_open(load_request *q, const load_target *t, char *body, int64_t timeout_s);
/* What libcurl said at the end: fills q->r, which its owner keeps. */
void load_request_end(load_request *q, CURLcode code);
void load_request_close(load_request *q);

/* Numbers of /metrics that are known; NAN: not there. */
typedef struct load_metrics { double memory_bytes, asked, held; } load_metrics;
load_metrics load_metrics_read(const load_target *t);
/* Asks /models for t->model where it is "". */
bool load_model_find(load_target *t, char *why, size_t n_why);
#endif
