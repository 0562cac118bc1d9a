/* --help, the man page and the bash completion, written from the table of options.c. Owns their layout; knows no option by name.
 * Invariant: the same table gives the same bytes, so docs/koine.1 can be held to it by a test. */
#include <stdio.h>
#include <string.h>
#include "koine.h"
#include "options.h"

static const struct { int status; const char *what; } statuses[] = {
  {EXIT_DONE, "done"}, {EXIT_CHECK, "the check failed, or a result was no number"}, {EXIT_USAGE, "wrong usage, or a prompt longer than the context"},
  {EXIT_FILE, "a bad input file or chat request"}, {EXIT_DEVICE, "no device, a driver's failure, out of memory, or an address to serve at that cannot be had"}, {EXIT_INTERRUPT, "interrupted"},
};
static const struct { const char *line, *what; } examples[] = {
  {"koine devices", "which devices there are"},
  {"koine verify --device cl0", "whether a device computes what it should"},
  {"koine info -c 4096,1048576 DeepSeek-V4-Flash", "what a checkpoint holds and needs"},
  {"koine run -m DeepSeek-V4-Flash -n 100 \"It is a truth\"", "continue a text"},
  {"koine tune -m DeepSeek-V4-Flash --device cl0", "faster kernels for a device, from now on"},
  {"koine bench --shape v4-flash --ratios 0,4,128,4 --experts 16 -p 512 -n 32", "speed of four layers, without any file"},
};

static bool takes(cli_command_id c, int o) { return cli_options[o].commands >> c & 1; }

/* "packed|exact" or "N". */
static void value_of(const cli_option *o, char *out, size_t size)
{
  size_t n = 0;
  out[0] = 0;
  if (o->type == CLI_FLAG) return;
  if (!o->choices) {
    snprintf(out, size, "%s", o->value);
    return;
  }
  for (size_t i = 0; o->choices[i] && n < size; i++) n += (size_t)snprintf(out + n, size - n, "%s%s", i ? "|" : "", o->choices[i]);
}

/* ---- --help ---- */
static void print_option(const cli_option *o)
{
  enum { COLUMN = 32 };
  char left[160] = "", value[80];
  size_t n = 0;
  value_of(o, value, sizeof value);
  for (size_t i = 0; i < cli_option_n_names(o); i++) n += (size_t)snprintf(left + n, sizeof left - n, "%s%s", i ? ", " : "", o->names[i]);
  if (value[0]) snprintf(left + n, sizeof left - n, " %s", value);
  bool wide = strlen(left) > COLUMN - 2;
  printf("  %-*s%s", COLUMN, left, wide ? "\n" : "");
  if (wide) printf("  %*s", COLUMN, "");
  printf("%s%s%s%s\n", o->help, o->fallback ? " (default " : "", o->fallback ? o->fallback : "", o->fallback ? ")" : "");
}

/* Lines of at most 100 columns. */
static void print_wrapped(const char *text)
{
  size_t column = 0;
  for (const char *word = text; *word;) {
    size_t n = strcspn(word, " ");
    if (column && column + 1 + n > 100) putchar('\n'), column = 0;
    printf("%s%.*s", column ? " " : "", (int)n, word);
    column += n + (column ? 1 : 0);
    word += n + (word[n] == ' ');
  }
  putchar('\n');
}

void cli_help_command(cli_command_id command)
{
  const cli_command *c = &cli_commands[command];
  printf("usage: koine %s [options]%s%s\n\n", c->name, *c->operands ? " " : "", c->operands);
  print_wrapped(c->text);
  puts("\noptions:");
  for (int o = 0; o < N_OPTIONS; o++)
    if (takes(command, o)) print_option(&cli_options[o]);
}

void cli_help(void)
{
  puts("usage: koine COMMAND [options]\n\nDeepSeek V4 on whatever compute devices this machine has.\n\ncommands:");
  for (int c = 0; c < N_COMMANDS; c++) printf("  %-12s  %s\n", cli_commands[c].name, cli_commands[c].summary);
  puts("\nkoine COMMAND --help has the options of a command. Also: koine --version, --man, --completion-bash.\n\nexit status:");
  for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) printf("  %-3d  %s\n", statuses[i].status, statuses[i].what);
}

/* ---- the man page ---- */
static void roff(const char *text)
{
  if (*text == '.' || *text == '\'') fputs("\\&", stdout);
  for (; *text; text++) {
    if (*text == '-') fputs("\\-", stdout);
    else if (*text == '\\') fputs("\\e", stdout);
    else putchar(*text);
  }
}

