/* Owns: the byte-level alphabet, and the copy of a text that patterns are matched on.
 * Does not: match, or know about tokens.
 * Invariant: a shadow has the length of its text, is valid UTF-8, and differs only inside the characters it replaces. */
#include <string.h>
#include "tok_impl.h"

/* The byte-level alphabet: printable bytes stand for themselves, the n-th of the others is U+0100 + n. */
static bool stands_for_itself(unsigned byte)
{
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

int koi_tok_uni_byte(uint32_t code)
{
  if (code < 0x100) return stands_for_itself(code) ? (int)code : -1;
  if (code <= 0x120) return (int)(code - 0x100);         /* 0x00..0x20 */
  if (code <= 0x142) return (int)(code - 0x121 + 0x7F);  /* 0x7F..0xA0 */
  return code == 0x143 ? 0xAD : -1;
}

/* ---- the shadow ----
 * Patterns ask for categories of characters. PCRE2 10.42 knows those of Unicode 14; `tokenizers` those of Unicode 16. The difference:
 * characters that 15.0, 15.1 and 16.0 added or moved, and U+180E, which PCRE2 takes for white space. Each is matched as an older
 * character of the same category and the same length in UTF-8; with a newer PCRE2 that changes nothing. tests/check_tokenizers.py
 * compares all characters. */
enum { CF, HAN, LL, LM, LO, LU, MC, MN, ND, NO, PD, PO, SM, SO, N_CLASSES };

static const char *const stand_in[N_CLASSES][2] = { /* [class][0: three bytes, 1: four bytes] */
  [CF] = {"\xE2\x81\xA0", "\xF0\x9D\x85\xB3"},  /* U+2060, U+1D173 */
  [HAN] = {"\xE4\xB8\x80", "\xF0\xA0\x80\x80"}, /* U+4E00, U+20000 */
  [LL] = {"\xE2\xB0\xB0", "\xF0\x90\x90\xA8"},  /* U+2C30, U+10428 */
  [LM] = {"\xE1\xB1\xBD", "\xF0\x9E\xA5\x8B"},  /* U+1C7D, U+1E94B */
  [LO] = {"\xE0\xA4\x84", "\xF0\x90\x80\x80"},  /* U+0904, U+10000 */
  [LU] = {"\xE2\xB0\x80", "\xF0\x90\x90\x80"},  /* U+2C00, U+10400 */
  [MC] = {"\xE0\xA4\x83", "\xF0\x91\x80\x80"},  /* U+0903, U+11000 */
  [MN] = {"\xE0\xA4\x80", "\xF0\x91\x80\x81"},  /* U+0900, U+11001 */
  [ND] = {"\xE0\xA5\xA6", "\xF0\x90\x92\xA0"},  /* U+0966, U+104A0 */
  [NO] = {"\xE2\x91\xA0", "\xF0\x90\x84\x87"},  /* U+2460, U+10107 */
  [PD] = {"\xE2\x80\x90", "\xF0\x90\xBA\xAD"},  /* U+2010, U+10EAD */
  [PO] = {"\xE2\x80\xA0", "\xF0\x90\x84\x80"},  /* U+2020, U+10100 */
  [SM] = {"\xE2\x86\x90", "\xF0\x9D\x9B\x81"},  /* U+2190, U+1D6C1 */
  [SO] = {"\xE2\x8C\x80", "\xF0\x9D\x84\x80"},  /* U+2300, U+1D100 */
};

static const struct { uint32_t first, last; uint8_t class; } newer[] = {
  {0x897, 0x897, MN}, {0xCF3, 0xCF3, MC}, {0xECE, 0xECE, MN}, {0x180E, 0x180E, CF}, {0x1B4E, 0x1B4F, PO}, {0x1B7F, 0x1B7F, PO},
  {0x1C89, 0x1C89, LU}, {0x1C8A, 0x1C8A, LL}, {0x2427, 0x2429, SO}, {0x2FFC, 0x2FFF, SO}, {0x31E4, 0x31E5, SO}, {0x31EF, 0x31EF, SO},
  {0xA7CB, 0xA7CC, LU}, {0xA7CD, 0xA7CD, LL}, {0xA7DA, 0xA7DA, LU}, {0xA7DB, 0xA7DB, LL}, {0xA7DC, 0xA7DC, LU}, {0x105C0, 0x105F3, LO},
  {0x10D40, 0x10D49, ND}, {0x10D4A, 0x10D4D, LO}, {0x10D4E, 0x10D4E, LM}, {0x10D4F, 0x10D4F, LO}, {0x10D50, 0x10D65, LU},
  {0x10D69, 0x10D6D, MN}, {0x10D6E, 0x10D6E, PD}, {0x10D6F, 0x10D6F, LM}, {0x10D70, 0x10D85, LL}, {0x10D8E, 0x10D8F, SM},
  {0x10EC2, 0x10EC4, LO}, {0x10EFC, 0x10EFF, MN}, {0x1123F, 0x11240, LO}, {0x11241, 0x11241, MN}, {0x11380, 0x11389, LO},
  {0x1138B, 0x1138B, LO}, {0x1138E, 0x1138E, LO}, {0x11390, 0x113B5, LO}, {0x113B7, 0x113B7, LO}, {0x113B8, 0x113BA, MC},
  {0x113BB, 0x113C0, MN}, {0x113C2, 0x113C2, MC}, {0x113C5, 0x113C5, MC}, {0x113C7, 0x113CA, MC}, {0x113CC, 0x113CD, MC},
  {0x113CE, 0x113CE, MN}, {0x113CF, 0x113CF, MC}, {0x113D0, 0x113D0, MN}, {0x113D1, 0x113D1, LO}, {0x113D2, 0x113D2, MN},
  {0x113D3, 0x113D3, LO}, {0x113D4, 0x113D5, PO}, {0x113D7, 0x113D8, PO}, {0x113E1, 0x113E2, MN}, {0x116D0, 0x116E3, ND},
  {0x1171E, 0x1171E, MC}, {0x11B00, 0x11B09, PO}, {0x11BC0, 0x11BE0, LO}, {0x11BE1, 0x11BE1, PO}, {0x11BF0, 0x11BF9, ND},
  {0x11F00, 0x11F01, MN}, {0x11F02, 0x11F02, LO}, {0x11F03, 0x11F03, MC}, {0x11F04, 0x11F10, LO}, {0x11F12, 0x11F33, LO},
  {0x11F34, 0x11F35, MC}, {0x11F36, 0x11F3A, MN}, {0x11F3E, 0x11F3F, MC}, {0x11F40, 0x11F40, MN}, {0x11F41, 0x11F41, MC},
  {0x11F42, 0x11F42, MN}, {0x11F43, 0x11F4F, PO}, {0x11F50, 0x11F59, ND}, {0x11F5A, 0x11F5A, MN}, {0x1342F, 0x1342F, LO},
  {0x13439, 0x1343F, CF}, {0x13440, 0x13440, MN}, {0x13441, 0x13446, LO}, {0x13447, 0x13455, MN}, {0x13460, 0x143FA, LO},
  {0x16100, 0x1611D, LO}, {0x1611E, 0x16129, MN}, {0x1612A, 0x1612C, MC}, {0x1612D, 0x1612F, MN}, {0x16130, 0x16139, ND},
  {0x16D40, 0x16D42, LM}, {0x16D43, 0x16D6A, LO}, {0x16D6B, 0x16D6C, LM}, {0x16D6D, 0x16D6F, PO}, {0x16D70, 0x16D79, ND},
  {0x18CFF, 0x18CFF, LO}, {0x1B132, 0x1B132, LO}, {0x1B155, 0x1B155, LO}, {0x1CC00, 0x1CCEF, SO}, {0x1CCF0, 0x1CCF9, ND},
  {0x1CD00, 0x1CEB3, SO}, {0x1D2C0, 0x1D2D3, NO}, {0x1DF25, 0x1DF2A, LL}, {0x1E030, 0x1E06D, LM}, {0x1E08F, 0x1E08F, MN},
  {0x1E4D0, 0x1E4EA, LO}, {0x1E4EB, 0x1E4EB, LM}, {0x1E4EC, 0x1E4EF, MN}, {0x1E4F0, 0x1E4F9, ND}, {0x1E5D0, 0x1E5ED, LO},
  {0x1E5EE, 0x1E5EF, MN}, {0x1E5F0, 0x1E5F0, LO}, {0x1E5F1, 0x1E5FA, ND}, {0x1E5FF, 0x1E5FF, PO}, {0x1F6DC, 0x1F6DC, SO},
  {0x1F774, 0x1F776, SO}, {0x1F77B, 0x1F77F, SO}, {0x1F7D9, 0x1F7D9, SO}, {0x1F8B2, 0x1F8BB, SO}, {0x1F8C0, 0x1F8C1, SO},
  {0x1FA75, 0x1FA77, SO}, {0x1FA87, 0x1FA89, SO}, {0x1FA8F, 0x1FA8F, SO}, {0x1FAAD, 0x1FAAF, SO}, {0x1FABB, 0x1FABF, SO},
  {0x1FAC6, 0x1FAC6, SO}, {0x1FACE, 0x1FACF, SO}, {0x1FADA, 0x1FADC, SO}, {0x1FADF, 0x1FADF, SO}, {0x1FAE8, 0x1FAE9, SO},
  {0x1FAF7, 0x1FAF8, SO}, {0x1FBCB, 0x1FBEF, SO}, {0x2B739, 0x2B739, HAN}, {0x2EBF0, 0x2EE5D, HAN}, {0x31350, 0x323AF, HAN}
};

static const char *replacement(uint32_t code)
{
  if (code < newer[0].first || (code >= 0x3200 && code < 0xA700)) return NULL; /* no row there: most CJK text */
  size_t lo = 0, hi = KOI_COUNT(newer);
  while (lo < hi) {
    size_t mid = (lo + hi) / 2;
    if (code > newer[mid].last) lo = mid + 1;
    else if (code < newer[mid].first) hi = mid;
    else return stand_in[newer[mid].class][code >= 0x10000];
  }
  return NULL;
}

static size_t ascii_run(const char *s, size_t n)
{
  size_t i = 0;
  for (uint64_t w; i + 8 <= n; i += 8) {
    memcpy(&w, s + i, 8);
    if (w & 0x8080808080808080u) break;
  }
  while (i < n && (unsigned char)s[i] < 0x80) i++;
  return i;
}

koine_status koi_tok_uni_shadow(const char *text, size_t n, char **out)
{
  char *copy = NULL;
  for (size_t i = 0; (i += ascii_run(text + i, n - i)) < n;) {
    uint32_t code;
    size_t len = koi_utf8_char(text + i, n - i, &code);
    const char *with = len ? replacement(code) : "\x01"; /* a stray byte counts as a control character */
    if (!len) len = 1;
    if (with) {
      if (!copy) {
        copy = koi_alloc(n, 1);
        if (!copy) return KOINE_ERR_MEMORY;
        memcpy(copy, text, n);
      }
      memcpy(copy + i, with, len);
    }
    i += len;
  }
  *out = copy;
  return KOINE_OK;
}
