/* Weights in tiles of 16, 32 and 64 rows: the same logits bit by bit from models of every kind of weight, planned, laid and woken with that layout.
 * usage: t_tile FOLDER...   each with a checkpoint and golden.safetensors; one that is absent is passed over. KOINE_TEST_DEVICE: the device (host). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "engine/stage.h"
#include "golden.h"
#include "koine.h"

enum { TOKENS = 200, CHUNK = 48 /* panels, then the rest token by token */ };
static const uint32_t tiles[] = {16, 32, 64};
static int n_failed, n_done;

static void check(bool ok, const char *folder, uint32_t tile, const char *what)
{
  if (ok) return;
  printf("FAIL %s, tiles of %u rows: %s\n", folder, (unsigned)tile, what);
  n_failed++;
}

/* Logits of `n` tokens: most of them in chunks, the last ones one by one. */
static bool eval(koine_plan *p, koine_cache mode, const int32_t *tokens, size_t n, size_t n_vocab, float *out)
{
  koine_session_options o = {.size = sizeof o, .cache = mode, .context = n, .chunk = CHUNK};
  koine_session *s;
  if (koine_session_open(p, &o, &s)) return false;
  koine_eval_options e = {.size = sizeof e, .n_logits = n - 4};
  koine_status st = koine_session_eval(s, tokens, n - 4, &e, out);
  e.n_logits = 1;
  for (size_t i = n - 4; i < n && !st; i++) st = koine_session_eval(s, tokens, i + 1, &e, out + i * n_vocab);
  koine_session_close(s);
  return !st;
}

/* One layout of one model; want: the logits with the first, in both cache modes. */
static void one(koine_runtime *rt, koine_model *m, const char *folder, const golden *g, uint32_t tile, size_t n_vocab, float *const *want)
{
  const char *device = getenv("KOINE_TEST_DEVICE");
  char number[12];
  size_t n = g->n < TOKENS ? g->n : TOKENS;
  koine_plan *p = NULL;
  koine_plan_options o = {.size = sizeof o, .device = device ? device : "host", .chunk = 256};
  snprintf(number, sizeof number, "%u", (unsigned)tile);
  setenv("KOINE_LAYOUT", number, 1);
  if (koine_plan_make(rt, m, &o, &p) || koine_plan_wake(p, NULL, NULL)) check(false, folder, tile, koine_last_error());
  else {
    const koi_laid_model *l = koi_engine_stage(p, 0)->at.laid;
    check(l->tile == tile && p->stages[0].laid->tile == tile, folder, tile, "laid in another layout");
    check(l->bytes == p->stages[0].laid->bytes, folder, tile, "the plan counts other bytes");
    for (int mode = 0; mode < 2; mode++) {
      float *got = malloc(n * n_vocab * sizeof *got);
      check(eval(p, mode ? KOINE_CACHE_EXACT : KOINE_CACHE_PACKED, g->tokens, n, n_vocab, got), folder, tile, koine_last_error());
      if (tile == tiles[0]) memcpy(want[mode], got, n * n_vocab * sizeof *got);
      else check(!memcmp(want[mode], got, n * n_vocab * sizeof *got), folder, tile, "other logits than with tiles of 16 rows");
      free(got);
    }
    n_done++;
  }
  koine_plan_free(p);
}

static void test(koine_runtime *rt, const char *folder)
{
  golden g = {0};
  koine_model *m = NULL;
  koine_model_info info = {0};
  if (access(folder, R_OK)) return;
  if (golden_open(folder, &g) || koine_model_open(folder, &m) || koine_model_get_info(m, &info)) check(false, folder, 0, koine_last_error());
  else {
    float *want[2] = {malloc(TOKENS * info.n_vocab * sizeof(float)), malloc(TOKENS * info.n_vocab * sizeof(float))};
    for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) one(rt, m, folder, &g, tiles[i], info.n_vocab, want);
    free(want[0]), free(want[1]);
  }
  koine_model_close(m);
  golden_close(&g);
}

int main(int argc, char **argv)
{
  koine_runtime *rt;
  koine_runtime_options o = {.size = sizeof o};
  if (koine_runtime_open(&o, &rt)) return printf("%s\n", koine_last_error()), 1;
  for (int i = 1; i < argc; i++) test(rt, argv[i]);
  koine_runtime_close(rt);
  printf("t_tile: %d layouts, %d failed\n", n_done, n_failed);
  return n_failed || !n_done;
}
