/* Owns: the daemon, its connections and their deadlines, from the start to the end of serving.
 * Does not: know what is asked (routes.c) or how an exchange goes (http.c). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "http.h"

enum { HEADER_S = 30, BODY_S = 60, BODY_BYTES_A_S = 32768, IDLE_S = 60, STACK_BYTES = 512 << 10, LOOK_MS = 100 };

/* ---- connections ---- */
static void deadline(serve_exchange *x, unsigned seconds)
{
  if (!x->client) return;
  pthread_mutex_lock(&x->server->lock);
  x->client->deadline_ns = seconds ? serve_now_ns() + seconds * 1000000000ull : 0;
  pthread_mutex_unlock(&x->server->lock);
}

static void on_connection(void *user, struct MHD_Connection *c, void **socket_context, enum MHD_ConnectionNotificationCode code)
{
  serve_server *s = user;
  pthread_mutex_lock(&s->lock);
  if (code == MHD_CONNECTION_NOTIFY_STARTED) {
    serve_client *k = calloc(1, sizeof *k);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (k) {
      *k = (serve_client){.next = s->clients, .fd = info ? info->connect_fd : -1, .deadline_ns = serve_now_ns() + HEADER_S * 1000000000ull};
      s->clients = k;
    }
    *socket_context = k;
    serve_gauge_add(s->metrics, SERVE_G_CONNECTIONS, 1);
  } else {
    serve_client **at = &s->clients;
    while (*at && *at != *socket_context) at = &(*at)->next;
    if (*at) *at = (*at)->next;
    free(*socket_context);
    serve_gauge_add(s->metrics, SERVE_G_CONNECTIONS, -1);
  }
  pthread_mutex_unlock(&s->lock);
}

/* Clients that are late are cut off, however busily they trickle. */
static void cut_late(serve_server *s)
{
  uint64_t now = serve_now_ns();
  pthread_mutex_lock(&s->lock);
  for (serve_client *k = s->clients; k; k = k->next) {
    if (!k->deadline_ns || now < k->deadline_ns || k->cut) continue;
    k->cut = true;
    shutdown(k->fd, SHUT_RDWR);
  }
  pthread_mutex_unlock(&s->lock);
}

/* ---- exchanges ---- */
static serve_exchange *begin(serve_server *s, struct MHD_Connection *c, const char *url)
{
  serve_exchange *x = calloc(1, sizeof *x);
  if (!x) return NULL;
  const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
  *x = (serve_exchange){.server = s, .connection = c, .client = info ? info->socket_context : NULL, .path = url};
  strcpy(x->id, "req_");
  serve_random_id(x->id + 4, 20);
  serve_gauge_add(s->metrics, SERVE_G_BUSY, 1);
  serve_ask_init(&x->ask, s->o->engine.model.tokenizer, s->o->thinking);
  return x;
}

typedef struct framing { unsigned n_length, n_coding, n_host; bool chunked; } framing;

static enum MHD_Result on_header(void *user, enum MHD_ValueKind kind, const char *key, const char *value)
{
  framing *f = user;
  (void)kind;
  f->n_length += !strcasecmp(key, "Content-Length"), f->n_host += !strcasecmp(key, "Host");
  if (strcasecmp(key, "Transfer-Encoding")) return MHD_YES;
  f->n_coding++;
  f->chunked = value && !strcasecmp(value, "chunked");
  return MHD_YES;
}

/* Where a body ends, and whom it is for, can be read in one way alone: a proxy before us may have read another. */
static bool is_clear(serve_exchange *x, serve_error *e)
{
  framing f = {0};
  MHD_get_connection_values(x->connection, MHD_HEADER_KIND, on_header, &f);
  if (f.n_length + f.n_coding < 2 && f.n_host < 2 && f.chunked == (f.n_coding > 0)) return true;
  e->close = true;
  return serve_error_set(e, 400, NULL, "expected one Host, and one Content-Length or Transfer-Encoding: chunked");
}

