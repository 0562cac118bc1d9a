/* What the commands on text share. Owns the form of the figures on standard error and what a terminal may be sent. Invariant: text of a
 * model reaches a terminal without control characters other than tab and newline. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "term.h"
#include "common_text.h"
#include "serve/utf8.h"

/* ---- input ---- */
int cli_text_input(const cli_args *a, char **out, size_t *n_bytes)
{
  const cli_value *v = a->v;
  const char *given = a->n_operands ? a->operands[0] : v[OPT_PROMPT].text;
  const char *name = cli_commands[a->command].operands;
  int n_sources = (a->n_operands > 0) + v[OPT_PROMPT].given + v[OPT_FILE].given;
  if (n_sources > 1) return cli_usage_error(a->command, "expected one input, found %s", n_sources > 2 ? "three" : "two");
  if (!n_sources && isatty(STDIN_FILENO)) return cli_usage_error(a->command, "expected %s%s-f FILE or a pipe, found none", name, *name ? ", " : "");
  if (!given) return cli_read_file(v[OPT_FILE].given ? v[OPT_FILE].text : "-", out, n_bytes);
  *n_bytes = strlen(given);
  *out = malloc(*n_bytes + 1);
  if (!*out) return cli_fail_with(EXIT_DEVICE, "out of memory");
  memcpy(*out, given, *n_bytes + 1);
  return EXIT_DONE;
}

/* ---- output ---- */
/* Bytes of the control character at text[0], 0 for none. C1 controls are two bytes in UTF-8. */
static size_t control_bytes(const unsigned char *text, size_t n)
{
  if (n > 1 && text[0] == 0xc2 && text[1] >= 0x80 && text[1] < 0xa0) return 2;
  return (text[0] < 0x20 && text[0] != '\n' && text[0] != '\t') || text[0] == 0x7f;
}

static bool terminal(void)
{
  static int is = -1;
  if (is < 0) is = isatty(STDOUT_FILENO);
  return is;
}

/* In the terminal's charset. */
static void put_bytes(const char *text, size_t n_bytes)
{
  size_t n = 0;
  char *own = terminal() && n_bytes ? cli_term_out(text, n_bytes, &n) : NULL;
  fwrite(own ? own : text, 1, own ? n : n_bytes, stdout);
  free(own);
}

bool cli_text_put(const char *text, size_t n_bytes)
{
  size_t from = 0;
  for (size_t i = 0, skip; terminal() && i < n_bytes; i += skip ? skip : 1) {
    skip = control_bytes((const unsigned char *)text + i, n_bytes - i);
    if (!skip) continue;
    put_bytes(text + from, i - from);
    if (skip > 1) put_bytes("\xef\xbf\xbd", 3);
    else printf("^%c", text[i] ^ 0x40);
    from = i + skip;
  }
  put_bytes(text + from, n_bytes - from);
  return !fflush(stdout) && !ferror(stdout);
}

bool cli_text_is_utf8(const char *text, size_t n_bytes)
{
  for (size_t i = 0, k; i < n_bytes; i += k)
    if (!(k = serve_utf8(text + i, n_bytes - i))) return false;
  return true;
}

