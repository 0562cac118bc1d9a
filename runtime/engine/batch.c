/* See batch.h. Owns the jobs and their tokens, not the sessions. Invariant: a job that has not ended has tokens to evaluate, or ends in the next step. */
#include "batch.h"
#include <string.h>

enum { PROMPT_PART = 8 /* of a step's tokens, while others decode */, LEAST_PIECE = 16 /* of a prompt, as far as there is room */ };

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* ---- jobs ---- */
koine_status koi_batch_open(koine_plan *plan, uint32_t tokens, uint32_t prompt_tokens, koi_batch *out)
{
  if (tokens > plan->chunk) return koi_error(KOINE_ERR_ARG, "steps of %u tokens: the plan was made for at most %u", tokens, plan->chunk);
  *out = (koi_batch){.plan = plan, .tokens = tokens ? tokens : plan->chunk};
  if (!prompt_tokens) prompt_tokens = (uint32_t)koi_ceil_div(out->tokens, PROMPT_PART);
  out->prompt_tokens = prompt_tokens < out->tokens ? prompt_tokens : out->tokens;
  return KOINE_OK;
}

void koi_batch_close(koi_batch *b)
{
  koi_free(b->jobs);
  koi_free(b->served);
}

void koi_job_end(koi_job *j, koine_status s)
{
  j->ended = true, j->status = s;
  if (s) koi_print(j->why, sizeof j->why, "%s", koi_error_text());
}

static koine_status begin(koi_job *j, const int32_t *tokens, size_t n_tokens, float *logits)
{
  koine_status s = koi_session_begin(j->session, tokens, n_tokens, &j->options, logits, &j->work);
  if (s) return s;
  size_t n = j->work.n - j->work.first;
  int32_t *own = koi_realloc(j->tokens, n + 1, sizeof *own);
  if (!own) return KOINE_ERR_MEMORY;
  if (n) memcpy(own, j->work.tokens, n * sizeof *own);
  j->tokens = own, j->work.tokens = own, j->ended = false;
  return KOINE_OK;
}

static koine_status make_room(koi_batch *b)
{
  if (b->n_jobs < b->cap_jobs) return KOINE_OK;
  size_t cap = 2 * b->cap_jobs + 8;
  koi_job **jobs = koi_realloc(b->jobs, cap, sizeof *jobs);
  if (!jobs) return KOINE_ERR_MEMORY;
  b->jobs = jobs;
  koi_job **served = koi_realloc(b->served, cap, sizeof *served);
  if (!served) return KOINE_ERR_MEMORY;
  b->served = served, b->cap_jobs = cap;
  return KOINE_OK;
}

koine_status koi_batch_add(koi_batch *b, koine_session *s, const int32_t *tokens, size_t n_tokens, const koine_eval_options *o, float *logits, koi_job **out)
{
  if (s->plan != b->plan) return koi_error(KOINE_ERR_ARG, "the session is of another plan than the batch");
  koi_job *j = koi_alloc(1, sizeof *j);
  koine_status st = j ? make_room(b) : KOINE_ERR_MEMORY;
  if (!st) *j = (koi_job){.session = s, .options = o ? *o : (koine_eval_options){.size = sizeof *o, .n_logits = 1}};
  if (!st) st = begin(j, tokens, n_tokens, logits);
  if (st) {
    koi_job_free(j);
    return st;
  }
  b->jobs[b->n_jobs++] = j;
  *out = j;
  return KOINE_OK;
}

koine_status koi_batch_again(koi_job *j, const int32_t *tokens, size_t n_tokens, const koine_eval_options *o, float *logits)
{
  j->options = *o;
  koine_status s = begin(j, tokens, n_tokens, logits);
  if (s) koi_job_end(j, s);
  return s;
}

void koi_batch_take(koi_batch *b, koi_job *j)
{
  size_t i = 0;
  while (b->jobs[i] != j) i++;
  memmove(b->jobs + i, b->jobs + i + 1, (--b->n_jobs - i) * sizeof *b->jobs);
}

void koi_job_free(koi_job *j)
{
  if (!j) return;
  koi_free(j->tokens);
  koi_free(j);
}

/* ---- who is in a step ---- */
/* Tokens that the job would take next. */
static size_t wanted(const koi_batch *b, const koi_job *j)
{
  return smaller(smaller(j->work.n - (size_t)koi_line_n(&j->session->line), j->session->chunk), b->tokens);
}

typedef struct room { size_t tokens, seqs, n_served; } room;

