/* koine serve: HTTP around a model. Uses koine.h and libmicrohttpd; prints nothing, `note` does. */
#ifndef SERVE_SERVE_H
#define SERVE_SERVE_H
#include "engine.h"

typedef struct serve_options {
  const char *host;             /* a name or an address */
  uint16_t port;                /* 0: any that is free */
  const char *const *names;     /* [n_names] of the model; the first one is what it is called in answers */
  size_t n_names;
  const char *const *keys;      /* [n_keys] one of which a client has to know; none: everybody may ask */
  size_t n_keys;
  const char *const *origins;   /* [n_origins] of pages that may ask; "*": all */
  size_t n_origins;
  const char *const *hosts;     /* [n_hosts] names of this server, beside the loopback's and `host` */
  size_t n_hosts;
  uint32_t n_connections;       /* at once */
  uint64_t body_bytes;          /* most bytes of a request */
  uint32_t grace_s;             /* for answers that are being made when the server is to end */
  koine_thinking thinking;      /* of requests that do not say */
  serve_engine_options engine;
  bool (*stopping)(void);       /* asked a few times a second */
  void (*note)(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
} serve_options;

/* Serves until `stopping`, then lets answers end. KOINE_ERR_ARG with a message in why: the address cannot be had. */
koine_status serve_run(const serve_options *o, char *why, size_t n_why);
bool serve_is_loopback(const char *host);
/* Whether serve_run could listen there now: to be asked before a model is loaded, which may take minutes. why: set where it could not. */
bool serve_port_is_free(const char *host, uint16_t port, char *why, size_t n_why);
#endif
