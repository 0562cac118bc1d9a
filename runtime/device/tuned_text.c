/* The log of measurements for people and programs: what holds on a device (list), and every rung of the ladder for an op (why). Owns nothing.
 * Invariant: what is said is what koi_choose does, for it is asked. */
#include "tuned_text.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "kernels/step.h"

typedef struct book { /* of one device */
  const koi_endpoint *e;
  koi_tuned_table t;
  koi_target target;
  const koi_tuned **keys; /* [n] one record of each op, constants and bucket, in order */
  size_t n;
} book;

/* ---- the device's table ------------------------------------------------------------------------------------------------ */
static int by_key(const void *pa, const void *pb)
{
  const koi_tuned *a = *(const koi_tuned *const *)pa, *b = *(const koi_tuned *const *)pb;
  int names = strcmp(a->op->name, b->op->name);
  if (names) return names;
  int consts = memcmp(a->c, b->c, sizeof a->c);
  if (consts) return consts;
  return (a->bucket > b->bucket) - (a->bucket < b->bucket);
}

static koine_status open_book(const koine_runtime *rt, size_t i, book *b)
{
  *b = (book){.e = &rt->endpoints[i]};
  koine_status s = koi_tuned_gather(rt->cache_dir, rt->shipped_dir, b->e, &b->t);
  if (!s && !(b->keys = koi_alloc(b->t.n + 1, sizeof *b->keys))) s = KOINE_ERR_MEMORY;
  if (s) return s;
  koi_dev_target(b->e, &b->target);
  b->target.tuned = &b->t;
  for (size_t k = 0; k < b->t.n; k++) b->keys[k] = &b->t.v[k];
  qsort(b->keys, b->t.n, sizeof *b->keys, by_key);
  for (size_t k = 0; k < b->t.n; k++)
    if (!b->n || by_key(&b->keys[b->n - 1], &b->keys[k])) b->keys[b->n++] = b->keys[k];
  return KOINE_OK;
}

static void close_book(book *b)
{
  koi_tuned_clear(&b->t);
  koi_free(b->keys);
}

typedef struct answer { koi_why why[KOI_RUNG_DEFAULT][KOI_N_ORIGINS]; int32_t p[KOI_MAX_PARAMS]; koi_rung rung; koine_status s; const koi_tuned *from; } answer;

static answer ask(const book *b, const koi_op *op, const int32_t *c, int32_t bucket)
{
  answer a = {.rung = KOI_RUNG_DEFAULT};
  a.s = koi_choose_why(&b->target, op, c, bucket, a.p, &a.rung, a.why);
  for (int r = 0; r < KOI_RUNG_DEFAULT; r++)
    for (int o = 0; o < KOI_N_ORIGINS; o++) {
      koi_verdict v = a.why[r][o].verdict;
      if (v == KOI_TAKEN || v == KOI_REPAIRED || v == KOI_SAYS_DEFAULT) a.from = a.why[r][o].e;
    }
  return a;
}