static void man_option(const cli_option *o)
{
  char value[80];
  value_of(o, value, sizeof value);
  puts(".TP");
  for (size_t i = 0; i < cli_option_n_names(o); i++) {
    fputs(i ? ", \\fB" : "\\fB", stdout);
    roff(o->names[i]);
    fputs("\\fR", stdout);
  }
  if (value[0]) {
    fputs(" \\fI", stdout);
    roff(value);
    fputs("\\fR", stdout);
  }
  putchar('\n');
  roff(o->help);
  if (o->fallback) {
    fputs(" (default ", stdout);
    roff(o->fallback);
    putchar(')');
  }
  puts(".");
}

static void man_command(cli_command_id id)
{
  const cli_command *c = &cli_commands[id];
  printf(".SS koine ");
  roff(c->name);
  if (*c->operands) printf(" "), roff(c->operands);
  putchar('\n');
  roff(c->text);
  putchar('\n');
  for (int o = 0; o < N_OPTIONS; o++)
    if (takes(id, o) && o != OPT_HELP && o != OPT_VERBOSE) man_option(&cli_options[o]);
}

void cli_man(void)
{
  printf(".TH KOINE 1 \"\" \"koine %s\" \"User Commands\"\n.SH NAME\nkoine \\- DeepSeek V4 on whatever compute devices a machine has\n", koine_version());
  puts(".SH SYNOPSIS\n.B koine\n.I COMMAND\n[options]\n.br\n.B koine\n.I COMMAND\n.B \\-\\-help\n.br\n.B koine \\-\\-version\n.SH DESCRIPTION");
  puts("Koine runs DeepSeek V4 checkpoints, in the format in which they are published or as GGUF files, on any OpenCL device and on AMD's through HIP, or slowly without one.\n.SH COMMANDS");
  for (int c = 0; c < N_COMMANDS; c++) man_command((cli_command_id)c);
  puts(".SS Options of every command");
  man_option(&cli_options[OPT_VERBOSE]);
  man_option(&cli_options[OPT_HELP]);
  puts(".SH EXIT STATUS");
  for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) printf(".TP\n.B %d\n%s.\n", statuses[i].status, statuses[i].what);
  puts(".SH EXAMPLES");
  for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
    printf(".TP\n.B ");
    roff(examples[i].line);
    putchar('\n');
    roff(examples[i].what);
    puts(".");
  }
  puts(".SH SEE ALSO\n.BR clinfo (1),\n.BR lstopo (1)");
}

/* ---- bash completion ---- */
/* A case of the word before the cursor: what may follow these options. */
static void complete_values(cli_command_id c)
{
  for (int o = 0; o < N_OPTIONS; o++) {
    const cli_option *p = &cli_options[o];
    if (!takes(c, o) || p->type == CLI_FLAG) continue;
    printf("        ");
    for (size_t i = 0; i < cli_option_n_names(p); i++) printf("%s%s", i ? "|" : "", p->names[i]);
    printf(") ");
    if (p->type == CLI_FILE) printf("COMPREPLY=($(compgen -f -- \"$word\"))");
    else if (p->type == CLI_MODEL) printf("COMPREPLY=($(compgen -d -- \"$word\") $(compgen -f -X '!*.gguf' -- \"$word\"))");
    else if (p->choices) {
      printf("COMPREPLY=($(compgen -W \"");
      for (size_t i = 0; p->choices[i]; i++) printf("%s%s", i ? " " : "", p->choices[i]);
      printf("\" -- \"$word\"))");
    }
    puts(p->type == CLI_FILE || p->type == CLI_MODEL || p->choices ? "; return ;;" : "return ;;");
  }
}

void cli_completion_bash(void)
{
  puts("# bash completion for koine; made by koine --completion-bash\n_koine()\n{\n  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n  COMPREPLY=()");
  puts("  if [ \"$COMP_CWORD\" -eq 1 ]; then");
  printf("    COMPREPLY=($(compgen -W \"");
  for (int c = 0; c < N_COMMANDS; c++) printf("%s ", cli_commands[c].name);
  puts("--help --version\" -- \"$word\"))\n    return\n  fi\n  case ${COMP_WORDS[1]} in");
  for (int c = 0; c < N_COMMANDS; c++) {
    printf("    %s)\n      case $before in\n", cli_commands[c].name);
    complete_values((cli_command_id)c);
    printf("      esac\n      if [[ $word == -* ]]; then COMPREPLY=($(compgen -W \"");
    const char *gap = "";
    for (int o = 0; o < N_OPTIONS; o++)
      for (size_t i = 0; takes((cli_command_id)c, o) && i < cli_option_n_names(&cli_options[o]); i++, gap = " ") printf("%s%s", gap, cli_options[o].names[i]);
    printf("\" -- \"$word\"))%s; fi ;;\n", cli_commands[c].max_operands ? "; else COMPREPLY=($(compgen -f -- \"$word\"))" : "");
  }
  puts("  esac\n}\ncomplete -o filenames -F _koine koine");
}
