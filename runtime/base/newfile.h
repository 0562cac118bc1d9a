/* A file on its way to disk: bytes at any place, from any thread, and its name at the end, in place of what had it. */
#ifndef KOI_NEWFILE_H
#define KOI_NEWFILE_H
#include "base.h"

typedef struct koi_newfile koi_newfile;
/* Makes a file without a name in the folder of `path`. mode: who may read it, before the umask. KOINE_ERR_FILE. */
koine_status koi_newfile_open(const char *path, unsigned mode, koi_newfile **out);
/* It will have so many bytes: a full disk is better known now. */
koine_status koi_newfile_room(koi_newfile *f, uint64_t bytes);
/* The message of a failure is the calling thread's. */
koine_status koi_newfile_write(koi_newfile *f, uint64_t at, const void *data, size_t n);
/* Everything is there: it is on the disk, then it takes the name at once. Closes in any case. */
koine_status koi_newfile_finish(koi_newfile *f);
/* Leaves nothing. NULL is allowed. */
void koi_newfile_drop(koi_newfile *f);
/* All of that at once, of bytes that are there, for everybody whom the umask leaves. */
koine_status koi_newfile_put(const char *path, const void *data, size_t bytes);
#endif
