/* Programs kept on disk, with the fake and with every device here that has binaries: found again, shared by processes that start at once, and
 * in the face of folders that cannot be written, full disks, and files that are damaged, cut short, another's or refused by the driver. Each
 * time every kernel is there and computes what it should, and it is known which came from disk.
 * Usage: t_prog [PART OF A DEVICE'S NAME]; t_prog --child DEVICE FOLDER prints "SOURCE DISK" */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "device/kern.h"
#include "device/prog.h"
#include "checks.h"
#include "fake.h"
#include "kernels/sources.h"

/* ---- notes --------------------------------------------------------------------------------------------------------------- */
static atomic_int n_notes;
static char note[1024];

static void take_note(void *user, koine_log_level level, const char *line)
{
  (void)user;
  if (level == KOINE_LOG_WARNING) printf("%s\n", line);
  if (!strstr(line, "are not kept")) return;
  snprintf(note, sizeof note, "%s", line);
  atomic_fetch_add(&n_notes, 1);
}

/* ---- a folder ------------------------------------------------------------------------------------------------------------ */
static char top[512], dir[600], programs[640];

static void run_rm(const char *path)
{
  char line[800];
  snprintf(line, sizeof line, "rm -rf '%s'", path);
  CHECK(!system(line));
}

static void fresh(void)
{
  run_rm(dir);
  CHECK(!mkdir(dir, 0700));
}

typedef struct files { char path[64][1000]; size_t n, n_temporary; uint64_t bytes; } files;

static files look(void)
{
  files f = {.n = 0};
  DIR *d = opendir(programs);
  struct dirent *e;
  while (d && (e = readdir(d)) && f.n < KOI_COUNT(f.path)) {
    struct stat st;
    char *path = f.path[f.n];
    snprintf(path, sizeof f.path[0], "%s/%s", programs, e->d_name);
    if (stat(path, &st) || !S_ISREG(st.st_mode)) continue;
    if (e->d_name[0] == '.') f.n_temporary++;
    else f.n++, f.bytes += (uint64_t)st.st_size;
  }
  if (d) closedir(d);
  return f;
}

/* ---- one start ----------------------------------------------------------------------------------------------------------- */
static const koi_kern_request requests[] = {
  {&koi_op_swiglu, {0}, 0}, {&koi_op_pack, {8}, 0}, {&koi_op_pack, {16}, 0}, {&koi_op_group, {8}, 0}, {&koi_op_group, {16}, 0}, {&koi_op_hc_post, {4}, 0}};
enum { N = KOI_COUNT(requests), ROWS = 3, INTER = 40 };

static bool computes(koi_device *d)
{
  float gu[ROWS * 2 * INTER], want[ROWS * INTER], got[ROWS * INTER];
  const koi_backend *b = d->backend;
  koi_args a = {.i = {ROWS, INTER, 2 * INTER, INTER, 0}, .f = {2.0f}};
  koi_ref_args r = {.buf = {gu, NULL, want}, .bytes = {sizeof gu, 0, sizeof want}, .i = a.i, .f = a.f};
  koi_kernel *k = NULL;
  for (size_t i = 0; i < KOI_COUNT(gu); i++) gu[i] = (float)((int)(i * 37 % 101) - 50) / 16;
  koi_op_swiglu.ref(&r);
  koine_status s = koi_kern_get(d, &koi_op_swiglu, requests[0].c, 0, &k);
  if (!s) s = b->alloc(d, sizeof gu, &a.buf[0]);
  if (!s) s = b->alloc(d, sizeof got, &a.buf[2]);
  if (!s) s = b->write(d, a.buf[0], 0, sizeof gu, gu);
  if (!s) s = b->fill(d, a.buf[2], 0xff);
  if (!s) s = k ? koi_kern_launch(d, k, &a) : KOINE_ERR_CHECK;
  if (!s) s = b->read(d, a.buf[2], 0, sizeof got, got);
  koi_device_free(d, a.buf[0]);
  koi_device_free(d, a.buf[2]);
  for (size_t i = 0; i < KOI_COUNT(got) && !s; i++)
    if (!(got[i] - want[i] <= 1e-5f && want[i] - got[i] <= 1e-5f)) s = KOINE_ERR_CHECK;
  return !s;
}

