/* Which of the emulated devices reach each other's memory. Owns the table of what was enabled. */
#include "hip_emu.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_bool enabled[EMU_DEVICES][EMU_DEVICES];
static atomic_ulong n_copies;

static bool told(const char *what)
{
  const char *said = getenv("HIP_EMU_PEERS");
  return said && !strcmp(said, what);
}

static bool can(int from, int to) { return from != to && from >= 0 && from < EMU_DEVICES && to >= 0 && to < EMU_DEVICES && !told("off"); }

EMU_API hipError_t hipDeviceCanAccessPeer(int *out, int from, int to) { return *out = can(from, to), hipSuccess; }

EMU_API hipError_t hipDeviceEnablePeerAccess(int to, unsigned flags)
{
  int from = emu_current();
  if (flags) return hipErrorInvalidValue;
  if (!can(from, to)) return hipErrorPeerAccessUnsupported;
  return atomic_exchange(&enabled[from][to], true) ? hipErrorPeerAccessAlreadyEnabled : hipSuccess;
}

bool emu_reaches(int from, int to) { return can(from, to) && atomic_load(&enabled[from][to]); }
unsigned long emu_n_peer_copies(void) { return atomic_load(&n_copies); }
bool emu_copies_to_peer(void)
{
  atomic_fetch_add(&n_copies, 1);
  return !told("lost");
}
