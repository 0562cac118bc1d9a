/* The small whole model that koine_verify runs. Level 5. */
#ifndef KOI_KNOWN_ANSWER_H
#define KOI_KNOWN_ANSWER_H
#include "dev.h"
/* Logits [40] of the known-answer model on an endpoint. */
koine_status koi_known_answer(const koi_endpoint *e, float *logits);
#endif
