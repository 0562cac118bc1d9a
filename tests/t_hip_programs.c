/* Programs that were compiled for AMD's chips when Koine was built (tools/precompile.c), on HIP on the CPU: the keys made then are those that a model asks for; what is
 * damaged, of another chip or refused by the driver is compiled anew; a runtime without hiprtc does with what came. The programs are real code objects of
 * clang's, which the emulation loads for a device that says it is such a chip, and which do nothing there. Exit 77 without a clang-19 and an ld.lld.
 * t_hip_programs --alone FOLDER: in a process of its own, with a library that has no compiler; prints what its devices are. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "checks.h"
#include "device/kern.h"
#include "device/machine_open.h"
#include "device/prog.h"
#include "engine/stage.h"

#define CHIP "gfx1100"
#define LIES "cp '%s' \"$3\"\n" /* whatever was to be compiled */
static char top[] = "/tmp/koine-programs-XXXXXX";
static const char *clang;

static bool sh(const char *format, const char *a, const char *b)
{
  char line[2000];
  snprintf(line, sizeof line, format, a, b);
  return !system(line);
}

static koine_status open_runtime(koine_runtime **out)
{
  koine_runtime_options o = {.size = sizeof o, .cache_dir = ""};
  return koine_runtime_open(&o, out);
}

/* ---- a model's programs ---- */
typedef struct counts { unsigned long source, disk, shipped; } counts;
static counts count(const koi_device *d) { return (counts){atomic_load(&d->built.from_source), atomic_load(&d->built.from_disk), atomic_load(&d->built.shipped)}; }

/* Wakes layers of each kind of V4-Flash, without weights, on device i. */
static counts wake(koine_runtime *rt, size_t i, bool careless)
{
  static const int32_t ratios[] = {0, 4, 128};
  koine_shape shape = {.size = sizeof shape, .name = "v4-flash", .ratios = ratios, .n_ratios = KOI_COUNT(ratios), .n_experts = 6, .n_vocab = 1000};
  const koi_plan_wish wish = {.context = 1024};
  koine_model *m = NULL;
  koine_plan *p = NULL;
  counts c = {0};
  OK(koi_model_synthetic(&shape, &m));
  if (m) OK(koi_plan_make(rt, m, &rt->endpoints[i], i, &wish, &p));
  if (p) {
    p->bare = true, p->careless = careless;
    OK(koi_engine_wake(p, NULL, NULL));
    if (p->awake) c = count(koi_engine_stage(p, 0)->dev);
    koi_engine_sleep(p);
  }
  koi_plan_free(p);
  koi_model_close(m);
  return c;
}

/* ---- one program ---- */
static counts build_one(koine_runtime *rt, size_t i)
{
  koi_device *d;
  koi_kernel *k = NULL;
  counts c = {0};
  OK(koi_machine_device(rt, i, &d));
  OK(koi_kern_choose(d, &koi_op_swiglu, (int32_t[KOI_MAX_CONSTS]){0}, 0, &k));
  CHECK(k != NULL);
  c = count(d);
  koi_machine_device_drop(rt, d);
  return c;
}

/* The first file of FOLDER/hip/CHIP/programs whose key names the op, and where its code begins. */
static bool find_file(const char *folder, const char *op, char *path, size_t room, long *code)
{
  char dir[600], name[64];
  snprintf(dir, sizeof dir, "%s/hip/" CHIP "/programs", folder);
  snprintf(name, sizeof name, "\n%s\n", op);
  DIR *d = opendir(dir);
  bool found = false;
  for (struct dirent *e; d && !found && (e = readdir(d));) {
    char *all = NULL;
    size_t n;
    snprintf(path, room, "%s/%s", dir, e->d_name);
    if (*e->d_name == '.' || koi_file_read(path, 64 << 20, &all, &n)) continue;
    char *head = memmem(all, n < 400 ? n : 400, name, strlen(name)), *elf = memmem(all, n, "\177ELF", 4);
    found = head && elf, *code = elf ? elf - all : 0;
    koi_free(all);
  }
  if (d) closedir(d);
  return found;
}

static void test_damaged(koine_runtime *rt)
{
  char path[1200];
  long code = 0;
  checks_tried = "a damaged program";
  CHECK(find_file(top, "swiglu", path, sizeof path, &code));
  FILE *f = fopen(path, "r+b");
  CHECK(f && !fseek(f, code + 64, SEEK_SET) && fputc(0x55, f) == 0x55 && !fclose(f));
  counts c = build_one(rt, 0);
  CHECK(c.source == 1 && !c.shipped);
  CHECK(!unlink(path));
  c = build_one(rt, 0);
  CHECK(c.source == 1 && !c.shipped);
}

