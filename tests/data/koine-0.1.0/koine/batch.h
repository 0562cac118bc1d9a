/* Several sessions of one plan in common steps: their tokens go through the layers together, so that weights are read once for all. koine.h has
 * the rules. A batch does nothing by itself: evaluations and answers are added to it, and each call of koine_batch_step brings them forward. */
#ifndef KOINE_BATCH_H
#define KOINE_BATCH_H
#include "text.h"
#ifdef __cplusplus
extern "C" {
#endif

typedef struct koine_batch koine_batch;

typedef struct koine_batch_options {
  size_t size;            /* sizeof this struct */
  uint32_t tokens;        /* most tokens of a step, of all sessions together; 0: the plan's chunk, which is also the most */
  uint32_t prompt_tokens; /* most tokens of prompts in a step while another session waits for a single token, so that it does not wait for
                             long; 0: an eighth of `tokens` */
} koine_batch_options;
#define KOINE_BATCH_OPTIONS_INIT {sizeof(koine_batch_options), 0, 0}

/* A batch without sessions. options may be NULL. The plan outlives it. KOINE_ERR_STATE for a sleeping plan, KOINE_ERR_ARG for more tokens than the
 * plan's chunk. One batch is used by one thread at a time, and so are the sessions that are in it, but for koine_session_cancel. */
KOINE_API koine_status koine_batch_open(koine_plan *plan, const koine_batch_options *options, koine_batch **out);
/* What has not ended is given up as by koine_batch_drop; sessions stay open. */
KOINE_API void koine_batch_close(koine_batch *batch);

/* Begins what koine_session_eval does with the same arguments; the evaluation goes forward in the steps to come and ends in one of them. Until then
 * the session is in the batch: the other functions that evaluate with it, rewind or fork it are refused with KOINE_ERR_STATE, and so is another batch.
 * logits: [n_logits][n_vocab], must stay where it is until the end; tokens are copied. options->progress is called before every step, on
 * the thread of koine_batch_step. What is wrong with the arguments is said here; KOINE_ERR_MEMORY too leaves the session
 * outside the batch. Sessions of either cache mode go into one batch, but not into one step. */
KOINE_API koine_status koine_batch_eval(koine_batch *batch, koine_session *session, const int32_t *tokens, size_t n_tokens,
                                        const koine_eval_options *options, float *logits);
/* Begins what koine_generate does with the same arguments. Callbacks are called by koine_batch_step and must not use the batch. What the options
 * point to (tokenizer, stream, schema, stop texts) must stay until the end. */
KOINE_API koine_status koine_batch_generate(koine_batch *batch, koine_session *session, const koine_tokenizer *tokenizer, const int32_t *prompt,
                                            size_t n_prompt, const koine_generate_options *options);
/* Takes the session out: what it had begun is given up, and it holds what was finished of it. Does nothing for a session that is not in the batch. */
KOINE_API void koine_batch_drop(koine_batch *batch, koine_session *session);
/* Sessions that are in the batch. */
KOINE_API size_t koine_batch_n_sessions(const koine_batch *batch);

/* One step. First come the sessions that want a single token, as all do after their prompt; what room is left is divided among prompts, in turns. A session
 * whose evaluation or answer has ended in the step, well or not, is out of the batch, and koine_batch_ended says how: one that was cancelled, or
 * whose memory was refused, ends alone, and the others go on; when a device fails, or has no memory for the step itself, all that were in the step
 * end. Each holds what koine_session_eval would leave it. *n_ended: how many ended. Without sessions it does nothing. KOINE_ERR_MEMORY: nothing has
 * changed. */
KOINE_API koine_status koine_batch_step(koine_batch *batch, size_t *n_ended);

typedef struct koine_batch_result {
  size_t size;            /* sizeof this struct */
  koine_session *session;
  koine_status status;    /* what koine_session_eval or koine_generate would have returned */
  koine_stop stop;        /* of an answer with KOINE_OK */
  const char *message;    /* what koine_last_error would say; "" with KOINE_OK */
  const int32_t *ids;     /* [n_ids] the new tokens of an answer, with KOINE_ERR_CANCELLED too; NULL for an evaluation */
  size_t n_ids;
} koine_batch_result;
#define KOINE_BATCH_RESULT_INIT {sizeof(koine_batch_result), NULL, KOINE_OK, KOINE_STOP_EOS, NULL, NULL, 0}
/* Of what ended in the last step, 0 <= i < n_ended. Its pointers hold until the next step or the batch's close. KOINE_ERR_ARG out of range. */
KOINE_API koine_status koine_batch_ended(const koine_batch *batch, size_t i, koine_batch_result *out);

#ifdef __cplusplus
}
#endif
#endif
