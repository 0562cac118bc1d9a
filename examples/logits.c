/* The likeliest next tokens after a prompt of token ids.
 *
 *   cc logits.c $(pkg-config --cflags --libs koine) -o logits
 *   ./logits models/austen 0 1438 372 266         ("It is a")
 *
 * Opens the runtime, the model, a plan and a session in turn, evaluates the prompt, and closes them in the reverse order. */
#include <errno.h>
#include <koine.h>
#include <stdio.h>
#include <stdlib.h>

enum { N_TOP = 5 };

/* user: the percentage that stderr shows now. A line is written over as the work goes on; true means: go on. */
static bool on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
  int *shown = user, percent = total ? (int)(100.0 * (double)done / (double)total) : 100;
  if (percent != *shown) fprintf(stderr, "\r%s %d %%%s", what, percent, done == total ? "\n" : "");
  *shown = percent;
  return true;
}

static int32_t *read_ids(int n, char **text)
{
  int32_t *ids = calloc((size_t)n, sizeof *ids);
  for (int i = 0; ids && i < n; i++) {
    char *end;
    errno = 0;
    long id = strtol(text[i], &end, 10);
    if (errno || *end || end == text[i] || id < INT32_MIN || id > INT32_MAX) {
      fprintf(stderr, "expected a token id, found '%s'\n", text[i]);
      free(ids);
      return NULL;
    }
    ids[i] = (int32_t)id;
  }
  return ids;
}

static void print_top(float *logits /* [n], spoiled */, uint32_t n)
{
  for (int i = 0; i < N_TOP && i < (int)n; i++) {
    uint32_t best = 0;
    for (uint32_t v = 1; v < n; v++)
      if (logits[v] > logits[best]) best = v;
    printf("%u %.5f\n", best, (double)logits[best]);
    logits[best] = -1e30f;
  }
}

/* Everything that was opened is closed by the caller, whatever this returns. */
static koine_status evaluate(const koine_runtime *runtime, koine_model *model, koine_plan *plan, koine_session **session,
                             const int32_t *ids, size_t n_ids)
{
  koine_model_info info = KOINE_MODEL_INFO_INIT;
  koine_device_info device = KOINE_DEVICE_INFO_INIT;
  int shown = -1;
  koine_status s = koine_model_get_info(model, &info);
  if (!s) s = koine_runtime_device(runtime, 0, &device);
  if (!s) fprintf(stderr, "the best device is %s (%s)\n", device.id, device.name);
  if (!s) s = koine_plan_wake(plan, on_progress, &shown);
  if (!s) s = koine_session_open(plan, NULL, session);
  if (s) return s;
  koine_eval_options options = {.size = sizeof options, .n_logits = 1, .progress = on_progress, .user = &shown};
  float *logits = malloc(info.n_vocab * sizeof *logits); /* [1][n_vocab] */
  if (!logits) return KOINE_ERR_MEMORY;
  s = koine_session_eval(*session, ids, n_ids, &options, logits);
  if (!s) print_top(logits, info.n_vocab);
  free(logits);
  return s;
}

int main(int argc, char **argv)
{
  if (argc < 3) {
    fprintf(stderr, "usage: logits MODEL ID...\n");
    return 2;
  }
  int32_t *ids = read_ids(argc - 2, argv + 2);
  if (!ids) return 2;
  koine_runtime *runtime = NULL;
  koine_model *model = NULL;
  koine_plan *plan = NULL;
  koine_session *session = NULL;
  koine_status s = koine_runtime_open(NULL, &runtime);
  if (!s) s = koine_model_open(argv[1], &model);
  if (!s) s = koine_plan_make(runtime, model, NULL, &plan);
  if (!s) s = evaluate(runtime, model, plan, &session, ids, (size_t)(argc - 2));
  if (s) fprintf(stderr, "logits: %s\n", koine_last_error());
  koine_session_close(session);
  koine_plan_free(plan);
  koine_model_close(model);
  koine_runtime_close(runtime);
  free(ids);
  return s ? 1 : 0;
}
