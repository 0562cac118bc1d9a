/* The small whole model that koine_verify runs. */
#ifndef KOI_KNOWN_ANSWER_H
#define KOI_KNOWN_ANSWER_H
#include "device/dev.h"
/* Logits [40] of the known-answer model on an endpoint. */
koine_status koi_known_answer(const koi_endpoint *e, float *logits);
#endif
