/* Values of GGUF metadata: by key, as numbers, as strings. Owns nothing; the bytes were checked when the header was read. */
#include "gguf_impl.h"
#include <stdlib.h>
#include <string.h>

static const struct { const char *name; size_t bytes; } types[KOI_N_GGUF_TYPES] = {
  [KOI_GGUF_U8] = {"uint8", 1},   [KOI_GGUF_I8] = {"int8", 1},     [KOI_GGUF_U16] = {"uint16", 2},   [KOI_GGUF_I16] = {"int16", 2},
  [KOI_GGUF_U32] = {"uint32", 4}, [KOI_GGUF_I32] = {"int32", 4},   [KOI_GGUF_F32] = {"float32", 4},  [KOI_GGUF_BOOL] = {"bool", 1},
  [KOI_GGUF_STRING] = {"string", 0}, [KOI_GGUF_ARRAY] = {"array", 0}, [KOI_GGUF_U64] = {"uint64", 8}, [KOI_GGUF_I64] = {"int64", 8},
  [KOI_GGUF_F64] = {"float64", 8},
};

const char *koi_gguf_type_name(koi_gguf_type t) { return types[t].name; }
size_t koi_gguf_type_bytes(koi_gguf_type t) { return types[t].bytes; }

uint64_t koi_gguf_word(const uint8_t *p, size_t bytes)
{
  uint64_t v = 0;
  while (bytes-- > 0) v = v << 8 | p[bytes];
  return v;
}

static int by_key(const void *a, const void *b) { return strcmp(((const koi_gguf_value *)a)->key, ((const koi_gguf_value *)b)->key); }

koine_status koi_gguf_sort(koi_gguf_table *t, const char *file)
{
  if (t->n) qsort(t->values, t->n, sizeof *t->values, by_key);
  for (size_t i = 1; i < t->n; i++)
    if (!strcmp(t->values[i - 1].key, t->values[i].key))
      return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected every key once, found it twice", file, t->values[i].key);
  return KOINE_OK;
}

const koi_gguf_value *koi_gguf_look(const koi_gguf_table *t, const char *key)
{
  koi_gguf_value k = {.key = key};
  return t->n ? bsearch(&k, t->values, t->n, sizeof k, by_key) : NULL;
}

bool koi_gguf_int(const koi_gguf_value *v, uint64_t i, int64_t *out)
{
  size_t size = types[v->type].bytes;
  if (i >= v->n || !size || v->type == KOI_GGUF_F32 || v->type == KOI_GGUF_F64) return false;
  uint64_t word = koi_gguf_word(v->data + i * size, size);
  bool is_signed = v->type == KOI_GGUF_I8 || v->type == KOI_GGUF_I16 || v->type == KOI_GGUF_I32 || v->type == KOI_GGUF_I64;
  if (is_signed && size < 8 && word >> (8 * size - 1)) word |= UINT64_MAX << 8 * size;
  if (!is_signed && word > INT64_MAX) return false;
  return *out = (int64_t)word, true;
}

bool koi_gguf_number(const koi_gguf_value *v, uint64_t i, double *out)
{
  int64_t n;
  float f;
  if (koi_gguf_int(v, i, &n)) return *out = (double)n, true;
  if (i >= v->n) return false;
  if (v->type == KOI_GGUF_U64) return *out = (double)koi_gguf_word(v->data + 8 * i, 8), true;
  if (v->type == KOI_GGUF_F64) return memcpy(out, v->data + 8 * i, 8), true;
  if (v->type != KOI_GGUF_F32) return false;
  memcpy(&f, v->data + 4 * i, 4);
  return *out = (double)f, true;
}

bool koi_gguf_string(koi_gguf_cursor *c, const char **s, size_t *n)
{
  const koi_gguf_value *v = c->value;
  if (v->type != KOI_GGUF_STRING || c->i >= v->n) return false;
  *n = (size_t)koi_gguf_word(v->data + c->at, 8);
  *s = (const char *)v->data + c->at + 8;
  c->at += 8 + *n, c->i++;
  return true;
}
