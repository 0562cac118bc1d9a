/* Reading the command line by the table of options.c. Owns the messages about what was typed wrong: one line each that names the option,
 * what was expected and what was found. Never prints to standard output. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli.h"

size_t cli_option_n_names(const cli_option *o)
{
  size_t n = 0, max = sizeof o->names / sizeof *o->names;
  while (n < max && o->names[n]) n++;
  return n;
}

cli_command_id cli_command_find(const char *name)
{
  int c = 0;
  while (c < N_COMMANDS && strcmp(cli_commands[c].name, name)) c++;
  return (cli_command_id)c;
}

int cli_usage_error(cli_command_id command, const char *fmt, ...)
{
  const char *name = cli_commands[command].name;
  va_list args;
  fprintf(stderr, "koine %s: ", name);
  va_start(args, fmt);
  cli_say(fmt, args);
  va_end(args);
  fprintf(stderr, "; see koine %s --help\n", name);
  return EXIT_USAGE;
}

/* Edits that turn a into b; a text longer than the row is far from everything. */
static size_t distance(const char *a, const char *b)
{
  enum { MAX = 64 };
  size_t row[MAX + 1], n = strlen(b);
  if (n > MAX || strlen(a) > MAX) return MAX;
  for (size_t j = 0; j <= n; j++) row[j] = j;
  for (size_t i = 1; a[i - 1]; i++) {
    size_t corner = row[0];
    row[0] = i;
    for (size_t j = 1; j <= n; j++) {
      size_t same = corner + (a[i - 1] != b[j - 1]), gap = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
      corner = row[j];
      row[j] = same < gap ? same : gap;
    }
  }
  return row[n];
}

const char *cli_nearest(const char *name, const char *const *known, size_t n_known)
{
  const char *best = NULL;
  size_t least = strlen(name) / 3 + 1;
  for (size_t i = 0; i < n_known; i++) {
    size_t d = distance(name, known[i]);
    if (d <= least && (!best || d < least)) best = known[i], least = d;
  }
  return best;
}

/* The option of this command spelled text[0..n); N_OPTIONS when there is none. */
static cli_option_id find(cli_command_id command, const char *text, size_t n)
{
  for (int o = 0; o < N_OPTIONS; o++) {
    if (!(cli_options[o].commands >> command & 1)) continue;
    for (size_t k = 0; k < cli_option_n_names(&cli_options[o]); k++)
      if (strlen(cli_options[o].names[k]) == n && !memcmp(cli_options[o].names[k], text, n)) return (cli_option_id)o;
  }
  return N_OPTIONS;
}

static int unknown(cli_command_id command, const char *text)
{
  const char *known[3 * N_OPTIONS];
  size_t n = 0;
  for (int o = 0; o < N_OPTIONS; o++)
    for (size_t k = 0; cli_options[o].commands >> command & 1 && k < cli_option_n_names(&cli_options[o]); k++) known[n++] = cli_options[o].names[k];
  const char *near = cli_nearest(text, known, n);
  if (near) return cli_usage_error(command, "unknown option '%s'; did you mean '%s'?", text, near);
  return cli_usage_error(command, "unknown option '%s'", text);
}

static int wrong(cli_command_id command, const cli_option *o, const char *spelled, const char *found)
{
  char expected[200] = "";
  size_t n = 0;
  if (o->type == CLI_CHOICE) {
    for (size_t i = 0; o->choices[i]; i++)
      n += (size_t)snprintf(expected + n, sizeof expected - n, "%s%s", i ? o->choices[i + 1] ? ", " : " or " : "", o->choices[i]);
  } else {
    const char *kind = o->type == CLI_FLOAT ? "a number" : o->type == CLI_INT ? "an integer" : "integers separated by commas, each";
    snprintf(expected, sizeof expected, "%s from %.16g to %.16g", kind, o->low, o->high);
  }
  return cli_usage_error(command, "%s: expected %s, found '%s'", spelled, expected, found);
}

/* An integer that ends at `end` characters or before; false when there is none or it is out of range. */
static bool read_int(const cli_option *o, const char *text, const char **end, int64_t *out)
{
  char *stop;
  errno = 0;
  long long v = strtoll(text, &stop, 10);
  if (stop == text || errno || text[0] == ' ' || (double)v < o->low || (double)v > o->high) return false;
  *end = stop;
  *out = v;
  return true;
}

static bool read_ints(const cli_option *o, const char *text, cli_value *v)
{
  size_t n = 1;
  for (const char *s = text; *s; s++) n += *s == ',';
  int64_t *list = realloc(v->list, n * sizeof *list);
  if (!list) return false;
  v->list = list;
  v->n = n;
  for (size_t i = 0; i < n; i++) {
    if (!read_int(o, text, &text, &list[i]) || *text != (i + 1 < n ? ',' : 0)) return false;
    text++;
  }
  return true;
}