static koine_status start(const koi_endpoint *e, const char *folder, unsigned long *from_source, unsigned long *from_disk)
{
  koi_device *d;
  koine_status s = koi_device_open(e, folder, 4, &d);
  if (s) return s;
  s = koi_kern_build_all(d, requests, N, NULL, NULL);
  for (size_t i = 0; i < N && !s; i++) {
    koi_kernel *k = NULL;
    s = koi_kern_get(d, requests[i].op, requests[i].c, 0, &k);
    if (!s && !k) s = KOINE_ERR_CHECK;
  }
  if (!s && !computes(d)) s = koi_error(KOINE_ERR_CHECK, "wrong results");
  *from_source = atomic_load(&d->built.from_source), *from_disk = atomic_load(&d->built.from_disk);
  koi_device_close(d);
  return s;
}

/* A start that must take so many from the text, and the rest from disk. */
static void expect(const koi_endpoint *e, const char *folder, const char *what, unsigned long from_source)
{
  unsigned long source = 99, disk = 99;
  checks_tried = what;
  OK(start(e, folder, &source, &disk));
  if (source != from_source || disk != N - from_source) printf("%s: %lu from source, %lu from disk\n", what, source, disk);
  CHECK(source == from_source && disk == N - from_source);
}

/* ---- what files can be --------------------------------------------------------------------------------------------------- */
static void change(const char *path, long at, bool cut)
{
  if (cut) {
    CHECK(!truncate(path, at));
    return;
  }
  FILE *f = fopen(path, "r+b");
  CHECK(f && !fseek(f, at, at < 0 ? SEEK_END : SEEK_SET));
  if (!f) return;
  int c = fgetc(f);
  fseek(f, -1, SEEK_CUR);
  fputc(c ^ 0x10, f);
  fclose(f);
}

static void test_damage(const koi_endpoint *e)
{
  static const struct { const char *what; long at; bool cut; } ways[] = {
    {"a bit of the binary", -3, false}, {"a bit of the key", 100, false}, {"a bit of the head", 3, false}, {"a bit of a length", 26, false},
    {"cut to nothing", 0, true}, {"cut in the head", 20, true}, {"cut in the key", 1000, true}};
  files f = look();
  CHECK(f.n == N && !f.n_temporary);
  for (size_t i = 0; i < KOI_COUNT(ways); i++) {
    change(f.path[i % N], ways[i].at, ways[i].cut);
    expect(e, dir, ways[i].what, 1);
    expect(e, dir, "after that", 0);
  }
  struct stat st;
  CHECK(!stat(f.path[0], &st) && !truncate(f.path[0], st.st_size - 1));
  expect(e, dir, "cut at the end", 1);
  CHECK(!stat(f.path[0], &st) && !truncate(f.path[0], st.st_size + 1));
  expect(e, dir, "a byte too long", 1);
  char line[2100];
  snprintf(line, sizeof line, "cp '%s' '%s'", f.path[0], f.path[1]);
  CHECK(!system(line));
  expect(e, dir, "another's file", 1);
  expect(e, dir, "after that", 0);
  CHECK(look().n == N);
}

/* What is no file at all in an entry's place: each start builds it, and a rename puts it right where it can. */
static void test_odd(const koi_endpoint *e)
{
  static const struct { const char *what, *make; bool stays; } ways[] = {
    {"a pipe", "mkfifo '%s'", false}, {"a link to nowhere", "ln -s /nowhere/at/all '%s'", false}, {"a link to itself", "ln -s '%s' '%s'", false},
    {"a file of a terabyte", "truncate -s 1T '%s'", false}, {"a device", "ln -s /dev/zero '%s'", false}, {"a folder", "mkdir -p '%s/x'", true}};
  files f = look();
  for (size_t i = 0; i < KOI_COUNT(ways); i++) {
    char line[4200];
    const char *path = f.path[i % N];
    CHECK(!unlink(path));
    snprintf(line, sizeof line, ways[i].make, path, path);
    CHECK(!system(line));
    expect(e, dir, ways[i].what, 1);
    expect(e, dir, "after that", ways[i].stays);
    if (!ways[i].stays) continue;
    snprintf(line, sizeof line, "rm -r '%s'", path);
    CHECK(!system(line));
    expect(e, dir, "without it", 1);
  }
  CHECK(look().n == N);
}

static void test_other_device(const koi_endpoint *e)
{
  koi_endpoint other = *e;
  snprintf(other.name, sizeof other.name, "another card");
  expect(&other, dir, "another device", N);
  expect(&other, dir, "another device again", 0);
  expect(e, dir, "the first device", 0);
}

/* Whole and of the right key, but nothing that the driver takes. A real one may crash of it (rusticl 22.3 does): the sum in every file and the
 * driver's version in its key keep such binaries from it. */
