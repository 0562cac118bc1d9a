/* Owns: a request's prompts, schemas and events. Does not: evaluate (engine.c). */
#include "work.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t serve_now_ns(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- opening ---- */
static bool encode(const serve_model *m, const serve_ask *a, int32_t **ids, size_t *n, serve_error *e)
{
  koine_chat_options o = {.size = sizeof o, .thinking = a->thinking, .keep_reasoning = !a->drop_reasoning};
  size_t n_json;
  const char *json = json_object_to_json_string_length(a->chat, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n_json);
  if (!json) return serve_error_set(e, 503, NULL, "out of memory");
  koine_status s = koine_chat_prompt(m->chat, m->tokenizer, json, n_json, &o, NULL, NULL, ids, n);
  return !s || serve_error_koine(e, s, "messages");
}

bool serve_work_count(const serve_model *model, const serve_ask *ask, size_t *n, serve_error *e)
{
  int32_t *ids = NULL;
  bool ok = encode(model, ask, &ids, n, e);
  koine_ids_free(ids);
  return ok;
}

static bool fits(const serve_model *m, size_t n_prompt, serve_error *e)
{
  if (n_prompt < m->context) return true;
  e->code = "context_length_exceeded", e->n_prompt = n_prompt, e->n_context = m->context;
  return serve_error_set(e, 400, "messages", "the prompt has %zu tokens; the context of %llu tokens has room for at most %llu", n_prompt,
                         (unsigned long long)m->context, (unsigned long long)m->context - 1);
}

/* Where a call is asked for, the answer is one; where it may be one, it is whole once it begins. Tools whose schemas cannot be held to are refused in the
 * first case, and free in the second. */
static bool open_calls(serve_job *j, serve_error *e)
{
  const serve_ask *a = j->work->ask;
  size_t n;
  bool asked = a->calls >= SERVE_CALLS_REQUIRED;
  unsigned flags = (a->one_call ? KOINE_CALLS_ONE : 0u) | (asked ? 0u : KOINE_CALLS_BEGUN);
  const char *json = json_object_to_json_string_length(serve_json_get(a->chat, "tools", json_type_array), JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);
  koine_status s = json ? koine_schema_open_calls(a->tokenizer, json, n, a->calls == SERVE_CALLS_NAMED ? a->call_name : NULL, flags, &j->schema) : KOINE_ERR_MEMORY;
  j->calls_begun = !s && !asked;
  return !s || !asked || serve_error_koine(e, s, "tools");
}

static bool open_schema(serve_job *j, serve_error *e)
{
  const serve_ask *a = j->work->ask;
  size_t n;
  if (!a->schema) return !a->has_tools || open_calls(j, e);
  const char *json = json_object_to_json_string_length(a->schema, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);
  koine_status s = json ? koine_schema_open(a->tokenizer, json, n, &j->schema) : KOINE_ERR_MEMORY;
  return !s || serve_error_koine(e, s, "response_format");
}

static bool open_jobs(serve_work *w, serve_error *e)
{
  const serve_ask *a = w->ask;
  w->n_jobs = a->chat ? a->n_choices : a->n_choices * a->n_prompts;
  w->job = calloc(w->n_jobs, sizeof *w->job);
  if (!w->job) return serve_error_set(e, 503, NULL, "out of memory");
  for (uint32_t i = 0; i < w->n_jobs; i++) {
    serve_job *j = &w->job[i];
    uint32_t k = i / a->n_choices;
    *j = (serve_job){.work = w, .choice = i, .prompt = a->chat ? w->prompt : a->prompt[k], .n_prompt = a->chat ? w->n_prompt : a->n_prompt[k]};
    if (!fits(w->model, j->n_prompt, e) || !open_schema(j, e)) return false;
  }
  return true;
}

static int32_t think_end(const koine_tokenizer *t)
{
  int32_t *ids = NULL, id = -1;
  size_t n = 0;
  if (!koine_tokenize(t, "</think>", 8, KOINE_TOKENIZE_SPECIAL, &ids, &n) && n == 1 && koine_tokenizer_is_control(t, ids[0])) id = ids[0];
  koine_ids_free(ids);
  return id;
}

bool serve_work_open(const serve_model *model, const serve_ask *ask, serve_work **out, serve_error *e)
{
  pthread_condattr_t clock;
  serve_work *w = calloc(1, sizeof *w);
  if (!w) return serve_error_set(e, 503, NULL, "out of memory");
  w->ask = ask, w->model = model;
  w->think_end = ask->thinking == KOINE_THINK_OFF ? -1 : think_end(model->tokenizer);
  pthread_condattr_init(&clock);
  pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
  pthread_mutex_init(&w->lock, NULL);
  pthread_cond_init(&w->changed, &clock);
  pthread_condattr_destroy(&clock);
  bool ok = (!ask->chat || encode(model, ask, &w->prompt, &w->n_prompt, e)) && open_jobs(w, e);
  if (ok) *out = w;
  else serve_work_free(w);
  return ok;
}

void serve_work_free(serve_work *w)
{
  if (!w) return;
  for (serve_event *e = w->first, *next; e; e = next) next = e->next, free(e);
  for (uint32_t i = 0; w->job && i < w->n_jobs; i++) koine_schema_close(w->job[i].schema);
  pthread_cond_destroy(&w->changed);
  pthread_mutex_destroy(&w->lock);
  koine_ids_free(w->prompt);
  free(w->job);
  free(w);
}

/* ---- events ---- */
serve_event *serve_work_next(serve_work *w, unsigned ms)
{
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += ms / 1000, until.tv_nsec += (long)(ms % 1000) * 1000000;
  if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
  pthread_mutex_lock(&w->lock);
  while (!w->first && !pthread_cond_timedwait(&w->changed, &w->lock, &until)) continue;
  serve_event *e = w->first;
  if (e) {
    w->first = e->next;
    if (!w->first) w->last = NULL;
    w->n_bytes -= sizeof *e + e->n;
  }
  pthread_mutex_unlock(&w->lock);
  return e;
}

bool serve_work_tell(serve_work *w, serve_event event, const char *text, size_t n)
{
  serve_event *e = malloc(sizeof *e + n + 1);
  if (!e) return false;
  memcpy(e, &event, sizeof event);
  e->next = NULL, e->n = n;
  if (n) memcpy(e->text, text, n);
  e->text[n] = 0;
  pthread_mutex_lock(&w->lock);
  bool room = w->n_bytes + sizeof *e + n <= SERVE_PENDING_BYTES || event.kind >= SERVE_ENDED;
  if (room) {
    if (w->last) w->last->next = e;
    else w->first = e;
    w->last = e;
    w->n_bytes += sizeof *e + n;
    pthread_cond_signal(&w->changed);
  }
  pthread_mutex_unlock(&w->lock);
  if (!room) free(e);
  return room;
}
