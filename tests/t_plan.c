/* Plans: what they count is what a device comes to hold, what cannot fit is refused with the numbers before anything is allocated, and the call
 * lists behind them: scratch memory that is written while another value lives there, symbols without a value, chunks whose lists differ.
 * usage: t_plan [CHECKPOINT] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "engine/session.h"
#include "checks.h"
#include "fake.h"

/* ---- bytes --------------------------------------------------------------------------------------------------------------- */
enum { CHUNK = 64, CONTEXT = 1000, N_WARM = 256 };

static koine_plan *plan_of(koine_runtime *rt, koine_model *m, koine_plan_options o)
{
  koine_plan *p = NULL;
  o.size = sizeof o, o.device = "fake";
  OK(koine_plan_make(rt, m, &o, &p));
  return p;
}

/* A plan awake with one full conversation holds what it said, but for compiled kernels, which are an allowance. */
static void test_counted(koine_runtime *rt, koine_model *m, koine_cache cache)
{
  koine_plan *p = plan_of(rt, m, (koine_plan_options){.chunk = CHUNK, .cache = cache, .context = CONTEXT});
  koine_plan_usage u = {.size = sizeof u};
  koine_session *s = NULL;
  koine_session_options so = {.size = sizeof so, .cache = cache, .context = CONTEXT};
  OK(koine_plan_get_usage(p, &u));
  OK(koine_plan_wake(p, NULL, NULL));
  const koi_stage *st = koi_engine_stage(p, 0);
  const koi_stage_bytes *b = &p->stages[0].bytes;
  CHECK(st->dev->bytes == u.weight_bytes + u.scratch_bytes); /* to the byte */
  CHECK(st->at.laid->bytes == u.weight_bytes && st->scratch_bytes == u.scratch_bytes);
  OK(koine_session_open(p, &so, &s));
  OK(koi_session_fill(s, CONTEXT));
  uint64_t held = st->dev->bytes - u.weight_bytes - u.scratch_bytes;
  CHECK(held <= b->caches + b->marks && held >= b->caches - b->caches / 8);
  CHECK(b->total == b->weights + b->scratch + b->caches + b->marks + b->programs + b->gates && !b->gates);
  koine_session_close(s);
  koine_plan_free(p);
  CHECK(!fake_n_live());
}

/* What a plan may use holds while conversations grow, and for all plans on the device together. */
static void test_held_to(koine_runtime *rt, koine_model *m)
{
  enum { MANY = 64 };
  koine_plan *p = plan_of(rt, m, (koine_plan_options){.chunk = CHUNK, .context = CONTEXT}), *two = NULL;
  uint64_t limit = p->stages[0].bytes.total;
  koine_plan_free(p);
  p = plan_of(rt, m, (koine_plan_options){.chunk = CHUNK, .context = CONTEXT, .memory_bytes = limit});
  two = plan_of(rt, m, (koine_plan_options){.chunk = CHUNK, .context = CONTEXT, .memory_bytes = limit});
  OK(koine_plan_wake(p, NULL, NULL));
  const koi_device *d = koi_engine_stage(p, 0)->dev;
  CHECK(koine_plan_wake(two, NULL, NULL) == KOINE_ERR_MEMORY && strstr(koi_error_text(), "device fake") && strstr(koi_error_text(), "may be used"));
  koine_session *s[MANY] = {NULL};
  koine_session_options so = {.size = sizeof so, .context = CONTEXT};
  koine_status refused = KOINE_OK;
  size_t n = 0;
  for (; n < MANY && !refused; n++) {
    refused = koine_session_open(p, &so, &s[n]);
    if (!refused) refused = koi_session_fill(s[n], CONTEXT);
    CHECK(d->bytes <= limit);
  }
  CHECK(refused == KOINE_ERR_MEMORY && n > 1 && strstr(koi_error_text(), "may be used"));
  koine_session_close(s[--n]);
  koine_session_close(s[0]);
  OK(koine_session_open(p, &so, &s[0])); /* there is room again */
  OK(koi_session_fill(s[0], CONTEXT));
  for (size_t i = 0; i < n; i++) koine_session_close(s[i]);
  koine_plan_free(p);
  OK(koine_plan_wake(two, NULL, NULL)); /* nobody else is there any more */
  koine_plan_free(two);
  CHECK(!fake_n_live());
}

static void test_refused(koine_runtime *rt, koine_model *m)
{
  koine_plan *p = plan_of(rt, m, (koine_plan_options){.chunk = CHUNK, .context = CONTEXT}), *none = NULL;
  uint64_t total = p->stages[0].bytes.total;
  koine_plan_options o = {.size = sizeof o, .device = "fake", .chunk = CHUNK, .context = CONTEXT, .memory_bytes = total};
  OK(koine_plan_make(rt, m, &o, &none));
  koine_plan_free(none);
  none = NULL;
  fake_refuse(FAKE_ANY, 0, 0, KOINE_OK);
  o.memory_bytes = total - 1;
  CHECK(koine_plan_make(rt, m, &o, &none) == KOINE_ERR_MEMORY && !none && !fake_calls(FAKE_ANY));
  CHECK(strstr(koi_error_text(), "fake") && strstr(koi_error_text(), "weights") && strstr(koi_error_text(), "caches for 1000 tokens"));
  o.memory_bytes = total, o.context = 100 * CONTEXT; /* the same memory, a longer conversation */
  CHECK(koine_plan_make(rt, m, &o, &none) == KOINE_ERR_MEMORY && !none);
  o.context = UINT64_MAX;
  CHECK(koine_plan_make(rt, m, &o, &none) == KOINE_ERR_MEMORY && !none);
  koine_plan_free(p);
}

