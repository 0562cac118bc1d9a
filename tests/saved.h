/* A session's file as bytes, to be damaged. */
#ifndef SAVED_H
#define SAVED_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SAVED_HEAD = 104, SAVED_SUM_AT = 96 }; /* bytes before the tokens; where the sum of the head is */

/* All of it, to be freed. A test fails where it cannot be read, or written. */
uint8_t *saved_read(const char *path, size_t *n);
void saved_write(const char *path, const void *data, size_t n);
/* The sums as they must be, so that what they stand for is believed. f: a file of n bytes. */
void saved_repair(uint8_t *f, size_t n);
/* A process of its own that is killed at its n-th system call while it saves, which gives 0 when it could. false: it came to its end. */
bool saved_killed_at(int (*save)(void), int n);
#endif
