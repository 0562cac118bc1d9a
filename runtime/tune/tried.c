/* See tried.h. Owns nothing. */
#include "tried.h"
#include <string.h>

typedef struct past { const koi_tuned_line *what; int open; bool bad; } past; /* open: times that it was begun and not ended; bad: wrong, or ended the process */

static koine_status look(void *user, const koi_tuned_line *l, koi_rung rung)
{
  past *a = user;
  const koi_op *op = a->what->op;
  if (l->op != op || rung != KOI_RUNG_TUNED || memcmp(l->c, a->what->c, koi_op_n_consts(op) * sizeof *l->c) || memcmp(l->p, a->what->p, koi_op_n_params(op) * sizeof *l->p)) return KOINE_OK;
  a->open = l->outcome == KOI_OUTCOME_TRYING ? a->open + 1 : 0;
  if (l->outcome == KOI_OUTCOME_WRONG || l->outcome == KOI_OUTCOME_LOST || l->outcome == KOI_OUTCOME_CRASHED || l->outcome == KOI_OUTCOME_HUNG) a->bad = true;
  return KOINE_OK;
}

void koi_tried_note(const koi_device *d, const koi_tuned_line *l)
{
  if (koi_tuned_append(d, l)) koi_log(KOINE_LOG_WARNING, "%s", koi_error_text());
}

bool koi_tried_given_up(const koi_device *d, const koi_tuned_line *what, koi_lost lost)
{
  static const koi_outcome outcomes[] = {[KOI_LOST_NOTHING] = KOI_OUTCOME_LOST, [KOI_LOST_CRASHED] = KOI_OUTCOME_CRASHED, [KOI_LOST_HUNG] = KOI_OUTCOME_HUNG};
  past a = {.what = what};
  koi_tuned_line l = *what;
  if (koi_tuned_each(d, look, &a)) return true;
  bool now = a.open > 1 || (a.open && lost != KOI_LOST_NOTHING);
  l.outcome = outcomes[lost];
  if (now && !a.bad) koi_tried_note(d, &l);
  return now || a.bad;
}
