/* What the tok_*.c files share; nobody else includes it. Sections are named by the file that defines them. */
#ifndef KOI_TOK_IMPL_H
#define KOI_TOK_IMPL_H
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include "base/utf8.h"
#include "tok.h"

#define KOI_TOK_MAX_ID (1 << 22)  /* ids above are taken for damage: tables are sized by the highest */
#define KOI_TOK_MAX_FILE ((size_t)1 << 30) /* offsets in it fit an int */
#define KOI_TOK_MAX_LEVELS 16
#define KOI_TOK_MAX_EOS 16
#define KOI_TOK_MAX_EDGE 16       /* tokens that a post-processor puts at one end */

/* ---- tok_bpe.c: pieces, vocabulary, merges ---- */
typedef struct koi_tok_merge {
  int32_t left, right; /* left -1: free slot */
  int32_t rank, id;
} koi_tok_merge;

typedef struct koi_tok_bpe {
  size_t n_vocab, cap;     /* highest id + 1; room in at, len, flags */
  char *pool;              /* all pieces, one after the other */
  size_t pool_bytes, pool_cap;
  size_t *at;              /* [n_vocab] where a piece begins */
  uint32_t *len;           /* [n_vocab] its bytes */
  uint8_t *flags;          /* [n_vocab] KOI_TOK_PIECE_* */
  int32_t *slot;           /* [n_slots] ids by the bytes of the piece, open addressing; -1: free */
  size_t n_slots;
  koi_tok_merge *merge;    /* [n_merges] open addressing */
  size_t n_merges;
  int32_t byte_id[256];    /* -1: no such token */
  int32_t unk;             /* -1: none */
  bool fuse_unk, ignore_merges;
} koi_tok_bpe;

enum {
  KOI_TOK_PIECE_USED = 1,    /* a token has this id */
  KOI_TOK_PIECE_MAPPED = 2,  /* the file writes it in byte-level letters: plain text can give it */
  KOI_TOK_PIECE_ADDED = 4,
  KOI_TOK_PIECE_SPECIAL = 8,
  KOI_TOK_PIECE_RENAMED = 16 /* decodes to koi_tok_added.shown */
};

typedef struct koi_tok_entry koi_tok_entry; /* one cached word */
typedef struct koi_tok_words {              /* one call's word cache and scratch */
  koi_tok_entry *entry;                     /* [n_entries] NULL: no cache */
  size_t n_entries;
  void *scratch;                            /* for long words */
  size_t scratch_bytes;
} koi_tok_words;

void koi_tok_bpe_init(koi_tok_bpe *b);
void koi_tok_bpe_clear(koi_tok_bpe *b);
/* The bytes that byte-level letters stand for, into out[n]; false when the text has any other character. */
bool koi_tok_bpe_unmap(const char *text, size_t n, char *out, size_t *n_out);
/* Gives id its text, as the file writes it. */
koine_status koi_tok_bpe_piece(koi_tok_bpe *b, int32_t id, const char *text, size_t n, unsigned flags);
/* After pieces were given: makes them findable. KOINE_ERR_FILE when two have the same text. */
koine_status koi_tok_bpe_index(koi_tok_bpe *b);
/* The id of a piece by its bytes (mapped) or by a text that is not in byte-level letters; -1: none. */
int32_t koi_tok_bpe_find(const koi_tok_bpe *b, const char *bytes, size_t n, bool mapped);
/* The same by what the file writes, whichever that is. */
koine_status koi_tok_bpe_find_text(const koi_tok_bpe *b, const char *text, size_t n, int32_t *id);
/* The merges, in the order of their ranks; of a pair given twice the later one counts. */
koine_status koi_tok_bpe_merges(koi_tok_bpe *b, const koi_tok_merge *v, size_t n);
/* The word cache for a text of n_bytes. */
koine_status koi_tok_words_init(koi_tok_words *w, size_t n_bytes);
void koi_tok_words_clear(koi_tok_words *w);
/* Appends the ids of one word. plain: the id of an added token is never made. */
koine_status koi_tok_bpe_word(const koi_tok_bpe *b, koi_tok_words *w, const char *word, size_t n, bool plain, koi_tok_ids *ids);

/* ---- tok_uni.c: characters ---- */
/* A copy of the text for matching: same offsets, but valid UTF-8, and characters that an older PCRE2 does not know replaced by known
 * ones of the same length and category. *out is NULL when the text itself will do; else release with koi_free. */
koine_status koi_tok_uni_shadow(const char *text, size_t n, char **out);
/* The byte that the byte-level letter `code` stands for, -1: it is none. */
int koi_tok_uni_byte(uint32_t code);

/* ---- tok_pattern.c: patterns ---- */
/* Compiles a pattern in the file's syntax (Oniguruma's). `what` names it in messages. */
koine_status koi_tok_pattern_compile(const char *what, const char *pattern, size_t n, pcre2_code **out);
/* A pattern that matches the text itself. */
koine_status koi_tok_pattern_literal(const char *what, const char *text, size_t n, pcre2_code **out);

