/* koine chat on a pseudo terminal: editing, commands, Ctrl-C, the end. KOINE: the command; KOINE_TEST_MODEL: a checkpoint, else models/austen. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 60000, MAX_SEEN = 1 << 20 };

static int terminal, n_checks, n_bad;
static pid_t child;
static struct termios as_was; /* the terminal's state before the command */
static char seen[MAX_SEEN + 1]; /* what the terminal showed since the last mark() */
static size_t n_seen;

static void check(bool ok, const char *what)
{
  n_checks++;
  if (ok) return;
  n_bad++;
  printf("FAIL: %s; on the terminal: %s\n", what, seen);
}

static bool ended(void)
{
  siginfo_t info = {0};
  return waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid == child;
}

/* Reads what is there within ms; false when nothing came, or the other side is closed. */
static bool pump(int ms)
{
  struct pollfd p = {.fd = terminal, .events = POLLIN};
  if (poll(&p, 1, ms) <= 0) return false;
  ssize_t got = read(terminal, seen + n_seen, MAX_SEEN - n_seen);
  if (got <= 0) return false;
  n_seen += (size_t)got;
  seen[n_seen] = 0;
  return true;
}

static void mark(void) { seen[n_seen = 0] = 0; }
static void type(const char *keys)
{
  if (write(terminal, keys, strlen(keys)) < 0) check(false, "the terminal takes no keys");
}