static bool read_float(const cli_option *o, const char *text, double *out)
{
  char *stop;
  *out = strtod(text, &stop);
  return stop != text && !*stop && text[0] != ' ' && isfinite(*out) && *out >= o->low && *out <= o->high;
}

static bool read_choice(const cli_option *o, const char *text, int64_t *out)
{
  for (*out = 0; o->choices[*out]; ++*out)
    if (!strcmp(o->choices[*out], text)) return true;
  return false;
}

static bool read_value(const cli_option *o, const char *text, cli_value *v)
{
  const char *end = "";
  v->text = text;
  switch (o->type) {
    case CLI_INT: return read_int(o, text, &end, &v->i) && !*end;
    case CLI_INTS: return read_ints(o, text, v);
    case CLI_FLOAT: return read_float(o, text, &v->f);
    case CLI_CHOICE: return read_choice(o, text, &v->i);
    case CLI_TEXTS:
      v->texts[v->n++] = text; /* cli_parse made room for as many as there are arguments */
      return true;
    default: return true;
  }
}

/* Takes argv[at], an option; returns how many arguments it took, or -1 after a message. */
static int take(cli_args *a, int argc, char **argv, int at)
{
  const char *arg = argv[at], *equals = !strncmp(arg, "--", 2) ? strchr(arg, '=') : NULL;
  size_t n = equals ? (size_t)(equals - arg) : strlen(arg);
  cli_option_id id = find(a->command, arg, n);
  if (id == N_OPTIONS) return unknown(a->command, arg), -1;
  const cli_option *o = &cli_options[id];
  cli_value *v = &a->v[id];
  char spelled[40];
  snprintf(spelled, sizeof spelled, "%.*s", (int)n, arg);
  v->given = true;
  if (o->type == CLI_FLAG) {
    if (equals) return cli_usage_error(a->command, "%s: expected no value, found '%s'", spelled, equals + 1), -1;
    v->i = 1;
    return 1;
  }
  const char *text = equals ? equals + 1 : at + 1 < argc ? argv[at + 1] : NULL;
  if (!text) return cli_usage_error(a->command, "%s: expected %s, found the end of the line", spelled, o->value), -1;
  if (!equals && find(a->command, text, strlen(text)) != N_OPTIONS)
    return cli_usage_error(a->command, "%s: expected %s, found the option '%s'", spelled, o->value, text), -1;
  if (!*text && o->type != CLI_TEXT && o->type != CLI_TEXTS) return cli_usage_error(a->command, "%s: expected %s, found ''", spelled, o->value), -1;
  if (!read_value(o, text, v)) return wrong(a->command, o, spelled, text), -1;
  return equals ? 1 : 2;
}

static int complete(cli_args *a)
{
  const cli_command *c = &cli_commands[a->command];
  size_t most = c->max_operands;
  if (!most && a->n_operands) return cli_usage_error(a->command, "expected options only, found '%s'", a->operands[0]);
  if (a->n_operands > most) return cli_usage_error(a->command, "expected at most %zu operand%s, found '%s'", most, most == 1 ? "" : "s", a->operands[most]);
  for (int o = 0; o < N_OPTIONS; o++) {
    if (cli_options[o].required >> a->command & 1 && !a->v[o].given)
      return cli_usage_error(a->command, "%s %s is needed", cli_options[o].names[0], cli_options[o].value);
  }
  return 0;
}

int cli_parse(cli_command_id command, int argc, char **argv, cli_args *out)
{
  *out = (cli_args){.command = command};
  out->operands = calloc((size_t)argc + 1, sizeof *out->operands);
  bool room = out->operands != NULL;
  for (int o = 0; o < N_OPTIONS; o++)
    if (cli_options[o].type == CLI_TEXTS) room &= (out->v[o].texts = calloc((size_t)argc + 1, sizeof *out->operands)) != NULL;
  if (!room) {
    fprintf(stderr, "koine: out of memory\n");
    return EXIT_DEVICE;
  }
  for (int o = 0; o < N_OPTIONS; o++) /* a fallback of the table is well formed: t_cli.sh asks for each command */
    if (cli_options[o].fallback && cli_options[o].commands >> command & 1) read_value(&cli_options[o], cli_options[o].fallback, &out->v[o]);
  bool options = true;
  for (int at = 0; at < argc;) {
    const char *arg = argv[at];
    if (options && !strcmp(arg, "--")) {
      options = false;
      at++;
    } else if (options && arg[0] == '-' && arg[1]) {
      int taken = take(out, argc, argv, at);
      if (taken < 0) return EXIT_USAGE;
      if (out->v[OPT_HELP].i) return 0;
      at += taken;
    } else out->operands[out->n_operands++] = argv[at++];
  }
  return complete(out);
}

void cli_args_free(cli_args *args)
{
  for (int o = 0; o < N_OPTIONS; o++) {
    free(args->v[o].list);
    free(args->v[o].texts);
  }
  free(args->operands);
}
