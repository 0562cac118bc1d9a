/* Streams between two HIP devices past the host, on HIP on the CPU: the same bits as through the host, whichever way a prompt goes (by threads of its stages, in steps, with
 * others at the same time, of whom some find no buffer free), copies from device to device that are really made, none where devices do not reach each other, and a
 * copy that fails after everybody went on is an error with its device's name. Exit 77 without a clang, which compiles kernels for it.
 * usage: t_way [FOLDER]   a golden model (default: tests/data/tiny-quant) */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "checks.h"
#include "device/machine_open.h"
#include "engine/session.h"

enum { TOKENS = 61, CHUNK = 16, SESSIONS = 3 };
static const char *const library = "tests/.libs/libhipemu.so";
static koine_runtime *rt;
static koine_model *model;
static int32_t tokens[TOKENS + 2];
static size_t n_vocab;
static unsigned long (*n_copies)(void);

static koine_plan *wake(const char *const *layers, size_t n)
{
  koine_plan_options o = {.size = sizeof o, .chunk = CHUNK, .context = 256, .layers = layers, .n_layers = n, .split_groups = 8};
  koine_plan *p = NULL;
  OK(koine_plan_make(rt, model, &o, &p));
  if (p) OK(koine_plan_wake(p, NULL, NULL));
  return p;
}

/* ---- a conversation: a prompt in many chunks, which the stages' threads take, and two tokens, each a step ---- */
typedef struct talk { koine_plan *plan; float *logits; /* [3][n_vocab] */ size_t n_first; /* tokens of the prompt */ koine_status status; char why[512]; } talk;

static void *run_talk(void *user)
{
  talk *t = user;
  koine_session_options o = {.size = sizeof o, .context = 256, .chunk = CHUNK};
  koine_session *s = NULL;
  t->status = koine_session_open(t->plan, &o, &s);
  for (size_t i = 0; i < 3 && !t->status; i++) t->status = koine_session_eval(s, tokens, t->n_first + i, NULL, t->logits + i * n_vocab);
  if (t->status) snprintf(t->why, sizeof t->why, "%s", koine_last_error());
  koine_session_close(s);
  return NULL;
}

static float *room(void)
{
  float *v = malloc(3 * n_vocab * sizeof *v);
  memset(v, 0xff, 3 * n_vocab * sizeof *v);
  return v;
}

static bool same(const float *a, const float *b) { return !memcmp(a, b, 3 * n_vocab * sizeof *a); }

static void test_together(koine_plan *p, const float *want)
{
  talk t[SESSIONS];
  pthread_t thread[SESSIONS];
  for (int i = 0; i < SESSIONS; i++) {
    t[i] = (talk){.plan = p, .logits = room(), .n_first = TOKENS};
    CHECK(!pthread_create(&thread[i], NULL, run_talk, &t[i]));
  }
  for (int i = 0; i < SESSIONS; i++) {
    pthread_join(thread[i], NULL);
    CHECK(!t[i].status && same(t[i].logits, want));
    free(t[i].logits);
  }
}

static void test_layers(const char *const *layers, size_t n)
{
  talk host = {.logits = room(), .n_first = TOKENS}, peer = {.logits = room(), .n_first = TOKENS};
  checks_tried = "through the host";
  setenv("HIP_EMU_PEERS", "off", 1);
  unsigned long before = n_copies();
  if ((host.plan = wake(layers, n))) run_talk(&host);
  CHECK(!host.status && n_copies() == before);
  koine_plan_free(host.plan);
  checks_tried = "past the host";
  unsetenv("HIP_EMU_PEERS");
  if ((peer.plan = wake(layers, n))) run_talk(&peer);
  CHECK(!peer.status && same(peer.logits, host.logits));
  CHECK(n_copies() - before == (n - 1) * ((TOKENS + CHUNK - 1) / CHUNK + 2)); /* each gap, each chunk and token */
  checks_tried = "several at once";
  if (peer.plan) test_together(peer.plan, host.logits);
  koine_plan_free(peer.plan);
  free(host.logits), free(peer.logits);
}

/* In one step, behind which nothing comes that the device could refuse. The last test: the device is lost then. */
static void test_lost(const char *const *layers, size_t n)
{
  talk t = {.plan = wake(layers, n), .logits = room(), .n_first = CHUNK};
  checks_tried = "a copy that fails";
  setenv("HIP_EMU_PEERS", "lost", 1);
  if (t.plan) run_talk(&t);
  CHECK(t.status == KOINE_ERR_DEVICE && strstr(t.why, "hip0") && strstr(t.why, "waiting for an event failed: hipErrorLaunchFailure"));
  if (n_failed) printf("%s\n", t.why);
  CHECK(koi_machine_device_failed(rt, 0) && !koi_machine_device_failed(rt, 2));
  koine_plan_free(t.plan);
  free(t.logits);
}

int main(int argc, char **argv)
{
  static const char *const two[] = {"hip0=0-1", "hip2=2-"}, *const three[] = {"hip0=0-0", "hip2=1-1", "hip0=2-"};
  const char *clang = getenv("KOINE_CLANG"), *top = getenv("srcdir");
  char *have = koi_format("command -v '%s' >/dev/null", clang && *clang ? clang : "clang-19"), *tiny = koi_format("%s/tests/data/tiny-quant", top ? top : "."), cache[] = "/tmp/koine-way-XXXXXX";
  koine_runtime_options o = {.size = sizeof o, .cache_dir = cache};
  koine_model_info info = {.size = sizeof info};
  setenv("KOINE_BACKENDS", "hip", 1);
  setenv("KOINE_HIP_LIBRARY", library, 1);
  if (system(have)) return printf("SKIP: no clang-19, which compiles kernels for HIP on the CPU\n"), 77;
  if (!mkdtemp(cache)) return perror(cache), 1;
  OK(koine_runtime_open(&o, &rt));
  OK(koine_model_open(argc > 1 ? argv[1] : tiny, &model));
  if (model) OK(koine_model_get_info(model, &info));
  n_vocab = info.n_vocab;
  for (size_t i = 0; i < KOI_COUNT(tokens) && n_vocab; i++) tokens[i] = (int32_t)((i * 37 + 5) % (n_vocab - 1));
  void *emulation = dlopen(library, RTLD_NOW | RTLD_NOLOAD), *symbol = emulation ? dlsym(emulation, "emu_n_peer_copies") : NULL;
  memcpy(&n_copies, &symbol, sizeof symbol);
  CHECK(n_copies != NULL);
  if (!n_failed) test_layers(two, KOI_COUNT(two)), test_layers(three, KOI_COUNT(three)), test_lost(two, KOI_COUNT(two));
  koine_model_close(model);
  koine_runtime_close(rt);
  char *clean = koi_format("rm -rf '%s'", cache);
  CHECK(clean && !system(clean));
  koi_free(clean), koi_free(tiny), koi_free(have);
  printf("t_way: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
