/* Layers over several devices: the golden models in every way that they can lie, and one device in parts, which must give the same bits.
 *
 * usage: t_layers FOLDER...   golden models; one that is absent is a counted skip
 * KOINE_TEST_DEVICES  names of devices, "portable,host" (the default); those that are not here are skipped, and with fewer than two left all of it
 * KOINE_TEST_CHUNKS   "1,7,129" (the default)      KOINE_TEST_ALL=1: every placement with all of them; else one after the other takes the next */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "golden.h"
#include "device/backend.h"
#include "device/machine_open.h"

enum { MAX_DEVICES = 4, MAX_CHUNKS = 8, MAX_PARTS = 16, PART = 64, MAX_KEPT = 64 };

static int n_checks, n_failed;
static koine_runtime *rt;
static koine_model *model;
static koine_model_info info;
static golden truth;
static char ids[MAX_DEVICES][32];
static size_t n_ids;
static uint32_t chunks[MAX_CHUNKS];
static size_t n_chunks;

static void check(bool ok, const char *what, const char *detail)
{
  n_checks++;
  if (ok) return;
  n_failed++;
  printf("FAIL %s: %s\n", what, detail);
  fflush(stdout);
}

/* ---- placements ---- */
typedef struct lying { /* what --layers and --experts-on say */
  char layers[MAX_PARTS][PART], experts[MAX_PARTS][PART];
  size_t n_layers, n_experts;
  uint32_t split_groups;
} lying;

static void add(char list[MAX_PARTS][PART], size_t *n, const char *id, uint32_t first, uint32_t last) { snprintf(list[(*n)++], PART, "%s=%u-%u", id, first, last); }

static void name_of(const lying *l, char *to, size_t room)
{
  size_t n = 0;
  to[0] = 0;
  for (size_t i = 0; i < l->n_layers && n < room; i++) n += (size_t)snprintf(to + n, room - n, " %s", l->layers[i]);
  for (size_t i = 0; i < l->n_experts && n < room; i++) n += (size_t)snprintf(to + n, room - n, " experts %s", l->experts[i]);
}

static koine_plan *wake(const lying *l)
{
  const char *layers[MAX_PARTS], *experts[MAX_PARTS];
  koine_plan_options o = {.size = sizeof o, .chunk = 129, .layers = layers, .n_layers = l->n_layers, .experts = experts, .n_experts = l->n_experts,
                          .split_groups = l->split_groups};
  koine_plan *p = NULL;
  for (size_t i = 0; i < l->n_layers; i++) layers[i] = l->layers[i];
  for (size_t i = 0; i < l->n_experts; i++) experts[i] = l->experts[i];
  koine_status s = koine_plan_make(rt, model, &o, &p);
  if (!s) s = koine_plan_wake(p, NULL, NULL);
  if (!s) return p;
  if (p) koine_plan_free(p);
  return NULL;
}

/* ---- running ---- */
static float *run(koine_plan *plan, int exact, uint32_t chunk)
{
  koine_session_options o = {.size = sizeof o, .cache = exact ? KOINE_CACHE_EXACT : KOINE_CACHE_PACKED, .context = truth.n, .chunk = chunk};
  koine_eval_options e = {.size = sizeof e, .n_logits = truth.n};
  koine_session *s = NULL;
  size_t bytes = truth.n * info.n_vocab * sizeof(float);
  float *logits = malloc(bytes);
  memset(logits, 0xff, bytes); /* NaN */
  koine_status st = koine_session_open(plan, &o, &s);
  if (!st) st = koine_session_eval(s, truth.tokens, truth.n, &e, logits);
  koine_session_close(s);
  if (!st) return logits;
  free(logits);
  return NULL;
}

static bool all_chunks;
static size_t n_plans;

