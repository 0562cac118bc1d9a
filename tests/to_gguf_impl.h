/* What to_gguf.c and to_gguf_meta.c share. */
#ifndef TO_GGUF_IMPL_H
#define TO_GGUF_IMPL_H
#include <json-c/json.h>
#include "make_gguf.h"
#include "to_gguf.h"

typedef struct to_gguf_source { json_object *config, *tokenizer; } to_gguf_source; /* the folder's .json files; tokenizer NULL: none */

/* Aborts with `what` and the last error unless ok. */
void to_gguf_must(bool ok, const char *what);
/* Writes the keys of architecture and tokenizer behind what m has; how many. */
uint64_t to_gguf_meta(const to_gguf_source *c, to_gguf_kind kind, make_gguf *m);
#endif
