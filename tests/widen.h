/* A checkpoint that computes what another does, with every row of a product a multiple of 256 values: the other's, with zeros behind. */
#ifndef WIDEN_H
#define WIDEN_H
#include <stdint.h>

/* `from`: models/austen, or one of its sizes in proportion (o_lora_rank * o_groups, hidden_size and the rest at most the next multiple of 256).
 * Files go to the folder `to`, which is there. n_experts: how many to keep, which makes
 * it another model; 0: all. Aborts the test program on failure. */
void widen(const char *from, const char *to, uint32_t n_experts);
#endif
