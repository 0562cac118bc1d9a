/* See step.h. Owns nothing. Invariant: the same target has the same tunables, whatever ran before. */
#include "step.h"
#include <string.h>
#include "choose.h"
#include "ops_cut.h"

VALUES(tile_rows, 16, 32, 64);
VALUES(panel_widths, 8, 16, 32);
VALUES(least_widths, 2, 4, 8, 16);
VALUES(split_rows, 8, 16, 32, 64, 128, 256);
VALUES(split_counts, 1, 2, 4, 8, 16, 32);
VALUES(split_groups, 1, 2, 4, 8, 16, 32, 64, 128, 256);
VALUES(few_tokens, 1, 2, 3, 4, 6, 8, 12, 16);
VALUES(some_tokens, 2, 3, 4, 6, 8, 12, 16); /* a token alone has its experts an entry at a time: what is joined for it (joined.h) is so */
VALUES(few_strips, 0, 1, 2, 4, 8, 16);
VALUES(library_tokens, 0, 64, 128, 256, 512, 1024, 2048, 4096);

/* ---- choices ----------------------------------------------------------------------------------------------------------- */
const koi_op koi_step_layout = {.name = "layout", .params = {[LAYOUT_TILE] = PARAM("TILE", 16, 16, tile_rows)}};

const koi_op koi_step_panels = {
  .name = "panels", .consts = {[PANELS_TILE] = "TILE"}, .usual = {[PANELS_TILE] = 16},
  .params = {[PANELS_NT] = PARAM("NT", 16, 16, panel_widths), [PANELS_NT_GROUP] = PARAM("NT_GROUP", 16, 16, panel_widths),
             [PANELS_NT_LEAST] = PARAM("NT_LEAST", 2, 16, least_widths)}};

static void keep_busy(const koi_target *t, const int32_t *c, int32_t *p)
{
  uint64_t groups = 4 * (uint64_t)t->n_units;
  (void)c;
  p[SPLITS_GROUPS] = groups < 8 ? 8 : groups > 64 ? 64 : (int32_t)groups;
}
const koi_op koi_step_splits_of = {
  .name = "splits", .defaults = keep_busy,
  .params = {[SPLITS_MIN_ROWS] = PARAM("MIN_ROWS", 16, 16, split_rows), [SPLITS_MAX] = PARAM("MAX", 32, 32, split_counts),
             [SPLITS_GROUPS] = PARAM("GROUPS", 8, 8, split_groups)}};

const koi_op koi_step_crossovers = {
  .name = "crossovers", .consts = {[CROSSOVERS_TILE] = "TILE"}, .usual = {[CROSSOVERS_TILE] = 16},
  .params = {[CROSSOVERS_VEC_TOKENS] = PARAM("VEC_TOKENS", 1, 1, few_tokens), [CROSSOVERS_GROUP_TOKENS] = PARAM("GROUP_TOKENS", 4, 4, some_tokens),
             [CROSSOVERS_VEC_STRIPS] = PARAM("VEC_STRIPS", 0, 2, few_strips)}};

const koi_op koi_step_library = {.name = "library", .consts = {[LIBRARY_WT] = "WT", [LIBRARY_TILE] = "TILE"}, .usual = {[LIBRARY_TILE] = 16},
                                 .params = {[LIBRARY_FROM] = PARAM("FROM", 0, 0, library_tokens)}};

/* ---- measured only ----------------------------------------------------------------------------------------------------- */
#define SPEED_CONSTS {[SPEED_LAYERS] = "LAYERS", [SPEED_HIDDEN] = "HIDDEN", [SPEED_EXPERTS] = "EXPERTS", [SPEED_VOCAB] = "VOCAB", [SPEED_DEPTH] = "DEPTH", [SPEED_TOKENS] = "TOKENS"}
const koi_op koi_step_decode = {.name = "decode", .consts = SPEED_CONSTS}, koi_step_prefill = {.name = "prefill", .consts = SPEED_CONSTS};
const koi_op koi_step_read = {.name = "read"}, koi_step_multiply = {.name = "multiply"};

