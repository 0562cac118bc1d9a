#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include "device/dev.h"
#include "tests/bench/probe.h"

enum { MULTIPLY_STEPS = 2000000 };

double wall(void) { return (double)koi_now_ns() * 1e-9; }
double busy(void)
{
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t *memory; /* [COLD_BYTES / 8] */
static volatile uint64_t sink;

enum { STREAMS = 8 };
static size_t stream_words; /* of each of a thread's streams */

static void *read_part(void *at)
{
  const uint64_t *p = at;
  uint64_t s[8] = {0}, all = 0;
  const size_t n = stream_words;
  for (size_t i = 0; i < n; i += 16)
    for (size_t j = 0; j < STREAMS; j++)
      for (size_t l = 0; l < 16; l++) s[l % 8] |= p[j * n + i + l];
  for (size_t l = 0; l < 8; l++) all |= s[l];
  sink = all;
  return NULL;
}

/* MULTIPLY_STEPS times CHAINS independent multiply-adds of the widest vectors there are; what it cannot know it does not print. */
enum { CHAINS = 12 };
static int fma_lanes;
#if defined(__x86_64__)
#define CHAIN(type, madd, set) \
  type a[CHAINS], x = set(0.999f), y = set(0.1f); \
  for (int i = 0; i < CHAINS; i++) a[i] = set((float)i); \
  for (long n = 0; n < MULTIPLY_STEPS; n++) { \
    a[0] = madd(a[0], x, y), a[1] = madd(a[1], x, y), a[2] = madd(a[2], x, y), a[3] = madd(a[3], x, y); \
    a[4] = madd(a[4], x, y), a[5] = madd(a[5], x, y), a[6] = madd(a[6], x, y), a[7] = madd(a[7], x, y); \
    a[8] = madd(a[8], x, y), a[9] = madd(a[9], x, y), a[10] = madd(a[10], x, y), a[11] = madd(a[11], x, y); \
  } \
  for (int i = 1; i < CHAINS; i++) a[0] += a[i]; \
  return a[0][0]
__attribute__((target("avx512f"))) static float multiply_512(void) { CHAIN(__m512, _mm512_fmadd_ps, _mm512_set1_ps); }
__attribute__((target("avx2,fma"))) static float multiply_256(void) { CHAIN(__m256, _mm256_fmadd_ps, _mm256_set1_ps); }
static float multiply_add(void)
{
  fma_lanes = __builtin_cpu_supports("avx512f") ? 16 : __builtin_cpu_supports("fma") ? 8 : 0;
  return fma_lanes == 16 ? multiply_512() : fma_lanes ? multiply_256() : 0;
}
#else
static float multiply_add(void) { return 0; }
#endif

static void *multiply_part(void *at)
{
  (void)at;
  sink = (uint64_t)multiply_add();
  return NULL;
}

/* Seconds of wall and of processor time for two threads. */
static void both(void *(*f)(void *), double out[2])
{
  pthread_t second;
  double w = wall(), b = busy();
  if (pthread_create(&second, NULL, f, memory + COLD_BYTES / 16)) exit(1);
  f(memory);
  pthread_join(second, NULL);
  out[0] = wall() - w, out[1] = busy() - b;
}

void probe_open(void)
{
  memory = malloc(COLD_BYTES);
  if (!memory) exit(1);
  memset(memory, 1, COLD_BYTES);
}

void probe_close(void) { free(memory); }
double probe_read(double bytes, double out[2])
{
  const size_t most = COLD_BYTES / 8 / 2 / STREAMS, wanted = bytes < COLD_BYTES ? (size_t)bytes / 8 / 2 / STREAMS / 16 * 16 : most;
  stream_words = wanted > 16 ? wanted : 16;
  both(read_part, out);
  return 16.0 * STREAMS * (double)stream_words;
}

void probe_multiply(double out[2]) { both(multiply_part, out); }
double probe_flops(void) { return 2.0 * MULTIPLY_STEPS * CHAINS * fma_lanes * 2; }
