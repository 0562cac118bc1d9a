/* Owns: levels as a table for a person, as CSV and as JSON. */
#include <math.h>
#include <string.h>
#include "load.h"

enum { CELL = 40 };

static void cell(char *out, double v, double scale, const char *form)
{
  if (isfinite(v)) snprintf(out, CELL, form, v * scale);
  else snprintf(out, CELL, "-");
}

static void spread_cell(char *out, load_spread s)
{
  if (isfinite(s.p50)) snprintf(out, CELL, "%.4g %.4g %.4g", 1e3 * s.p50, 1e3 * s.p90, 1e3 * s.p99);
  else snprintf(out, CELL, "-");
}

/* Text of an endpoint: without control characters. */
static void put_plain(FILE *f, const char *s)
{
  for (; *s; s++) fputc((unsigned char)*s < ' ' || *s == 0x7f ? ' ' : *s, f);
}

/* ---- the table ---- */
void load_table(FILE *f, const load_options *o, const load_levels *l)
{
  char all[CELL], each[CELL], first[CELL], between[CELL], reused[CELL], memory[CELL];
  for (size_t t = 0; t < o->n_targets; t++) {
    fprintf(f, "%zu: %s, ", t + 1, o->targets[t].url);
    put_plain(f, o->targets[t].model);
    fputc('\n', f);
  }
  fprintf(f, "\n%2s %8s %7s %8s %6s %8s %9s %9s %23s %23s %7s %11s\n", "", "context", "at once", "requests", "failed", "prompt", "tokens/s", "a stream", "first token, ms", "between, ms",
          "reused", "memory, MiB");
  fprintf(f, "%2s %8s %7s %8s %6s %8s %9s %9s %23s %23s\n", "", "", "", "", "", "tokens", "", "", "p50 p90 p99", "p50 p90 p99");
  for (size_t i = 0; i < l->n; i++) {
    const load_level *v = &l->v[i];
    uint64_t good = v->n_requests - v->n_failed;
    cell(all, v->tokens_s, 1, "%.4g");
    cell(each, v->stream_tokens_s, 1, "%.4g");
    cell(reused, v->reused, 100, "%.0f %%");
    cell(memory, v->memory_bytes, 1.0 / (1 << 20), "%.1f");
    spread_cell(first, v->first_s);
    spread_cell(between, v->between_s);
    fprintf(f, "%2zu %8lld %7lld %8llu %6llu %8llu %9s %9s %23s %23s %7s %11s\n", v->target + 1, (long long)v->context, (long long)v->streams, (unsigned long long)v->n_requests,
            (unsigned long long)v->n_failed, (unsigned long long)(good ? v->n_prompt / good : 0), all, each, first, between, reused, memory);
  }
  for (size_t i = 0; i < l->n; i++)
    for (size_t k = 0; k < l->v[i].n_failures; k++) {
      const load_failure *e = &l->v[i].failure[k];
      fprintf(f, "%zu, %lld at once: %llu failed: %s: ", l->v[i].target + 1, (long long)l->v[i].streams, (unsigned long long)e->n, e->kind);
      put_plain(f, e->message);
      fputc('\n', f);
    }
}

/* ---- figures by name, for CSV and JSON ---- */
static const struct { const char *name; size_t offset; } counts[] = {
  {"context", offsetof(load_level, context)}, {"streams", offsetof(load_level, streams)}, {"requests", offsetof(load_level, n_requests)},
  {"failed", offsetof(load_level, n_failed)}, {"prompt_tokens", offsetof(load_level, n_prompt)}, {"cached_tokens", offsetof(load_level, n_cached)},
  {"new_tokens", offsetof(load_level, n_new)},
}, numbers[] = {
  {"seconds", offsetof(load_level, seconds)}, {"tokens_per_second", offsetof(load_level, tokens_s)}, {"stream_tokens_per_second", offsetof(load_level, stream_tokens_s)},
  {"first_p50_s", offsetof(load_level, first_s.p50)}, {"first_p90_s", offsetof(load_level, first_s.p90)}, {"first_p99_s", offsetof(load_level, first_s.p99)},
  {"between_p50_s", offsetof(load_level, between_s.p50)}, {"between_p90_s", offsetof(load_level, between_s.p90)}, {"between_p99_s", offsetof(load_level, between_s.p99)},
  {"reused", offsetof(load_level, reused)}, {"memory_bytes", offsetof(load_level, memory_bytes)},
};
enum { N_COUNTS = sizeof counts / sizeof *counts, N_NUMBERS = sizeof numbers / sizeof *numbers };

