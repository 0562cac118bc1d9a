/* Messages that a user types or a pipe holds. Owns the terminal's line editor and the history file. Invariant: between two calls of
 * chat_line_read the terminal is as it was before. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <histedit.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>
#include "term.h"
#include "cmd_chat.h"

enum { N_HISTORY = 1000 };

/* What is pasted comes between marks, so that its ends of lines are not taken for Enter. In the editor's one line they are shown as the
 * first of these characters that the terminal's charset has, and become newlines again when the line is read. */
static const wchar_t newlines[] = {L'\u2424', L'\u00b6'};
static const char paste_on[] = "\033[?2004h", paste_off[] = "\033[?2004l", paste_begin[] = "\033[200~", paste_end[] = "\033[201~";

struct chat_line {
  EditLine *editor; /* NULL: no terminal */
  History *history;
  char *history_path; /* NULL: there is nowhere to keep it */
  char *text;         /* of getline, or the message */
  size_t cap;
  wchar_t newline;    /* as the editor shows it, and its bytes; "" when the charset has none */
  char newline_bytes[MB_LEN_MAX + 1];
  bool pasting;
  char ahead[8];      /* [n_ahead] bytes that were read and are no mark */
  size_t n_ahead;
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

static int next_byte(chat_line *l)
{
  unsigned char c;
  if (l->n_ahead) {
    c = (unsigned char)l->ahead[0];
    memmove(l->ahead, l->ahead + 1, --l->n_ahead);
    return c;
  }
  ssize_t got;
  while ((got = read(STDIN_FILENO, &c, 1)) < 0 && errno == EINTR && !cli_interrupted()) continue;
  return got == 1 ? c : -1;
}

/* Whether a mark follows its first byte, an escape; what was read of another sequence is kept. */
static bool take_mark(chat_line *l, const char *mark)
{
  char read_so_far[8];
  size_t n = 1;
  for (; mark[n]; n++) {
    struct pollfd more = {.fd = STDIN_FILENO, .events = POLLIN};
    int c = l->n_ahead || poll(&more, 1, 50) > 0 ? next_byte(l) : -1; /* a lone Escape has nothing behind it */
    if (c < 0) break;
    read_so_far[n - 1] = (char)c;
    if (c != mark[n]) {
      n++;
      break;
    }
    if (!mark[n + 1]) return true;
  }
  memmove(l->ahead + n - 1, l->ahead, l->n_ahead);
  memcpy(l->ahead, read_so_far, n - 1);
  l->n_ahead += n - 1;
  return false;
}

/* Whether more is there right behind an end of line, faster than anybody types: a paste of a terminal that knows no marks. Commands end
 * with their line all the same. */
static bool more_at_once(chat_line *l)
{
  struct pollfd more = {.fd = STDIN_FILENO, .events = POLLIN};
  const LineInfoW *line = el_wline(l->editor);
  bool command = line->lastchar > line->buffer && line->buffer[0] == L'/' && !(line->lastchar > line->buffer + 1 && line->buffer[1] == L'/');
  return !command && (l->n_ahead || poll(&more, 1, 20) > 0);
}

/* The editor's next character: 1, 0 at the end, -1 for an error. */
static int next_character(EditLine *editor, wchar_t *out)
{
  chat_line *l;
  mbstate_t state = {0};
  wchar_t wide = 0;
  el_get(editor, EL_CLIENTDATA, &l);
  for (;;) {
    int c = next_byte(l);
    if (c < 0) return cli_interrupted() ? -1 : 0;
    if (c == '\033' && take_mark(l, l->pasting ? paste_end : paste_begin)) {
      l->pasting = !l->pasting;
      continue;
    }
    if ((c == '\r' || c == '\n') && (l->pasting || more_at_once(l))) return *out = l->newline, 1;
    if (l->pasting && c != '\t' && (c < 0x20 || c == 0x7f)) continue; /* no key was pressed */
    if (l->pasting && c == '\t') c = ' ';
    char byte = (char)c;
    size_t n = mbrtowc(&wide, &byte, 1, &state);
    if (n == (size_t)-2) continue;
    *out = n == (size_t)-1 ? L'\ufffd' : wide;
    return 1;
  }
}

static void choose_newline(chat_line *l)
{
  l->newline = L' ';
  for (size_t i = sizeof newlines / sizeof *newlines; i-- > 0;) {
    mbstate_t state = {0};
    char bytes[MB_LEN_MAX];
    size_t n = wcrtomb(bytes, newlines[i], &state);
    if (n > sizeof bytes) continue;
    l->newline = newlines[i];
    memcpy(l->newline_bytes, bytes, n);
    l->newline_bytes[n] = 0;
  }
}

static int open_editor(chat_line *l)
{
  HistEvent event;
  int status = cli_term_open();
  if (status) return status;
  choose_newline(l);
  l->editor = el_init("koine", stdin, stdout, stderr);
  l->history = history_init();
  if (!l->editor || !l->history) return cli_fail_with(EXIT_DEVICE, "the line editor did not start");
  history(l->history, &event, H_SETSIZE, N_HISTORY);
  history(l->history, &event, H_SETUNIQUE, 1);
  l->history_path = history_path();
  if (l->history_path) history(l->history, &event, H_LOAD, l->history_path);
  el_set(l->editor, EL_CLIENTDATA, l);
  el_wset(l->editor, EL_GETCFN, next_character);
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

/* One line of the editor, behind the *n bytes of the message so far. */
static chat_input edit_line(chat_line *l, size_t *n)
{
  int got = 0;
  if (cli_moves(STDOUT_FILENO)) fputs(paste_on, stdout);
  fflush(stdout);
  const char *line = el_gets(l->editor, &got);
  if (cli_moves(STDOUT_FILENO)) fputs(paste_off, stdout);
  fflush(stdout);
  l->pasting = false;
  if (cli_interrupted()) { /* the message is given up, as in a shell */
    cli_clear_interrupt();
    l->n_ahead = 0;
    fputs("^C\n", stdout);
    return CHAT_INPUT_CLEARED;
  }
  if (!line || got <= 0) return CHAT_INPUT_END;
  size_t length = without_end(line, (size_t)got);
  if (*n + length + sizeof l->newline_bytes > l->cap) {
    char *more = realloc(l->text, 2 * (*n + length + sizeof l->newline_bytes));
    if (!more) return CHAT_INPUT_END;
    l->text = more, l->cap = 2 * (*n + length + sizeof l->newline_bytes);
  }
  memcpy(l->text + *n, line, length);
  l->text[*n += length] = 0;
  return CHAT_INPUT_LINE;
}

/* A backslash at the end of a line stands for a newline and one more line. */
static bool continues(chat_line *l, size_t *n)
{
  if (!*n || l->text[*n - 1] != '\\') return false;
  const char *newline = *l->newline_bytes ? l->newline_bytes : "\n";
  strcpy(l->text + *n - 1, newline);
  *n += strlen(newline) - 1;
  return true;
}

static size_t spell_newlines(const chat_line *l, char *text, size_t n)
{
  size_t k = 0, mark = strlen(l->newline_bytes);
  for (size_t i = 0; i < n; i++) {
    bool newline = mark && n - i >= mark && !memcmp(text + i, l->newline_bytes, mark);
    text[k++] = newline ? '\n' : text[i];
    if (newline) i += mark - 1;
  }
  while (k && text[k - 1] == '\n') k--; /* of a paste that ended its last line */
  text[k] = 0;
  return k;
}

/* A line of a terminal in another charset. */
static bool in_utf8(chat_line *l, const char **text, size_t *n_bytes)
{
  char *utf8;
  if (!cli_term_in(*text, *n_bytes, &utf8, n_bytes)) return cli_fail_with(EXIT_FILE, "the line is left out: expected text in the terminal's charset, found other bytes"), false;
  if (!utf8) return true;
  free(l->text);
  *text = l->text = utf8, l->cap = *n_bytes + 1;
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
  size_t n = 0;
  chat_input got = CHAT_INPUT_LINE;
  cli_clear_interrupt();
  do got = edit_line(l, &n);
  while (got == CHAT_INPUT_LINE && continues(l, &n));
  if (got != CHAT_INPUT_LINE) return got;
  if (n) history(l->history, &event, H_ENTER, l->text);
  *text = l->text;
  *n_bytes = spell_newlines(l, l->text, n);
  return in_utf8(l, text, n_bytes) ? CHAT_INPUT_LINE : CHAT_INPUT_CLEARED;
}
