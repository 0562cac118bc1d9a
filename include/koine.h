/* libkoine: DeepSeek V4 on whatever compute devices a machine has.
 *
 * Life cycle
 *   koine_runtime_open    finds the machine's devices
 *   koine_model_open      maps a checkpoint folder; touches no device
 *   koine_plan_make       decides what runs where; a plan is immutable and asleep
 *   koine_plan_wake       uploads the weights, compiles the kernels (slow; reports progress)
 *   koine_session_open    one conversation's caches on an awake plan
 *   koine_session_eval    the FULL token prefix in, logits out; what is already held is reused
 * Close in the reverse order: a session needs its plan, a plan needs its model and its runtime.
 *
 * Errors: every function that can fail returns a koine_status, 0 for success. koine_last_error() then gives one line for the
 * calling thread that names the thing (file, tensor, device), what was expected and found, and what to do. On failure
 * out-parameters are untouched. The library never prints, exits or aborts on input; koine_log_set takes warnings and notes.
 *
 * Threads: different objects may be used on different threads at once, and several sessions of one plan too (the plan
 * serialises its device). One session is used by one thread at a time, but for koine_session_cancel.
 *
 * Ownership: what an _open/_make call gives is released by the matching _close/_free. Texts handed out (char **) are released by
 * koine_text_free. Pointers inside info records live as long as the object they came from. */
#ifndef KOINE_H
#define KOINE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define KOINE_API __attribute__((visibility("default")))

typedef enum koine_status {
  KOINE_OK = 0,
  KOINE_ERR_ARG = -1,       /* an argument is wrong: the caller's fault */
  KOINE_ERR_FILE = -2,      /* a file is missing or lies */
  KOINE_ERR_NO_DEVICE = -3, /* no such device, or none at all */
  KOINE_ERR_MEMORY = -4,    /* host or device memory is exhausted */
  KOINE_ERR_DEVICE = -5,    /* a driver failed */
  KOINE_ERR_CANCELLED = -6, /* koine_session_cancel was called */
  KOINE_ERR_CHECK = -7,     /* a verification found a difference */
  KOINE_ERR_NUMERIC = -8    /* a result is not a number; the message names the op */
} koine_status;

/* "0.1.0" */
KOINE_API const char *koine_version(void);
/* The calling thread's last error, one line; "" before the first. Valid until the thread's next failing call. */
KOINE_API const char *koine_last_error(void);
/* Releases a text that the library handed out; NULL is allowed. */
KOINE_API void koine_text_free(char *text);

typedef enum koine_log_level { KOINE_LOG_NOTE, KOINE_LOG_WARNING } koine_log_level;
/* Called on the thread that has something to say; must not call back into the library. */
typedef void koine_log_fn(void *user, koine_log_level level, const char *line);
/* One callback for the process; NULL stops it. Set it before other threads use the library. */
KOINE_API void koine_log_set(koine_log_fn *fn, void *user);

/* Progress of a long call: `done` of `total` units of `what`. Return false to cancel (the call ends in KOINE_ERR_CANCELLED). */
typedef bool koine_progress_fn(void *user, const char *what, uint64_t done, uint64_t total);

/* ---- runtime and devices ---------------------------------------------------------------------------------------------- */
typedef struct koine_runtime koine_runtime;

typedef struct koine_runtime_options {
  size_t size;              /* sizeof this struct */
  const char *topology_xml; /* NULL: this machine; else an hwloc XML file to show instead (no device can then be used) */
} koine_runtime_options;

typedef enum koine_device_type { KOINE_DEVICE_HOST, KOINE_DEVICE_CPU, KOINE_DEVICE_GPU, KOINE_DEVICE_ACCELERATOR } koine_device_type;

/* One usable endpoint of a card. Unknown numbers are 0, unknown texts "". */
typedef struct koine_device_info {
  const char *id;       /* what --device takes: "host", "cl0", "cl1", ... */
  const char *name;     /* the card's name */
  const char *vendor;
  const char *backend;  /* "host", "opencl" */
  const char *platform; /* the driver's platform name */
  const char *driver;   /* the driver's version */
  koine_device_type type;
  uint64_t memory_bytes;     /* of the card; a CPU device shares the host's */
  uint64_t max_buffer_bytes; /* the largest single allocation */
  uint32_t n_units;          /* compute units */
} koine_device_info;

