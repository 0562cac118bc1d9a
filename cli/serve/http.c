/* Owns: exchanges, what is sent of them and when. Does not: know connections (server.c) or what a path means (routes.c).
 * Invariant: an exchange is its connection's thread's alone. */
#ifndef _GNU_SOURCE /* POLLRDHUP */
#define _GNU_SOURCE
#endif
#include "http.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool serve_http_gone(const serve_exchange *x)
{
  struct pollfd p = {.fd = x->client ? x->client->fd : -1, .events = POLLRDHUP};
  return p.fd >= 0 && poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL);
}

/* ---- what is sent ---- */
static void add_headers(serve_exchange *x, struct MHD_Response *r, const char *type, const serve_error *e)
{
  const char *origin = serve_gate_origin(x->server->o, x->connection);
  char text[32];
  MHD_add_response_header(r, "Content-Type", type);
  MHD_add_response_header(r, "Cache-Control", "no-cache");
  MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
  MHD_add_response_header(r, "Request-Id", x->id);
  if (origin) {
    MHD_add_response_header(r, "Access-Control-Allow-Origin", origin);
    MHD_add_response_header(r, "Vary", "Origin");
  }
  if (e && e->retry_s) {
    snprintf(text, sizeof text, "%u", e->retry_s);
    MHD_add_response_header(r, "Retry-After", text);
  }
  if (e && e->close) MHD_add_response_header(r, "Connection", "close");
  if (e && e->allow[0]) MHD_add_response_header(r, "Allow", e->allow);
}

enum MHD_Result serve_http_send(serve_exchange *x, int status, const char *type, serve_text *text, const serve_error *e)
{
  struct MHD_Response *r = text->failed ? NULL : MHD_create_response_from_buffer(text->n, text->s ? text->s : "", MHD_RESPMEM_MUST_COPY);
  serve_text_free(text);
  if (!r) return MHD_NO;
  add_headers(x, r, type, e);
  enum MHD_Result queued = MHD_queue_response(x->connection, (unsigned)status, r);
  MHD_destroy_response(r);
  return queued;
}

static enum MHD_Result send_json(serve_exchange *x, int status, json_object *o, const serve_error *e)
{
  serve_text t = {0};
  serve_text_json(&t, o);
  return serve_http_send(x, status, "application/json; charset=utf-8", &t, e);
}

enum MHD_Result serve_http_json(serve_exchange *x, int status, json_object *o) { return send_json(x, status, o, NULL); }

enum MHD_Result serve_http_fail(serve_exchange *x, const serve_error *e)
{
  const serve_protocol *p = x->route ? x->route->protocol : NULL;
  serve_count(x->server->metrics, SERVE_M_REFUSED, 1);
  return send_json(x, e->status, p ? p->error(e, x->id) : serve_openai_error(e, x->id), e);
}

/* ---- answers that are made ---- */
/* Waits for the next event, at most until it is time to look around. False: the client is gone. */
static bool advance(serve_exchange *x)
{
  serve_event *event = serve_work_next(x->work, SERVE_LOOK_MS), waiting = {.kind = SERVE_WAITING};
  uint64_t now = serve_now_ns();
  if (now - x->looked_ns > SERVE_LOOK_MS * 1000000ull) {
    x->looked_ns = now;
    if (serve_http_gone(x)) return free(event), false;
  }
  if (!event && now - x->said_ns > SERVE_PING_MS * 1000000ull) {
    serve_reply_take(&x->reply, &waiting);
    x->said_ns = now;
    serve_count(x->server->metrics, SERVE_M_KEEPALIVES, x->ask.stream);
  }
  if (event && !serve_reply_take(&x->reply, event)) x->over = true;
  free(event);
  return !x->reply.out.failed;
}

static ssize_t read_stream(void *user, uint64_t position, char *to, size_t most)
{
  serve_exchange *x = user;
  serve_text *out = &x->reply.out;
  (void)position;
  while (!out->n && !x->over)
    if (!advance(x)) return MHD_CONTENT_READER_END_WITH_ERROR;
  if (!out->n) return MHD_CONTENT_READER_END_OF_STREAM;
  size_t n = out->n < most ? out->n : most;
  memcpy(to, out->s, n);
  serve_text_drop(out, n);
  x->said_ns = serve_now_ns();
  return (ssize_t)n;
}

static enum MHD_Result send_stream(serve_exchange *x)
{
  serve_reply_begin(&x->reply);
  struct MHD_Response *r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 32768, read_stream, x, NULL);
  if (!r) return MHD_NO;
  add_headers(x, r, "text/event-stream; charset=utf-8", NULL);
  MHD_add_response_header(r, "X-Accel-Buffering", "no");
  enum MHD_Result queued = MHD_queue_response(x->connection, MHD_HTTP_OK, r);
  MHD_destroy_response(r);
  return queued;
}

enum MHD_Result serve_http_work(serve_exchange *x)
{
  x->said_ns = serve_now_ns();
  if (x->ask.stream) return send_stream(x);
  while (!x->over)
    if (!advance(x)) return MHD_NO;
  return x->reply.error.status ? serve_http_fail(x, &x->reply.error) : serve_http_json(x, MHD_HTTP_OK, x->reply.protocol->whole(&x->reply));
}
