/* Owns: regular expressions as a grammar of JSON string contents, or of text as it is: a tree is read, then written from its end.
 * Does not: look around, refer back, or know classes of Unicode: such a pattern is refused with the place.
 * Invariant: in JSON a character that it escapes is written as its escape, any other as itself. */
#include <string.h>
#include "schema_impl.h"

typedef enum shape { EMPTY, SET, OTHER_CHAR, SEQUENCE, CHOICE, REPEATED } shape;
typedef struct tree {
  shape shape;
  uint64_t ascii[2];  /* SET: these characters, and if `beyond` all that are not ASCII */
  bool beyond;
  char bytes[5];      /* OTHER_CHAR: one character in UTF-8 */
  uint32_t a, b;      /* the parts; REPEATED: a */
  uint32_t least, most;
} tree;

typedef struct reader {
  koi_schema *c;
  const char *path, *all, *p;
  tree *v;
  size_t n, cap;
  int depth;
  bool choice; /* of the whole pattern, not of a group */
} reader;

enum { DEEPEST = 60, MOST_TIMES = 1000, LONGEST = 4000 };

static uint32_t wrong(reader *r, const char *what)
{
  koi_schema_fail(r->c, r->path, "\"pattern\" %s at character %zu: %s", r->all, (size_t)(r->p - r->all), what);
  return 0;
}

static uint32_t add(reader *r, tree t)
{
  if (r->n == r->cap) {
    size_t cap = r->cap ? r->cap * 2 : 32;
    tree *v = koi_realloc(r->v, cap, sizeof *v);
    koi_schema_keep(r->c, v);
    if (!v) return 0;
    r->v = v, r->cap = cap;
  }
  r->v[r->n] = t;
  return (uint32_t)r->n++;
}

/* ---- characters ---- */
static void include(tree *t, unsigned from, unsigned to)
{
  for (unsigned b = from; b <= to && b < 128; b++) t->ascii[b / 64] |= (uint64_t)1 << b % 64;
}

static void complement(tree *t) { t->ascii[0] = ~t->ascii[0], t->ascii[1] = ~t->ascii[1], t->beyond = !t->beyond; }

/* \d, \w, \s and their opposites; false: it is none of them. */
static bool class_letter(char letter, tree *t)
{
  tree one = {.shape = SET};
  switch (letter | 0x20) {
  case 'd': include(&one, '0', '9'); break;
  case 'w': include(&one, '0', '9'), include(&one, 'a', 'z'), include(&one, 'A', 'Z'), include(&one, '_', '_'); break;
  case 's': include(&one, '\t', '\r'), include(&one, ' ', ' '); break;
  default: return false;
  }
  if (letter < 'a') complement(&one), one.beyond = false; /* some count what is beyond ASCII as digits, letters or space: left out */
  t->ascii[0] |= one.ascii[0], t->ascii[1] |= one.ascii[1], t->beyond |= one.beyond;
  return true;
}

/* The character behind a backslash; -1: an escape that is not known. */
static int escaped(char letter)
{
  static const char names[] = "nrtfv", values[] = "\n\r\t\f\v";
  const char *known = letter ? strchr(names, letter) : NULL;
  if (known) return values[known - names];
  return letter && !koi_is_letter(letter) && !koi_is_digit(letter) && (unsigned char)letter < 128 ? letter : -1;
}

/* One end of a range in a class; -1 after an error, -2: a class was taken. */
static int class_member(reader *r, tree *t)
{
  unsigned char ch = (unsigned char)*r->p;
  if (!ch) return (int)wrong(r, "expected ]") - 1;
  if (ch >= 0x80) return (int)wrong(r, "a class of characters beyond ASCII is not supported") - 1;
  r->p++;
  if (ch != '\\') return ch;
  char letter = *r->p;
  if (letter) r->p++;
  if (class_letter(letter, t)) return -2;
  int known = letter == 'b' ? '\b' : escaped(letter);
  return known >= 0 ? known : (int)wrong(r, "an escape that is not supported") - 1;
}

