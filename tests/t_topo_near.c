/* Threads near their card: the processors of its node that the process may use, and those of that thread alone. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "device/topo.h"

/* On a thread of its own, as those of stages are; what is wrong, or NULL. */
static void *go_near(void *user)
{
  const cpu_set_t *may = user;
  cpu_set_t own, now;
  int first = 0;
  sched_getaffinity(0, sizeof own, &own);
  while (first < CPU_SETSIZE && !CPU_ISSET(first, may)) first++;
  koi_topo_node nodes[3] = {{.index = 0}, {.index = 1}, {.index = 2}};
  nodes[1].cpus[first / 64] |= UINT64_C(1) << first % 64, nodes[2].cpus[KOI_MAX_CPUS / 64 - 1] |= UINT64_C(1) << 63;
  koi_topo t = {.nodes = nodes, .n_nodes = 1};
  koi_topo_run_near(&t, 0), t.n_nodes = 3; /* one node, none in particular, one without processors, one whose processors are not ours: nothing changes */
  koi_topo_run_near(&t, -1), koi_topo_run_near(&t, 0), koi_topo_run_near(&t, 2);
  if (sched_getaffinity(0, sizeof now, &now) || !CPU_EQUAL(&now, &own)) return (void *)(uintptr_t)"moved without a reason";
  koi_topo_run_near(&t, 1);
  return sched_getaffinity(0, sizeof now, &now) || CPU_COUNT(&now) != 1 || !CPU_ISSET(first, &now) ? (void *)(uintptr_t)"not near the card" : NULL;
}

static void test_near(void **state)
{
  (void)state;
  cpu_set_t may, after;
  pthread_t thread;
  void *wrong = NULL;
  assert_true(!sched_getaffinity(0, sizeof may, &may) && !pthread_create(&thread, NULL, go_near, &may) && !pthread_join(thread, &wrong));
  if (wrong) fail_msg("%s", (const char *)wrong);
  assert_true(!sched_getaffinity(0, sizeof after, &after) && CPU_EQUAL(&may, &after)); /* of that thread alone */
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_near)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
