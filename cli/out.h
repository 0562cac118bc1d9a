/* Files that commands write. Owns: a file appears whole under its name, or not at all; what is no ordinary file ("-", standard output; a device, a
 * pipe) is written to as the bytes come. */
#ifndef CLI_OUT_H
#define CLI_OUT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct cli_out {
  FILE *f;           /* may be written to by others too; NULL: it was not opened */
  const char *path;
  char *part, *name; /* the file beside it, and what it is renamed to: a link stays one; NULL: written directly */
  bool nameless;     /* part is not there before everything is */
  unsigned mode;     /* of the file that is replaced; 0: none was there */
  int error;         /* errno of the first failure */
} cli_out;

/* 0, or the exit status after a message. path is borrowed. Close in either case. */
int cli_out_open(const char *path, cli_out *o);
bool cli_out_put(cli_out *o, const void *bytes, size_t n);
/* Says that writing failed; the exit status. */
int cli_out_failed(const cli_out *o);
/* whole: all that was to be written was put. 0, or the exit status after a message, which only what was whole gets. */
int cli_out_close(cli_out *o, bool whole);

/* A whole file; 0, or the exit status after a message. */
int cli_write_file(const char *path, const char *text, size_t n);
#endif
