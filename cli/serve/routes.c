/* Owns: what each path answers. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "http.h"

static const serve_model *model_of(const serve_exchange *x) { return &x->server->o->engine.model; }

static bool body_of(serve_exchange *x, json_object **out, serve_error *e)
{
  char why[256];
  *out = serve_json_parse(x->body.s ? x->body.s : "", x->body.n, why, sizeof why);
  return *out || serve_error_set(e, 400, NULL, "%s", why);
}

/* ---- the model ---- */
static bool is_name(const serve_options *o, const char *name)
{
  for (size_t i = 0; i < o->n_names; i++)
    if (!strcmp(name, o->names[i])) return true;
  return false;
}

/* Clients of Anthropic's protocol know their own names alone. */
static bool check_model(const serve_exchange *x, const serve_ask *a, serve_error *e)
{
  bool claude = x->route->protocol == &serve_messages_protocol && a->model && !strncmp(a->model, "claude-", 7);
  if (!a->model || claude || is_name(x->server->o, a->model)) return true;
  e->code = "model_not_found";
  return serve_error_set(e, 404, "model", "model: expected %s, found %.100s; --alias NAME gives the model another name", x->server->o->names[0], a->model);
}

static json_object *model_json(const serve_exchange *x, const char *name)
{
  const serve_model *m = model_of(x);
  json_object *o = serve_json_object("sssis", "id", name, "object", "model", "type", "model", "created", x->server->begun, "owned_by", "koine");
  json_object_object_add(o, "display_name", json_object_new_string(name));
  json_object_object_add(o, "context_length", json_object_new_int64((int64_t)m->context));
  json_object_object_add(o, "max_model_len", json_object_new_int64((int64_t)m->context));
  json_object_object_add(o, "meta", serve_json_object("ii", "n_ctx_train", (int64_t)m->context, "n_vocab", (int64_t)m->n_vocab));
  return o;
}

static enum MHD_Result models(serve_exchange *x)
{
  const serve_options *o = x->server->o;
  json_object *data = json_object_new_array();
  for (size_t i = 0; i < o->n_names; i++) json_object_array_add(data, model_json(x, o->names[i]));
  return serve_http_json(x, 200, serve_json_object("sobss", "object", "list", "data", data, "has_more", 0, "first_id", o->names[0], "last_id", o->names[o->n_names - 1]));
}

static enum MHD_Result one_model(serve_exchange *x)
{
  const char *name = strstr(x->path, "/models/") + strlen("/models/");
  serve_error e = {.code = "model_not_found"};
  if (is_name(x->server->o, name)) return serve_http_json(x, 200, model_json(x, name));
  serve_error_set(&e, 404, "model", "model: expected %s, found %.100s", x->server->o->names[0], name);
  return serve_http_fail(x, &e);
}

/* ---- answers ---- */
static bool read_ask(serve_exchange *x, const serve_protocol *p, serve_error *e)
{
  return body_of(x, &x->ask.body, e) && p->read(&x->ask, x->ask.body, e) && check_model(x, &x->ask, e);
}

static enum MHD_Result answer(serve_exchange *x)
{
  serve_error e = {0};
  const serve_protocol *p = x->route->protocol;
  serve_server *s = x->server;
  bool ok = read_ask(x, p, &e);
  if (ok && !x->ask.seeded) serve_random_seed(&x->ask.sampling.seed);
  ok = ok && serve_work_open(model_of(x), &x->ask, &x->work, &e);
  if (ok && !serve_reply_init(&x->reply, p, &x->ask, x->ask.model ? x->ask.model : s->o->names[0])) ok = serve_error_set(&e, 503, NULL, "out of memory");
  x->reply.n_prompt = ok ? x->work->n_prompt : 0;
  serve_text_free(&x->body);
  ok = ok && serve_engine_submit(s->engine, x->work, &e);
  if (!ok) return serve_http_fail(x, &e);
  serve_count(s->metrics, SERVE_M_REQUESTS, 1);
  return serve_http_work(x);
}

/* Tokens of a prompt, without an answer. */
static enum MHD_Result count(serve_exchange *x)
{
  serve_error e = {0};
  size_t n = 0;
  bool anthropic = x->route->protocol == &serve_messages_protocol;
  bool ok = read_ask(x, x->route->protocol, &e) && serve_work_count(model_of(x), &x->ask, &n, &e);
  if (!ok) return serve_http_fail(x, &e);
  if (anthropic) return serve_http_json(x, 200, serve_json_object("i", "input_tokens", (int64_t)n));
  return serve_http_json(x, 200, serve_json_object("si", "object", "response.input_tokens", "input_tokens", (int64_t)n));
}

