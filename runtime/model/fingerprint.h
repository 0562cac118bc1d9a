/* A number that tells models apart: their sizes, how their weights are stored, and samples of these. */
#ifndef KOI_FINGERPRINT_H
#define KOI_FINGERPRINT_H
#include "model.h"

/* 0 without memory, or where a file cannot be read. Reads little of each file. */
uint64_t koi_model_fingerprint(const koine_model *m);
#endif
