/* Parts of a device as devices of their own: what a user wrote, made by the backend. Owns nothing. */
#include <stdlib.h>
#include <string.h>
#include "machine.h"
#include "backend.h"

enum { MAX_PARTS = 64, MAX_UNITS = 1 << 20 };

static koine_status wrong(const char *text)
{
  return koi_error(KOINE_ERR_ARG, "subdevices %.80s: expected DEVICE=UNITS,UNITS,... of at most %d parts, such as cl0=1,1", text, MAX_PARTS);
}

static koine_status read_units(const char *text, const char *at, uint32_t *units, size_t *n)
{
  for (*n = 0; *n < MAX_PARTS; at++) {
    char *end;
    unsigned long v = koi_is_digit(*at) ? strtoul(at, &end, 10) : 0;
    if (!v || v > MAX_UNITS) return wrong(text);
    units[(*n)++] = (uint32_t)v;
    at = end;
    if (!*at) return KOINE_OK;
    if (*at != ',') return wrong(text);
  }
  return wrong(text);
}

koine_status koi_machine_split(koi_probe *p, const char *text)
{
  const char *equals = strchr(text, '=');
  size_t n = 0, i = 0, n_id = equals ? (size_t)(equals - text) : 0;
  uint32_t units[MAX_PARTS];
  koine_status s = n_id ? read_units(text, equals + 1, units, &n) : wrong(text);
  if (s) return s;
  while (i < p->n_endpoints && (strlen(p->endpoints[i].id) != n_id || memcmp(p->endpoints[i].id, text, n_id))) i++;
  if (i == p->n_endpoints) return koi_error(KOINE_ERR_NO_DEVICE, "subdevices %.80s: there is no such device; koine devices lists what there is", text);
  const koi_endpoint e = p->endpoints[i]; /* adding moves the list */
  if (e.part || !e.backend->split) return koi_error(KOINE_ERR_NO_DEVICE, "subdevices %.80s: %s (%s) cannot be parted", text, e.id, e.name);
  for (size_t j = 0; j < p->n_endpoints; j++)
    if (p->endpoints[j].part && !strncmp(p->endpoints[j].id, e.id, n_id) && p->endpoints[j].id[n_id] == '/')
      return koi_error(KOINE_ERR_ARG, "subdevices %.80s: %s is parted already", text, e.id);
  s = e.backend->split(&e, units, n, p);
  return s ? koi_error_prefix(s, "subdevices %.80s", text) : s;
}