/* ---- lists --------------------------------------------------------------------------------------------------------------- */
typedef struct listed { koi_caches *caches; koi_feed feed; koi_calls calls; } listed;

static void list(const koi_graph *g, uint32_t n, uint32_t n_logits, bool exact, listed *out)
{
  koi_shape shape = {.n_tokens = n, .n_logits = n_logits, .n_rounds = 2, .exact = exact};
  *out = (listed){0};
  OK(koi_graph_caches(g, exact, &out->caches));
  OK(koi_feed_make(out->caches, &shape, 128, &out->feed));
  OK(koi_graph_calls(g, out->caches, &out->feed, &out->calls));
}

static void unlist(listed *l)
{
  koi_calls_free(&l->calls);
  koi_feed_free(&l->feed);
  koi_caches_free(l->caches);
}

static bool overlap(const koi_scratch *s, uint32_t a, uint32_t b) { return s->at[a] < s->at[b] + s->bytes[b] && s->at[b] < s->at[a] + s->bytes[a]; }

/* Runs the list on marks in place of numbers: every byte of the arena belongs to the buffer that was written there last. */
static void test_placement(const koi_calls *l, const koi_scratch *s)
{
  bool live[KOI_N_SCRATCH] = {false};
  size_t bad = 0;
  for (size_t n = 0; n < l->n; n++) {
    const koi_call *c = &l->v[n];
    for (int writing = 0; writing < 2; writing++)
      for (size_t b = 0; b < KOI_MAX_BUFS; b++) {
        if (c->buf[b].space != KOI_AT_SCRATCH) continue;
        uint32_t id = c->buf[b].id;
        int access = c->kind == KOI_CALL_OP ? c->op->bufs[b].access : b ? KOI_OUT : KOI_IN;
        if (!writing && (access & KOI_IN) && !(access & KOI_OUT)) bad += !live[id]; /* what is only read must still be there */
        if (!writing || !(access & KOI_OUT)) continue;
        for (uint32_t o = 0; o < KOI_N_SCRATCH; o++)
          if (o != id && overlap(s, id, o)) live[o] = false;
        live[id] = true;
      }
  }
  CHECK(!bad);
}

static void test_lists(koine_plan *p)
{
  koi_graph g = koi_plan_graph(p, &p->stages[0]);
  koi_scratch s;
  OK(koi_plan_scratch(&g, 128, &s));
  uint64_t sum = 0;
  for (uint32_t i = 0; i < KOI_N_SCRATCH; i++) sum += i == KOI_S_wide ? 0 : s.bytes[i];
  CHECK(s.arena_bytes < sum && s.arena_bytes > 0);
  static const uint32_t sizes[] = {1, 2, 3, 4, 5, 17, CHUNK};
  for (size_t i = 0; i < KOI_COUNT(sizes); i++)
    for (int exact = 0; exact < 2; exact++) {
      listed l;
      list(&g, sizes[i], 1, exact, &l);
      test_placement(&l.calls, &s);
      for (size_t n = 0; n < l.calls.n; n++) {
        const koi_call *c = &l.calls.v[n];
        bool known = c->when < l.feed.n_syms;
        for (size_t k = 0; k < KOI_MAX_INTS; k++) known &= c->sym[k] < l.feed.n_syms;
        CHECK(known);
      }
      unlist(&l);
    }
}

/* The same chunk at two places of a conversation is one list: only symbols differ, and what is left out costs nothing. */
static void test_cost(koine_plan *p)
{
  koi_graph g = koi_plan_graph(p, &p->stages[0]);
  listed l;
  list(&g, 1, 1, false, &l);
  koi_cost near = koi_plan_cost(p, &p->stages[0], 1, 0), far = koi_plan_cost(p, &p->stages[0], 1, 900), all = koi_calls_cost(&l.calls, NULL);
  CHECK(near.launches > 0 && near.launches <= far.launches && far.launches <= all.launches);
  CHECK(near.flops > 0 && near.flops < far.flops && near.bytes < far.bytes);
  CHECK(near.bytes > 0.5 * (double)p->stages[0].laid->bytes_per_token);
  unlist(&l);
}

int main(int argc, char **argv)
{
  koine_runtime *rt;
  koine_model *m;
  char own[4096];
  const char *top = getenv("srcdir");
  snprintf(own, sizeof own, "%s/tests/data/tiny-quant", top ? top : ".");
  if (fake_runtime_open(&rt) || koine_model_open(argc > 1 ? argv[1] : own, &m)) return printf("FAIL %s\n", koine_last_error()), 1;
  test_counted(rt, m, KOINE_CACHE_PACKED);
  test_counted(rt, m, KOINE_CACHE_EXACT);
  test_held_to(rt, m);
  test_refused(rt, m);
  koine_plan *p = plan_of(rt, m, (koine_plan_options){.chunk = CHUNK, .context = CONTEXT});
  test_lists(p);
  test_cost(p);
  koine_plan_free(p);
  koine_model_close(m);
  koine_runtime_close(rt);
  printf("t_plan: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
