/* Limits of memory of control groups: made-up trees of both versions, as systemd, containers with and without a namespace of their own, and
 * plain machines have them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "device/limits.h"

static int n_checks, n_failed;
static char top[] = "/tmp/koine_t_limits_XXXXXX";

typedef struct file { const char *path, *text; } file;
typedef struct machine {
  const char *name;
  uint64_t expected;
  file files[8];
} machine;

#define V1_MOUNT "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
#define V2_MOUNT "24 23 0:20 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
#define NO_LIMIT "9223372036854771712\n"

static const machine machines[] = {
  {"nothing to read", 0, {{NULL}}},
  {"v2 without a limit", 0, {{"proc/self/cgroup", "0::/a\n"}, {"proc/self/mountinfo", V2_MOUNT}, {"sys/fs/cgroup/a/memory.max", "max\n"}}},
  {"v2", 600 << 20, {{"proc/self/cgroup", "0::/a\n"}, {"proc/self/mountinfo", V2_MOUNT}, {"sys/fs/cgroup/a/memory.max", "629145600\n"}}},
  {"v2, the group around is tighter", 1 << 20,
   {{"proc/self/cgroup", "0::/s/a.service\n"}, {"proc/self/mountinfo", V2_MOUNT}, {"sys/fs/cgroup/s/a.service/memory.max", "629145600\n"}, {"sys/fs/cgroup/s/memory.max", "1048576\n"}}},
  {"v2, the inner group is tighter", 1 << 20,
   {{"proc/self/cgroup", "0::/s/a.service\n"}, {"proc/self/mountinfo", V2_MOUNT}, {"sys/fs/cgroup/s/a.service/memory.max", "1048576\n"}, {"sys/fs/cgroup/s/memory.max", "629145600\n"}}},
  {"v2, a limit two levels up", 4096, {{"proc/self/cgroup", "0::/s/t/u\n"}, {"proc/self/mountinfo", V2_MOUNT}, {"sys/fs/cgroup/s/t/u/memory.max", "max\n"}, {"sys/fs/cgroup/s/memory.max", "4096\n"}}},
  {"v2, a namespace of its own", 4096, {{"proc/self/cgroup", "0::/\n"}, {"proc/self/mountinfo", V2_MOUNT}, {"sys/fs/cgroup/memory.max", "4096\n"}}},
  {"v2, the group is mounted as the top", 4096,
   {{"proc/self/cgroup", "0::/docker/12ab/x\n"}, {"proc/self/mountinfo", "24 23 0:20 /docker/12ab /sys/fs/cgroup ro - cgroup2 cgroup rw\n"}, {"sys/fs/cgroup/x/memory.max", "max\n"},
    {"sys/fs/cgroup/memory.max", "4096\n"}}},
  {"v2 without mountinfo", 4096, {{"proc/self/cgroup", "0::/a\n"}, {"sys/fs/cgroup/a/memory.max", "4096\n"}}},
  {"v1", 600 << 20,
   {{"proc/self/cgroup", "5:devices:/\n4:memory:/a\n0::/\n"}, {"proc/self/mountinfo", V1_MOUNT}, {"sys/fs/cgroup/memory/a/memory.limit_in_bytes", "629145600\n"},
    {"sys/fs/cgroup/memory/memory.limit_in_bytes", NO_LIMIT}}},
  {"v1 without a limit", 0, {{"proc/self/cgroup", "4:memory:/\n"}, {"proc/self/mountinfo", V1_MOUNT}, {"sys/fs/cgroup/memory/memory.limit_in_bytes", NO_LIMIT}}},
  {"v1, among other controllers", 4096,
   {{"proc/self/cgroup", "4:cpu,memory,pids:/a/b\n"}, {"proc/self/mountinfo", "35 31 0:32 / /cg/all rw - cgroup cgroup rw,cpu,memory,pids\n"}, {"cg/all/a/b/memory.limit_in_bytes", NO_LIMIT},
    {"cg/all/a/memory.limit_in_bytes", "4096\n"}}},
  {"v1, the path is the outside's", 4096, {{"proc/self/cgroup", "4:memory:/docker/12ab\n"}, {"sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n"}}},
  {"both, v1 has memory", 4096,
   {{"proc/self/cgroup", "4:memory:/a\n0::/b\n"}, {"proc/self/mountinfo", V1_MOUNT "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"},
    {"sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4096\n"}, {"sys/fs/cgroup/unified/b/cgroup.procs", "1\n"}}},
  {"a name that only begins like it", 0, {{"proc/self/cgroup", "4:memory_other:/a\n"}, {"sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4096\n"}}},
  {"nonsense", 0, {{"proc/self/cgroup", "4\n::\n0::\n4:memory:\n"}, {"proc/self/mountinfo", "- - -\n35 - cgroup\n"}, {"sys/fs/cgroup/memory.max", "-5\n"}}},
};

static void put(const char *root, const file *f)
{
  char *path = koi_format("%s/%s", root, f->path);
  for (char *slash = strchr(path + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    mkdir(path, 0700);
    *slash = '/';
  }
  FILE *out = fopen(path, "w");
  if (!out || fputs(f->text, out) < 0 || fclose(out)) n_failed++, printf("FAIL cannot write %s\n", path);
  koi_free(path);
}

int main(void)
{
  if (!mkdtemp(top)) return printf("FAIL no folder %s\n", top), 1;
  for (size_t i = 0; i < KOI_COUNT(machines); i++) {
    char *root = koi_format("%s/%zu", top, i);
    mkdir(root, 0700);
    for (size_t j = 0; machines[i].files[j].path; j++) put(root, &machines[i].files[j]);
    uint64_t found = koi_limits_memory_bytes(root);
    n_checks++;
    if (found != machines[i].expected) n_failed++, printf("FAIL %s: %llu, expected %llu\n", machines[i].name, (unsigned long long)found, (unsigned long long)machines[i].expected);
    koi_free(root);
  }
  char *clean = koi_format("rm -rf %s", top);
  if (system(clean)) n_failed++;
  koi_free(clean);
  printf("t_limits: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
