/* Fuzzer for chat requests, answers and encoding files. The first byte chooses: a request, an answer (whole and in pieces, which must
 * agree), or an encoding_dsv4.py. */
#include "text/chat_impl.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void request(const char *json, size_t n, koine_thinking thinking)
{
  static koi_chat *chat;
  koi_chat_options o = {.thinking = thinking, .keep_reasoning = n % 2};
  koi_chat_prompt p;
  if (!chat && koi_chat_load(NULL, &chat)) abort();
  if (koi_chat_encode(chat, json, n, &o, &p)) return;
  size_t at = 0;
  for (size_t i = 0; i < p.n_segments; i++) {
    if (p.segment[i].end <= at) abort();
    at = p.segment[i].end;
  }
  if (at != p.n_bytes) abort();
  koi_chat_prompt_clear(&p);
}

typedef struct gathered {
  char *part[2];
  size_t n[2];
} gathered;

static bool gather(void *user, koine_chat_part part, const char *text, size_t n)
{
  gathered *g = user;
  if (part != KOINE_CHAT_REASONING && part != KOINE_CHAT_CONTENT) return true;
  memcpy(g->part[part] + g->n[part], text, n);
  g->n[part] += n;
  return true;
}

static void answer(const char *text, size_t n, koine_thinking thinking)
{
  koi_chat_answer a, b;
  koi_chat_stream *s;
  gathered g = {{malloc(3 * n + 9), malloc(3 * n + 9)}, {0, 0}}; /* U+FFFD has three bytes, and a blank line may come between */
  char *json;
  if (koi_chat_parse(text, n, thinking, &a) || koi_chat_answer_json(&a, &json)) abort();
  if (koi_chat_stream_open(NULL, thinking, gather, &g, &s)) abort();
  for (size_t i = 0, size = n % 7 + 1; i < n; i += size)
    if (koi_chat_stream_feed(s, text + i, n - i < size ? n - i : size)) abort();
  if (koi_chat_stream_end(s, &b) || a.n_calls != b.n_calls || a.n_defects != b.n_defects) abort();
  if (g.n[KOINE_CHAT_REASONING] != a.n_reasoning || memcmp(g.part[KOINE_CHAT_REASONING], a.reasoning, a.n_reasoning)) abort();
  if (g.n[KOINE_CHAT_CONTENT] != a.n_content || memcmp(g.part[KOINE_CHAT_CONTENT], a.content, a.n_content)) abort();
  koi_chat_stream_close(s);
  koi_chat_answer_clear(&a);
  koi_chat_answer_clear(&b);
  koi_free(json);
  free(g.part[0]);
  free(g.part[1]);
}

static void encoding(const char *python, size_t n)
{
  static const char json[] = "[{\"role\":\"system\",\"tools\":[{\"function\":{}}],\"response_format\":1}]";
  koi_chat *chat = koi_alloc(1, sizeof *chat);
  koi_chat_options o = {.thinking = KOINE_THINK_MAX};
  koi_chat_prompt p;
  if (koi_chat_wording_text("fuzz", python, n, chat) == KOINE_OK) {
    if (koi_chat_encode(chat, json, sizeof json - 1, &o, &p)) abort();
    koi_chat_prompt_clear(&p);
  }
  koi_chat_free(chat);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
  if (n == 0) return 0;
  const char *text = (const char *)data + 1;
  koine_thinking thinking = (koine_thinking)(data[0] / 3 % 3);
  switch (data[0] % 3) {
  case 0: request(text, n - 1, thinking); break;
  case 1: answer(text, n - 1, thinking); break;
  default: encoding(text, n - 1);
  }
  return 0;
}
