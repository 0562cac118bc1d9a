/* Owns: requests on the wire, and how an answer of a stream is read. Invariant: a result is either good, with a token and its times, or has a kind of failure. */
#include "wire.h"
#include <stdlib.h>
#include <string.h>

enum { MOST_LINE = 16 << 20, MOST_OTHER = 1 << 16, CONNECT_MS = 10000, GET_MS = 10000 };

bool load_buffer_add(load_buffer *b, const char *s, size_t n)
{
  if (b->n + n + 1 > b->cap) {
    size_t cap = 2 * (b->n + n + 1);
    char *bigger = realloc(b->s, cap);
    if (!bigger) return false;
    b->s = bigger, b->cap = cap;
  }
  memcpy(b->s + b->n, s, n);
  b->n += n;
  b->s[b->n] = 0;
  return true;
}

/* ---- what both kinds share ---- */
static bool add_header(struct curl_slist **list, const char *line)
{
  struct curl_slist *longer = curl_slist_append(*list, line);
  if (longer) *list = longer;
  return longer;
}

static bool make_headers(const load_target *t, struct curl_slist **out)
{
  char key[4096];
  bool good = add_header(out, "Content-Type: application/json") && add_header(out, "Expect:");
  if (!t->key) return good;
  snprintf(key, sizeof key, "Authorization: Bearer %s", t->key);
  return good && add_header(out, key);
}

static void set_common(CURL *c, const load_target *t, const char *url, struct curl_slist *headers)
{
  curl_easy_setopt(c, CURLOPT_URL, url);
  curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  if (t->near) curl_easy_setopt(c, CURLOPT_PROXY, "");
}

static size_t take_whole(char *data, size_t one, size_t n, void *user) { return load_buffer_add(user, data, one * n) ? n : 0; }

long load_get(const load_target *t, const char *path, load_buffer *body)
{
  struct curl_slist *headers = NULL;
  CURL *c = curl_easy_init();
  bool beside = !strcmp(path, "/metrics"); /* beside /v1, not in it */
  size_t n = strlen(t->base) - (beside ? strlen("/v1") : 0);
  char *url = malloc(n + strlen(path) + 1);
  long status = 0;
  if (c && url && make_headers(t, &headers)) {
    sprintf(url, "%.*s%s", (int)n, t->base, path);
    set_common(c, t, url, headers);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)GET_MS);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_whole);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, body);
    if (!curl_easy_perform(c)) curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
  }
  curl_slist_free_all(headers);
  curl_easy_cleanup(c);
  free(url);
  return status;
}

/* ---- events ---- */
static void fail(load_result *r, const char *kind, const char *message)
{
  if (r->kind[0]) return; /* the first one is the cause */
  snprintf(r->kind, sizeof r->kind, "%s", kind);
  snprintf(r->message, sizeof r->message, "%s", message);
}

/* The message of {"error": {"message": ...}} or {"error": "..."}; NULL where there is none. */
static const char *error_of(json_object *o)
{
  json_object *e = NULL, *m = NULL;
  if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, "error", &e) || !e) return NULL;
  if (json_object_is_type(e, json_type_object) && json_object_object_get_ex(e, "message", &m)) return json_object_get_string(m);
  return json_object_get_string(e);
}

static bool has_text(json_object *delta, const char *key)
{
  json_object *v = NULL;
  return json_object_object_get_ex(delta, key, &v) && v && (!json_object_is_type(v, json_type_string) || json_object_get_string_len(v) > 0);
}

static bool is_piece(json_object *o)
{
  json_object *choices = NULL, *delta = NULL;
  if (!json_object_object_get_ex(o, "choices", &choices) || !json_object_is_type(choices, json_type_array) || !json_object_array_length(choices)) return false;
  if (!json_object_object_get_ex(json_object_array_get_idx(choices, 0), "delta", &delta) || !json_object_is_type(delta, json_type_object)) return false;
  return has_text(delta, "content") || has_text(delta, "reasoning_content") || has_text(delta, "reasoning") || has_text(delta, "tool_calls");
}

static uint64_t count_at(json_object *o, const char *key)
{
  json_object *v = NULL;
  int64_t n = json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? json_object_get_int64(v) : 0;
  return n > 0 ? (uint64_t)n : 0;
}

static void take_usage(load_result *r, json_object *o)
{
  json_object *u = NULL, *details = NULL;
  if (!json_object_object_get_ex(o, "usage", &u) || !json_object_is_type(u, json_type_object)) return;
  r->n_prompt = count_at(u, "prompt_tokens");
  r->n_new = count_at(u, "completion_tokens");
  r->n_cached = json_object_object_get_ex(u, "prompt_tokens_details", &details) ? count_at(details, "cached_tokens") : count_at(u, "prompt_cache_hit_tokens");
}

