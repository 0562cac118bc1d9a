/* String constants of a checkpoint's encoding file, read without running it. */
#ifndef KOI_CHAT_CONSTANTS_H
#define KOI_CHAT_CONSTANTS_H
#include "base/base.h"

enum { KOI_CHAT_CONSTANTS = 256 }; /* more are passed over */

typedef struct koi_chat_constant {
  const char *name; /* [n_name] in the text */
  size_t n_name;
  char *key;        /* of a table's entry; NULL: a plain constant */
  char *value;
} koi_chat_constant;

typedef struct koi_chat_constants { koi_chat_constant v[KOI_CHAT_CONSTANTS]; size_t n; } koi_chat_constants;

/* All that is understood of text, which must outlive *out; `path` names it in messages. KOINE_ERR_MEMORY is the only failure. */
koine_status koi_chat_constants_read(const char *path, const char *text, size_t n, koi_chat_constants **out);
/* The last one of that name (and key); NULL: there is none. */
const koi_chat_constant *koi_chat_constants_find(const koi_chat_constants *l, const char *name, size_t n, const char *key);
void koi_chat_constants_free(koi_chat_constants *l); /* NULL is allowed */
#endif