/* Whole, under the right key, and made for another chip. */
static void test_lie(koine_runtime *rt)
{
  char liar[600], other[600], source[700], line[2000];
  checks_tried = "a program that is for another chip than it says";
  snprintf(liar, sizeof liar, "%s/liar.sh", top);
  snprintf(other, sizeof other, "%s/other.co", top);
  FILE *f = fopen(liar, "w");
  CHECK(f && fprintf(f, LIES, other) > 0 && !fclose(f));
  snprintf(source, sizeof source, "%s.hip", other);
  CHECK((f = fopen(source, "w")) && fprintf(f, "extern \"C\" __attribute__((global)) void swiglu(int *x) { *x = 1; }\n") > 0 && !fclose(f));
  snprintf(line, sizeof line, "sh \"${srcdir:-.}/tools/hip_compile.sh\" '%s' '%s' '%s' --offload-arch=gfx942 -O3", clang, source, other);
  CHECK(!system(line));
  CHECK(sh("HIP_COMPILE='%s' tools/precompile '%s/lies' " CHIP "=liar >/dev/null", liar, top));
  snprintf(line, sizeof line, "%s/lies", top);
  long code;
  char path[1200];
  CHECK(find_file(line, "swiglu", path, sizeof path, &code));
  CHECK(!setenv("KOINE_PROGRAMS", line, 1));
  counts c = build_one(rt, 0);
  CHECK(c.source == 1 && !c.shipped);
  CHECK(!setenv("KOINE_PROGRAMS", top, 1));
}

/* ---- a runtime without its compiler ---- */
static int alone(void)
{
  koine_runtime *rt;
  if (open_runtime(&rt)) return fprintf(stderr, "%s\n", koi_error_text()), 1;
  for (size_t i = 0; i < rt->n_endpoints; i++) printf("%s %s: %s\n", rt->endpoints[i].id, rt->endpoints[i].c_version, rt->endpoints[i].why);
  for (size_t i = 0; i < rt->n_skipped; i++) printf("skipped %s: %s\n", rt->skipped[i].what, rt->skipped[i].why);
  if (rt->n_endpoints) {
    counts c = wake(rt, 0, true);
    printf("%lu from source, %d failed\n", c.source, n_failed || c.shipped < 30);
  }
  koine_runtime_close(rt);
  return 0;
}

static void test_alone(void)
{
  char *said = NULL, out[600];
  size_t n;
  checks_tried = "a runtime without hiprtc";
  snprintf(out, sizeof out, "%s/said", top);
  CHECK(sh("KOINE_HIP_LIBRARY=tests/.libs/libhipalone.so ./tests/t_hip_programs --alone >'%s' 2>&1%s", out, ""));
  OK(koi_file_read(out, 1 << 20, &said, &n));
  CHECK(said && strstr(said, "hip0 no hiprtc: kernels that did not come with Koine run on the host") && strstr(said, "\n0 from source, 0 failed\n"));
  CHECK(said && strstr(said, "skipped HIP: HIP on the CPU, 16 lanes: tests/.libs/libhipalone.so is there, but not hiprtc, its compiler"));
  if (n_failed) printf("%s", said);
  koi_free(said);
  CHECK(sh("KOINE_PROGRAMS= KOINE_HIP_LIBRARY=tests/.libs/libhipalone.so ./tests/t_hip_programs --alone | grep -q '^skipped HIP: tests.*is there, but not hiprtc, its compiler'%s%s", "", ""));
}

static void test_all(void)
{
  koine_runtime *rt = NULL;
  OK(open_runtime(&rt));
  if (!rt) return;
  CHECK(rt->n_endpoints == 6 && !strcmp(rt->endpoints[0].id, "hip0") && !strcmp(rt->endpoints[0].arch, CHIP ":sramecc+:xnack-"));
  for (int careless = 0; careless < 2; careless++) {
    checks_tried = careless ? "weights that need no care" : "weights that need care";
    counts c = wake(rt, 0, careless);
    printf("%s: %lu programs came, %lu were compiled\n", checks_tried, c.shipped, c.source);
    CHECK(c.shipped > 30 && !c.source && !c.disk);
  }
  test_alone();
  checks_tried = "a device of another chip";
  counts c = build_one(rt, 2);
  CHECK(c.source == 1 && !c.shipped);
  test_damaged(rt);
  test_lie(rt);
  koine_runtime_close(rt);
}

int main(int argc, char **argv)
{
  clang = getenv("KOINE_CLANG") && *getenv("KOINE_CLANG") ? getenv("KOINE_CLANG") : "clang-19";
  setenv("KOINE_BACKENDS", "hip", 1);
  setenv("HIP_EMU_CHIPS", CHIP ":sramecc+:xnack-,,gfx1201", 1);
  if (argc > 1 && !strcmp(argv[1], "--alone")) return alone();
  setenv("KOINE_HIP_LIBRARY", "tests/.libs/libhipemu.so", 0);
  if (!sh("command -v '%s' >/dev/null && command -v '%s' >/dev/null", clang, "ld.lld")) return printf("SKIP: no clang-19 or no ld.lld, which compile for AMD's chips\n"), 77;
  if (!mkdtemp(top)) return perror(top), 1;
  setenv("KOINE_PROGRAMS", top, 1);
  checks_tried = "compiling";
  CHECK(sh("HIP_COMPILE=\"${srcdir:-.}/tools/hip_compile.sh\" tools/precompile '%s' " CHIP "='%s'", top, clang));
  if (!n_failed) test_all();
  CHECK(sh("rm -rf '%s'%s", top, ""));
  printf("t_hip_programs: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
