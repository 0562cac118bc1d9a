/* Conversations in files, for koine chat. */
#ifndef CLI_CHAT_FILE_H
#define CLI_CHAT_FILE_H
#include <json-c/json.h>
#include "cli.h"

/* The path with a leading ~ or ~/ as the user's home; free it. NULL: no memory. */
char *chat_file_path(const char *path);
/* The file's text as a request, {"messages": [...]}; NULL after a message. */
json_object *chat_file_parse(const char *path, const char *text, size_t n_bytes);
/* 0, or the exit status after a message: then the file is as it was. */
int chat_file_write(const char *path, const char *text, size_t n_bytes);
#endif
