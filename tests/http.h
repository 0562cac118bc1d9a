/* A small client of HTTP for tests: it can also be wrong, and go away. Failures end the test. */
#ifndef TESTS_HTTP_H
#define TESTS_HTTP_H
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct http_server {
  pid_t pid;
  int port, err; /* err: its standard error */
} http_server;
extern unsigned http_descriptors; /* 0, or the most that a server may have that is started */
/* Starts `koine serve ARGS` (KOINE: the command) on a free port. */
void http_spawn(http_server *s, const char *const *args /* NULL-terminated */);
/* The same, and waits until it listens. */
void http_start(http_server *s, const char *const *args /* NULL-terminated */);
/* The exit status after the signal; 0 for the signal: what it has ended with by itself. */
int http_stop(http_server *s, int signal_number);

int http_connect(const http_server *s);
void http_send(int fd, const char *text);
void http_send_bytes(int fd, const void *bytes, size_t n);
/* Headers and body of POST (or GET without a body) in HTTP/1.0, so that the answer ends with the connection. headers: lines with \r\n; NULL. */
void http_ask(int fd, const char *path, const char *headers, const char *body);
/* The whole answer: its status, and the body zero-terminated; free it. headers: NULL, or room for 4096 bytes of the head. */
int http_read(int fd, char *headers, char **body);
/* All of it at once. */
int http_do(const http_server *s, const char *path, const char *headers, const char *body, char **answer);
/* Reads until `text` has come. */
void http_wait_for(int fd, const char *text);
/* What comes until the other side ends the connection, zero-terminated; free it. */
char *http_rest(int fd);
/* Closes so that the other side is told by a reset. */
void http_reset(int fd);
#endif
