/* koine_quantize and importance as an object: arguments checked, calls. */
#include "base/record.h"
#include "quant/quant.h"

koine_status koine_importance_open(const char *path, koine_importance **out)
{
  return path && out ? koi_importance_load(path, out) : koi_missing("koine_importance_open");
}

koine_status koine_importance_save(const koine_importance *importance, const char *path)
{
  return importance && path ? koi_importance_save(importance, path) : koi_missing("koine_importance_save");
}

void koine_importance_close(koine_importance *importance) { koi_importance_free(importance); }

koine_status koine_quantize(const koine_model *model, const char *path, const koine_quantize_options *options)
{
  koine_quantize_options own;
  if (!model || !path || !options) return koi_missing("koine_quantize");
  koine_status s = KOI_TAKE(koine_quantize_options, options, &own);
  if (!s && !own.type) s = koi_error(KOINE_ERR_ARG, "koine_quantize: type: expected the name of a mix, found NULL");
  return s ? s : koi_quantize(model, path, &own);
}
