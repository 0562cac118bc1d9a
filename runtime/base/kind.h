/* What a file is that was taken for another: told by its first bytes, as people meet such files when a download or a path went wrong. */
#ifndef KOI_KIND_H
#define KOI_KIND_H
#include "base.h"

enum { KOI_KIND_BYTES = 512 }; /* of a file's beginning that are looked at */

/* What begins so, and what to do: "a Git LFS pointer ...: run ..."; NULL for what may be JSON, safetensors, or anything else. */
const char *koi_kind_of(const void *head, size_t n);
/* KOINE_ERR_FILE when the file is one of those, or a link that leads nowhere; what cannot be read is left to whoever reads it. */
koine_status koi_kind_check(const char *path);
/* Of a path where a checkpoint's folder was expected, or (json) a JSON file. KOINE_ERR_FILE with what it is, or where the checkpoint lies. */
koine_status koi_kind_check_folder(const char *path, bool json);
#endif
