/* Sessions in files: what a beginning of a conversation is on this plan, with the tokens that it stands for and places to rewind to. As the public
 * functions of the same names in run.h, which say what they promise. */
#ifndef KOI_SAVED_H
#define KOI_SAVED_H
#include "session.h"

koine_status koi_session_save(koine_session *s, const char *path);
koine_status koi_session_look(koine_plan *plan, const char *path, int32_t **tokens, size_t *n_tokens, int32_t **marks, size_t *n_marks);
koine_status koi_session_load(koine_plan *plan, const koine_session_options *o, const char *path, size_t n_tokens, koine_session **out);
#endif
