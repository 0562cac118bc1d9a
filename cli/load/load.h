/* koine load-test: requests to endpoints of OpenAI's protocol, several at once, and what came of them in numbers. Uses libcurl and json-c, nothing of the
 * library: what is measured is what a client sees. Prints nothing but into the file that it is given. */
#ifndef LOAD_LOAD_H
#define LOAD_LOAD_H
#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { LOAD_TEXT = 256, LOAD_KIND = 48, LOAD_KINDS = 8 };

typedef struct load_prompt {
  json_object *messages; /* an array */
  int64_t max_tokens;    /* 0: as the options say */
} load_prompt;

typedef struct load_target {
  const char *url;       /* as given */
  char *base;            /* without a / at its end, and with /v1 */
  const char *key;       /* NULL: none */
  char model[LOAD_TEXT]; /* "": the endpoint's first one, once it was asked */
  bool near;             /* this machine itself: no proxy */
  double words_base, words_token; /* a prompt of w words of filling has words_base + w * words_token tokens; 0: not known */
} load_target;

typedef struct load_options {
  load_target *targets; size_t n_targets;
  const load_prompt *prompts; size_t n_prompts;
  const int64_t *streams; size_t n_streams;   /* requests at once, a level for each */
  const int64_t *contexts; size_t n_contexts; /* tokens that prompts are filled up to; 0: as they are */
  int64_t n_requests;   /* of a level; 0: 4 for each stream */
  int64_t max_tokens, timeout_s;
  double temperature;
  bool ignore_eos;      /* answers of max_tokens, where the endpoint can */
  bool same_context;    /* requests share what fills them up, so that an endpoint can reuse it */
  bool (*progress)(void *user, const char *what, uint64_t done, uint64_t total); /* false: the user wants an end */
} load_options;

/* What came of a request. */
typedef struct load_result {
  double begun_s, first_s, last_s; /* on one clock; first_s 0: no token came */
  double *gap_s; size_t n_gaps, cap; /* from piece to piece */
  uint64_t n_prompt, n_cached, n_new; /* tokens as the endpoint counts them; where it does not, n_new are the pieces */
  char kind[LOAD_KIND], message[LOAD_TEXT]; /* kind "": good */
} load_result;

typedef struct load_spread { double p50, p90, p99; } load_spread; /* NAN: nothing was measured */
typedef struct load_failure { char kind[LOAD_KIND], message[LOAD_TEXT]; uint64_t n; } load_failure; /* message: of the first one */

/* So many requests at once to one target. */
typedef struct load_level {
  size_t target;
  int64_t context, streams;
  uint64_t n_requests, n_failed; /* that ended */
  uint64_t n_prompt, n_cached, n_new;
  double seconds, tokens_s;      /* of all streams together */
  double stream_tokens_s;        /* median over requests, from the first token on */
  load_spread first_s, between_s;
  double memory_bytes, reused;   /* from the endpoint's metrics; reused: of the tokens of prompts, 0 to 1. NAN: not told */
  load_failure failure[LOAD_KINDS]; size_t n_failures;
} load_level;

typedef struct load_levels { load_level *v; size_t n; } load_levels;
typedef enum load_end { LOAD_DONE, LOAD_INTERRUPTED, LOAD_FAILED } load_end;

/* All levels: each on all targets in turn before the next one. What there is when it ends early is in out. LOAD_FAILED: a target does not answer, or there is no
 * memory; why has it. Free out->v. */
load_end load_run(load_options *o, load_levels *out, char *why, size_t n_why);

/* ---- prompts.c ---- */
typedef struct load_prompts { load_prompt *v; size_t n; } load_prompts;
/* A prompt a line: a text, or an object of JSON with prompt or messages, and max_tokens. text NULL: those that are built in. False with the line in why. */
bool load_prompts_read(const char *text, load_prompts *out, char *why, size_t n_why);
void load_prompts_free(load_prompts *p);
/* The body of request i, to be freed; NULL without memory. */
char *load_body(const load_options *o, const load_target *t, const load_prompt *p, int64_t n_words, int64_t max_tokens, uint64_t i);

/* ---- target.c ---- */
/* False: no address of http or https. */
bool load_target_init(load_target *t, const char *url, const char *key, const char *model);
void load_target_free(load_target *t);

/* ---- figures.c ---- */
double load_now_s(void);
/* Sorts v. */
load_spread load_spread_of(double *v, size_t n);
/* results [n], those that ended. False without memory. */
bool load_level_of(load_level *l, const load_result *results, size_t n, double seconds);

/* ---- table.c, report.c ---- */
void load_table(FILE *f, const load_options *o, const load_levels *l);
void load_csv(FILE *f, const load_options *o, const load_levels *l);
void load_json(FILE *f, const load_options *o, const load_levels *l);
void load_report(FILE *f, const load_options *o, const load_levels *l);
#endif
