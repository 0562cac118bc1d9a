/* Routed experts out of the checkpoint, or out of what was kept of it, into host memory, read and laid out by several threads ahead of who takes them to
 * a device; threads that have nothing to do read those that are guessed to be wanted next. Knows no device. */
#ifndef KOI_LOADS_H
#define KOI_LOADS_H
#include "fetch.h"
#include "turns.h"

typedef struct koi_loads koi_loads;
/* A part of an expert: where its streams lie in what was read. */
typedef struct koi_pass { uint32_t role, part; uint64_t at[KOI_MAX_STREAMS], bytes[KOI_MAX_STREAMS], end; } koi_pass;

/* l: experts by turns of layers [layer0, layer1), of which at most `most` are asked for at once. n_threads: that may work beside the caller; 0: the caller reads. */
koine_status koi_loads_open(const koi_laid_model *l, uint32_t layer0, uint32_t layer1, uint32_t most, struct koi_kept *kept, uint32_t n_threads, koi_loads **out);
void koi_loads_close(koi_loads *l); /* NULL is allowed */
/* The next part of an expert of a layer that has this slot, after *p, which is zero at first; false: there is none. */
bool koi_loads_pass(const koi_laid_model *l, uint32_t layer, uint32_t slot, koi_pass *p);
/* These experts of a layer are wanted, in this order. All that was asked for before was taken, or dropped. */
void koi_loads_ask(koi_loads *l, uint32_t layer, const koi_arrival *a, size_t n);
/* How many of them were guessed, and read or being read when they were asked for, until now. */
uint64_t koi_loads_guessed(const koi_loads *l);
/* Whether an expert was guessed, and is read or being read. */
bool koi_loads_has(koi_loads *l, uint32_t layer, int32_t expert);
/* Whether threads read ahead at all. */
bool koi_loads_ahead(const koi_loads *l);
/* These experts of a layer may be wanted when it is asked for next, likeliest first; any number, of which as many are read as have room beside what is
 * asked for. Those guessed before are forgotten, unless they are the same. What cannot be read is no error here. */
void koi_loads_guess(koi_loads *l, uint32_t layer, const int32_t *experts, size_t n);
/* The next of them, in memory until the next call; NULL: *s is why it could not be read, or all were taken. */
const uint8_t *koi_loads_next(koi_loads *l, koine_status *s);
/* The rest of what was asked for is not wanted any more. */
void koi_loads_drop(koi_loads *l);
#endif
