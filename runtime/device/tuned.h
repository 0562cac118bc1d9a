/* What measurements found, kept on disk as text that is only ever appended to: <cache_dir>/tuned.log, and *.log of a folder that ships with the
 * library. One line a measurement or an outcome, each whole in itself: which parameters hold is derived when a file is read, so that merging two logs
 * is putting one behind the other, and several processes may write at once. A line that is damaged, cut short or of another release is passed
 * over, and the log says which. Environment: KOINE_TUNED=off ignores all of it, KOINE_TUNED=order all but the order of devices. */
#ifndef KOI_TUNED_H
#define KOI_TUNED_H
#include "backend.h"
#include "kernels/step.h"

typedef enum koi_outcome {
  KOI_OUTCOME_MEASURED, /* ran; median and spread say how fast */
  KOI_OUTCOME_REFUSED,  /* could not be built or started */
  KOI_OUTCOME_WRONG,    /* differs from the C reference */
  KOI_OUTCOME_TRYING,   /* about to be built and run: where no other outcome follows, the process ended there */
  KOI_OUTCOME_LOST,     /* the process ended while it was tried; nobody saw how */
  KOI_OUTCOME_CRASHED,  /* the driver ended the process */
  KOI_OUTCOME_HUNG,     /* did not come back */
  KOI_OUTCOME_WON,      /* right, and faster than the default: from now on taken */
  KOI_OUTCOME_KEPT,     /* the default (whose parameters these are) stays */
  KOI_N_OUTCOMES
} koi_outcome;
const char *koi_outcome_name(koi_outcome o);

enum { KOI_NOTE = 120, KOI_LINE = 4096 /* most bytes of a line */ };

/* A line, but for the device that it was measured on. */
typedef struct koi_tuned_line {
  const koi_op *op;           /* or one of koi_steps: layout, panels, splits, crossovers, library; decode, prefill, read, multiply */
  int32_t c[KOI_MAX_CONSTS], bucket, p[KOI_MAX_PARAMS];
  uint32_t n_samples;
  double median_us, spread_us; /* of a call; spread: median distance from the median. decode, prefill: of a token */
  double default_us, default_spread_us; /* the default's in the same rounds; 0: it took no part */
  double flops, bytes;        /* of such a call, 0: unknown; a second for read and multiply */
  koi_outcome outcome;
  uint64_t when_ms;           /* since 1970; 0: now */
  char note[KOI_NOTE];        /* why, in words; "" */
} koi_tuned_line;

/* Adds a line for this device and driver, by one write; d->tuned is as it was. Does nothing without a cache folder. KOINE_ERR_FILE. */
koine_status koi_tuned_append(const koi_device *d, const koi_tuned_line *l);

/* ---- tuned.c: what holds ---- */
/* Reads what is new in the log of d->cache_dir, or of cache_dir, into d->tuned, which begins with what the endpoint knows. Fails only for lack of memory. */
koine_status koi_tuned_load(koi_device *d, const char *cache_dir);
void koi_tuned_drop(koi_device *d);
/* Every sound line of the user's log that says anything about this device, in order, with the rung that it stands on. Ends with what `each` returns
 * when that is no KOINE_OK. A log that cannot be read has no lines. */
typedef koine_status koi_tuned_each_fn(void *user, const koi_tuned_line *l, koi_rung rung);
koine_status koi_tuned_each(const koi_device *d, koi_tuned_each_fn *each, void *user);

/* What both say of a device now, in a table of the caller's, whatever KOINE_TUNED. KOINE_ERR_FILE, KOINE_ERR_MEMORY. */
koine_status koi_tuned_gather(const char *cache_dir, const char *shipped, const koi_endpoint *e, koi_tuned_table *out);

/* Of all kernels' texts and of what a table chooses for them: what was timed under another is old. t NULL: the defaults. */
uint64_t koi_tuned_hash(const koi_tuned_table *t);

/* A line as it was read: the texts live as long as the call that hands it over. */
typedef struct koi_tuned_read {
  koi_tuned_line l;
  const char *vendor, *platform, *type, *name, *arch, *driver, *version;
  uint64_t text;              /* hash of the kernel's */
  koi_origin origin;
  const char *path; size_t n; /* file, line in it */
  const char *raw; size_t len; /* the line, a zero byte for each tab */
} koi_tuned_read;
void koi_tuned_raw(koi_text *t, const koi_tuned_read *r); /* the line with its end */
/* Into the table of a device, on this rung: what won or was kept, if it has parameters at all. KOINE_ERR_MEMORY. */
koine_status koi_tuned_enter(koi_tuned_table *t, const koi_tuned_read *r, koi_rung rung);
/* The rung on which a line stands for a device; KOI_RUNG_DEFAULT: on none. */
koi_rung koi_tuned_rung(const koi_tuned_read *r, const koi_endpoint *e);

/* ---- tuned_file.c, tuned_line.c: files and lines ---- */
typedef koine_status koi_tuned_fn(void *user, const koi_tuned_read *r);
typedef struct koi_tuned_counts { size_t n_lines, n_damaged, n_foreign; bool quiet; } koi_tuned_counts;
/* Every sound line of a file from byte *at and line counts->n_lines on; *at: where to go on when it has grown. What is passed over is said in the
 * log, unless quiet, a line each up to some, then how many. No file is an empty one. KOINE_ERR_FILE, KOINE_ERR_MEMORY, what fn returns. */
koine_status koi_tuned_scan(const char *path, koi_origin origin, size_t *at, koi_tuned_counts *counts, koi_tuned_fn *fn, void *user);
/* The same for the user's log, then *.log of the folder that ships by name. Either NULL: there is none. */
koine_status koi_tuned_scan_log(const char *cache_dir, const char *shipped, koi_tuned_counts *counts, koi_tuned_fn *fn, void *user);
/* <cache_dir>/tuned.log, for koi_free. */
koine_status koi_tuned_path(const char *cache_dir, char **out);
/* Whole lines of any text, as koi_tuned_scan has them of a file: `name` stands for it in messages. */
koine_status koi_tuned_scan_text(const char *name, char *text, size_t n, koi_origin origin, koi_tuned_counts *counts, koi_tuned_fn *fn, void *user);
/* Appends text, whole lines, by one write. */
koine_status koi_tuned_write(const char *cache_dir, const char *text, size_t n);

void koi_tuned_put_line(koi_text *t, const koi_endpoint *e, const koi_tuned_line *l);
typedef enum koi_sound { KOI_SOUND, KOI_DAMAGED, KOI_FOREIGN } koi_sound;
/* A line without its end, which is cut up; r's texts point into it. */
koi_sound koi_tuned_take_line(char *text, koi_tuned_read *r);
uint64_t koi_tuned_text_hash(const koi_op *op);
uint64_t koi_tuned_now_ms(void);
/* "WT=fp8 CARE=1", "VW=16 KI=4"; "-" for none. */
void koi_tuned_put_consts(koi_text *t, const koi_op *op, const int32_t *c);
void koi_tuned_put_params(koi_text *t, const koi_op *op, const int32_t *p);
#endif
