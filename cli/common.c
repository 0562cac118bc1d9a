/* What the commands share. Owns the interrupt flag and the progress line; prints to stderr only. */
#ifndef _GNU_SOURCE /* sched_setaffinity */
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "cli.h"
#include "serve/utf8.h"

static volatile sig_atomic_t interrupted;
static bool line_shown;

static const struct { koine_status s; int exit_status; } exits[] = {
  {KOINE_OK, EXIT_DONE}, {KOINE_ERR_ARG, EXIT_USAGE}, {KOINE_ERR_FILE, EXIT_FILE}, {KOINE_ERR_NO_DEVICE, EXIT_DEVICE}, {KOINE_ERR_MEMORY, EXIT_DEVICE},
  {KOINE_ERR_DEVICE, EXIT_DEVICE}, {KOINE_ERR_CANCELLED, EXIT_INTERRUPT}, {KOINE_ERR_CHECK, EXIT_CHECK}, {KOINE_ERR_NUMERIC, EXIT_CHECK},
  {KOINE_ERR_STATE, EXIT_DEVICE}, {KOINE_ERR_UNSUPPORTED, EXIT_FILE},
};

int cli_fail(koine_status s)
{
  cli_progress_end();
  fprintf(stderr, "koine: %s\n", s == KOINE_ERR_CANCELLED ? "interrupted" : koine_last_error());
  for (size_t i = 0; i < sizeof exits / sizeof *exits; i++)
    if (exits[i].s == s) return exits[i].exit_status;
  return EXIT_CHECK;
}

bool cli_is_request_error(koine_status s) { return s == KOINE_ERR_ARG || s == KOINE_ERR_UNSUPPORTED || s == KOINE_ERR_FILE; }

/* Messages quote files and arguments: control characters in them, and what is no UTF-8, are shown, not obeyed. */
void cli_say(const char *fmt, va_list args)
{
  char line[2048];
  vsnprintf(line, sizeof line, fmt, args);
  for (const unsigned char *p = (const unsigned char *)line; *p;) {
    size_t n = serve_utf8((const char *)p, 4); /* a zero byte belongs to no longer one */
    bool control = !n || *p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0);
    for (n = n ? n : 1; n > 0; n--, p++)
      if (control) fprintf(stderr, "\\x%02x", *p);
      else fputc(*p, stderr);
  }
}

void cli_note(const char *fmt, ...)
{
  va_list args;
  va_start(args, fmt);
  cli_say(fmt, args);
  va_end(args);
  fputc('\n', stderr);
}

int cli_fail_with(int exit_status, const char *fmt, ...)
{
  va_list args;
  cli_progress_end();
  fputs("koine: ", stderr);
  va_start(args, fmt);
  cli_say(fmt, args);
  va_end(args);
  fputc('\n', stderr);
  return exit_status;
}

/* ---- progress and Ctrl-C ---- */
static void on_interrupt(int signal_number)
{
  interrupted = 1;
  signal(signal_number, SIG_DFL);
}

static void catch_signal(int signal_number, void (*handler)(int))
{
  struct sigaction action = {.sa_handler = handler};
  sigemptyset(&action.sa_mask);
  sigaction(signal_number, &action, NULL);
}

void cli_catch_interrupt(void) { catch_signal(SIGINT, on_interrupt); }

/* A file that may not grow is an error of its writing. */
static void pass_over_limit(void) { catch_signal(SIGXFSZ, SIG_IGN); }

void cli_catch_end(void)
{
  catch_signal(SIGTERM, on_interrupt);
  catch_signal(SIGPIPE, SIG_IGN);
  pass_over_limit(); /* once more: drivers' compilers, loaded by now, take it for our end */
}

bool cli_interrupted(void) { return interrupted; }
void cli_clear_interrupt(void)
{
  interrupted = 0;
  cli_catch_interrupt();
}

bool cli_moves(int fd)
{
  const char *term = getenv("TERM");
  return isatty(fd) && !(term && !strcmp(term, "dumb"));
}

bool cli_colours(int fd)
{
  const char *off = getenv("NO_COLOR");
  return cli_moves(fd) && !(off && *off);
}