/* ---- pieces ------------------------------------------------------------------------------------------------------------ */
static void put_day(koi_text *t, uint64_t when_ms)
{
  time_t s = (time_t)(when_ms / 1000);
  struct tm tm;
  if (when_ms && when_ms < UINT64_C(253402300800000) && gmtime_r(&s, &tm)) koi_text_add(t, "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
  else koi_text_add(t, "-");
}

static void put_key(koi_text *t, const koi_op *op, const int32_t *c, int32_t bucket)
{
  koi_text_add(t, "%s", op->name);
  if (koi_op_n_consts(op)) koi_text_add(t, " "), koi_tuned_put_consts(t, op, c);
  koi_text_add(t, ", bucket %" PRId32, bucket);
}

static const char *words(koi_verdict v)
{
  static const char *const texts[] = {[KOI_ABSENT] = "nothing is known", [KOI_TAKEN] = "taken", [KOI_REPAIRED] = "taken, after a repair: not legal here as it is",
                                      [KOI_SAYS_DEFAULT] = "the default was no slower: it stays", [KOI_ILLEGAL] = "refused: not legal on this device, nor after a repair",
                                      [KOI_NOT_ASKED] = "not asked: a better rung answered"};
  return texts[v];
}

static const char *word(koi_verdict v)
{
  static const char *const texts[] = {"absent", "taken", "repaired", "default", "refused", "not asked"};
  return texts[v];
}

static void json_params(koi_text *t, const koi_op *op, const int32_t *p)
{
  koi_text_add(t, "{");
  for (size_t i = 0; i < koi_op_n_params(op); i++) koi_text_add(t, "%s\"%s\": %" PRId32, i ? ", " : "", op->params[i].name, p[i]);
  koi_text_add(t, "}");
}

static void json_key(koi_text *t, const koi_op *op, const int32_t *c, int32_t bucket)
{
  koi_text consts = {0};
  koi_tuned_put_consts(&consts, op, c);
  koi_text_add(t, "\"op\": \"%s\", \"constants\": ", op->name);
  koi_text_json(t, consts.s);
  koi_text_add(t, ", \"bucket\": %" PRId32, bucket);
  koi_free(consts.s);
}

static void json_device(koi_text *t, const koi_endpoint *e)
{
  koi_text_add(t, "\"device\": ");
  koi_text_json(t, e->id);
  koi_text_add(t, ", \"name\": ");
  koi_text_json(t, e->name);
  koi_text_add(t, ", \"driver\": ");
  koi_text_json(t, e->driver);
}

/* ---- list -------------------------------------------------------------------------------------------------------------- */
static void list_text(koi_text *t, const book *b)
{
  koi_text_add(t, "%s: %s, %s %s\n\n", b->e->id, b->e->name, b->e->platform, b->e->driver);
  if (!b->n) koi_text_add(t, "Nothing is known of this device: every kernel has its default parameters. koine tune finds better ones.\n");
  else koi_text_add(t, "| op | parameters | from | default us | us | samples | day |\n|---|---|---|---:|---:|---:|---|\n");
  for (size_t k = 0; k < b->n; k++) {
    const koi_tuned *e = b->keys[k];
    answer a = ask(b, e->op, e->c, e->bucket);
    koi_text_add(t, "| ");
    put_key(t, e->op, e->c, e->bucket);
    koi_text_add(t, " | ");
    if (a.s) koi_text_add(t, "none is legal");
    else koi_tuned_put_params(t, e->op, a.p);
    if (!a.from) koi_text_add(t, " | default | | | | |\n");
    else {
      koi_text_add(t, " | %s%s, %s line %" PRIu32 " | %.2f | %.2f | %" PRIu32 " | ", a.from->kept ? "the default stays: " : "", koi_rung_name(a.from->rung),
                   koi_origin_name(a.from->origin), a.from->line, a.from->default_us, a.from->us, a.from->n_samples);
      put_day(t, a.from->when_ms);
      koi_text_add(t, " |\n");
    }
  }
}

static void list_json(koi_text *t, const book *b)
{
  koi_text_add(t, "{");
  json_device(t, b->e);
  koi_text_add(t, ", \"kernels\": [");
  for (size_t k = 0; k < b->n; k++) {
    const koi_tuned *e = b->keys[k];
    answer a = ask(b, e->op, e->c, e->bucket);
    koi_text_add(t, "%s\n  {", k ? "," : "");
    json_key(t, e->op, e->c, e->bucket);
    koi_text_add(t, ", \"parameters\": ");
    if (a.s) koi_text_add(t, "null");
    else json_params(t, e->op, a.p);
    koi_text_add(t, ", \"rung\": \"%s\"", koi_rung_name(a.rung));
    if (a.from)
      koi_text_add(t, ", \"kept\": %s, \"origin\": \"%s\", \"line\": %" PRIu32 ", \"default_us\": %.3f, \"us\": %.3f, \"samples\": %" PRIu32 ", \"when_ms\": %" PRIu64,
                   a.from->kept ? "true" : "false", koi_origin_name(a.from->origin), a.from->line, a.from->default_us, a.from->us, a.from->n_samples, a.from->when_ms);
    koi_text_add(t, "}");
  }
  koi_text_add(t, "]}");
}

koine_status koi_tuned_list(const koine_runtime *rt, size_t first, size_t end, bool json, char **out)
{
  koi_text t = {0};
  koine_status s = KOINE_OK;
  if (json) koi_text_add(&t, "[");
  for (size_t i = first; i < end && !s; i++) {
    book b;
    s = open_book(rt, i, &b);
    if (!s && i > first) koi_text_add(&t, json ? ",\n " : "\n");
    if (!s) (json ? list_json : list_text)(&t, &b);
    close_book(&b);
  }
  if (json) koi_text_add(&t, "]\n");
  if (!s) return koi_text_take(&t, out);
  koi_free(t.s);
  return s;
}

/* ---- why --------------------------------------------------------------------------------------------------------------- */
static void why_text(koi_text *t, const book *b, const koi_op *op, const int32_t *c, int32_t bucket)
{
  answer a = ask(b, op, c, bucket);
  int32_t first[KOI_MAX_PARAMS] = {0};
  koi_target plain = b->target;
  plain.tuned = NULL;
  put_key(t, op, c, bucket);
  koi_text_add(t, "\n");
  for (int r = 0; r < KOI_RUNG_DEFAULT; r++)
    for (int o = 0; o < KOI_N_ORIGINS; o++) {
      const koi_why *w = &a.why[r][o];
      koi_text_add(t, "  %s, %s log: ", koi_rung_name((koi_rung)r), koi_origin_name((koi_origin)o));
      if (w->e) {
        koi_text_add(t, "line %" PRIu32 ", ", w->e->line);
        koi_tuned_put_params(t, op, w->e->p);
        koi_text_add(t, ", %.2f us, default %.2f us: ", w->e->us, w->e->default_us);
      }
      koi_text_add(t, "%s\n", words(w->verdict));
    }
  koi_text_add(t, "  default: ");
  if (koi_choose(&plain, op, c, bucket, first, NULL)) koi_text_add(t, "none is legal");
  else koi_tuned_put_params(t, op, first);
  koi_text_add(t, ": %s\n  so: ", a.rung == KOI_RUNG_DEFAULT ? "taken" : words(KOI_NOT_ASKED));
  if (a.s) koi_text_add(t, "%s", koi_error_text());
  else koi_tuned_put_params(t, op, a.p);
  koi_text_add(t, " (%s)\n", koi_rung_name(a.rung));
}

static void why_json(koi_text *t, const book *b, const koi_op *op, const int32_t *c, int32_t bucket)
{
  answer a = ask(b, op, c, bucket);
  const char *gap = "";
  koi_text_add(t, "{");
  json_key(t, op, c, bucket);
  koi_text_add(t, ", \"rung\": \"%s\", \"parameters\": ", koi_rung_name(a.rung));
  if (a.s) koi_text_add(t, "null");
  else json_params(t, op, a.p);
  koi_text_add(t, ", \"rungs\": [");
  for (int r = 0; r < KOI_RUNG_DEFAULT; r++)
    for (int o = 0; o < KOI_N_ORIGINS; o++, gap = ",") {
      const koi_why *w = &a.why[r][o];
      koi_text_add(t, "%s\n   {\"rung\": \"%s\", \"origin\": \"%s\", \"verdict\": \"%s\"", gap, koi_rung_name((koi_rung)r), koi_origin_name((koi_origin)o), word(w->verdict));
      if (w->e) {
        koi_text_add(t, ", \"line\": %" PRIu32 ", \"us\": %.3f, \"default_us\": %.3f, \"parameters\": ", w->e->line, w->e->us, w->e->default_us);
        json_params(t, op, w->e->p);
      }
      koi_text_add(t, "}");
    }
  koi_text_add(t, "]}");
}

static koine_status unknown(const char *name)
{
  koi_text list = {0};
  for (size_t i = 0; koi_ops[i]; i++)
    if (koi_op_n_params(koi_ops[i])) koi_text_add(&list, "%s%s", list.len ? ", " : "", koi_ops[i]->name);
  for (size_t i = 0; koi_steps[i]; i++)
    if (koi_op_n_params(koi_steps[i])) koi_text_add(&list, ", %s", koi_steps[i]->name);
  koine_status s = koi_error(KOINE_ERR_ARG, "there is no tunable op %.60s; there are: %.800s", name, list.s ? list.s : "");
  koi_free(list.s);
  return s;
}

koine_status koi_tuned_why(const koine_runtime *rt, size_t i, const char *name, bool json, char **out)
{
  const koi_op *op = koi_step_named(name);
  if (!op || !koi_op_n_params(op)) return unknown(name);
  book b;
  koi_text t = {0};
  koine_status s = open_book(rt, i, &b);
  size_t n = 0;
  if (!s && json) koi_text_add(&t, "{"), json_device(&t, b.e), koi_text_add(&t, ", \"kernels\": [\n ");
  else if (!s) koi_text_add(&t, "%s: %s, %s %s\n\n", b.e->id, b.e->name, b.e->platform, b.e->driver);
  for (size_t k = 0; k < b.n && !s; k++) {
    const koi_tuned *e = b.keys[k];
    if (e->op != op) continue;
    if (n++) koi_text_add(&t, json ? ",\n " : "\n");
    (json ? why_json : why_text)(&t, &b, op, e->c, e->bucket);
  }
  if (!s && !n) (json ? why_json : why_text)(&t, &b, op, op->usual, 0); /* as DeepSeek's models have it */
  if (!s && json) koi_text_add(&t, "]}\n");
  close_book(&b);
  if (!s) return koi_text_take(&t, out);
  koi_free(t.s);
  return s;
}
