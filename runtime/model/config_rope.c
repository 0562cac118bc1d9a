/* The rope keys of a config, of both generations: rotated dims, thetas, YaRN. Owns nothing. */
#include "config_impl.h"
#include <math.h>

/* The type of one set of rope parameters: *yarn or plain. */
static koine_status read_rope_type(const koi_reader *r, bool *yarn)
{
  static const char *const kinds[] = {"default", "yarn"};
  size_t kind = 0;
  koine_status s = koi_reader_name(r, koi_reader_get(r, "rope_type") ? "rope_type" : "type", kinds, KOI_COUNT(kinds), &kind);
  *yarn = kind == 1;
  return s;
}

static koine_status read_yarn(const koi_reader *r, koi_yarn *out)
{
  double factor = 1, fast = 32, slow = 1;
  koi_yarn y = {0};
  koine_status s = r->object ? read_rope_type(r, &y.on) : KOINE_OK;
  if (s || !y.on) return s;
  s = koi_reader_number(r, "factor", 0, 1e6, &factor);
  if (!s) s = koi_reader_u64(r, "original_max_position_embeddings", 1, 1u << 30, &y.original);
  if (!s && koi_reader_get(r, "beta_fast")) s = koi_reader_number(r, "beta_fast", 0, 1e6, &fast);
  if (!s && koi_reader_get(r, "beta_slow")) s = koi_reader_number(r, "beta_slow", 0, 1e6, &slow);
  y.factor = (float)factor, y.beta_fast = (float)fast, y.beta_slow = (float)slow;
  if (!s) *out = y;
  return s;
}

/* partial_rotary_factor, where `r` has one, must agree with the rotated dims found so far (0: none yet). */
static koine_status read_partial(const koi_reader *r, koi_config *c)
{
  double part = 0;
  if (!r->object || !koi_reader_get(r, "partial_rotary_factor")) return KOINE_OK;
  koine_status s = koi_reader_number(r, "partial_rotary_factor", 0, 1, &part);
  if (s) return s;
  double dims = part * c->head_dim, whole = rint(dims);
  if (fabs(dims - whole) > 1e-3 || whole < 1 || (c->rope_dim && c->rope_dim != (uint32_t)whole))
    return koi_error(KOINE_ERR_FILE, "%s: %spartial_rotary_factor: expected a whole number of the %u dims of a head, as its other keys say, found %g",
                     r->where, r->path, c->head_dim, dims);
  c->rope_dim = (uint32_t)whole;
  return KOINE_OK;
}

static koine_status read_theta(const koi_reader *sub, const koi_reader *r, const char *key, double *out)
{
  bool nested = sub->object && koi_reader_get(sub, "rope_theta");
  return koi_reader_number(nested ? sub : r, nested ? "rope_theta" : key, 1, 1e12, out);
}

koine_status koi_config_rope(const koi_reader *r, koi_config *c, bool compressed)
{
  koi_reader all, main = *r, compress, scaling;
  bool yarn = false;
  koine_status s = koi_reader_object(r, "rope_parameters", "rope_parameters.", &all);
  if (!s) s = koi_reader_object(r, "rope_scaling", "rope_scaling.", &scaling);
  if (s) return s;
  main.object = NULL, compress = main;
  bool nested = all.object && (koi_reader_get(&all, "main") || koi_reader_get(&all, "compress"));
  if (nested) s = koi_reader_object(&all, "main", "rope_parameters.main.", &main);
  if (nested && !s) s = koi_reader_object(&all, "compress", "rope_parameters.compress.", &compress);
  if (!s && main.object) s = read_rope_type(&main, &yarn);
  if (s) return s;
  if (yarn)
    return koi_error(KOINE_ERR_FILE, "%s: rope_parameters.main.rope_type: expected \"default\" (no YaRN outside the compressed layers), found \"yarn\"",
                     r->where);
  if (koi_reader_get(r, "qk_rope_head_dim")) s = koi_reader_u32(r, "qk_rope_head_dim", 1, 1 << 13, &c->rope_dim);
  if (!s) s = read_partial(r, c);
  if (!s) s = read_partial(&main, c);
  if (!s) s = read_partial(&compress, c);
  if (!s && !c->rope_dim) s = koi_reader_absent(r, "qk_rope_head_dim", "an integer (or partial_rotary_factor)");
  if (!s) s = read_theta(&main, r, "rope_theta", &c->rope_theta);
  if (!s && compressed) s = read_theta(&compress, r, "compress_rope_theta", &c->compress_theta);
  return s ? s : read_yarn(nested ? &compress : all.object ? &all : &scaling, &c->yarn);
}
