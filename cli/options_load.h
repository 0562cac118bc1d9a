/* For the table of options.c alone: the rows of koine load-test's own options. */
#ifndef CLI_OPTIONS_LOAD_H
#define CLI_OPTIONS_LOAD_H

#define LOAD_ROWS \
  [OPT_LOAD_MODEL] = {{"-m", "--model"}, CLI_TEXT, "NAME", .commands = BIT(CMD_LOAD), .help = "the model's name at the endpoint; else the first one that it has"}, \
  [OPT_LOAD_KEYS] = {{"--api-key-file"}, CLI_FILE, "FILE", .commands = BIT(CMD_LOAD), .help = "keys, one a line, in the order of the URLs; an empty line is no key"}, \
  [OPT_LOAD_PROMPTS] = {{"-f", "--file"}, CLI_FILE, "FILE", .commands = BIT(CMD_LOAD), \
                        .help = "prompts, one a line: a text, or an object of JSON with prompt or messages, and max_tokens; else eight that are built in"}, \
  [OPT_LOAD_STREAMS] = {{"--concurrency"}, CLI_INTS, "N,...", 1, 1024, .fallback = "1,2,4", .commands = BIT(CMD_LOAD), .help = "requests at once, a level for each number"}, \
  [OPT_LOAD_CONTEXTS] = {{"-c", "--ctx-size"}, CLI_INTS, "N,...", 1, 1048576, .commands = BIT(CMD_LOAD), \
                         .help = "fill prompts up to about so many tokens, a level for each number; else they are sent as they are"}, \
  [OPT_LOAD_SAME] = FLAG("--same-context", BIT(CMD_LOAD), "requests share what fills them up, so that an endpoint can reuse it; else each has its own"), \
  [OPT_LOAD_REQUESTS] = {{"-r", "--requests"}, CLI_INT, "N", 0, 1000000, .fallback = "0", .commands = BIT(CMD_LOAD), .help = "requests of a level; 0: four for each that is in the air at once"}, \
  [OPT_LOAD_TOKENS] = {{"-n", "--max-tokens"}, CLI_INT, "N", 1, MANY, .fallback = "64", .commands = BIT(CMD_LOAD), .help = "most new tokens of an answer"}, \
  [OPT_LOAD_IGNORE] = FLAG("--ignore-eos", BIT(CMD_LOAD), "ask for answers of --max-tokens, where the endpoint knows ignore_eos"), \
  [OPT_LOAD_TEMP] = {{"--temp"}, CLI_FLOAT, "X", 0, 2, .fallback = "0", .commands = BIT(CMD_LOAD), .help = "temperature"}, \
  [OPT_LOAD_TIMEOUT] = {{"--timeout"}, CLI_INT, "SECONDS", 1, 86400, .fallback = "600", .commands = BIT(CMD_LOAD), .help = "a request that takes longer has failed"}, \
  [OPT_LOAD_CSV] = {{"--csv"}, CLI_FILE, "FILE", .commands = BIT(CMD_LOAD), .help = "the figures as CSV too"}, \
  [OPT_LOAD_REPORT] = {{"--report"}, CLI_FILE, "FILE", .commands = BIT(CMD_LOAD), .help = "a page of HTML with plots too"}
#endif
