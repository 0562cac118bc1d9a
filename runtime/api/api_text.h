/* What the public functions of text share: the objects behind the handles. */
#ifndef KOI_API_TEXT_H
#define KOI_API_TEXT_H
#include "text/chat.h"
#include "text/mask.h"
#include "text/sample.h"
#include "text/tok.h"

struct koine_tokenizer { koi_tok *tok; };
struct koine_chat { koi_chat *chat; };
struct koine_schema { koi_mask *mask; };
struct koine_chat_stream { koi_chat_stream *stream; };

/* Parameters of a public record; the control tokens of a tokenizer that takes part are left out of the penalties. */
koine_status koi_api_sampler(const koine_sampling *sampling, const koi_tok *tok, size_t n_vocab, koi_sampler **out);
/* The options of an answer in full. */
koine_status koi_api_generate_options(const koine_generate_options *given, koine_generate_options *own);
#endif
