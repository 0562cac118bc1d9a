/* Why an OpenCL driver is not there or must not be used: libraries that cannot be loaded, and folders where a driver keeps compiled kernels that
 * are full, closed or damaged. Drivers say nothing of these; some end the process. Owns nothing, changes nothing.
 * Invariant: what is not known to be wrong is left to the driver. */
#include "dev_cl.h"
#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, MIN_FREE_BYTES = 8 << 20, MIN_FREE_FILES = 512, MAX_DEPTH = 6, MAX_ENTRIES = 20000 };

/* ---- libraries that the loader is told of ---- */
static const char *last_part(const char *path) { return strrchr(path, '/') ? strrchr(path, '/') + 1 : path; }

static bool ends_with(const char *text, const char *end)
{
  size_t n = strlen(text), m = strlen(end);
  return n >= m && !strcmp(text + n - m, end);
}

static koine_status try_library(koi_probe *out, const char *told_by, const char *library)
{
  char why[2 * PATH_BYTES];
  void *handle = dlopen(library, RTLD_LAZY | RTLD_LOCAL); /* the loader has it already, if it can be loaded */
  if (handle) {
    bool driver = dlsym(handle, "clGetExtensionFunctionAddress") || dlsym(handle, "clIcdGetPlatformIDsKHR") || dlsym(handle, "clGetPlatformIDs");
    dlclose(handle);
    return driver ? KOINE_OK : koi_probe_skip(out, told_by, "its library is no OpenCL driver");
  }
  const char *error = dlerror();
  snprintf(why, sizeof why, "its library cannot be loaded: %s", error ? error : library);
  return koi_probe_skip(out, told_by, why);
}

/* One .icd file: its first line is a library's name. */
static koine_status try_icd(koi_probe *out, const char *path)
{
  char library[PATH_BYTES] = "", why[PATH_BYTES];
  FILE *f = fopen(path, "re");
  if (!f) {
    snprintf(why, sizeof why, "the file cannot be read: %s", strerror(errno));
    return koi_probe_skip(out, path, why);
  }
  if (!fgets(library, sizeof library, f)) library[0] = 0;
  fclose(f);
  library[strcspn(library, "\r\n")] = 0;
  return library[0] ? try_library(out, path, library) : koi_probe_skip(out, path, "the file names no library");
}

static koine_status try_folder(koi_probe *out, const char *folder, size_t *n)
{
  koine_status s = KOINE_OK;
  DIR *d = opendir(folder);
  for (struct dirent *e; d && !s && (e = readdir(d));) {
    char path[PATH_BYTES];
    if (!ends_with(e->d_name, ".icd")) continue;
    snprintf(path, sizeof path, "%.3000s/%s", folder, e->d_name);
    s = try_icd(out, path);
    ++*n;
  }
  if (d) closedir(d);
  return s;
}

const char *koi_dev_cl_icd_folder(void)
{
  static const char *const names[] = {"OCL_ICD_VENDORS", "OPENCL_VENDOR_PATH"};
  for (size_t i = 0; i < KOI_COUNT(names); i++) {
    const char *v = getenv(names[i]);
    if (v && v[0]) return v;
  }
  return "/etc/OpenCL/vendors";
}

koine_status koi_dev_cl_icds(koi_probe *out, size_t *n)
{
  struct stat st;
  const char *place = koi_dev_cl_icd_folder();
  *n = 0;
  if (!stat(place, &st) && S_ISDIR(st.st_mode)) return try_folder(out, place, n);
  if (place[0] == '/' && stat(place, &st)) return KOINE_OK;
  *n = 1;
  return ends_with(place, ".icd") ? try_icd(out, place) : try_library(out, last_part(place), place);
}

/* ---- folders of compiled kernels ---- */
/* By a part of the platform's name, since a driver is not asked where it keeps them: the variable that sets the folder, and the folder below the
 * user's caches. `needs`: without it the driver has no device, or ends the process. */
static const struct { const char *platform, *variable, *below; bool needs; } caches[] = {
  {"Portable Computing", "POCL_CACHE_DIR", "pocl/kcache", true},
  {"rusticl", "MESA_SHADER_CACHE_DIR", "mesa_shader_cache", false},
  {"Intel(R) OpenCL Graphics", "NEO_CACHE_DIR", "neo_compiler_cache", false},
};

/* The row of a platform, KOI_COUNT(caches) for none; its folder goes to path. */
static size_t cache_of(const char *platform, char *path /* [PATH_BYTES] */)
{
  size_t i = 0;
  while (i < KOI_COUNT(caches) && !strstr(platform, caches[i].platform)) i++;
  if (i == KOI_COUNT(caches)) return i;
  const char *set = getenv(caches[i].variable), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  if (set && set[0]) snprintf(path, PATH_BYTES, "%.4000s", set);
  else if (xdg && xdg[0]) snprintf(path, PATH_BYTES, "%.3900s/%s", xdg, caches[i].below);
  else if (home && home[0]) snprintf(path, PATH_BYTES, "%.3900s/.cache/%s", home, caches[i].below);
  else snprintf(path, PATH_BYTES, "/tmp/%s", caches[i].below);
  return i;
}

/* The folder itself, or the nearest above it that is there: what the driver would make it in. */
static void existing(const char *path, char *out /* [PATH_BYTES] */)
{
  struct stat st;
  snprintf(out, PATH_BYTES, "%s", path);
  for (char *slash; stat(out, &st) && errno == ENOENT && (slash = strrchr(out, '/')); ) slash[slash == out] = 0;
}