static uint32_t read_class(reader *r)
{
  tree t = {.shape = SET};
  bool not = *r->p == '^', letters = false;
  if (not) r->p++;
  while (*r->p != ']' && !r->c->status) {
    int from = class_member(r, &t), to = from;
    letters |= from == -2;
    if (from == -2) continue;
    if (r->p[0] == '-' && r->p[1] && r->p[1] != ']') r->p++, to = class_member(r, &t);
    if (to == -2) return wrong(r, "a class as the end of a range");
    if (!r->c->status && to < from) return wrong(r, "a range that ends before it begins");
    if (!r->c->status) include(&t, (unsigned)from, (unsigned)to);
  }
  if (r->c->status) return 0;
  r->p++;
  if (not) complement(&t), t.beyond &= !letters;
  return add(r, t);
}

/* A character beyond ASCII is its bytes, which are whole: the schema is UTF-8. */
static uint32_t read_other(reader *r)
{
  tree t = {.shape = OTHER_CHAR};
  size_t n = 0;
  do t.bytes[n++] = *r->p++;
  while (n < 4 && ((unsigned char)*r->p & 0xc0) == 0x80);
  return add(r, t);
}

/* ---- the tree ---- */
static uint32_t read_choice(reader *r);

static uint32_t read_group(reader *r)
{
  if (r->p[0] == '?' && r->p[1] == ':') r->p += 2;
  else if (r->p[0] == '?') return wrong(r, "only plain groups and (?: are supported");
  uint32_t t = read_choice(r);
  if (!r->c->status && *r->p != ')') return wrong(r, "expected )");
  r->p++;
  return t;
}

static uint32_t read_atom(reader *r)
{
  tree t = {.shape = SET};
  char ch = *r->p;
  if ((unsigned char)ch >= 0x80) return read_other(r);
  r->p++;
  switch (ch) {
  case '(': return read_group(r);
  case '[': return read_class(r);
  case '.': include(&t, '\n', '\n'), include(&t, '\r', '\r'), complement(&t); return add(r, t);
  case '^': case '$': return r->p--, wrong(r, "^ and $ are supported at the ends of the whole pattern only");
  case '*': case '+': case '?': case '{': case '}': case ']': return r->p--, wrong(r, "nothing to repeat, or a bracket that is not opened");
  case '\\': break;
  default: include(&t, (unsigned char)ch, (unsigned char)ch); return add(r, t);
  }
  char letter = *r->p;
  if (class_letter(letter, &t)) return r->p++, add(r, t);
  int known = escaped(letter);
  if (known < 0) return wrong(r, "an escape that is not supported");
  r->p++;
  include(&t, (unsigned)known, (unsigned)known);
  return add(r, t);
}

static uint32_t read_number(reader *r)
{
  uint32_t n = 0;
  if (!koi_is_digit(*r->p)) return wrong(r, "expected a number");
  for (; koi_is_digit(*r->p); r->p++) n = n < MOST_TIMES * 10 ? n * 10 + (uint32_t)(*r->p - '0') : n;
  return n <= MOST_TIMES ? n : wrong(r, "a part is repeated more than 1000 times");
}

static uint32_t read_times(reader *r)
{
  uint32_t t = read_atom(r);
  while (!r->c->status && *r->p && strchr("*+?{", *r->p)) {
    tree rep = {.shape = REPEATED, .a = t, .least = *r->p == '+', .most = *r->p == '?' ? 1 : KOI_GRAMMAR_ENDLESS};
    if (*r->p++ == '{') {
      rep.least = rep.most = read_number(r);
      if (*r->p == ',') r->p++, rep.most = *r->p == '}' ? KOI_GRAMMAR_ENDLESS : read_number(r);
      if (!r->c->status && (*r->p != '}' || rep.least > rep.most)) return wrong(r, "expected {n}, {n,} or {n,m}");
      r->p++;
    }
    if (*r->p == '?') r->p++; /* lazy: the same texts */
    t = add(r, rep);
  }
  return t;
}

