/* An endpoint that answers as a test wants. A thread a connection; each ends with its answer. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "endpoint.h"
#include <arpa/inet.h>
#include <json-c/json.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

enum { BODY = 1 << 20 };

typedef struct chat { int fd, n_pieces, n_words; } chat;

static void say(int fd, const char *text)
{
  for (size_t n = strlen(text), sent = 0; sent < n;) {
    ssize_t now = send(fd, text + sent, n - sent, MSG_NOSIGNAL);
    if (now <= 0) return;
    sent += (size_t)now;
  }
}

static void answer(int fd, const char *status, const char *type, const char *body)
{
  char head[256];
  snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status, type, strlen(body));
  say(fd, head);
  say(fd, body);
}

/* ---- chats ---- */
static void begin(const chat *c)
{
  say(c->fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\r\n\r\n");
}

/* In two parts, so that a line ends later than it begins. */
static void piece(const chat *c)
{
  say(c->fd, "data: {\"choices\":[{\"delta\":{\"cont");
  usleep(1000);
  say(c->fd, "ent\":\"word \"}}]}\n\n");
}

static void good(const chat *c)
{
  char usage[256];
  begin(c);
  say(c->fd, ": a comment\n\n");
  for (int i = 0; i < c->n_pieces; i++) piece(c);
  snprintf(usage, sizeof usage, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"prompt_tokens_details\":{\"cached_tokens\":1}}}\n\ndata: [DONE]\n\n", c->n_words,
           2 * c->n_pieces);
  say(c->fd, usage);
}

static void bare(const chat *c)
{
  begin(c);
  for (int i = 0; i < 3; i++) piece(c);
  say(c->fd, "data: [DONE]\r\n\r\n");
}

static void busy(const chat *c) { answer(c->fd, "429 Too Many Requests", "application/json", "{\"error\":{\"message\":\"the queue is <full>\",\"type\":\"rate_limit_error\"}}"); }
static void broken(const chat *c) { answer(c->fd, "500 Internal Server Error", "text/html", "<b>no</b>"); }
static void inside(const chat *c) { begin(c), piece(c), say(c->fd, "data: {\"error\":{\"message\":\"the device failed\"},\"choices\":[]}\n\ndata: [DONE]\n\n"); }
static void cut(const chat *c) { begin(c), piece(c); }
static void garbled(const chat *c) { begin(c), say(c->fd, "data: {\"choices\":\n\ndata: [DONE]\n\n"); }
static void empty(const chat *c) { begin(c), say(c->fd, "data: [DONE]\n\n"); }

static void silent(const chat *c)
{
  struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
  poll(&p, 1, 60000);
}

static const struct { const char *word; void (*play)(const chat *); } parts[] = {
  {"good", good}, {"bare", bare}, {"busy", busy}, {"broken", broken}, {"inside", inside}, {"cut", cut}, {"garbled", garbled}, {"empty", empty}, {"silent", silent},
};

static void wait_for_others(endpoint *e, int fd)
{
  struct pollfd p = {.fd = fd, .events = POLLRDHUP};
  while (!e->all_here && e->n_here < e->n_hold && !poll(&p, 1, 1)) {}
  e->all_here = true;
}

static void take_chat(endpoint *e, int fd, const char *body)
{
  json_object *o = json_tokener_parse(body), *messages = NULL, *content = NULL, *most = NULL;
  json_object_object_get_ex(o, "messages", &messages);
  json_object_object_get_ex(json_object_array_get_idx(messages, json_object_array_length(messages) - 1), "content", &content);
  json_object_object_get_ex(o, "max_tokens", &most);
  chat c = {fd, json_object_get_int(most), 1};
  const char *text = json_object_get_string(content), *last = text;
  for (const char *s = text; *s; s++) {
    c.n_words += *s == ' ';
    if (*s == ' ' || *s == '\n') last = s + 1;
  }
  int here = ++e->n_here;
  bool first = !e->n_chats++;
  for (int most_here = e->most_here; here > most_here && !atomic_compare_exchange_weak(&e->most_here, &most_here, here);) {}
  snprintf(e->last_body, sizeof e->last_body, "%s", body);
  if (e->n_hold && !first) wait_for_others(e, fd);
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (!strcmp(parts[i].word, last)) parts[i].play(&c);
  json_object_put(o);
  e->n_here--;
}

/* ---- connections ---- */
typedef struct connection { endpoint *e; int fd; } connection;

/* Head and body, zero-terminated. */
static char *read_request(int fd, char **body)
{
  char *text = calloc(1, BODY + 1);
  size_t n = 0, want = 0;
  for (ssize_t got; n < BODY && (got = read(fd, text + n, BODY - n)) > 0;) {
    n += (size_t)got;
    char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "Content-Length:");
    if (!end) continue;
    want = (size_t)(end + 4 - text) + (length && length < end ? strtoul(length + 15, NULL, 10) : 0);
    *body = end + 4;
    if (n >= want) return text;
  }
  free(text);
  return NULL;
}

/* In two label sets, as exporters have them. */
static void answer_metrics(endpoint *e, int fd)
{
  static const char form[] = "# HELP vllm:prefix_cache_queries_total 99\nprocess_resident_memory_bytes_most 99\nprocess_resident_memory_bytes 12345\nvllm:prefix_cache_queries_total_created 7\n"
                             "vllm:prefix_cache_queries_total{a=\"b\"} %d\nvllm:prefix_cache_queries_total{a=\"c\"} 1000\nvllm:prefix_cache_hits_total{a=\"b\"} %d.0\n";
  char text[512];
  snprintf(text, sizeof text, form, 100 * e->n_chats, 25 * e->n_chats);
  answer(fd, "200 OK", "text/plain", text);
}

static void *serve(void *arg)
{
  connection c = *(connection *)arg;
  endpoint *e = c.e;
  char *body, *text = read_request(c.fd, &body), models[512], key[128];
  free(arg);
  snprintf(key, sizeof key, "Authorization: Bearer %s\r\n", e->key ? e->key : "");
  snprintf(models, sizeof models, "{\"object\":\"list\",\"data\":[{\"id\":\"%s\"}]}", e->model);
  if (!text) {
  } else if (e->key && !strstr(text, key)) answer(c.fd, "401 Unauthorized", "application/json", "{\"error\":{\"message\":\"no key\"}}");
  else if (!strncmp(text, "GET /v1/models ", 15)) answer(c.fd, "200 OK", "application/json", models);
  else if (!strncmp(text, "GET /metrics ", 13) && e->measured) answer_metrics(e, c.fd);
  else if (!strncmp(text, "POST /v1/chat/completions ", 26)) take_chat(e, c.fd, body);
  else answer(c.fd, "404 Not Found", "text/plain", "nothing");
  free(text);
  close(c.fd);
  return NULL;
}

static void *listen_on(void *arg)
{
  endpoint *e = arg;
  for (;;) {
    connection *c = malloc(sizeof *c);
    pthread_t thread;
    *c = (connection){e, accept(e->fd, NULL, NULL)};
    if (c->fd < 0 || pthread_create(&thread, NULL, serve, c)) abort();
    pthread_detach(thread);
  }
}

void endpoint_start(endpoint *e)
{
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof at;
  pthread_t thread;
  e->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(e->fd, (struct sockaddr *)&at, sizeof at), 0);
  assert_int_equal(listen(e->fd, 64), 0);
  assert_int_equal(getsockname(e->fd, (struct sockaddr *)&at, &n), 0);
  e->port = ntohs(at.sin_port);
  assert_int_equal(pthread_create(&thread, NULL, listen_on, e), 0);
  pthread_detach(thread);
}
