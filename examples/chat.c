/* A conversation: every argument is what the user says next; the model's answers are streamed to standard output.
 *
 *   cc chat.c $(pkg-config --cflags --libs koine) -o chat
 *   ./chat models/austen "Good morning." "And how is your sister?"
 *
 * Each turn encodes the whole conversation as the checkpoint prescribes and hands all of it to the session, which evaluates only what
 * it does not hold yet. Ctrl-C ends an answer early. */
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
static bool on_text(void *user, const char *text, size_t n_bytes)
{
  (void)user;
  fwrite(text, 1, n_bytes, stdout);
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

/* The answer's tokens become the assistant's message, control tokens and all, so that reasoning and calls keep their places. */
static koine_status append_answer(chat *c, const int32_t *ids, size_t n_ids)
{
  char *text = NULL, *message = NULL;
  size_t n_bytes;
  koine_status s = koine_detokenize(c->tokenizer, ids, n_ids, true, &text, &n_bytes);
  if (!s) s = koine_chat_parse(text, n_bytes, KOINE_THINK_OFF, &message);
  if (!s) s = append(c, message);
  koine_text_free(text);
  koine_text_free(message);
  return s;
}

static koine_status take_turn(chat *c, const char *says)
{
  char *request = NULL;
  int32_t *prompt = NULL, *answer = NULL;
  size_t n_prompt, n_answer = 0;
  koine_generate_options options = {.size = sizeof options, .n_predict = N_PREDICT, .text = on_text, .progress = on_progress};
  options.sampling = (koine_sampling){.size = sizeof(koine_sampling), .temperature = 0, .top_p = 1, .repetition_penalty = 1};
  koine_status s = append_user(c, says);
  if (!s && asprintf(&request, "[%s]", c->messages) < 0) s = KOINE_ERR_MEMORY;
  if (!s) s = koine_chat_encode(c->tokenizer, c->folder, request, strlen(request), KOINE_THINK_OFF, NULL, &prompt, &n_prompt);
  if (!s) s = koine_generate(c->session, c->tokenizer, prompt, n_prompt, &options, &answer, &n_answer, NULL);
  putchar('\n');
  if (!s) s = append_answer(c, answer, n_answer);
  free(request);
  koine_ids_free(prompt);
  koine_ids_free(answer);
  return s;
}

static koine_status open_all(chat *c)
{
  koine_status s = koine_runtime_open(NULL, &c->runtime);
  if (!s) s = koine_model_open(c->folder, &c->model);
  if (!s) s = koine_tokenizer_open(c->folder, &c->tokenizer);
  if (!s) s = koine_plan_make(c->runtime, c->model, NULL, &c->plan);
  if (!s) s = koine_plan_wake(c->plan, on_progress, NULL);
  if (!s) s = koine_session_open(c->plan, NULL, &c->session);
  return s;
}

static void close_all(chat *c)
{
  koine_session_close(c->session);
  koine_plan_free(c->plan);
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
  koine_session_stats stats;
  if (!s) s = koine_session_get_stats(c.session, &stats);
  if (s) fprintf(stderr, "chat: %s\n", koine_last_error());
  else fprintf(stderr, "[tokens evaluated in all: %llu]\n", (unsigned long long)stats.n_evaluated);
  close_all(&c);
  return s ? 1 : 0;
}
