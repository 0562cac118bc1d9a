/* An endpoint of OpenAI's protocol that answers as a test wants: what a prompt says decides what comes. */
#ifndef TESTS_ENDPOINT_H
#define TESTS_ENDPOINT_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* A prompt's last word chooses:
 *   good      its max_tokens pieces, a comment, usage (a token a word of the prompt, 1 of them held, twice as many new tokens as pieces), [DONE]
 *   bare      three pieces without usage
 *   busy      status 429        broken   status 500 with a body that is no JSON
 *   inside    a piece, then an error in the stream
 *   cut       a piece, then the end of the connection
 *   garbled   an event that is no JSON
 *   empty     a stream without a piece
 *   silent    nothing, until the client goes away */
typedef struct endpoint {
  int port, fd;
  const char *model;      /* its name; any text */
  const char *key;        /* that it wants; NULL: none */
  bool measured;          /* it has /metrics: memory of 12345 bytes, and a quarter of what was asked of its cache was there */
  int n_hold;             /* chats are answered once so many are here at once, but for the very first; 0: at once */
  _Atomic bool all_here;  /* so it was: nobody waits any more */
  _Atomic int n_here, most_here, n_chats; /* chats that are here, were here at once at most, came in all */
  char last_body[1 << 16]; /* of a chat */
} endpoint;
void endpoint_start(endpoint *e);
#endif
