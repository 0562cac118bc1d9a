/* The kernels of a device. Owns both lists and every kernel in them. Invariant: `made` has one entry for an op, constants and parameters,
 * `answers` one for an op, constants and bucket, which points into what the first has. */
#include <string.h>
#include "kern.h"

typedef struct made { koi_kern_key key; koi_kernel *kernel; char *why; } made; /* kernel NULL: it cannot be built, and why */
typedef struct answer { const koi_op *op; int32_t c[KOI_MAX_CONSTS]; int32_t bucket; koi_kernel *kernel; } answer; /* kernel NULL: the C reference */

typedef struct koi_kerns {
  made *made;
  answer *answers;
  size_t n_made, n_answers;
} koi_kerns;

koine_status koi_kern_open(koi_device *d) { return (d->kerns = koi_alloc(1, sizeof *d->kerns)) ? KOINE_OK : KOINE_ERR_MEMORY; }

void koi_kern_close(koi_device *d)
{
  koi_kerns *k = d->kerns;
  if (!k) return;
  for (size_t i = 0; i < k->n_made; i++) {
    koi_kern_drop(d, k->made[i].kernel);
    koi_free(k->made[i].why);
  }
  koi_free(k->made);
  koi_free(k->answers);
  koi_free(k);
  d->kerns = NULL;
}

void koi_kern_forget(koi_device *d)
{
  koi_free(d->kerns->answers);
  d->kerns->answers = NULL, d->kerns->n_answers = 0;
}

/* Room for one more element of `size` bytes after n of them: the array doubles at powers of two. */
static void *room(void *array, size_t n, size_t size)
{
  if (n & (n - 1)) return array;
  return koi_realloc(array, n ? 2 * n : 1, size);
}

/* ---- by parameters ---- */
static koi_kern_key key_of(const koi_op *op, const int32_t *c, const int32_t *p)
{
  koi_kern_key key;
  memset(&key, 0, sizeof key); /* keys are compared whole */
  key.op = op;
  memcpy(key.c, c, koi_op_n_consts(op) * sizeof *c);
  memcpy(key.p, p, koi_op_n_params(op) * sizeof *p);
  return key;
}

static const made *find_made(const koi_kerns *k, const koi_kern_key *key)
{
  for (size_t i = 0; i < k->n_made; i++)
    if (!memcmp(&k->made[i].key, key, sizeof *key)) return &k->made[i];
  return NULL;
}

koine_status koi_kern_add(koi_device *d, const koi_kern_key *key, koi_kernel *kernel, const char *why)
{
  koi_kerns *k = d->kerns;
  char *text = kernel ? NULL : koi_strdup(why);
  made *list = kernel || text ? room(k->made, k->n_made, sizeof *list) : NULL;
  if (!list) {
    koi_kern_drop(d, kernel);
    koi_free(text);
    return KOINE_ERR_MEMORY;
  }
  k->made = list;
  k->made[k->n_made++] = (made){*key, kernel, text};
  return KOINE_OK;
}

koine_status koi_kern_find(const koi_device *d, const koi_op *op, const int32_t *c, int32_t bucket, koi_kern_key *key, koi_kernel **out)
{
  koi_target t;
  koi_backend_target(d, &t);
  *out = NULL;
  for (;;) { /* ends: with every turn max_group falls, or tuned parameters are given up */
    int32_t p[KOI_MAX_PARAMS] = {0};
    koi_rung rung;
    koine_status s = koi_choose(&t, op, c, bucket, p, &rung);
    if (s) return koi_error_prefix(s, "device %s (%s)", d->endpoint->id, d->endpoint->name);
    *key = key_of(op, c, p);
    const made *m = find_made(d->kerns, key);
    if (!m) return KOINE_OK;
    if (!m->kernel && rung == KOI_RUNG_DEFAULT) return koi_error(KOINE_ERR_DEVICE, "%s", m->why);
    if (!m->kernel) {
      t.tuned = NULL; /* what another driver took this one may refuse */
      continue;
    }
    if (koi_kern_fits(m->kernel)) {
      *out = m->kernel;
      return KOINE_OK;
    }
    t.max_group = (uint32_t)m->kernel->max_group;
  }
}

koine_status koi_kern_choose(koi_device *d, const koi_op *op, const int32_t *c, int32_t bucket, koi_kernel **out)
{
  for (;;) {
    koi_kern_key key;
    koi_kernel *k = NULL;
    koine_status s = koi_kern_find(d, op, c, bucket, &key, &k);
    if (s) return s;
    if (k) {
      *out = k;
      return KOINE_OK;
    }
    s = koi_kern_build(d, op, c, key.p, &k);
    if (s && s != KOINE_ERR_DEVICE) return s;
    s = koi_kern_add(d, &key, s ? NULL : k, koi_error_text());
    if (s) return s;
  }
}

/* ---- by bucket ---- */
static const answer *find_answer(const koi_kerns *k, const koi_op *op, const int32_t *c, int32_t bucket)
{
  for (size_t i = 0; i < k->n_answers; i++) {
    const answer *a = &k->answers[i];
    if (a->op == op && a->bucket == bucket && !memcmp(a->c, c, koi_op_n_consts(op) * sizeof *c)) return a;
  }
  return NULL;
}

static void warn(const koi_kerns *k, const koi_op *op, const int32_t *c, const char *why)
{
  for (size_t i = 0; i < k->n_answers; i++)
    if (k->answers[i].op == op && !k->answers[i].kernel && !memcmp(k->answers[i].c, c, koi_op_n_consts(op) * sizeof *c)) return;
  koi_log(KOINE_LOG_WARNING, "%s runs on the host: %s", op->name, why);
}

koine_status koi_kern_get(koi_device *d, const koi_op *op, const int32_t *c, int32_t bucket, koi_kernel **out)
{
  koi_kerns *k = d->kerns;
  const answer *known = find_answer(k, op, c, bucket);
  if (known) {
    *out = known->kernel;
    return KOINE_OK;
  }
  answer a = {.op = op, .bucket = bucket};
  memcpy(a.c, c, koi_op_n_consts(op) * sizeof *c);
  koine_status s = koi_kern_choose(d, op, c, bucket, &a.kernel);
  if (s == KOINE_ERR_DEVICE) warn(k, op, c, koi_error_text());
  else if (s) return s;
  answer *list = room(k->answers, k->n_answers, sizeof *list);
  if (!list) return KOINE_ERR_MEMORY;
  k->answers = list;
  k->answers[k->n_answers++] = a;
  *out = a.kernel;
  return KOINE_OK;
}
