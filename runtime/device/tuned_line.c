/* A line of the log as text and back (tuned.h). Owns nothing. Invariant: what is taken has names and outcomes that this library knows and numbers
 * within bounds; whether its parameters are legal anywhere is not looked at. */
#include "tuned.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "kernels/sources.h"

#define FORMAT "koine-tuned-3" /* first field of every line */

/* The fields of a line, separated by tabs. Times are whole nanoseconds. */
enum {
  F_FORMAT, F_OP, F_CONSTS, F_BUCKET, F_PARAMS, F_VENDOR, F_PLATFORM, F_TYPE, F_NAME, F_ARCH, F_DRIVER, F_VERSION, F_TEXT, F_WHEN, F_SAMPLES, F_MEDIAN,
  F_SPREAD, F_DEFAULT, F_DEFAULT_SPREAD, F_FLOPS, F_BYTES, F_OUTCOME, F_NOTE, F_SUM, N_FIELDS
};

static const char *const outcomes[KOI_N_OUTCOMES] = {"measured", "refused", "wrong", "trying", "lost", "crashed", "hung", "won", "kept"};
static const char *const types[] = {[KOINE_DEVICE_HOST] = "host", [KOINE_DEVICE_CPU] = "cpu", [KOINE_DEVICE_GPU] = "gpu", [KOINE_DEVICE_ACCELERATOR] = "accelerator"};
static const double most_number = 1e18;
enum { MOST_CONST = 32768 /* of an op */, MAX_OPS = 128 };

const char *koi_outcome_name(koi_outcome o) { return outcomes[o]; }

static uint64_t hash_of(const koi_op *op)
{
  const char *text = op->source ? koi_source_text(op->source) : NULL;
  return text ? koi_hash(text, strlen(text), 0) : 0;
}

/* Of the kernel's text: parameters of another text are stale. A log asks for it line by line, so it is made once for each op; 0: not yet, or there
 * is no text. */
uint64_t koi_tuned_text_hash(const koi_op *op)
{
  static _Atomic uint64_t known[MAX_OPS];
  size_t i = 0;
  while (i < MAX_OPS && koi_ops[i] && koi_ops[i] != op) i++;
  if (i == MAX_OPS || !koi_ops[i]) return hash_of(op);
  uint64_t h = known[i];
  if (!h) known[i] = h = hash_of(op);
  return h;
}

/* ---- writing ----------------------------------------------------------------------------------------------------------- */
static bool is_format(const char *name)
{
  size_t n = strlen(name);
  return n >= 2 && !strcmp(name + n - 2, "WT");
}

/* Formats of weights by name: their numbers are this release's. */
void koi_tuned_put_consts(koi_text *t, const koi_op *op, const int32_t *c)
{
  size_t n = koi_op_n_consts(op);
  for (size_t i = 0; i < n; i++)
    if (is_format(op->consts[i]) && c[i] >= 0 && c[i] < KOI_N_FORMATS) koi_text_add(t, "%s%s=%s", i ? " " : "", op->consts[i], koi_formats[c[i]].name);
    else koi_text_add(t, "%s%s=%" PRId32, i ? " " : "", op->consts[i], c[i]);
  if (!n) koi_text_add(t, "-");
}

void koi_tuned_put_params(koi_text *t, const koi_op *op, const int32_t *p)
{
  size_t n = koi_op_n_params(op);
  for (size_t i = 0; i < n; i++) koi_text_add(t, "%s%s=%" PRId32, i ? " " : "", op->params[i].name, p[i]);
  if (!n) koi_text_add(t, "-");
}

static uint64_t whole(double v) { return v > 0 && v < most_number ? (uint64_t)(v + 0.5) : 0; }

