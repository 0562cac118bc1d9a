/* What the files of the report share. */
#ifndef KOI_REPORT_IMPL_H
#define KOI_REPORT_IMPL_H
#include "device/tuned.h"

enum { KOI_MAX_SERIES = 256, KOI_REPORT_LABEL = 160 };

typedef struct koi_series { /* parameters to be chosen: an op or a choice of a step, constants, bucket, layout */
  koi_tuned_line last;      /* the latest outcome; op NULL: none was reached */
  koi_tuned_line any;       /* of which parameters this is */
  double flops, bytes;      /* of a call; 0: not known */
  double *ratio; size_t n, cap; /* of candidates in their order: their time over the default's */
  size_t n_refused, n_wrong, n_lost;
  char label[KOI_REPORT_LABEL];
} koi_series;

typedef struct koi_report {
  const koi_endpoint *e;
  koi_series *v; size_t n;  /* those of most candidates first */
  koi_tuned_line ends[2];   /* decode, prefill: the latest; op NULL: not measured */
  double read_per_s, flops_per_s; /* the device's roof; 0: not measured */
  size_t n_lines, n_left_out;
} koi_report;

double koi_series_default_us(const koi_series *s);
double koi_series_us(const koi_series *s); /* of what holds */
/* Text in HTML. */
void koi_report_text(koi_text *t, const char *s);

/* ---- report_draw.c ---- */
void koi_draw_roof(koi_text *t, const koi_report *r);
void koi_draw_spread(koi_text *t, const koi_report *r);
void koi_draw_curves(koi_text *t, const koi_report *r);
#endif