static bool add_gap(load_result *r, double gap)
{
  if (r->n_gaps == r->cap) {
    size_t cap = r->cap ? 2 * r->cap : 256;
    double *v = realloc(r->gap_s, cap * sizeof *v);
    if (!v) return false;
    r->gap_s = v, r->cap = cap;
  }
  r->gap_s[r->n_gaps++] = gap;
  return true;
}

static void take_event(load_request *q, const char *data)
{
  load_result *r = &q->r;
  if (!strcmp(data, "[DONE]")) {
    q->ended = true;
    return;
  }
  json_object *o = json_tokener_parse(data);
  const char *error = error_of(o);
  if (!o || !json_object_is_type(o, json_type_object)) fail(r, "no JSON in the stream", data);
  else if (error) fail(r, "error in the stream", error);
  else {
    double now = load_now_s();
    bool piece = is_piece(o);
    take_usage(r, o);
    if (piece && q->n_pieces++ && !add_gap(r, now - r->last_s)) q->no_memory = true;
    if (piece && q->n_pieces == 1) r->first_s = now;
    if (piece) r->last_s = now;
  }
  json_object_put(o);
}

/* A line of the stream, without its end. Events of this protocol have one line of data each; comments and names are passed over. */
static void take_line(load_request *q, char *line)
{
  size_t n = strlen(line);
  if (n && line[n - 1] == '\r') line[n - 1] = 0;
  if (!strncmp(line, "data:", 5)) take_event(q, line + 5 + (line[5] == ' '));
}

static size_t take_stream(char *data, size_t one, size_t n, void *user)
{
  load_request *q = user;
  long status = 0;
  curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &status);
  if (status != 200) return q->other.n > MOST_OTHER || load_buffer_add(&q->other, data, one * n) ? n : 0;
  const char *end = data + one * n;
  for (const char *at = data; at < end && !q->no_memory;) {
    const char *stop = memchr(at, '\n', (size_t)(end - at)), *to = stop ? stop : end;
    if (q->line.n > MOST_LINE || !load_buffer_add(&q->line, at, (size_t)(to - at))) q->no_memory = true;
    if (stop && !q->no_memory) {
      take_line(q, q->line.s);
      q->line.n = 0;
    }
    at = to + (stop != NULL);
  }
  return q->no_memory ? 0 : n;
}

/* ---- a request ---- */
bool load_request_open(load_request *q, const load_target *t, char *body, int64_t timeout_s)
{
  char url[2048];
  *q = (load_request){.body = body, .easy = curl_easy_init()};
  if (!q->easy || !make_headers(t, &q->headers)) return false;
  snprintf(url, sizeof url, "%s/chat/completions", t->base);
  set_common(q->easy, t, url, q->headers);
  curl_easy_setopt(q->easy, CURLOPT_POSTFIELDS, q->body);
  curl_easy_setopt(q->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(q->body));
  curl_easy_setopt(q->easy, CURLOPT_TIMEOUT_MS, (long)(1000 * timeout_s));
  curl_easy_setopt(q->easy, CURLOPT_WRITEFUNCTION, take_stream);
  curl_easy_setopt(q->easy, CURLOPT_WRITEDATA, q);
  curl_easy_setopt(q->easy, CURLOPT_PRIVATE, q);
  q->r.begun_s = load_now_s();
  return true;
}

static void fail_status(load_request *q, long status)
{
  char kind[LOAD_KIND];
  json_object *o = q->other.s ? json_tokener_parse(q->other.s) : NULL;
  const char *error = o ? error_of(o) : NULL;
  snprintf(kind, sizeof kind, "status %ld", status);
  fail(&q->r, kind, error ? error : q->other.s ? q->other.s : "without a body");
  json_object_put(o);
}

void load_request_end(load_request *q, CURLcode code)
{
  static const struct { CURLcode code; const char *kind; } kinds[] = {
    {CURLE_COULDNT_CONNECT, "no connection"}, {CURLE_COULDNT_RESOLVE_HOST, "no such host"}, {CURLE_OPERATION_TIMEDOUT, "timeout"},
    {CURLE_SSL_CONNECT_ERROR, "no TLS"}, {CURLE_PEER_FAILED_VERIFICATION, "no TLS"},
  };
  const char *kind = "broken off";
  long status = 0;
  curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &status);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (kinds[i].code == code) kind = kinds[i].kind;
  if (q->no_memory) fail(&q->r, "out of memory here", "a line or an answer was too long");
  else if (code && !q->ended) fail(&q->r, kind, curl_easy_strerror(code));
  else if (status != 200) fail_status(q, status);
  else if (!q->ended) fail(&q->r, "broken off", "the stream ended without [DONE]");
  else if (!q->n_pieces) fail(&q->r, "no token", "the answer is empty");
  if (!q->r.n_new) q->r.n_new = q->n_pieces;
}

void load_request_close(load_request *q)
{
  curl_easy_cleanup(q->easy);
  curl_slist_free_all(q->headers);
  free(q->body);
  free(q->line.s);
  free(q->other.s);
  *q = (load_request){0};
}
