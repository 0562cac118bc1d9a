/* That plans are better than an even split and a split by memory. */
#ifndef ASSIGN_BETTER_H
#define ASSIGN_BETTER_H
#include "plan/assign.h"

/* On random clusters whose devices are like those of `s`, faster or slower: no rule beats the plan, and both lose in the median. Fails as cmocka does. */
void assign_better(const koi_site *s, const koine_model *m);
#endif
