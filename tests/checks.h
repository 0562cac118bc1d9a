/* Checks that are counted, for tests that go on after one that failed. */
#ifndef CHECKS_H
#define CHECKS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern int n_checks, n_failed;
extern const char *checks_on, *checks_tried; /* the device, and what is tried on it: for the messages, "" for neither */

#define CHECK(what) check((what), #what, __FILE__, __LINE__)
#define OK(call) check(!(call), #call, __FILE__, __LINE__) /* a koine_status */
void check(bool ok, const char *what, const char *file, int line);
bool all_are(const uint8_t *v, size_t n, uint8_t value);
#endif