/* ---- tokens: llama.cpp's keys and vLLM's ---- */
static bool flag(json_object *body, const char *key, bool fallback)
{
  json_object *v = serve_json_get(body, key, json_type_boolean);
  return v ? json_object_get_boolean(v) : fallback;
}

/* A token's text, or its bytes where that is no text by itself. */
static json_object *piece(const koine_tokenizer *t, int32_t id)
{
  char *text = NULL;
  size_t n = 0;
  serve_text valid = {0};
  if (koine_detokenize(t, &id, 1, true, &text, &n)) n = 0;
  serve_text_add_utf8(&valid, text, n);
  bool whole = valid.n == n && !memcmp(valid.s ? valid.s : "", text ? text : "", n);
  json_object *o = whole ? serve_json_text(text, n) : json_object_new_array();
  for (size_t i = 0; !whole && i < n; i++) json_object_array_add(o, json_object_new_int((unsigned char)text[i]));
  serve_text_free(&valid);
  koine_text_free(text);
  return o;
}

static json_object *tokens_json(const koine_tokenizer *t, const int32_t *ids, size_t n, bool pieces)
{
  json_object *out = json_object_new_array();
  for (size_t i = 0; i < n; i++)
    json_object_array_add(out, pieces ? serve_json_object("io", "id", (int64_t)ids[i], "piece", piece(t, ids[i])) : json_object_new_int(ids[i]));
  return out;
}

static bool tokenize_ids(serve_exchange *x, json_object *body, int32_t **ids, size_t *n, serve_error *e)
{
  const koine_tokenizer *t = model_of(x)->tokenizer;
  json_object *text = serve_json_get(body, "content", json_type_string);
  bool bos = flag(body, "add_special", !text) || flag(body, "add_special_tokens", false); /* llama.cpp adds none unless asked, vLLM does */
  if (!text) text = serve_json_get(body, "prompt", json_type_string);
  if (!text) return serve_error_set(e, 400, "content", "expected a text as content or prompt");
  unsigned flags = (flag(body, "parse_special", true) ? KOINE_TOKENIZE_SPECIAL : 0u) | (bos && koine_tokenizer_bos(t) >= 0 ? KOINE_TOKENIZE_BOS : 0u);
  koine_status s = koine_tokenize(t, json_object_get_string(text), (size_t)json_object_get_string_len(text), flags, ids, n);
  return !s || serve_error_koine(e, s, "content");
}

static enum MHD_Result tokenize(serve_exchange *x)
{
  serve_error e = {0};
  json_object *body = NULL;
  int32_t *ids = NULL;
  size_t n = 0;
  bool ok = body_of(x, &body, &e) && tokenize_ids(x, body, &ids, &n, &e);
  json_object *tokens = ok ? tokens_json(model_of(x)->tokenizer, ids, n, flag(body, "with_pieces", false)) : NULL;
  koine_ids_free(ids);
  json_object_put(body);
  if (!ok) return serve_http_fail(x, &e);
  return serve_http_json(x, 200, serve_json_object("oii", "tokens", tokens, "count", (int64_t)n, "max_model_len", (int64_t)model_of(x)->context));
}

static bool detokenize_text(serve_exchange *x, json_object *body, serve_text *out, serve_error *e)
{
  const serve_model *m = model_of(x);
  json_object *tokens = serve_json_get(body, "tokens", json_type_array);
  if (!tokens) return serve_error_set(e, 400, "tokens", "tokens: expected an array of ids");
  size_t n = json_object_array_length(tokens), n_bytes = 0;
  int32_t *ids = malloc((n + 1) * sizeof *ids);
  char *text = NULL;
  if (!ids) return serve_error_set(e, 503, NULL, "out of memory");
  bool ok = true;
  for (size_t i = 0; i < n && ok; i++) {
    json_object *id = json_object_array_get_idx(tokens, i);
    int64_t k = json_object_is_type(id, json_type_int) ? json_object_get_int64(id) : -1;
    ok = k >= 0 && (uint64_t)k < m->n_vocab;
    ids[i] = (int32_t)k;
  }
  if (!ok) serve_error_set(e, 400, "tokens", "tokens: expected ids from 0 to %zu", m->n_vocab - 1);
  koine_status s = ok ? koine_detokenize(m->tokenizer, ids, n, true, &text, &n_bytes) : KOINE_OK;
  if (!s && ok) serve_text_add_utf8(out, text, n_bytes);
  koine_text_free(text);
  free(ids);
  return ok && (!s || serve_error_koine(e, s, "tokens"));
}

