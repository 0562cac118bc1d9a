/* What koine chat sends to terminals that are not like most: none of the sequences that TERM or NO_COLOR forbid, and no character lost where the
 * charset is another. KOINE: the command. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 60000 };

static int n_checks, n_bad;
static char folder[] = "/tmp/koine_t_terminal_XXXXXX", model[4096], seen[1 << 18];
static const char *koine;

static void check(bool ok, const char *what)
{
  n_checks++;
  if (ok) return;
  n_bad++;
  printf("FAIL: %s; on the terminal: %s\n", what, seen);
}

/* Reads until the text comes, or the other side is closed. */
static bool wait_for(int terminal, const char *text)
{
  size_t n = strlen(seen);
  struct pollfd p = {.fd = terminal, .events = POLLIN};
  while (!strstr(seen, text) && n + 1 < sizeof seen && poll(&p, 1, WAIT_MS) > 0) {
    ssize_t got = read(terminal, seen + n, sizeof seen - 1 - n);
    if (got <= 0) break;
    seen[n += (size_t)got] = 0;
  }
  return strstr(seen, text) != NULL;
}

static void type(int terminal, const char *keys)
{
  if (write(terminal, keys, strlen(keys)) < 0) check(false, "the terminal takes no keys");
}

/* A conversation of one line, saved, with these variables ("NAME=value"); what the terminal showed is in `seen`. */
static void talk(const char *const *variables, const char *line, const char *file)
{
  int terminal;
  struct winsize size = {.ws_row = 40, .ws_col = 200};
  pid_t child = forkpty(&terminal, NULL, NULL, &size);
  if (!child) {
    for (size_t i = 0; variables[i]; i++) putenv(strdup(variables[i]));
    execl(koine, "koine", "chat", "-m", model, "--device", "host", "-n", "2", "--temp", "0", "--think", "high", (char *)NULL);
    _exit(127);
  }
  char save[200];
  snprintf(save, sizeof save, "/save %s\n", file);
  seen[0] = 0;
  if (wait_for(terminal, "> ")) {
    type(terminal, line);
    check(wait_for(terminal, "prompt: "), "a line is answered");
    type(terminal, save);
    check(wait_for(terminal, "saved: "), "the conversation is saved");
  } else check(false, "there is a prompt");
  type(terminal, "\004");
  wait_for(terminal, "no such text"); /* to the end */
  int status;
  kill(child, SIGHUP);
  waitpid(child, &status, 0);
  close(terminal);
}

static bool holds(const char *file, const char *text)
{
  char all[4096];
  FILE *f = fopen(file, "r");
  size_t n = f ? fread(all, 1, sizeof all - 1, f) : 0;
  if (f) fclose(f);
  all[n] = 0;
  return strstr(all, text) != NULL;
}

int main(void)
{
  char home[200], file[200], locale[200], make[400];
  const char *dir = getenv("srcdir");
  koine = getenv("KOINE") ? getenv("KOINE") : "./koine";
  if (!mkdtemp(folder)) return 1;
  snprintf(model, sizeof model, "%s/models/austen", dir ? dir : ".");
  snprintf(home, sizeof home, "XDG_STATE_HOME=%s", folder);
  snprintf(file, sizeof file, "%s/c.json", folder);
  snprintf(locale, sizeof locale, "LOCPATH=%s", folder);
  setenv("LC_ALL", "C.UTF-8", 1);
  unsetenv("NO_COLOR");

  talk((const char *const[]){"TERM=xterm", home, NULL}, "Hello\n", file);
  check(strstr(seen, "\033[2m") != NULL, "figures are dimmed where nothing is against it");
  talk((const char *const[]){"TERM=xterm", "NO_COLOR=1", home, NULL}, "Hello\n", file);
  check(!strstr(seen, "\033[2m"), "NO_COLOR: nothing is dimmed");
  talk((const char *const[]){"TERM=dumb", home, NULL}, "Hello\n", file);
  check(!strchr(seen, '\033'), "TERM=dumb: no escape sequence at all");

  snprintf(make, sizeof make, "localedef -i en_US -f ISO-8859-1 %s/en_US.ISO-8859-1 2>/dev/null; test -d %s/en_US.ISO-8859-1", folder, folder);
  if (system(make)) printf("t_terminal: no other charset was tried: localedef cannot make a locale here\n");
  else {
    talk((const char *const[]){"TERM=xterm", "LC_ALL=en_US.ISO-8859-1", locale, home, NULL}, "na\xefve caf\xe9\n", file);
    check(holds(file, "na\xc3\xafve caf\xc3\xa9"), "what is typed in ISO-8859-1 becomes UTF-8");
  }
  talk((const char *const[]){"TERM=xterm", "LC_ALL=C", home, NULL}, "na\xc3\xafve\n", file);
  check(holds(file, "na\xc3\xafve"), "without a locale the terminal is UTF-8");
  snprintf(make, sizeof make, "rm -rf %s", folder);
  if (system(make)) n_bad++;
  printf("t_terminal: %d checks, %d failed\n", n_checks, n_bad);
  return n_bad != 0;
}
