/* A prompt's tokens as a session holds them: a model's own tokens may spell a text in another way than the tokenizer would. */
#ifndef SERVE_SPELL_H
#define SERVE_SPELL_H
#include "koine.h"

/* ids [n_ids] is a prompt, held [n_held] a conversation that may be its beginning. spelled: room for n_held + n_ids; it gets the prompt, with
 * held tokens where both are the same text between two control tokens, or the same answer of the model: its reasoning, content and calls. A control
 * token never replaces anything else, nor is it replaced, but inside such an answer. */
koine_status serve_spell(const koine_tokenizer *tokenizer, const int32_t *held, size_t n_held, const int32_t *ids, size_t n_ids, int32_t *spelled,
                         size_t *n_spelled);
#endif
