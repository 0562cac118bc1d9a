/* What a caller wrote about where layers lie, as a placement. */
#ifndef KOI_PLACING_H
#define KOI_PLACING_H
#include "device/machine.h"
#include "model/model.h"
#include "plan/placement.h"

/* A device's name becomes the id that it stands for; `option` and `text` are said in errors. */
koine_status koi_placing_id(const koine_runtime *rt, const char *option, const char *text, char name[KOI_PLACEMENT_ID]);
/* The parts of "DEVICE=BYTES", where K, M, G or T behind the digits is 2^10 to 2^40 of them; false: it is none. */
bool koi_placing_bytes(const char *text, char device[KOI_PLACEMENT_ID], uint64_t *bytes);
/* From the options' placement, or layers, experts and device, with ids of the machine's endpoints in place of names. Gaps and overlaps are left for the plan to
 * refuse. Release with koi_placement_free. */
koine_status koi_placing(const koine_runtime *rt, const koine_model *m, const koine_plan_options *o, koi_placement *out);
/* Gives those who compute routed experts the bytes for them that the options name. */
koine_status koi_placing_caches(const koine_runtime *rt, const koine_plan_options *o, koi_placement *p);
/* Gives stages whose experts come by turns the device that the options name for those without a place. */
koine_status koi_placing_misses(const koine_runtime *rt, const koine_plan_options *o, koi_placement *p);
/* Routed experts have what the plan leaves free, by turns; on the device that the options name, or the best, where there is no placement yet. */
koine_status koi_placing_turns(const koine_runtime *rt, const koine_model *m, const koine_plan_options *o, koi_placement *p);
/* Where it is best to have the layers, and what that is known from; an empty placement where the machine has one device and so no choice. What fits nowhere is
 * refused with the numbers. */
koine_status koi_placing_best(koine_runtime *rt, const koine_model *m, const koine_plan_options *o, koi_placement *out, const char **basis);
#endif
