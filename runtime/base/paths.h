/* The folder in which the library may keep what it can make again. The only place that reads HOME. */
#ifndef KOI_PATHS_H
#define KOI_PATHS_H
#include "base.h"

/* $XDG_CACHE_HOME/koine or $HOME/.cache/koine, for koi_free. *out NULL: neither names a folder. */
koine_status koi_paths_cache(char **out);
/* Makes a folder and those above it, for this user alone. KOINE_ERR_FILE names the first that cannot be made. */
koine_status koi_paths_make(const char *dir);
#endif
