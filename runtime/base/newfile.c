/* See newfile.h. Owns the unfinished file. Invariant: under its name a file is whole; an unfinished one has no name, so that nothing is left however
 * the process ends (where the file system cannot do that, or no /proc is there to name it by, a name beside it, which an error removes). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_TMPFILE */
#endif
#include "newfile.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct koi_newfile {
  char *path, *folder;
  char *temp; /* its name until it has its own; NULL: none */
  int fd;
};

static koine_status failed(const koi_newfile *f, const char *what, int e) { return koi_error(KOINE_ERR_FILE, "%s: cannot %s: %s", f->path, what, strerror(e)); }

/* A name beside its own that no other file of this process has; one that is there was left by a process of this number that was killed. */
static char *temp_name(const koi_newfile *f)
{
  static atomic_ulong n_named;
  char *temp = koi_format("%s.%ld.%lu.new", f->path, (long)getpid(), atomic_fetch_add(&n_named, 1));
  if (temp) unlink(temp);
  return temp;
}

static koine_status make(koi_newfile *f, unsigned mode)
{
  struct stat st;
  if (!stat(f->path, &st) && !S_ISREG(st.st_mode))
    return koi_error(KOINE_ERR_FILE, "%s: expected a file's name to write to, found a folder or device", f->path);
  bool nameless = !access("/proc/self/fd", X_OK);
  f->fd = nameless ? open(f->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, mode) : -1;
  if (f->fd >= 0) return KOINE_OK;
  if (nameless && (errno == ENOENT || errno == EACCES || errno == EROFS || errno == ENOSPC)) return failed(f, "be made", errno);
  f->temp = temp_name(f);
  if (!f->temp) return KOINE_ERR_MEMORY;
  f->fd = open(f->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (f->fd >= 0) return KOINE_OK;
  int e = errno;
  koi_free(f->temp);
  f->temp = NULL; /* whatever has that name is another's */
  return failed(f, "be made", e);
}

koine_status koi_newfile_open(const char *path, unsigned mode, koi_newfile **out)
{
  koi_newfile *f = koi_alloc(1, sizeof *f);
  if (!f) return KOINE_ERR_MEMORY;
  const char *slash = strrchr(path, '/');
  f->fd = -1, f->path = koi_strdup(path);
  f->folder = slash ? koi_format("%.*s", (int)(slash == path ? 1 : slash - path), path) : koi_strdup(".");
  koine_status s = f->path && f->folder ? make(f, mode) : KOINE_ERR_MEMORY;
  if (s) koi_newfile_drop(f);
  else *out = f;
  return s;
}

koine_status koi_newfile_room(koi_newfile *f, uint64_t bytes)
{
  int e = bytes ? posix_fallocate(f->fd, 0, (off_t)bytes) : 0;
  if (e == ENOSPC || e == EFBIG) return koi_error(KOINE_ERR_FILE, "%s: expected room for %ju bytes, found: %s", f->path, (uintmax_t)bytes, strerror(e));
  return ftruncate(f->fd, (off_t)bytes) ? failed(f, "be written", errno) : KOINE_OK;
}

koine_status koi_newfile_write(koi_newfile *f, uint64_t at, const void *data, size_t n)
{
  for (size_t done = 0; done < n;) {
    ssize_t got = pwrite(f->fd, (const char *)data + done, n - done, (off_t)(at + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return failed(f, "be written", got ? errno : ENOSPC);
    done += (size_t)got;
  }
  return KOINE_OK;
}

/* A file without a name takes its own where that is free, else one beside it, which then replaces what is there. */
static int name(koi_newfile *f)
{
  char from[64];
  snprintf(from, sizeof from, "/proc/self/fd/%d", f->fd);
  if (!f->temp && !linkat(AT_FDCWD, from, AT_FDCWD, f->path, AT_SYMLINK_FOLLOW)) return 0;
  if (!f->temp) {
    if (errno != EEXIST) return errno;
    char *temp = temp_name(f);
    if (!temp) return ENOMEM;
    int e = linkat(AT_FDCWD, from, AT_FDCWD, temp, AT_SYMLINK_FOLLOW) ? errno : 0;
    if (e) return koi_free(temp), e;
    f->temp = temp;
  }
  if (rename(f->temp, f->path)) return errno;
  koi_free(f->temp);
  f->temp = NULL;
  return 0;
}

/* The name lasts, too. File systems that cannot do that are not asked for more. */
static int sync_folder(const koi_newfile *f)
{
  int fd = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), e = 0;
  if (fd < 0) return 0;
  if (fsync(fd) && errno != EINVAL) e = errno;
  close(fd);
  return e;
}

koine_status koi_newfile_finish(koi_newfile *f)
{
  koine_status s = fsync(f->fd) ? failed(f, "be written", errno) : KOINE_OK;
  int e = s ? 0 : name(f);
  if (e) s = failed(f, "be named", e);
  else if (!s && (e = sync_folder(f))) s = failed(f, "be written", e);
  koi_newfile_drop(f);
  return s;
}

void koi_newfile_drop(koi_newfile *f)
{
  if (!f) return;
  if (f->fd >= 0) close(f->fd);
  if (f->temp) unlink(f->temp);
  koi_free(f->temp);
  koi_free(f->folder);
  koi_free(f->path);
  koi_free(f);
}

koine_status koi_newfile_put(const char *path, const void *data, size_t bytes)
{
  koi_newfile *f = NULL;
  koine_status s = koi_newfile_open(path, 0666, &f);
  if (!s) s = koi_newfile_write(f, 0, data, bytes);
  if (!s) return koi_newfile_finish(f);
  koi_newfile_drop(f);
  return s;
}
