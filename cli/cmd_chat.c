/* koine chat: a conversation, turn by turn. Owns the loop and its / commands. Invariant: a turn that gave no answer leaves the
 * conversation as it was. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cmd_chat.h"

typedef struct chat {
  const cli_args *a;
  cli_text text;
  chat_line *line;
  chat_talk *talk;
  koine_thinking thinking;
  size_t n_again; /* answers that were made anew: each has a seed of its own */
  bool over;
} chat;

/* ---- a turn ---- */
/* After an answer, or a part of one, was shown; message: what it was read as. */
static int keep(chat *c, const chat_show *w, const char *message, const int32_t *prompt, size_t n_prompt, const cli_turn *turn)
{
  int status = chat_talk_hold(c->talk, prompt, n_prompt, turn->ids, turn->n_ids);
  if (status) return status;
  if (!turn->n_ids || !w->some) { /* stopped before it began, or nothing but an end: there is no answer to keep */
    chat_talk_undo(c->talk);
    return EXIT_DONE;
  }
  return chat_talk_add_answer(c->talk, message);
}

/* What a model wrote wrong, in an answer that it ended itself; one that was cut breaks off somewhere anyway. */
static void tell_defects(const chat_show *w, const cli_turn *turn)
{
  if (*w->defects && turn->stop == KOINE_STOP_EOS) fprintf(stderr, "koine: warning: the answer is malformed: %s\n", w->defects);
}

static int answer(chat *c, const int32_t *prompt, size_t n_prompt)
{
  chat_show w;
  char *message = NULL;
  int status = chat_show_begin(c->text.tokenizer, c->thinking, &w);
  if (status) return status;
  cli_turn turn = {.seed = cli_text_seed(&c->text, chat_talk_n_messages(c->talk) + c->n_again), .token = chat_show_token, .stream = w.stream, .user = &w};
  cli_clear_interrupt();
  koine_status s = cli_text_generate(c->a, &c->text, prompt, n_prompt, &turn), shown = chat_show_end(&w, &message);
  if (!s || s == KOINE_ERR_CANCELLED) s = shown;
  if (!s) {
    status = keep(c, &w, message, prompt, n_prompt, &turn);
    cli_text_report_turn(c->a, &c->text, n_prompt, &turn);
    tell_defects(&w, &turn);
  } else {
    status = cli_fail(s);
    chat_talk_undo(c->talk);
  }
  if (cli_interrupted() && !status && !chat_line_is_edited(c->line)) status = EXIT_INTERRUPT; /* from a pipe nobody goes on */
  if (w.broken && !status) status = EXIT_FILE, c->over = true; /* main.c says that standard output is broken */
  cli_clear_interrupt();
  koine_ids_free(turn.ids);
  koine_text_free(message);
  chat_show_clear(&w);
  return status;
}

/* back: the command that takes the last answer back first, or NULL; text: the user's message, or NULL for the one that is there. */
static int take_turn(chat *c, const char *back, const char *text, size_t n_bytes)
{
  int32_t *prompt = NULL;
  size_t n_prompt;
  int status = chat_talk_begin(c->talk);
  if (!status && back) status = chat_talk_take_back(c->talk, back, text != NULL);
  if (!status && text) status = chat_talk_add_user(c->talk, text, n_bytes);
  if (!status) status = chat_talk_encode(c->talk, c->thinking, &prompt, &n_prompt);
  if (!status) status = cli_text_check_prompt(&c->text, n_prompt);
  if (status) chat_talk_undo(c->talk);
  else status = answer(c, prompt, n_prompt);
  free(prompt);
  return status;
}

/* ---- commands ---- */
/* Each gets what stands behind its name, "" for nothing. */
static int do_help(chat *c, const char *rest);

static int do_think(chat *c, const char *rest)
{
  const char *const *modes = cli_options[OPT_THINK].choices;
  int mode = 0;
  while (*rest && modes[mode] && strcmp(modes[mode], rest)) mode++;
  if (!modes[mode]) return cli_fail_with(EXIT_USAGE, "/think: expected off, high or max, found '%s'", rest);
  if (*rest) c->thinking = (koine_thinking)mode;
  fprintf(stderr, "think: %s\n", modes[c->thinking]);
  return EXIT_DONE;
}

static int do_save(chat *c, const char *rest)
{
  if (!*rest) return cli_fail_with(EXIT_USAGE, "/save: expected FILE, found nothing");
  int status = chat_talk_save(c->talk, rest);
  if (!status) cli_note("saved: %zu messages to %s", chat_talk_n_messages(c->talk), rest);
  return status;
}

static int do_load(chat *c, const char *rest)
{
  if (!*rest) return cli_fail_with(EXIT_USAGE, "/load: expected FILE, found nothing");
  int status = chat_talk_load(c->talk, rest);
  if (!status) cli_note("loaded: %zu messages from %s", chat_talk_n_messages(c->talk), rest);
  return status;
}

static int do_reset(chat *c, const char *rest)
{
  (void)rest;
  fputs("a new conversation\n", stderr);
  return chat_talk_reset(c->talk);
}

static int do_regen(chat *c, const char *rest)
{
  (void)rest;
  c->n_again++;
  return take_turn(c, "/regen", NULL, 0);
}

