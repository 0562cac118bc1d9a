/* Checks and measurements: devices against the C reference, speed, faster kernels. koine.h has the rules. */
#ifndef KOINE_CHECK_H
#define KOINE_CHECK_H
#include "run.h"
#ifdef __cplusplus
extern "C" {
#endif

/* How far a model is from another on `text`: for each token that follows, the Kullback-Leibler divergence in nats of the model's choice from the
 * base's, which was made from the same pieces. */
typedef struct koine_divergence_result {
  size_t size; /* sizeof this struct */
  double mean, median, p99, max; /* nats */
  double same_top;               /* share of tokens whose likeliest next one is the same */
  double bits_per_byte, base_bits_per_byte;
  uint64_t n_tokens, n_bytes;
} koine_divergence_result;
#define KOINE_DIVERGENCE_RESULT_INIT {sizeof(koine_divergence_result), 0, 0, 0, 0, 0, 0, 0, 0, 0}
/* The base's logits [n][n_vocab] of a piece ids [n], which begins with the beginning-of-text token. Pieces come in their order; any other
 * status than KOINE_OK ends the comparison with it. */
typedef koine_status koine_base_fn(void *user, const int32_t *ids, size_t n, float *logits);
/* segment, session and errors as of koine_perplexity, and the base's own. */
KOINE_API koine_status koine_divergence(koine_session *session, const koine_tokenizer *tokenizer, const char *text, size_t n_bytes, uint32_t segment,
                                        koine_base_fn *base, void *base_user, koine_progress_fn *progress, void *user,
                                        koine_divergence_result *out);

/* ---- writing GGUF files -------------------------------------------------------------------------------------------------- */
/* What the columns of each product met while a text was read, experts apart: an importance matrix. Const once it is made. */
typedef struct koine_importance koine_importance;
/* Reads one in llama.cpp's GGUF form. KOINE_ERR_FILE. */
KOINE_API koine_status koine_importance_open(const char *path, koine_importance **out);
/* Evaluates `text` in pieces of `segment` tokens (0: 256), each after a beginning-of-text token, reading back what every product is given. Session
 * and errors as of koine_perplexity; *out: koine_importance_close. */
KOINE_API koine_status koine_importance_measure(koine_session *session, const koine_tokenizer *tokenizer, const char *text, size_t n_bytes,
                                                uint32_t segment, koine_progress_fn *progress, void *user, koine_importance **out);
/* Writes it in that form, in place of what is called `path`, at once. KOINE_ERR_FILE. */
KOINE_API koine_status koine_importance_save(const koine_importance *importance, const char *path);
KOINE_API void koine_importance_close(koine_importance *importance);

typedef struct koine_quantize_options {
  size_t size;          /* sizeof this struct */
  const char *type;     /* a mix by llama.cpp's name: "Q8_0", "Q4_K_M", "MXFP4_MOE", "F16", ... */
  const char *fallback; /* for tensors whose rows are no multiple of a format's block: "usual" (what llama.cpp takes: IQ4_NL, Q4_0, Q5_0, Q5_1 or
                           Q8_0, and F16 at last), or a format; each such tensor is a warning in the log. NULL: they are refused by name */
  const koine_importance *importance; /* NULL: all columns count the same */
  uint32_t n_threads;   /* 0: as many as there are processors */
  uint32_t reserved;
  koine_progress_fn *progress; /* on the calling thread; may be NULL */
  void *user;
} koine_quantize_options;
#define KOINE_QUANTIZE_OPTIONS_INIT {sizeof(koine_quantize_options), NULL, NULL, NULL, 0, 0, NULL, NULL}
/* Writes the model's weights, with its sizes and its tokenizer, as a GGUF file that this library and llama.cpp read. What is stored as wanted
 * already is copied. The file appears under its name when it is whole, in place of what had that name; otherwise nothing is left. Memory does
 * not grow with the model. KOINE_ERR_ARG: no such type. KOINE_ERR_UNSUPPORTED: a width that does not fit and no fallback, a tokenizer that
 * GGUF has no name for. KOINE_ERR_FILE: weights are missing or not finite, or writing failed. KOINE_ERR_CANCELLED. */
KOINE_API koine_status koine_quantize(const koine_model *model, const char *path, const koine_quantize_options *options);

/* ---- checks and measurements -------------------------------------------------------------------------------------------- */
typedef enum koine_format { KOINE_FORMAT_MARKDOWN, KOINE_FORMAT_CSV, KOINE_FORMAT_JSON } koine_format;

/* Every op of device `device` (id; NULL: the best) against the C reference on ragged shapes, then a small known-answer model. *report
 * has a line an op. KOINE_ERR_CHECK: something differed; the message names op and driver, and *report is set all the same. */
KOINE_API koine_status koine_verify(koine_runtime *runtime, const char *device, koine_progress_fn *progress, void *user, char **report);

typedef struct koine_bench_options {
  size_t size;            /* sizeof this struct */
  const uint32_t *n_prompt; size_t n_n_prompt; /* prefill tests, tokens each */
  const uint32_t *n_gen; size_t n_n_gen;       /* decode tests, tokens each */
  const uint64_t *depths; size_t n_depths;     /* tokens in the caches before a test */
  uint32_t repetitions;   /* 0: 3 */
  bool fill;              /* fill the caches with random rows instead of a real prefill */
  bool ops;               /* time by op as well */
  bool gemm;              /* first measure both entries for dense products in prefill, and remember the faster for this device */
  koine_format format;
  koine_cache cache;
} koine_bench_options;
#define KOINE_BENCH_OPTIONS_INIT {sizeof(koine_bench_options), NULL, 0, NULL, 0, NULL, 0, 0, false, false, false, KOINE_FORMAT_MARKDOWN, KOINE_CACHE_PACKED}
/* Measures an awake plan; *out is a table in the chosen format. KOINE_ERR_STATE for a sleeping one. */
KOINE_API koine_status koine_bench(koine_plan *plan, const koine_bench_options *options, koine_progress_fn *progress, void *user, char **out);

/* The process before this one ended while it tuned, or hung and was ended, and this one goes on: what was being tried then is given up, what was
 * decided holds. */
#define KOINE_TUNE_AFTER_CRASH 1u
#define KOINE_TUNE_AFTER_HANG 2u

typedef struct koine_tune_options {
  size_t size;      /* sizeof this struct */
  uint32_t seconds; /* about how long; 0: 60 */
  uint32_t flags;   /* one of KOINE_TUNE_AFTER_..., or 0 */
} koine_tune_options;
#define KOINE_TUNE_OPTIONS_INIT {sizeof(koine_tune_options), 0, 0}
/* Looks for parameters of kernels that are faster than the defaults on an awake plan's device, checks them against the C reference, and keeps them
 * in the cache folder: this plan and every later one on the device use them. Where there is time and no session is open, the plan sleeps and wakes for
 * other layouts of the weights, too; after an error in that it may be asleep. options may be NULL. *report is a table with the speeds before
 * and after. KOINE_ERR_STATE for a sleeping plan, or without a cache folder; KOINE_ERR_CANCELLED: what was found until then is kept.
 * Whatever is measured is kept at once: a process that was killed goes on where it was when it calls this again. A driver may crash or hang on
 * parameters that nobody tried before: let a child process call this, end it when `progress` is not called for a minute or two, and start
 * another one with KOINE_TUNE_AFTER_HANG or _CRASH and the rest of the time (koine tune does that). */
KOINE_API koine_status koine_tune(koine_plan *plan, const koine_tune_options *options, koine_progress_fn *progress, void *user, char **report);

/* ---- what was measured ------------------------------------------------------------------------------------------------- */
/* koine_tune keeps a log, tuned.log in the cache folder: text, one line a measurement, only ever appended to, so that several processes may write
 * and two logs are merged by putting one behind the other. Which parameters a kernel has is derived from it, and from the logs of shipped_dir: the first
 * that answers of "this device, driver and kernel text", "this device with another driver or text", "another device of the architecture",
 * "another device of the vendor", the user's log before those that ship on each, then the default. What is not legal on the device is
 * repaired or passed over. The functions below read the logs anew; plans take what was there when they woke, or what koine_tune found for them.
 * device: as in koine_plan_options. Texts are released by koine_text_free. KOINE_ERR_FILE for a log that cannot be read. */

/* Every kernel of which something is known: parameters, the rung that gave them, how much faster they are. device NULL: of all devices. */
KOINE_API koine_status koine_tuned_list(koine_runtime *runtime, const char *device, bool json, char **out);
/* Looks an op up (by name, as the lists have it): what each rung says of it for each set of constants and class of shapes, and why it was taken or
 * not. KOINE_ERR_ARG: no such op; the message lists them. */
KOINE_API koine_status koine_tuned_why(koine_runtime *runtime, const char *device, const char *op, bool json, char **out);
/* The lines of the user's log that decide something, *n_bytes of text: to be kept, sent, put into a shipped_dir or imported elsewhere. device NULL: of
 * all devices in it. They name device, driver and kernel text and nothing else of the machine. KOINE_ERR_STATE: there are none. */
KOINE_API koine_status koine_tuned_export(koine_runtime *runtime, const char *device, char **out, size_t *n_bytes);
/* Appends the sound lines of text [n_bytes] that are new to the user's log. Damaged lines, and those of another release, are passed over: the log callback
 * has a line for each of the first ones. Nothing in the text is trusted: parameters that are not legal on a device are repaired or not used there. name
 * stands for the text in messages. *report: lines taken and not, and what each device can use. KOINE_ERR_FILE: no line of a log in it;
 * KOINE_ERR_STATE without a cache folder. */
KOINE_API koine_status koine_tuned_import(koine_runtime *runtime, const char *name, const char *text, size_t n_bytes, char **report);
/* A page of HTML with all pictures in it that needs no network: the device's roofline with each op before and after, how fast the candidates were, the
 * best so far, and tokens a second before and after. KOINE_ERR_STATE: nothing was measured on the device. */
KOINE_API koine_status koine_tuned_report(koine_runtime *runtime, const char *device, char **html);

#ifdef __cplusplus
}
#endif
#endif
