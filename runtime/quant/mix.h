/* Mixes: which format each tensor of a quantized file has. Names and choices are llama.cpp's, except that what mixes streams (hc_*) and the
 * compressors' ape stay F32: they are thousandths of a file. */
#ifndef KOI_MIX_H
#define KOI_MIX_H
#include "model/model.h"

typedef struct koi_mix koi_mix;
/* NULL: no such mix; and all names, for messages. Case does not matter. */
const koi_mix *koi_mix_find(const char *name);
const char *koi_mix_names(char out[512]);
/* As llama.cpp numbers them in general.file_type. */
uint32_t koi_mix_file_type(const koi_mix *m);

/* A tensor that is asked about: sub 1 is the second matrix of a stack. */
typedef struct koi_mix_asked {
  const koi_role *role;
  int layer, n_layers;
  uint32_t sub;
  bool stacked;    /* experts */
  bool importance; /* whether any is known */
  uint64_t columns;
} koi_mix_asked;
/* KOI_WT_*; whether `columns` can have it is another question, but for the head, which is Q8_0 where they cannot. */
int koi_mix_choose(const koi_mix *m, const koi_mix_asked *a);
/* What llama.cpp takes where columns are no multiple of a format's block: another, or F16 at last. */
int koi_mix_fallback(int wt, uint64_t columns);
/* A format by its name ("Q5_0"); KOI_FORMAT_NONE: there is none, or it cannot be written. */
int koi_mix_format(const char *name);
#endif
