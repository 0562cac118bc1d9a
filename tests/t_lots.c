/* Experts of a layer that are stored in several formats and come by turns: who may have which place, for any number of places; turns in which everybody
 * has one, in a place of its lot; and the logits that come with all experts there, for every budget down to one expert of each format, in both cache modes,
 * in chunks of several sizes, with guesses, out of files that keep what was laid out, and with another device for those that are not there; a byte too few.
 * usage: t_lots    on the host, and on PoCL in two parts. KOINE_GUESS and KOINE_MISS are the test's own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "checks.h"
#include "decoded.h"
#include "device/machine.h"
#include "engine/turns.h"
#include "koine.h"
#include "plan/lay.h"
#include "remake.h"

enum { N_TOKENS = 40, N_PROMPT = 29 };
static koine_runtime *rt;
static koine_model *model;
static koine_model_info info = KOINE_MODEL_INFO_INIT;
static int32_t tokens[N_TOKENS];
static char parts[2][64];
static uint64_t state = 5;

static uint32_t drawn(uint32_t n)
{
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 33) % n;
}

/* ---- a model ---- */
/* Matrices of tiny-quant's experts that are stored otherwise here. Of four experts layer 0 has two sorts, layer 1 three (one with its matrices in two
 * formats), layer 2 two that differ in one matrix alone, layer 3 one. */
static const struct { const char *name, *dtype; } others[] = {
  {"layers.0.ffn.experts.1.w1", "BF16"}, {"layers.0.ffn.experts.1.w2", "BF16"}, {"layers.0.ffn.experts.1.w3", "BF16"}, {"layers.1.ffn.experts.1.w3", "BF16"},
  {"layers.1.ffn.experts.2.w1", "F32"},  {"layers.1.ffn.experts.2.w3", "F32"},  {"layers.2.ffn.experts.1.w2", "F32"},  {"layers.2.ffn.experts.3.w2", "F32"}};

/* Numbers of the same size and both signs. */
static void put(item *t, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    float x = (float)drawn(2001) / 20000.0f - 0.05f;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (t->dtype[0] == 'F') memcpy(t->data + 4 * i, &bits, 4);
    else memcpy(t->data + 2 * i, (uint8_t *)&bits + 2, 2);
  }
}

static void store_otherwise(remake *r)
{
  for (size_t i = 0; i < KOI_COUNT(others); i++) {
    char name[80];
    snprintf(name, sizeof name, "%s.weight", others[i].name);
    const item *t = remake_find(r, name);
    const uint64_t shape[] = {t->shape[0], t->shape[1] * (strcmp(t->dtype, "I8") ? 1 : 2)};
    remake_drop(r, name);
    put(remake_add(r, name, others[i].dtype, shape, 2, shape[0] * shape[1] * (others[i].dtype[0] == 'F' ? 4 : 2)), shape[0] * shape[1]);
    snprintf(name, sizeof name, "%s.scale", others[i].name);
    remake_drop(r, name);
  }
}

/* ---- lots ---- */
static void test_places(void)
{
  static const uint32_t n_lots[] = {2, 3, 2, 1};
  for (uint32_t l = 0; l < info.n_layers; l++)
    for (uint32_t n = 1, before = 0; n <= info.n_experts; n++) {
      koi_lots lots;
      OK(koi_lots_make(&model->layers[l], n, &lots));
      CHECK(lots.n == n_lots[l] && lots.n_experts == info.n_experts && lots.n_slots >= n && lots.n_slots <= info.n_experts && lots.n_slots >= before);
      CHECK(n < info.n_experts || lots.n_slots == n);
      CHECK(n > 1 || lots.n_slots == lots.n);
      for (uint32_t i = 0; i < lots.n; i++) CHECK(lots.first[i] < lots.first[i + 1] && lots.of[lots.like[i]] == i);
      before = lots.n_slots;
      koi_lots_free(&lots);
    }
}

