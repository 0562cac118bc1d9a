/* What the commands on text share: where the input comes from, model with tokenizer and session, one answer with its figures. */
#ifndef CLI_COMMON_TEXT_H
#define CLI_COMMON_TEXT_H
#include "cli.h"

/* The bytes of the operand, -p, -f or standard input, whichever was given; free *out. 0, or the exit status after a message. */
int cli_text_input(const cli_args *a, char **out, size_t *n_bytes);

/* On standard output; on a terminal control characters, which a model may well write, are shown and not obeyed. False: writing failed. */
bool cli_text_put(const char *text, size_t n_bytes);
bool cli_text_is_utf8(const char *text, size_t n_bytes);

typedef struct cli_text {
  cli_engine engine;
  koine_tokenizer *tokenizer;
  koine_session *session;
  uint64_t begun_ns, load_ns;
  uint64_t seed; /* of -s */
  bool seeded;   /* -s was given */
} cli_text;

/* The tokenizer first: what is wrong with it, or with the input, then shows before weights are moved. */
int cli_text_open(const cli_args *a, cli_text *out);
/* Device, weights, session. context: 0 for the usual; max_tokens: evaluated at most at once, 0 unknown. */
int cli_text_wake(const cli_args *a, uint64_t context, uint64_t max_tokens, cli_text *t);
void cli_text_close(cli_text *t); /* in either case */

/* The seed of try n: counted from that of -s, or another each time. */
uint64_t cli_text_seed(const cli_text *t, size_t n);
/* A prompt that the context has no room for: the exit status after a message that says what to do; 0. */
int cli_text_check_prompt(const cli_text *t, size_t n_prompt);

/* One answer. In: how it is made; out: what came. */
typedef struct cli_turn {
  uint64_t seed;
  bool special;        /* the text of control tokens too */
  koine_text_fn *text;
  koine_token_fn *token;
  koine_chat_stream *stream;
  koine_schema *schema;
  void *user;
  int32_t *ids;        /* [n_ids] new tokens; koine_ids_free */
  size_t n_ids;
  koine_stop stop;
  koine_session_stats before;
} cli_turn;
/* Sampling, length and stops from the options. The caller's status; ids are there for KOINE_OK and KOINE_ERR_CANCELLED. */
koine_status cli_text_generate(const cli_args *a, cli_text *t, const int32_t *prompt, size_t n_prompt, cli_turn *turn);

/* Figures on standard error, a line each. */
void cli_text_report_load(const cli_text *t);
void cli_text_report_turn(const cli_args *a, const cli_text *t, size_t n_prompt, const cli_turn *turn);
#endif
