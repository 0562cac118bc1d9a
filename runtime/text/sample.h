/* Choosing tokens, and giving out their text.
 *
 * A sampler holds its parameters, its random numbers and the counts that penalties need. The same seed, the same logits and the same
 * calls give the same tokens. Order of the steps: penalties, then (temperature 0) the greatest logit; else temperature, top-k, top-p,
 * min-p, one draw. Among equal logits the lower id comes first, everywhere.
 *
 * A gate takes the bytes of generated tokens and gives out text: at UTF-8 boundaries, at once, but for what may still become a stop
 * text. What is no UTF-8 is given out as U+FFFD. However the bytes are cut, the text in all is the same.
 *
 * Threads: one sampler or gate is used by one thread at a time. */
#ifndef KOI_SAMPLE_H
#define KOI_SAMPLE_H
#include "base/base.h"

typedef struct koi_sample_params {
  float temperature;        /* 0: greedy */
  int32_t top_k;            /* the k most likely; 0: all */
  float top_p;              /* the fewest most likely that have this much of the probability; 1: all */
  float min_p;              /* at least this fraction of the greatest probability; 0: all */
  float repetition_penalty; /* of tokens in prompt and answer: positive logits are divided by it, negative multiplied; 1: none */
  float presence_penalty;   /* subtracted once for a token of the answer; 0: none */
  float frequency_penalty;  /* subtracted for each time it is in the answer; 0: none */
  uint64_t seed;
} koi_sample_params;

typedef struct koi_sampler koi_sampler;

/* KOINE_ERR_ARG names a parameter that is out of range. Release with koi_sample_close. */
koine_status koi_sample_open(const koi_sample_params *params, size_t n_vocab, koi_sampler **out);
void koi_sample_close(koi_sampler *sampler);
/* As just opened: no token seen, the seed anew. */
void koi_sample_reset(koi_sampler *sampler);
/* No token seen, but the random numbers go on. */
void koi_sample_forget(koi_sampler *sampler);
/* A token that penalties leave alone. */
void koi_sample_exempt(koi_sampler *sampler, int32_t id);
/* Tokens that the penalties are to know of. Ids outside the vocabulary are passed over. */
void koi_sample_see_prompt(koi_sampler *sampler, const int32_t *ids, size_t n);
void koi_sample_see(koi_sampler *sampler, int32_t id); /* a token of the answer; koi_sample_next does not do it itself */
/* Chooses from logits[n_vocab]. A logit of -inf is never chosen. KOINE_ERR_NUMERIC when one is NaN or +inf, or all are -inf; the
 * message names `op`, which made them. */
koine_status koi_sample_next(koi_sampler *sampler, const float *logits, const char *op, int32_t *id);
/* Only the check: KOINE_ERR_NUMERIC as above. */
koine_status koi_sample_check(const float *logits, size_t n, const char *op);

/* ---- giving out text ---- */
typedef struct koi_sample_gate koi_sample_gate;

/* stops [n_stops]: texts that end the answer, none empty; copied. KOINE_ERR_ARG for an empty one. */
koine_status koi_sample_gate_open(const char *const *stops, size_t n_stops, koi_sample_gate **out);
void koi_sample_gate_close(koi_sample_gate *gate);
/* The bytes of one token (or any piece). *text, *n_text: what may be given out now; it lives until the next call. *stopped: a stop text
 * is complete; the text then ends before it, and later bytes give nothing. Of several stop texts the one that is complete first
 * counts; of those complete at the same byte the longest. mark: 0, or what is done with bytes that are a token of their own, so that no character goes
 * over its edges: BEGIN marks the first one alone, HIDDEN all. */
enum { KOI_GATE_BEGIN = 1, KOI_GATE_HIDDEN = 2 };
koine_status koi_sample_gate_feed(koi_sample_gate *gate, const char *bytes, size_t n, char mark, const char **text, size_t *n_text, bool *stopped);
/* The marks of the text that was given out last, a byte for each of its bytes. */
const char *koi_sample_gate_marks(const koi_sample_gate *gate);
/* While it rests no text is a stop text. */
void koi_sample_gate_rest(koi_sample_gate *gate, bool rests);
/* The end of the answer: gives out what was held back. */
koine_status koi_sample_gate_end(koi_sample_gate *gate, const char **text, size_t *n_text);
/* Which stop text ended the answer, as an index; -1: none. */
int koi_sample_gate_stop(const koi_sample_gate *gate);
#endif
