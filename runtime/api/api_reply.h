/* A session and the answer that is made with it, token by token: whoever evaluates calls koi_reply_next whenever the logits of all tokens so far are there. */
#ifndef KOI_API_REPLY_H
#define KOI_API_REPLY_H
#include "api_text.h"
#include "engine/session.h"

typedef struct koi_reply {
  koine_session *session;
  koine_answer *answer;
  koine_generate_options o;
  float *logits;    /* [n_vocab] of the last token */
  size_t n_prompt;
  koine_stop stop;  /* why it has ended, after koi_reply_end */
} koi_reply;

/* What is given is as koine_generate has it; `given` need not stay. */
koine_status koi_reply_open(koine_session *s, const koine_tokenizer *tokenizer, const int32_t *prompt, size_t n_prompt, const koine_generate_options *given, koi_reply *out);
void koi_reply_close(koi_reply *t);
/* Of the prompt, and of each token after it. */
koine_eval_options koi_reply_eval(const koi_reply *t);
/* Chooses a token, unless the answer is done, and takes it up. */
koine_status koi_reply_next(koi_reply *t);
/* It ends with this status: what was held back is handed out. */
koine_status koi_reply_end(koi_reply *t, koine_status s);
/* The new tokens; *n: how many. */
const int32_t *koi_reply_ids(const koi_reply *t, size_t *n);
#endif
