/* Owns: what every protocol's reply gathers and how SSE is written. Does not: know a protocol. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE
#endif
#include "reply.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

void serve_random_id(char *out, size_t n_hex)
{
  unsigned char bytes[32] = {0};
  if (getrandom(bytes, sizeof bytes, 0) < 0) bytes[0] = (unsigned char)clock();
  for (size_t i = 0; i < n_hex; i++) snprintf(out + i, 2, "%x", bytes[i / 2 % sizeof bytes] >> (i % 2 ? 4 : 0) & 15);
}

void serve_random_seed(uint64_t *out)
{
  if (getrandom(out, sizeof *out, 0) < 0) *out = (uint64_t)clock();
}

bool serve_reply_init(serve_reply *r, const serve_protocol *p, const serve_ask *ask, const char *model)
{
  *r = (serve_reply){.protocol = p, .ask = ask, .model = model, .created = (int64_t)time(NULL), .open = -1};
  serve_random_id(r->id, 24);
  r->n_choices = ask->chat ? ask->n_choices : ask->n_choices * ask->n_prompts;
  r->choice = calloc(r->n_choices, sizeof *r->choice);
  r->items = json_object_new_array();
  for (uint32_t i = 0; r->choice && i < r->n_choices; i++)
    r->choice[i].calls = json_object_new_array(), r->choice[i].logprobs = json_object_new_array(), r->choice[i].stop_text = -1;
  return r->choice && r->items;
}

void serve_reply_clear(serve_reply *r)
{
  for (uint32_t i = 0; r->choice && i < r->n_choices; i++) {
    serve_text_free(&r->choice[i].reasoning);
    serve_text_free(&r->choice[i].content);
    json_object_put(r->choice[i].calls);
    json_object_put(r->choice[i].logprobs);
  }
  free(r->choice);
  json_object_put(r->items);
  serve_text_free(&r->out);
  *r = (serve_reply){0};
}

void serve_reply_event(serve_reply *r, const char *name, json_object *data)
{
  if (name) serve_text_print(&r->out, "event: %s\n", name);
  serve_text_add(&r->out, "data: ", 6);
  serve_text_json(&r->out, data);
  serve_text_add(&r->out, "\n\n", 2);
}

/* ---- gathering ---- */
static json_object *token_json(const serve_ask *a, int32_t id, float logprob)
{
  char *text = NULL;
  size_t n = 0;
  json_object *bytes = json_object_new_array();
  if (koine_detokenize(a->tokenizer, &id, 1, true, &text, &n)) n = 0;
  for (size_t i = 0; i < n; i++) json_object_array_add(bytes, json_object_new_int((unsigned char)text[i]));
  serve_text valid = {0};
  serve_text_add_utf8(&valid, text, n);
  json_object *o = serve_json_object("odo", "token", serve_json_text(valid.s, valid.n), "logprob", (double)logprob, "bytes", bytes);
  serve_text_free(&valid);
  koine_text_free(text);
  return o;
}

static void gather_token(serve_reply *r, serve_choice *c, const serve_token *t)
{
  json_object *o = token_json(r->ask, t->id, t->logprob), *top = json_object_new_array();
  for (int i = 0; i < t->n_top; i++) json_object_array_add(top, token_json(r->ask, t->top[i].id, t->top[i].logprob));
  json_object_object_add(o, "top_logprobs", top);
  json_object_array_add(c->logprobs, o);
}

static void gather_call(serve_reply *r, serve_choice *c, const serve_event *event)
{
  char id[40] = "call_";
  json_object *given = json_tokener_parse(event->text), *f = serve_json_get(given, "function", json_type_object);
  (void)r;
  serve_random_id(id + strlen(id), 24);
  if (f) json_object_array_add(c->calls, serve_json_object("sso", "id", id, "type", "function", "function", json_object_get(f)));
  json_object_put(given);
}