static uint32_t read_sequence(reader *r)
{
  uint32_t all = add(r, (tree){.shape = EMPTY});
  bool first = true;
  while (!r->c->status && *r->p && *r->p != '|' && *r->p != ')' && !(r->p[0] == '$' && !r->p[1])) {
    uint32_t one = read_times(r);
    all = first ? one : add(r, (tree){.shape = SEQUENCE, .a = all, .b = one});
    first = false;
  }
  return all;
}

static uint32_t read_choice(reader *r)
{
  if (++r->depth > DEEPEST) return wrong(r, "too many groups in groups");
  uint32_t all = read_sequence(r);
  while (!r->c->status && *r->p == '|') {
    r->p++;
    uint32_t other = read_sequence(r);
    all = add(r, (tree){.shape = CHOICE, .a = all, .b = other});
    r->choice |= r->depth == 1;
  }
  r->depth--;
  return all;
}

/* ---- writing ---- */
static uint32_t write_set(koi_schema *c, const tree *t, uint32_t next)
{
  static const char escapes[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
  koi_byte_set plain = {0};
  uint32_t all = KOI_GRAMMAR_NEVER;
  bool any = false, json = c->character == c->basic[KOI_JSON_CHAR];
  for (unsigned b = 1; b < 128; b++) {
    if (!(t->ascii[b / 64] >> b % 64 & 1)) continue;
    const char *known = strchr(escapes, (int)b);
    char code[8];
    if (json ? !known && b >= 0x20 : b == '\t' || b == '\n' || (b >= 0x20 && b < 0x7f)) {
      koi_byte_set_add(&plain, b, b), any = true;
      continue;
    }
    if (!json) continue;
    if (known) koi_print(code, sizeof code, "\\%c", letters[known - escapes]);
    else koi_print(code, sizeof code, "\\u%04x", b);
    all = koi_grammar_either(c->g, koi_schema_word(c, code, next), all);
  }
  if (t->beyond) all = koi_grammar_either(c->g, koi_grammar_call(c->g, c->basic[KOI_JSON_OTHER], next), all);
  return any ? koi_grammar_either(c->g, koi_grammar_bytes(c->g, &plain, next), all) : all;
}

static uint32_t write_tree(const reader *r, uint32_t at, uint32_t next)
{
  const tree *t = &r->v[at];
  koi_grammar *g = r->c->g;
  switch (t->shape) {
  case EMPTY: return next;
  case SET: return write_set(r->c, t, next);
  case OTHER_CHAR: return koi_schema_word(r->c, t->bytes, next);
  case SEQUENCE: return write_tree(r, t->a, write_tree(r, t->b, next));
  case CHOICE: return koi_grammar_either(g, write_tree(r, t->a, next), write_tree(r, t->b, next));
  case REPEATED: break;
  }
  uint32_t rule = koi_grammar_rule(g);
  koi_grammar_set(g, rule, write_tree(r, t->a, KOI_GRAMMAR_END));
  return koi_grammar_repeat(g, rule, t->least, t->most, next);
}

uint32_t koi_schema_pattern(koi_schema *c, const char *pattern, const char *path, uint32_t next)
{
  reader r = {.c = c, .path = path, .all = pattern, .p = pattern};
  uint32_t all = KOI_GRAMMAR_NEVER, open = koi_grammar_repeat(c->g, c->character, 0, KOI_GRAMMAR_ENDLESS, next);
  bool begins = *pattern == '^';
  if (strlen(pattern) > LONGEST) wrong(&r, "more than 4000 bytes");
  if (begins) r.p++;
  uint32_t t = read_choice(&r);
  bool ends = *r.p == '$';
  if (!c->status && *r.p && !ends) wrong(&r, "a ) that is not opened");
  if (!c->status && (begins || ends) && r.choice) wrong(&r, "^ and $ around alternatives need a group: ^(a|b)$");
  if (!c->status) all = write_tree(&r, t, ends ? next : open);
  if (!c->status && !begins) all = koi_grammar_repeat(c->g, c->character, 0, KOI_GRAMMAR_ENDLESS, all);
  koi_free(r.v);
  return all;
}
