/* Weights that change from launch to launch, as a model's do: what is timed must not find them in a cache. */
#ifndef KOI_TURN_H
#define KOI_TURN_H
#include "shares.h"

enum { KOI_TURN = 64 };
typedef struct koi_turn {
  koi_args args[KOI_TURN]; size_t n;
  koi_buf *copies[2 * KOI_TURN]; size_t n_copies;
} koi_turn;

/* The call at hand with the weights of every call of its shape, and with copies of its own where those together are less than twice the device's
 * last cache: bounded, and where it is too little the log says so. */
void koi_turn_open(koi_turn *t, const koi_shares *s, koi_stage *st, const koi_bound_call *b);
void koi_turn_close(koi_turn *t, koi_device *d);
#endif
