/* The list that a probe fills, and the texts in it. Owns the two arrays; not what an endpoint's handle points to (its backend's unprobe does).
 * Invariant: after a failure the list is as it was. */
#include "dev.h"
#include <stdlib.h>
#include <string.h>
#include "kernels/layout.h"

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
  koi_dev_text(s->what, sizeof s->what, what);
  koi_dev_text(s->why, sizeof s->why, why);
  return KOINE_OK;
}

void koi_probe_free(koi_probe *p)
{
  koi_free(p->endpoints);
  koi_free(p->skipped);
  *p = (koi_probe){0};
}

void koi_dev_text(char *out, size_t room, const char *from)
{
  char *to = out, *end = out + room - 1;
  for (; *from && to < end; from++) {
    unsigned char c = (unsigned char)*from;
    if (c > ' ' && c < 0x7f) *to++ = *from;
    else if (c >= 0x80) *to++ = '?';
    else if (to > out && to[-1] != ' ') *to++ = ' ';
  }
  if (to > out && to[-1] == ' ') to--;
  *to = 0;
}

/* KOINE_LAYOUT: rows of the weights' tiles; 0: there are none of so many. */
static int32_t insisted(void)
{
  static const char *const rows[] = {"16", "32", "64"};
  const char *wanted = getenv("KOINE_LAYOUT");
  for (size_t i = 0; i < KOI_COUNT(rows) && wanted; i++)
    if (!strcmp(wanted, rows[i])) return KOI_STRIP << i;
  return 0;
}

void koi_dev_target(const koi_endpoint *e, koi_target *t)
{
  *t = (koi_target){.vector_width = e->vector_width ? e->vector_width : 1,
                    .lanes = e->lanes,
                    .max_group = e->max_group,
                    .local_bytes = e->local_bytes,
                    .n_units = e->n_units ? e->n_units : 1,
                    .local_is_global = e->local_is_global,
                    .denormals = e->denormals,
                    .arrivals = e->arrivals,
                    .tile = insisted(),
                    .tuned = e->known};
}