/* Gives the job `n` tokens of the step, with what memory that takes; one that is refused it ends. */
static void serve(koi_batch *b, koi_job *j, size_t n, room *left)
{
  koine_status s = koi_session_next(j->session, &j->work, n, &j->chunk);
  if (!s) s = koi_line_prepare(&j->session->line, &j->chunk);
  if (s) {
    koi_session_failed(j->session);
    koi_job_end(j, s);
    return;
  }
  b->served[left->n_served++] = j;
  left->tokens -= j->chunk.n, left->seqs--;
}

/* The cache mode of a step: that of the first in line. */
static koine_cache mode_of(const koi_batch *b)
{
  for (size_t i = 0; i < b->n_jobs; i++)
    if (!b->jobs[i]->ended) return b->jobs[i]->session->mode;
  return KOINE_CACHE_PACKED;
}

/* Those that want a single token, or those that want more, into `out` in line. */
static size_t in_line(const koi_batch *b, koine_cache mode, bool single, koi_job **out)
{
  size_t n = 0;
  for (size_t i = 0; i < b->n_jobs; i++) {
    koi_job *j = b->jobs[i];
    if (!j->ended && j->session->mode == mode && (wanted(b, j) == 1) == single) out[n++] = j;
  }
  return n;
}

/* Single tokens first, then prompts: what is left is divided among them, but not into pieces that are not worth a step. Where both want some, neither
 * gets all. */
static void choose(koi_batch *b, koi_job **line, room *left)
{
  koine_cache mode = mode_of(b);
  size_t n_prompts = in_line(b, mode, false, line), n_single = in_line(b, mode, true, line), spare = n_prompts > 0;
  for (size_t i = 0; i < n_single && left->tokens > spare && left->seqs > spare; i++) serve(b, line[i], 1, left);
  size_t budget = left->n_served ? smaller(left->tokens, b->prompt_tokens) : left->tokens;
  n_prompts = in_line(b, mode, false, line);
  for (size_t i = 0; i < n_prompts && budget && left->seqs; i++) {
    size_t share = budget / (n_prompts - i), before = left->tokens;
    serve(b, line[i], smaller(share < LEAST_PIECE ? LEAST_PIECE : share, budget), left);
    budget -= before - left->tokens;
  }
}

/* ---- a step ---- */
static void run(koi_batch *b, size_t n)
{
  koi_member members[KOI_MAX_SEQS];
  for (size_t i = 0; i < n; i++) members[i] = (koi_member){&b->served[i]->session->line, &b->served[i]->chunk};
  uint64_t start = koi_now_ns();
  koine_status s = koi_line_run(members, n, NULL);
  uint64_t ns = koi_now_ns() - start;
  for (size_t i = 0; i < n; i++) {
    koi_job *j = b->served[i];
    if (s) koi_session_failed(j->session), koi_job_end(j, s);
    else koi_session_finished(j->session, &j->chunk, ns);
  }
}

/* Whoever was served goes to the end of the line. */
static void turn(koi_batch *b, size_t n_served)
{
  size_t n = 0;
  for (size_t i = 0; i < b->n_jobs; i++) {
    bool was = false;
    for (size_t k = 0; k < n_served && !was; k++) was = b->served[k] == b->jobs[i];
    if (!was) b->jobs[n++] = b->jobs[i];
  }
  if (n_served) memcpy(b->jobs + n, b->served, n_served * sizeof *b->jobs);
}

static void end_done(koi_batch *b)
{
  for (size_t i = 0; i < b->n_jobs; i++) {
    koi_job *j = b->jobs[i];
    if (j->ended || !koi_session_done(j->session, &j->work)) continue;
    if (j->options.progress && j->work.n > j->work.first) j->options.progress(j->options.user, "evaluating", j->work.n - j->work.first, j->work.n - j->work.first);
    koi_job_end(j, KOINE_OK);
  }
}

koine_status koi_batch_step(koi_batch *b)
{
  room left = {.tokens = b->tokens, .seqs = KOI_MAX_SEQS};
  koi_job **line = koi_alloc(b->n_jobs + 1, sizeof *line);
  if (!line) return KOINE_ERR_MEMORY;
  end_done(b);
  for (size_t i = 0; i < b->n_jobs; i++) {
    koine_status s = b->jobs[i]->ended ? KOINE_OK : koi_session_goes_on(b->jobs[i]->session, &b->jobs[i]->work);
    if (s) koi_job_end(b->jobs[i], s);
  }
  choose(b, line, &left);
  koi_free(line);
  if (left.n_served) run(b, left.n_served);
  end_done(b);
  turn(b, left.n_served);
  return KOINE_OK;
}
