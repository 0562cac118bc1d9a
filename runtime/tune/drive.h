/* Steps as they are served, to be watched or timed: a conversation whose caches are filled, a chunk of a prompt after it, or tokens one by one. */
#ifndef KOI_DRIVE_H
#define KOI_DRIVE_H
#include "engine/session.h"

typedef struct koi_drive {
  koine_plan *plan;
  koine_session *s;
  int32_t *tokens;
  float *logits;
  size_t depth;        /* tokens in the caches before each step */
  uint32_t n_prefill;  /* of a chunk */
  /* Now and then while steps run, that somebody sees that they do; false ends them in KOINE_ERR_CANCELLED. NULL: nobody is told. */
  bool (*beat)(void *user);
  void *user;
  uint64_t beat_ns;    /* the last one */
} koi_drive;

koine_status koi_drive_open(koine_plan *p, koi_drive *out);
void koi_drive_close(koi_drive *v);
/* n tokens after `depth`, at once or one by one; seconds they took. watch NULL: none. */
koine_status koi_drive_step(koi_drive *v, bool prefill, uint32_t n, const koi_watch *watch, double *seconds);

koine_status koi_drive_beat(koi_drive *v);

typedef struct koi_speed { double per_s[2], low[2], high[2]; size_t n; } koi_speed; /* tokens a second: decode, prefill; median and range of n turns */
/* The defaults and what is tuned now, in turns of about `seconds` in all: three at least, or one where that says enough or takes long. The device
 * has its tuned parameters again afterwards. */
koine_status koi_drive_compare(koi_drive *v, double seconds, koi_speed *before, koi_speed *after);
/* This table, and the choices of a step that it says, from now on. The caller keeps what the table points to. */
koine_status koi_drive_use(koi_drive *v, koi_tuned_table t);
/* n turns as it is now, after one that builds what is needed. */
koine_status koi_drive_speed(koi_drive *v, size_t n, koi_speed *out);
enum { KOI_DRIVE_TURNS = 7 /* the most at once */ };
/* The plan sleeps and wakes anew on its device d with this table, its weights laid as that says. The caller holds d beside the plan and keeps what
 * the table points to; no other session is open. After a failure only this helps, or koi_drive_close. */
koine_status koi_drive_wake(koi_drive *v, koi_device *d, koi_tuned_table t);
/* Seconds of one turn of each, when a token and a prefill take so long. */
double koi_drive_turns_s(double token_s, double prefill_s);
#endif
