/* koine quantize: a model as a GGUF file in other formats, weighed by an importance matrix if there is one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common_text.h"

/* Of the text that --imatrix names, read by the model as it is. */
static int measure(const cli_args *a, koine_importance **out)
{
  cli_text t = {0};
  cli_args own = *a;
  char *text = NULL;
  size_t n_bytes;
  uint64_t segment = (uint64_t)a->v[OPT_SEGMENT].i;
  int status = cli_read_file(a->v[OPT_IMATRIX].text, &text, &n_bytes);
  if (!status && !n_bytes) status = cli_fail_with(EXIT_FILE, "%s: expected text, found an empty file", a->v[OPT_IMATRIX].text);
  if (!status && memchr(text, 0, n_bytes)) /* such as llama.cpp's older form, which as a text would mean nothing */
    status = cli_fail_with(EXIT_FILE, "%s: expected text or an importance matrix in a GGUF file, found bytes of zero (llama-imatrix writes GGUF of a .dat file)", a->v[OPT_IMATRIX].text);
  if (!status) status = cli_text_open(&own, &t);
  if (!status) status = cli_text_wake(&own, segment, segment, &t);
  koine_status s = status ? KOINE_OK : koine_importance_measure(t.session, t.tokenizer, text, n_bytes, (uint32_t)segment, cli_progress, NULL, out);
  cli_progress_end();
  if (s) status = cli_fail(s);
  cli_text_close(&t);
  free(text);
  return status;
}

static int importance(const cli_args *a, koine_importance **out)
{
  const char *path = a->v[OPT_IMATRIX].text;
  char head[4] = "";
  koine_status s = KOINE_OK;
  int status = EXIT_DONE;
  if (!a->v[OPT_IMATRIX].given) return a->v[OPT_SAVE_IMATRIX].given ? cli_usage_error(a->command, "--save-imatrix: expected together with --imatrix TEXT, found without") : EXIT_DONE;
  FILE *f = fopen(path, "rb");
  bool made = f && fread(head, sizeof head, 1, f) == 1 && !memcmp(head, "GGUF", 4);
  if (f) fclose(f);
  if (made) s = koine_importance_open(path, out);
  else status = measure(a, out);
  if (!status && !s && a->v[OPT_SAVE_IMATRIX].given) s = koine_importance_save(*out, a->v[OPT_SAVE_IMATRIX].text);
  return s ? cli_fail(s) : status;
}

int cmd_quantize(const cli_args *a)
{
  const cli_value *v = a->v;
  if (!strcmp(v[OPT_OUTPUT].text, "-")) return cli_usage_error(a->command, "--output: expected a file's name, found -: its parts are written where they belong, which a pipe cannot take");
  koine_importance *i = NULL;
  koine_model *model = NULL;
  cli_catch_interrupt();
  koine_status s = koine_model_open(v[OPT_MODEL].text, &model);
  int status = s ? cli_fail(s) : importance(a, &i);
  koine_quantize_options o = {.size = sizeof o, .type = v[OPT_TYPE].text, .fallback = v[OPT_FALLBACK].text, .importance = i,
                              .n_threads = (uint32_t)v[OPT_THREADS].i, .progress = cli_progress};
  if (!status) {
    s = koine_quantize(model, v[OPT_OUTPUT].text, &o);
    cli_progress_end();
    if (s) status = cli_fail(s);
  }
  koine_importance_close(i);
  koine_model_close(model);
  return status;
}
