/* See thread.h. */
#include "thread.h"
#include <signal.h>

bool koi_thread_start(pthread_t *out, void *(*work)(void *), void *user)
{
  sigset_t every, before;
  sigfillset(&every);
  pthread_sigmask(SIG_SETMASK, &every, &before);
  bool started = !pthread_create(out, NULL, work, user);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return started;
}
