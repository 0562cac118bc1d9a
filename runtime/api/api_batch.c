/* Public functions of batches: arguments, answers on top of evaluations, how things ended. Owns answers under way and what has ended in the last step.
 * Invariant: a session's `batch` is the one that has a job of it. */
#include <string.h>
#include "api_reply.h"
#include "base/record.h"
#include "engine/batch.h"

struct koine_batch {
  koi_batch jobs;
  koi_job *ended; size_t n_ended; /* in the last step, linked */
};

/* ---- in and out ---- */
static void free_job(koi_job *j)
{
  if (j->user) koi_reply_close(j->user);
  koi_free(j->user);
  koi_job_free(j);
}

static void forget_ended(koine_batch *b)
{
  for (koi_job *j = b->ended, *next; j; j = next) {
    next = j->next;
    free_job(j);
  }
  b->ended = NULL, b->n_ended = 0;
}

/* Out of the batch; the session is free. */
static void take(koine_batch *b, koi_job *j)
{
  koi_batch_take(&b->jobs, j);
  j->session->batch = NULL;
}

koine_status koine_batch_open(koine_plan *plan, const koine_batch_options *options, koine_batch **out)
{
  if (!plan || !out) return koi_missing("koine_batch_open");
  koine_batch_options own;
  koine_status s = KOI_TAKE(koine_batch_options, options, &own);
  if (!s) s = koi_engine_need(plan);
  koine_batch *b = s ? NULL : koi_alloc(1, sizeof *b);
  if (!s) s = b ? koi_batch_open(plan, own.tokens, own.prompt_tokens, &b->jobs) : KOINE_ERR_MEMORY;
  if (s) koi_free(b);
  else *out = b;
  return s;
}

void koine_batch_close(koine_batch *b)
{
  if (!b) return;
  while (b->jobs.n_jobs) koine_batch_drop(b, b->jobs.jobs[0]->session);
  forget_ended(b);
  koi_batch_close(&b->jobs);
  koi_free(b);
}

void koine_batch_drop(koine_batch *b, koine_session *session)
{
  if (!b || !session || session->batch != b) return;
  size_t i = 0;
  while (b->jobs.jobs[i]->session != session) i++;
  koi_job *j = b->jobs.jobs[i];
  take(b, j);
  free_job(j);
}

size_t koine_batch_n_sessions(const koine_batch *b) { return b ? b->jobs.n_jobs : 0; }

static koine_status add(koine_batch *b, koine_session *s, const int32_t *tokens, size_t n, const koine_eval_options *o, float *logits, koi_reply *answer)
{
  koi_job *j;
  atomic_store(&s->cancelled, false);
  koine_status st = koi_batch_add(&b->jobs, s, tokens, n, o, logits, &j);
  if (!st) s->batch = b, j->user = answer;
  return st;
}

koine_status koine_batch_eval(koine_batch *b, koine_session *session, const int32_t *tokens, size_t n_tokens, const koine_eval_options *options, float *logits)
{
  if (!b || !session || (n_tokens && !tokens)) return koi_missing("koine_batch_eval");
  koine_eval_options own;
  koine_status s = KOI_TAKE(koine_eval_options, options, &own);
  if (!s) s = koi_session_alone(session, "koine_batch_eval");
  return s ? s : add(b, session, tokens, n_tokens, options ? &own : NULL, logits, NULL);
}

koine_status koine_batch_generate(koine_batch *b, koine_session *session, const koine_tokenizer *tokenizer, const int32_t *prompt, size_t n_prompt,
                                  const koine_generate_options *options)
{
  if (!b || !session || !tokenizer || !prompt || !options) return koi_missing("koine_batch_generate");
  koine_status s = koi_session_alone(session, "koine_batch_generate");
  koi_reply *a = s ? NULL : koi_alloc(1, sizeof *a);
  if (!s) s = a ? koi_reply_open(session, tokenizer, prompt, n_prompt, options, a) : KOINE_ERR_MEMORY;
  if (s) {
    koi_free(a);
    return s;
  }
  koine_eval_options e = koi_reply_eval(a);
  s = add(b, session, prompt, n_prompt, &e, a->logits, a);
  if (s) koi_reply_close(a), koi_free(a);
  return s;
}

/* ---- steps ---- */
/* The answer's next token, and the evaluation of it, where the logits for it have come. */
static void go_on(koi_job *j)
{
  koi_reply *a = j->user;
  size_t n;
  koine_status s = koi_reply_next(a);
  const int32_t *tokens = koine_answer_tokens(a->answer, &n);
  koine_eval_options e = koi_reply_eval(a);
  if (s) koi_job_end(j, s);
  else if (!koine_answer_is_ended(a->answer)) koi_batch_again(j, tokens, n, &e, a->logits);
}

/* What an evaluation or an answer still has to do at its end. */
static void conclude(koi_job *j)
{
  koine_status s = j->status;
  if (j->user) s = koi_reply_end(j->user, s);
  else if (!s) s = koi_session_check_logits(j->session, j->work.logits, j->work.n_logits);
  if (s != j->status) koi_job_end(j, s);
}

koine_status koine_batch_step(koine_batch *b, size_t *n_ended)
{
  if (!b || !n_ended) return koi_missing("koine_batch_step");
  koine_status s = koi_batch_step(&b->jobs);
  if (s) return s;
  forget_ended(b);
  for (size_t i = 0; i < b->jobs.n_jobs;) {
    koi_job *j = b->jobs.jobs[i];
    if (j->ended && j->user && !j->status) go_on(j);
    if (!j->ended) {
      i++;
      continue;
    }
    conclude(j);
    take(b, j);
    j->next = b->ended, b->ended = j, b->n_ended++;
  }
  *n_ended = b->n_ended;
  return KOINE_OK;
}

koine_status koine_batch_ended(const koine_batch *b, size_t i, koine_batch_result *out)
{
  if (!b || !out) return koi_missing("koine_batch_ended");
  if (i >= b->n_ended) return koi_error(KOINE_ERR_ARG, "nothing with number %zu has ended in the last step, of %zu", i, b->n_ended);
  const koi_job *j = b->ended;
  while (i--) j = j->next;
  koine_batch_result own = {.session = j->session, .status = j->status, .message = j->why};
  const koi_reply *a = j->user;
  if (a) own.stop = a->stop, own.ids = koi_reply_ids(a, &own.n_ids);
  KOI_GIVE(koine_batch_result, &own, out);
  return KOINE_OK;
}
