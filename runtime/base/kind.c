/* See kind.h. Owns the table of beginnings. */
#include "kind.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct { const char *head; size_t n; bool any_case; const char *kind; } kinds[] = {
#define HEAD(text) text, sizeof text - 1
  {HEAD("version https://git-lfs"), false, "a Git LFS pointer in place of the file: run git lfs pull in its folder, or download the file itself"},
  {HEAD("version https://hawser"), false, "a Git LFS pointer in place of the file: run git lfs pull in its folder, or download the file itself"},
  {HEAD("# xet version"), false, "a Xet pointer in place of the file: download the file itself"},
  {HEAD("<!doctype html"), true, "a web page in place of the file: the server sent a page, perhaps to log in; download the file again"},
  {HEAD("<html"), true, "a web page in place of the file: the server sent a page, perhaps to log in; download the file again"},
  {HEAD("GGUF"), false, "a GGUF file in the place of another: it holds a whole model, and its own path is what to give"},
  {HEAD("lmgg"), false, "a GGML file, which is not read: take the checkpoint as it was published, in safetensors"},
  {HEAD("tjgg"), false, "a GGML file, which is not read: take the checkpoint as it was published, in safetensors"},
  {HEAD("PK\003\004"), false, "a ZIP archive, as PyTorch's checkpoints are: unpack it, or take the checkpoint in safetensors"},
  {HEAD("\200\002"), false, "a Python pickle, as PyTorch's checkpoints are: take the checkpoint in safetensors"},
  {HEAD("\037\213"), false, "a gzip archive: unpack it"},
  {HEAD("(\265/\375"), false, "a Zstandard archive: unpack it"},
  {HEAD("\3757zXZ"), false, "an xz archive: unpack it"},
  {HEAD("BZh9"), false, "a bzip2 archive: unpack it"},
  {HEAD("\211HDF"), false, "an HDF5 file, which is not read: take the checkpoint in safetensors"},
  {HEAD("\357\273\277{"), false, "JSON with a byte order mark before it: save it without"},
  {HEAD("\377\376"), false, "a text in UTF-16: save it as UTF-8"},
  {HEAD("\376\377"), false, "a text in UTF-16: save it as UTF-8"},
  {HEAD("\223NUMPY"), false, "a NumPy file, which is not read: take the checkpoint in safetensors"},
};

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

static bool begins(const char *s, size_t n, size_t i)
{
  if (n < kinds[i].n) return false;
  for (size_t k = 0; k < kinds[i].n; k++)
    if ((kinds[i].any_case ? lower(s[k]) : s[k]) != kinds[i].head[k]) return false;
  return true;
}

const char *koi_kind_of(const void *head, size_t n)
{
  const char *s = head;
  if (n > 8 && s[8] == '{' && !memcmp(s + 4, "\0\0\0", 4)) return NULL; /* safetensors: a length, whose bytes may look like anything */
  size_t skip = n >= 3 && !memcmp(s, "\xef\xbb\xbf", 3) ? 3 : 0, zeros = 0;
  while (skip < n && strchr(" \t\r\n", s[skip]) && s[skip]) skip++; /* before markup */
  for (size_t i = 0; i < KOI_COUNT(kinds); i++)
    if (begins(s, n, i) || (kinds[i].any_case && begins(s + skip, n - skip, i))) return kinds[i].kind;
  if (n >= 262 && !memcmp(s + 257, "ustar", 5)) return "a tar archive: unpack it";
  while (zeros < n && !s[zeros]) zeros++;
  return n >= 16 && zeros == n ? "zeros at its beginning: a download that was not finished; download the file again" : NULL;
}

/* The beginning of a regular file; 0 bytes of anything else. */
static size_t read_head(const char *path, char *head /* [KOI_KIND_BYTES] */)
{
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  ssize_t n = fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) ? read(fd, head, KOI_KIND_BYTES) : 0;
  if (fd >= 0) close(fd);
  return n > 0 ? (size_t)n : 0;
}