/* Finds devices. options may be NULL. KOINE_ERR_MEMORY; KOINE_ERR_FILE for a topology_xml that cannot be read. A machine without any
 * OpenCL device is no error: the host device is always there. */
KOINE_API koine_status koine_runtime_open(const koine_runtime_options *options, koine_runtime **out);
KOINE_API void koine_runtime_close(koine_runtime *runtime);
KOINE_API size_t koine_runtime_n_devices(const koine_runtime *runtime);
/* Device i, 0 <= i < n_devices, best first; the host reference is last. KOINE_ERR_ARG out of range. */
KOINE_API koine_status koine_runtime_device(const koine_runtime *runtime, size_t i, koine_device_info *out);
/* The machine as text or JSON: cards, endpoints, and why a device or platform was skipped. */
KOINE_API koine_status koine_runtime_describe(koine_runtime *runtime, bool json, char **out);

/* ---- model ------------------------------------------------------------------------------------------------------------ */
typedef struct koine_model koine_model;

typedef struct koine_model_info {
  uint32_t n_layers, hidden, n_vocab, n_experts, n_experts_per_token;
  uint64_t max_context;          /* tokens the checkpoint was made for */
  uint64_t n_params, n_params_active; /* active: used for one token */
  uint64_t weight_bytes;         /* as stored, without the MTP block */
  bool has_weights;              /* false: only a config (and an index) was found */
} koine_model_info;

/* Maps the checkpoint folder `path` (config.json, safetensors). A folder with only config.json (and an index) opens too, with
 * has_weights false: it can be described, not run. KOINE_ERR_FILE names file, tensor, expected and found. */
KOINE_API koine_status koine_model_open(const char *path, koine_model **out);

/* A model of real sizes with random weights and no file, for benchmarks. */
typedef struct koine_shape {
  size_t size;           /* sizeof this struct */
  const char *name;      /* "v4-flash" or "v4-pro" */
  const int32_t *ratios; /* [n_ratios] compress ratio by layer; NULL: the model's own */
  size_t n_ratios;
  uint32_t n_experts;    /* 0: the model's own */
  uint32_t n_vocab;      /* 0: the model's own */
} koine_shape;
KOINE_API koine_status koine_model_synthetic(const koine_shape *shape, koine_model **out);
KOINE_API void koine_model_close(koine_model *model);
KOINE_API koine_status koine_model_get_info(const koine_model *model, koine_model_info *out);
/* Architecture, parameters, bytes by precision and role, scratch, and cache bytes at each context length, as text or JSON. */
KOINE_API koine_status koine_model_describe(const koine_model *model, const uint64_t *contexts /* [n_contexts] tokens */,
                                            size_t n_contexts, bool json, char **out);

/* ---- plan ------------------------------------------------------------------------------------------------------------- */
typedef struct koine_plan koine_plan;

typedef struct koine_plan_options {
  size_t size;        /* sizeof this struct */
  const char *device; /* an id or part of a name; NULL or "": the best device */
  uint32_t chunk;     /* most tokens evaluated at once; 0: 512 */
} koine_plan_options;

/* Decides where the layers run. options may be NULL. Keeps pointers to runtime and model. KOINE_ERR_NO_DEVICE, KOINE_ERR_MEMORY when
 * the weights cannot fit (the message has the numbers), KOINE_ERR_FILE for a model without weights. */
KOINE_API koine_status koine_plan_make(koine_runtime *runtime, koine_model *model, const koine_plan_options *options, koine_plan **out);
/* The plan as text. */
KOINE_API koine_status koine_plan_describe(const koine_plan *plan, char **out);
/* Uploads weights and compiles kernels; does nothing when awake. progress may be NULL. KOINE_ERR_MEMORY, KOINE_ERR_DEVICE,
 * KOINE_ERR_CANCELLED leave the plan asleep. */
KOINE_API koine_status koine_plan_wake(koine_plan *plan, koine_progress_fn *progress, void *user);
/* Frees what wake made. No session may be open. */
KOINE_API void koine_plan_sleep(koine_plan *plan);
KOINE_API void koine_plan_free(koine_plan *plan);

typedef struct koine_plan_usage {
  uint64_t weight_bytes;           /* on the device */
  uint64_t scratch_bytes;
  uint64_t weight_bytes_per_token; /* weights read to decode one token */
  uint64_t wake_ns;                /* what wake took */
} koine_plan_usage;
KOINE_API koine_status koine_plan_get_usage(const koine_plan *plan, koine_plan_usage *out);

