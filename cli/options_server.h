/* For the table of options.c alone: the rows of koine serve's own options. */
#ifndef CLI_OPTIONS_SERVER_H
#define CLI_OPTIONS_SERVER_H

#define SERVER_ROWS \
  [OPT_HOST] = {{"--host"}, CLI_TEXT, "NAME", .fallback = "127.0.0.1", .commands = BIT(CMD_SERVE), .help = "address to listen at; others than the loopback's need --api-key-file"}, \
  [OPT_PORT] = {{"--port"}, CLI_INT, "N", 0, 65535, .fallback = "8080", .commands = BIT(CMD_SERVE), .help = "port to listen at; 0: any that is free"}, \
  [OPT_ALIAS] = {{"-a", "--alias"}, CLI_TEXTS, "NAME", .commands = BIT(CMD_SERVE), .help = "another name of the model for clients, the first one in answers; may be given several times"}, \
  [OPT_API_KEY_FILE] = {{"--api-key-file"}, CLI_FILE, "FILE", .commands = BIT(CMD_SERVE), .help = "keys, one a line, of which a client has to send one"}, \
  [OPT_CORS] = {{"--cors"}, CLI_TEXTS, "ORIGIN", .commands = BIT(CMD_SERVE), .help = "pages of this origin may ask, * for all; may be given several times"}, \
  [OPT_ALLOWED_HOST] = {{"--allowed-host"}, CLI_TEXTS, "NAME", .commands = BIT(CMD_SERVE), .help = "a name that the server goes by beside localhost and --host; may be given several times"}, \
  [OPT_INSECURE] = FLAG("--insecure", BIT(CMD_SERVE), "serve other machines without a key"), \
  [OPT_SLOTS] = {{"-np", "--parallel"}, CLI_INT, "N", 1, 64, .fallback = "4", .commands = BIT(CMD_SERVE), .help = "answers that are made at once"}, \
  [OPT_QUEUE] = {{"--queue"}, CLI_INT, "N", 0, 65536, .fallback = "64", .commands = BIT(CMD_SERVE), .help = "answers that may wait; more are refused with status 429"}, \
  [OPT_CONNECTIONS] = {{"--max-connections"}, CLI_INT, "N", 1, 4096, .fallback = "256", .commands = BIT(CMD_SERVE), .help = "connections at once"}, \
  [OPT_MAX_BODY] = {{"--max-body"}, CLI_INT, "MIB", 1, 1024, .fallback = "64", .commands = BIT(CMD_SERVE), .help = "most bytes of a request"}, \
  [OPT_CACHE_RAM] = {{"--cache-ram"}, CLI_INT, "MIB", 0, MANY, .fallback = "4096", .commands = BIT(CMD_SERVE), .help = "caches of ended conversations that are kept for requests that go on with them"}, \
  [OPT_CACHE_DIR] = {{"--cache-dir"}, CLI_FILE, "FOLDER", .commands = BIT(CMD_SERVE), .help = "keep ended conversations here, too, for requests after a restart"}, \
  [OPT_CACHE_DISK] = {{"--cache-disk"}, CLI_INT, "MIB", 0, MANY, .fallback = "16384", .commands = BIT(CMD_SERVE), .help = "most bytes of the conversations in --cache-dir"}, \
  [OPT_GRACE] = {{"--grace"}, CLI_INT, "SECONDS", 0, 86400, .fallback = "30", .commands = BIT(CMD_SERVE), .help = "how long answers may go on when the server is to end"}
#endif