static void test_refused(const koi_endpoint *e)
{
  koi_device *d;
  checks_tried = "a binary that the driver refuses";
  OK(koi_device_open(e, dir, 1, &d));
  koi_kernel *k = NULL;
  koi_text defs = {0};
  OK(koi_kern_get(d, &koi_op_pack, requests[1].c, 0, &k));
  koi_kern_defs(k->op, k->c, k->p, &defs);
  koi_build b = {.name = k->op->name, .text = koi_source_text(k->op->source), .defs = defs.s,
                 .group_items = (size_t)k->op->group_items(k->c, k->p)};
  koi_prog_put(d, &b, "no binary at all", 16);
  koi_free(defs.s);
  koi_device_close(d);
  expect(e, dir, "a binary that the driver refuses", 1);
  expect(e, dir, "after that", 0);
}

/* ---- trouble with the disk ----------------------------------------------------------------------------------------------- */
/* Everything from the text, twice; each time one note that names the folder and the reason. */
static void expect_none_kept(const koi_endpoint *e, const char *folder, const char *what, const char *reason)
{
  for (int i = 0; i < 2; i++) {
    atomic_store(&n_notes, 0);
    expect(e, folder, what, N);
    if (atomic_load(&n_notes) != 1 || !strstr(note, folder) || !strstr(note, reason)) printf("%s: %d notes, %s\n", what, atomic_load(&n_notes), note);
    CHECK(atomic_load(&n_notes) == 1 && strstr(note, folder) && strstr(note, reason));
  }
}

static void test_unwritable(const koi_endpoint *e)
{
  char below[700];
  fresh();
  snprintf(below, sizeof below, "%s/file", dir);
  FILE *f = fopen(below, "w");
  CHECK(f && !fclose(f));
  expect_none_kept(e, below, "a folder that is a file", "Not a directory");
  if (e->backend != &fake_backend) return; /* drivers want folders of their own */
  CHECK(!chmod(top, 0755) && !chmod(dir, 0555));
  if (!geteuid()) CHECK(!seteuid(65534));
  expect_none_kept(e, dir, "a read-only folder", "Permission denied");
  if (!getuid()) CHECK(!seteuid(0));
  CHECK(!chmod(dir, 0700));
}

/* A limit on the size of files stands for a full disk where nothing can be mounted. */
static void test_full(const koi_endpoint *e)
{
  if (e->backend == &fake_backend) {
    struct rlimit old, small;
    fresh();
    signal(SIGXFSZ, SIG_IGN);
    CHECK(!getrlimit(RLIMIT_FSIZE, &old));
    small = old, small.rlim_cur = 1000;
    CHECK(!setrlimit(RLIMIT_FSIZE, &small));
    expect_none_kept(e, dir, "a limit on the size of files", "File too large");
    CHECK(!setrlimit(RLIMIT_FSIZE, &old));
    CHECK(!look().n && !look().n_temporary);
  }
  fresh();
  if (mount("tmpfs", dir, "tmpfs", 0, "size=8k")) {
    printf("no small file system: mounting one: %s\n", strerror(errno));
    return;
  }
  expect_none_kept(e, dir, "a full disk", "No space left");
  CHECK(!look().n && !look().n_temporary);
  CHECK(!umount(dir));
}

static void old_file(const char *name)
{
  char path[800];
  snprintf(path, sizeof path, "%s/%s", programs, name);
  FILE *f = fopen(path, "w");
  CHECK(f && !fclose(f) && !utimensat(AT_FDCWD, path, (struct timespec[2]){{.tv_sec = 1}, {.tv_sec = 1}}, 0));
}

static void test_bound(const koi_endpoint *e)
{
  fresh();
  expect(e, dir, "a bound on the folder", N);
  files all = look();
  fresh();
  CHECK(!mkdir(programs, 0700));
  old_file("mine");
  old_file(".0123456789abcdef.1.0"); /* what a process that died may leave */
  CHECK(look().n == 1 && look().n_temporary == 1);
  koi_prog_limit(all.bytes / 2);
  expect(e, dir, "half the room", N);
  files some = look();
  some.n--; /* the user's file stays */
  CHECK(some.n && some.n < N && some.bytes <= all.bytes / 2 && !some.n_temporary);
  char mine[800];
  snprintf(mine, sizeof mine, "%s/mine", programs);
  CHECK(!access(mine, F_OK));
  koi_prog_limit(0);
  expect(e, dir, "room again", N - some.n);
  expect(e, dir, "after that", 0);
}