static enum MHD_Result detokenize(serve_exchange *x)
{
  serve_error e = {0};
  json_object *body = NULL;
  serve_text text = {0};
  bool ok = body_of(x, &body, &e) && detokenize_text(x, body, &text, &e);
  json_object_put(body);
  json_object *o = ok ? serve_json_object("oo", "content", serve_json_text(text.s, text.n), "prompt", serve_json_text(text.s, text.n)) : NULL;
  serve_text_free(&text);
  return ok ? serve_http_json(x, 200, o) : serve_http_fail(x, &e);
}

/* ---- the server ---- */
static enum MHD_Result health(serve_exchange *x)
{
  serve_server *s = x->server;
  serve_error e = {0};
  if (serve_engine_is_lost(s->engine)) serve_error_set(&e, 503, NULL, "the device failed");
  else if (s->draining) serve_error_set(&e, 503, NULL, "the server is shutting down");
  return e.status ? serve_http_fail(x, &e) : serve_http_json(x, 200, serve_json_object("s", "status", "ok"));
}

static enum MHD_Result metrics(serve_exchange *x)
{
  serve_text t = {0};
  serve_metrics_text(x->server->metrics, x->server->o->names[0], &t);
  return serve_http_send(x, 200, "text/plain; version=0.0.4; charset=utf-8", &t, NULL);
}

static enum MHD_Result options(serve_exchange *x)
{
  struct MHD_Response *r = MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT);
  const char *origin = serve_gate_origin(x->server->o, x->connection);
  if (!r) return MHD_NO;
  if (origin) {
    MHD_add_response_header(r, "Access-Control-Allow-Origin", origin);
    MHD_add_response_header(r, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    MHD_add_response_header(r, "Access-Control-Allow-Headers", "Authorization, Content-Type, X-Api-Key, Anthropic-Version, Anthropic-Beta, Anthropic-Dangerous-Direct-Browser-Access");
    MHD_add_response_header(r, "Access-Control-Max-Age", "600");
    MHD_add_response_header(r, "Vary", "Origin");
  }
  enum MHD_Result queued = MHD_queue_response(x->connection, MHD_HTTP_NO_CONTENT, r);
  MHD_destroy_response(r);
  return queued;
}

static const serve_route table[] = {
  {"POST", "/v1/chat/completions", false, answer, &serve_chat}, {"POST", "/v1/completions", false, answer, &serve_completions},
  {"POST", "/v1/responses", false, answer, &serve_responses}, {"POST", "/v1/messages", false, answer, &serve_messages_protocol},
  {"POST", "/v1/messages/count_tokens", false, count, &serve_messages_protocol}, {"POST", "/v1/responses/input_tokens", false, count, &serve_responses},
  {"POST", "/v1/chat/completions/input_tokens", false, count, &serve_chat},
  {"GET", "/v1/models", true, models, NULL}, {"GET", "/v1/models/*", true, one_model, NULL},
  {"POST", "/tokenize", false, tokenize, NULL}, {"POST", "/detokenize", false, detokenize, NULL},
  {"GET", "/health", true, health, NULL}, {"GET", "/v1/health", true, health, NULL}, {"GET", "/metrics", false, metrics, NULL},
  {"GET", "/", true, serve_page, NULL}, {"GET", "/plan", false, serve_plan, NULL}, {"OPTIONS", "*", true, options, NULL},
};

static bool path_is(const char *pattern, const char *path)
{
  size_t n = strlen(pattern);
  return n && pattern[n - 1] == '*' ? !strncmp(pattern, path, n - 1) : !strcmp(pattern, path);
}

const serve_route *serve_route_find(const char *method, const char *path, char *allow, size_t n_allow)
{
  size_t n = 0;
  allow[0] = 0;
  if (!strcmp(method, "HEAD")) method = "GET";
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    if (!path_is(table[i].path, path)) continue;
    if (!strcmp(table[i].method, method)) return &table[i];
    if (strcmp(table[i].method, "OPTIONS")) n += (size_t)snprintf(allow + n, n < n_allow ? n_allow - n : 0, "%s%s", n ? ", " : "", table[i].method);
  }
  return NULL;
}