/* ---- model, tokenizer, session ---- */
static uint64_t now_ns(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Another each time, short enough to be typed again. */
static uint64_t draw_seed(void)
{
  uint64_t x = now_ns() ^ (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid() << 44;
  x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
  x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
  return x >> 32;
}

/* A tokenizer alone may be a file, a model not: what the file is instead, opening it as a model says. */
static koine_status check_folder(const char *path)
{
  struct stat st;
  koine_model *model;
  if (stat(path, &st) || S_ISDIR(st.st_mode)) return KOINE_OK;
  koine_status s = koine_model_open(path, &model);
  if (!s) koine_model_close(model);
  return s;
}

uint64_t cli_text_seed(const cli_text *t, size_t n) { return t->seeded ? t->seed + n : draw_seed(); }

int cli_text_open(const cli_args *a, cli_text *out)
{
  *out = (cli_text){.begun_ns = now_ns()};
  out->seeded = a->v[OPT_SEED].i >= 0, out->seed = out->seeded ? (uint64_t)a->v[OPT_SEED].i : 0;
  koine_status s = check_folder(a->v[OPT_MODEL].text);
  if (!s) s = koine_tokenizer_open(a->v[OPT_MODEL].text, &out->tokenizer);
  return s ? cli_fail(s) : EXIT_DONE;
}

int cli_text_wake(const cli_args *a, uint64_t context, uint64_t max_tokens, cli_text *t)
{
  int status = cli_engine_open(a, context, max_tokens, &t->engine);
  if (status) return status;
  koine_session_options options = {.size = sizeof options, .cache = (koine_cache)a->v[OPT_CACHE].i, .context = context};
  koine_status s = koine_session_open(t->engine.plan, &options, &t->session);
  t->load_ns = now_ns() - t->begun_ns;
  return s ? cli_fail(s) : EXIT_DONE;
}

void cli_text_close(cli_text *t)
{
  koine_session_close(t->session);
  cli_engine_close(&t->engine);
  koine_tokenizer_close(t->tokenizer);
  *t = (cli_text){0};
}

/* ---- answers ---- */
int cli_text_check_prompt(const cli_text *t, size_t n_prompt)
{
  koine_session_stats k = KOINE_SESSION_STATS_INIT;
  koine_status s = koine_session_get_stats(t->session, &k);
  if (s) return cli_fail(s);
  if (n_prompt <= k.context) return EXIT_DONE;
  return cli_fail_with(EXIT_USAGE, "the prompt has %zu tokens, but the session's context is %llu: give it room with -c N", n_prompt,
                       (unsigned long long)k.context);
}

koine_status cli_text_generate(const cli_args *a, cli_text *t, const int32_t *prompt, size_t n_prompt, cli_turn *turn)
{
  const cli_value *v = a->v;
  koine_generate_options options = {
    .size = sizeof options,
    .sampling = {.size = sizeof options.sampling, .temperature = (float)v[OPT_TEMP].f, .top_k = (int32_t)v[OPT_TOP_K].i, .top_p = (float)v[OPT_TOP_P].f,
                 .min_p = (float)v[OPT_MIN_P].f, .repetition_penalty = (float)v[OPT_REPEAT_PENALTY].f,
                 .presence_penalty = (float)v[OPT_PRESENCE_PENALTY].f, .frequency_penalty = (float)v[OPT_FREQUENCY_PENALTY].f, .seed = turn->seed},
    .n_predict = v[OPT_N_PREDICT].i < 0 ? 0 : (uint64_t)v[OPT_N_PREDICT].i, .stops = v[OPT_STOP].texts, .n_stops = v[OPT_STOP].n,
    .special = turn->special, .text = turn->text, .progress = cli_progress, .user = turn->user,
    .token = turn->token, .stream = turn->stream, .schema = turn->schema};
  turn->ids = NULL;
  turn->n_ids = 0;
  turn->stop = KOINE_STOP_CALLER; /* unless it ends by itself */
  turn->before = (koine_session_stats)KOINE_SESSION_STATS_INIT;
  koine_status s = koine_session_get_stats(t->session, &turn->before);
  if (!s) s = koine_generate(t->session, t->tokenizer, prompt, n_prompt, &options, &turn->ids, &turn->n_ids, &turn->stop);
  cli_progress_end();
  return s;
}

/* ---- figures ---- */
/* Dim on a terminal, so that they do not pass for text. */
static bool dim(void) { return cli_colours(STDERR_FILENO); }

/* Experts that have their places by turns, since the plan woke. */
static void put_experts(const cli_text *t)
{
  koine_plan_usage u = KOINE_PLAN_USAGE_INIT;
  if (koine_plan_get_usage(t->engine.plan, &u) || !(u.experts_there + u.experts_loaded + u.experts_elsewhere)) return;
  fprintf(stderr, "; experts: %.1f %% were there, %.1f MB read in %.2f s", 100.0 * (double)u.experts_there / (double)(u.experts_there + u.experts_loaded + u.experts_elsewhere),
          1e-6 * (double)u.expert_bytes, 1e-9 * (double)u.expert_ns);
  if (u.experts_elsewhere) fprintf(stderr, ", %llu computed elsewhere in %.2f s", (unsigned long long)u.experts_elsewhere, 1e-9 * (double)u.elsewhere_ns);
  if (u.experts_guessed) fprintf(stderr, ", %.1f %% of %llu guesses right", 100.0 * (double)u.guesses_right / (double)u.experts_guessed, (unsigned long long)u.experts_guessed);
}

static void put_rate(uint64_t n, uint64_t ns)
{
  if (n && ns) fprintf(stderr, ", %.1f tokens/s", 1e9 * (double)n / (double)ns);
}

void cli_text_report_load(const cli_text *t)
{
  koine_plan_usage u = KOINE_PLAN_USAGE_INIT;
  koine_session_stats k = KOINE_SESSION_STATS_INIT;
  char *where = NULL;
  if (koine_plan_get_usage(t->engine.plan, &u) || koine_session_get_stats(t->session, &k) || koine_plan_line(t->engine.plan, &where)) return;
  fprintf(stderr, "%sload: %.2f s; device memory: %.1f MB (weights %.1f, scratch %.1f, caches %.1f); %s%s\n", dim() ? "\033[2m" : "",
          1e-9 * (double)t->load_ns, 1e-6 * (double)(u.weight_bytes + u.scratch_bytes + k.cache_bytes), 1e-6 * (double)u.weight_bytes,
          1e-6 * (double)u.scratch_bytes, 1e-6 * (double)k.cache_bytes, where, dim() ? "\033[0m" : "");
  koine_text_free(where);
}

/* Why the answer ended, and what lets it go on. */
static void put_end(const cli_args *a, const cli_turn *turn, uint64_t context)
{
  if (turn->stop == KOINE_STOP_LENGTH) fprintf(stderr, "; ended by -n %lld", (long long)a->v[OPT_N_PREDICT].i);
  else if (turn->stop == KOINE_STOP_CONTEXT) fprintf(stderr, "; ended by the context of %llu tokens, -c N gives more", (unsigned long long)context);
  else fprintf(stderr, "; ended by %s", turn->stop != KOINE_STOP_CALLER ? koine_stop_text(turn->stop) : ferror(stdout) ? "standard output, which takes no more" : "an interruption");
}

void cli_text_report_turn(const cli_args *a, const cli_text *t, size_t n_prompt, const cli_turn *turn)
{
  koine_session_stats k = KOINE_SESSION_STATS_INIT;
  if (koine_session_get_stats(t->session, &k)) return;
  const koine_session_stats *b = &turn->before;
  size_t n_held = koine_session_n_held(t->session);
  uint64_t n_answer = n_held > n_prompt ? n_held - n_prompt : 0; /* of the answer's tokens those that were evaluated: not its last */
  uint64_t n_new = k.n_evaluated - b->n_evaluated - n_answer;
  fprintf(stderr, "%sprompt: %zu tokens, %zu reused, %llu evaluated", dim() ? "\033[2m" : "", n_prompt,
          n_prompt > n_new ? n_prompt - (size_t)n_new : 0, (unsigned long long)n_new);
  put_rate(k.n_prefill - b->n_prefill, k.prefill_ns - b->prefill_ns);
  fprintf(stderr, "; answer: %zu tokens", turn->n_ids);
  put_rate(k.n_decode - b->n_decode, k.decode_ns - b->decode_ns);
  put_experts(t);
  put_end(a, turn, k.context);
  fprintf(stderr, "; seed %llu%s\n", (unsigned long long)turn->seed, dim() ? "\033[0m" : "");
}