/* ---- session ---------------------------------------------------------------------------------------------------------- */
typedef struct koine_session koine_session;

/* packed: cache rows in FP8/FP4 as the published model simulates them. exact: fp32, no rounding (for checks). */
typedef enum koine_cache { KOINE_CACHE_PACKED, KOINE_CACHE_EXACT } koine_cache;

typedef struct koine_session_options {
  size_t size;      /* sizeof this struct */
  koine_cache cache;
  uint64_t context; /* most tokens of the conversation; 0: 4096, or the checkpoint's if that is less. Caches grow up to it as needed;
                       more than the checkpoint was made for is allowed, with a warning in the log */
  uint32_t chunk;   /* tokens per evaluation step; 0: the plan's. 1 is decode token by token */
} koine_session_options;

/* options may be NULL. KOINE_ERR_ARG for a sleeping plan or a chunk above the plan's; KOINE_ERR_MEMORY. */
KOINE_API koine_status koine_session_open(koine_plan *plan, const koine_session_options *options, koine_session **out);
KOINE_API void koine_session_close(koine_session *session);

typedef struct koine_eval_options {
  size_t size;                 /* sizeof this struct */
  size_t n_logits;             /* positions, counted from the end, whose logits are wanted; 0: none */
  koine_progress_fn *progress; /* called between chunks, on the calling thread; may be NULL */
  void *user;
} koine_eval_options;

/* Evaluates the conversation tokens[0..n_tokens). The session compares it with what it holds: when that is a prefix of `tokens`, only
 * the rest is evaluated; otherwise it starts anew. When logits of positions that are already held are wanted, it starts anew too.
 * logits: room for [n_logits][n_vocab] floats, or NULL when n_logits is 0. options NULL: logits of the last position.
 * KOINE_ERR_NUMERIC: a logit is NaN; the message names the op that wrote the first one. KOINE_ERR_ARG: no token, a token outside the
 * vocabulary, more tokens than the context. KOINE_ERR_CANCELLED: the session holds the
 * tokens of the finished chunks (koine_session_n_held) and goes on from there. KOINE_ERR_DEVICE, KOINE_ERR_MEMORY: the session
 * holds nothing any more and may be used again. */
KOINE_API koine_status koine_session_eval(koine_session *session, const int32_t *tokens, size_t n_tokens,
                                          const koine_eval_options *options, float *logits);
/* Makes a running koine_session_eval of this session end after its current chunk. From any thread. */
KOINE_API void koine_session_cancel(koine_session *session);
KOINE_API size_t koine_session_n_held(const koine_session *session);

typedef struct koine_session_stats {
  uint64_t n_evaluated;   /* tokens evaluated since the session was opened */
  uint64_t n_reused;      /* tokens that evaluations found held */
  uint64_t cache_bytes;   /* on the device now */
  uint64_t prefill_ns, decode_ns; /* time in chunks of several tokens, of one token */
  uint64_t n_prefill, n_decode;   /* tokens in either */
} koine_session_stats;
KOINE_API koine_status koine_session_get_stats(const koine_session *session, koine_session_stats *out);

/* ---- tokens and text --------------------------------------------------------------------------------------------------- */
typedef struct koine_tokenizer koine_tokenizer;

enum {
  KOINE_TOKENIZE_SPECIAL = 1, /* special tokens written in the text become control tokens; otherwise they stay text */
  KOINE_TOKENIZE_BOS = 2      /* put the beginning-of-text token first */
};
/* Reads tokenizer.json (and tokenizer_config.json) of the checkpoint folder. Const after loading: any number of threads may use it. */
KOINE_API koine_status koine_tokenizer_open(const char *path, koine_tokenizer **out);
KOINE_API void koine_tokenizer_close(koine_tokenizer *tokenizer);
KOINE_API size_t koine_tokenizer_n_vocab(const koine_tokenizer *tokenizer);
/* -1 when the checkpoint names none. */
KOINE_API int32_t koine_tokenizer_bos(const koine_tokenizer *tokenizer);
KOINE_API int32_t koine_tokenizer_eos(const koine_tokenizer *tokenizer);
/* Bytes to ids; *out (release with koine_ids_free) has *n_ids ids. */
KOINE_API koine_status koine_tokenize(const koine_tokenizer *tokenizer, const char *text, size_t n_bytes, unsigned flags,
                                      int32_t **out, size_t *n_ids);
