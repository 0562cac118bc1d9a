/* What the commands share: errors to exit status, progress, opening an engine from the options. Uses koine.h only. */
#ifndef CLI_CLI_H
#define CLI_CLI_H
#include <stdarg.h>
#include "koine.h"
#include "options.h"

/* One for each row of cli_commands, where main.c finds them. Each returns the exit status. */
int cmd_info(const cli_args *a);
int cmd_devices(const cli_args *a);
int cmd_logits(const cli_args *a);
int cmd_verify(const cli_args *a);
int cmd_bench(const cli_args *a);
int cmd_tune(const cli_args *a);
int cmd_plan(const cli_args *a);
int cmd_estimate(const cli_args *a);
bool cmd_tuned_wanted(const cli_args *a); /* koine tune without measuring; cmd_tuned.c */
int cmd_tuned(const cli_args *a);
int cmd_tuned_report(const cli_args *a);  /* --report, where it was given */
int cmd_run(const cli_args *a);
int cmd_chat(const cli_args *a);
int cmd_tokenize(const cli_args *a);
int cmd_detokenize(const cli_args *a);
int cmd_chat_encode(const cli_args *a);
int cmd_perplexity(const cli_args *a);
int cmd_quantize(const cli_args *a);
int cmd_serve(const cli_args *a);
int cmd_load(const cli_args *a);

/* One line on stderr, "koine: ...", with the library's last error for a koine_status; return the exit status. */
int cli_fail(koine_status s);
int cli_fail_with(int exit_status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Text on stderr as messages have it: without control characters, in UTF-8. cli_note: a line without a name before it. */
void cli_say(const char *fmt, va_list args) __attribute__((format(printf, 1, 0)));
void cli_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Whether a chat request is at fault, as a file would be. */
bool cli_is_request_error(koine_status s);

/* A line on a terminal's stderr, nothing elsewhere; false once the user has pressed Ctrl-C. */
bool cli_progress(void *user, const char *what, uint64_t done, uint64_t total);
void cli_progress_end(void); /* wipes the line */
/* Whether a terminal takes sequences that move the cursor (TERM is not dumb), and whether it is to have colours and dimmed text (NO_COLOR). */
bool cli_moves(int fd);
bool cli_colours(int fd);
/* Ctrl-C only sets a flag from now on; a second one ends the program. */
void cli_catch_interrupt(void);
/* A request to end (SIGTERM) counts as Ctrl-C; writing to a client that is gone is an error like others. */
void cli_catch_end(void);
bool cli_interrupted(void);
void cli_clear_interrupt(void);

/* Warnings, and with -v notes, to stderr; the processors of -t; --no-tune. Before the library is used. */
void cli_begin(const cli_args *a);

/* Whether -m or --shape is there, and what goes with it; 0, or the exit status after a message. */
int cli_check_model(const cli_args *a);

/* From -m or --shape. */
koine_status cli_model_open(const cli_args *a, koine_model **out);
/* With --topology and --subdevices. */
koine_status cli_runtime_open(const cli_args *a, koine_runtime **out);

typedef struct cli_engine {
  koine_runtime *runtime;
  koine_model *model;
  koine_plan *plan;
} cli_engine;
/* From -m or --shape, -ub, and what says where layers lie: an awake plan, with progress. 0, or the exit status after a message. context: of a conversation, in tokens,
 * 0 for the usual; max_tokens: what the caller will evaluate at most at once, 0 unknown. Close in either case. */
int cli_engine_open(const cli_args *a, uint64_t context, uint64_t max_tokens, cli_engine *out);
void cli_engine_close(cli_engine *e);

/* ---- common_place.c ---- */
/* koine_place with what the options wish for; given: a placement as text, NULL: the best is searched. */
koine_status cli_place(const cli_args *a, const koine_machine *machine, const koine_model *model, uint64_t context, const char *given, koine_placement **out);
/* koine_machine_measure with the devices that --device and --exclude leave; with progress. */
koine_status cli_measure(const cli_args *a, koine_machine *machine, const koine_model *model, bool all);
/* The placement as text that --placement, --exclude, --memory and llama.cpp's options ask for; NULL when none of them does. 0, or the exit status after a message. Free *out. */
int cli_placement(const cli_args *a, koine_runtime *runtime, const koine_model *model, uint64_t context, char **out);

/* The whole file ("-": standard input) with a zero byte behind; 0, or the exit status after a message. Free *out. */
int cli_read_file(const char *path, char **out, size_t *n_bytes);
#endif
