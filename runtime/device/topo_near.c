/* Threads beside the card that they feed, so that what they write first lies in memory near it. Owns nothing. */
#include <sched.h>
#include "topo.h"

void koi_topo_run_near(const koi_topo *t, int32_t node)
{
  cpu_set_t own, near;
  if (t->recorded || t->n_nodes < 2 || node < 0 || sched_getaffinity(0, sizeof own, &own)) return;
  CPU_ZERO(&near);
  for (size_t cpu = 0; cpu < KOI_MAX_CPUS && cpu < CPU_SETSIZE; cpu++)
    if (t->nodes[node].cpus[cpu / 64] >> cpu % 64 & 1 && CPU_ISSET(cpu, &own)) CPU_SET(cpu, &near);
  if (CPU_COUNT(&near)) sched_setaffinity(0, sizeof near, &near); /* else the user's choice of processors goes before */
}
