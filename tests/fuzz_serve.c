/* libFuzzer: bytes as a request's body. The first chooses the protocol. What is taken becomes a prompt of tokens and an answer in the protocol's form,
 * which is JSON; what is refused is told in one line, with a status for the client's mistake. srcdir: where models/austen is. */
#include "cli/serve/protocols.h"
#include "cli/serve/reply.h"
#include "cli/serve/work.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static serve_model model = {.context = 4096};

static void open_model(void)
{
  const char *top = getenv("srcdir");
  char path[4096];
  koine_tokenizer *t;
  koine_chat *chat;
  snprintf(path, sizeof path, "%s/models/austen", top ? top : ".");
  if (koine_tokenizer_open(path, &t) || koine_chat_open(path, &chat)) abort();
  model.tokenizer = t, model.chat = chat, model.n_vocab = 4096;
}

static void expect_error(const serve_protocol *p, const serve_error *e)
{
  if (e->status < 400 || e->status > 503 || e->status == 500 || !e->text[0] || strpbrk(e->text, "\n\r")) abort();
  json_object *o = p->error(e, "req_1");
  if (!o) abort();
  json_object_put(o);
}

static void tell(serve_reply *r, serve_event head, const char *text)
{
  size_t n = text ? strlen(text) : 0;
  serve_event *e = malloc(sizeof *e + n + 1);
  if (!e) abort();
  memcpy(e, &head, sizeof head);
  e->n = n;
  memcpy(e->text, text ? text : "", n + 1);
  serve_reply_take(r, e);
  free(e);
}

/* An answer of each choice, whole and as a stream. */
static void answer(const serve_protocol *p, const serve_ask *a)
{
  serve_reply r = {0};
  serve_text t = {0};
  char why[256];
  if (!serve_reply_init(&r, p, a, a->model ? a->model : "m")) abort();
  if (a->stream) serve_reply_begin(&r);
  for (uint32_t i = 0; i < r.n_choices; i++) {
    tell(&r, (serve_event){.kind = SERVE_REASONING, .choice = i}, "Hm.");
    tell(&r, (serve_event){.kind = SERVE_CONTENT, .choice = i}, "It is a \xE2\x82\xAC.");
    if (a->has_tools) tell(&r, (serve_event){.kind = SERVE_CALL, .choice = i}, "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}");
    tell(&r, (serve_event){.kind = SERVE_ENDED, .choice = i, .stop = KOINE_STOP_EOS, .stop_text = a->n_stops ? 0 : -1}, NULL);
  }
  if (!a->stream) {
    serve_text_json(&t, p->whole(&r));
    json_object *o = serve_json_parse(t.s, t.n, why, sizeof why);
    if (!o) abort();
    json_object_put(o);
    serve_text_free(&t);
  } else if (!r.out.n || r.out.failed) abort();
  serve_reply_clear(&r);
}

static void request(const serve_protocol *p, json_object *body)
{
  serve_ask a;
  serve_error e = {0};
  serve_work *w = NULL;
  serve_ask_init(&a, model.tokenizer, KOINE_THINK_HIGH);
  a.body = body;
  if (p->read(&a, body, &e) && serve_work_open(&model, &a, &w, &e)) {
    for (uint32_t i = 0; i < w->n_jobs; i++)
      if (!w->job[i].n_prompt || w->job[i].n_prompt >= model.context) abort();
    answer(p, &a);
  } else expect_error(p, &e);
  serve_work_free(w);
  serve_ask_clear(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
  static const serve_protocol *const protocols[] = {&serve_chat, &serve_completions, &serve_responses, &serve_messages_protocol};
  char why[256] = "";
  if (!model.tokenizer) open_model();
  if (!n) return 0;
  json_object *body = serve_json_parse((const char *)data + 1, n - 1, why, sizeof why);
  if (body) request(protocols[data[0] % 4], body);
  else if (!why[0] || strpbrk(why, "\n\r")) abort();
  return 0;
}
