/* The list that a probe fills. Owns the two arrays; not what an endpoint's handle points to (its backend's unprobe does).
 * Invariant: after a failure the list is as it was. */
#include "dev.h"
#include <stdio.h>

/* Room for one more element of `size` bytes after n of them: the array doubles at powers of two. */
static void *room(void *array, size_t n, size_t size)
{
  if (n & (n - 1)) return array;
  return koi_realloc(array, n ? 2 * n : 1, size);
}

koine_status koi_probe_add(koi_probe *p, const koi_endpoint *e)
{
  koi_endpoint *list = room(p->endpoints, p->n_endpoints, sizeof *list);
  if (!list) return KOINE_ERR_MEMORY;
  p->endpoints = list;
  list[p->n_endpoints++] = *e;
  return KOINE_OK;
}

koine_status koi_probe_skip(koi_probe *p, const char *what, const char *why)
{
  koi_skipped *list = room(p->skipped, p->n_skipped, sizeof *list);
  if (!list) return KOINE_ERR_MEMORY;
  p->skipped = list;
  koi_skipped *s = &list[p->n_skipped++];
  snprintf(s->what, sizeof s->what, "%s", what);
  snprintf(s->why, sizeof s->why, "%s", why);
  return KOINE_OK;
}

void koi_probe_free(koi_probe *p)
{
  koi_free(p->endpoints);
  koi_free(p->skipped);
  *p = (koi_probe){0};
}
