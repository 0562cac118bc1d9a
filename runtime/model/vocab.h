/* The tokenizer and the chat encoding of a model, wherever they lie: in a checkpoint's folder, or in a GGUF file. */
#ifndef KOI_VOCAB_H
#define KOI_VOCAB_H
#include <json-c/json.h>
#include "text/chat.h"
#include "text/tok.h"

/* As koi_tok_load; `path` may be a GGUF file too. */
koine_status koi_vocab_load(const char *path, koi_tok **out);
/* As koi_chat_load; the same. */
koine_status koi_vocab_chat(const char *path, koi_chat **out);
/* Whether a tokenizer.json's "pre_tokenizer" is the published one, which GGUF files call deepseek-v3. */
bool koi_vocab_published(json_object *pre_tokenizer);
#endif