typedef struct koi_tok_matcher { /* one call's matching state */
  pcre2_match_data *data;
  pcre2_match_context *context;
  pcre2_jit_stack *stack;
} koi_tok_matcher;
koine_status koi_tok_matcher_init(koi_tok_matcher *m);
void koi_tok_matcher_clear(koi_tok_matcher *m);
/* Where a search stands. Start with {.last = SIZE_MAX}; begin and end are the match found. */
typedef struct koi_tok_cursor {
  size_t at, last, begin, end;
} koi_tok_cursor;
/* The next match at or after c->at, but no empty one where the last one ended. */
koine_status koi_tok_matcher_next(koi_tok_matcher *m, const pcre2_code *code, const char *s, size_t n, koi_tok_cursor *c, bool *found);

/* ---- tok_split.c: pre-tokenizer ---- */
typedef enum koi_tok_behaviour {
  KOI_TOK_ISOLATED,
  KOI_TOK_REMOVED,
  KOI_TOK_CONTIGUOUS,
  KOI_TOK_WITH_PREVIOUS,
  KOI_TOK_WITH_NEXT
} koi_tok_behaviour;

typedef struct koi_tok_level { /* one step of the pre-tokenizer */
  pcre2_code *code;            /* NULL: a space is put before a piece that does not begin with one */
  koi_tok_behaviour behaviour;
  bool invert;                 /* what lies between the matches counts as the match */
} koi_tok_level;

typedef koine_status koi_tok_word_fn(void *user, const char *word, size_t n);
/* Runs text through levels and calls fn for each word, in order. shadow: see koi_tok_uni_shadow; may be text. */
koine_status koi_tok_split_run(const koi_tok_level *level, size_t n_levels, koi_tok_matcher *m, const char *text, const char *shadow,
                               size_t n, koi_tok_word_fn *fn, void *user);

/* ---- tok_added.c: added tokens ---- */
typedef struct koi_tok_added {
  char *text; /* as it is looked for: normalised where the file says so */
  char *name; /* as the file writes it */
  char *shown; /* what it decodes to, as bytes, where normalising changed the text; else NULL */
  size_t n, n_shown;
  int32_t id;
  bool special, single_word, lstrip, rstrip, normalized;
} koi_tok_added;

typedef struct koi_tok_added_set { /* tokens that are looked for in the same text */
  koi_tok_added **v;               /* [n] sorted by text */
  size_t n;
  size_t first[257];               /* v[first[c]..first[c+1]) begin with byte c */
  pcre2_code *word;                /* a character of a word; NULL when no token asks */
} koi_tok_added_set;

typedef struct koi_tok_found {
  size_t begin, end;
  int32_t id; /* -1: the rest of the text has no token; -2: out of memory (the error is set) */
} koi_tok_found;

koine_status koi_tok_added_index(koi_tok_added *added, size_t n, bool normalized, koi_tok_added_set *set);
void koi_tok_added_clear(koi_tok_added_set *set);
/* The next token of the set at or after *from (moved on); `floor` is the end of the one before. */
koi_tok_found koi_tok_added_next(const koi_tok_added_set *set, const char *s, size_t n, size_t *from, size_t floor);

/* ---- tok_norm.c: normaliser ---- */
typedef struct koi_tok_norm { /* one step: put `with` for each match, or before the text */
  pcre2_code *code;           /* NULL: before the text */
  char *with;
  size_t n_with;
} koi_tok_norm;
/* *out is NULL when nothing changes; else release with koi_free. */
koine_status koi_tok_norm_run(const koi_tok_norm *norm, size_t n_norms, const char *text, size_t n, char **out, size_t *n_out);

/* ---- tok.c ---- */
struct koi_tok {
  char *path; /* of tokenizer.json */
  koi_tok_bpe bpe;
  koi_tok_norm norm[KOI_TOK_MAX_LEVELS];
  size_t n_norms;
  koi_tok_level level[KOI_TOK_MAX_LEVELS];
  size_t n_levels;
  bool byte_level, byte_level_decoder; /* seen in the file */
  koi_tok_added *added; /* [n_added] */
  size_t n_added;
  koi_tok_added_set raw, normalized; /* looked for before and after normalising */
  int32_t before[KOI_TOK_MAX_EDGE], after[KOI_TOK_MAX_EDGE];
  size_t n_before, n_after;
  int32_t bos, eos[KOI_TOK_MAX_EOS];
  size_t n_eos;
};

/* ---- tok_vocab.c: the two large tables of tokenizer.json ---- */
/* Reads model.vocab and model.merges from the text of the file; *rest is the file without them, for a parser that makes a tree. */
koine_status koi_tok_vocab_read(const char *text, size_t n, koi_tok_bpe *b, char **rest, size_t *n_rest);

/* ---- tok_file.c: tokenizer.json's model and added tokens, and the configs beside it ---- */
koine_status koi_tok_file_read(koi_tok *tok, const char *text, size_t n); /* of the file tok->path */
koine_status koi_tok_file_configs(koi_tok *tok, const char *folder); /* after koi_tok_file_read */

/* ---- tok_steps.c: its normaliser, pre-tokenizer, post-processor and decoder ---- */
struct json_object;
/* Member `key` of an object, NULL when there is none or it is null. */
struct json_object *koi_tok_json_get(struct json_object *from, const char *key);
koine_status koi_tok_json_bool(struct json_object *from, const char *key, bool absent, bool *out);
koine_status koi_tok_json_text(struct json_object *from, const char *key, const char **s, size_t *n); /* must be there */
koine_status koi_tok_steps_read(struct json_object *root, koi_tok *tok);
#endif
