/* The machine's devices while they are open. Apart from machine.h, since who plans reads the machine and can open nothing of it. */
#ifndef KOI_MACHINE_OPEN_H
#define KOI_MACHINE_OPEN_H
#include "backend.h"
#include "machine.h"

/* Endpoint i's device, opened at its first use and shared from then on; each is given back by a drop, the last of which closes it. */
koine_status koi_machine_device(koine_runtime *rt, size_t i, koi_device **out);
void koi_machine_device_drop(koine_runtime *rt, koi_device *d); /* NULL is allowed */
/* Whether endpoint i's device failed while it was used: what is planned without a device's name leaves it out. */
bool koi_machine_device_failed(koine_runtime *rt, size_t i);
#endif