/* Ids to bytes (any bytes: an id may be a part of a character); zero-terminated beyond *n_bytes. special: include control tokens. */
KOINE_API koine_status koine_detokenize(const koine_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, bool special, char **out,
                                        size_t *n_bytes);
KOINE_API void koine_ids_free(int32_t *ids);

typedef enum koine_thinking { KOINE_THINK_OFF, KOINE_THINK_HIGH, KOINE_THINK_MAX } koine_thinking;
/* A chat request (JSON: an array of messages in the usual shape, or an object with `messages` and `tools`) as the prompt that the
 * checkpoint at `path` prescribes. prompt and ids may each be NULL when not wanted. Text of users, systems and tools never becomes a
 * control token. KOINE_ERR_FILE for JSON that is not such a request. */
KOINE_API koine_status koine_chat_encode(const koine_tokenizer *tokenizer, const char *path, const char *json, size_t n_bytes,
                                         koine_thinking thinking, char **prompt, int32_t **ids, size_t *n_ids);
/* A model's answer (its text with control tokens, as koine_detokenize with special gives) as a JSON message: role, reasoning_content,
 * content, tool_calls. */
KOINE_API koine_status koine_chat_parse(const char *answer, size_t n_bytes, koine_thinking thinking, char **json);

typedef struct koine_sampling {
  size_t size;               /* sizeof this struct */
  float temperature;         /* 0: greedy */
  int32_t top_k;             /* 0: off */
  float top_p, min_p;        /* 1, 0: off */
  float repetition_penalty;  /* 1: off */
  float presence_penalty, frequency_penalty; /* 0: off */
  uint64_t seed;
} koine_sampling;
typedef struct koine_sampler koine_sampler;
KOINE_API koine_status koine_sampler_open(const koine_sampling *sampling, size_t n_vocab, koine_sampler **out);
KOINE_API void koine_sampler_close(koine_sampler *sampler);
/* Chooses from logits [n_vocab] given the tokens so far (for penalties). KOINE_ERR_NUMERIC for a NaN. */
KOINE_API koine_status koine_sample(koine_sampler *sampler, const float *logits, const int32_t *tokens, size_t n_tokens, int32_t *out);

/* A piece of generated text, in whole UTF-8 characters where the bytes allow; return false to stop. */
typedef bool koine_text_fn(void *user, const char *text, size_t n_bytes);
typedef struct koine_generate_options {
  size_t size;               /* sizeof this struct */
  koine_sampling sampling;   /* its size must be set too */
  uint64_t n_predict;        /* most new tokens; 0: up to the context */
  const char *const *stops;  /* [n_stops] texts that end the answer; not handed out */
  size_t n_stops;
  bool special;              /* hand out the text of control tokens too */
  koine_text_fn *text;       /* may be NULL */
  koine_progress_fn *progress; /* prefill; may be NULL */
  void *user;                /* for both */
} koine_generate_options;
typedef enum koine_stop { KOINE_STOP_EOS, KOINE_STOP_LENGTH, KOINE_STOP_TEXT, KOINE_STOP_CALLER } koine_stop;
/* Continues `prompt` until a stop. *out (koine_ids_free) has the *n_out new tokens, end token included; why in *stop (may be NULL).
 * KOINE_ERR_CANCELLED: koine_session_cancel; *out then has what came before. */
KOINE_API koine_status koine_generate(koine_session *session, const koine_tokenizer *tokenizer, const int32_t *prompt, size_t n_prompt,
                                      const koine_generate_options *options, int32_t **out, size_t *n_out, koine_stop *stop);

/* Bits of information per byte of `text` under the model: consecutive pieces of `segment` tokens, each after a beginning-of-text token.
 * segment 0: 256. */
typedef struct koine_perplexity_result {
  double bits_per_byte, nats_per_token;
  uint64_t n_tokens, n_bytes;
} koine_perplexity_result;
KOINE_API koine_status koine_perplexity(koine_session *session, const koine_tokenizer *tokenizer, const char *text, size_t n_bytes,
                                        uint32_t segment, koine_progress_fn *progress, void *user, koine_perplexity_result *out);

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
/* Measures an awake plan; *out is a table in the chosen format. */
KOINE_API koine_status koine_bench(koine_plan *plan, const koine_bench_options *options, koine_progress_fn *progress, void *user, char **out);

#ifdef __cplusplus
}
#endif
#endif