static void gather(serve_reply *r, const serve_event *event)
{
  serve_choice *c = &r->choice[event->choice];
  if (event->kind == SERVE_REASONING) serve_text_add(&c->reasoning, event->text, event->n);
  else if (event->kind == SERVE_CONTENT) serve_text_add(&c->content, event->text, event->n);
  else if (event->kind == SERVE_CALL) gather_call(r, c, event);
  else if (event->kind == SERVE_TOKEN) gather_token(r, c, &event->token);
  else if (event->kind == SERVE_ENDED) {
    serve_usage *u = &r->usage;
    const serve_usage *more = &event->usage;
    c->ended = true, c->stop = event->stop, c->stop_text = event->stop_text;
    r->n_ended++;
    bool counts = r->ask->n_choices == 1 || event->choice % r->ask->n_choices == 0; /* a prompt counts once, whatever its answers */
    if (counts) u->n_prompt += more->n_prompt, u->n_cached += more->n_cached;
    u->n_new += more->n_new, u->n_reasoning += more->n_reasoning;
    u->prefill_ns += more->prefill_ns, u->decode_ns += more->decode_ns;
  }
}

void serve_reply_begin(serve_reply *r)
{
  if (r->ask->stream) r->protocol->begin(r);
}

bool serve_reply_take(serve_reply *r, const serve_event *event)
{
  bool stream = r->ask->stream;
  if (event->kind == SERVE_WAITING) {
    if (stream) r->protocol->ping(r);
    return true;
  }
  if (event->kind == SERVE_FAILED) {
    serve_error_set(&r->error, event->status, NULL, "%s", event->text);
    if (stream) r->protocol->fail(r, &r->error);
    return false;
  }
  gather(r, event);
  if (stream) r->protocol->part(r, event);
  if (r->n_ended < r->n_choices) return true;
  if (stream) r->protocol->end(r);
  return false;
}

/* ---- for protocols ---- */
const char *serve_reply_finish(const serve_choice *c)
{
  static const char *const words[] = {
    [KOINE_STOP_EOS] = "stop", [KOINE_STOP_LENGTH] = "length", [KOINE_STOP_TEXT] = "stop", [KOINE_STOP_CALLER] = "stop", [KOINE_STOP_CONTEXT] = "length",
  };
  bool whole = c->stop != KOINE_STOP_LENGTH && c->stop != KOINE_STOP_CONTEXT;
  return whole && json_object_array_length(c->calls) ? "tool_calls" : words[c->stop];
}

json_object *serve_reply_usage(const serve_reply *r)
{
  const serve_usage *u = &r->usage;
  json_object *in = serve_json_object("i", "cached_tokens", (int64_t)u->n_cached), *out = serve_json_object("i", "reasoning_tokens", (int64_t)u->n_reasoning);
  return serve_json_object("iiiiioo", "prompt_tokens", (int64_t)u->n_prompt, "completion_tokens", (int64_t)u->n_new, "total_tokens", (int64_t)(u->n_prompt + u->n_new),
                           "prompt_cache_hit_tokens", (int64_t)u->n_cached, "prompt_cache_miss_tokens", (int64_t)(u->n_prompt - u->n_cached),
                           "prompt_tokens_details", in, "completion_tokens_details", out);
}

static double per_second(uint64_t n, uint64_t ns) { return ns ? 1e9 * (double)n / (double)ns : 0; }

json_object *serve_reply_timings(const serve_reply *r)
{
  const serve_usage *u = &r->usage;
  uint64_t n = u->n_prompt - u->n_cached;
  return serve_json_object("iiddidd", "cache_n", (int64_t)u->n_cached, "prompt_n", (int64_t)n, "prompt_ms", 1e-6 * (double)u->prefill_ns,
                           "prompt_per_second", per_second(n, u->prefill_ns), "predicted_n", (int64_t)u->n_new, "predicted_ms", 1e-6 * (double)u->decode_ns,
                           "predicted_per_second", per_second(u->n_new, u->decode_ns));
}
