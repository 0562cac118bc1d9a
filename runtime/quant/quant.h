/* A model's tensors in other formats, as a GGUF file. */
#ifndef KOI_QUANT_H
#define KOI_QUANT_H
#include "importance.h"

/* See koine_quantize. */
koine_status koi_quantize(const koine_model *model, const char *path, const koine_quantize_options *o);
#endif
