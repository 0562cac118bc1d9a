/* See mix_types.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "file/gguf.h"
#include "mix_types.h"

#define NO MIX_NO
#define NONE MIX_NONE
#define ALL(t) {t, t, t, t, t}

const mix_types mix_types_all[] = {
  {"F32", KOI_F32, KOI_F32, KOI_F32, NO, NONE, NONE}, {"F16", KOI_F16, KOI_F16, KOI_F16, NO, NONE, NONE}, {"BF16", KOI_BF16, KOI_BF16, KOI_BF16, NO, NONE, NONE},
  {"Q8_0", KOI_Q8_0, KOI_Q8_0, KOI_Q8_0, NO, NONE, NONE}, {"MXFP4_MOE", KOI_Q8_0, KOI_Q8_0, KOI_Q8_0, KOI_MXFP4, NONE, NONE},
  {"Q4_0", KOI_Q4_0, KOI_Q4_0, KOI_Q6_K, NO, NONE, NONE}, {"Q4_1", KOI_Q4_1, KOI_Q4_1, KOI_Q6_K, NO, NONE, NONE}, {"Q5_0", KOI_Q5_0, KOI_Q5_0, KOI_Q6_K, NO, NONE, NONE},
  {"Q5_1", KOI_Q5_1, KOI_Q5_1, KOI_Q6_K, NO, NONE, NONE}, {"Q2_K", KOI_Q2_K, KOI_Q2_K, KOI_Q6_K, NO, NONE, ALL(KOI_Q3_K)}, {"Q2_K_S", KOI_Q2_K, KOI_Q2_K, KOI_Q6_K, NO, NONE, NONE},
  {"Q3_K_S", KOI_Q3_K, KOI_Q3_K, KOI_Q6_K, NO, NONE, NONE}, {"Q3_K_M", KOI_Q3_K, KOI_Q3_K, KOI_Q6_K, NO, NONE, ALL(KOI_Q4_K)},
  {"Q3_K_L", KOI_Q3_K, KOI_Q3_K, KOI_Q6_K, NO, NONE, ALL(KOI_Q5_K)}, {"Q4_K_S", KOI_Q4_K, KOI_Q4_K, KOI_Q6_K, NO, NONE, NONE},
  {"Q4_K_M", KOI_Q4_K, KOI_Q4_K, KOI_Q6_K, NO, NONE, {NO, NO, KOI_Q6_K, NO, KOI_Q6_K}}, {"Q5_K_S", KOI_Q5_K, KOI_Q5_K, KOI_Q6_K, NO, NONE, NONE},
  {"Q5_K_M", KOI_Q5_K, KOI_Q5_K, KOI_Q6_K, NO, NONE, {NO, NO, KOI_Q6_K, NO, KOI_Q6_K}}, {"Q6_K", KOI_Q6_K, KOI_Q6_K, KOI_Q6_K, NO, NONE, NONE},
  {"IQ2_XXS", KOI_IQ2_XXS, KOI_Q2_K, KOI_Q5_K, NO, NONE, NONE}, {"IQ2_XS", KOI_IQ2_XS, KOI_Q2_K, KOI_Q5_K, NO, NONE, NONE},
  {"IQ2_S", KOI_IQ2_XS, KOI_IQ3_S, KOI_Q5_K, NO, NONE, NONE}, {"IQ2_M", KOI_IQ2_S, KOI_IQ3_S, KOI_Q5_K, NO, NONE, NONE},
  {"IQ3_XXS", KOI_IQ3_XXS, KOI_IQ3_S, KOI_Q5_K, NO, NONE, ALL(KOI_Q3_K)},
  {"IQ3_XS", KOI_IQ3_S, KOI_IQ3_S, KOI_Q6_K, NO, {KOI_IQ3_XXS, KOI_IQ3_XXS, KOI_IQ3_XXS, KOI_IQ3_XXS, NO}, NONE}, {"IQ3_S", KOI_IQ3_S, KOI_IQ3_S, KOI_Q6_K, NO, NONE, NONE},
  {"IQ3_M", KOI_IQ3_S, KOI_IQ3_S, KOI_Q6_K, NO, NONE, NONE}, {"IQ4_NL", KOI_IQ4_NL, KOI_IQ4_NL, KOI_Q6_K, NO, NONE, NONE}, {"IQ4_XS", KOI_IQ4_XS, KOI_IQ4_XS, KOI_Q6_K, NO, NONE, NONE}, {.mix = NULL}};

static bool has(const char *name, const char *part) { return strstr(name, part) != NULL; }

static koi_dtype expect(const mix_types *e, const char *name)
{
  static const char *const floats[] = {"_norm.", "hc_", "_ape.", "_sinks.", "ffn_gate_inp", "exp_probs_b"};
  int layer = -1;
  if (has(name, "tid2eid")) return KOI_I32;
  for (size_t i = 0; i < KOI_COUNT(floats); i++)
    if (has(name, floats[i])) return KOI_F32;
  if (!strcmp(name, "token_embd.weight")) return e->embed;
  if (!strcmp(name, "output.weight")) return e->head;
  assert_int_equal(sscanf(name, "blk.%d.", &layer), 1);
  if (has(name, "_exps.") && e->stacks != NO) return e->stacks;
  if (has(name, "ffn_down_") && e->down[layer] != NO) return e->down[layer];
  if ((has(name, "ffn_up_") || has(name, "ffn_gate_")) && e->up[layer] != NO) return e->up[layer];
  return e->rest;
}

void mix_types_expect(const char *file, const mix_types *e)
{
  koi_gguf *g;
  if (koi_gguf_open(file, &g)) fail_msg("%s", koi_error_text());
  const koi_weights *w = koi_gguf_weights(g);
  assert_int_equal(koi_weights_count(w), 6 + 5 * 24 + 3 * 4 + 2 * 6); /* of the model, of each layer, of compressors, of indexers */
  for (size_t i = 0; i < koi_weights_count(w); i++) {
    const koi_tensor *t = koi_weights_at(w, i);
    koi_dtype want = expect(e, t->name);
    if (t->dtype != want) fail_msg("%s: %s: expected %s, found %s", e->mix, t->name, koi_dtype_name(want), koi_dtype_name(t->dtype));
  }
  koi_gguf_close(g);
}