const koi_op *const koi_steps[] = {&koi_step_layout, &koi_step_panels, &koi_step_splits_of, &koi_step_crossovers, &koi_step_library, &koi_step_decode,
                                   &koi_step_prefill, &koi_step_read, &koi_step_multiply, NULL};

static const koi_op *named(const koi_op *const *list, const char *name)
{
  while (*list && strcmp((*list)->name, name)) list++;
  return *list;
}

const koi_op *koi_step_named(const char *name)
{
  const koi_op *op = named(koi_ops, name);
  return op ? op : named(koi_steps, name);
}

/* ---- in one record ----------------------------------------------------------------------------------------------------- */
/* No limit of a device forbids any: the choice never fails. */
static void choose(const koi_target *t, const koi_op *op, const int32_t *c, int32_t *p) { koi_choose(t, op, c, 0, p, NULL); }

void koi_step_tunables_for(const koi_target *t, int32_t tile, koi_tunables *out)
{
  int32_t panels[KOI_MAX_PARAMS], splits[KOI_MAX_PARAMS], crossovers[KOI_MAX_PARAMS], library[KOI_MAX_PARAMS];
  choose(t, &koi_step_panels, (const int32_t[KOI_MAX_CONSTS]){[PANELS_TILE] = tile}, panels);
  choose(t, &koi_step_splits_of, (const int32_t[KOI_MAX_CONSTS]){0}, splits);
  choose(t, &koi_step_crossovers, (const int32_t[KOI_MAX_CONSTS]){[CROSSOVERS_TILE] = tile}, crossovers);
  *out = (koi_tunables){.tile = tile, .nt = panels[PANELS_NT], .nt_group = panels[PANELS_NT_GROUP], .nt_least = panels[PANELS_NT_LEAST], .vec_tokens = crossovers[CROSSOVERS_VEC_TOKENS],
                        .vec_strips = crossovers[CROSSOVERS_VEC_STRIPS], .group_tokens = crossovers[CROSSOVERS_GROUP_TOKENS], .min_split_rows = splits[SPLITS_MIN_ROWS], .max_splits = splits[SPLITS_MAX],
                        .split_groups = splits[SPLITS_GROUPS], .arrivals = t->arrivals != 0, .score_floats = (uint64_t)4 << 20};
  for (int32_t wt = 0; wt < KOI_N_FORMATS; wt++) {
    choose(t, &koi_step_library, (const int32_t[KOI_MAX_CONSTS]){[LIBRARY_WT] = wt, [LIBRARY_TILE] = tile}, library);
    out->gemm_from[wt] = (uint32_t)library[LIBRARY_FROM];
  }
}

void koi_step_tunables(const koi_target *t, koi_tunables *out)
{
  int32_t layout[KOI_MAX_PARAMS];
  choose(t, &koi_step_layout, (const int32_t[KOI_MAX_CONSTS]){0}, layout);
  koi_step_tunables_for(t, t->tile ? t->tile : layout[LAYOUT_TILE], out);
}

/* The narrowest half, quarter and so on of a panel that takes n. */
static int32_t narrowed(int32_t width, int32_t least, uint64_t n)
{
  while (width / 2 >= least && (uint64_t)width / 2 >= n) width /= 2;
  return width;
}

static uint64_t power_of_two(uint32_t n)
{
  uint64_t p = 1;
  while (p < n) p *= 2;
  return p;
}

int32_t koi_step_panel(const koi_tunables *u, uint32_t n_tokens) { return narrowed(u->nt, u->nt_least, power_of_two(n_tokens)); }

enum { PANELS_EACH = 4 }; /* an expert fills: the last is half empty on average, and what is empty is computed all the same */

int32_t koi_step_group_panel(const koi_tunables *u, uint32_t n_tokens, uint32_t n_used, uint32_t n_experts)
{
  uint64_t each = koi_ceil_div(power_of_two(n_tokens) * n_used, n_experts);
  return narrowed(u->nt_group, u->nt_least, koi_ceil_div(each, PANELS_EACH));
}

int32_t koi_step_splits(const koi_tunables *u, int32_t n_tokens)
{
  int32_t n = u->split_groups / n_tokens;
  if (n > u->max_splits) n = u->max_splits;
  return n > 1 ? n : 1;
}
