/* Fuzzer for tokenizer.json and for texts. The input is a tokenizer.json, a zero byte, and a text; without a zero byte the text is fixed.
 * Whatever the file says, an error or ids; what loads gives the bytes of the text back, unless a step changed or removed some. */
#define _GNU_SOURCE /* memmem */
#include "text/tok.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static size_t count(const char *in, size_t n, const char *word)
{
  size_t found = 0;
  for (const char *p = in; (p = memmem(p, n - (size_t)(p - in), word, strlen(word))); p++) found++;
  return found;
}

/* Whether the text must come back: only when nothing in the file looks as if it could lose or change bytes. */
static bool must_keep(const char *json, size_t n)
{
  static const char *const words[] = {"Removed", "WhitespaceSplit", "CharDelimiterSplit", "Replace", "Prepend", "unk_token", "\\u"};
  for (size_t i = 0; i < KOI_COUNT(words); i++)
    if (count(json, n, words[i])) return false;
  return count(json, n, "add_prefix_space") == 1 && count(json, n, "\"add_prefix_space\": false") == 1 && count(json, n, "ByteLevel") == 2;
}

static void one_text(const koi_tok *tok, const char *text, size_t n, unsigned flags, bool same)
{
  int32_t *ids;
  size_t n_ids, n_back;
  char *back;
  if (koi_tok_encode(tok, text, n, flags, &ids, &n_ids)) return;
  for (size_t i = 0; i < n_ids; i++)
    if (ids[i] < 0 || (size_t)ids[i] >= koi_tok_n_vocab(tok)) abort();
  if (koi_tok_decode(tok, ids, n_ids, KOI_TOK_SPECIAL, &back, &n_back)) abort();
  if (same && flags == 0 && (n_back != n || memcmp(back, text, n))) abort();
  koi_free(back);
  koi_free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
  static const char fixed[] = "Hello  world 123\n\xE4\xBD\xA0\xE5\xA5\xBD\xFF aab <x>";
  const char *json = (const char *)data, *zero = n ? memchr(json, 0, n) : NULL;
  size_t n_json = zero ? (size_t)(zero - json) : n;
  koi_tok *tok;
  if (koi_tok_load_text("fuzz", json, n_json, &tok)) return 0;
  bool same = must_keep(json, n_json);
  const char *text = zero ? zero + 1 : fixed;
  size_t n_text = zero ? n - n_json - 1 : sizeof fixed - 1;
  for (unsigned flags = 0; flags < 8; flags++) one_text(tok, text, n_text, flags, same);
  koi_tok_free(tok);
  return 0;
}
