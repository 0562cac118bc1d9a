/* Which experts the next layer will likely want: what a layer's router saw, put through the next layer's own gate. Streams change little from layer
 * to layer, so most of these are right. On the host, beside what devices compute; knows no device, and no result depends on it. */
#ifndef KOI_GUESS_H
#define KOI_GUESS_H
#include "model/model.h"

typedef struct koi_guess koi_guess;

/* For steps over layers [layer0, layer1): reads the gates of all but the first. */
koine_status koi_guess_open(const koine_model *m, uint32_t layer0, uint32_t layer1, koi_guess **out);
void koi_guess_close(koi_guess *g); /* NULL is allowed */
/* What the choice in `layer` would likely go by, [n_experts], until the next call; NULL: nothing is known of the layer, or x has what is no number. */
const float *koi_guess_scores(koi_guess *g, uint32_t layer, const float *x /* [hidden], which the router of the layer before it saw */);
/* The experts of a token in `layer`, of what the router of the layer before it saw: ids [n_used], how many of them. *known: they follow from the token
 * alone, and are no guess. 0: nothing is known of the layer. */
uint32_t koi_guess_experts(koi_guess *g, uint32_t layer, const float *x /* [hidden] */, int32_t token, int32_t *ids, bool *known);
#endif
