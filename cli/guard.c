/* See guard.h. Owns the pipe over which a child says that it lives. Invariant: no child outlives cli_guard_run. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "guard.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int beats = -1; /* a child's end of the pipe */

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void cli_guard_beat(bool busy)
{
  char c = busy ? 'b' : '.';
  if (beats >= 0 && write(beats, &c, 1) < 0 && errno == EPIPE) _exit(1); /* nobody waits for us */
}

typedef struct child { pid_t pid; int fd; double busy_since; bool hung; } child;

static bool start(const cli_guard *g, double left_s, unsigned nth, bool hung, child *c)
{
  int fd[2];
  if (pipe(fd)) return false;
  fflush(NULL);
  *c = (child){.pid = fork(), .fd = fd[0]};
  if (c->pid == 0) {
    close(fd[0]);
    beats = fd[1];
    signal(SIGINT, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    exit(g->work(g->user, left_s, nth, hung));
  }
  close(fd[1]);
  if (c->pid < 0) close(fd[0]);
  return c->pid > 0;
}

/* Until the pipe closes with the child's end, or it says nothing for too long. */
static void watch(const cli_guard *g, child *c)
{
  for (;;) {
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    char said[64];
    int n = poll(&p, 1, c->busy_since > 0 ? (int)(g->limit_s * 1000) : -1);
    if (n < 0 && errno == EINTR) continue;
    ssize_t got = n > 0 ? read(c->fd, said, sizeof said) : 0;
    if (n == 0) {
      c->hung = true;
      kill(c->pid, SIGKILL);
    }
    if (got <= 0) return;
    for (ssize_t i = 0; i < got; i++)
      if (said[i] == 'b' && c->busy_since == 0) c->busy_since = now();
  }
}

int cli_guard_run(const cli_guard *g, int failed)
{
  double left_s = g->budget_s;
  void (*before)(int) = signal(SIGINT, SIG_IGN); /* the child's matter: the terminal tells both */
  int status = failed;
  bool hung = false;
  for (unsigned nth = 0;; nth++) {
    child c;
    int how = 0;
    if (!start(g, left_s, nth, hung, &c)) break;
    watch(g, &c);
    while (waitpid(c.pid, &how, 0) < 0 && errno == EINTR) {}
    close(c.fd);
    hung = c.hung;
    bool gone = WIFEXITED(how) && WEXITSTATUS(how) == CLI_GUARD_GONE, stopped = WIFSIGNALED(how) && WTERMSIG(how) == SIGINT;
    if (stopped || (WIFEXITED(how) && !gone)) {
      status = stopped ? 128 + SIGINT : WEXITSTATUS(how);
      break;
    }
    if (c.busy_since > 0) left_s -= now() - c.busy_since - (hung ? g->limit_s : 0); /* waiting in vain is not tuning */
    bool again = c.busy_since > 0 && nth < g->most && left_s > 0;
    if (g->lost) g->lost(g->user, gone ? 0 : WTERMSIG(how), hung, again);
    if (!again) break;
  }
  signal(SIGINT, before);
  return status;
}
