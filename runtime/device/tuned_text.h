/* The log of measurements shown and shared. Logs are read anew by each call, whatever KOINE_TUNED says. */
#ifndef KOI_TUNED_TEXT_H
#define KOI_TUNED_TEXT_H
#include "machine.h"
#include "tuned.h"

/* ---- tuned_text.c ---- */
/* What every kernel of endpoints [first, end) gets, as far as any rung knows it. */
koine_status koi_tuned_list(const koine_runtime *rt, size_t first, size_t end, bool json, char **out);
/* Every rung for an op, or a choice of a step: what it says, and whether it was taken. KOINE_ERR_ARG: there is none of this name. */
koine_status koi_tuned_why(const koine_runtime *rt, size_t i, const char *op, bool json, char **out);

/* ---- tuned_share.c ---- */
/* Lines of the user's log that decide something, the latest of each key, device and driver; e NULL: of any device. */
koine_status koi_tuned_export(const koine_runtime *rt, const koi_endpoint *e, char **out, size_t *n);
/* Sound lines of text that the user's log does not have yet are appended to it. *report: how many, and what of them holds here. name: in messages. */
koine_status koi_tuned_import(koine_runtime *rt, const char *name, const char *text, size_t n, char **report);
#endif
