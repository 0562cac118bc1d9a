/* Owns: how logits become an answer's tokens, and these events.
 * Does not: evaluate, or choose who is next (engine.c). Invariant: a job that has ended has no session, and its work was told once. */
#include "job.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "spell.h"

/* ---- events ---- */
static bool tell(serve_job *j, serve_event event, const char *text, size_t n)
{
  event.choice = j->choice;
  return serve_work_tell(j->work, event, text, n);
}

static bool on_part(void *user, koine_chat_part part, const char *text, size_t n)
{
  static const serve_kind kinds[] = {[KOINE_CHAT_REASONING] = SERVE_REASONING, [KOINE_CHAT_CONTENT] = SERVE_CONTENT, [KOINE_CHAT_TOOL_CALL] = SERVE_CALL};
  serve_job *j = user;
  if (part == KOINE_CHAT_DEFECT) return j->n_defects++, true;
  bool is_call = part == KOINE_CHAT_TOOL_CALL && j->work->ask->has_tools;
  serve_kind kind = part == KOINE_CHAT_TOOL_CALL && !is_call ? SERVE_CONTENT : kinds[part]; /* without tools a call is text */
  return tell(j, (serve_event){.kind = kind}, text, n) && !(is_call && j->work->ask->one_call);
}

static bool on_text(void *user, const char *text, size_t n) { return tell(user, (serve_event){.kind = SERVE_CONTENT}, text, n); }

/* ---- logprobs ---- */
static void put_top(serve_token *t, int most, int32_t id, float logprob)
{
  int at = t->n_top;
  while (at > 0 && t->top[at - 1].logprob < logprob) at--;
  if (at >= most) return;
  int n = t->n_top < most ? t->n_top : most - 1;
  memmove(t->top + at + 1, t->top + at, (size_t)(n - at) * sizeof *t->top);
  t->top[at].id = id, t->top[at].logprob = logprob;
  t->n_top = n + 1;
}

static serve_token token_of(const serve_job *j, int32_t id)
{
  const float *x = j->logits;
  size_t n = j->work->model->n_vocab;
  serve_token t = {.id = id};
  float most = x[0];
  double sum = 0;
  for (size_t i = 1; i < n; i++) most = x[i] > most ? x[i] : most;
  for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - (double)most);
  float log_sum = most + (float)log(sum);
  t.logprob = x[id] - log_sum;
  for (size_t i = 0; j->work->ask->n_top && i < n; i++) put_top(&t, j->work->ask->n_top, (int32_t)i, x[i] - log_sum);
  return t;
}

static bool on_token(void *user, int32_t id)
{
  serve_job *j = user;
  bool reasoned = j->reasons;
  if (id == j->work->think_end) j->reasons = false;
  j->usage.n_new++;
  j->usage.n_reasoning += reasoned;
  bool shown = !reasoned && !koine_tokenizer_is_control(j->work->model->tokenizer, id);
  if (j->work->ask->n_top < 0 || !shown) return true;
  return tell(j, (serve_event){.kind = SERVE_TOKEN, .token = token_of(j, id)}, NULL, 0);
}

/* ---- its life ---- */
static koine_status open_answer(serve_job *j, const int32_t *prompt, size_t n_prompt)
{
  const serve_ask *a = j->work->ask;
  const serve_model *m = j->work->model;
  const char *behind = j->work->think_end >= 0 ? "</think>" : NULL;
  koine_generate_options o = KOINE_GENERATE_OPTIONS_INIT;
  o.sampling = a->sampling, o.sampling.seed += j->choice;
  o.n_predict = a->n_predict, o.stops = a->stops, o.n_stops = a->n_stops, o.stops_after = behind;
  o.schema = j->schema, o.schema_after = j->calls_begun ? KOINE_CALLS_MARK : behind;
  o.token = on_token, o.user = j, o.text = a->chat ? NULL : on_text;
  koine_status s = a->chat ? koine_chat_stream_open(m->tokenizer, a->thinking, on_part, j, &j->stream) : KOINE_OK;
  o.stream = j->stream;
  if (!s) s = koine_answer_open(m->tokenizer, m->n_vocab, m->context, prompt, n_prompt, &o, &j->answer);
  return s;
}