bool cli_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
  static struct timespec last;
  struct timespec now;
  (void)user;
  if (interrupted) return false;
  if (!cli_moves(STDERR_FILENO)) return true;
  clock_gettime(CLOCK_MONOTONIC, &now);
  double since = (double)(now.tv_sec - last.tv_sec) + 1e-9 * (double)(now.tv_nsec - last.tv_nsec);
  if (since < 0.1 && done < total) return true;
  last = now;
  fprintf(stderr, "\r\033[K%s", what);
  if (total) fprintf(stderr, ": %.0f %%", 100.0 * (double)done / (double)total);
  fflush(stderr);
  line_shown = true;
  return true;
}

void cli_progress_end(void)
{
  if (line_shown) fputs("\r\033[K", stderr);
  line_shown = false;
}

/* ---- options that every engine command has ---- */
static void print_note(void *user, koine_log_level level, const char *line)
{
  const cli_args *a = user;
  if (level < KOINE_LOG_WARNING && !a->v[OPT_VERBOSE].i) return;
  cli_progress_end();
  fprintf(stderr, "koine: %s%s\n", level == KOINE_LOG_WARNING ? "warning: " : "", line);
}

/* Drivers of CPU devices ask the system, or variables of their own, how many threads to start: both say n. A variable that the user has
 * set stays. */
static void limit_threads(int64_t n)
{
  static const char *const variables[] = {"POCL_MAX_PTHREAD_COUNT", "POCL_CPU_MAX_CU_COUNT", "LP_NUM_THREADS"};
  char text[24];
  cpu_set_t all, some;
  snprintf(text, sizeof text, "%lld", (long long)n);
  for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) setenv(variables[i], text, 0);
  if (sched_getaffinity(0, sizeof all, &all)) return;
  CPU_ZERO(&some);
  for (int cpu = 0, left = (int)n; cpu < CPU_SETSIZE && left > 0; cpu++) {
    if (!CPU_ISSET(cpu, &all)) continue;
    CPU_SET(cpu, &some);
    left--;
  }
  sched_setaffinity(0, sizeof some, &some);
}

void cli_begin(const cli_args *a)
{
  koine_log_set(print_note, (void *)(uintptr_t)a); /* only read */
  pass_over_limit();
  if (a->v[OPT_NO_TUNE].i) setenv("KOINE_TUNED", "order", 1); /* the device stays the same */
  if (a->v[OPT_THREADS].given) limit_threads(a->v[OPT_THREADS].i);
}

/* ---- engine ---- */
int cli_check_model(const cli_args *a)
{
  const cli_value *v = a->v;
  static const cli_option_id with_shape[] = {OPT_RATIOS, OPT_EXPERTS, OPT_VOCAB};
  if (v[OPT_MODEL].given == v[OPT_SHAPE].given)
    return cli_usage_error(a->command, "expected -m MODEL or --shape NAME, found %s", v[OPT_MODEL].given ? "both" : "neither");
  for (size_t i = 0; i < sizeof with_shape / sizeof *with_shape; i++)
    if (v[with_shape[i]].given && !v[OPT_SHAPE].given)
      return cli_usage_error(a->command, "%s: expected together with --shape, found without", cli_options[with_shape[i]].names[0]);
  return 0;
}

koine_status cli_model_open(const cli_args *a, koine_model **out)
{
  const cli_value *v = a->v;
  if (v[OPT_MODEL].given) return koine_model_open(v[OPT_MODEL].text, out);
  int32_t *ratios = calloc(v[OPT_RATIOS].n + 1, sizeof *ratios);
  for (size_t i = 0; ratios && i < v[OPT_RATIOS].n; i++) ratios[i] = (int32_t)v[OPT_RATIOS].list[i];
  koine_shape shape = {.size = sizeof shape, .name = v[OPT_SHAPE].text, .ratios = v[OPT_RATIOS].n ? ratios : NULL, .n_ratios = v[OPT_RATIOS].n,
                       .n_experts = (uint32_t)v[OPT_EXPERTS].i, .n_vocab = (uint32_t)v[OPT_VOCAB].i};
  koine_status s = koine_model_synthetic(&shape, out);
  free(ratios);
  return s;
}