/* ---- two processes ------------------------------------------------------------------------------------------------------- */
static void test_two(const koi_endpoint *e)
{
  char line[1200];
  FILE *child[2];
  unsigned long source, disk;
  checks_tried = "two processes with an empty folder";
  fresh();
  snprintf(line, sizeof line, "'/proc/%ld/exe' --child %s '%s'", (long)getpid(), e->id, dir);
  for (int i = 0; i < 2; i++) CHECK((child[i] = popen(line, "r")) != NULL);
  for (int i = 0; i < 2; i++) {
    CHECK(fscanf(child[i], "%lu %lu", &source, &disk) == 2 && source + disk == N);
    CHECK(!pclose(child[i]));
  }
  expect(e, dir, "after two processes", 0);
  CHECK(look().n == N && !look().n_temporary);
}

static bool stop(void *user, const char *what, uint64_t done, uint64_t total)
{
  (void)what, (void)total;
  *(uint64_t *)user = done;
  return done < 2;
}

static void test_cancel(const koi_endpoint *e)
{
  koi_device *d;
  uint64_t last = 0;
  checks_tried = "cancelling";
  OK(koi_device_open(e, NULL, 1, &d));
  CHECK(koi_kern_build_all(d, requests, N, stop, &last) == KOINE_ERR_CANCELLED && last >= 2 && last < N);
  OK(koi_kern_build_all(d, requests, N, NULL, NULL)); /* and the rest */
  CHECK(atomic_load(&d->built.from_source) == N && computes(d));
  koi_device_close(d);
}

static void test_device(const koi_endpoint *e)
{
  unsigned long source, disk;
  checks_on = e->id;
  printf("%s: %s, %s\n", e->id, e->name, e->driver);
  fresh();
  checks_tried = "no folder";
  OK(start(e, NULL, &source, &disk));
  CHECK(source == N && !disk && !look().n);
  expect(e, dir, "the first start", N);
  expect(e, dir, "the second start", 0);
  test_damage(e);
  test_odd(e);
  test_other_device(e);
  if (e->backend == &fake_backend) test_refused(e);
  test_two(e);
  test_unwritable(e);
  test_full(e);
  test_bound(e);
  test_cancel(e);
}

/* Where the driver gives no binaries there is nothing to keep, and none are asked of one that keeps them itself; but it can give them. */
static bool has_binaries(koi_endpoint *e)
{
  unsigned long source, disk;
  if (!e->backend->identity) return false;
  fresh();
  checks_on = e->id, checks_tried = "a driver with a cache of its own";
  if (e->keeps_programs) CHECK(!start(e, dir, &source, &disk) && source == N && !look().n);
  e->keeps_programs = false;
  return !start(e, dir, &source, &disk) && look().n == N;
}

static int child(const char *device, const char *folder)
{
  koine_runtime *rt;
  size_t i;
  unsigned long source, disk;
  koine_status s = strcmp(device, "fake") ? koine_runtime_open(NULL, &rt) : fake_runtime_open(&rt);
  if (!s) s = koi_runtime_find(rt, device, &i);
  if (!s) rt->endpoints[i].keeps_programs = false;
  if (!s) s = start(&rt->endpoints[i], folder, &source, &disk);
  if (s) return fprintf(stderr, "%s\n", koi_error_text()), 1;
  printf("%lu %lu\n", source, disk);
  koine_runtime_close(rt);
  return 0;
}

int main(int argc, char **argv)
{
  koine_runtime *rt = NULL, *fake = NULL;
  const char *part = argc > 1 ? argv[1] : "", *temp = getenv("TMPDIR");
  fake_binaries(true, false);
  if (argc == 4 && !strcmp(argv[1], "--child")) return child(argv[2], argv[3]);
  koine_log_set(take_note, NULL);
  snprintf(top, sizeof top, "%s/t_prog.XXXXXX", temp ? temp : "/tmp");
  if (!mkdtemp(top)) return printf("FAIL %s: %s\n", top, strerror(errno)), 1;
  snprintf(dir, sizeof dir, "%s/a folder", top);
  snprintf(programs, sizeof programs, "%s/programs", dir);
  OK(fake_runtime_open(&fake));
  test_device(&fake->endpoints[0]);
  koine_runtime_close(fake);
  CHECK(!fake_n_live());
  OK(koine_runtime_open(NULL, &rt));
  for (size_t i = 0; rt && i < rt->n_endpoints; i++) {
    koi_endpoint *e = &rt->endpoints[i];
    if (!strstr(e->name, part) && strcmp(e->id, part)) continue;
    if (has_binaries(e)) test_device(e);
    else printf("%s: %s: no binaries to keep\n", e->id, e->name);
  }
  koine_runtime_close(rt);
  run_rm(top);
  printf("t_prog: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
