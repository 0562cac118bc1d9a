/* Owns: files that commands write, see out.h. */
#ifndef _GNU_SOURCE /* O_TMPFILE */
#define _GNU_SOURCE
#endif
#include "out.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cli.h"

static void note(cli_out *o, bool failed)
{
  if (failed && !o->error) o->error = errno ? errno : EIO;
}

int cli_out_failed(const cli_out *o) { return cli_fail_with(EXIT_FILE, "%s: writing failed: %s", o->path, strerror(o->error)); }

/* A file that has no name until it is whole, so that nothing is left of it however the program ends; where there are none such, one beside it. */
static FILE *open_part(cli_out *o)
{
  char *folder = strdup(o->name);
  int fd = folder && !access("/proc/self/fd", X_OK) ? open(dirname(folder), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666) : -1;
  free(folder);
  o->nameless = fd >= 0;
  return o->nameless ? fdopen(fd, "wb") : fopen(o->part, "wb");
}

static bool give_name(const cli_out *o)
{
  char self[32];
  snprintf(self, sizeof self, "/proc/self/fd/%d", fileno(o->f));
  unlink(o->part); /* of a process of this number that was killed */
  return !linkat(AT_FDCWD, self, AT_FDCWD, o->part, AT_SYMLINK_FOLLOW);
}

int cli_out_open(const char *path, cli_out *o)
{
  struct stat st;
  *o = (cli_out){.path = path};
  if (!strcmp(path, "-")) {
    o->f = stdout;
    return EXIT_DONE;
  }
  bool there = !stat(path, &st);
  if (!there || S_ISREG(st.st_mode)) {
    o->mode = there ? st.st_mode & 07777 : 0;
    o->name = there ? realpath(path, NULL) : strdup(path);
    size_t n = strlen(o->name ? o->name : "") + 32;
    o->part = o->name ? malloc(n) : NULL;
    if (!o->part) return cli_fail_with(EXIT_DEVICE, "out of memory");
    snprintf(o->part, n, "%s.%ld.part", o->name, (long)getpid());
  }
  o->f = o->part ? open_part(o) : fopen(path, "wb");
  note(o, !o->f);
  return o->f ? EXIT_DONE : cli_out_failed(o);
}

bool cli_out_put(cli_out *o, const void *bytes, size_t n)
{
  note(o, fwrite(bytes, 1, n, o->f) != n);
  return !o->error;
}

int cli_out_close(cli_out *o, bool whole)
{
  if (o->f) {
    note(o, fflush(o->f) || ferror(o->f));
    if (o->part && whole) note(o, fsync(fileno(o->f)) != 0);
    bool named = o->part && (!o->nameless || (whole && !o->error && give_name(o)));
    note(o, o->part && whole && !named);
    if (o->f != stdout) note(o, fclose(o->f) != 0);
    if (o->part && whole && !o->error) note(o, (o->mode && chmod(o->part, o->mode)) || rename(o->part, o->name));
    if (named && (!whole || o->error)) remove(o->part);
  }
  int status = whole && o->f && o->error ? cli_out_failed(o) : EXIT_DONE;
  free(o->part);
  free(o->name);
  *o = (cli_out){0};
  return status;
}

int cli_write_file(const char *path, const char *text, size_t n)
{
  cli_out o;
  int status = cli_out_open(path, &o);
  if (!status) cli_out_put(&o, text, n);
  int closed = cli_out_close(&o, !status);
  return status ? status : closed;
}