koine_status cli_runtime_open(const cli_args *a, koine_runtime **out)
{
  const cli_value *v = a->v;
  koine_runtime_options options = {.size = sizeof options, .topology_xml = v[OPT_TOPOLOGY].text, .subdevices = v[OPT_SUBDEVICES].texts,
                                   .n_subdevices = v[OPT_SUBDEVICES].n, .n_threads = (uint32_t)v[OPT_THREADS].i};
  return koine_runtime_open(&options, out);
}

/* What is measured of a device is measured on one. */
static const char *device_of(const cli_args *a)
{
  bool one = a->command == CMD_TUNE || a->v[OPT_GEMM].i;
  return one && !a->v[OPT_DEVICE].given && !a->v[OPT_LAYERS].n && !a->v[OPT_EXPERTS_ON].n && !a->v[OPT_EXPERT_CACHE].n ? "" : a->v[OPT_DEVICE].text;
}

int cli_engine_open(const cli_args *a, uint64_t context, uint64_t max_tokens, cli_engine *out)
{
  *out = (cli_engine){0};
  cli_catch_interrupt();
  const cli_value *v = a->v;
  char *placement = NULL;
  koine_plan_options options = {.size = sizeof options, .device = device_of(a), .chunk = (uint32_t)v[OPT_CHUNK].i, .cache = (koine_cache)v[OPT_CACHE].i, .context = context,
                                .keep_layout = (uint32_t)v[OPT_KEEP_LAYOUT].i};
  if (max_tokens && options.chunk > max_tokens) options.chunk = (uint32_t)max_tokens;
  koine_status s = cli_model_open(a, &out->model);
  if (!s) s = cli_runtime_open(a, &out->runtime);
  int status = s ? cli_fail(s) : cli_placement(a, out->runtime, out->model, context, &placement);
  if (status) return status;
  if (!(options.placement = placement))
    options.layers = v[OPT_LAYERS].texts, options.n_layers = v[OPT_LAYERS].n, options.experts = v[OPT_EXPERTS_ON].texts, options.n_experts = v[OPT_EXPERTS_ON].n;
  bool searched = placement && !v[OPT_PLACEMENT].given; /* with the budgets for experts in it */
  options.expert_caches = v[OPT_EXPERT_CACHE].texts, options.n_expert_caches = searched ? 0 : v[OPT_EXPERT_CACHE].n, options.misses_on = v[OPT_MISSES_ON].text;
  s = koine_plan_make(out->runtime, out->model, &options, &out->plan);
  if (!s) s = koine_plan_wake(out->plan, cli_progress, NULL);
  free(placement);
  cli_progress_end();
  return s ? cli_fail(s) : EXIT_DONE;
}

void cli_engine_close(cli_engine *e)
{
  if (e->plan) koine_plan_free(e->plan);
  if (e->model) koine_model_close(e->model);
  if (e->runtime) koine_runtime_close(e->runtime);
  *e = (cli_engine){0};
}

/* ---- files ---- */
int cli_read_file(const char *path, char **out, size_t *n_bytes)
{
  bool standard = !strcmp(path, "-");
  FILE *f = standard ? stdin : fopen(path, "rb");
  size_t n = 0, cap = 1 << 16, got = 0;
  char *s = f ? malloc(cap + 1) : NULL;
  if (!f) return cli_fail_with(EXIT_FILE, "%s: expected a readable file, found: %s", path, strerror(errno));
  while (s && (got = fread(s + n, 1, cap - n, f)) > 0) {
    n += got;
    if (n < cap) continue;
    char *bigger = realloc(s, (cap *= 2) + 1);
    if (!bigger) free(s);
    s = bigger;
  }
  int broken = ferror(f) ? errno : 0;
  if (!standard) fclose(f);
  if (!s) return cli_fail_with(EXIT_DEVICE, "%s: out of memory after %zu bytes", path, n);
  if (broken) {
    free(s);
    return cli_fail_with(EXIT_FILE, "%s: reading failed after %zu bytes: %s", path, n, strerror(broken));
  }
  s[n] = 0;
  *out = s;
  *n_bytes = n;
  return EXIT_DONE;
}
