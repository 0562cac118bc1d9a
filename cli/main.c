/* The koine command: finds the command's row, parses, runs. Owns nothing. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "cli.h"

static int (*const runs[N_COMMANDS])(const cli_args *) = {
  [CMD_INFO] = cmd_info, [CMD_DEVICES] = cmd_devices, [CMD_LOGITS] = cmd_logits, [CMD_VERIFY] = cmd_verify, [CMD_BENCH] = cmd_bench,
  [CMD_TUNE] = cmd_tune, [CMD_PLAN] = cmd_plan, [CMD_ESTIMATE] = cmd_estimate,
  [CMD_RUN] = cmd_run, [CMD_CHAT] = cmd_chat, [CMD_TOKENIZE] = cmd_tokenize, [CMD_DETOKENIZE] = cmd_detokenize, [CMD_CHAT_ENCODE] = cmd_chat_encode,
  [CMD_PERPLEXITY] = cmd_perplexity, [CMD_QUANTIZE] = cmd_quantize, [CMD_SERVE] = cmd_serve, [CMD_LOAD] = cmd_load,
};

static void print_version(void) { printf("koine %s\n", koine_version()); }

static const struct { const char *name; void (*print)(void); } prints[] = {
  {"--help", cli_help}, {"-h", cli_help}, {"help", cli_help}, {"--version", print_version}, {"--man", cli_man}, {"--completion-bash", cli_completion_bash},
};

static int unknown(const char *text)
{
  const char *names[N_COMMANDS];
  for (int c = 0; c < N_COMMANDS; c++) names[c] = cli_commands[c].name;
  const char *near = text[0] == '-' ? NULL : cli_nearest(text, names, N_COMMANDS);
  return cli_fail_with(EXIT_USAGE, "expected a command, found '%s'%s%s%s; see koine --help", text, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* What was printed may still fail to reach a full disk or a closed pipe. */
static int flushed(int status)
{
  if (fflush(stdout) || ferror(stdout)) return status ? status : cli_fail_with(EXIT_FILE, "standard output: writing failed");
  return status;
}

/* A descriptor that was closed at the start would be taken by the next file that is opened: messages would then go into it. What is written to a
 * standard output that is not there fails, as on a full disk: results that nobody gets are no success. */
static bool open_standard(void)
{
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDOUT_FILENO ? O_RDONLY : O_RDWR) < 0) return false;
  return true;
}

int main(int argc, char **argv)
{
  cli_args a;
  if (!open_standard()) return EXIT_DEVICE;
  if (argc < 2) {
    fprintf(stderr, "koine: expected a command, found none; see koine --help\n");
    return EXIT_USAGE;
  }
  for (size_t i = 0; i < sizeof prints / sizeof *prints; i++) {
    if (strcmp(argv[1], prints[i].name)) continue;
    cli_command_id of = argc > 2 ? cli_command_find(argv[2]) : N_COMMANDS;
    if (argc > 2 && (prints[i].print != cli_help || of == N_COMMANDS)) return unknown(argv[2]);
    if (of < N_COMMANDS) cli_help_command(of);
    else prints[i].print();
    return flushed(EXIT_DONE);
  }
  cli_command_id command = cli_command_find(argv[1]);
  if (command == N_COMMANDS) return unknown(argv[1]);
  int status = cli_parse(command, argc - 2, argv + 2, &a);
  if (!status && a.v[OPT_HELP].i) cli_help_command(command);
  else if (!status) {
    cli_begin(&a);
    status = runs[command](&a);
  }
  cli_args_free(&a);
  return flushed(status);
}
