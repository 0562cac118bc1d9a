/* See names.h. Owns the two lists. Invariant: every name of the roles stands in one of them once. */
#include "names.h"
#include <stdio.h>
#include <string.h>

/* A part that is the number of an expert is left out: it stands between `ours` and `behind`. */
static const struct name { const char *theirs, *ours, *behind; } top[] = {
  {"token_embd.weight", "embed.weight", NULL},
  {"output_norm.weight", "norm.weight", NULL},
  {"output.weight", "head.weight", NULL},
  {"output_hc_fn.weight", "hc_head_fn", NULL},
  {"output_hc_base.weight", "hc_head_base", NULL},
  {"output_hc_scale.weight", "hc_head_scale", NULL},
}, in_layers[] = {
  {"attn_norm.weight", "attn_norm.weight", NULL},
  {"ffn_norm.weight", "ffn_norm.weight", NULL},
  {"hc_attn_fn.weight", "hc_attn_fn", NULL},
  {"hc_attn_base.weight", "hc_attn_base", NULL},
  {"hc_attn_scale.weight", "hc_attn_scale", NULL},
  {"hc_ffn_fn.weight", "hc_ffn_fn", NULL},
  {"hc_ffn_base.weight", "hc_ffn_base", NULL},
  {"hc_ffn_scale.weight", "hc_ffn_scale", NULL},
  {"attn_q_a.weight", "attn.wq_a.weight", NULL},
  {"attn_q_b.weight", "attn.wq_b.weight", NULL},
  {"attn_kv.weight", "attn.wkv.weight", NULL},
  {"attn_output_a.weight", "attn.wo_a.weight", NULL},
  {"attn_output_b.weight", "attn.wo_b.weight", NULL},
  {"attn_q_a_norm.weight", "attn.q_norm.weight", NULL},
  {"attn_kv_a_norm.weight", "attn.kv_norm.weight", NULL},
  {"attn_sinks.weight", "attn.attn_sink", NULL},
  {"attn_compressor_kv.weight", "attn.compressor.wkv.weight", NULL},
  {"attn_compressor_gate.weight", "attn.compressor.wgate.weight", NULL},
  {"attn_compressor_ape.weight", "attn.compressor.ape", NULL},
  {"attn_compressor_norm.weight", "attn.compressor.norm.weight", NULL},
  {"indexer.attn_q_b.weight", "attn.indexer.wq_b.weight", NULL},
  {"indexer.proj.weight", "attn.indexer.weights_proj.weight", NULL},
  {"indexer_compressor_kv.weight", "attn.indexer.compressor.wkv.weight", NULL},
  {"indexer_compressor_gate.weight", "attn.indexer.compressor.wgate.weight", NULL},
  {"indexer_compressor_ape.weight", "attn.indexer.compressor.ape", NULL},
  {"indexer_compressor_norm.weight", "attn.indexer.compressor.norm.weight", NULL},
  {"ffn_gate_inp.weight", "ffn.gate.weight", NULL},
  {"exp_probs_b.bias", "ffn.gate.bias", NULL},
  {"ffn_gate_tid2eid.weight", "ffn.gate.tid2eid", NULL},
  {"ffn_gate_shexp.weight", "ffn.shared_experts.w1.weight", NULL},
  {"ffn_up_shexp.weight", "ffn.shared_experts.w3.weight", NULL},
  {"ffn_down_shexp.weight", "ffn.shared_experts.w2.weight", NULL},
  {"ffn_gate_exps.weight", "ffn.experts.", ".w1.weight"},
  {"ffn_up_exps.weight", "ffn.experts.", ".w3.weight"},
  {"ffn_down_exps.weight", "ffn.experts.", ".w2.weight"},
};

/* "PREFIX12.REST": REST, and the number; NULL: it is another name. */
static const char *numbered(const char *name, const char *prefix, unsigned *n)
{
  size_t len = strlen(prefix), at = len;
  if (strncmp(name, prefix, len)) return NULL;
  for (*n = 0; koi_is_digit((unsigned char)name[at]) && at < len + 6; at++) *n = *n * 10 + (unsigned)(name[at] - '0');
  return at > len && name[at] == '.' ? name + at + 1 : NULL;
}

/* ---- from theirs to ours ---- */
static koine_status rename_one(void *user, const koi_tensor *t, koi_weights_name *out)
{
  const koi_names_sizes *c = user;
  unsigned layer = 0;
  const char *rest = numbered(t->name, "blk.", &layer);
  const struct name *v = rest ? in_layers : top;
  for (size_t i = 0; i < (rest ? KOI_COUNT(in_layers) : KOI_COUNT(top)); i++) {
    if (strcmp(v[i].theirs, rest ? rest : t->name)) continue;
    if (rest && layer >= c->n_layers) break;
    if (rest) snprintf(out->name, sizeof out->name, "layers.%u.%s", layer, v[i].ours);
    else snprintf(out->name, sizeof out->name, "%s", v[i].ours);
    if (!v[i].behind) return KOINE_OK;
    if (t->n_dims != 3 || t->shape[0] != c->n_experts)
      return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected three dimensions, %u experts the slowest, found %u dimensions, the slowest %ju", t->file, t->name,
                       c->n_experts, t->n_dims, (uintmax_t)t->shape[0]);
    out->behind = v[i].behind, out->n = c->n_experts;
    return KOINE_OK;
  }
  if (rest && layer >= c->n_layers && layer < c->n_layers + c->n_mtp) snprintf(out->name, sizeof out->name, "mtp.%u.%.80s", layer - c->n_layers, rest);
  else if (rest && layer >= c->n_layers) snprintf(out->name, sizeof out->name, "layers.%u.%.80s", layer, rest);
  return KOINE_OK;
}

koine_status koi_names_rename(koi_weights *w, const koi_names_sizes *c) { return koi_weights_rename(w, rename_one, (void *)c); }

/* ---- from ours to theirs ---- */
/* Whether `name` is the list's, with any number in the place of an expert's. */
static bool is_named(const struct name *v, const char *name)
{
  unsigned n;
  if (!v->behind) return !strcmp(v->ours, name);
  const char *rest = numbered(name, v->ours, &n);
  return rest && !strcmp(rest, v->behind + 1);
}

const char *koi_names_stored(const char *name, char out[KOI_NAMES_BYTES])
{
  unsigned layer = 0;
  const char *rest = numbered(name, "layers.", &layer);
  const struct name *v = rest ? in_layers : top;
  for (size_t i = 0; i < (rest ? KOI_COUNT(in_layers) : KOI_COUNT(top)); i++) {
    if (!is_named(&v[i], rest ? rest : name)) continue;
    if (rest) snprintf(out, KOI_NAMES_BYTES, "blk.%u.%s", layer, v[i].theirs);
    else snprintf(out, KOI_NAMES_BYTES, "%s", v[i].theirs);
    return out;
  }
  return name;
}