static uint64_t n_evaluated(const serve_job *j)
{
  koine_session_stats k = KOINE_SESSION_STATS_INIT;
  return koine_session_get_stats(j->held->session, &k) ? 0 : k.n_evaluated;
}

/* The prompt as the conversation that begins like it spells it. */
static koine_status begin(serve_bench *b, serve_job *j)
{
  const serve_model *m = j->work->model;
  size_t n_common = 0, n = j->n_prompt;
  serve_store_recall(&b->store, j->prompt, j->n_prompt);
  serve_held *like = serve_store_find(&b->store, j->prompt, j->n_prompt, &n_common);
  int32_t *spelled = malloc((j->n_prompt + (like ? like->n_all : 0) + 1) * sizeof *spelled);
  koine_status s = spelled ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!s && like) s = serve_spell(m->tokenizer, like->tokens, like->n_all, j->prompt, j->n_prompt, spelled, &n);
  bool too_long = !s && n >= m->context;
  if (!s && (!like || too_long)) memcpy(spelled, j->prompt, j->n_prompt * sizeof *spelled), n = j->n_prompt;
  if (!s && like) like = serve_store_find(&b->store, spelled, n, &n_common);
  if (!s) s = open_answer(j, spelled, n);
  if (!s && !(j->logits = malloc(m->n_vocab * sizeof *j->logits))) s = KOINE_ERR_MEMORY;
  if (!s) s = serve_store_take(&b->store, like, &n_common, &j->held);
  free(spelled);
  if (s) return s;
  j->n_noted = n_common, j->n_before = n_evaluated(j), j->usage.n_prompt = n;
  return KOINE_OK;
}

/* Of memory the library may know nothing: the server's own. */
static const char *why_of(koine_status s) { return s == KOINE_ERR_MEMORY ? "out of memory" : koine_last_error(); }

bool serve_job_begin(serve_bench *b, serve_job *j)
{
  j->bench = b, j->reasons = j->work->think_end >= 0, j->begun_ns = serve_now_ns();
  serve_observe(b->metrics, SERVE_H_QUEUE, j->begun_ns - j->queued_ns);
  serve_gauge_add(b->metrics, SERVE_G_RUNNING, 1);
  koine_status s = begin(b, j);
  if (s) serve_job_fail(b, j, s == KOINE_ERR_MEMORY ? 503 : s == KOINE_ERR_ARG || s == KOINE_ERR_UNSUPPORTED ? 400 : 500, why_of(s));
  return !s;
}

bool serve_job_enter(serve_bench *b, serve_job *j)
{
  size_t n;
  const int32_t *tokens = koine_answer_tokens(j->answer, &n);
  koine_eval_options o = {.size = sizeof o, .n_logits = 1};
  if (j->held->evaluating) return true;
  koine_status s = koine_batch_eval(b->batch, j->held->session, tokens, n, &o, j->logits);
  if (!s) s = serve_held_note(j->held, tokens, j->n_noted, n);
  j->held->evaluating = !s, j->n_noted = n;
  if (s) serve_job_fail(b, j, s == KOINE_ERR_MEMORY ? 503 : 500, why_of(s));
  return !s;
}

/* Releases all but what others will read. The conversation stays, with what its session certainly holds. */
static void let_go(serve_bench *b, serve_job *j)
{
  if (j->held) {
    size_t n;
    const int32_t *tokens = koine_answer_tokens(j->answer, &n);
    koine_batch_drop(b->batch, j->held->session);
    j->held->evaluating = false;
    if (j->answered_ns) serve_held_note(j->held, tokens, j->n_noted, n);
    serve_store_give(&b->store, j->held);
  }
  koine_answer_close(j->answer);
  koine_chat_stream_close(j->stream);
  free(j->logits);
  j->held = NULL, j->answer = NULL, j->stream = NULL, j->logits = NULL;
  serve_gauge_add(b->metrics, SERVE_G_RUNNING, -1); /* before its end is told: who has read an answer does not find it among those that are made */
}

