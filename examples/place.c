/* Where a model's layers would lie on a machine, and how fast that would be.
 *
 *   cc place.c $(pkg-config --cflags --libs koine) -o place
 *   ./place models/austen                        (on this machine)
 *   ./place v4-flash 100000 desk.machine         (on the one that `koine devices --probe --save desk.machine` wrote there)
 *
 * What koine_placement_text gives is what koine_plan_options.placement takes, so that a program can keep it and run it. */
#include <koine.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE = 1 << 24 };

static koine_status open_model(const char *name, koine_model **out)
{
  koine_shape shape = {.size = sizeof shape, .name = name};
  return strncmp(name, "v4-", 3) ? koine_model_open(name, out) : koine_model_synthetic(&shape, out);
}

static koine_status read_machine(const char *path, koine_machine **out)
{
  char *text = calloc(1, MAX_FILE + 1);
  FILE *f = text ? fopen(path, "rb") : NULL;
  if (f) {
    size_t n = fread(text, 1, MAX_FILE, f);
    text[n] = 0;
    fclose(f);
  }
  koine_status s = koine_machine_parse(text ? text : "", path, out); /* of a file that cannot be read: there is no device in it */
  free(text);
  return s;
}

/* Everything that was opened is closed by the caller, whatever this returns. */
static koine_status show(const koine_machine *machine, const koine_model *model, uint64_t context, koine_placement **placement)
{
  koine_place_options options = KOINE_PLACE_OPTIONS_INIT;
  koine_estimate e = KOINE_ESTIMATE_INIT;
  char *text = NULL;
  options.context = context;
  koine_status s = koine_place(machine, model, &options, placement);
  if (!s) s = koine_placement_text(*placement, &text);
  if (!s) s = koine_placement_estimate(*placement, &e);
  if (!s)
    printf("%s%.1f tokens a second, %.1f to %.1f; %s\n", text, 1 / e.token_s, 1 / e.token_s_high, 1 / e.token_s_low, e.measured ? "measured" : "not measured");
  koine_text_free(text);
  return s;
}

int main(int argc, char **argv)
{
  if (argc < 2 || argc > 4) return fprintf(stderr, "usage: place MODEL|v4-flash|v4-pro [CONTEXT [MACHINE]]\n"), 2;
  koine_runtime *runtime = NULL;
  koine_machine *machine = NULL;
  koine_model *model = NULL;
  koine_placement *placement = NULL;
  uint64_t context = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
  koine_status s = open_model(argv[1], &model);
  if (!s && argc > 3) s = read_machine(argv[3], &machine);
  else if (!s) {
    s = koine_runtime_open(NULL, &runtime);
    if (!s) s = koine_machine_open(runtime, &machine);
  }
  if (!s) s = show(machine, model, context, &placement);
  if (s) fprintf(stderr, "place: %s\n", koine_last_error());
  koine_placement_free(placement);
  koine_machine_close(machine);
  koine_runtime_close(runtime);
  koine_model_close(model);
  return s != KOINE_OK;
}
