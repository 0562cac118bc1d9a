/* What an op left in a buffer against what the reference left: element by element, with the allowed differences. Owns nothing. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "verify_case.h"

static uint32_t word_at(const uint8_t *p, size_t i)
{
  uint32_t u;
  memcpy(&u, p + 4 * i, 4);
  return u;
}

static float float_at(const uint8_t *p, size_t i)
{
  float f;
  memcpy(&f, p + 4 * i, 4);
  return f;
}

/* FP4 codes with -0 as 0. */
static uint32_t without_minus_zero(uint32_t codes)
{
  uint32_t out = codes;
  for (int s = 0; s < 32; s += 4)
    if ((codes >> s & 15) == 8) out &= ~(15u << s);
  return out;
}

static bool equal(const koi_verify_slot *s, size_t i)
{
  uint32_t want = word_at(s->want, i), got = word_at(s->got, i);
  if (want == got) return true;
  if (s->kind == KOI_VERIFY_FP4) return without_minus_zero(want) == without_minus_zero(got);
  if (s->kind != KOI_VERIFY_F32 || want == KOI_VERIFY_POISON || got == KOI_VERIFY_POISON) return false;
  float w = float_at(s->want, i), g = float_at(s->got, i);
  if (w != w || g != g) return w != w && g != g;
  return w == g || fabsf(w - g) <= (s->bound ? s->bound[i] : 0);
}

/* Says what is wrong at element i of a slot of 4-byte elements. */
static void say(const koi_verify_slot *s, const char *name, size_t i, char *out)
{
  uint32_t want = word_at(s->want, i), got = word_at(s->got, i);
  bool poisoned = s->kind != KOI_VERIFY_RAW && word_at(s->in, i) == KOI_VERIFY_POISON;
  if (poisoned && want == KOI_VERIFY_POISON) snprintf(out, KOI_VERIFY_TEXT, "%s[%zu]: written (0x%08x), expected to be left alone", name, i, got);
  else if (poisoned && got == KOI_VERIFY_POISON) snprintf(out, KOI_VERIFY_TEXT, "%s[%zu]: not written", name, i);
  else if (s->kind == KOI_VERIFY_F32)
    snprintf(out, KOI_VERIFY_TEXT, "%s[%zu]: expected %.9g, found %.9g (allowed difference %.3g)", name, i, (double)float_at(s->want, i),
             (double)float_at(s->got, i), s->bound ? (double)s->bound[i] : 0.0);
  else if (s->kind == KOI_VERIFY_I32) snprintf(out, KOI_VERIFY_TEXT, "%s[%zu]: expected %d, found %d", name, i, (int)want, (int)got);
  else snprintf(out, KOI_VERIFY_TEXT, "%s[%zu]: expected 0x%08x, found 0x%08x", name, i, want, got);
}

bool koi_verify_compare(const koi_verify_slot *s, const koi_buf_desc *desc, bool bare, char *out)
{
  bool skip = bare && !(desc->access & KOI_IN);
  if (s->kind == KOI_VERIFY_RAW) {
    for (size_t i = 0; i < s->bytes; i++) {
      if (s->want[i] == s->got[i] || (skip && s->want[i] == s->in[i])) continue;
      snprintf(out, KOI_VERIFY_TEXT, "%s, byte %zu: expected 0x%02x, found 0x%02x", desc->name, i, s->want[i], s->got[i]);
      return false;
    }
    return true;
  }
  for (size_t i = 0; i < s->bytes / 4; i++) {
    if (equal(s, i) || (skip && word_at(s->want, i) == word_at(s->in, i))) continue;
    say(s, desc->name, i, out);
    return false;
  }
  return true;
}
