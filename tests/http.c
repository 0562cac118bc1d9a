/* A small client of HTTP for tests. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "http.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { WAIT_MS = 120000 };

/* More of what fd says, behind text [n]; 0 at its end. */
static size_t more(int fd, char *text, size_t n, size_t room)
{
  struct pollfd p = {.fd = fd, .events = POLLIN};
  if (poll(&p, 1, WAIT_MS) <= 0) fail_msg("nothing came for %d s behind: %.*s", WAIT_MS / 1000, (int)n, text);
  ssize_t got = read(fd, text + n, room - n);
  return got > 0 ? (size_t)got : 0;
}

unsigned http_descriptors;

void http_spawn(http_server *s, const char *const *args)
{
  const char *command = getenv("KOINE"), *argv[64] = {command ? command : "./koine", "serve", "--port", "0"};
  size_t n_args = 4;
  int err[2];
  while (*args && n_args < 63) argv[n_args++] = *args++;
  assert_int_equal(pipe(err), 0);
  s->pid = fork();
  if (!s->pid) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* it does not outlive a test that was ended */
    dup2(err[1], STDERR_FILENO);
    close(err[0]), close(err[1]);
    if (http_descriptors && setrlimit(RLIMIT_NOFILE, &(struct rlimit){http_descriptors, http_descriptors})) _exit(126);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
  }
  close(err[1]);
  s->err = err[0];
}

void http_start(http_server *s, const char *const *args)
{
  char line[8192] = "";
  size_t n = 0, got = 0;
  const char *at;
  http_spawn(s, args);
  while (!(at = strstr(line, "listening on http://")) || !strchr(at, '\n')) {
    if (n + 1 >= sizeof line || !(got = more(s->err, line, n, sizeof line - 1))) fail_msg("the server said: %s", line);
    line[n += got] = 0;
  }
  at = strrchr(at, ':');
  s->port = atoi(at + 1);
  assert_true(s->port > 0);
}

int http_stop(http_server *s, int signal_number)
{
  int status;
  if (signal_number) kill(s->pid, signal_number);
  assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
  close(s->err);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int http_connect(const http_server *s)
{
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_true(fd >= 0);
  assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
  return fd;
}

void http_send_bytes(int fd, const void *bytes, size_t n)
{
  for (size_t sent = 0; sent < n;) {
    ssize_t now = send(fd, (const char *)bytes + sent, n - sent, MSG_NOSIGNAL);
    if (now <= 0) return; /* the answer says why */
    sent += (size_t)now;
  }
}

void http_send(int fd, const char *text) { http_send_bytes(fd, text, strlen(text)); }

void http_ask(int fd, const char *path, const char *headers, const char *body)
{
  char *text;
  size_t n = body ? strlen(body) : 0;
  int made = body ? asprintf(&text, "POST %s HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n%s", path, n, headers ? headers : "", body)
                  : asprintf(&text, "GET %s HTTP/1.0\r\n%s\r\n", path, headers ? headers : "");
  assert_true(made > 0);
  http_send(fd, text);
  free(text);
}

char *http_rest(int fd)
{
  size_t n = 0, room = 1 << 16, got;
  char *text = malloc(room + 1);
  while ((got = more(fd, text, n, room)) > 0) {
    n += got;
    if (n == room) text = realloc(text, (room *= 2) + 1);
  }
  text[n] = 0;
  close(fd);
  return text;
}

int http_read(int fd, char *headers, char **body)
{
  char *text = http_rest(fd);
  char *end = strstr(text, "\r\n\r\n");
  if (!end) fail_msg("expected an answer, found: %s", text);
  int status = atoi(text + strlen("HTTP/1.1 "));
  if (headers) snprintf(headers, 4096, "%.*s", (int)(end - text), text);
  *body = strdup(end + 4);
  free(text);
  return status;
}

int http_do(const http_server *s, const char *path, const char *headers, const char *body, char **answer)
{
  int fd = http_connect(s);
  http_ask(fd, path, headers, body);
  return http_read(fd, NULL, answer);
}

void http_wait_for(int fd, const char *text)
{
  static char seen[1 << 20];
  size_t n = 0, got = 0;
  seen[0] = 0;
  while (!strstr(seen, text)) {
    if (n + 1 >= sizeof seen || !(got = more(fd, seen, n, sizeof seen - 1))) fail_msg("expected %s, found: %.2000s", text, seen);
    seen[n += got] = 0;
  }
}

void http_reset(int fd)
{
  struct linger now = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close(fd);
}