/* Slots and parts of one layer: each place of a lot has what an expert of that lot is stored in. */
static void test_parts(void)
{
  for (uint32_t n = 1; n <= info.n_experts; n++) {
    koi_laid_model *laid = NULL;
    OK(koi_lay_share(model, 0, KOI_STRIP, &(koi_share){.layer1 = info.n_layers, .of = KOI_OF_EXPERTS, .n_slots = n}, &laid));
    for (uint32_t l = 0; laid && l < info.n_layers; l++)
      for (uint32_t e = 0; e < info.n_experts; e++) {
        const koi_laid *up = &laid->layers[l][KOI_W_expert_up];
        int32_t slot = (int32_t)koi_lots_slot(&laid->lots[l], e), tiles = 0, per_sub = up->n_parts ? (int32_t)koi_tiles((uint64_t)up->sub_rows, KOI_STRIP) : 1;
        for (uint32_t i = up->first; i < up->first + up->n_parts; i++) {
          const koi_part *p = &laid->parts[i];
          if (slot < p->unit0 || slot >= p->unit1) continue;
          tiles += p->tile1 - p->tile0;
          CHECK(p->care && p->wt == koi_weight_piece(&model->layers[l].w[KOI_W_expert_up], e, (uint32_t)(p->tile0 / per_sub))->format);
        }
        CHECK(tiles == 2 * per_sub);
      }
    koi_lay_free(laid);
  }
}

/* ---- turns ---- */
static void one_step(koi_turns *t, uint32_t n)
{
  int32_t ids[64];
  uint32_t had[64] = {0}, wanted[64] = {0};
  koi_arrival come[64];
  size_t n_come;
  for (uint32_t i = 0; i < n; i++) ids[i] = (int32_t)drawn(t->n_experts), wanted[ids[i]] = 1;
  koi_turns_begin(t, ids, n, n / 2);
  while (koi_turns_next(t, come, &n_come)) {
    CHECK(n_come + t->n_now <= t->n_slots);
    for (size_t i = 0; i < n_come; i++) CHECK(come[i].slot >= koi_lots_slot(t->lots, (uint32_t)come[i].expert) && come[i].slot < t->lots->first[t->lots->of[come[i].expert] + 1]);
    for (uint32_t e = 0; e < t->n_experts; e++) had[e] += wanted[e] && koi_turns_place(t, (int32_t)e) != KOI_NOBODY;
  }
  for (uint32_t e = 0; e < t->n_experts; e++) CHECK(had[e] == wanted[e]);
}

static void test_turns(void)
{
  enum { N = 40 };
  uint32_t of[N], first[] = {0, 1, 4, 5, 17}, like[] = {0, 1, 2, 3};
  const koi_lots lots = {4, 17, N, of, first, like};
  for (uint32_t e = 0; e < N; e++) of[e] = e < 4 ? e : e % 7 < 4 ? e % 7 : 3;
  koi_turns t;
  OK(koi_turns_make(lots.n_slots, N, &lots, &t));
  for (int i = 0; i < 400; i++) one_step(&t, 2 + 2 * drawn(30));
  koi_turns_free(&t);
}

/* Whoever is hot in another lot is not in the way. */
static void test_coldest(void)
{
  uint32_t of[] = {0, 0, 1, 1}, first[] = {0, 1, 2}, like[] = {0, 2};
  const koi_lots lots = {2, 2, 4, of, first, like};
  koi_turns t;
  koi_arrival come[2];
  size_t n;
  OK(koi_turns_make(2, 4, &lots, &t));
  for (int i = 0; i < 3; i++) {
    koi_turns_begin(&t, (const int32_t[]){0}, 1, 1);
    CHECK(koi_turns_coldest(&t, 3) < 0);
    while (koi_turns_next(&t, come, &n)) {}
  }
  CHECK(koi_turns_coldest(&t, 1) > 2 && koi_turns_coldest(&t, 3) < 0);
  koi_turns_begin(&t, (const int32_t[]){2}, 1, 1);
  while (koi_turns_next(&t, come, &n)) {}
  CHECK(t.expert[0] == 0 && t.expert[1] == 2 && koi_turns_coldest(&t, 3) < 2 && koi_turns_coldest(&t, 1) > 2);
  koi_turns_free(&t);
}

/* ---- logits ---- */
typedef struct run {
  koine_plan_options o;
  koine_cache mode;
  float *want, *first, *got; /* without a cache; with the least one; at hand */
  char cache[96];
  const char *given;
} run;

static koine_plan *awake(const koine_plan_options *o)
{
  koine_plan *p = NULL;
  koine_status s = koine_plan_make(rt, model, o, &p);
  if (!s) s = koine_plan_wake(p, NULL, NULL);
  if (s) printf("%s\n", koine_last_error());
  CHECK(!s);
  if (!s) return p;
  koine_plan_free(p);
  return NULL;
}