/* A link whose end is not there, as copies of a download cache have them. */
static koine_status check_link(const char *path)
{
  char to[512];
  struct stat st;
  if (!stat(path, &st) || errno != ENOENT) return KOINE_OK;
  ssize_t n = readlink(path, to, sizeof to - 1);
  if (n < 0) return errno = ENOENT, KOINE_OK;
  to[n] = 0;
  return koi_error(KOINE_ERR_FILE, "%s: expected a file, found a link to %.300s, which is not there: copy the files with what their links lead to", path, to);
}

koine_status koi_kind_check(const char *path)
{
  char head[KOI_KIND_BYTES];
  const char *kind = koi_kind_of(head, read_head(path, head));
  return kind ? koi_error(KOINE_ERR_FILE, "%s: found %s", path, kind) : check_link(path);
}

enum { MOST_PATH = 4096 };

static bool has(const char *folder, const char *name)
{
  char path[MOST_PATH];
  return koi_print(path, sizeof path, "%s/%s", folder, name) < MOST_PATH && !access(path, F_OK);
}

static bool is_gguf(const char *name)
{
  size_t n = strlen(name);
  return n > 5 && !strcmp(name + n - 5, ".gguf");
}

/* The first in `path`, by name, that is a GGUF file, or a folder that has a config: into found; false when none is. */
static bool model_below(const char *path, char *found /* [MOST_PATH] */)
{
  char at[MOST_PATH];
  DIR *d = opendir(path);
  *found = 0;
  for (struct dirent *e; d && (e = readdir(d));)
    if (e->d_name[0] != '.' && koi_print(at, sizeof at, "%s/%s", path, e->d_name) < MOST_PATH &&
        (is_gguf(e->d_name) || has(at, "config.json")) && (!*found || strcmp(at, found) < 0))
      memcpy(found, at, sizeof at);
  if (d) closedir(d);
  return *found;
}

/* A folder with a checkpoint in one of its own, or a GGUF file, as download caches and archives have them. */
static koine_status check_depth(const char *path, bool json)
{
  char snapshots[MOST_PATH], found[MOST_PATH];
  if (has(path, "config.json") || (json && has(path, "tokenizer.json"))) return KOINE_OK;
  if (koi_print(snapshots, sizeof snapshots, "%s/snapshots", path) >= MOST_PATH || (!model_below(path, found) && !model_below(snapshots, found))) return KOINE_OK;
  return koi_error(KOINE_ERR_FILE, "%s: expected a checkpoint's folder, found one that has it in a %s of its own: give %s", path, is_gguf(found) ? "file" : "folder", found);
}

koine_status koi_kind_check_folder(const char *path, bool json)
{
  char head[KOI_KIND_BYTES];
  struct stat st;
  bool there = !stat(path, &st);
  koine_status s = there ? KOINE_OK : check_link(path);
  if (!there && !s && errno == ENOENT) return koi_error(KOINE_ERR_FILE, "%s: no such folder: expected one on this machine with a checkpoint in it; nothing is downloaded", path);
  if (!there || s) return s;
  if (S_ISDIR(st.st_mode)) return check_depth(path, json);
  size_t n = read_head(path, head);
  const char *kind = koi_kind_of(head, n), *slash = strrchr(path, '/');
  if (kind) return koi_error(KOINE_ERR_FILE, "%s: expected a checkpoint's folder, found %s", path, kind);
  bool tensors = n > 9 && head[8] == '{' && !head[7], is_json = n && head[0] == '{';
  if (json && !tensors) return KOINE_OK; /* what is wrong with it shows when it is read */
  return koi_error(KOINE_ERR_FILE, "%s: expected a checkpoint's folder, found a %sfile: give the folder that it lies in (%.*s)", path,
                   tensors ? "safetensors " : is_json ? "JSON " : "", slash && slash > path ? (int)(slash - path) : 1, slash ? path : ".");
}
