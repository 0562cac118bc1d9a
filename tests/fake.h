/* A backend for fault tests: the host backend behind a counter that refuses chosen calls. All fakes of a process share the counter. */
#ifndef FAKE_H
#define FAKE_H
#include "device/backend.h"
#include "device/machine.h"

typedef enum fake_kind {
  FAKE_OPEN, FAKE_ALLOC, FAKE_VIEW, FAKE_WRITE, FAKE_READ, FAKE_COPY, FAKE_FILL, FAKE_BUILD, FAKE_LAUNCH,
  FAKE_BIND, FAKE_PATCH, FAKE_START, FAKE_FINISH, FAKE_RECORD, FAKE_REPLAY,
  FAKE_N_KINDS,
  FAKE_ANY = FAKE_N_KINDS
} fake_kind;

extern const koi_backend fake_backend;

/* From now on calls first .. first+n-1 of this kind (1: the next one; FAKE_ANY: of all kinds together) are refused with `status`. n 0: none. */
void fake_refuse(fake_kind kind, long first, long n, koine_status status);
/* Calls of a kind, or of all, since the last fake_refuse. */
long fake_calls(fake_kind kind);
/* Devices, buffers, kernels and bound calls that were given out and not taken back. */
long fake_n_live(void);
const char *fake_kind_name(fake_kind kind);
/* From now on its compiler gives binaries, and refuses those that are not its own (refuse: all). */
void fake_binaries(bool give, bool refuse);
/* Whether devices that are opened from now on can record calls (at first none can). A recording has the arguments that its calls had. */
void fake_records(bool can);
/* Calls replayed since the last fake_records, and calls that were given back while a recording had them. */
long fake_n_replayed(void);
long fake_n_torn(void);
/* The device that call `nth` of all, counted from now, goes to is lost: this call and all later ones of it are refused. 0: none, and what was lost
 * is there again. */
void fake_lose_at(long nth);
/* The id of what was lost; "": nothing yet. */
const char *fake_lost(void);
/* From now on a device holds at most so many bytes, whatever it reports; 0: any. */
void fake_memory(uint64_t bytes);
/* What the fakes of runtimes that are opened from now on allow in one allocation; 0: any. */
void fake_max_buffer(uint64_t bytes);
/* This machine with fakes in the place of the host reference: ids "fake", "fake1", ..., and nothing else. */
koine_status fake_runtime_open(koine_runtime **out);
koine_status fake_runtime_open_many(size_t n, koine_runtime **out);
#endif
