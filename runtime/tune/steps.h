/* What a step decides before any op is called (kernels/step.h): panel widths, splits, crossovers, chosen by the time of whole steps. */
#ifndef KOI_STEPS_H
#define KOI_STEPS_H
#include "contest.h"
#include "drive.h"

typedef struct koi_step_choice {
  const koi_op *op;         /* one of koi_steps */
  int32_t c[KOI_MAX_CONSTS], p[KOI_MAX_PARAMS];
  double default_s, best_s; /* of the steps that it was timed on */
  size_t n_tried;
  bool won;
} koi_step_choice;
enum { KOI_STEP_CHOICES = 3 };

/* Values of one parameter after the other, in turns with the best so far, until deadline_ns of koi_now_ns. Winners go to the log and into the
 * device's table. told: before each; false ends it in KOINE_ERR_CANCELLED. */
koine_status koi_steps_tune(koi_drive *v, uint64_t deadline_ns, bool (*told)(void *user, const char *what), void *user, koi_step_choice *out /* [KOI_STEP_CHOICES] */);

/* Records of ops whose constant of this name is `from`, once more for `to`, where nothing is known of that and they are right there: what won in one case is
 * taken in the other until that is tuned itself. */
koine_status koi_steps_bring(koi_device *d, const koi_target *t, koi_tuned_table *table, const char *constant, int32_t from, int32_t to);
/* To the log: the records that `is` has beyond `was`, but for op's own. */
void koi_steps_note(const koi_device *d, const koi_op *op, const koi_tuned_table *was, const koi_tuned_table *is, const char *why);
#endif
