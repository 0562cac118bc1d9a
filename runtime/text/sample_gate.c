/* Owns: the gate between tokens and the reader of their text.
 * Does not: choose tokens (sample.c).
 * Invariant: held is whole characters, and held_marks has a byte for each of its bytes. */
#include <string.h>
#include "base/utf8.h"
#include "sample.h"

typedef struct stop {
  char *s;
  size_t n;
  size_t *back;  /* [n] length of the longest proper prefix of s[0..i] that ends it (Knuth, Morris, Pratt) */
  size_t n_seen; /* how much of s the text ends with */
} stop;

struct koi_sample_gate {
  stop *stop; /* [n_stops] */
  size_t n_stops;
  bool rests;      /* no text is a stop text */
  int which;       /* the stop text that ended the answer; -1 */
  koi_utf8 utf8;
  koi_text held;   /* text that is not given out yet */
  koi_text out;    /* what the last call gave out */
  koi_text held_marks, out_marks; /* a byte for each of theirs */
};

static koine_status stop_init(stop *t, const char *s)
{
  t->n = strlen(s);
  if (t->n == 0) return koi_error(KOINE_ERR_ARG, "an empty stop text");
  if (((unsigned char)s[0] & 0xC0) == 0x80) return koi_error(KOINE_ERR_ARG, "a stop text that begins inside a character");
  t->s = koi_strdup(s);
  t->back = koi_alloc(t->n, sizeof *t->back);
  if (!t->s || !t->back) return KOINE_ERR_MEMORY;
  for (size_t i = 1, k = 0; i < t->n; i++) {
    while (k > 0 && s[i] != s[k]) k = t->back[k - 1];
    t->back[i] = k += s[i] == s[k];
  }
  return KOINE_OK;
}

koine_status koi_sample_gate_open(const char *const *stops, size_t n_stops, koi_sample_gate **out)
{
  koi_sample_gate *g = koi_alloc(1, sizeof *g);
  if (!g) return KOINE_ERR_MEMORY;
  g->which = -1;
  g->stop = koi_alloc(n_stops ? n_stops : 1, sizeof *g->stop);
  koine_status s = g->stop ? KOINE_OK : KOINE_ERR_MEMORY;
  for (; s == KOINE_OK && g->n_stops < n_stops; g->n_stops++) s = stop_init(&g->stop[g->n_stops], stops[g->n_stops]);
  if (s == KOINE_OK) *out = g;
  else koi_sample_gate_close(g);
  return s;
}

void koi_sample_gate_close(koi_sample_gate *g)
{
  if (!g) return;
  for (size_t i = 0; g->stop && i < g->n_stops; i++) {
    koi_free(g->stop[i].s);
    koi_free(g->stop[i].back);
  }
  koi_free(g->stop);
  koi_free(g->held.s);
  koi_free(g->out.s);
  koi_free(g->held_marks.s);
  koi_free(g->out_marks.s);
  koi_free(g);
}

void koi_sample_gate_rest(koi_sample_gate *g, bool rests) { g->rests = rests; }

int koi_sample_gate_stop(const koi_sample_gate *g) { return g->which; }

/* One more byte of text. */
static void put_byte(koi_sample_gate *g, char c, char mark)
{
  size_t longest = 0;
  koi_text_bytes(&g->held, &c, 1);
  koi_text_bytes(&g->held_marks, &mark, 1);
  for (size_t i = 0; i < g->n_stops && !g->rests; i++) {
    stop *t = &g->stop[i];
    size_t k = t->n_seen;
    while (k > 0 && (k == t->n || t->s[k] != c)) k = t->back[k - 1];
    t->n_seen = k += t->s[k] == c;
    if (k == t->n && k > longest) longest = k, g->which = (int)i;
  }
  if (longest) g->held.len -= longest, g->held_marks.len -= longest;
}

/* KOI_GATE_BEGIN is for the first byte alone. */
static void put_bytes(koi_sample_gate *g, const char *s, size_t n, char mark)
{
  for (size_t i = 0; i < n && g->which < 0 && !g->held.failed && !g->held_marks.failed; i++, mark &= ~KOI_GATE_BEGIN) put_byte(g, s[i], mark);
}

/* Whether it completed a character. */
static bool take_byte(koi_sample_gate *g, char c, char mark)
{
  char text[KOI_UTF8_MOST];
  size_t n = koi_utf8_take(&g->utf8, c, text);
  put_bytes(g, text, n, mark);
  return n > 0;
}

static void end_character(koi_sample_gate *g)
{
  char text[KOI_UTF8_MOST];
  put_bytes(g, text, koi_utf8_end(&g->utf8, text), 0);
}

/* Gives out what is certain: all, but for the longest end that may begin a stop text, and that from the start of its character. */
static koine_status give(koi_sample_gate *g, bool all, const char **text, size_t *n)
{
  size_t hold = 0;
  if (g->held.failed || g->held_marks.failed) return koi_error(KOINE_ERR_MEMORY, "out of host memory for the answer's text");
  for (size_t i = 0; !all && g->which < 0 && i < g->n_stops; i++)
    if (g->stop[i].n_seen > hold) hold = g->stop[i].n_seen;
  g->out.len = g->out_marks.len = 0;
  size_t end = g->held.len - hold;
  while (end > 0 && end < g->held.len && ((unsigned char)g->held.s[end] & 0xC0) == 0x80) end--;
  koi_text_bytes(&g->out, g->held.s, end);
  koi_text_bytes(&g->out_marks, g->held_marks.s, end);
  if (g->out.failed || g->out_marks.failed) return koi_error(KOINE_ERR_MEMORY, "out of host memory for the answer's text");
  memmove(g->held.s, g->held.s + end, g->held.len - end);
  memmove(g->held_marks.s, g->held_marks.s + end, g->held_marks.len - end);
  g->held.len -= end, g->held_marks.len -= end;
  *text = g->out.s, *n = end;
  return KOINE_OK;
}

koine_status koi_sample_gate_feed(koi_sample_gate *g, const char *bytes, size_t n, char mark, const char **text, size_t *n_text, bool *stopped)
{
  koi_text_bytes(&g->held, "", 0);
  koi_text_bytes(&g->held_marks, "", 0);
  if (mark) end_character(g);
  for (size_t i = 0; i < n && g->which < 0; i++)
    if (take_byte(g, bytes[i], mark)) mark &= ~KOI_GATE_BEGIN;
  koine_status s = give(g, false, text, n_text);
  if (s == KOINE_OK) *stopped = g->which >= 0;
  return s;
}

const char *koi_sample_gate_marks(const koi_sample_gate *g) { return g->out_marks.s; }

koine_status koi_sample_gate_end(koi_sample_gate *g, const char **text, size_t *n_text)
{
  koi_text_bytes(&g->held, "", 0);
  koi_text_bytes(&g->held_marks, "", 0);
  end_character(g);
  return give(g, true, text, n_text);
}
