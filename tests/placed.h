/* KOINE_TEST_LAYERS ("host=0-1;cl0=2-") in place of the device: t_session and t_rewind over several stages. */
#ifndef PLACED_H
#define PLACED_H
#include <stdlib.h>
#include <string.h>
#include "koine.h"

enum { PLACED_MOST = 16 };

/* o's pointers stay valid until the next call. */
static inline void placed_options(koine_plan_options *o)
{
  static char own[1024];
  static const char *list[PLACED_MOST];
  const char *text = getenv("KOINE_TEST_LAYERS");
  if (!text || strlen(text) >= sizeof own) return;
  strcpy(own, text);
  o->device = NULL, o->layers = list, o->n_layers = 0;
  for (char *at = own; at && o->n_layers < PLACED_MOST;) {
    char *end = strchr(at, ';');
    if (end) *end++ = 0;
    list[o->n_layers++] = at;
    at = end;
  }
}
#endif