static koine_status evaluate(koine_plan *p, const run *r, float *logits)
{
  koine_session_options o = {.size = sizeof o, .cache = r->mode, .context = 64};
  return decoded_by(p, &o, &(decoded){tokens, N_PROMPT, N_TOKENS, info.n_vocab}, logits);
}

static bool alike(const float *want, const float *got) { return decoded_alike(&(decoded){tokens, N_PROMPT, N_TOKENS, info.n_vocab}, want, got); }

/* Of the routed experts' stage, in a plan that is asleep; 0: it is refused. */
static unsigned long long weight_bytes(run *r, unsigned long long budget)
{
  koine_plan *p = NULL;
  char *text = NULL;
  unsigned long long bytes = 0;
  snprintf(r->cache, sizeof r->cache, "%s=%llu", r->o.device, budget);
  if (koine_plan_make(rt, model, &r->o, &p)) return 0;
  OK(koine_plan_describe(p, &text));
  const char *line = text ? strstr(text, "\nexperts ") : NULL, *at = line ? strstr(line, " weight_bytes=") : NULL;
  if (at) bytes = strtoull(at + strlen(" weight_bytes="), NULL, 10);
  CHECK(bytes && bytes <= budget);
  koine_text_free(text);
  koine_plan_free(p);
  return bytes;
}

static void test_budget(run *r, unsigned long long budget, bool all, const char *how)
{
  koine_plan_usage u = KOINE_PLAN_USAGE_INIT;
  snprintf(r->cache, sizeof r->cache, "%s=%llu", r->o.device, budget);
  if (how) setenv("KOINE_MISS", how, 1);
  else unsetenv("KOINE_MISS");
  koine_plan *p = awake(&r->o);
  for (int again = 0; p && again < 2; again++) {
    OK(evaluate(p, r, r->got));
    CHECK(alike(r->want, r->got));
  }
  if (p) OK(koine_plan_get_usage(p, &u));
  koine_plan_free(p);
  if (how && !strcmp(how, "cpu")) CHECK(!u.experts_loaded && u.experts_elsewhere > 0);
  else CHECK(u.experts_loaded > 0 && u.expert_bytes > 0 && u.experts_there > 0 && !u.experts_elsewhere);
  CHECK(all || how || u.experts_guessed > 0);
}

/* ---- budgets ---- */
typedef struct budgets { unsigned long long v[8]; size_t n; } budgets;

/* The least budget, each that holds more than the one before, and that of all experts. */
static budgets budgets_of(run *r)
{
  budgets b = {{0}, 0};
  unsigned long long all = weight_bytes(r, UINT64_C(1) << 40);
  CHECK(!weight_bytes(r, 1) && strstr(koine_last_error(), "of each format there"));
  const char *at = strstr(koine_last_error(), " takes ");
  unsigned long long budget = at ? strtoull(at + strlen(" takes "), NULL, 10) : 0;
  CHECK(budget && !weight_bytes(r, budget - 1) && weight_bytes(r, budget) == budget && weight_bytes(r, all) == all);
  while (budget && b.n < KOI_COUNT(b.v)) {
    unsigned long long low = budget, high = all;
    b.v[b.n++] = budget;
    if (budget == all) break;
    while (low + 1 < high) { /* low holds no more than the budget does */
      unsigned long long middle = low + (high - low) / 2;
      *(weight_bytes(r, middle) > budget ? &high : &low) = middle;
    }
    budget = high;
  }
  return b;
}

static void test_budgets(run *r, const budgets *b, uint32_t chunk, const char *how)
{
  size_t n = (size_t)N_TOKENS * info.n_vocab * sizeof(float);
  for (size_t i = 0; i < b->n; i += how && b->n > 1 ? b->n - 1 : 1) {
    test_budget(r, b->v[i], i + 1 == b->n, how);
    if (!i) memcpy(r->first, r->got, n);
    if (chunk == 1 || !strcmp(r->o.device, "host")) CHECK(!memcmp(r->first, r->got, n)); /* PoCL's panels: sums in the compiler's order */
  }
}

