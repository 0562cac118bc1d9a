/* String constants of a chat template in Jinja, read without running it. */
#ifndef KOI_CHAT_JINJA_H
#define KOI_CHAT_JINJA_H
#include "chat_constants.h"

/* What {% set NAME = ... %} says of texts, all that is understood; *lines, in which the names lie, must outlive *out. KOINE_ERR_MEMORY is the
 * only failure, and *lines is to be freed then, too. */
koine_status koi_chat_jinja_read(const char *path, const char *text, size_t n, char **lines, koi_chat_constants **out);
#endif
