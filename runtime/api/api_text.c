/* Public functions of the tokenizer. Thin. */
#include <string.h>
#include "api_text.h"
#include "model/vocab.h"

koine_status koine_tokenizer_open(const char *path, koine_tokenizer **out)
{
  if (!path || !out) return koi_missing("koine_tokenizer_open");
  koine_tokenizer *t = koi_alloc(1, sizeof *t);
  if (!t) return KOINE_ERR_MEMORY;
  koine_status s = koi_vocab_load(path, &t->tok);
  if (s) koi_free(t);
  else *out = t;
  return s;
}

void koine_tokenizer_close(koine_tokenizer *tokenizer)
{
  if (!tokenizer) return;
  koi_tok_free(tokenizer->tok);
  koi_free(tokenizer);
}

size_t koine_tokenizer_n_vocab(const koine_tokenizer *tokenizer) { return tokenizer ? koi_tok_n_vocab(tokenizer->tok) : 0; }
int32_t koine_tokenizer_bos(const koine_tokenizer *tokenizer) { return tokenizer ? koi_tok_bos(tokenizer->tok) : -1; }
int32_t koine_tokenizer_eos(const koine_tokenizer *tokenizer) { return tokenizer ? koi_tok_eos(tokenizer->tok) : -1; }

bool koine_tokenizer_is_control(const koine_tokenizer *tokenizer, int32_t id)
{
  return tokenizer && id >= 0 && (size_t)id < koi_tok_n_vocab(tokenizer->tok) && koi_tok_is_added(tokenizer->tok, id);
}

koine_status koine_tokenize(const koine_tokenizer *tokenizer, const char *text, size_t n_bytes, unsigned flags, int32_t **out, size_t *n_ids)
{
  if (!tokenizer || (n_bytes && !text) || !out || !n_ids) return koi_missing("koine_tokenize");
  koine_status s = koi_flags("koine_tokenize", flags, KOINE_TOKENIZE_SPECIAL | KOINE_TOKENIZE_BOS);
  if (s) return s;
  unsigned special = flags & KOINE_TOKENIZE_SPECIAL ? KOI_TOK_SPECIAL : 0u, bos = flags & KOINE_TOKENIZE_BOS ? KOI_TOK_BOS : 0u;
  const char *begin = "";
  size_t n_begin = 0;
  if (special && bos && koi_tok_bos(tokenizer->tok) >= 0) koi_tok_piece(tokenizer->tok, koi_tok_bos(tokenizer->tok), &begin, &n_begin);
  if (n_begin && n_bytes >= n_begin && !memcmp(text, begin, n_begin)) bos = 0; /* it is there: a second one would be another prompt */
  return koi_tok_encode(tokenizer->tok, text, n_bytes, special | bos, out, n_ids);
}

koine_status koine_detokenize(const koine_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, bool special, char **out, size_t *n_bytes)
{
  if (!tokenizer || (n_ids && !ids) || !out || !n_bytes) return koi_missing("koine_detokenize");
  return koi_tok_decode(tokenizer->tok, ids, n_ids, special ? KOI_TOK_SPECIAL : 0, out, n_bytes);
}