static void test_device(const char *device, const char *misses_on, koine_cache mode, uint32_t chunk, const budgets *b, const char *how)
{
  size_t bytes = (size_t)N_TOKENS * info.n_vocab * sizeof(float);
  char name[200];
  run r = {.mode = mode, .want = malloc(bytes), .first = malloc(bytes), .got = malloc(bytes), .given = r.cache};
  r.o = (koine_plan_options){.size = sizeof r.o, .device = device, .chunk = chunk, .cache = mode};
  snprintf(name, sizeof name, "%s, %s, chunks of %u%s", device, how ? how : "loaded", chunk, mode == KOINE_CACHE_EXACT ? ", exact" : "");
  checks_on = name;
  koine_plan *whole = awake(&r.o);
  if (whole) OK(evaluate(whole, &r, r.want));
  koine_plan_free(whole);
  r.o.expert_caches = &r.given, r.o.n_expert_caches = 1, r.o.misses_on = misses_on;
  r.o.keep_layout = mode == KOINE_CACHE_EXACT && !how; /* the first wake keeps all experts, the others read them there */
  test_budgets(&r, b, chunk, how);
  free(r.want);
  free(r.first);
  free(r.got);
}

/* ---- all of it ---- */
static bool part_portable(void)
{
  char text[80];
  const char *list[] = {text};
  size_t i;
  koine_runtime_options o = {.size = sizeof o, .subdevices = list, .n_subdevices = 1};
  if (koi_runtime_find(rt, "Portable", &i) || rt->endpoints[i].n_units < 2) return false;
  snprintf(text, sizeof text, "%s=1,1", rt->endpoints[i].id);
  for (int k = 0; k < 2; k++) snprintf(parts[k], sizeof parts[k], "%s/%d", rt->endpoints[i].id, k);
  koine_runtime_close(rt);
  return !koine_runtime_open(&o, &rt);
}

/* The host has another number of rows in a tile than PoCL, and with it other bytes. */
static budgets find_budgets(const char *device)
{
  run r = {.given = r.cache};
  r.o = (koine_plan_options){.size = sizeof r.o, .device = device, .chunk = 64, .expert_caches = &r.given, .n_expert_caches = 1};
  checks_on = device;
  budgets b = budgets_of(&r);
  CHECK(b.n == 4); /* as many as experts: here one more place of each layer's is always more bytes */
  return b;
}

static void test_model(bool portable)
{
  static const uint32_t chunks[] = {64, 7, 1};
  const budgets host = find_budgets("host");
  for (size_t c = 0; c < KOI_COUNT(chunks); c++) test_device("host", NULL, KOINE_CACHE_PACKED, chunks[c], &host, NULL);
  test_device("host", NULL, KOINE_CACHE_EXACT, 7, &host, NULL);
  if (!portable) return;
  const budgets pocl = find_budgets(parts[0]);
  for (size_t c = 0; c < KOI_COUNT(chunks); c++) test_device(parts[0], NULL, c == 1 ? KOINE_CACHE_EXACT : KOINE_CACHE_PACKED, chunks[c], &pocl, NULL);
  test_device(parts[0], "host", KOINE_CACHE_PACKED, 3, &pocl, "cpu");
  test_device("host", parts[1], KOINE_CACHE_EXACT, 3, &host, "load");
}

int main(void)
{
  remake r = remake_load(remake_data("tiny-quant"));
  char *folder = remake_mkdir(), command[4200];
  store_otherwise(&r);
  OK(koine_runtime_open(NULL, &rt));
  remake_config(folder, "tiny-quant");
  remake_write_all(&r, folder);
  OK(koi_model_open(folder, &model));
  remake_free(&r);
  if (n_failed || koine_model_get_info(model, &info)) return printf("%s\n", koine_last_error()), 1;
  for (size_t i = 0; i < N_TOKENS; i++) tokens[i] = (int32_t)((i * 37 + 11) % (info.n_vocab - 2) + 1);
  setenv("KOINE_GUESS", "always", 1);
  test_places();
  test_parts();
  test_turns();
  test_coldest();
  bool portable = part_portable();
  test_model(portable);
  koine_model_close(model);
  koine_runtime_close(rt);
  snprintf(command, sizeof command, "rm -r '%s'", folder);
  CHECK(!system(command));
  free(folder);
  printf("t_lots: %d checks, %d failed%s\n", n_checks, n_failed, portable ? "" : "; no device Portable of two units here");
  return n_failed ? 1 : portable ? 0 : 77;
}
