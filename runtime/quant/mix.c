/* See mix.h. Owns the table. Invariant: every format in it has an encoder. */
#include "mix.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "kernels/encode.h"

/* Of a mix's layers: all; the first eighth or sixteenth of them; those of both ends and every third between; all but both ends. */
typedef enum where { NOWHERE, ALL, EIGHTH, SIXTEENTH, ENDS, MIDDLE, COUNTED /* of both tensors of each layer */ } where;
typedef enum when { ANY, WITH, WITHOUT } when; /* importance */
typedef struct rule { where where; int wt; when when; } rule;

struct koi_mix {
  const char *name;
  uint32_t file_type;
  int base, embed, head;
  rule down[2], up; /* of an expert, the shared one too; the first that holds */
};

#define T(name) KOI_WT_##name
static const koi_mix mixes[] = {
  {"F32", 0, T(F32), T(F32), T(F32), {{0}}, {0}},
  {"F16", 1, T(F16), T(F16), T(F16), {{0}}, {0}},
  {"BF16", 32, T(BF16), T(BF16), T(BF16), {{0}}, {0}},
  {"Q8_0", 7, T(Q8_0), T(Q8_0), T(Q8_0), {{0}}, {0}},
  {"MXFP4_MOE", 38, T(Q8_0), T(Q8_0), T(Q8_0), {{0}}, {0}},
  {"Q4_0", 2, T(Q4_0), T(Q4_0), T(Q6_K), {{EIGHTH, T(Q4_1), WITH}}, {0}},
  {"Q4_1", 3, T(Q4_1), T(Q4_1), T(Q6_K), {{0}}, {0}},
  {"Q5_0", 8, T(Q5_0), T(Q5_0), T(Q6_K), {{EIGHTH, T(Q5_1), WITH}}, {0}},
  {"Q5_1", 9, T(Q5_1), T(Q5_1), T(Q6_K), {{0}}, {0}},
  {"Q2_K", 10, T(Q2_K), T(Q2_K), T(Q6_K), {{ALL, T(Q3_K), ANY}}, {0}},
  {"Q2_K_S", 21, T(Q2_K), T(Q2_K), T(Q6_K), {{EIGHTH, T(Q4_K), ANY}}, {0}},
  {"Q3_K_S", 11, T(Q3_K), T(Q3_K), T(Q6_K), {{0}}, {0}},
  {"Q3_K_M", 12, T(Q3_K), T(Q3_K), T(Q6_K), {{SIXTEENTH, T(Q5_K), ANY}, {ALL, T(Q4_K), ANY}}, {0}},
  {"Q3_K_L", 13, T(Q3_K), T(Q3_K), T(Q6_K), {{ALL, T(Q5_K), ANY}}, {0}},
  {"Q4_K_S", 14, T(Q4_K), T(Q4_K), T(Q6_K), {{EIGHTH, T(Q5_K), ANY}}, {0}},
  {"Q4_K_M", 15, T(Q4_K), T(Q4_K), T(Q6_K), {{ENDS, T(Q6_K), ANY}}, {0}},
  {"Q5_K_S", 16, T(Q5_K), T(Q5_K), T(Q6_K), {{0}}, {0}},
  {"Q5_K_M", 17, T(Q5_K), T(Q5_K), T(Q6_K), {{ENDS, T(Q6_K), ANY}}, {0}},
  {"Q6_K", 18, T(Q6_K), T(Q6_K), T(Q6_K), {{0}}, {0}},
  {"IQ2_XXS", 19, T(IQ2_XXS), T(Q2_K), T(Q5_K), {{COUNTED, T(Q2_K), ANY}}, {0}},
  {"IQ2_XS", 20, T(IQ2_XS), T(Q2_K), T(Q5_K), {{COUNTED, T(Q2_K), ANY}}, {0}},
  {"IQ2_S", 28, T(IQ2_XS), T(IQ3_S), T(Q5_K), {{COUNTED, T(IQ3_S), ANY}}, {0}},
  {"IQ2_M", 29, T(IQ2_S), T(IQ3_S), T(Q5_K), {{COUNTED, T(IQ3_S), ANY}}, {0}},
  {"IQ3_XXS", 23, T(IQ3_XXS), T(IQ3_S), T(Q5_K), {{EIGHTH, T(Q4_K), WITHOUT}, {ALL, T(Q3_K), WITHOUT}}, {0}},
  {"IQ3_XS", 22, T(IQ3_S), T(IQ3_S), T(Q6_K), {{0}}, {MIDDLE, T(IQ3_XXS), ANY}},
  {"IQ3_S", 26, T(IQ3_S), T(IQ3_S), T(Q6_K), {{0}}, {0}},
  {"IQ3_M", 27, T(IQ3_S), T(IQ3_S), T(Q6_K), {{EIGHTH, T(Q4_K), ANY}}, {0}},
  {"IQ4_NL", 25, T(IQ4_NL), T(IQ4_NL), T(Q6_K), {{EIGHTH, T(Q5_K), WITHOUT}}, {0}},
  {"IQ4_XS", 30, T(IQ4_XS), T(IQ4_XS), T(Q6_K), {{EIGHTH, T(Q5_K), WITHOUT}}, {0}},
};
static const char *const others[][2] = {{"Q2", "Q2_K"}, {"Q3_K", "Q3_K_M"}, {"Q4_K", "Q4_K_M"}, {"Q5_K", "Q5_K_M"}, {"MXFP4", "MXFP4_MOE"}};