static int do_edit(chat *c, const char *rest)
{
  if (!*rest) return cli_fail_with(EXIT_USAGE, "/edit: expected TEXT, found nothing; arrow up has the message that is there");
  return take_turn(c, "/edit", rest, strlen(rest));
}

static int do_quit(chat *c, const char *rest)
{
  (void)rest;
  c->over = true;
  return EXIT_DONE;
}

static const struct { const char *name, *operand, *help; int (*run)(chat *, const char *); } commands[] = {
  {"/help", "", "this list", do_help},
  {"/think", "off|high|max", "reasoning before the answer; without a word: what it is now", do_think},
  {"/regen", "", "answer the last message anew, with another seed", do_regen},
  {"/edit", "TEXT", "put TEXT in the last message's place, and answer it", do_edit},
  {"/save", "FILE", "write the conversation as JSON messages", do_save},
  {"/load", "FILE", "go on from JSON messages", do_load},
  {"/reset", "", "begin a new conversation", do_reset},
  {"/quit", "", "end; Ctrl-D does too", do_quit},
};
enum { N_CHAT_COMMANDS = sizeof commands / sizeof *commands };

static int do_help(chat *c, const char *rest)
{
  (void)c, (void)rest;
  for (size_t i = 0; i < N_CHAT_COMMANDS; i++) fprintf(stderr, "%-7s %-13s %s\n", commands[i].name, commands[i].operand, commands[i].help);
  fputs("//...                 a message that begins with /\n\\ at a line's end     one more line; what is pasted stays one message\n"
        "Ctrl-C                stop the answer, or give up the line\n", stderr);
  return EXIT_DONE;
}

/* text: the line, zero-terminated, which is cut up. */
static int run(chat *c, char *text, size_t n_bytes)
{
  const char *names[N_CHAT_COMMANDS];
  size_t n_name = strcspn(text, " \t"), end = n_bytes;
  while (end > n_name && strchr(" \t", text[end - 1])) text[--end] = 0;
  char *rest = text + n_name;
  if (*rest) *rest++ = 0;
  rest += strspn(rest, " \t");
  for (size_t i = 0; i < N_CHAT_COMMANDS; i++) {
    names[i] = commands[i].name;
    if (strcmp(text, names[i])) continue;
    if (*rest && !*commands[i].operand) return cli_fail_with(EXIT_USAGE, "%s: expected nothing behind it, found '%s'", text, rest);
    return commands[i].run(c, rest);
  }
  const char *near = cli_nearest(text, names, N_CHAT_COMMANDS);
  return cli_fail_with(EXIT_USAGE, "no command %s%s%s; /help lists them, // begins a message with /", text, near ? "; did you mean " : "", near ? near : "");
}

static int run_command(chat *c, const char *line, size_t n_bytes)
{
  if (memchr(line, 0, n_bytes)) return cli_fail_with(EXIT_USAGE, "expected a command of chat, found a zero byte; /help lists them");
  char *text = malloc(n_bytes + 1);
  if (!text) return cli_fail_with(EXIT_DEVICE, "out of memory");
  memcpy(text, line, n_bytes);
  text[n_bytes] = 0;
  int status = run(c, text, n_bytes);
  free(text);
  return status;
}

/* ---- the loop ---- */
/* On a terminal the user sees what failed and goes on; a pipe ends there, with its status. */
static int loop(chat *c)
{
  const char *text;
  size_t n;
  int status = EXIT_DONE;
  bool edited = chat_line_is_edited(c->line);
  if (edited) fputs("/help lists the commands; Ctrl-D ends.\n", stderr);
  while (!c->over) {
    chat_input input = chat_line_read(c->line, &text, &n);
    if (input == CHAT_INPUT_END) break;
    if (input == CHAT_INPUT_CLEARED || !n) continue;
    bool command = text[0] == '/' && (n < 2 || text[1] != '/'), escaped = text[0] == '/' && !command;
    status = command ? run_command(c, text, n) : take_turn(c, NULL, text + escaped, n - escaped);
    if (status && !edited) break;
  }
  if (edited && !c->over) fputc('\n', stderr);
  if (cli_interrupted() && !status) return EXIT_INTERRUPT;
  return edited && !c->over ? EXIT_DONE : status;
}

int cmd_chat(const cli_args *a)
{
  chat c = {.a = a, .thinking = (koine_thinking)a->v[OPT_THINK].i};
  if (!a->v[OPT_N_PREDICT].i) return cli_usage_error(a->command, "-n: expected -1, or an integer from 1, found '0'");
  int status = cli_text_open(a, &c.text);
  if (!status) status = chat_talk_open(c.text.tokenizer, a->v[OPT_MODEL].text, a->v[OPT_SYSTEM].text, &c.talk);
  if (!status) status = cli_text_wake(a, (uint64_t)a->v[OPT_CTX].i, 0, &c.text);
  if (!status) status = chat_line_open(&c.line);
  if (!status) {
    cli_text_report_load(&c.text);
    status = loop(&c);
  }
  chat_line_close(c.line);
  chat_talk_close(c.talk);
  cli_text_close(&c.text);
  return status;
}
