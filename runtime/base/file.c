/* Files that are read: see base.h. Owns nothing. */
#include "base.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "kind.h"

koine_status koi_file_read(const char *path, size_t max_bytes, char **out, size_t *n)
{
  koine_status wrong = koi_kind_check(path);
  if (wrong) return wrong;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe that nobody writes to is not waited for */
  FILE *f = fd < 0 ? NULL : fdopen(fd, "rb");
  if (!f) {
    int e = errno;
    if (fd >= 0) close(fd);
    return koi_error(KOINE_ERR_FILE, "%s: cannot open: %s", path, strerror(e));
  }
  struct stat st;
  if (fstat(fileno(f), &st) || !S_ISREG(st.st_mode)) {
    fclose(f);
    return koi_error(KOINE_ERR_FILE, "%s: expected a regular file", path);
  }
  size_t size = (size_t)st.st_size;
  if (size > max_bytes) {
    fclose(f);
    return koi_error(KOINE_ERR_FILE, "%s: %zu bytes, expected at most %zu", path, size, max_bytes);
  }
  char *s = koi_alloc(size + 1, 1);
  size_t got = s ? fread(s, 1, size, f) : 0;
  fclose(f);
  if (!s) return KOINE_ERR_MEMORY;
  if (got != size) {
    koi_free(s);
    return koi_error(KOINE_ERR_FILE, "%s: read %zu of %zu bytes", path, got, size);
  }
  *out = s, *n = size;
  return KOINE_OK;
}

int koi_file_at(int fd, uint64_t at, size_t n, void *to, size_t *got)
{
  for (*got = 0; *got < n;) {
    ssize_t r = pread(fd, (char *)to + *got, n - *got, (off_t)(at + *got));
    if (r < 0 && errno == EINTR) continue;
    if (r < 0) return errno;
    if (!r) break;
    *got += (size_t)r;
  }
  return 0;
}