static void finish(serve_bench *b, serve_job *j)
{
  serve_event event = {.kind = SERVE_ENDED, .stop_text = -1};
  koine_status s = koine_answer_end(j->answer, &event.stop, &event.stop_text);
  if (!s && j->stream) s = koine_chat_stream_end(j->stream, NULL);
  if (s && s != KOINE_ERR_CANCELLED) {
    serve_job_fail(b, j, 500, koine_last_error());
    return;
  }
  uint64_t now = serve_now_ns();
  j->usage.decode_ns = j->answered_ns ? now - j->answered_ns : 0;
  event.usage = j->usage;
  serve_count(b->metrics, SERVE_M_ANSWERS, 1);
  serve_count(b->metrics, SERVE_M_DEFECTS, j->n_defects);
  serve_count(b->metrics, SERVE_M_PROMPT_TOKENS, j->usage.n_prompt);
  serve_count(b->metrics, SERVE_M_CACHED_TOKENS, j->usage.n_cached);
  serve_count(b->metrics, SERVE_M_NEW_TOKENS, j->usage.n_new);
  serve_count(b->metrics, SERVE_M_PREFILL_NS, j->usage.prefill_ns);
  serve_count(b->metrics, SERVE_M_DECODE_NS, j->usage.decode_ns);
  serve_observe(b->metrics, SERVE_H_WHOLE, now - j->queued_ns);
  let_go(b, j);
  tell(j, event, NULL, 0);
}

void serve_job_fail(serve_bench *b, serve_job *j, int status, const char *why)
{
  char text[512];
  strncpy(text, why, sizeof text - 1), text[sizeof text - 1] = 0; /* the library's text ends with its next error */
  serve_count(b->metrics, status ? SERVE_M_FAILED : SERVE_M_ABORTED, 1);
  let_go(b, j);
  tell(j, (serve_event){.kind = SERVE_FAILED, .status = status}, text, strlen(text));
}

/* Logits as the request bends them; those of the model where it does not. */
static const float *bend(serve_bench *b, const serve_job *j)
{
  const serve_ask *a = j->work->ask;
  size_t n = j->work->model->n_vocab;
  int32_t eos = koine_tokenizer_eos(j->work->model->tokenizer);
  bool goes_on = eos >= 0 && (a->ignore_eos || j->usage.n_new < a->min_tokens);
  if (!a->n_biases && !goes_on) return j->logits;
  memcpy(b->adjusted, j->logits, n * sizeof *b->adjusted);
  for (size_t i = 0; i < a->n_biases; i++)
    if ((size_t)a->bias[i].id < n) b->adjusted[a->bias[i].id] += a->bias[i].by;
  if (goes_on) b->adjusted[eos] = -INFINITY;
  return b->adjusted;
}

/* Times of tokens, as they are measured. */
static void note_token(serve_bench *b, serve_job *j)
{
  uint64_t now = serve_now_ns();
  if (!j->answered_ns) {
    j->answered_ns = now;
    j->usage.prefill_ns = now - j->begun_ns;
    uint64_t n_new = n_evaluated(j) - j->n_before; /* more than the prompt where a failure made it begin again */
    j->usage.n_cached = n_new < j->usage.n_prompt ? j->usage.n_prompt - n_new : 0;
    serve_observe(b->metrics, SERVE_H_FIRST, now - j->queued_ns);
  } else serve_observe(b->metrics, SERVE_H_BETWEEN, now - j->last_ns);
  j->last_ns = now;
}

/* Without memory an idle conversation goes, and the evaluation goes on from what is held. */
static bool again(serve_bench *b, koine_status s) { return s == KOINE_ERR_MEMORY && serve_store_shrink(&b->store); }

bool serve_job_go_on(serve_bench *b, serve_job *j, koine_status s, const char *why)
{
  j->held->evaluating = false;
  serve_held_settle(j->held);
  if (again(b, s)) return true;
  if (!s) {
    note_token(b, j);
    s = j->work->ask->nothing ? KOINE_OK : koine_answer_take(j->answer, bend(b, j));
    if (s) why = koine_last_error();
  }
  if (s) {
    serve_job_fail(b, j, s == KOINE_ERR_MEMORY ? 503 : 500, why);
    return false;
  }
  if (!koine_answer_is_ended(j->answer) && !j->work->ask->nothing) return true;
  finish(b, j);
  return false;
}
