/* Compiles the kernels that a model of the published shapes needs, at their default parameters, for chips that need not be here, when Koine is built
 * (configure --with-hip). Which these are the engine itself says: it wakes such a model on a device that does nothing but hand what it is to build to a
 * compiler, and device/prog.c writes what comes of it, so that texts, definitions and keys are those that the same model asks for on a card.
 * Owns nothing. usage: precompile FOLDER CHIP=COMPILER...
 * FOLDER/hip/CHIP/programs holds the programs then; those that are there already are not compiled again. HIP_COMPILE: the script that runs the compiler. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/paths.h"
#include "device/dev_hip.h"
#include "device/machine.h"
#include "engine/stage.h"
#include "tests/null.h"

enum { MAX_CODE_BYTES = 64 << 20, LINE_BYTES = 8192 };
static const char *folder, *compiler;
static atomic_ulong n_compiled, n_warnings;

static koine_status identity(koi_device *d, char **out)
{
  char *chip;
  koine_status s = koi_dev_hip_portable(d->endpoint, &chip, out);
  if (!s) koi_free(chip);
  return s;
}

/* False: the compiler said no. What it left is removed by the caller. */
static bool run(const char *chip, const koi_build *b, const char *path)
{
  const char *script = getenv("HIP_COMPILE");
  char *options = koi_dev_hip_options(chip, b), line[LINE_BYTES], source[LINE_BYTES / 4];
  snprintf(source, sizeof source, "%s.hip", path);
  FILE *f = fopen(source, "w");
  bool good = options && f && fputs(b->text, f) >= 0;
  if (f && fclose(f)) good = false;
  snprintf(line, sizeof line, "sh '%s' '%s' '%s' '%s' %s", script ? script : "tools/hip_compile.sh", compiler, source, path, options ? options : "");
  good = good && !system(line);
  koi_free(options);
  return good;
}

/* No error of a device's, for which another kernel would be tried: it ends the build. */
static koine_status refused(const char *path, const char *chip, const koi_build *b)
{
  char *log = koi_format("%s.log", path), *text = NULL;
  size_t n;
  if (log && !koi_file_read(log, MAX_CODE_BYTES, &text, &n)) fprintf(stderr, "%.2000s", text);
  koi_free(text);
  koi_free(log);
  return koi_error(KOINE_ERR_CHECK, "%s does not compile op %s for %s with %s", compiler, b->name, chip, b->defs);
}

static void clean(const char *path)
{
  static const char *const ends[] = {"", ".hip", ".log", ".s", ".o"};
  for (size_t i = 0; i < KOI_COUNT(ends); i++) {
    char *one = koi_format("%s%s", path, ends[i]);
    if (one) unlink(one);
    koi_free(one);
  }
}

static koine_status build(koi_device *d, const koi_build *b, koi_kernel **out, void **binary, size_t *binary_bytes)
{
  static atomic_ulong n_paths;
  if (!b->binary) {
    char *chip = NULL, *own = NULL, *code = NULL, *path = koi_format("%s/compile.%ld.%lu", folder, (long)getpid(), atomic_fetch_add(&n_paths, 1));
    koine_status s = path ? koi_dev_hip_portable(d->endpoint, &chip, &own) : KOINE_ERR_MEMORY;
    if (!s && !run(chip, b, path)) s = refused(path, chip, b);
    if (!s) s = koi_file_read(path, MAX_CODE_BYTES, &code, binary_bytes);
    if (path) clean(path);
    koi_free(path), koi_free(chip), koi_free(own);
    if (s) return s;
    *binary = code;
    atomic_fetch_add(&n_compiled, 1);
  }
  *out = koi_alloc(1, sizeof **out);
  return *out ? KOINE_OK : KOINE_ERR_MEMORY;
}

static void unprobe(koi_endpoint *e) { (void)e; }

/* A model of this shape awake once; careless: weights need no care, else all of them do. */
static koine_status wake(koine_runtime *rt, const char *name, bool careless)
{
  koine_shape shape = {.size = sizeof shape, .name = name};
  const koi_plan_wish wish = {0};
  koine_model *m = NULL;
  koine_plan *p = NULL;
  koine_status s = koi_model_synthetic(&shape, &m);
  if (!s) s = koi_plan_make(rt, m, &rt->endpoints[0], 0, &wish, &p);
  if (!s) p->bare = true, p->careless = careless, s = koi_engine_wake(p, NULL, NULL);
  if (!s) koi_engine_sleep(p);
  koi_plan_free(p);
  koi_model_close(m);
  return s;
}

static koine_status open_chip(const koi_backend *backend, const char *chip, koine_runtime **out)
{
  koi_endpoint e;
  koi_probe p = {0};
  koi_topo *topo;
  koi_dev_hip_chip(chip, &e);
  e.backend = backend, e.memory_bytes = e.max_buffer_bytes = UINT64_C(1) << 41, e.n_units = 64;
  snprintf(e.id, sizeof e.id, "hip0");
  snprintf(e.name, sizeof e.name, "%s", chip);
  koine_status s = koi_topo_open(NULL, &topo);
  if (s) return s;
  s = koi_probe_add(&p, &e);
  if (!s) return koi_runtime_make(topo, &p, out);
  koi_topo_close(topo);
  return s;
}

static koine_status compile_chip(const koi_backend *backend, const char *chip)
{
  static const char *const shapes[] = {"v4-flash", "v4-pro"};
  koine_runtime *rt = NULL;
  char *cache = koi_format("%s/hip/%s", folder, chip);
  koine_status s = cache ? open_chip(backend, chip, &rt) : KOINE_ERR_MEMORY;
  if (!s) s = koi_runtime_set_cache(rt, cache);
  for (size_t i = 0; i < 2 * KOI_COUNT(shapes) && !s; i++) s = wake(rt, shapes[i / 2], i % 2);
  koine_runtime_close(rt);
  koi_free(cache);
  return s;
}

static void say(void *user, koine_log_level level, const char *line)
{
  (void)user;
  if (level == KOINE_LOG_WARNING || strstr(line, "are not kept")) fprintf(stderr, "precompile: %s\n", line), atomic_fetch_add(&n_warnings, 1);
}

int main(int argc, char **argv)
{
  koi_backend backend = null_backend;
  backend.name = koi_backend_hip.name, backend.unprobe = unprobe, backend.identity = identity, backend.build = build;
  if (argc < 3) return fprintf(stderr, "usage: precompile FOLDER CHIP=COMPILER...\n"), 2;
  koine_log_set(say, NULL);
  folder = argv[1];
  if (koi_paths_make(folder)) return fprintf(stderr, "precompile: %s\n", koi_error_text()), 1;
  for (int i = 2; i < argc; i++) {
    unsigned long before = atomic_load(&n_compiled);
    char *word = argv[i], *equals = strchr(word, '=');
    if (!equals || equals - word >= KOI_NAME) return fprintf(stderr, "precompile: %s: expected CHIP=COMPILER\n", word), 2;
    *equals = 0, compiler = equals + 1;
    koine_status s = compile_chip(&backend, word);
    if (s) return fprintf(stderr, "precompile: %s: %s\n", word, koi_error_text()), 1;
    if (atomic_load(&n_warnings)) return 1;
    printf("%s: %lu programs compiled by %s\n", word, atomic_load(&n_compiled) - before, compiler);
  }
  return 0;
}
