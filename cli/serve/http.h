/* Requests and answers in HTTP, through libmicrohttpd: a thread for each connection, which may wait.
 *
 * An exchange is a request with its answer. What is answered is in routes.c. */
#ifndef SERVE_HTTP_H
#define SERVE_HTTP_H
#include <microhttpd.h>
#include "reply.h"
#include "serve.h"

enum { SERVE_PING_MS = 5000, SERVE_LOOK_MS = 200 /* how often a waiting thread looks whether its client is there */ };

/* A connection: with what is expected of its client, and until when. */
typedef struct serve_client {
  struct serve_client *next;
  int fd;
  uint64_t deadline_ns; /* 0: none, it is the server's turn */
  bool cut;
} serve_client;

typedef struct serve_server {
  const serve_options *o;
  serve_engine *engine;
  serve_metrics *metrics;
  struct MHD_Daemon *daemon;
  int64_t begun;         /* when, as Unix counts */
  _Atomic bool draining;
  pthread_mutex_t lock;  /* of the list */
  serve_client *clients;
} serve_server;

typedef struct serve_exchange {
  serve_server *server;
  struct MHD_Connection *connection;
  serve_client *client;
  const struct serve_route *route;
  const char *path;
  char id[28];           /* of the request, in errors */
  serve_text body;
  bool too_large;
  serve_ask ask;
  serve_work *work;
  serve_reply reply;
  bool replying, over;   /* reply is there; nothing more comes */
  uint64_t said_ns, looked_ns; /* when the client heard of us last, when we looked for it last */
} serve_exchange;

/* Answers at once. The text is taken over. */
enum MHD_Result serve_http_send(serve_exchange *x, int status, const char *type, serve_text *text, const serve_error *e);
enum MHD_Result serve_http_json(serve_exchange *x, int status, json_object *o);
enum MHD_Result serve_http_fail(serve_exchange *x, const serve_error *e);
/* Answers with the events of x->work, as they come or as a whole. */
enum MHD_Result serve_http_work(serve_exchange *x);
bool serve_http_gone(const serve_exchange *x);

/* ---- routes.c ---- */
typedef struct serve_route {
  const char *method, *path; /* a path that ends in * stands for all that begin so */
  bool open;                 /* without a key */
  enum MHD_Result (*answer)(serve_exchange *x);
  const serve_protocol *protocol; /* of its errors; NULL: OpenAI's */
} serve_route;
/* NULL with the error where there is none. allow: the methods of the path. */
const serve_route *serve_route_find(const char *method, const char *path, char *allow, size_t n_allow);

/* ---- page.c: what / and /plan answer ---- */
enum MHD_Result serve_page(serve_exchange *x);
enum MHD_Result serve_plan(serve_exchange *x);

/* ---- gate.c: who may ask ---- */
bool serve_gate(const serve_options *o, struct MHD_Connection *c, bool open, serve_error *e);
/* The value of Access-Control-Allow-Origin for this request; NULL: none. */
const char *serve_gate_origin(const serve_options *o, struct MHD_Connection *c);
#endif
