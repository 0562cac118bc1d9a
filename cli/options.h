/* The command's one table of commands and options: parsing, --help, the man page and the completion all read it. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXIT_DONE = 0, EXIT_CHECK = 1, EXIT_USAGE = 2, EXIT_FILE = 3, EXIT_DEVICE = 4, EXIT_INTERRUPT = 130 };

typedef enum cli_command_id {
  CMD_INFO, CMD_DEVICES, CMD_LOGITS, CMD_VERIFY, CMD_BENCH, CMD_TUNE, CMD_PLAN, CMD_ESTIMATE, CMD_RUN, CMD_CHAT, CMD_TOKENIZE, CMD_DETOKENIZE, CMD_CHAT_ENCODE, CMD_PERPLEXITY, CMD_QUANTIZE, CMD_SERVE, CMD_LOAD, N_COMMANDS
} cli_command_id;

typedef enum cli_option_id {
  OPT_MODEL, OPT_TOKENS, OPT_OUTPUT, OPT_PROMPT, OPT_FILE, OPT_SYSTEM, OPT_N_PREDICT, OPT_CTX, OPT_CONTEXTS, OPT_CHUNK, OPT_CACHE, OPT_DEVICE, OPT_LAYERS, OPT_EXPERTS_ON, OPT_EXPERT_CACHE, OPT_MISSES_ON,
  OPT_SUBDEVICES,
  OPT_THREADS, OPT_SEED, OPT_TEMP, OPT_TOP_K, OPT_TOP_P, OPT_MIN_P, OPT_REPEAT_PENALTY, OPT_PRESENCE_PENALTY, OPT_FREQUENCY_PENALTY, OPT_STOP, OPT_JSON_SCHEMA,
  OPT_THINK, OPT_IDS, OPT_SPECIAL, OPT_SEGMENT, OPT_KL, OPT_SAVE_LOGITS, OPT_TYPE, OPT_IMATRIX, OPT_SAVE_IMATRIX, OPT_FALLBACK, OPT_SHAPE, OPT_RATIOS, OPT_EXPERTS, OPT_VOCAB, OPT_N_PROMPT, OPT_N_GEN, OPT_DEPTHS, OPT_FILL, OPT_OPS, OPT_GEMM,
  OPT_REPETITIONS, OPT_FORMAT, OPT_BUDGET, OPT_LIST, OPT_WHY, OPT_EXPORT, OPT_IMPORT, OPT_REPORT, OPT_NO_TUNE, OPT_KEEP_LAYOUT, OPT_MACHINE, OPT_MEASURE, OPT_STREAMS, OPT_EXCLUDE, OPT_MEMORY,
  OPT_HOST, OPT_PORT, OPT_ALIAS, OPT_API_KEY_FILE, OPT_CORS, OPT_ALLOWED_HOST, OPT_INSECURE, OPT_SLOTS, OPT_QUEUE, OPT_CONNECTIONS, OPT_MAX_BODY, OPT_CACHE_RAM, OPT_CACHE_DIR, OPT_CACHE_DISK, OPT_GRACE,
  OPT_LOAD_MODEL, OPT_LOAD_KEYS, OPT_LOAD_PROMPTS, OPT_LOAD_STREAMS, OPT_LOAD_CONTEXTS, OPT_LOAD_SAME, OPT_LOAD_REQUESTS, OPT_LOAD_TOKENS, OPT_LOAD_IGNORE,
  OPT_LOAD_TEMP, OPT_LOAD_TIMEOUT, OPT_LOAD_CSV, OPT_LOAD_REPORT,
  OPT_SHARES, OPT_ON_CARDS, OPT_CPU_MOE, OPT_N_CPU_MOE, OPT_PLACEMENT, OPT_SVG, OPT_PROBE, OPT_SAVE, OPT_TOPOLOGY, OPT_JSON, OPT_VERBOSE, OPT_HELP, N_OPTIONS
} cli_option_id;

typedef enum cli_type {
  CLI_FLAG,
  CLI_TEXT,
  CLI_TEXTS,  /* may be given several times */
  CLI_FILE,   /* text that completes as a path */
  CLI_MODEL,  /* text that completes as a folder or a .gguf file */
  CLI_INT,
  CLI_FLOAT,
  CLI_INTS,   /* integers separated by commas */
  CLI_CHOICE
} cli_type;

typedef struct cli_option {
  const char *names[3];        /* as typed; NULL-terminated unless full */
  cli_type type;
  const char *value;           /* what help calls the value */
  double low, high;            /* of numbers, inclusive */
  const char *const *choices;  /* of CLI_CHOICE, NULL-terminated */
  const char *fallback;        /* parsed when the option is not given; NULL: none */
  unsigned commands, required; /* bits of cli_command_id: which take it, which must have it */
  const char *help;
} cli_option;

typedef struct cli_command {
  const char *name, *operands; /* operands: "" for none, as in help */
  size_t max_operands;
  const char *summary, *text;  /* one line; a paragraph for the man page and CMD --help */
} cli_command;

extern const cli_option cli_options[N_OPTIONS];
extern const cli_command cli_commands[N_COMMANDS];

typedef struct cli_value {
  bool given;         /* on the command line */
  const char *text;   /* as typed; NULL without value and fallback */
  int64_t i;          /* CLI_INT, CLI_CHOICE (index), CLI_FLAG (0, 1) */
  double f;
  int64_t *list;      /* [n], CLI_INTS */
  const char **texts; /* [n], CLI_TEXTS */
  size_t n;
} cli_value;

typedef struct cli_args {
  cli_command_id command;
  cli_value v[N_OPTIONS];
  const char **operands; /* [n_operands], pointing into argv */
  size_t n_operands;
} cli_args;

/* Parses what stands behind the command's name: argv[0..argc). 0, or EXIT_USAGE after one line on stderr. --help only sets its flag and
 * ends the parsing. Release with cli_args_free in either case. */
int cli_parse(cli_command_id command, int argc, char **argv, cli_args *out);
void cli_args_free(cli_args *args);
/* One line on stderr, "koine CMD: ...; see koine CMD --help"; returns EXIT_USAGE. */
int cli_usage_error(cli_command_id command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* N_COMMANDS when there is none of this name. */
cli_command_id cli_command_find(const char *name);
size_t cli_option_n_names(const cli_option *o);
/* The known name that `name` is closest to, or NULL when none is near. */
const char *cli_nearest(const char *name, const char *const *known, size_t n_known);

/* On stdout, from the table. */
void cli_help(void);
void cli_help_command(cli_command_id command);
void cli_man(void);
void cli_completion_bash(void);
#endif
