/* Compiled programs kept on disk, one file each, in <cache_dir>/programs.
 * A program is found by its whole key (device, driver and compiler; source text; definitions; name); a file that is damaged, cut short or of
 * another key counts as absent and is written anew. Disk trouble only costs the keeping, and is said once, as a note. */
#ifndef KOI_PROG_H
#define KOI_PROG_H
#include "backend.h"

/* Makes d->progs where there is a folder, and binaries that the driver does not keep itself. */
koine_status koi_prog_open(koi_device *d);
void koi_prog_close(koi_device *d);
/* The binary that an earlier build left, for koi_free; *binary stays NULL when there is none. Fails only for lack of memory. */
koine_status koi_prog_get(koi_device *d, const koi_build *b, void **binary, size_t *bytes);
void koi_prog_put(koi_device *d, const koi_build *b, const void *binary, size_t bytes);
/* Test hook: the folder is kept below so many bytes; 0: as it is for users. Process-wide. */
void koi_prog_limit(uint64_t bytes);
#endif
