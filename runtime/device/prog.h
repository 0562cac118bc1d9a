/* Compiled programs on disk, one file each, on two shelves: what was compiled here is kept in <cache_dir>/programs, and what was compiled when Koine was
 * built for the chips that were asked for (tools/precompile.c) lies in KOINE_PROGRAMS, else where it was installed, in <backend>/<chip>/programs.
 * A program is found by its whole key (source text; definitions; name; on the first shelf device, driver and compiler, on the second the chip); a file that
 * is damaged, cut short or of another key counts as absent, and is written anew on the first shelf. Disk trouble only costs the keeping, and is said once, as
 * a note. */
#ifndef KOI_PROG_H
#define KOI_PROG_H
#include "backend.h"

typedef enum koi_shelf { KOI_SHELF_OWN, KOI_SHELF_SHIPPED, KOI_N_SHELVES } koi_shelf;

/* Makes d->progs; the first shelf is there where there is a folder, and binaries that the driver does not keep itself. */
koine_status koi_prog_open(koi_device *d);
void koi_prog_close(koi_device *d);
/* Whether what is compiled has a shelf. */
bool koi_prog_keeps(const koi_device *d);
/* Whether programs came with Koine in this folder: "hip", or "hip/gfx1100". */
bool koi_prog_shipped(const char *folder);
/* The binary that an earlier build left, for koi_free; *binary stays NULL when there is none. Fails only for lack of memory. */
koine_status koi_prog_get(koi_device *d, koi_shelf which, const koi_build *b, void **binary, size_t *bytes);
/* Onto the first shelf, which there must be. */
void koi_prog_put(koi_device *d, const koi_build *b, const void *binary, size_t bytes);
/* Test hook: the folder is kept below so many bytes; 0: as it is for users. Process-wide. */
void koi_prog_limit(uint64_t bytes);
#endif
