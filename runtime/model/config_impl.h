/* Between the files that read a config. */
#ifndef KOI_CONFIG_IMPL_H
#define KOI_CONFIG_IMPL_H
#include "model.h"
#include "reader.h"

/* All of a config from the tree that r reads; *ratios_out as of koi_config_parse. */
koine_status koi_config_tree(const koi_reader *r, koi_config *out, uint32_t **ratios_out);
/* Fills rope_dim, the thetas and yarn; head_dim is set. compressed: some layer is. */
koine_status koi_config_rope(const koi_reader *r, koi_config *c, bool compressed);
#endif
