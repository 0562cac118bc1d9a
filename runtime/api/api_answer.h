/* An answer while it is made, token by token; whoever evaluates calls koi_answer_next whenever the logits of all tokens so far are there. */
#ifndef KOI_API_ANSWER_H
#define KOI_API_ANSWER_H
#include "api_text.h"
#include "engine/session.h"

typedef struct koi_answer {
  koine_session *session;
  const koi_tok *tok;
  koine_generate_options o;
  koi_sampler *sampler;
  koi_sample_gate *gate;
  float *logits;       /* [n_vocab] of the last token */
  koi_tok_ids tokens;  /* prompt and answer */
  size_t n_prompt;
  uint64_t room;       /* tokens that may still come */
  int32_t mask_after;  /* the token behind which the schema holds; -1: it holds */
  koine_stop stop, full; /* why it has ended; why it would for want of room */
  bool done;
} koi_answer;

/* What is given is as koine_generate has it; `given` need not stay. */
koine_status koi_answer_open(koine_session *s, const koine_tokenizer *tokenizer, const int32_t *prompt, size_t n_prompt, const koine_generate_options *given,
                             koi_answer *out);
void koi_answer_close(koi_answer *a);
/* Of the prompt, and of each token after it. */
koine_eval_options koi_answer_eval(const koi_answer *a);
/* Chooses a token, unless the answer is done, and takes it up. */
koine_status koi_answer_next(koi_answer *a);
/* It ends with this status: what was held back is handed out. */
koine_status koi_answer_end(koi_answer *a, koine_status s);
/* The new tokens. */
static inline size_t koi_answer_n(const koi_answer *a) { return a->tokens.n > a->n_prompt ? a->tokens.n - a->n_prompt : 0; }
#endif