/* What can be said before a body comes. */
static bool admit(serve_exchange *x, const char *method, serve_error *e)
{
  const char *length = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Content-Length");
  if (!is_clear(x, e)) return false;
  x->route = serve_route_find(method, x->path, e->allow, sizeof e->allow);
  if (!x->route && e->allow[0]) return serve_error_set(e, 405, NULL, "%s: expected one of %s here", method, e->allow);
  if (!serve_gate(x->server->o, x->connection, x->route && x->route->open, e)) return false;
  if (!x->route) return serve_error_set(e, 404, NULL, "no such path on this server");
  e->allow[0] = 0;
  if (!length || strtoull(length, NULL, 10) <= x->server->o->body_bytes) return true;
  return serve_error_set(e, 413, NULL, "the body: expected at most %llu bytes", (unsigned long long)x->server->o->body_bytes);
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *c, const char *url, const char *method, const char *version, const char *upload, size_t *n_upload, void **context)
{
  serve_server *s = user;
  serve_exchange *x = *context;
  serve_error e = {0};
  (void)version;
  if (!x) {
    x = *context = begin(s, c, url);
    if (!x) return MHD_NO;
    deadline(x, BODY_S + (unsigned)(s->o->body_bytes / BODY_BYTES_A_S));
    return admit(x, method, &e) ? MHD_YES : serve_http_fail(x, &e);
  }
  if (*n_upload) {
    bool fits = *n_upload <= s->o->body_bytes - (x->body.n < s->o->body_bytes ? x->body.n : s->o->body_bytes);
    if (fits) serve_text_add(&x->body, upload, *n_upload);
    else if (x->too_large) return MHD_NO; /* it was told by the length, or goes on and on */
    x->too_large |= !fits;
    *n_upload = 0;
    return MHD_YES;
  }
  deadline(x, 0);
  MHD_set_connection_option(c, MHD_CONNECTION_OPTION_TIMEOUT, 0u); /* the wait is ours, not the client's */
  if (x->too_large) serve_error_set(&e, 413, NULL, "the body: expected at most %llu bytes", (unsigned long long)s->o->body_bytes);
  else if (x->body.failed) serve_error_set(&e, 503, NULL, "out of memory");
  enum MHD_Result result = e.status ? serve_http_fail(x, &e) : x->route->answer(x);
  MHD_set_connection_option(c, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)IDLE_S);
  return result;
}

static void on_completed(void *user, struct MHD_Connection *c, void **context, enum MHD_RequestTerminationCode code)
{
  serve_server *s = user;
  serve_exchange *x = *context;
  (void)c, (void)code;
  if (!x) return;
  serve_engine_leave(s->engine, x->work);
  serve_reply_clear(&x->reply);
  serve_ask_clear(&x->ask);
  serve_text_free(&x->body);
  deadline(x, IDLE_S);
  serve_gauge_add(s->metrics, SERVE_G_BUSY, -1);
  free(x);
  *context = NULL;
}

/* ---- the daemon ---- */
/* Connections that there are descriptors for: without one left libmicrohttpd would ask for connections without an end. */
static uint32_t connections_for(const serve_options *o)
{
  enum { SPARE = 32, USUAL = 64 };
  struct rlimit most;
  rlim_t n_used = 0;
  DIR *d = opendir("/proc/self/fd");
  for (; d && readdir(d); n_used++) continue;
  if (d) closedir(d);
  n_used = (n_used ? n_used : USUAL) + SPARE;
  if (getrlimit(RLIMIT_NOFILE, &most)) return o->n_connections;
  rlim_t wanted = n_used + o->n_connections;
  if (most.rlim_cur < wanted) {
    struct rlimit raised = {wanted < most.rlim_max ? wanted : most.rlim_max, most.rlim_max};
    if (!setrlimit(RLIMIT_NOFILE, &raised)) most = raised;
  }
  if (most.rlim_cur >= wanted) return o->n_connections;
  uint32_t n = most.rlim_cur > n_used ? (uint32_t)(most.rlim_cur - n_used) : 1;
  o->note("koine: %u connections at once: for %u it would need %llu descriptors, and may have %llu (ulimit -n)", n, o->n_connections, (unsigned long long)wanted,
          (unsigned long long)most.rlim_cur);
  return n;
}

