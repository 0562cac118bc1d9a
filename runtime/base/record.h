/* Records of the public header that grow: a caller's may be older or newer than ours, and says so with its first member, `size`.
 * New members are added at the end, and no record ends in padding, so the bytes that an older caller has are whole members. */
#ifndef KOI_RECORD_H
#define KOI_RECORD_H
#include <stddef.h>
#include "base.h"

enum { KOI_RECORD_MOST = 4096 }; /* bytes: a larger size is no size */

/* Every record of release 0.1.0 with the last member that it had there. */
#define KOI_RECORDS(X) \
  X(koine_runtime_options, shipped_dir) X(koine_device_info, max_buffer_bytes) X(koine_model_info, weight_bytes) X(koine_shape, n_vocab) \
  X(koine_plan_options, misses_on) X(koine_plan_usage, elsewhere_ns) X(koine_session_options, context) X(koine_eval_options, user) \
  X(koine_session_stats, context) X(koine_chat_options, reserved) X(koine_sampling, tokenizer) X(koine_generate_options, stops_after) \
  X(koine_perplexity_result, n_bytes) X(koine_bench_options, cache) X(koine_tune_options, flags) \
  X(koine_place_options, n_expert_caches) X(koine_estimate, reserved) X(koine_divergence_result, n_bytes) X(koine_quantize_options, user) \
  X(koine_batch_options, prompt_tokens) X(koine_batch_result, n_ids)
#define KOI_OLDEST(type, last) KOI_OLDEST_##type = offsetof(type, last) + sizeof(((type *)0)->last),
enum { KOI_RECORDS(KOI_OLDEST) };

/* A caller's record into ours: own [own_size] becomes zero, then as much as both have is copied, and its size is own_size. given NULL: all
 * zero. KOINE_ERR_ARG for a size below the oldest or beyond reason, KOINE_ERR_UNSUPPORTED when a member that is not known here is set. */
koine_status koi_record_take(const char *name, size_t oldest, const void *given, void *own, size_t own_size);
#define KOI_TAKE(type, given, own) koi_record_take(#type, KOI_OLDEST_##type, given, own, sizeof(type))

/* The same where one record holds another by value: `inner`, whose own size says how long it is there, begins at byte `at`. */
koine_status koi_record_take_with(const char *name, size_t oldest, size_t at, const char *inner_name, size_t inner_oldest, size_t inner_size,
                                  const void *given, void *own, size_t own_size);

/* Our record into a caller's: as much as it has room for by its size, which then says how many bytes were filled. A size that is none (0,
 * or not set at all) means the members of release 0.1.0. Never writes beyond own_size. */
void koi_record_give(size_t oldest, const void *own, size_t own_size, void *to);
#define KOI_GIVE(type, own, to) koi_record_give(KOI_OLDEST_##type, own, sizeof(type), to)
#endif
