/* A thread of the library's own. */
#ifndef KOI_THREAD_H
#define KOI_THREAD_H
#include <pthread.h>
#include <stdbool.h>

/* Signals stay the program's own: the thread takes none. */
bool koi_thread_start(pthread_t *out, void *(*work)(void *), void *user);
#endif