const koi_mix *koi_mix_find(const char *name)
{
  for (size_t i = 0; i < KOI_COUNT(others); i++)
    if (!strcasecmp(others[i][0], name)) name = others[i][1];
  for (size_t i = 0; i < KOI_COUNT(mixes); i++)
    if (!strcasecmp(mixes[i].name, name)) return &mixes[i];
  return NULL;
}

const char *koi_mix_names(char out[512])
{
  size_t at = 0;
  for (size_t i = 0; i < KOI_COUNT(mixes); i++) at += (size_t)snprintf(out + at, 512 - at, "%s%s", i ? ", " : "", mixes[i].name);
  return out;
}

uint32_t koi_mix_file_type(const koi_mix *m) { return m->file_type; }

static bool holds(const rule *r, const koi_mix_asked *a)
{
  int i = a->layer, n = a->n_layers;
  if (r->when != ANY && a->importance != (r->when == WITH)) return false;
  switch (r->where) {
  case NOWHERE: return false;
  case ALL: return true;
  case EIGHTH: return i < n / 8;
  case SIXTEENTH: return i < n / 16;
  case ENDS: return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
  case MIDDLE: return i >= n / 8 && i < 7 * n / 8;
  case COUNTED: return 2 * i + !a->stacked < n / 8;
  }
  return false;
}

/* What stays in floats whatever the mix: everything that is no product, the router, and what mixes streams. */
static bool stays(const koi_role *r)
{
  return r->use < KOI_TABLE || !strcmp(r->group, "router") || !strcmp(r->group, "hyper-connections");
}

int koi_mix_choose(const koi_mix *m, const koi_mix_asked *a)
{
  const koi_role *r = a->role;
  bool down = r == &koi_layer_roles[KOI_W_expert_down] || r == &koi_layer_roles[KOI_W_shared_down];
  bool up = r == &koi_layer_roles[KOI_W_expert_up] || r == &koi_layer_roles[KOI_W_shared_up];
  if (stays(r)) return KOI_WT_F32;
  if (r == &koi_top_roles[KOI_TOP_embed]) return m->embed;
  if (r == &koi_top_roles[KOI_TOP_head]) return a->columns % koi_formats[m->head].block_columns ? KOI_WT_Q8_0 : m->head;
  if (!strcmp(m->name, "MXFP4_MOE") && a->stacked) return KOI_WT_MXFP4;
  for (size_t i = 0; i < 2 && down; i++)
    if (holds(&m->down[i], a)) return m->down[i].wt;
  return up && holds(&m->up, a) ? m->up.wt : m->base;
}

int koi_mix_fallback(int wt, uint64_t columns)
{
  static const struct { int from, to; } table[] = {
    {T(IQ2_XXS), T(IQ4_NL)}, {T(IQ2_XS), T(IQ4_NL)}, {T(IQ2_S), T(IQ4_NL)}, {T(IQ3_XXS), T(IQ4_NL)}, {T(IQ3_S), T(IQ4_NL)}, {T(IQ4_XS), T(IQ4_NL)},
    {T(Q2_K), T(Q4_0)}, {T(Q3_K), T(Q4_0)}, {T(Q4_K), T(Q5_0)}, {T(Q5_K), T(Q5_1)}, {T(Q6_K), T(Q8_0)}};
  for (size_t i = 0; i < KOI_COUNT(table); i++)
    if (table[i].from == wt) wt = table[i].to;
  return columns % koi_formats[wt].block_columns ? KOI_WT_F16 : wt;
}

int koi_mix_format(const char *name)
{
  for (int wt = 0; wt < KOI_N_FORMATS; wt++)
    if (koi_encode_can(wt) && !strcasecmp(koi_formats[wt].title, name)) return wt;
  return KOI_FORMAT_NONE;
}
