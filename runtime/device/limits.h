/* How much memory this process may have, where that is less than the machine has: control groups, as containers and services set them. */
#ifndef KOI_LIMITS_H
#define KOI_LIMITS_H
#include "base/base.h"

/* The smallest limit of the process's control group and of those around it, versions 1 and 2; 0: none is set or none can be read.
 * `root` stands before /proc and /sys: "" but in tests. */
uint64_t koi_limits_memory_bytes(const char *root);
/* Whether so many bytes would not fit the memory of this process twice, so that a file of them should not stay in the page cache beside what was
 * made of it. */
bool koi_limits_crowded(uint64_t bytes);
#endif
