/* koine tokenize, detokenize, chat-encode: text and ids without an answer. Owns nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common_text.h"

static const char *input_name(const cli_args *a)
{
  const cli_value *file = &a->v[OPT_FILE];
  return file->given && strcmp(file->text, "-") ? file->text : "standard input";
}

/* ---- ids on standard output ---- */
static size_t put_id(int32_t id, char *out)
{
  char digits[12];
  size_t n = 0, m = 0;
  do digits[n++] = (char)('0' + id % 10);
  while (id /= 10);
  while (n) out[m++] = digits[--n];
  return m;
}

/* By hand: a corpus has a million of them, and printf would be slower than the tokenizer. */
static void print_ids(const int32_t *ids, size_t n_ids)
{
  char piece[4096];
  size_t n = 0;
  for (size_t i = 0; i < n_ids; i++) {
    if (n > sizeof piece - 16) fwrite(piece, 1, n, stdout), n = 0;
    if (i) piece[n++] = ' ';
    n += put_id(ids[i], piece + n);
  }
  piece[n++] = '\n';
  fwrite(piece, 1, n, stdout);
}

int cmd_tokenize(const cli_args *a)
{
  koine_tokenizer *tokenizer = NULL;
  char *text = NULL;
  int32_t *ids = NULL;
  size_t n_bytes, n_ids;
  int status = cli_text_input(a, &text, &n_bytes);
  if (status) return status;
  koine_status s = koine_tokenizer_open(a->v[OPT_MODEL].text, &tokenizer);
  if (!s) s = koine_tokenize(tokenizer, text, n_bytes, a->v[OPT_SPECIAL].i ? KOINE_TOKENIZE_SPECIAL : 0, &ids, &n_ids);
  if (!s) print_ids(ids, n_ids);
  koine_ids_free(ids);
  koine_tokenizer_close(tokenizer);
  free(text);
  return s ? cli_fail(s) : EXIT_DONE;
}

/* ---- ids as text ---- */
typedef struct id_list {
  int32_t *ids; /* [n], room for cap */
  size_t n, cap, n_vocab;
  const char *from; /* the file's name; NULL: the command line */
} id_list;

static int add_id(id_list *l, int32_t id)
{
  if (l->n == l->cap) {
    size_t cap = l->cap ? 2 * l->cap : 1024;
    int32_t *more = realloc(l->ids, cap * sizeof *more);
    if (!more) return cli_fail_with(EXIT_DEVICE, "out of memory after %zu ids", l->n);
    l->ids = more;
    l->cap = cap;
  }
  l->ids[l->n++] = id;
  return EXIT_DONE;
}

/* text[0..n): ids with white space between. */
static int read_ids(id_list *l, const char *text, size_t n)
{
  static const char spaces[] = " \t\r\n\f\v";
  for (size_t i = 0; i < n;) {
    if (text[i] && strchr(spaces, text[i])) {
      i++;
      continue;
    }
    size_t from = i;
    int64_t id = 0;
    for (; i < n && text[i] >= '0' && text[i] <= '9' && id < (int64_t)l->n_vocab; i++) id = 10 * id + (text[i] - '0');
    if (i == from || id >= (int64_t)l->n_vocab || (i < n && (!text[i] || !strchr(spaces, text[i])))) {
      int shown = (int)strcspn(text + from, spaces);
      return cli_fail_with(l->from ? EXIT_FILE : EXIT_USAGE, "%s: expected ids from 0 to %zu, found '%.*s' at position %zu", l->from ? l->from : "detokenize",
                           l->n_vocab - 1, shown < 40 ? shown : 40, text + from, l->n);
    }
    int status = add_id(l, (int32_t)id);
    if (status) return status;
  }
  return EXIT_DONE;
}

static int gather_ids(const cli_args *a, id_list *l)
{
  char *text = NULL;
  size_t n = 0;
  int status = EXIT_DONE;
  if (a->n_operands && a->v[OPT_FILE].given) return cli_usage_error(a->command, "expected ids or -f FILE, found both");
  for (size_t i = 0; i < a->n_operands && !status; i++) status = read_ids(l, a->operands[i], strlen(a->operands[i]));
  if (a->n_operands) return status;
  l->from = input_name(a);
  status = cli_text_input(a, &text, &n);
  if (!status) status = read_ids(l, text, n);
  free(text);
  return status;
}

int cmd_detokenize(const cli_args *a)
{
  koine_tokenizer *tokenizer = NULL;
  char *text = NULL;
  size_t n_bytes = 0;
  koine_status s = koine_tokenizer_open(a->v[OPT_MODEL].text, &tokenizer);
  if (s) return cli_fail(s);
  id_list l = {.n_vocab = koine_tokenizer_n_vocab(tokenizer)};
  int status = gather_ids(a, &l);
  if (!status) {
    s = koine_detokenize(tokenizer, l.ids, l.n, a->v[OPT_SPECIAL].i, &text, &n_bytes);
    if (s) status = cli_fail(s);
    else fwrite(text, 1, n_bytes, stdout);
  }
  koine_text_free(text);
  free(l.ids);
  koine_tokenizer_close(tokenizer);
  return status;
}

/* ---- chat-encode ---- */
int cmd_chat_encode(const cli_args *a)
{
  const char *folder = a->v[OPT_MODEL].text;
  koine_chat_options options = {.size = sizeof options, .thinking = (koine_thinking)a->v[OPT_THINK].i};
  koine_tokenizer *tokenizer = NULL;
  koine_chat *chat = NULL;
  char *json = NULL, *prompt = NULL;
  int32_t *ids = NULL;
  size_t n_bytes, n_prompt = 0, n_ids = 0;
  bool as_ids = a->v[OPT_IDS].i;
  int status = cli_text_input(a, &json, &n_bytes);
  if (status) return status;
  koine_status s = koine_tokenizer_open(folder, &tokenizer);
  if (!s) s = koine_chat_open(folder, &chat);
  if (s) status = cli_fail(s);
  else s = koine_chat_prompt(chat, tokenizer, json, n_bytes, &options, as_ids ? NULL : &prompt, &n_prompt, as_ids ? &ids : NULL, &n_ids);
  if (s && !status) status = cli_is_request_error(s) ? cli_fail_with(EXIT_FILE, "%s: %s", input_name(a), koine_last_error()) : cli_fail(s);
  if (!s && as_ids) print_ids(ids, n_ids);
  if (!s && !as_ids) {
    cli_text_put(prompt, n_prompt);
    if (isatty(STDOUT_FILENO)) putchar('\n');
  }
  koine_ids_free(ids);
  koine_text_free(prompt);
  koine_chat_close(chat);
  koine_tokenizer_close(tokenizer);
  free(json);
  return status;
}
