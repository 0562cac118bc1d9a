/* A backend for fault tests: the host backend behind a counter that refuses chosen calls. One at a time in a process. */
#ifndef FAKE_H
#define FAKE_H
#include "device/machine.h"

typedef enum fake_kind {
  FAKE_OPEN, FAKE_ALLOC, FAKE_VIEW, FAKE_WRITE, FAKE_READ, FAKE_COPY, FAKE_FILL, FAKE_BUILD, FAKE_LAUNCH,
  FAKE_BIND, FAKE_PATCH, FAKE_START, FAKE_FINISH,
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
/* This machine with the fake in the place of the host reference: id "fake", the only device. */
koine_status fake_runtime_open(koine_runtime **out);
#endif
