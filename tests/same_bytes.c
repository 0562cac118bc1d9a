/* What the library says in one locale, for t_same_bytes.sh to compare: prompts, answers, JSON, tables, messages.
 * usage: same_bytes MODEL LOCALE */
#include <koine.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

static const char request[] =
  "[{\"role\":\"system\",\"content\":\"S\",\"tools\":[{\"function\":{\"name\":\"f\",\"parameters\":{\"minimum\":1.50,\"x\":1e-7}}}]},{\"role\":\"user\",\"content\":\"Is I I?\"},"
  "{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1.25,\\\"b\\\":12345.678e3}\"}}]}]";

static int said(koine_status s, char *text)
{
  printf("%d %s\n", s, s ? koine_last_error() : text);
  koine_text_free(s ? NULL : text);
  return s != KOINE_OK;
}

static koine_status bench(koine_plan *plan, koine_format format)
{
  static const uint32_t one = 1;
  koine_bench_options o = KOINE_BENCH_OPTIONS_INIT;
  char *table = NULL;
  o.n_gen = &one, o.n_n_gen = 1, o.repetitions = 1, o.ops = true, o.format = format;
  koine_status s = koine_bench(plan, &o, NULL, NULL, &table);
  for (char *p = table; p && *p; p++) { /* figures differ from run to run, their form must not */
    if (*p == ' ' && p[1] == ' ') continue;
    if (*p < '0' || *p > '9') putchar(*p);
    else if (p == table || p[-1] < '0' || p[-1] > '9') putchar('9');
  }
  koine_text_free(table);
  return s;
}

int main(int argc, char **argv)
{
  koine_runtime *rt = NULL;
  koine_model *model = NULL;
  koine_plan *plan = NULL;
  koine_chat *chat = NULL;
  koine_tokenizer *tokenizer = NULL;
  koine_chat_options o = KOINE_CHAT_OPTIONS_INIT;
  koine_plan_options p = KOINE_PLAN_OPTIONS_INIT;
  koine_sampling k = KOINE_SAMPLING_INIT;
  koine_sampler *sampler = NULL;
  uint64_t contexts[] = {4096, 100000};
  char *text = NULL;
  int bad = 0;
  if (argc != 3 || !setlocale(LC_ALL, argv[2])) return 9;
  if (koine_runtime_open(NULL, &rt) || koine_model_open(argv[1], &model) || koine_chat_open(argv[1], &chat) || koine_tokenizer_open(argv[1], &tokenizer))
    return printf("%s\n", koine_last_error()), 1;
  for (int thinking = KOINE_THINK_OFF; thinking <= KOINE_THINK_MAX; thinking++) {
    o.thinking = (koine_thinking)thinking;
    bad += said(koine_chat_prompt(chat, NULL, request, strlen(request), &o, &text, NULL, NULL, NULL), text);
  }
  bad += said(koine_chat_parse("a\xff" "b", 3, KOINE_THINK_OFF, &text), text);
  bad += said(koine_model_describe(model, contexts, 2, true, &text), text);
  bad += said(koine_model_describe(model, contexts, 2, false, &text), text);
  p.device = "HOST", p.chunk = 16;
  if (koine_plan_make(rt, model, &p, &plan) || koine_plan_wake(plan, NULL, NULL)) return printf("%s\n", koine_last_error()), 1;
  bad += said(koine_plan_describe(plan, &text), text);
  for (int format = KOINE_FORMAT_MARKDOWN; format <= KOINE_FORMAT_JSON; format++) bad += bench(plan, (koine_format)format) != KOINE_OK;
  k.temperature = -1.5f;
  bad += koine_sampler_open(&k, 10, &sampler) != KOINE_ERR_ARG;
  printf("%s\n", koine_last_error());
  koine_plan_free(plan);
  koine_tokenizer_close(tokenizer);
  koine_chat_close(chat);
  koine_model_close(model);
  koine_runtime_close(rt);
  return bad;
}
