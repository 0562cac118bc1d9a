/* The terminal's charset, where it is not UTF-8. */
#ifndef CLI_TERM_H
#define CLI_TERM_H
#include <stdio.h>
#include "cli.h"

/* Takes the locale's charset for the terminal. 0, or the exit status after a message when it cannot be converted. */
int cli_term_open(void);
/* What was typed. False: it is no text in that charset. *utf8 NULL: it is as it should be; else free it. */
bool cli_term_in(const char *text, size_t n_bytes, char **utf8, size_t *n_utf8);
/* What a terminal is to show; NULL: as it is. free it. */
char *cli_term_out(const char *utf8, size_t n_bytes, size_t *n_text);
#endif
