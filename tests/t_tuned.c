/* The log of measurements: what is written is what holds, which rung answers on which device, lines that are damaged or of another release, several
 * processes that write at once, and what the chooser makes of parameters that are not legal. No device is asked.
 * Usage: t_tuned   (makes a folder of its own below TMPDIR) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "device/kern.h"
#include "device/tuned.h"

static int n_checks, n_failed, n_damaged, n_foreign;
static char last_line[512];
#define CHECK(x) ((void)(n_checks++, (x) ? 0 : (printf("FAIL %s:%d: %s (%s)\n", __FILE__, __LINE__, #x, koi_error_text()), n_failed++)))

static void log_line(void *user, koine_log_level level, const char *text)
{
  (void)user, (void)level;
  bool damaged = strstr(text, "is damaged"), foreign = strstr(text, "of another release");
  n_damaged += damaged, n_foreign += foreign;
  if (damaged || foreign) snprintf(last_line, sizeof last_line, "%s", text);
}

/* ---- devices and lines ---- */
static char folder[] = "/tmp/t_tuned.XXXXXX", *path;

static koi_endpoint card(const char *name, const char *arch, const char *driver, const char *platform)
{
  koi_endpoint e = {.id = "cl0", .type = KOINE_DEVICE_GPU, .max_group = 256, .local_bytes = 32768, .n_units = 8, .vector_width = 4, .lanes = 32};
  snprintf(e.vendor, sizeof e.vendor, "Maker");
  snprintf(e.name, sizeof e.name, "%s", name);
  snprintf(e.arch, sizeof e.arch, "%s", arch);
  snprintf(e.driver, sizeof e.driver, "%s", driver);
  snprintf(e.platform, sizeof e.platform, "%s", platform);
  snprintf(e.version, sizeof e.version, "3.0");
  return e;
}

static koi_tuned_line line_of(int32_t bucket, koi_outcome outcome)
{
  koi_tuned_line l = {.op = &koi_op_matvec, .bucket = bucket, .n_samples = 7, .median_us = 12.5, .spread_us = 0.25, .outcome = outcome};
  memcpy(l.c, koi_op_matvec.usual, sizeof l.c);
  for (size_t i = 0; i < koi_op_n_params(l.op); i++) l.p[i] = l.op->params[i].gpu;
  return l;
}

/* The rung for bucket 0 of matvec's usual constants, seen from e; p [KOI_MAX_PARAMS] what is chosen. */
static koi_rung ask(const koi_endpoint *e, int32_t *p)
{
  koi_device d = {.endpoint = e, .cache_dir = folder};
  koi_target t;
  koi_rung rung = KOI_N_RUNGS;
  CHECK(!koi_tuned_load(&d, folder));
  koi_backend_target(&d, &t);
  CHECK(!koi_choose(&t, &koi_op_matvec, koi_op_matvec.usual, 0, p, &rung));
  CHECK(koi_legal(&t, &koi_op_matvec, koi_op_matvec.usual, p));
  koi_tuned_drop(&d);
  return rung;
}

static void append(const koi_endpoint *e, const koi_tuned_line *l)
{
  koi_device d = {.endpoint = e, .cache_dir = folder};
  CHECK(!koi_tuned_append(&d, l));
}

static void append_text(const char *text)
{
  FILE *f = fopen(path, "a");
  CHECK(f && fputs(text, f) >= 0);
  if (f) fclose(f);
}

/* A legal value other than the default in some parameter; its place. */
static size_t change(koi_tuned_line *l, const koi_endpoint *e)
{
  koi_target t;
  koi_dev_target(e, &t);
  CHECK(!koi_choose(&t, l->op, l->c, 0, l->p, NULL));
  for (size_t i = 0; i < koi_op_n_params(l->op); i++)
    for (size_t k = 0; k < l->op->params[i].n_values; k++) {
      int32_t before = l->p[i];
      l->p[i] = l->op->params[i].values[k];
      if (l->p[i] != before && koi_legal(&t, l->op, l->c, l->p)) return i;
      l->p[i] = before;
    }
  CHECK(!"another legal value");
  return 0;
}

/* ---- tests ---- */
static void test_ladder(void)
{
  koi_endpoint here = card("Card A", "gfx1", "1.0", "P"), newer = card("Card A", "gfx1", "1.1", "P"), sister = card("Card B", "gfx1", "1.0", "P"),
               cousin = card("Card C", "gfx2", "1.0", "P"), other = card("Card A", "gfx1", "1.0", "Q");
  koi_tuned_line l = line_of(0, KOI_OUTCOME_MEASURED);
  int32_t p[KOI_MAX_PARAMS] = {0};
  size_t at = change(&l, &here);
  CHECK(ask(&here, p) == KOI_RUNG_DEFAULT && p[at] != l.p[at]); /* no file */
  append(&here, &l);
  CHECK(ask(&here, p) == KOI_RUNG_DEFAULT && p[at] != l.p[at]); /* a measurement is no outcome */
  l.outcome = KOI_OUTCOME_WON;
  append(&here, &l);
  CHECK(ask(&here, p) == KOI_RUNG_TUNED && p[at] == l.p[at]);
  CHECK(ask(&newer, p) == KOI_RUNG_STALE && p[at] == l.p[at]);
  CHECK(ask(&sister, p) == KOI_RUNG_ARCH && p[at] == l.p[at]);
  CHECK(ask(&cousin, p) == KOI_RUNG_VENDOR && p[at] == l.p[at]);
  CHECK(ask(&other, p) == KOI_RUNG_DEFAULT && p[at] != l.p[at]);
  koi_tuned_line kept = line_of(0, KOI_OUTCOME_KEPT);
  append(&newer, &kept); /* a better rung wins, even one that says no */
  CHECK(ask(&newer, p) == KOI_RUNG_DEFAULT && ask(&here, p) == KOI_RUNG_TUNED);
  append(&here, &kept); /* the last line of a rung wins */
  CHECK(ask(&here, p) == KOI_RUNG_DEFAULT && p[at] != l.p[at]);
  append(&here, &l);
  setenv("KOINE_TUNED", "off", 1);
  CHECK(ask(&here, p) == KOI_RUNG_DEFAULT && p[at] != l.p[at]);
  unsetenv("KOINE_TUNED");
  CHECK(ask(&here, p) == KOI_RUNG_TUNED && !n_damaged && !n_foreign);
}

