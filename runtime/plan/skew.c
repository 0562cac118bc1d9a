/* See skew.h. Owns a file routes.txt in the cache folder, a line a model, the last written first. Invariant: a reader sees the old file or the new one. */
#include "skew.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/newfile.h"
#include "base/paths.h"
#include "model/fingerprint.h"
#include "words.h"

enum { FEWEST = 1000 /* wanted by a run that says something */, MOST = 1000000 /* that earlier runs weigh */, FILE_BYTES = 1 << 16, LINES = 200 };
static const double most_skew = 4;

double koi_skew_share(double n_slots, double n_experts, double skew)
{
  double of = 0, all = 0;
  for (int i = 1; i <= (int)n_experts; i++) {
    double p = pow(i, -skew);
    all += p, of += i <= n_slots ? p : i - 1 < n_slots ? p * (n_slots - (i - 1)) : 0;
  }
  return of / all;
}

double koi_skew_of(double there, double n_slots, double n_experts)
{
  double low = 0, high = most_skew;
  for (int i = 0; i < 40; i++) {
    double middle = (low + high) / 2;
    *(koi_skew_share(n_slots, n_experts, middle) < there ? &low : &high) = middle;
  }
  return high;
}

/* ---- the file ---- */
/* KOINE_TUNED=off: whatever was measured is ignored. NULL: there is none. */
static char *path_of(const char *cache_dir)
{
  const char *wanted = getenv("KOINE_TUNED");
  return cache_dir && *cache_dir && !(wanted && !strcmp(wanted, "off")) ? koi_format("%s/routes.txt", cache_dir) : NULL;
}

/* A line of the file, which ends at 0. false: it is none. */
static bool read_line(const char *line, char model[17], koi_skew *x)
{
  koi_word w;
  *x = (koi_skew){.skew = -1}, *model = 0;
  for (const char *at = line; koi_word_next(&at, &w);)
    if (!koi_word_text(&w, "model=", model, 17) || !koi_word_number(&w, "skew=", &x->skew) || !koi_word_count(&w, "wanted=", &x->wanted) ||
        !koi_word_count(&w, "there=", &x->there) || !koi_word_count(&w, "slots=", &x->n_slots) || !koi_word_count(&w, "experts=", &x->n_experts)) return false;
  return strlen(model) == 16 && x->skew >= 0 && x->skew <= most_skew && x->wanted && x->there <= x->wanted && x->n_slots && x->n_slots < x->n_experts && x->n_experts <= UINT32_MAX;
}

static void put_line(koi_text *t, const char *model, const koi_skew *x)
{
  koi_text_add(t, "model=%s skew=%.6f wanted=%llu there=%llu slots=%llu experts=%llu\n", model, x->skew, (unsigned long long)x->wanted, (unsigned long long)x->there,
               (unsigned long long)x->n_slots, (unsigned long long)x->n_experts);
}

/* What the file has of one model; lines of others go to *rest, if there is one. */
static bool find(char *text, const char *model, koi_skew *out, koi_text *rest)
{
  bool found = false;
  int n = 0;
  for (char *line = text, *end; line && *line && (end = strchr(line, '\n')); line = end + 1) {
    char of[17];
    koi_skew x;
    *end = 0;
    if (!read_line(line, of, &x)) continue;
    if (!strcmp(of, model)) *out = x, found = true;
    else if (rest && n++ < LINES) put_line(rest, of, &x);
  }
  return found;
}

/* Its name in the file; false: without memory, or files that can be read, there is none. */
static bool name_of(const koine_model *m, char name[17])
{
  uint64_t model = m->weights ? koi_model_fingerprint(m) : 0; /* made-up weights route as nobody's do */
  return koi_print(name, 17, "%016llx", (unsigned long long)model) == 16 && model;
}

bool koi_skew_known(const char *cache_dir, const koine_model *m, koi_skew *out)
{
  char *path = path_of(cache_dir), *text = NULL, name[17];
  size_t n;
  bool known = path && !koi_file_read(path, FILE_BYTES, &text, &n) && name_of(m, name) && find(text, name, out, NULL) && out->n_experts == m->config.n_experts;
  koi_free(text);
  koi_free(path);
  return known;
}

static koi_skew together(const koi_skew *old, const koi_skew *found)
{
  koi_skew x = *found;
  double part = old->wanted > MOST ? (double)MOST / (double)old->wanted : 1, before = part * (double)old->wanted, now = (double)found->wanted;
  x.skew = (old->skew * before + koi_skew_of((double)found->there / now, (double)found->n_slots, (double)found->n_experts) * now) / (before + now);
  x.wanted += (uint64_t)before, x.there += (uint64_t)(part * (double)old->there);
  return x;
}

static koine_status write(const char *cache_dir, const char *path, const char *name, const koi_skew *x, const koi_text *rest)
{
  koi_text t = {0};
  put_line(&t, name, x);
  koi_text_bytes(&t, rest->s ? rest->s : "", rest->len);
  koine_status s = t.failed || rest->failed ? KOINE_ERR_MEMORY : koi_paths_make(cache_dir);
  if (!s) s = koi_newfile_put(path, t.s, t.len);
  koi_free(t.s);
  return s;
}

void koi_skew_keep(const char *cache_dir, const koine_model *m, const koi_skew *found)
{
  bool says = found->wanted >= FEWEST && found->n_slots < found->n_experts;
  char *path = says ? path_of(cache_dir) : NULL, *text = NULL, name[17];
  koi_text rest = {0};
  koi_skew old = {0};
  size_t n;
  if (path && name_of(m, name)) {
    if (!koi_file_read(path, FILE_BYTES, &text, &n)) find(text, name, &old, &rest);
    if (old.n_experts != found->n_experts) old = (koi_skew){0};
    koi_skew x = together(&old, found);
    if (write(cache_dir, path, name, &x, &rest)) koi_log(KOINE_LOG_NOTE, "how skewed routes are is not kept: %s", koi_error_text());
  }
  koi_free(rest.s);
  koi_free(text);
  koi_free(path);
}
