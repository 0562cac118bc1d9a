/* Work-groups on one processor: every work-item has a stack of its own and runs until a barrier, an exchange between lanes, or its end.
 * Owns the stacks. Invariant: nobody passes a barrier before all of the group are there; lanes of a wave exchange what all of them that
 * come to one place gave, and no wave knows of another. Between these, work-items run in an order that changes, so that what needs one shows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include "hip_emu.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define BEFORE_SWITCH(keep, to, bytes) __sanitizer_start_switch_fiber(keep, to, bytes)
#define AFTER_SWITCH(kept) __sanitizer_finish_switch_fiber(kept, NULL, NULL)
#else
#define BEFORE_SWITCH(keep, to, bytes) (void)(keep)
#define AFTER_SWITCH(kept) (void)(kept)
#endif

enum { STACK_BYTES = 1 << 20 /* of a work-item alone with the queries of 128 heads more than 400 KB are in use */, MAX_WAVES = EMU_MAX_GROUP / 8 };

typedef enum state { READY, AT_BARRIER, AT_EXCHANGE, DONE } state;

typedef struct item {
  void *at[5];              /* where it goes on (__builtin_setjmp) */
  void *fake;               /* AddressSanitizer's, while it waits */
  char *stack;
  bool started;
  state state;
  unsigned local[3], value;
  const unsigned *words;    /* n_words, or none */
  int n_words;
  int place;                /* of the exchange */
} item;

static item items[EMU_MAX_GROUP];
static emu_wave waves[MAX_WAVES];
static void *scheduler[5], *scheduler_fake;
#if defined(__SANITIZE_ADDRESS__)
static const void *scheduler_stack;
static size_t scheduler_bytes;
#endif
static item *running;
static const struct ihipModuleSymbol_t *kernel;
static const unsigned long *arguments;
static emu_link shown;
static ucontext_t first, back;

/* ---- switching --------------------------------------------------------------------------------------------------------- */
static void __attribute__((noinline)) jump(void **to) { __builtin_longjmp(to, 1); }

static void __attribute__((noinline)) leave(void)
{
  item *me = running;
  BEFORE_SWITCH(&me->fake, scheduler_stack, scheduler_bytes);
  if (!__builtin_setjmp(me->at)) jump(scheduler);
  AFTER_SWITCH(running->fake);
}

/* A stack's bottom: it runs one work-item after another for as long as the process lives. */
static void live(void)
{
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(NULL, &scheduler_stack, &scheduler_bytes);
#endif
  for (;;) {
    kernel->run(arguments);
    running->state = DONE;
    leave();
  }
}

static void __attribute__((noinline)) go_on(item *i)
{
  running = i;
  memcpy(shown.local, i->local, sizeof shown.local);
  BEFORE_SWITCH(&scheduler_fake, i->stack, STACK_BYTES);
  if (!__builtin_setjmp(scheduler)) {
    if (i->started) jump(i->at);
    i->started = true;
    getcontext(&first);
    first.uc_stack.ss_sp = i->stack, first.uc_stack.ss_size = STACK_BYTES, first.uc_link = NULL;
    makecontext(&first, live, 0);
    swapcontext(&back, &first);
  }
  AFTER_SWITCH(scheduler_fake);
}

/* ---- what kernels call ------------------------------------------------------------------------------------------------- */
static void barrier(void)
{
  running->state = AT_BARRIER;
  leave();
}

static unsigned n_lanes(void) { return (unsigned)emu_lanes[kernel->device]; }

static const emu_wave *exchange_all(unsigned value, const unsigned *words, int n, int place)
{
  running->value = value, running->words = words, running->n_words = n, running->place = place, running->state = AT_EXCHANGE;
  leave();
  return &waves[(unsigned)(running - items) / n_lanes()];
}

static const emu_wave *exchange(unsigned value, int place) { return exchange_all(value, NULL, 0, place); }
static const emu_wave *exchange_words(const unsigned *words, int n, int place) { return exchange_all(0, words, n, place); }

/* ---- a group ----------------------------------------------------------------------------------------------------------- */
/* Who waits for an exchange at the place where the wave's first waits goes on. */
static bool resolve(emu_wave *w, item *of, size_t n)
{
  size_t i = 0;
  while (i < n && of[i].state != AT_EXCHANGE) i++;
  if (i == n) return false;
  memset(w->value, 0, sizeof w->value), w->active = 0; /* words are looked at where all are active */
  for (int place = of[i].place; i < n; i++) {
    if (of[i].state != AT_EXCHANGE || of[i].place != place) continue;
    w->value[i] = of[i].value, w->active |= 1ull << i, of[i].state = READY;
    if (of[i].n_words) memcpy(w->words[i], of[i].words, (size_t)of[i].n_words * sizeof *of[i].words);
  }
  return true;
}

static bool resolve_all(size_t n)
{
  bool any = false;
  for (size_t lanes = n_lanes(), at = 0; at < n; at += lanes) any |= resolve(&waves[at / lanes], items + at, n - at < lanes ? n - at : lanes);
  return any;
}

static size_t count(size_t n, state s)
{
  size_t found = 0;
  for (size_t i = 0; i < n; i++) found += items[i].state == s;
  return found;
}

static void run_ready(size_t n, bool backwards)
{
  for (size_t k = 0; k < n; k++) {
    size_t i = backwards ? n - 1 - k : k;
    if (items[i].state != READY) continue;
    shown.lane = (unsigned)i % n_lanes();
    go_on(&items[i]);
  }
}

static bool run_group(size_t n)
{
  static unsigned turn; /* some bits of a count look as random as need be */
  for (size_t i = 0; i < n; i++) items[i].state = READY;
  for (;;) {
    turn = turn * 1664525u + 1013904223u;
    run_ready(n, turn >> 31);
    if (resolve_all(n)) continue;
    size_t waiting = count(n, AT_BARRIER);
    if (waiting < n) return !waiting;
    for (size_t i = 0; i < n; i++) items[i].state = READY;
  }
}

static bool make_stacks(const unsigned local[3])
{
  size_t n = 0;
  for (unsigned z = 0; z < local[2]; z++)
    for (unsigned y = 0; y < local[1]; y++)
      for (unsigned x = 0; x < local[0]; x++, n++) {
        item *i = &items[n];
        i->local[0] = x, i->local[1] = y, i->local[2] = z;
        if (i->stack) continue;
        i->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (i->stack == MAP_FAILED) return i->stack = NULL, false;
      }
  return true;
}

bool emu_run_kernel(const struct ihipModuleSymbol_t *f, const unsigned groups[3], const unsigned local[3], const unsigned long *args)
{
  size_t n = (size_t)local[0] * local[1] * local[2];
  bool whole = make_stacks(local);
  kernel = f, arguments = args;
  shown.barrier = barrier, shown.exchange = exchange, shown.exchange_words = exchange_words;
  *f->link = &shown;
  for (unsigned z = 0; z < groups[2] && whole; z++)
    for (unsigned y = 0; y < groups[1] && whole; y++)
      for (unsigned x = 0; x < groups[0] && whole; x++) {
        shown.group[0] = x, shown.group[1] = y, shown.group[2] = z;
        if (f->shared_bytes) memset(f->shared, 0xff, f->shared_bytes); /* no group finds what another left: NaN, and an index far off */
        whole = run_group(n);
      }
  for (size_t i = 0; i < n && !whole; i++) items[i].started = false; /* those that still wait are given up */
  return whole;
}
