/* A conversation: every argument is what the user says next; the model's answers are streamed to standard output.
 *
 *   cc chat.c $(pkg-config --cflags --libs koine) -o chat
 *   ./chat models/austen "Good morning." "And how is your sister?"
 *
 * Each turn makes the prompt of the whole conversation as the checkpoint prescribes and hands all of it to the session, which evaluates
 * only what it does not hold yet. A stream cuts the answer into pieces while it comes, and gives it as a message at the end. Ctrl-C ends an
 * answer early. */
#define _GNU_SOURCE /* asprintf */
#include <koine.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_PREDICT = 40 };

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
  (void)signal;
  interrupted = 1;
}

/* Each returns true to go on. */
static bool on_part(void *user, koine_chat_part part, const char *text, size_t n_bytes)
{
  (void)user;
  if (part == KOINE_CHAT_DEFECT) fprintf(stderr, "[malformed: %s]\n", text);
  else fwrite(text, 1, n_bytes, stdout); /* there is no reasoning here, and no tool that could be called */
  fflush(stdout);
  return !interrupted;
}

static bool on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
  (void)user;
  if (done == total) fprintf(stderr, "[%s: %llu]\n", what, (unsigned long long)total);
  return !interrupted;
}

/* What a program works with, and the conversation as a list of JSON messages, separated by commas. */
typedef struct chat {
  const char *folder;
  koine_chat *encoding;
  koine_runtime *runtime;
  koine_model *model;
  koine_tokenizer *tokenizer;
  koine_plan *plan;
  koine_session *session;
  char *messages;
} chat;

static koine_status append(chat *c, const char *message)
{
  char *joined;
  if (asprintf(&joined, "%s%s%s", c->messages ? c->messages : "", c->messages ? "," : "", message) < 0) return KOINE_ERR_MEMORY;
  free(c->messages);
  c->messages = joined;
  return KOINE_OK;
}

static koine_status append_user(chat *c, const char *says)
{
  char *message = malloc(64 + 6 * strlen(says)), *p = message;
  if (!message) return KOINE_ERR_MEMORY;
  p += sprintf(p, "{\"role\":\"user\",\"content\":\"");
  for (; *says; says++) {
    unsigned char byte = (unsigned char)*says;
    if (byte == '"' || byte == '\\') p += sprintf(p, "\\%c", byte);
    else if (byte < 0x20) p += sprintf(p, "\\u%04x", byte);
    else *p++ = (char)byte;
  }
  strcpy(p, "\"}");
  koine_status s = append(c, message);
  free(message);
  return s;
}

/* The answer, which becomes the assistant's message. */
static koine_status answer(chat *c, const int32_t *prompt, size_t n_prompt)
{
  int32_t *ids = NULL;
  size_t n_ids = 0;
  char *message = NULL;
  koine_stop stop = KOINE_STOP_EOS;
  koine_generate_options options = KOINE_GENERATE_OPTIONS_INIT; /* greedy */
  options.n_predict = N_PREDICT, options.progress = on_progress;
  koine_status s = koine_chat_stream_open(c->tokenizer, KOINE_THINK_OFF, on_part, NULL, &options.stream);
  if (!s) s = koine_generate(c->session, c->tokenizer, prompt, n_prompt, &options, &ids, &n_ids, &stop);
  if (!s) s = koine_chat_stream_end(options.stream, &message);
  if (stop == KOINE_STOP_CALLER) s = KOINE_OK; /* what came before Ctrl-C is an answer too */
  putchar('\n');
  if (!s && message) s = append(c, message);
  if (!s) fprintf(stderr, "[ended by %s]\n", koine_stop_text(stop));
  koine_chat_stream_close(options.stream);
  koine_text_free(message);
  koine_ids_free(ids);
  return s;
}

static koine_status take_turn(chat *c, const char *says)
{
  char *request = NULL;
  int32_t *prompt = NULL;
  size_t n_prompt;
  koine_status s = append_user(c, says);
  if (!s && asprintf(&request, "[%s]", c->messages) < 0) s = KOINE_ERR_MEMORY;
  if (!s) s = koine_chat_prompt(c->encoding, c->tokenizer, request, strlen(request), NULL, NULL, NULL, &prompt, &n_prompt);
  if (!s) s = answer(c, prompt, n_prompt);
  free(request);
  koine_ids_free(prompt);
  return s;
}

static koine_status open_all(chat *c)
{
  koine_status s = koine_runtime_open(NULL, &c->runtime);
  if (!s) s = koine_model_open(c->folder, &c->model);
  if (!s) s = koine_tokenizer_open(c->folder, &c->tokenizer);
  if (!s) s = koine_chat_open(c->folder, &c->encoding);
  if (!s) s = koine_plan_make(c->runtime, c->model, NULL, &c->plan);
  if (!s) s = koine_plan_wake(c->plan, on_progress, NULL);
  if (!s) s = koine_session_open(c->plan, NULL, &c->session);
  return s;
}

static void close_all(chat *c)
{
  koine_session_close(c->session);
  koine_plan_free(c->plan);
  koine_chat_close(c->encoding);
  koine_tokenizer_close(c->tokenizer);
  koine_model_close(c->model);
  koine_runtime_close(c->runtime);
  free(c->messages);
}

int main(int argc, char **argv)
{
  if (argc < 3) {
    fprintf(stderr, "usage: chat MODEL TEXT...\n");
    return 2;
  }
  signal(SIGINT, on_interrupt);
  chat c = {.folder = argv[1]};
  koine_status s = open_all(&c);
  for (int i = 2; !s && i < argc; i++) {
    interrupted = 0;
    s = take_turn(&c, argv[i]);
  }
  koine_session_stats stats = KOINE_SESSION_STATS_INIT;
  if (!s) s = koine_session_get_stats(c.session, &stats);
  if (s) fprintf(stderr, "chat: %s\n", koine_last_error());
  else fprintf(stderr, "[tokens evaluated in all: %llu]\n", (unsigned long long)stats.n_evaluated);
  close_all(&c);
  return s ? 1 : 0;
}
