/* See limits.h. Reads /proc/self/cgroup for the group, /proc/self/mountinfo for where groups are mounted, and the limit in each folder from the
 * group's up to the mount. Owns nothing. Invariant: what cannot be read sets no limit. */
#include "limits.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROOM = 4096 };

typedef struct tree { /* where the groups of one version lie */
  const char *file;   /* the limit's */
  char mount[ROOM], top[ROOM]; /* the folder, and which group that is */
  char group[ROOM];   /* the process's; "": not in this tree */
} tree;

static bool has_word(const char *list, const char *word)
{
  size_t n = strlen(word);
  for (const char *at = list; at; at = strchr(at, ',')) {
    at += *at == ',';
    if (!strncmp(at, word, n) && (!at[n] || at[n] == ',' || at[n] == '\n')) return true;
  }
  return false;
}

static FILE *open_file(const char *root, const char *folder, const char *below, const char *file)
{
  char *name = koi_format("%s%s%s/%s", root, folder, below, file);
  FILE *f = name ? fopen(name, "re") : NULL;
  koi_free(name);
  return f;
}

/* "4:memory:/a/b" is the group in version 1, "0::/a/b" in version 2. */
static void read_groups(const char *root, tree *v1, tree *v2)
{
  char line[ROOM];
  FILE *f = open_file(root, "/proc/self", "", "cgroup");
  while (f && fgets(line, sizeof line, f)) {
    char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
    if (!path) continue;
    *path++ = 0;
    path[strcspn(path, "\n")] = 0;
    tree *t = names[1] ? has_word(names + 1, "memory") ? v1 : NULL : v2;
    if (t) snprintf(t->group, sizeof t->group, "%s", path);
  }
  if (f) fclose(f);
}

/* A line of mountinfo: "id parent dev TOP MOUNT options ... - TYPE source OPTIONS". */
static void read_mounts(const char *root, tree *v1, tree *v2)
{
  char line[2 * ROOM];
  char top[ROOM], mount[ROOM], type[32], options[ROOM];
  FILE *f = open_file(root, "/proc/self", "", "mountinfo");
  while (f && fgets(line, sizeof line, f)) {
    const char *dash = strstr(line, " - ");
    if (!dash || sscanf(line, "%*s %*s %*s %4095s %4095s", top, mount) != 2) continue;
    if (sscanf(dash + 3, "%31s %*s %4095s", type, options) != 2) continue;
    tree *t = !strcmp(type, "cgroup2") ? v2 : !strcmp(type, "cgroup") && has_word(options, "memory") ? v1 : NULL;
    if (!t) continue;
    memcpy(t->top, top, sizeof top);
    memcpy(t->mount, mount, sizeof mount);
  }
  if (f) fclose(f);
}

/* 0: no such file, "max", or the largest number that version 1 has for no limit. */
static uint64_t limit_in(const char *root, const tree *t, const char *folder)
{
  char text[32] = "";
  FILE *f = open_file(root, t->mount, folder, t->file);
  if (f && !fgets(text, sizeof text, f)) text[0] = 0;
  if (f) fclose(f);
  uint64_t bytes = text[0] >= '0' && text[0] <= '9' ? strtoull(text, NULL, 10) : 0;
  return bytes < UINT64_C(1) << 62 ? bytes : 0;
}

static uint64_t least_of(const char *root, const tree *t)
{
  char folder[ROOM];
  size_t n_top = strlen(t->top);
  uint64_t least = 0;
  if (!t->group[0]) return 0;
  bool inside = n_top > 1 && !strncmp(t->group, t->top, n_top) && (!t->group[n_top] || t->group[n_top] == '/');
  snprintf(folder, sizeof folder, "%s", t->group + (inside ? n_top : 0)); /* where a container sees its own group as the top */
  for (;;) {
    size_t n = strlen(folder);
    while (n && folder[n - 1] == '/') folder[--n] = 0;
    uint64_t bytes = limit_in(root, t, folder);
    if (bytes && (!least || bytes < least)) least = bytes;
    if (!n) return least;
    char *slash = strrchr(folder, '/');
    *(slash ? slash : folder) = 0;
  }
}

uint64_t koi_limits_memory_bytes(const char *root)
{
  tree *t = koi_alloc(2, sizeof *t);
  if (!t) return 0;
  t[0] = (tree){.file = "memory.limit_in_bytes", .mount = "/sys/fs/cgroup/memory", .top = "/"};
  t[1] = (tree){.file = "memory.max", .mount = "/sys/fs/cgroup", .top = "/"};
  read_groups(root, &t[0], &t[1]);
  read_mounts(root, &t[0], &t[1]);
  uint64_t a = least_of(root, &t[0]), b = least_of(root, &t[1]);
  koi_free(t);
  return !a || (b && b < a) ? b : a;
}

bool koi_limits_crowded(uint64_t bytes)
{
  long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
  uint64_t all = pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : 0, limit = koi_limits_memory_bytes("");
  if (limit && limit < all) all = limit;
  return all && bytes > all / 2;
}
