/* An answer as it comes, on standard output: reasoning dimmed on a terminal, markup left out. Owns the answer's text and what may be shown
 * of it. Invariant: bytes before n_shown are printed or were markup; those behind may still become markup. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cmd_chat.h"

static const char think_end[] = "</think>";
enum { N_MARKS = 2 };

int chat_show_begin(const koine_tokenizer *tokenizer, koine_thinking thinking, chat_show *out)
{
  int32_t eos = koine_tokenizer_eos(tokenizer);
  *out = (chat_show){.reasoning = thinking != KOINE_THINK_OFF, .at_line = true};
  koine_status s = eos >= 0 ? koine_detokenize(tokenizer, &eos, 1, true, &out->end, &out->n_end) : KOINE_OK;
  return s ? cli_fail(s) : EXIT_DONE;
}

void chat_show_clear(chat_show *w)
{
  koine_text_free(w->end);
  free(w->text);
  *w = (chat_show){0};
}

static void set_dim(chat_show *w, bool dim)
{
  if (w->dimmed == dim || !cli_colours(STDOUT_FILENO)) return;
  fputs(dim ? "\033[2m" : "\033[0m", stdout);
  w->dimmed = dim;
}

static void print(chat_show *w, size_t to)
{
  size_t n = to - w->n_shown;
  const char *text = w->text + w->n_shown;
  if (!n) return;
  set_dim(w, w->reasoning);
  if (!cli_text_put(text, n)) w->broken = true;
  w->at_line = text[n - 1] == '\n';
  w->some = true;
  w->n_shown = to;
}

/* Reasoning and answer stand apart by an empty line. */
static void end_reasoning(chat_show *w)
{
  w->reasoning = false;
  set_dim(w, false);
  if (w->some) fputs(w->at_line ? "\n" : "\n\n", stdout);
  w->some = false;
  w->at_line = true;
}

/* The first mark at or behind n_shown; its place goes to *at, which is otherwise where a mark may still begin. */
static int find_mark(const chat_show *w, size_t *at)
{
  const char *const marks[N_MARKS] = {w->reasoning ? think_end : "", w->end ? w->end : ""};
  for (*at = w->n_shown; *at < w->n_bytes; ++*at)
    for (int i = 0; i < N_MARKS; i++) {
      size_t n = strlen(marks[i]), left = w->n_bytes - *at;
      if (!n || memcmp(w->text + *at, marks[i], n < left ? n : left)) continue;
      return n <= left ? i : N_MARKS;
    }
  return N_MARKS;
}

static bool append(chat_show *w, const char *text, size_t n)
{
  if (w->n_bytes + n > w->cap) {
    size_t cap = 2 * (w->n_bytes + n);
    char *more = realloc(w->text, cap);
    if (!more) return false;
    w->text = more;
    w->cap = cap;
  }
  memcpy(w->text + w->n_bytes, text, n);
  w->n_bytes += n;
  return true;
}

bool chat_show_text(void *show, const char *text, size_t n_bytes)
{
  chat_show *w = show;
  cli_progress_end();
  if (!append(w, text, n_bytes)) w->broken = true;
  while (!w->broken) {
    size_t at;
    int mark = find_mark(w, &at);
    print(w, at);
    if (mark == N_MARKS) break;
    w->n_shown = at + (mark ? w->n_end : sizeof think_end - 1);
    if (!mark) end_reasoning(w);
  }
  return !w->broken && !cli_interrupted();
}

void chat_show_end(chat_show *w)
{
  print(w, w->n_bytes);
  set_dim(w, false);
  if (!w->at_line || !w->n_bytes) cli_text_put("\n", 1);
  else fflush(stdout);
}
