/* Owns: running a text through the levels of the pre-tokenizer.
 * Does not: compile patterns, know about tokens.
 * Invariant: words come in the order of the text; only the behaviour "removed" loses bytes. */
#include <string.h>
#include "tok_impl.h"

typedef struct run {
  const koi_tok_level *level;
  size_t n_levels;
  koi_tok_matcher *m;
  koi_tok_word_fn *fn;
  void *user;
} run;

typedef struct piece {
  size_t begin, end;
  bool match;
} piece;

static koine_status descend(const run *r, size_t depth, const char *text, const char *shadow, size_t n);

/* The pieces of one level on their way down, joined as its behaviour says. One piece may wait for the next. */
typedef struct joiner {
  const run *r;
  size_t depth;
  const char *text, *shadow;
  bool waiting, last_match;
  piece held;
} joiner;

static koine_status down(const joiner *j, piece p)
{
  if (p.begin == p.end) return KOINE_OK;
  return descend(j->r, j->depth + 1, j->text + p.begin, j->shadow + p.begin, p.end - p.begin);
}

static koine_status hold(joiner *j, piece p)
{
  koine_status s = j->waiting ? down(j, j->held) : KOINE_OK;
  j->held = p, j->waiting = true;
  return s;
}

static koine_status release(joiner *j)
{
  koine_status s = j->waiting ? down(j, j->held) : KOINE_OK;
  j->waiting = false;
  return s;
}

static koine_status take(joiner *j, koi_tok_behaviour behaviour, piece p)
{
  bool last = j->last_match;
  j->last_match = p.match;
  switch (behaviour) {
  case KOI_TOK_ISOLATED: return down(j, p);
  case KOI_TOK_REMOVED: return p.match ? KOINE_OK : down(j, p);
  case KOI_TOK_CONTIGUOUS:
    if (!j->waiting || p.match != last) return hold(j, p);
    j->held.end = p.end;
    return KOINE_OK;
  case KOI_TOK_WITH_PREVIOUS:
    if (!j->waiting || !p.match || last) return hold(j, p);
    j->held.end = p.end;
    return KOINE_OK;
  case KOI_TOK_WITH_NEXT: break;
  }
  if (!p.match && j->waiting) {
    j->held.end = p.end;
    return release(j);
  }
  return p.match ? hold(j, p) : down(j, p);
}

static koine_status split(const run *r, size_t depth, const char *text, const char *shadow, size_t n)
{
  const koi_tok_level *level = &r->level[depth];
  joiner j = {.r = r, .depth = depth, .text = text, .shadow = shadow};
  koi_tok_cursor c = {.last = SIZE_MAX};
  size_t done = 0;
  for (bool found;;) {
    koine_status s = koi_tok_matcher_next(r->m, level->code, shadow, n, &c, &found);
    if (s == KOINE_OK && !found) break;
    if (s == KOINE_OK && c.begin > done) s = take(&j, level->behaviour, (piece){done, c.begin, level->invert});
    if (s == KOINE_OK) s = take(&j, level->behaviour, (piece){c.begin, c.end, !level->invert});
    if (s != KOINE_OK) return s;
    done = c.end;
  }
  koine_status s = done < n ? take(&j, level->behaviour, (piece){done, n, level->invert}) : KOINE_OK;
  return s == KOINE_OK ? release(&j) : s;
}

/* A space before a piece that has none. */
static koine_status prefix(const run *r, size_t depth, const char *text, const char *shadow, size_t n)
{
  if (text[0] == ' ') return descend(r, depth + 1, text, shadow, n);
  char *both;
  size_t bytes;
  if (!koi_add(n, 1, &bytes) || !(both = koi_alloc(bytes, 2))) return koi_error(KOINE_ERR_MEMORY, "out of host memory for a word of %zu bytes", n);
  both[0] = both[bytes] = ' ';
  memcpy(both + 1, text, n);
  memcpy(both + bytes + 1, shadow, n);
  koine_status s = descend(r, depth + 1, both, both + bytes, bytes);
  koi_free(both);
  return s;
}

static koine_status descend(const run *r, size_t depth, const char *text, const char *shadow, size_t n)
{
  if (depth == r->n_levels) return r->fn(r->user, text, n);
  return r->level[depth].code ? split(r, depth, text, shadow, n) : prefix(r, depth, text, shadow, n);
}

koine_status koi_tok_split_run(const koi_tok_level *level, size_t n_levels, koi_tok_matcher *m, const char *text, const char *shadow,
                               size_t n, koi_tok_word_fn *fn, void *user)
{
  run r = {level, n_levels, m, fn, user};
  return n ? descend(&r, 0, text, shadow, n) : KOINE_OK;
}
