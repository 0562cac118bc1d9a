/* Which tokens may come next, so that the text of an answer fits a grammar.
 *
 * Tokens are held in the order of their bytes, so that what several begin with is read once; the tokens of a state of the grammar are
 * kept with it. Added tokens never fit; those that end an answer do where the text may end.
 *
 * Threads: one mask is used by one thread at a time. */
#ifndef KOI_MASK_H
#define KOI_MASK_H
#include "grammar.h"
#include "tok.h"

typedef struct koi_mask koi_mask;

/* Takes over the grammar, which is finished, also on failure; tok must outlive the mask. mark: an added token that is the byte KOI_GRAMMAR_MARK for the
 * grammar, -1: none. Release with koi_mask_close. */
koine_status koi_mask_open(const koi_tok *tok, koi_grammar *grammar, int32_t mark, koi_mask **out);
void koi_mask_close(koi_mask *m);

/* A new text. */
koine_status koi_mask_start(koi_mask *m);
/* Sets the logits [n] of tokens that do not fit to -inf. room: tokens that the answer may still have, this one included: where it can be done, only
 * tokens are left after which the text can still be ended in time. KOINE_ERR_UNSUPPORTED when no token of the vocabulary goes on. */
koine_status koi_mask_apply(koi_mask *m, float *logits, size_t n, uint64_t room);
/* The token that was chosen. KOINE_ERR_ARG for one that does not fit. */
koine_status koi_mask_take(koi_mask *m, int32_t id);
/* The text is whole, and nothing can follow. */
bool koi_mask_ended(const koi_mask *m);
#endif
