/* Owns: a whole answer, by text or by ids, and its form as a JSON message. How an answer is read is in chat_stream.c. */
#include <string.h>
#include "chat_impl.h"

koine_status koi_chat_parse(const char *text, size_t n_bytes, koine_thinking thinking, koi_chat_answer *out)
{
  koi_chat_stream *s = NULL;
  koine_status status = koi_chat_stream_open(NULL, thinking, NULL, NULL, &s);
  if (!status) status = koi_chat_stream_feed(s, text, n_bytes);
  if (!status) status = koi_chat_stream_end(s, out);
  koi_chat_stream_close(s);
  return status;
}

koine_status koi_chat_parse_ids(const koi_tok *tok, const int32_t *ids, size_t n, koine_thinking thinking, koi_chat_answer *out)
{
  koi_chat_stream *s = NULL;
  koine_status status = koi_chat_stream_open(tok, thinking, NULL, NULL, &s);
  if (!status) status = koi_chat_stream_feed_ids(s, ids, n);
  if (!status) status = koi_chat_stream_end(s, out);
  koi_chat_stream_close(s);
  return status;
}

void koi_chat_answer_clear(koi_chat_answer *a)
{
  koi_free(a->reasoning);
  koi_free(a->content);
  for (size_t i = 0; i < a->n_calls; i++) {
    koi_free(a->call[i].name);
    koi_free(a->call[i].arguments);
  }
  koi_free(a->call);
  *a = (koi_chat_answer){0};
}

void koi_chat_call_json(const koi_chat_call *call, koi_text *t)
{
  koi_text_add(t, "{\"type\": \"function\", \"function\": {\"name\": ");
  koi_chat_json_string(t, call->name, call->n_name);
  koi_text_add(t, ", \"arguments\": ");
  koi_chat_json_string(t, call->arguments, strlen(call->arguments));
  koi_text_add(t, "}}");
}

koine_status koi_chat_answer_json(const koi_chat_answer *a, char **json)
{
  koi_text t = {0};
  koi_text_add(&t, "{\"role\": \"assistant\", \"reasoning_content\": ");
  koi_chat_json_string(&t, a->reasoning, a->n_reasoning);
  koi_text_add(&t, ", \"content\": ");
  koi_chat_json_string(&t, a->content, a->n_content);
  koi_text_add(&t, ", \"tool_calls\": [");
  for (size_t i = 0; i < a->n_calls; i++) {
    if (i) koi_text_add(&t, ", ");
    koi_chat_call_json(&a->call[i], &t);
  }
  koi_text_add(&t, "]");
  for (size_t i = 0; i < a->n_defects; i++) {
    koi_text_add(&t, i ? ", " : ", \"defects\": [");
    koi_chat_json_string(&t, a->defect[i], strlen(a->defect[i]));
  }
  koi_text_add(&t, a->n_defects ? "]}" : "}");
  return koi_text_take(&t, json);
}
