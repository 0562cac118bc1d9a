/* Between the files that read a config. */
#ifndef KOI_CONFIG_IMPL_H
#define KOI_CONFIG_IMPL_H
#include "model.h"
#include "reader.h"

/* Fills rope_dim, the thetas and yarn; head_dim is set. compressed: some layer is. */
koine_status koi_config_rope(const koi_reader *r, koi_config *c, bool compressed);
#endif