/* Both cache modes, within the golden bounds; where `same` is given, bit for bit what that plan gives. */
static void check_plan(const lying *l, koine_plan *same)
{
  char what[512], line[512];
  int before = n_failed;
  size_t turn = n_plans++ % n_chunks;
  name_of(l, what, sizeof what);
  koine_plan *p = wake(l);
  check(p != NULL, what, koine_last_error());
  for (int exact = 0; exact < 2 && p; exact++)
    for (size_t c = all_chunks ? 0 : turn; c < (all_chunks ? n_chunks : turn + 1) && truth.logits[exact]; c++) {
      float *got = run(p, exact, chunks[c]), *want = same && got ? run(same, exact, chunks[c]) : NULL;
      if (!got) snprintf(line, sizeof line, "%.500s", koine_last_error());
      bool ok = got && golden_within(got, truth.logits[exact], truth.n, info.n_vocab, exact, line, sizeof line);
      check(ok, what, line);
      if (want) check(!memcmp(got, want, truth.n * info.n_vocab * sizeof *got), what, "other bits than on one device");
      free(got);
      free(want);
    }
  if (p) koine_plan_free(p);
  printf("%s%s%s\n", n_failed == before ? "ok  " : "FAIL", what, same ? ", as one device" : "");
  fflush(stdout);
}

/* Layers before k on a, the rest on b. */
static lying cut_at(const char *a, const char *b, uint32_t k)
{
  lying l = {.n_layers = 0};
  if (k) add(l.layers, &l.n_layers, a, 0, k - 1);
  if (k < info.n_layers) add(l.layers, &l.n_layers, b, k, info.n_layers - 1);
  return l;
}

/* Each layer alone, the devices in turn. */
static lying in_turn(char (*on)[32], size_t n, size_t first)
{
  lying l = {.n_layers = 0};
  for (uint32_t i = 0; i < info.n_layers; i++) add(l.layers, &l.n_layers, on[(first + i) % n], i, i);
  return l;
}

static void every_way(char (*on)[32], size_t n, koine_plan *same, uint32_t split_groups)
{
  lying l;
  for (size_t a = 0; a < n; a++) {
    l = in_turn(on, n, a), l.split_groups = split_groups;
    check_plan(&l, same);
    for (size_t b = 0; b < n; b++) {
      if (a == b) continue;
      for (uint32_t k = 1; k < info.n_layers; k++) {
        l = cut_at(on[a], on[b], k), l.split_groups = split_groups;
        check_plan(&l, same);
      }
      l = cut_at(on[a], on[a], 0), l.split_groups = split_groups; /* experts apart: of all layers, and of those in the middle */
      add(l.experts, &l.n_experts, on[b], 0, info.n_layers - 1);
      check_plan(&l, same);
      l.n_experts = 0;
      add(l.experts, &l.n_experts, on[b], 1, info.n_layers - 2);
      check_plan(&l, same);
    }
  }
}

/* ---- one device in parts ---- */
enum { ALIKE = 16 }; /* groups of splits, so that they do not depend on the units of a part */

static void test_parts(void)
{
  static char parts[2][32];
  lying whole = cut_at(ids[0], ids[0], 0);
  size_t at;
  for (size_t i = 0; i < 2; i++) snprintf(parts[i], sizeof parts[i], "%.24s/%zu", ids[0], i);
  if (koi_runtime_find(rt, parts[1], &at)) return;
  whole.split_groups = ALIKE;
  koine_plan *p = wake(&whole);
  check(p != NULL, "one device", koine_last_error());
  if (!p) return;
  every_way(parts, 2, p, ALIKE);
  koine_plan_free(p);
}

/* ---- several sessions ---- */
typedef struct stream { koine_plan *plan; float *got; int exact; pthread_t thread; } stream;

static void *stream_(void *user)
{
  stream *s = user;
  s->got = run(s->plan, s->exact, 7);
  return NULL;
}

/* Four at once, each as if it were alone. */
static void test_streams(void)
{
  lying l = in_turn(ids, n_ids, 0);
  koine_plan *p = wake(&l);
  check(p != NULL, "a plan for streams", koine_last_error());
  if (!p) return;
  float *want[2] = {run(p, 0, 7), run(p, 1, 7)};
  stream s[4];
  for (int i = 0; i < 4; i++) {
    s[i] = (stream){.plan = p, .exact = i & 1};
    pthread_create(&s[i].thread, NULL, stream_, &s[i]);
  }
  for (int i = 0; i < 4; i++) {
    pthread_join(s[i].thread, NULL);
    check(s[i].got && want[i & 1] && !memcmp(s[i].got, want[i & 1], truth.n * info.n_vocab * sizeof(float)), "streams at once", "other logits than alone");
    free(s[i].got);
  }
  free(want[0]), free(want[1]);
  koine_plan_free(p);
}

