/* See record.h. Owns nothing. */
#include <string.h>
#include "record.h"

/* `size` stands first in every record. */
static size_t size_of(const void *record)
{
  size_t size;
  memcpy(&size, record, sizeof size);
  return size;
}

static void set_size(void *record, size_t size) { memcpy(record, &size, sizeof size); }

static koine_status check(const char *name, size_t oldest, size_t size)
{
  if (size >= oldest && size <= KOI_RECORD_MOST) return KOINE_OK;
  return koi_error(KOINE_ERR_ARG, "%s: size %zu, expected %zu to %d (set .size to sizeof the record)", name, size, oldest, KOI_RECORD_MOST);
}

/* from[n] to own[own_n]; what is beyond must be zero. */
static koine_status copy(const char *name, const char *from, size_t n, char *own, size_t own_n)
{
  for (size_t i = own_n; i < n; i++)
    if (from[i])
      return koi_error(KOINE_ERR_UNSUPPORTED, "%s: a member beyond the %zu bytes that koine %s knows is set (byte %zu of %zu): it needs a newer library", name,
                       own_n, KOINE_VERSION, i, n);
  memcpy(own, from, n < own_n ? n : own_n);
  return KOINE_OK;
}

koine_status koi_record_take(const char *name, size_t oldest, const void *given, void *own, size_t own_size)
{
  memset(own, 0, own_size);
  koine_status s = given ? check(name, oldest, size_of(given)) : KOINE_OK;
  if (given && !s) s = copy(name, given, size_of(given), own, own_size);
  set_size(own, own_size);
  return s;
}

koine_status koi_record_take_with(const char *name, size_t oldest, size_t at, const char *inner_name, size_t inner_oldest, size_t inner_size,
                                  const void *given, void *own, size_t own_size)
{
  const char *from = given;
  char *to = own;
  size_t size = size_of(given), inner = 0;
  memset(own, 0, own_size);
  koine_status s = check(name, at + sizeof inner, size);
  if (!s) inner = size_of(from + at);
  if (!s) s = check(inner_name, inner_oldest, inner);
  if (!s) s = check(name, oldest - inner_size + inner, size);
  if (s) return s;
  memcpy(to, from, at);
  s = copy(inner_name, from + at, inner, to + at, inner_size);
  if (!s) s = copy(name, from + at + inner, size - at - inner, to + at + inner_size, own_size - at - inner_size);
  set_size(own, own_size);
  set_size(to + at, inner_size);
  return s;
}

void koi_record_give(size_t oldest, const void *own, size_t own_size, void *to)
{
  size_t size = size_of(to);
  if (size < oldest || size > KOI_RECORD_MOST) size = oldest;
  if (size > own_size) size = own_size;
  memcpy(to, own, size);
  set_size(to, size);
}