static uint64_t count_of(const load_level *l, size_t k) { return *(const uint64_t *)((const char *)l + counts[k].offset); }
static double number_of(const load_level *l, size_t k) { return *(const double *)((const char *)l + numbers[k].offset); }

static void put_quoted(FILE *f, const char *s)
{
  fputc('"', f);
  for (; *s; s++) {
    if (*s == '"') fputc('"', f);
    fputc((unsigned char)*s < ' ' ? ' ' : *s, f);
  }
  fputc('"', f);
}

void load_csv(FILE *f, const load_options *o, const load_levels *l)
{
  fprintf(f, "url,model");
  for (size_t k = 0; k < N_COUNTS; k++) fprintf(f, ",%s", counts[k].name);
  for (size_t k = 0; k < N_NUMBERS; k++) fprintf(f, ",%s", numbers[k].name);
  fprintf(f, ",failures\n");
  for (size_t i = 0; i < l->n; i++) {
    const load_level *v = &l->v[i];
    put_quoted(f, o->targets[v->target].url);
    fputc(',', f);
    put_quoted(f, o->targets[v->target].model);
    for (size_t k = 0; k < N_COUNTS; k++) fprintf(f, ",%llu", (unsigned long long)count_of(v, k));
    for (size_t k = 0; k < N_NUMBERS; k++) {
      double x = number_of(v, k);
      if (isfinite(x)) fprintf(f, ",%.9g", x);
      else fputc(',', f);
    }
    char kinds[LOAD_KINDS * (LOAD_KIND + 24)] = "";
    for (size_t k = 0, n = 0; k < v->n_failures; k++)
      n += (size_t)snprintf(kinds + n, sizeof kinds - n, "%s%s: %llu", k ? "; " : "", v->failure[k].kind, (unsigned long long)v->failure[k].n);
    fputc(',', f);
    put_quoted(f, kinds);
    fputc('\n', f);
  }
}

static json_object *number_json(double v)
{
  json_object *o = isfinite(v) ? json_object_new_double(v) : NULL;
  if (o) json_object_set_serializer(o, json_object_double_to_json_string, (void *)(uintptr_t)"%.9g", NULL); /* only read */
  return o;
}

static json_object *level_json(const load_options *o, const load_level *v)
{
  json_object *out = json_object_new_object(), *failures = json_object_new_array();
  json_object_object_add(out, "url", json_object_new_string(o->targets[v->target].url));
  json_object_object_add(out, "model", json_object_new_string(o->targets[v->target].model));
  for (size_t k = 0; k < N_COUNTS; k++) json_object_object_add(out, counts[k].name, json_object_new_int64((int64_t)count_of(v, k)));
  for (size_t k = 0; k < N_NUMBERS; k++) json_object_object_add(out, numbers[k].name, number_json(number_of(v, k)));
  for (size_t k = 0; k < v->n_failures; k++) {
    json_object *e = json_object_new_object();
    json_object_object_add(e, "kind", json_object_new_string(v->failure[k].kind));
    json_object_object_add(e, "count", json_object_new_int64((int64_t)v->failure[k].n));
    json_object_object_add(e, "message", json_object_new_string(v->failure[k].message));
    json_object_array_add(failures, e);
  }
  json_object_object_add(out, "failures", failures);
  return out;
}

void load_json(FILE *f, const load_options *o, const load_levels *l)
{
  json_object *out = json_object_new_object(), *levels = json_object_new_array();
  for (size_t i = 0; i < l->n; i++) json_object_array_add(levels, level_json(o, &l->v[i]));
  json_object_object_add(out, "max_tokens", json_object_new_int64(o->max_tokens));
  json_object_object_add(out, "prompts", json_object_new_int64((int64_t)o->n_prompts));
  json_object_object_add(out, "levels", levels);
  fprintf(f, "%s\n", json_object_to_json_string_ext(out, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE));
  json_object_put(out);
}
