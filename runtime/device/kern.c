/* See kern.h. Owns nothing. Invariant: a call's geometry is the op's rule, rounded here and nowhere else. */
#include "kern.h"

bool koi_kern_range(const koi_kernel *k, const koi_args *a, koi_range *out)
{
  *out = (koi_range){{1, 1, 1}, {1, 1, 1}};
  k->op->launch(a, k->c, k->p, out);
  if (!out->global[0] || !out->global[1] || !out->global[2]) return false;
  for (int i = 0; i < 3 && out->local[0]; i++) out->global[i] = (out->global[i] + out->local[i] - 1) / out->local[i] * out->local[i];
  return true;
}

bool koi_kern_fits(const koi_kernel *k) { return !k->max_group || !k->op->group_items || k->op->group_items(k->c, k->p) <= k->max_group; }

void koi_kern_defs(const koi_op *op, const int32_t *c, const int32_t *p, koi_text *out)
{
  for (size_t i = 0; i < koi_op_n_consts(op); i++) koi_text_add(out, "%s-D %s=%d", out->len ? " " : "", op->consts[i], (int)c[i]);
  for (size_t i = 0; i < koi_op_n_params(op); i++) koi_text_add(out, "%s-D %s=%d", out->len ? " " : "", op->params[i].name, (int)p[i]);
}

/* The driver's own code for it says too little. */
static koine_status check_group(const koi_device *d, const koi_kernel *k, const koi_range *r)
{
  size_t group = r->local[0] * r->local[1] * r->local[2];
  if (!k->max_group || group <= k->max_group) return KOINE_OK;
  return koi_error(KOINE_ERR_DEVICE, "device %s (%s): op %s wants work-groups of %zu x %zu x %zu = %zu, the compiled kernel allows %zu", d->endpoint->id,
                   d->endpoint->name, k->op->name, r->local[0], r->local[1], r->local[2], group, k->max_group);
}

koine_status koi_kern_library(koi_device *d, const koi_args *a)
{
  const koi_gemm g = {.n = (size_t)a->i[GEMM_N], .rows = (size_t)a->i[GEMM_ROWS], .k = (size_t)a->i[GEMM_K], .ldx = (size_t)a->i[GEMM_LDX],
                      .ldy = (size_t)a->i[GEMM_LDY], .x_offset = a->at[GEMM_X] / sizeof(float), .w_offset = a->at[GEMM_W] / sizeof(float),
                      .y_offset = a->at[GEMM_Y] / sizeof(float) + (size_t)a->i[GEMM_Y_OFFSET]};
  return d->backend->gemm(d, &g, a->buf[GEMM_X], a->buf[GEMM_W], a->buf[GEMM_Y]);
}

koine_status koi_kern_launch(koi_device *d, koi_kernel *k, const koi_args *a)
{
  koi_range r;
  if (!koi_kern_range(k, a, &r)) return KOINE_OK;
  if (k->library) return koi_kern_library(d, a);
  koine_status s = check_group(d, k, &r);
  return s ? s : d->backend->launch(d, k, a, &r);
}

void koi_kern_drop(koi_device *d, koi_kernel *k)
{
  if (!k) return;
  if (k->library) koi_free(k);
  else d->backend->drop(d, k);
}