uint64_t koi_tuned_now_ms(void)
{
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void koi_tuned_put_line(koi_text *t, const koi_endpoint *e, const koi_tuned_line *l)
{
  const koi_op *op = l->op;
  char note[KOI_NOTE];
  size_t start = t->len;
  koi_dev_text(note, sizeof note, l->note);
  koi_text_add(t, FORMAT "\t%s\t", op->name);
  koi_tuned_put_consts(t, op, l->c);
  koi_text_add(t, "\t%" PRId32 "\t", l->bucket);
  koi_tuned_put_params(t, op, l->p);
  koi_text_add(t, "\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t", e->vendor, e->platform, types[e->type], e->name, e->arch, e->driver, e->version);
  koi_text_add(t, "%016" PRIx64 "\t%" PRIu64 "\t%" PRIu32, koi_tuned_text_hash(op), l->when_ms ? l->when_ms : koi_tuned_now_ms(), l->n_samples);
  const double numbers[] = {1e3 * l->median_us, 1e3 * l->spread_us, 1e3 * l->default_us, 1e3 * l->default_spread_us, l->flops, l->bytes};
  for (size_t i = 0; i < KOI_COUNT(numbers); i++) koi_text_add(t, "\t%" PRIu64, whole(numbers[i]));
  koi_text_add(t, "\t%s\t%s\t", outcomes[l->outcome], note);
  if (!t->failed) koi_text_add(t, "%016" PRIx64 "\n", koi_hash(t->s + start, t->len - start, 0));
}

/* ---- reading ----------------------------------------------------------------------------------------------------------- */
/* The fields, cut out of `text`; false when they are too few or many, or the sum over them is another. */
static bool cut(char *text, char **field)
{
  char *sum = strrchr(text, '\t'), *end;
  if (!sum || strlen(sum) != 17) return false;
  uint64_t want = koi_hash(text, (size_t)(sum + 1 - text), 0);
  if (strtoull(sum + 1, &end, 16) != want || *end) return false;
  size_t n = 0;
  for (char *at = text; at && n < N_FIELDS; n++) {
    char *next = strchr(at, '\t');
    if (next) *next++ = 0;
    field[n] = at, at = next;
    if (n == N_FIELDS - 1 && next) return false;
  }
  return n == N_FIELDS;
}

/* A number in ASCII digits, perhaps negative, that ends at `end`. */
static bool integer(const char **text, char end, int64_t *out)
{
  const char *at = *text + (**text == '-');
  uint64_t v = 0;
  if (!koi_is_digit(*at)) return false;
  for (; koi_is_digit(*at); at++) {
    v = 10 * v + (uint64_t)(*at - '0');
    if (v > (uint64_t)1 << 60) return false;
  }
  if (*at != end) return false;
  *out = **text == '-' ? -(int64_t)v : (int64_t)v;
  *text = at;
  return true;
}

static bool format_number(const char **text, char end, int64_t *out)
{
  for (int wt = 0; wt < KOI_N_FORMATS; wt++) {
    size_t n = strlen(koi_formats[wt].name);
    if (strncmp(*text, koi_formats[wt].name, n) || (*text)[n] != end) continue;
    *out = wt, *text += n;
    return true;
  }
  return integer(text, end, out);
}

/* "NAME=value NAME=value": exactly these names, in this order. */
static bool values(const char *text, const char *const *names, size_t stride, size_t n, bool formats, int32_t *v)
{
  if (!n) return !strcmp(text, "-");
  for (size_t i = 0; i < n; i++, names = (const char *const *)((const char *)names + stride)) {
    size_t len = strlen(*names);
    char end = i + 1 < n ? ' ' : 0;
    int64_t value;
    if (strncmp(text, *names, len) || text[len] != '=') return false;
    text += len + 1;
    if (!(formats && is_format(*names) ? format_number : integer)(&text, end, &value)) return false;
    if (value < INT32_MIN || value > INT32_MAX) return false;
    v[i] = (int32_t)value, text++;
  }
  return true;
}

static bool numbers(char *const *field, koi_tuned_line *l)
{
  static const int at[] = {F_BUCKET, F_WHEN, F_SAMPLES, F_MEDIAN, F_SPREAD, F_DEFAULT, F_DEFAULT_SPREAD, F_FLOPS, F_BYTES};
  int64_t v[KOI_COUNT(at)];
  for (size_t i = 0; i < KOI_COUNT(at); i++) {
    const char *text = field[at[i]];
    if (!integer(&text, 0, &v[i]) || (i && v[i] < 0)) return false;
  }
  if (v[0] < INT32_MIN || v[0] > INT32_MAX || v[2] > UINT32_MAX) return false;
  l->bucket = (int32_t)v[0], l->when_ms = (uint64_t)v[1], l->n_samples = (uint32_t)v[2];
  l->median_us = 1e-3 * (double)v[3], l->spread_us = 1e-3 * (double)v[4], l->default_us = 1e-3 * (double)v[5], l->default_spread_us = 1e-3 * (double)v[6];
  l->flops = (double)v[7], l->bytes = (double)v[8];
  return true;
}

/* Constants that some call can have: rules of descriptors divide by sizes, and halve until something fits them. */
static bool plausible(const koi_op *op, const int32_t *c)
{
  for (size_t i = 0; i < koi_op_n_consts(op); i++) {
    int32_t least = op->usual[i] >= KOI_N_FORMATS, most = is_format(op->consts[i]) ? KOI_N_FORMATS - 1 : koi_op_n_params(op) ? MOST_CONST : INT32_MAX;
    if (c[i] < least || c[i] > most) return false;
  }
  return true;
}

/* What this release knows of a sound line; false: it is another's. */
static bool take(char *const *field, koi_tuned_line *l)
{
  if (strcmp(field[F_FORMAT], FORMAT) || !(l->op = koi_step_named(field[F_OP]))) return false;
  int o = 0;
  while (o < KOI_N_OUTCOMES && strcmp(outcomes[o], field[F_OUTCOME])) o++;
  l->outcome = (koi_outcome)o;
  koi_dev_text(l->note, sizeof l->note, field[F_NOTE]);
  return o < KOI_N_OUTCOMES && values(field[F_CONSTS], l->op->consts, sizeof *l->op->consts, koi_op_n_consts(l->op), true, l->c) && plausible(l->op, l->c) &&
         values(field[F_PARAMS], &l->op->params->name, sizeof *l->op->params, koi_op_n_params(l->op), false, l->p) && numbers(field, l);
}

void koi_tuned_raw(koi_text *t, const koi_tuned_read *r)
{
  for (size_t i = 0; i < r->len;) {
    size_t n = strlen(r->raw + i);
    koi_text_bytes(t, r->raw + i, n);
    i += n;
    if (i < r->len) koi_text_bytes(t, "\t", 1), i++;
  }
  koi_text_bytes(t, "\n", 1);
}

koi_sound koi_tuned_take_line(char *text, koi_tuned_read *r)
{
  char *field[N_FIELDS], *end;
  if (!cut(text, field)) return KOI_DAMAGED;
  r->l = (koi_tuned_line){0};
  if (!take(field, &r->l)) return KOI_FOREIGN;
  r->vendor = field[F_VENDOR], r->platform = field[F_PLATFORM], r->type = field[F_TYPE], r->name = field[F_NAME], r->arch = field[F_ARCH];
  r->driver = field[F_DRIVER], r->version = field[F_VERSION], r->text = strtoull(field[F_TEXT], &end, 16);
  return *end || end - field[F_TEXT] != 16 ? KOI_FOREIGN : KOI_SOUND;
}

koi_rung koi_tuned_rung(const koi_tuned_read *r, const koi_endpoint *e)
{
  if (strcmp(r->vendor, e->vendor) || strcmp(r->platform, e->platform) || strcmp(r->type, types[e->type])) return KOI_RUNG_DEFAULT;
  bool arch = !strcmp(r->arch, e->arch);
  if (!arch || strcmp(r->name, e->name)) return arch && *e->arch ? KOI_RUNG_ARCH : KOI_RUNG_VENDOR;
  bool fresh = !strcmp(r->driver, e->driver) && !strcmp(r->version, e->version) && r->text == koi_tuned_text_hash(r->l.op);
  return fresh ? KOI_RUNG_TUNED : KOI_RUNG_STALE;
}