/* ---- as text ---- */
static void test_text(void)
{
  lying l = in_turn(ids, n_ids, 0);
  add(l.experts, &l.n_experts, ids[1], 0, 0);
  const char *layers[MAX_PARTS], *experts[MAX_PARTS];
  koine_plan_options o = {.size = sizeof o, .layers = layers, .n_layers = l.n_layers, .experts = experts, .n_experts = l.n_experts, .split_groups = 24};
  koine_plan *p = NULL, *again = NULL;
  char *text = NULL, *same = NULL, *line = NULL;
  for (size_t i = 0; i < l.n_layers; i++) layers[i] = l.layers[i];
  for (size_t i = 0; i < l.n_experts; i++) experts[i] = l.experts[i];
  check(!koine_plan_make(rt, model, &o, &p) && !koine_plan_describe(p, &text) && !koine_plan_line(p, &line), "a plan as text", koine_last_error());
  koine_plan_options read = {.size = sizeof read, .placement = text};
  check(!koine_plan_make(rt, model, &read, &again) && !koine_plan_describe(again, &same), "and read again", koine_last_error());
  check(text && same && !strcmp(text, same), "a plan that was read", same ? same : "");
  check(line && strstr(line, "layers 0-0 on ") && strstr(line, "with routed experts on"), "a plan in one line", line ? line : "");
  koine_text_free(text), koine_text_free(same), koine_text_free(line);
  if (p) koine_plan_free(p);
  if (again) koine_plan_free(again);
}

/* ---- what is refused ---- */
static void refused(const char *const *layers, size_t n, const char *device, koine_status status, const char *words)
{
  koine_plan_options o = {.size = sizeof o, .device = device, .layers = layers, .n_layers = n};
  koine_plan *p = NULL;
  koine_status s = koine_plan_make(rt, model, &o, &p);
  check(s == status && strstr(koine_last_error(), words), words, koine_last_error());
  if (p) koine_plan_free(p);
}

static void test_refused(void)
{
  refused((const char *[]){"host=0-0", "host=2-"}, 2, NULL, KOINE_ERR_ARG, "layers 1-1 lie on no device");
  refused((const char *[]){"host=0-2"}, 1, NULL, KOINE_ERR_ARG, "lie on no device");
  refused((const char *[]){"host=0-2", "host=2-"}, 2, NULL, KOINE_ERR_ARG, "layer 2 lies on host and on host");
  refused((const char *[]){"host=0-1", "nowhere=2-"}, 2, NULL, KOINE_ERR_NO_DEVICE, "nowhere");
  refused((const char *[]){"host=0-99"}, 1, NULL, KOINE_ERR_ARG, "the model has layers 0 to");
  refused((const char *[]){"host"}, 1, NULL, KOINE_ERR_ARG, "expected DEVICE=FIRST-LAST");
  refused((const char *[]){"host=99-"}, 1, NULL, KOINE_ERR_ARG, "the model has layers 0 to");
  refused((const char *[]){"host=0-"}, 1, "host", KOINE_ERR_ARG, "expected one of them");
  const char *bad[] = {"cl0", "cl0=", "cl0=0", "cl0=1,", "cl0=x", "nothing=1,1", "host=1"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    koine_runtime_options o = {.size = sizeof o, .subdevices = &bad[i], .n_subdevices = 1};
    koine_runtime *none = NULL;
    koine_status s = koine_runtime_open(&o, &none);
    check((s == KOINE_ERR_ARG || s == KOINE_ERR_NO_DEVICE) && !none && strstr(koine_last_error(), bad[i]), bad[i], koine_last_error());
  }
}

