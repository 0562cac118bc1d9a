/* For the table of options.c alone, which includes options.h before: sets of commands that take the same options, and what its rows share. */
#ifndef CLI_OPTIONS_SETS_H
#define CLI_OPTIONS_SETS_H

#define BIT(command) (1u << (command))
#define MEASURES (BIT(CMD_BENCH) | BIT(CMD_TUNE)) /* with or without a checkpoint */
#define ENGINE (BIT(CMD_LOGITS) | MEASURES | BIT(CMD_RUN) | BIT(CMD_CHAT) | BIT(CMD_PERPLEXITY) | BIT(CMD_SERVE))
#define PLACED (ENGINE & ~BIT(CMD_TUNE)) /* over one device or several */
#define PLACES (BIT(CMD_PLAN) | BIT(CMD_ESTIMATE))
#define SHAPED (MEASURES | PLACES)
#define SAMPLES (BIT(CMD_RUN) | BIT(CMD_CHAT))
#define WORDS (BIT(CMD_TOKENIZE) | BIT(CMD_DETOKENIZE) | BIT(CMD_CHAT_ENCODE))
#define ALL (BIT(N_COMMANDS) - 1)

#define FLAG(name, set, text) {{name}, CLI_FLAG, .commands = set, .help = text}
#define CHOICES(...) (const char *const[]){__VA_ARGS__, 0}
#define MANY 2147483647.0 /* tokens */
#endif
