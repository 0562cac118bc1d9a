/* The stored type of every tensor of a small model in every mix. */
#ifndef MIX_TYPES_H
#define MIX_TYPES_H
#include "file/weights.h"

/* Of a model of five layers: "up" and "down" of experts, the shared one too, where they differ from the rest: a format for each layer, MIX_NO for the rest's. */
typedef struct mix_types { const char *mix; koi_dtype rest, embed, head, stacks, up[5], down[5]; } mix_types;
#define MIX_NO KOI_DTYPE_OTHER
#define MIX_NONE {MIX_NO, MIX_NO, MIX_NO, MIX_NO, MIX_NO}
extern const mix_types mix_types_all[]; /* ends at mix NULL */

/* Of every tensor in `file`. Fails as cmocka does. */
void mix_types_expect(const char *file, const mix_types *e);
#endif
