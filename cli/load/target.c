/* Owns: an endpoint's addresses, its model and its metrics. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "wire.h"

static bool ends_in(const char *s, size_t n, const char *with)
{
  size_t k = strlen(with);
  return n >= k && !memcmp(s + n - k, with, k);
}

/* This machine's own names: what goes there goes through no proxy. */
static bool is_near(const char *host) { return !strcmp(host, "localhost") || !strncmp(host, "127.", 4) || !strcmp(host, "[::1]"); }

static bool check_url(load_target *t, const char *url)
{
  CURLU *u = curl_url();
  char *scheme = NULL, *host = NULL;
  bool good = u && !curl_url_set(u, CURLUPART_URL, url, 0) && !curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) && !curl_url_get(u, CURLUPART_HOST, &host, 0) &&
              (!strcmp(scheme, "http") || !strcmp(scheme, "https"));
  t->near = good && is_near(host);
  curl_free(scheme);
  curl_free(host);
  curl_url_cleanup(u);
  return good;
}

bool load_target_init(load_target *t, const char *url, const char *key, const char *model)
{
  size_t n = strlen(url);
  *t = (load_target){.url = url, .key = key};
  if (!check_url(t, url) || strpbrk(url, "?#")) return false;
  snprintf(t->model, sizeof t->model, "%s", model ? model : "");
  if (ends_in(url, n, "/chat/completions")) n -= strlen("/chat/completions");
  while (n && url[n - 1] == '/') n--;
  t->base = malloc(n + 4);
  if (t->base) sprintf(t->base, "%.*s%s", (int)n, url, ends_in(url, n, "/v1") ? "" : "/v1");
  return t->base;
}

void load_target_free(load_target *t) { free(t->base); }

bool load_model_find(load_target *t, char *why, size_t n_why)
{
  load_buffer b = {0};
  if (t->model[0]) return true;
  long status = load_get(t, "/models", &b);
  json_object *o = status == 200 && b.s ? json_tokener_parse(b.s) : NULL, *data = NULL, *id = NULL;
  bool good = o && json_object_object_get_ex(o, "data", &data) && json_object_is_type(data, json_type_array) && json_object_array_length(data) &&
              json_object_object_get_ex(json_object_array_get_idx(data, 0), "id", &id) && json_object_is_type(id, json_type_string);
  if (good) snprintf(t->model, sizeof t->model, "%s", json_object_get_string(id));
  else if (!status) snprintf(why, n_why, "%s: nothing answers there", t->url);
  else if (status == 401 || status == 403) snprintf(why, n_why, "%s/models: status %ld: the endpoint wants a key (--api-key-file), or another one", t->base, status);
  else snprintf(why, n_why, "%s/models: expected a list of models, found status %ld%s; --model names one", t->base, status, status == 200 ? " and something else" : "");
  json_object_put(o);
  free(b.s);
  return good;
}

/* ---- metrics ---- */
/* In the order in which they are believed. A name that several label sets share is added up. */
static const struct { const char *name; size_t offset; } known[] = {
  {"process_resident_memory_bytes", offsetof(load_metrics, memory_bytes)}, {"koine_prompt_tokens_total", offsetof(load_metrics, asked)},
  {"koine_prompt_cached_tokens_total", offsetof(load_metrics, held)}, {"vllm:prefix_cache_queries_total", offsetof(load_metrics, asked)},
  {"vllm:prefix_cache_hits_total", offsetof(load_metrics, held)}, {"vllm:prefix_cache_queries", offsetof(load_metrics, asked)},
  {"vllm:prefix_cache_hits", offsetof(load_metrics, held)},
};

static double value_of(const char *text, const char *name)
{
  size_t n = strlen(name);
  double sum = NAN;
  for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
    if (strncmp(line, name, n) || (line[n] != ' ' && line[n] != '{')) continue;
    const char *at = line[n] == '{' ? strchr(line, '}') : line + n - 1;
    char *end;
    double v = at ? strtod(at + 1, &end) : 0;
    if (at && end != at + 1 && isfinite(v)) sum = isnan(sum) ? v : sum + v;
  }
  return sum;
}

load_metrics load_metrics_read(const load_target *t)
{
  load_metrics m = {NAN, NAN, NAN};
  load_buffer b = {0};
  if (load_get(t, "/metrics", &b) == 200 && b.s)
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
      double *v = (double *)((char *)&m + known[i].offset);
      if (isnan(*v)) *v = value_of(b.s, known[i].name);
    }
  free(b.s);
  return m;
}
