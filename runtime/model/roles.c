/* The table of roles as records. Owns nothing. Invariant: records stand in the order of their numbers. */
#include "roles.h"
#include <stdio.h>

#define X(slot, path, name, second, suffix, use, rows, k, units, published, when, group) \
  {path, {name, second}, suffix, KOI_##use, KOI_D_##rows, KOI_D_##k, KOI_##units, KOI_WT_##published, KOI_##when, group},
const koi_role koi_layer_roles[KOI_N_LAYER_ROLES] = {KOI_LAYER_ROLES(X)};
const koi_role koi_top_roles[KOI_N_TOP_ROLES] = {KOI_TOP_ROLES(X)};
#undef X

const char *koi_role_name(const koi_role *r, int layer, char out[KOI_ROLE_NAME])
{
  char prefix[24] = "";
  if (layer >= 0) snprintf(prefix, sizeof prefix, "layers.%d.", layer);
  snprintf(out, KOI_ROLE_NAME, "%s%s%s", prefix, r->path, r->name[0]);
  return out;
}
