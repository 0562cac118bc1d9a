/* Owns: running the normaliser's steps.
 * Does not: know Unicode normal forms; a file that asks for one is refused when it is read.
 * Invariant: without steps nothing is copied. */
#include <string.h>
#include "tok_impl.h"

static koine_status replace(const koi_tok_norm *step, koi_tok_matcher *m, const char *text, size_t n, koi_text *out)
{
  char *shadow;
  koi_tok_cursor c = {.last = SIZE_MAX};
  size_t done = 0;
  koine_status s = koi_tok_uni_shadow(text, n, &shadow);
  for (bool found = true; s == KOINE_OK && found;) {
    s = koi_tok_matcher_next(m, step->code, shadow ? shadow : text, n, &c, &found);
    if (s != KOINE_OK || !found) break;
    koi_text_bytes(out, text + done, c.begin - done);
    koi_text_bytes(out, step->with, step->n_with);
    done = c.end;
  }
  koi_text_bytes(out, text + done, n - done);
  koi_free(shadow);
  return s;
}

static koine_status run(const koi_tok_norm *step, koi_tok_matcher *m, const char *text, size_t n, char **out, size_t *n_out)
{
  koi_text made = {0};
  koine_status s = KOINE_OK;
  if (step->code) {
    s = replace(step, m, text, n, &made);
  } else {
    if (n) koi_text_bytes(&made, step->with, step->n_with); /* nothing is put before nothing */
    koi_text_bytes(&made, text, n);
  }
  *n_out = made.len;
  if (s == KOINE_OK) return koi_text_take(&made, out);
  koi_free(made.s);
  return s;
}

koine_status koi_tok_norm_run(const koi_tok_norm *norm, size_t n_norms, const char *text, size_t n, char **out, size_t *n_out)
{
  char *now = NULL;
  size_t n_now = n;
  koi_tok_matcher m;
  koine_status s = n_norms ? koi_tok_matcher_init(&m) : KOINE_OK;
  if (s != KOINE_OK) return s;
  for (size_t i = 0; s == KOINE_OK && i < n_norms; i++) {
    char *made = NULL;
    s = run(&norm[i], &m, now ? now : text, n_now, &made, &n_now);
    if (s != KOINE_OK) break;
    koi_free(now);
    now = made;
  }
  if (n_norms) koi_tok_matcher_clear(&m);
  if (s != KOINE_OK) return koi_free(now), s;
  *out = now, *n_out = n_now;
  return KOINE_OK;
}
