/* See paths.h. Owns nothing. */
#include "paths.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

koine_status koi_paths_cache(char **out)
{
  const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  *out = NULL;
  if (cache && *cache == '/') *out = koi_format("%s/koine", cache);
  else if (home && *home == '/') *out = koi_format("%s/.cache/koine", home);
  else return KOINE_OK;
  return *out ? KOINE_OK : KOINE_ERR_MEMORY;
}

koine_status koi_paths_make(const char *dir)
{
  char *path = koi_strdup(dir);
  if (!path) return KOINE_ERR_MEMORY;
  koine_status s = KOINE_OK;
  for (char *end = path; end && !s;) {
    end = strchr(end + 1, '/');
    if (end) *end = 0;
    struct stat st;
    int e = mkdir(path, 0700) ? errno : 0;
    if (e && e != EEXIST && stat(path, &st)) s = koi_error(KOINE_ERR_FILE, "%s: cannot make the folder: %s", path, strerror(e));
    if (end) *end = '/';
  }
  koi_free(path);
  return s;
}
