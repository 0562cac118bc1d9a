/* Owns: finding added tokens in a text: leftmost first, the longest of those that begin there.
 * Does not: decide which texts are searched.
 * Invariant: what is found never begins before the end of what was found last, but for a token whose text lies in white space that
 * the last one took with it (rstrip); then it is empty of new text, as in `tokenizers`. */
#include <stdlib.h>
#include <string.h>
#include "tok_impl.h"

static int by_text(const void *a, const void *b)
{
  const koi_tok_added *x = *(koi_tok_added *const *)a, *y = *(koi_tok_added *const *)b;
  int c = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);
  return c ? c : (x->n > y->n) - (x->n < y->n);
}

void koi_tok_added_clear(koi_tok_added_set *set)
{
  koi_free(set->v);
  if (set->word) pcre2_code_free(set->word);
  *set = (koi_tok_added_set){0};
}

koine_status koi_tok_added_index(koi_tok_added *added, size_t n, bool normalized, koi_tok_added_set *set)
{
  static const char word[] = "[\\w\\x{200C}\\x{200D}]"; /* what may not touch a token that is a word of its own */
  *set = (koi_tok_added_set){.v = koi_alloc(n ? n : 1, sizeof *set->v)};
  if (!set->v) return KOINE_ERR_MEMORY;
  bool words = false;
  for (size_t i = 0; i < n; i++)
    if (added[i].normalized == normalized && added[i].n) words |= added[i].single_word, set->v[set->n++] = &added[i];
  qsort(set->v, set->n, sizeof *set->v, by_text);
  for (size_t i = 0, c = 0; c <= 256; c++) {
    while (i < set->n && (unsigned char)set->v[i]->text[0] < c) i++;
    set->first[c] = i;
  }
  return words ? koi_tok_pattern_compile("single_word", word, strlen(word), &set->word) : KOINE_OK;
}

/* The first of v[lo..hi), which agree in i bytes and are longer, whose byte i is not below c. */
static size_t bound(const koi_tok_added_set *set, size_t lo, size_t hi, size_t i, unsigned c)
{
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;
    if ((unsigned char)set->v[mid]->text[i] < c) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

/* The longest token at s: the candidates are a range of the sorted list that each further byte narrows. */
static const koi_tok_added *longest(const koi_tok_added_set *set, const char *s, size_t n)
{
  size_t lo = set->first[(unsigned char)s[0]], hi = set->first[(unsigned char)s[0] + 1];
  const koi_tok_added *best = NULL;
  for (size_t i = 1; lo < hi; i++) {
    if (set->v[lo]->n == i) best = set->v[lo++];
    if (i == n) break;
    unsigned char c = (unsigned char)s[i];
    lo = bound(set, lo, hi, i, c);
    hi = bound(set, lo, hi, i, c + 1u);
  }
  return best;
}

static bool is_space(uint32_t c)
{
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

/* Length of the character that ends at s + n. */
static size_t char_before(const char *s, size_t n, uint32_t *code)
{
  for (size_t len = 1; len <= 4 && len <= n; len++)
    if (koi_utf8_char(s + n - len, len, code) == len) return len;
  return 0;
}

static koine_status is_word(const koi_tok_added_set *set, const char *s, size_t n, bool *yes)
{
  char *shadow = NULL;
  koi_tok_matcher m;
  koi_tok_cursor c = {.last = SIZE_MAX};
  *yes = false;
  if (n == 0) return KOINE_OK;
  koine_status status = koi_tok_uni_shadow(s, n, &shadow);
  if (status == KOINE_OK && (status = koi_tok_matcher_init(&m)) == KOINE_OK) {
    status = koi_tok_matcher_next(&m, set->word, shadow ? shadow : s, n, &c, yes);
    koi_tok_matcher_clear(&m);
  }
  koi_free(shadow);
  return status;
}

/* Whether no character of a word touches s[begin..end). */
static koine_status alone(const koi_tok_added_set *set, const char *s, size_t n, size_t begin, size_t end, bool *yes)
{
  uint32_t code;
  bool before, after;
  size_t n_before = char_before(s, begin, &code), n_after = koi_utf8_char(s + end, n - end, &code);
  koine_status status = is_word(set, s + begin - n_before, n_before, &before);
  if (status == KOINE_OK) status = is_word(set, s + end, n_after, &after);
  if (status == KOINE_OK) *yes = !before && !after;
  return status;
}

koi_tok_found koi_tok_added_next(const koi_tok_added_set *set, const char *s, size_t n, size_t *from, size_t floor)
{
  for (size_t i = *from; i < n; i++) {
    if (set->first[(unsigned char)s[i]] == set->first[(unsigned char)s[i] + 1]) continue;
    const koi_tok_added *a = longest(set, s + i, n - i);
    if (!a) continue;
    size_t begin = i, end = i + a->n;
    uint32_t code;
    *from = end;
    bool whole = true;
    if (a->single_word && alone(set, s, n, begin, end, &whole) != KOINE_OK) return (koi_tok_found){n, n, -2};
    if (!whole) {
      i = end - 1;
      continue;
    }
    for (size_t len; a->lstrip && begin > floor && (len = char_before(s, begin, &code)) > 0 && is_space(code);) begin -= len;
    for (size_t len; a->rstrip && end < n && (len = koi_utf8_char(s + end, n - end, &code)) > 0 && is_space(code);) end += len;
    return (koi_tok_found){begin, end, a->id};
  }
  *from = n;
  return (koi_tok_found){n, n, -1};
}