/* ---- */
static void test_model(const char *folder)
{
  char path[1024];
  snprintf(path, sizeof path, "%s/golden.safetensors", folder);
  if (access(path, R_OK)) {
    printf("skip %s: no golden.safetensors there\n", folder);
    return;
  }
  if (golden_open(folder, &truth) || koine_model_open(folder, &model) || koine_model_get_info(model, &info)) check(false, folder, koine_last_error());
  else {
    printf("%s\n", folder);
    fflush(stdout);
    every_way(ids, n_ids, NULL, 0);
    test_parts();
    test_streams();
    test_text();
    test_refused();
  }
  koine_model_close(model);
  golden_close(&truth);
  model = NULL;
}

/* The first device that a name fits; its id is the next. */
static void find_device(const char *name)
{
  for (size_t i = 0; i < rt->n_endpoints; i++) {
    const koi_endpoint *e = &rt->endpoints[i];
    if (!strcasestr(e->id, name) && !strcasestr(e->name, name) && !strcasestr(e->platform, name)) continue;
    snprintf(ids[n_ids++], sizeof *ids, "%s", e->id);
    return;
  }
  printf("skip: no device %s here\n", name);
}

static koine_status open_runtime(const char *const *parted, koine_runtime **out)
{
  koine_runtime_options o = {.size = sizeof o, .subdevices = parted, .n_subdevices = parted ? 1 : 0};
  return koine_runtime_open(&o, out);
}

/* With the first device also in two parts, where it has two units. */
static koine_status part_first(void)
{
  char text[64];
  const char *list[] = {text};
  size_t i;
  koine_status s = koi_runtime_find(rt, ids[0], &i);
  if (s || rt->endpoints[i].n_units < 2 || !rt->endpoints[i].backend->split) return printf("no parts: one unit\n"), s;
  snprintf(text, sizeof text, "%s=1,1", ids[0]);
  koine_runtime_close(rt);
  rt = NULL;
  return open_runtime(list, &rt);
}

/* Open until the end, so that a placement's kernels are there for the next one. */
static koi_device *kept[MAX_KEPT];

static void keep_devices(void)
{
  for (size_t e = 0; e < rt->n_endpoints && e < MAX_KEPT; e++)
    for (size_t i = 0; i < n_ids; i++) {
      size_t n = strlen(ids[i]);
      const char *id = rt->endpoints[e].id;
      if (!strncmp(id, ids[i], n) && (!id[n] || id[n] == '/')) check(!koi_machine_device(rt, e, &kept[e]), id, koine_last_error());
    }
}

static void drop_devices(void)
{
  for (size_t e = 0; e < MAX_KEPT; e++) koi_machine_device_drop(rt, kept[e]);
}

static void log_line(void *user, koine_log_level level, const char *line)
{
  (void)user;
  if (level >= KOINE_LOG_WARNING) printf("note: %s\n", line);
}

int main(int argc, char **argv)
{
  const char *names = getenv("KOINE_TEST_DEVICES"), *wanted = getenv("KOINE_TEST_CHUNKS");
  const char *all = getenv("KOINE_TEST_ALL");
  char list[256];
  all_chunks = all && all[0] == '1';
  koine_log_set(log_line, NULL);
  if (open_runtime(NULL, &rt)) return printf("FAIL %s\n", koine_last_error()), 1;
  snprintf(list, sizeof list, "%s", names ? names : "portable,host");
  for (char *at = strtok(list, ","); at && n_ids < MAX_DEVICES; at = strtok(NULL, ",")) find_device(at);
  for (const char *c = wanted ? wanted : "1,7,129"; c && n_chunks < MAX_CHUNKS; c = strchr(c, ',') ? strchr(c, ',') + 1 : NULL) chunks[n_chunks++] = (uint32_t)atoi(c);
  if (n_ids < 2) {
    koine_runtime_close(rt);
    return printf("skip: two devices are wanted\n"), 77;
  }
  if (part_first()) return printf("FAIL %s\n", koine_last_error()), 1;
  keep_devices();
  for (int i = 1; i < argc; i++) test_model(argv[i]);
  drop_devices();
  koine_runtime_close(rt);
  printf("t_layers: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed ? 1 : n_checks ? 0 : 77;
}
