/* Tokenizer: text to ids and back, as the checkpoint's tokenizer.json says.
 *
 * Byte-level BPE; the split patterns, added tokens, normaliser, post-processor and decoder are read from the file, and what the file
 * asks and this code does not know is refused with a message that names it. Ids are those of Hugging Face `tokenizers`.
 *
 * Text is bytes. Bytes that are no UTF-8 are kept: decode(encode(x)) is x for any x, unless a normaliser changed it.
 *
 * Threads: a koi_tok is const after koi_tok_load; any number of threads may use one at once.
 * Errors: KOINE_ERR_FILE for what a file says, KOINE_ERR_ARG for what the caller says, KOINE_ERR_MEMORY. On failure out-parameters
 * are untouched, but for koi_tok_append (see there). */
#ifndef KOI_TOK_H
#define KOI_TOK_H
#include "base/base.h"

typedef struct koi_tok koi_tok;

enum {
  KOI_TOK_SPECIAL = 1, /* encode: added tokens written in the text become their ids; without it no text yields the id of an added
                          token. decode: include the text of special tokens; without it they are left out */
  KOI_TOK_BOS = 2,     /* encode: the beginning-of-text token first; KOINE_ERR_ARG when the checkpoint names none */
  KOI_TOK_TEMPLATE = 4 /* encode: the tokens before and after that the file prescribes (post-processor, add_bos_token, add_eos_token) */
};

/* Growing list of ids. Start with {0}; the caller frees `v` with koi_free. */
typedef struct koi_tok_ids {
  int32_t *v; /* [n] */
  size_t n, cap;
} koi_tok_ids;

/* `path`: a checkpoint folder or a tokenizer.json. tokenizer_config.json and generation_config.json are read from the same folder
 * when they are there (names of the begin and end tokens). Release with koi_tok_free. */
koine_status koi_tok_load(const char *path, koi_tok **out);
/* The same from the text of a tokenizer.json, without configs. `name` stands for its path in messages. */
koine_status koi_tok_load_text(const char *name, const char *json, size_t n_bytes, koi_tok **out);
/* The begin token and the end tokens, where no config named them; -1: none. Before anyone uses tok. KOINE_ERR_FILE for ids beyond the vocabulary. */
koine_status koi_tok_set_ends(koi_tok *tok, int32_t bos, const int32_t *eos /* [n] */, size_t n);
void koi_tok_free(koi_tok *tok);

/* Ids of text[0..n_bytes); *ids is released with koi_free (it may be NULL when *n is 0). flags: SPECIAL, BOS, TEMPLATE. */
koine_status koi_tok_encode(const koi_tok *tok, const char *text, size_t n_bytes, unsigned flags, int32_t **ids, size_t *n);
/* The same, appended to `ids`. On failure `ids` may have grown, and stays valid. */
koine_status koi_tok_append(const koi_tok *tok, const char *text, size_t n_bytes, unsigned flags, koi_tok_ids *ids);
koine_status koi_tok_push(koi_tok_ids *ids, int32_t id);

/* Bytes of ids[0..n); *text is released with koi_free and has a zero byte after its *n_bytes. flags: SPECIAL. KOINE_ERR_ARG for an id
 * outside 0..n_vocab-1; an id inside that no token has gives nothing. */
koine_status koi_tok_decode(const koi_tok *tok, const int32_t *ids, size_t n, unsigned flags, char **text, size_t *n_bytes);
/* Bytes of one id, for streaming: they may be a part of a character. Lives as long as tok. Empty for an id that no token has. */
void koi_tok_piece(const koi_tok *tok, int32_t id, const char **bytes, size_t *n);

size_t koi_tok_n_vocab(const koi_tok *tok); /* highest id + 1 */
/* The id of a token by its text: added tokens first, then the vocabulary (as bytes, not in byte-level letters). -1: there is none. */
int32_t koi_tok_id(const koi_tok *tok, const char *text);
bool koi_tok_is_added(const koi_tok *tok, int32_t id);   /* in the file's added_tokens: never the result of plain text */
bool koi_tok_is_special(const koi_tok *tok, int32_t id); /* and marked special there: left out by koi_tok_decode without SPECIAL */
int32_t koi_tok_bos(const koi_tok *tok); /* -1: unknown */
int32_t koi_tok_eos(const koi_tok *tok); /* -1: unknown */
/* Whether generation ends at `id`: the end token of tokenizer_config.json and all of generation_config.json's. */
bool koi_tok_is_eos(const koi_tok *tok, int32_t id);
#endif
