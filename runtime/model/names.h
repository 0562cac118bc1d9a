/* Names of tensors in GGUF files, as llama.cpp's converter gives them, and those that the table of roles knows. */
#ifndef KOI_NAMES_H
#define KOI_NAMES_H
#include "file/weights.h"

typedef struct koi_names_sizes { uint32_t n_layers, n_mtp, n_experts; } koi_names_sizes;
/* Gives the tensors of a GGUF file the names of the roles, and cuts stacks of experts into a tensor each. Those that have no role keep theirs. */
koine_status koi_names_rename(koi_weights *w, const koi_names_sizes *c);
/* The name in a GGUF file of the tensor that the roles call `name`; `name` itself when there is none. */
enum { KOI_NAMES_BYTES = 160 };
const char *koi_names_stored(const char *name, char out[KOI_NAMES_BYTES]);
#endif
