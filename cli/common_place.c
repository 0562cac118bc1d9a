/* Where layers are to lie, from the options of koine plan and of the commands that run a model. Owns nothing. */
#include <math.h>
#include <stdlib.h>
#include "cli.h"

koine_status cli_place(const cli_args *a, const koine_machine *machine, const koine_model *model, uint64_t context, const char *given, koine_placement **out)
{
  const cli_value *v = a->v;
  double *shares = calloc(v[OPT_SHARES].n + 1, sizeof *shares);
  for (size_t i = 0; shares && i < v[OPT_SHARES].n; i++) shares[i] = (double)v[OPT_SHARES].list[i];
  koine_place_options o = {.size = sizeof o, .context = context, .chunk = (uint32_t)v[OPT_CHUNK].i, .cache = (koine_cache)v[OPT_CACHE].i,
                           .n_streams = 1, .devices = &v[OPT_DEVICE].text, .n_devices = v[OPT_DEVICE].given, .exclude = v[OPT_EXCLUDE].texts, .n_exclude = v[OPT_EXCLUDE].n,
                           .layers = v[OPT_LAYERS].texts, .n_layers = v[OPT_LAYERS].n, .memory = v[OPT_MEMORY].texts, .n_memory = v[OPT_MEMORY].n,
                           .shares = shares, .n_shares = shares ? v[OPT_SHARES].n : 0, .given = given, .n_on_cards = (uint32_t)v[OPT_ON_CARDS].i, .misses_on = v[OPT_MISSES_ON].text};
  o.expert_caches = v[OPT_EXPERT_CACHE].texts, o.n_expert_caches = v[OPT_EXPERT_CACHE].n;
  if (v[OPT_STREAMS].given) o.n_streams = v[OPT_STREAMS].i ? (double)v[OPT_STREAMS].i : INFINITY;
  if (v[OPT_ON_CARDS].given) o.set |= KOINE_PLACE_ON_CARDS;
  if (v[OPT_CPU_MOE].i || v[OPT_N_CPU_MOE].given) o.set |= KOINE_PLACE_EXPERTS_ON_CPU;
  o.n_experts_on_cpu = v[OPT_CPU_MOE].i ? UINT32_MAX : (uint32_t)v[OPT_N_CPU_MOE].i;
  koine_status s = koine_place(machine, model, &o, out);
  free(shares);
  return s;
}

koine_status cli_measure(const cli_args *a, koine_machine *machine, const koine_model *model, bool all)
{
  const cli_value *v = a->v;
  koine_place_options o = {.size = sizeof o, .devices = &v[OPT_DEVICE].text, .n_devices = v[OPT_DEVICE].given, .exclude = v[OPT_EXCLUDE].texts, .n_exclude = v[OPT_EXCLUDE].n};
  return koine_machine_measure(machine, model, &o, all, 0, cli_progress, NULL);
}

/* The text of the best placement under the user's wishes. */
static koine_status search(const cli_args *a, koine_runtime *runtime, const koine_model *model, uint64_t context, char **out)
{
  koine_machine *machine = NULL;
  koine_placement *placement = NULL;
  koine_status s = koine_machine_open(runtime, &machine);
  if (!s) s = cli_place(a, machine, model, context, NULL, &placement);
  if (!s) s = koine_placement_text(placement, out);
  koine_placement_free(placement);
  koine_machine_close(machine);
  return s;
}

int cli_placement(const cli_args *a, koine_runtime *runtime, const koine_model *model, uint64_t context, char **out)
{
  static const cli_option_id wishes[] = {OPT_EXCLUDE, OPT_MEMORY, OPT_SHARES, OPT_ON_CARDS, OPT_CPU_MOE, OPT_N_CPU_MOE}, named[] = {OPT_DEVICE, OPT_EXPERTS_ON, OPT_LAYERS};
  const cli_value *v = a->v;
  const char *wish = NULL;
  size_t n;
  for (size_t i = 0; i < sizeof wishes / sizeof *wishes && !wish; i++) wish = v[wishes[i]].given ? cli_options[wishes[i]].names[0] : NULL;
  if (v[OPT_PLACEMENT].given && wish) return cli_usage_error(a->command, "--placement: expected alone, as it says where everything lies, found with %s", wish);
  if (v[OPT_PLACEMENT].given) wish = "--placement";
  for (size_t i = 0; i < sizeof named / sizeof *named && wish; i++)
    if (v[named[i]].given && (named[i] != OPT_LAYERS || v[OPT_PLACEMENT].given))
      return cli_usage_error(a->command, "%s: expected without %s", wish, cli_options[named[i]].names[0]);
  if (v[OPT_PLACEMENT].given) return cli_read_file(v[OPT_PLACEMENT].text, out, &n);
  koine_status s = wish ? search(a, runtime, model, context, out) : KOINE_OK;
  return s ? cli_fail(s) : EXIT_DONE;
}
