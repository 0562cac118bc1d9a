/* An answer as it comes, on standard output: reasoning dimmed on a terminal, markup left out. Owns the stream that cuts the answer. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "cmd_chat.h"

static void set_dim(chat_show *w, bool dim)
{
  if (w->dimmed == dim || !cli_colours(STDOUT_FILENO)) return;
  fputs(dim ? "\033[2m" : "\033[0m", stdout);
  w->dimmed = dim;
}

static void print(chat_show *w, const char *text, size_t n)
{
  if (!cli_text_put(text, n)) w->broken = true;
  if (n) w->at_line = text[n - 1] == '\n', w->some = true;
}

/* Reasoning and what follows stand apart by an empty line. */
static void end_reasoning(chat_show *w)
{
  if (!w->reasoning) return;
  w->reasoning = false;
  set_dim(w, false);
  if (w->some) fputs(w->at_line ? "\n" : "\n\n", stdout);
  w->at_line = true;
}

static bool show(void *user, koine_chat_part part, const char *text, size_t n_bytes)
{
  chat_show *w = user;
  cli_progress_end();
  if (part == KOINE_CHAT_DEFECT) {
    size_t n = strlen(w->defects);
    snprintf(w->defects + n, sizeof w->defects - n, "%s%s", n ? "; " : "", text);
    return true;
  }
  if (part == KOINE_CHAT_REASONING) w->reasoning = true, set_dim(w, true);
  else end_reasoning(w);
  if (part == KOINE_CHAT_TOOL_CALL && !w->at_line) print(w, "\n", 1);
  print(w, text, n_bytes);
  if (part == KOINE_CHAT_TOOL_CALL) print(w, "\n", 1);
  return !w->broken;
}

int chat_show_begin(const koine_tokenizer *tokenizer, koine_thinking thinking, chat_show *w)
{
  *w = (chat_show){.at_line = true};
  koine_status s = koine_chat_stream_open(tokenizer, thinking, show, w, &w->stream);
  return s ? cli_fail(s) : EXIT_DONE;
}

void chat_show_clear(chat_show *w)
{
  koine_chat_stream_close(w->stream);
  *w = (chat_show){0};
}

bool chat_show_token(void *user, int32_t id)
{
  const chat_show *w = user;
  (void)id;
  return !w->broken && !cli_interrupted();
}

koine_status chat_show_end(chat_show *w, char **message)
{
  koine_status s = koine_chat_stream_end(w->stream, message);
  set_dim(w, false);
  if (!w->at_line || !w->some) cli_text_put("\n", 1);
  else fflush(stdout);
  return s == KOINE_ERR_CANCELLED ? KOINE_OK : s; /* standard output is broken, which main.c says */
}