static struct MHD_Daemon *start(serve_server *s, const struct addrinfo *at)
{
  unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL | MHD_USE_ITC | (at->ai_family == AF_INET6 ? MHD_USE_IPv6 : 0u);
  return MHD_start_daemon(flags, s->o->port, NULL, NULL, on_request, s, MHD_OPTION_SOCK_ADDR, at->ai_addr, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
                          MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_CONNECTION_LIMIT, connections_for(s->o),
                          MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S, MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                          (size_t)65536, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u, MHD_OPTION_END);
}

/* For freeaddrinfo; NULL: why says why. */
static struct addrinfo *address_of(const char *host, uint16_t number, char *why, size_t n_why)
{
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *at = NULL;
  char port[8];
  snprintf(port, sizeof port, "%u", number);
  int error = getaddrinfo(host, port, &hints, &at);
  if (error) snprintf(why, n_why, "--host %s: expected a name or an address of this machine, found: %s", host, gai_strerror(error));
  return error ? NULL : at;
}

static void refused(const char *host, uint16_t port, int error, char *why, size_t n_why)
{
  snprintf(why, n_why, "%s port %u cannot be had: %s", host, port, error ? strerror(error) : "libmicrohttpd refused it");
}

bool serve_port_is_free(const char *host, uint16_t port, char *why, size_t n_why)
{
  const int yes = 1;
  struct addrinfo *at = address_of(host, port, why, n_why);
  if (!at) return false;
  int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes); /* as the daemon has it */
  if (at->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
  bool is_free = fd >= 0 && !bind(fd, at->ai_addr, at->ai_addrlen) && !listen(fd, 1); /* two may bind, and one listen */
  if (!is_free) refused(host, port, errno, why, n_why);
  if (fd >= 0) close(fd);
  freeaddrinfo(at);
  return is_free;
}

static bool listen_at(serve_server *s, char *why, size_t n_why)
{
  struct addrinfo *at = address_of(s->o->host, s->o->port, why, n_why);
  if (!at) return false;
  errno = 0;
  s->daemon = start(s, at);
  if (!s->daemon) refused(s->o->host, s->o->port, errno, why, n_why);
  freeaddrinfo(at);
  return s->daemon != NULL;
}

static void sleep_ms(long ms) { nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL); }

/* Until somebody wants the end; then until the answers have ended, or their time has. */
static void serve(serve_server *s)
{
  while (!s->o->stopping() && !serve_engine_is_lost(s->engine)) {
    cut_late(s);
    sleep_ms(LOOK_MS);
  }
  int listening = MHD_quiesce_daemon(s->daemon);
  s->draining = true;
  uint64_t end = serve_now_ns() + s->o->grace_s * 1000000000ull;
  while (!serve_engine_drain(s->engine, serve_now_ns() >= end)) {
    cut_late(s);
    sleep_ms(LOOK_MS);
  }
  for (int i = 0; i < 20 && atomic_load(&s->metrics->gauge[SERVE_G_BUSY]); i++) sleep_ms(LOOK_MS); /* what was made is on its way */
  MHD_stop_daemon(s->daemon);
  if (listening >= 0) close(listening);
}

koine_status serve_run(const serve_options *o, char *why, size_t n_why)
{
  static serve_metrics metrics;
  serve_server s = {.o = o, .metrics = &metrics, .begun = (int64_t)time(NULL)};
  serve_engine_options engine = o->engine;
  engine.metrics = &metrics, engine.note = o->note;
  pthread_mutex_init(&s.lock, NULL);
  koine_status status = serve_engine_open(&engine, &s.engine);
  if (status) snprintf(why, n_why, "%s", koine_last_error());
  if (!status && !listen_at(&s, why, n_why)) status = KOINE_ERR_ARG;
  if (!status) {
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s.daemon, MHD_DAEMON_INFO_BIND_PORT);
    o->note("koine: listening on http://%s:%u", o->host, info ? info->port : o->port);
    serve(&s);
    if (serve_engine_is_lost(s.engine)) snprintf(why, n_why, "the device failed"), status = KOINE_ERR_DEVICE;
  }
  serve_engine_close(s.engine);
  pthread_mutex_destroy(&s.lock);
  return status;
}
