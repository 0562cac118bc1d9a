/* Lines that a user types or a pipe holds. Owns the terminal's line editor and the history file. Invariant: between two calls of
 * chat_line_read the terminal is as it was before. */
#define _POSIX_C_SOURCE 200809L
#include <histedit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "term.h"
#include "cmd_chat.h"

enum { N_HISTORY = 1000 };

struct chat_line {
  EditLine *editor; /* NULL: no terminal */
  History *history;
  char *history_path; /* NULL: there is nowhere to keep it */
  char *text;         /* of getline */
  size_t cap;
};

/* ---- where the history is kept ---- */
static void make_folders(char *path)
{
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    mkdir(path, 0700);
    *slash = '/';
  }
}

static char *history_path(void)
{
  const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
  bool by_state = state && state[0] == '/';
  if (!by_state && (!home || home[0] != '/')) return NULL;
  const char *tail = by_state ? "/koine/history" : "/.local/state/koine/history";
  size_t n = strlen(by_state ? state : home) + strlen(tail) + 1;
  char *path = malloc(n);
  if (path) snprintf(path, n, "%s%s", by_state ? state : home, tail);
  return path;
}

/* ---- the editor ---- */
static char *prompt(EditLine *editor)
{
  static char text[] = "> ";
  (void)editor;
  return text;
}

static int open_editor(chat_line *l)
{
  HistEvent event;
  int status = cli_term_open();
  if (status) return status;
  l->editor = el_init("koine", stdin, stdout, stderr);
  l->history = history_init();
  if (!l->editor || !l->history) return cli_fail_with(EXIT_DEVICE, "the line editor did not start");
  history(l->history, &event, H_SETSIZE, N_HISTORY);
  history(l->history, &event, H_SETUNIQUE, 1);
  l->history_path = history_path();
  if (l->history_path) history(l->history, &event, H_LOAD, l->history_path);
  el_set(l->editor, EL_PROMPT, prompt);
  el_set(l->editor, EL_EDITOR, "emacs");
  el_set(l->editor, EL_HIST, history, l->history);
  el_set(l->editor, EL_SIGNAL, 1); /* the terminal is put right around stops, and drawn anew after them */
  el_set(l->editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
  el_source(l->editor, NULL);
  return EXIT_DONE;
}

int chat_line_open(chat_line **out)
{
  chat_line *l = calloc(1, sizeof *l);
  if (!l) return cli_fail_with(EXIT_DEVICE, "out of memory");
  int status = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) ? open_editor(l) : EXIT_DONE;
  if (status) chat_line_close(l);
  else *out = l;
  return status;
}

void chat_line_close(chat_line *l)
{
  HistEvent event;
  if (!l) return;
  if (l->history && l->history_path) {
    make_folders(l->history_path);
    history(l->history, &event, H_SAVE, l->history_path);
  }
  if (l->editor) el_end(l->editor);
  if (l->history) history_end(l->history);
  free(l->history_path);
  free(l->text);
  free(l);
}

bool chat_line_is_edited(const chat_line *l) { return l->editor != NULL; }

static size_t without_end(const char *text, size_t n)
{
  if (n && text[n - 1] == '\n') n--;
  if (n && text[n - 1] == '\r') n--;
  return n;
}

/* A line of a terminal in another charset. */
static bool in_utf8(chat_line *l, const char **text, size_t *n_bytes)
{
  char *utf8;
  if (!cli_term_in(*text, *n_bytes, &utf8, n_bytes)) return cli_fail_with(EXIT_FILE, "the line is left out: expected text in the terminal's charset, found other bytes"), false;
  if (!utf8) return true;
  free(l->text);
  *text = l->text = utf8;
  return true;
}

chat_input chat_line_read(chat_line *l, const char **text, size_t *n_bytes)
{
  HistEvent event;
  if (!l->editor) {
    ssize_t got = getline(&l->text, &l->cap, stdin);
    if (got < 0) return CHAT_INPUT_END;
    *text = l->text;
    *n_bytes = without_end(l->text, (size_t)got);
    return CHAT_INPUT_LINE;
  }
  int n = 0;
  cli_clear_interrupt();
  *text = el_gets(l->editor, &n);
  if (cli_interrupted()) { /* the line is given up, as in a shell */
    cli_clear_interrupt();
    fputs("^C\n", stdout);
    return CHAT_INPUT_CLEARED;
  }
  if (!*text || n <= 0) return CHAT_INPUT_END;
  *n_bytes = without_end(*text, (size_t)n);
  if (*n_bytes) history(l->history, &event, H_ENTER, *text);
  return in_utf8(l, text, n_bytes) ? CHAT_INPUT_LINE : CHAT_INPUT_CLEARED;
}