/* Parameters of a line are only taken when they are legal, if need be after a repair. */
static void test_illegal(void)
{
  koi_endpoint here = card("Card I", "gfx9", "1.0", "P"), small = card("Card I", "gfx9", "1.0", "P");
  koi_tuned_line l = line_of(0, KOI_OUTCOME_WON);
  int32_t p[KOI_MAX_PARAMS] = {0};
  for (size_t i = 0; i < koi_op_n_params(l.op); i++) l.p[i] = 1 << 20;
  append(&here, &l);
  ask(&here, p); /* checks that it is legal */
  small.max_group = 16;
  ask(&small, p);
}

static void test_damage(void)
{
  koi_endpoint here = card("Card D", "gfx3", "1.0", "P");
  koi_tuned_line l = line_of(0, KOI_OUTCOME_WON);
  int32_t p[KOI_MAX_PARAMS] = {0};
  char *all;
  size_t n, at = change(&l, &here);
  CHECK(!unlink(path));
  append(&here, &l);
  CHECK(!koi_file_read(path, 1 << 20, &all, &n) && n > 100);
  n_damaged = n_foreign = 0;
  char *bad = koi_strdup(all), *half = koi_strdup(all);
  *strstr(bad, "Card D") = 'c'; /* one letter */
  append_text(bad);
  append_text("nonsense\n\n");
  half[n / 2] = 0;
  append_text(half); /* a process that was killed */
  append(&here, &l); /* begins a line of its own all the same */
  CHECK(ask(&here, p) == KOI_RUNG_TUNED && p[at] == l.p[at] && n_damaged == 3 && !n_foreign);
  CHECK(strstr(last_line, "line 5 "));
  char *name = strstr(bad, "\tmatvec\t"); /* sound, but of an op that there is not */
  memcpy(name, "\tmatvex\t", 8), *strstr(bad, "card D") = 'C';
  char *sum = strrchr(bad, '\t') + 1;
  snprintf(sum, 18, "%016llx\n", (unsigned long long)koi_hash(bad, (size_t)(sum - bad), 0));
  append_text(bad);
  CHECK(ask(&here, p) == KOI_RUNG_TUNED && n_damaged == 6 && n_foreign == 1 && strstr(last_line, "line 7 "));
  koi_free(all), koi_free(bad), koi_free(half);
  CHECK(!unlink(path) && !mkdir(path, 0700)); /* no file at all */
  CHECK(ask(&here, p) == KOI_RUNG_DEFAULT);
  koi_device d = {.endpoint = &here, .cache_dir = folder};
  CHECK(koi_tuned_append(&d, &l) == KOINE_ERR_FILE && strstr(koi_error_text(), "tuned.log"));
  CHECK(!rmdir(path));
}

static void test_together(void)
{
  enum { N_WRITERS = 4, N_LINES = 100 };
  koi_endpoint here = card("Card T", "gfx4", "1.0", "P");
  pid_t children[N_WRITERS];
  for (int w = 0; w < N_WRITERS; w++) {
    children[w] = fork();
    if (children[w]) continue;
    koi_device d = {.endpoint = &here, .cache_dir = folder};
    koine_status s = KOINE_OK;
    for (int i = 0; i < N_LINES && !s; i++) {
      koi_tuned_line l = line_of(w * N_LINES + i, KOI_OUTCOME_WON);
      s = koi_tuned_append(&d, &l);
    }
    _exit(s != 0);
  }
  for (int w = 0, status; w < N_WRITERS; w++) CHECK(waitpid(children[w], &status, 0) == children[w] && !status);
  koi_device d = {.endpoint = &here, .cache_dir = folder};
  n_damaged = 0;
  CHECK(!koi_tuned_load(&d, folder) && d.tuned.n == N_WRITERS * N_LINES && !n_damaged);
  koi_tuned_drop(&d);
}

int main(void)
{
  koine_log_set(log_line, NULL);
  unsetenv("KOINE_TUNED");
  if (!mkdtemp(folder) || !(path = koi_format("%s/tuned.log", folder))) return printf("t_tuned: no folder\n"), 1;
  test_ladder();
  test_illegal();
  test_damage();
  test_together();
  unlink(path), rmdir(folder);
  koi_free(path);
  printf("t_tuned: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