static long now_ms(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool wait_for(const char *text)
{
  long end = now_ms() + WAIT_MS;
  while (!strstr(seen, text) && now_ms() < end && n_seen < MAX_SEEN)
    if (!pump(100) && ended() && !pump(0)) break;
  return strstr(seen, text) != NULL;
}

/* Types, and waits for what should come. */
static void expect(const char *keys, const char *text)
{
  char what[400];
  mark();
  type(keys);
  bool ok = wait_for(text);
  snprintf(what, sizeof what, "expected '%s' after typing '%s'", text, keys);
  check(ok, what);
}

/* Until the prompt is there again, at the end of what is shown. */
static bool wait_prompt(void)
{
  long end = now_ms() + WAIT_MS;
  while (now_ms() < end) {
    while (pump(50)) {}
    if (ended()) break;
    if (n_seen >= 2 && !strcmp(seen + n_seen - 2, "> ")) return true;
  }
  return false;
}

static void start(const char *koine, const char *model, const char *const *more)
{
  const char *argv[24] = {koine, "chat", "-m", model, "--device", "host", "-s", "7"};
  size_t n = 8;
  struct winsize size = {.ws_row = 50, .ws_col = 200};
  for (; *more; more++) argv[n++] = *more;
  child = forkpty(&terminal, NULL, NULL, &size);
  if (child < 0) {
    printf("SKIP: no pseudo terminal: %s\n", strerror(errno));
    exit(77);
  }
  if (child) {
    tcgetattr(terminal, &as_was);
    mark();
    return;
  }
  execv(koine, (char *const *)(void *)argv);
  _exit(127);
}

/* The exit status; -1 for a signal or no end at all. */
static int finish(void)
{
  int status = 0;
  long end = now_ms() + WAIT_MS;
  pid_t got = 0;
  while (!got && now_ms() < end) {
    pump(50);
    got = waitpid(child, &status, WNOHANG);
  }
  if (!got) {
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
  }
  while (pump(0)) {}
  struct termios is;
  check(!tcgetattr(terminal, &is) && is.c_lflag == as_was.c_lflag && is.c_iflag == as_was.c_iflag, "the terminal is as it was");
  close(terminal);
  return got && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static size_t slurp(const char *path, char *out, size_t size)
{
  FILE *f = fopen(path, "r");
  size_t n = f ? fread(out, 1, size - 1, f) : 0;
  if (f) fclose(f);
  out[n] = 0;
  return n;
}

/* ---- what is tested ---- */
static void editing(void)
{
  expect("/think hihg\b\bgh\r", "think: high");
  check(wait_prompt(), "a prompt after a command");
  expect("think max\001/\005\r", "think: max"); /* to the begin, a letter, to the end */
  check(wait_prompt(), "a prompt after editing inside the line");
  expect("\033[A\r", "think: max"); /* arrow up: the line before */
  check(wait_prompt(), "a prompt after a line of the history");
  expect("/think \342\202\254\177off\r", "think: off"); /* a character of three bytes goes as one */
  check(wait_prompt(), "a prompt after taking back a character");
  expect("some text that is given up\003", "^C");
  check(wait_prompt(), "a prompt after Ctrl-C in the line");
  expect("/think\r", "think: off");
  check(wait_prompt(), "a prompt, the line before is gone");
  expect("/hlep\r", "did you mean /help");
  check(wait_prompt(), "a prompt after an unknown command");
  expect("/help\r", "/quit");
  check(strstr(seen, "/save") && strstr(seen, "/load") && strstr(seen, "/reset") && strstr(seen, "/think") && strstr(seen, "/regen") && strstr(seen, "/edit"), "/help lists the commands");
  check(wait_prompt(), "a prompt after /help");
}

/* Lines that are pasted, marked or at once, and lines that end in a backslash, are one message each. */
static void several_lines(const char *folder)
{
  char path[300], line[400], text[20000];
  snprintf(path, sizeof path, "%s/lines.json", folder);
  snprintf(line, sizeof line, "/save %s\r", path);
  mark();
  type("\033[200~one\rtwo\tx\001\rthree\033[201~");
  check(wait_for("three") && !strstr(seen, "; answer: "), "a paste is not sent by itself");
  expect(" and\r", "; answer: ");
  check(wait_prompt(), "a prompt after a paste");
  expect("first\nsecond\n", "; answer: ");
  check(wait_prompt(), "a prompt after lines at once");
  expect("up\\\r", "> ");
  check(wait_prompt() && !strstr(seen, "; answer: "), "a prompt for the next line");
  expect("down\r", "; answer: ");
  check(wait_prompt(), "a prompt after two lines");
  expect("\033[200~/no command\033[201~\r", "no command /no");
  check(wait_prompt(), "a prompt after a pasted command");
  expect(line, "saved: 6 messages");
  check(slurp(path, text, sizeof text) && strstr(text, "\"one\\ntwo x\\nthree and\"") && strstr(text, "\"first\\nsecond\"") && strstr(text, "\"up\\ndown\""),
        "each is one message with newlines");
  check(wait_prompt(), "a prompt after /save");
  expect("/reset\r", "a new conversation");
  check(wait_prompt(), "a prompt after /reset");
}

static void turns(const char *folder)
{
  char path[300], line[400], text[20000];
  unsigned long reused = 0, evaluated = 0;
  snprintf(path, sizeof path, "%s/talk.json", folder);
  expect("How do you do?\r", "; answer: 24 tokens");
  check(!strstr(seen, "\033[2m") || strstr(seen, "\033[2m") > strstr(seen, "How"), "an answer without reasoning is not dimmed");
  check(wait_prompt(), "a prompt after an answer");
  expect("And your sister?\r", "; answer: 24 tokens");
  const char *figures = strstr(seen, "tokens, ");
  check(figures && sscanf(figures, "tokens, %lu reused, %lu evaluated", &reused, &evaluated) == 2 && reused > 24 && evaluated < 24, "the second turn reuses the first");
  check(wait_prompt(), "a prompt after the second answer");
  snprintf(line, sizeof line, "/save %s\r", path);
  expect(line, "saved: 4 messages");
  check(slurp(path, text, sizeof text) && strstr(text, "And your sister?") && strstr(text, "\"assistant\""), "the saved file has the conversation");
  check(wait_prompt(), "a prompt after /save");
  expect("/reset\r", "a new conversation");
  check(wait_prompt(), "a prompt after /reset");
  snprintf(line, sizeof line, "/load %s\r", path);
  expect(line, "loaded: 4 messages");
  check(wait_prompt(), "a prompt after /load");
  expect("/load /no/such/file\r", "No such file");
  check(wait_prompt(), "a prompt after a file that is not there");
  expect("/think high\r", "think: high");
  check(wait_prompt(), "a prompt before reasoning");
  expect("And then?\r", "; answer: 24 tokens");
  check(strstr(seen, "\033[2m") != NULL, "reasoning is dimmed");
  check(wait_prompt(), "a prompt after reasoning");
}

/* The last answer anew, and the last message edited: both go on from what the session holds of the turns before. */
static void taken_back(const char *folder)
{
  char path[300], line[400], text[20000], first[1200] = "First of all, good day to you";
  unsigned long reused = 0, evaluated = 0;
  while (strlen(first) < 1000) strcat(first, ", my dear sister"); /* beyond the first mark, at 128 tokens */
  strcat(first, ".\r");
  snprintf(path, sizeof path, "%s/again.json", folder);
  snprintf(line, sizeof line, "/save %s\r", path);
  expect("/reset\r", "a new conversation");
  check(wait_prompt(), "a prompt after /reset");
  expect("/regen\r", "/regen: expected a message of yours");
  check(wait_prompt(), "a prompt where there is nothing to answer");
  expect("/edit x\r", "/edit: expected a message of yours");
  check(wait_prompt(), "a prompt where there is nothing to edit");
  expect(first, "; answer: 24 tokens");
  check(wait_prompt(), "a prompt after an answer");
  expect("Second.\r", "; answer: 24 tokens");
  check(wait_prompt(), "a prompt after another");
  const char *const again[][2] = {{"/regen\r", "the answer anew"}, {"/edit Second, dear\\\r", "the message edited"}};
  for (int i = 0; i < 2; i++) {
    if (i) expect(again[i][0], "> ");
    expect(i ? "sister?\r" : again[i][0], "; answer: 24 tokens");
    const char *figures = strstr(seen, "tokens, ");
    check(figures && sscanf(figures, "tokens, %lu reused, %lu evaluated", &reused, &evaluated) == 2 && reused >= 128 && evaluated <= 127 + 40, again[i][1]);
    check(wait_prompt(), again[i][1]);
    expect(line, "saved: 4 messages");
    check(slurp(path, text, sizeof text) && strstr(text, "First of all") && strstr(text, i ? "\"Second, dear\\nsister?\"" : "\"Second.\"") && !(i && strstr(text, "Second.\"")),
          "the saved conversation has the other turns as they were");
    check(wait_prompt(), "a prompt after /save");
  }
}

static void interrupts(void)
{
  unsigned long n = 0;
  expect("Tell me everything.\r", "everything.");
  while (n_seen < 300 && pump(WAIT_MS)) {}
  expect("\003", "; answer: ");
  const char *figures = strstr(seen, "; answer: ");
  check(figures && wait_for("seed") && sscanf(figures, "; answer: %lu", &n) == 1 && n > 10 && n < 3000, "Ctrl-C stops the answer");
  check(wait_prompt(), "a prompt after Ctrl-C");
  expect("And again.\r", "again.");
  while (n_seen < 100 && pump(WAIT_MS)) {}
  expect("\003", " reused");
  figures = strstr(seen, "tokens, ");
  check(figures && wait_for("seed") && sscanf(figures, "tokens, %lu reused", &n) == 1 && n > 10, "what was answered before Ctrl-C is reused");
  check(wait_prompt(), "a prompt after the second Ctrl-C");
}

int main(void)
{
  const char *koine = getenv("KOINE"), *model = getenv("KOINE_TEST_MODEL"), *top = getenv("srcdir");
  char folder[] = "/tmp/koine-chat-XXXXXX", own[300], path[400], command[300];
  snprintf(own, sizeof own, "%s/models/austen", top ? top : ".");
  if (!koine) koine = "./koine";
  if (!model) model = own;
  snprintf(path, sizeof path, "%s/tokenizer.json", model);
  if (access(path, R_OK)) {
    printf("SKIP: no %s\n", path);
    return 77;
  }
  if (!mkdtemp(folder)) return 99;
  setenv("XDG_STATE_HOME", folder, 1);
  setenv("TERM", "xterm", 1);
  setenv("LC_ALL", "C.UTF-8", 1);

  start(koine, model, (const char *const[]){"-n", "24", "--temp", "0", NULL});
  check(wait_for("/help lists the commands") && wait_prompt(), "a first line and a prompt");
  editing();
  several_lines(folder);
  turns(folder);
  taken_back(folder);
  type("\004");
  check(finish() == 0, "Ctrl-D ends with status 0");
  snprintf(path, sizeof path, "%s/koine/history", folder);
  check(access(path, R_OK) == 0, "the history is kept");

  start(koine, model, (const char *const[]){NULL});
  check(wait_for("device memory") && wait_prompt(), "a second start");
  interrupts();
  expect("/think\r", "think: off");
  check(wait_prompt(), "a prompt before the end");
  type("/quit\r");
  check(finish() == 0, "/quit ends with status 0");

  start(koine, "/no/such/model", (const char *const[]){NULL});
  check(finish() == 3, "a model that is not there: status 3");
  snprintf(command, sizeof command, "rm -rf %s", folder);
  if (system(command)) printf("%s is left\n", folder);
  printf("t_chat_pty: %d checks, %d failed\n", n_checks, n_bad);
  return n_bad > 0;
}
