/* Why a driver is not there, or must not be used: made-up lists of drivers, and made-up folders of compiled kernels. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "device/dev_cl.h"

static int n_checks, n_failed;
#define CHECK(what) check((what), #what, __LINE__)
static const char platform[] = "Portable Computing Language";
static char top[] = "/tmp/koine_t_cause_XXXXXX", why[256];

static void check(bool ok, const char *what, int line)
{
  n_checks++;
  if (ok) return;
  n_failed++;
  printf("FAIL t_cause.c:%d: %s (%s)\n", line, what, why);
}

static char *below(const char *name) { return koi_format("%s/%s", top, name); }

static void write_file(const char *name, const void *bytes, size_t n)
{
  char *path = below(name);
  for (char *slash = strchr(path + strlen(top) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    mkdir(path, 0700);
    *slash = '/';
  }
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(bytes, 1, n, f) != n || fclose(f)) n_failed++, printf("FAIL cannot write %s\n", path);
  koi_free(path);
}

/* The cache in this folder has a fault that says so; NULL: it has none. */
static void expect(const char *folder, const char *said, int line)
{
  char *path = below(folder);
  setenv("POCL_CACHE_DIR", path, 1);
  why[0] = 0;
  bool fault = koi_dev_cl_cache_fault(platform, why, sizeof why);
  check(said ? fault && strstr(why, said) && strstr(why, top) : !fault, said ? said : "no fault", line);
  koi_free(path);
}

static void remove_file(const char *name)
{
  char *path = below(name);
  CHECK(!remove(path));
  koi_free(path);
}

static void test_damaged(void)
{
  static const char ir[] = "BC\xc0\xde";
  char self[1 << 16];
  FILE *f = fopen("/proc/self/exe", "rb");
  size_t n = f ? fread(self, 1, sizeof self, f) : 0;
  if (f) fclose(f);
  expect("k", NULL, __LINE__); /* not there yet: it can be made */
  write_file("k/AB/CDE/program.bc", ir, 4);
  write_file("k/AB/CDE/build.log", "", 0);
  write_file("k/AB/CDE/last_accessed", "", 0);
  expect("k", NULL, __LINE__);
  write_file("k/AB/CDE/f/1-1-1/f.so", "", 0);
  expect("k", "f.so", __LINE__);
  write_file("k/AB/CDE/f/1-1-1/f.so", "junk", 4);
  expect("k", "delete that folder", __LINE__);
  CHECK(n > 64);
  write_file("k/AB/CDE/f/1-1-1/f.so", self, n / 2); /* cut off */
  expect("k", "f.so", __LINE__);
  remove_file("k/AB/CDE/f/1-1-1/f.so");
  expect("k", NULL, __LINE__);
  char shell[100] = {0};
  memcpy(shell, self, 7); /* the rest is zeros, as a crash leaves files */
  write_file("k/AB/CDE/f/1-1-1/f.so", shell, sizeof shell);
  expect("k", "f.so", __LINE__);
  remove_file("k/AB/CDE/f/1-1-1/f.so");
  static const char blocks[] = "BC\xc0\xde\x35\x14\0\0\1\0\0\0abcd\x0d\0\0\0\0\0\0\0";
  for (size_t k = 1; k < sizeof blocks; k++) { /* whole only behind a block */
    write_file("k/AB/CDE/program.bc", blocks, k);
    expect("k", k == 4 || k == 16 || k == 24 ? NULL : "program.bc", __LINE__);
  }
  write_file("k/AB/CDE/program.bc", "", 0);
  expect("k", "program.bc", __LINE__);
  CHECK(!koi_dev_cl_cache_fault("Another platform", why, sizeof why));
}

static void test_linker(void)
{
  char *path = koi_strdup(getenv("PATH") ? getenv("PATH") : "");
  char *own = koi_format("%s/none:%s/bin", top, top);
  setenv("PATH", own, 1);
  setenv("POCL_CACHE_DIR", top, 1);
  CHECK(koi_dev_cl_cache_fault(platform, why, sizeof why) && strstr(why, "binutils"));
  write_file("bin/ld", "", 0);
  char *ld = below("bin/ld");
  CHECK(!chmod(ld, 0700) && !koi_dev_cl_cache_fault(platform, why, sizeof why));
  setenv("PATH", path, 1);
  koi_free(ld);
  koi_free(own);
  koi_free(path);
}

static void test_closed(void)
{
  setenv("POCL_CACHE_DIR", "", 1);
  CHECK(koi_dev_cl_nameless_cache(why, sizeof why) && strstr(why, "POCL_CACHE_DIR is set to nothing"));
  setenv("POCL_CACHE_DIR", top, 1);
  CHECK(!koi_dev_cl_nameless_cache(why, sizeof why));
  write_file("plain", "x", 1);
  expect("plain/k", "cannot be written", __LINE__);
  CHECK(strstr(why, "POCL_CACHE_DIR") != NULL);
  char *home = below("plain");
  unsetenv("POCL_CACHE_DIR");
  unsetenv("XDG_CACHE_HOME");
  setenv("HOME", home, 1);
  CHECK(koi_dev_cl_cache_fault(platform, why, sizeof why) && strstr(why, "/.cache/pocl/kcache"));
  koi_free(home);
}

static void test_full(void)
{
  static const char *const options[] = {"size=64k", "size=100m,nr_inodes=20"}, *const said[] = {"KiB are free", "more files"};
  char *path = below("small");
  mkdir(path, 0700);
  for (size_t i = 0; i < KOI_COUNT(options); i++) {
    if (mount("tmpfs", path, "tmpfs", 0, options[i])) {
      printf("t_cause: no full disk was tried: mounting one needs root\n");
      break;
    }
    expect("small/k", said[i], __LINE__);
    umount(path);
  }
  koi_free(path);
}

static void test_icds(void)
{
  koi_probe p = {0};
  size_t n = 9;
  char *folder = below("icd");
  write_file("icd/a.icd", "/usr/lib/libnothere.so\n", 23);
  write_file("icd/b.icd", "libc.so.6\n", 10);
  write_file("icd/c.icd", "", 0);
  write_file("icd/readme", "/no", 3);
  setenv("OCL_ICD_VENDORS", folder, 1);
  CHECK(!koi_dev_cl_icds(&p, &n) && n == 3 && p.n_skipped == 3);
  bool found = false;
  for (size_t i = 0; i < p.n_skipped; i++)
    found |= strstr(p.skipped[i].what, "a.icd") && strstr(p.skipped[i].why, "libnothere.so: cannot open shared object");
  CHECK(found);
  found = false;
  for (size_t i = 0; i < p.n_skipped; i++) found |= strstr(p.skipped[i].what, "b.icd") && strstr(p.skipped[i].why, "no OpenCL driver");
  CHECK(found);
  koi_probe_free(&p);
  p = (koi_probe){0};
  koi_free(folder);
  folder = below("none");
  setenv("OCL_ICD_VENDORS", folder, 1);
  CHECK(!koi_dev_cl_icds(&p, &n) && !n && !p.n_skipped);
  koi_free(folder);
  koi_probe_free(&p);
}

int main(void)
{
  if (!mkdtemp(top)) return printf("FAIL no folder %s\n", top), 1;
  test_icds();
  test_full();
  test_linker();
  test_damaged();
  test_closed();
  char *clean = koi_format("rm -rf %s", top);
  CHECK(!system(clean));
  koi_free(clean);
  printf("t_cause: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