static bool whole_library(int fd, off_t bytes)
{
  Elf64_Ehdr h;
  ssize_t got = pread(fd, &h, sizeof h, 0);
  if (got < 0) return true;
  if (got < (ssize_t)sizeof h || memcmp(h.e_ident, ELFMAG, SELFMAG)) return false;
  return h.e_ident[EI_CLASS] != ELFCLASS64 || (h.e_shoff && h.e_shoff + (uint64_t)h.e_shnum * h.e_shentsize <= (uint64_t)bytes);
}

/* LLVM's bitcode is blocks that say how long they are, in words; the last ends where the file does. */
static bool whole_bitcode(int fd, off_t bytes)
{
  uint32_t block[2] = {0};
  off_t at = 4;
  if (pread(fd, block, 4, 0) < 4 || memcmp(block, "BC\xc0\xde", 4)) return false;
  while (at + 8 <= bytes && pread(fd, block, 8, at) == 8) at += 8 + 4 * (off_t)block[1];
  return at == bytes;
}

/* A file of an entry that the driver would take and fail on: empty, or cut off. */
static bool damaged(int folder, const char *name, off_t bytes)
{
  bool library = ends_with(name, ".so");
  if (!library && strcmp(name, "program.bc")) return false;
  int fd = bytes ? openat(folder, name, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return !bytes; /* one that cannot be read may be whole */
  bool whole = library ? whole_library(fd, bytes) : whole_bitcode(fd, bytes);
  close(fd);
  return !whole;
}

/* The first damaged file below `path`, which becomes its name; false: none. */
static bool find_damaged(char *path /* [PATH_BYTES] */, int depth, int *left)
{
  bool found = false;
  size_t n = strlen(path);
  DIR *d = depth < MAX_DEPTH ? opendir(path) : NULL;
  for (struct dirent *e; d && !found && --*left > 0 && (e = readdir(d));) {
    struct stat st;
    if (e->d_name[0] == '.' || n + strlen(e->d_name) + 2 > PATH_BYTES) continue;
    if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW)) continue;
    if (!S_ISDIR(st.st_mode) && !(S_ISREG(st.st_mode) && damaged(dirfd(d), e->d_name, st.st_size))) continue;
    snprintf(path + n, PATH_BYTES - n, "/%s", e->d_name);
    found = !S_ISDIR(st.st_mode) || find_damaged(path, depth + 1, left);
    if (!found) path[n] = 0;
  }
  if (d) closedir(d);
  return found;
}

bool koi_dev_cl_nameless_cache(char *out, size_t room)
{
  for (size_t i = 0; i < KOI_COUNT(caches); i++) {
    const char *set = caches[i].needs ? getenv(caches[i].variable) : NULL;
    if (!set || *set) continue;
    snprintf(out, room, "%s is set to nothing, with which a driver ends the process: set it to a folder, or unset it", caches[i].variable);
    return true;
  }
  return false;
}

/* That it links kernels with the linker that PATH has, and ends the process without one. */
static bool has_linker(void)
{
  static const char *const names[] = {"ld", "ld.lld"};
  char path[PATH_BYTES];
  const char *dirs = getenv("PATH");
  for (size_t n; dirs && *dirs; dirs += n + (dirs[n] == ':')) {
    n = strcspn(dirs, ":");
    for (size_t i = 0; i < KOI_COUNT(names); i++)
      if (snprintf(path, sizeof path, "%.*s/%s", (int)n, dirs, names[i]) < PATH_BYTES && !access(path, X_OK)) return true;
  }
  return false;
}

bool koi_dev_cl_cache_fault(const char *platform, char *out, size_t room)
{
  char path[PATH_BYTES], file[PATH_BYTES];
  struct statvfs fs;
  int left = MAX_ENTRIES;
  size_t i = cache_of(platform, path);
  if (i == KOI_COUNT(caches) || !caches[i].needs) return false;
  existing(path, file);
  if (access(file, W_OK | X_OK)) {
    snprintf(out, room, "the driver keeps compiled kernels in %.150s, which cannot be written (%s): set %s to another folder", path, strerror(errno), caches[i].variable);
    return true;
  }
  if (!statvfs(file, &fs) && (uint64_t)fs.f_bavail * fs.f_frsize < MIN_FREE_BYTES) {
    snprintf(out, room, "the driver keeps compiled kernels in %.150s, where %llu KiB are free: make room, or set %s to another folder", path,
             (unsigned long long)((uint64_t)fs.f_bavail * fs.f_frsize >> 10), caches[i].variable);
    return true;
  }
  if (!statvfs(file, &fs) && fs.f_files && fs.f_favail < MIN_FREE_FILES) {
    snprintf(out, room, "the driver keeps compiled kernels in %.150s, where only %llu more files can be made: make room, or set %s to another folder", path,
             (unsigned long long)fs.f_favail, caches[i].variable);
    return true;
  }
  memcpy(file, path, sizeof file);
  if (find_damaged(file, 0, &left)) {
    snprintf(out, room, "the driver's compiled kernels are damaged (%.60s in %.130s): delete that folder", last_part(file), path);
    return true;
  }
  if (has_linker()) return false;
  snprintf(out, room, "the driver links kernels with ld, which is in no folder of PATH: install binutils, or set PATH");
  return true;
}
