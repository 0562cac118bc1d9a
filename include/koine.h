/* libkoine: DeepSeek V4 on whatever compute devices a machine has.
 *
 * Life cycle
 *   koine_runtime_open    finds the machine's devices
 *   koine_model_open      maps a checkpoint folder; touches no device
 *   koine_plan_make       decides what runs where; a plan is immutable and asleep
 *   koine_plan_wake       uploads the weights, compiles the kernels (slow; reports progress)
 *   koine_session_open    one conversation's caches on an awake plan
 *   koine_session_eval    the FULL token prefix in, logits out; what is already held is reused
 * Text: koine_tokenizer_open for ids, koine_chat_open for conversations, koine_generate for answers.
 * Close in the reverse order: a session needs its plan, a plan needs its model and its runtime.
 *
 * Errors: every function that can fail returns a koine_status, 0 for success. koine_last_error() then gives one line for the
 * calling thread that names the thing (file, tensor, device), what was expected and found, and what to do. On failure
 * out-parameters are untouched, unless a function says otherwise. The library never prints, exits or aborts on input; koine_log_set takes
 * warnings and notes. What the environment (locale) of the process is changes no text that the library makes.
 *
 * Threads: different objects may be used on different threads at once, and several sessions of one plan too (the plan
 * serialises its device). One session is used by one thread at a time, but for koine_session_cancel.
 *
 * Ownership: what an _open/_make call gives is released by the matching _close/_free. Texts handed out (char **) are released by
 * koine_text_free. Pointers inside info records live as long as the object they came from.
 *
 * Records grow: later releases add members at the end, and programs and libraries of different releases work together. The first member of
 * every record is its size: set it to sizeof the record, or start from the record's KOINE_..._INIT. Zero is the default of every member
 * but where its comment says otherwise. A record of options that is shorter than this library's has defaults for the rest; a longer one is
 * taken while what this library does not know is zero, and refused with KOINE_ERR_UNSUPPORTED otherwise. A record that is filled for the
 * caller is filled as far as its size says, and its size then says how far; a size of 0, or one that was never set, stands for the
 * members that the record had in release 0.1.0. `reserved` members are 0.
 *
 * The library writes files only below the cache folder of koine_runtime_options, and those that it is asked for by their names. */
#ifndef KOINE_H
#define KOINE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define KOINE_VERSION_MAJOR 0
#define KOINE_VERSION_MINOR 1
#define KOINE_VERSION_PATCH 0
#define KOINE_VERSION "0.1.0"
/* Releases in their order. */
#define KOINE_VERSION_NUMBER (KOINE_VERSION_MAJOR * 65536 + KOINE_VERSION_MINOR * 256 + KOINE_VERSION_PATCH)

#if defined __GNUC__ || defined __clang__
#define KOINE_API __attribute__((visibility("default")))
#else
#define KOINE_API
#endif

typedef enum koine_status {
  KOINE_OK = 0,
  KOINE_ERR_ARG = -1,       /* an argument is wrong: the caller's fault */
  KOINE_ERR_FILE = -2,      /* a file is missing or lies */
  KOINE_ERR_NO_DEVICE = -3, /* no such device, or none at all */
  KOINE_ERR_MEMORY = -4,    /* host or device memory is exhausted */
  KOINE_ERR_DEVICE = -5,    /* a driver failed */
  KOINE_ERR_CANCELLED = -6, /* koine_session_cancel was called */
  KOINE_ERR_CHECK = -7,     /* a verification found a difference */
  KOINE_ERR_NUMERIC = -8,   /* a result is not a number; the message names the op */
  KOINE_ERR_STATE = -9,     /* the object is not in the state for this call: asleep, in use, at its end */
  KOINE_ERR_UNSUPPORTED = -10 /* well-formed, but more than this library does: the message names what */
} koine_status;

/* The library's own, which may be another than the header's: "0.1.0", and KOINE_VERSION_NUMBER of it. */
KOINE_API const char *koine_version(void);
KOINE_API int koine_version_number(void);
/* A status in words, for one that came without a message; never NULL. */
KOINE_API const char *koine_status_text(koine_status status);
/* The calling thread's last error, one line; "" before the first. Valid until the thread's next failing call. */
KOINE_API const char *koine_last_error(void);
/* Releases a text that the library handed out; NULL is allowed. */
KOINE_API void koine_text_free(char *text);

typedef enum koine_log_level { KOINE_LOG_DEBUG = -1, KOINE_LOG_NOTE = 0, KOINE_LOG_WARNING = 1 } koine_log_level;
/* Who says something; bits, to be or-ed. */
typedef enum koine_log_area {
  KOINE_LOG_BASE = 1,    /* memory, files of the cache folder */
  KOINE_LOG_FILE = 2,    /* a checkpoint's tensors */
  KOINE_LOG_TEXT = 4,    /* tokenizer, chat */
  KOINE_LOG_MODEL = 8,   /* config and roles */
  KOINE_LOG_DEVICE = 16, /* finding and driving devices */
  KOINE_LOG_CHECK = 32,  /* verification */
  KOINE_LOG_PLAN = 64,   /* what runs where */
  KOINE_LOG_ENGINE = 128, /* weights, kernels, caches */
  KOINE_LOG_API = 256,   /* the functions declared here */
  KOINE_LOG_ALL = 511
} koine_log_area;
/* Called on the thread that has something to say, with one line without control characters; must not call back into the library, but for
 * koine_log_area_now. */
typedef void koine_log_fn(void *user, koine_log_level level, const char *line);
/* One callback for the process; NULL stops it. Set it before other threads use the library. */
KOINE_API void koine_log_set(koine_log_fn *fn, void *user);
/* From now on the areas say what is of this level or above; KOINE_LOG_NOTE unless set. */
KOINE_API void koine_log_set_areas(unsigned areas, koine_log_level least);
/* Inside the callback: the area of the line. */
KOINE_API koine_log_area koine_log_area_now(void);

/* Progress of a long call: `done` of `total` units of `what`. Return false to cancel (the call ends in KOINE_ERR_CANCELLED). */
typedef bool koine_progress_fn(void *user, const char *what, uint64_t done, uint64_t total);

/* ---- runtime and devices ---------------------------------------------------------------------------------------------- */
typedef struct koine_runtime koine_runtime;

typedef struct koine_runtime_options {
  size_t size;              /* sizeof this struct */
  const char *topology_xml; /* NULL: this machine; else an hwloc XML file to show instead (no device can then be used) */
  const char *cache_dir;    /* where compiled programs and measured choices are kept; NULL: the user's cache folder, $XDG_CACHE_HOME/koine or
                               $HOME/.cache/koine; "": nothing is ever written. Copied */
  uint32_t n_threads;       /* of this library's own work on the CPU, such as compiling; 0: as many as there are processors */
  uint32_t reserved;
} koine_runtime_options;
#define KOINE_RUNTIME_OPTIONS_INIT {sizeof(koine_runtime_options), NULL, NULL, 0, 0}

typedef enum koine_device_type { KOINE_DEVICE_HOST, KOINE_DEVICE_CPU, KOINE_DEVICE_GPU, KOINE_DEVICE_ACCELERATOR } koine_device_type;

/* One usable endpoint of a card. Unknown numbers are 0, unknown texts "". */
typedef struct koine_device_info {
  size_t size;          /* sizeof this struct */
  const char *id;       /* what --device takes: "host", "cl0", "cl1", ... */
  const char *name;     /* the card's name */
  const char *vendor;
  const char *backend;  /* "host", "opencl" */
  const char *platform; /* the driver's platform name */
  const char *driver;   /* the driver's version */
  koine_device_type type;
  uint32_t n_units;          /* compute units */
  uint64_t memory_bytes;     /* of the card; a CPU device shares the host's */
  uint64_t max_buffer_bytes; /* the largest single allocation */
} koine_device_info;
#define KOINE_DEVICE_INFO_INIT {sizeof(koine_device_info), NULL, NULL, NULL, NULL, NULL, NULL, KOINE_DEVICE_HOST, 0, 0, 0}

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
  size_t size;                   /* sizeof this struct */
  uint32_t n_layers, hidden, n_vocab, n_experts, n_experts_per_token;
  bool has_weights;              /* false: only a config (and an index) was found */
  uint64_t max_context;          /* tokens the checkpoint was made for */
  uint64_t n_params, n_params_active; /* active: used for one token */
  uint64_t weight_bytes;         /* as stored, without the MTP block */
} koine_model_info;
#define KOINE_MODEL_INFO_INIT {sizeof(koine_model_info), 0, 0, 0, 0, 0, false, 0, 0, 0, 0}

/* Maps the checkpoint `path`: a folder (config.json, safetensors) or a GGUF file, of a split one its first part. A folder with only
 * config.json (and an index) opens too, with has_weights false: it can be described, not run. KOINE_ERR_FILE names file, tensor, expected
 * and found. */
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
#define KOINE_SHAPE_INIT {sizeof(koine_shape), NULL, NULL, 0, 0, 0}
KOINE_API koine_status koine_model_synthetic(const koine_shape *shape, koine_model **out);
KOINE_API void koine_model_close(koine_model *model);
KOINE_API koine_status koine_model_get_info(const koine_model *model, koine_model_info *out);
/* Architecture, parameters, bytes by precision and role, scratch, and cache bytes at each context length, as text or JSON. */
KOINE_API koine_status koine_model_describe(const koine_model *model, const uint64_t *contexts /* [n_contexts] tokens */,
                                            size_t n_contexts, bool json, char **out);

/* ---- plan ------------------------------------------------------------------------------------------------------------- */
typedef struct koine_plan koine_plan;

/* packed: cache rows in FP8/FP4 as the published model simulates them. exact: fp32, no rounding (for checks). */
typedef enum koine_cache { KOINE_CACHE_PACKED, KOINE_CACHE_EXACT } koine_cache;

typedef struct koine_plan_options {
  size_t size;        /* sizeof this struct */
  const char *device; /* an id or part of a name; NULL or "": the best device */
  uint32_t chunk;     /* most tokens evaluated at once; 0: 512 */
  koine_cache cache;  /* of the session that is counted */
  uint64_t context;   /* of that session, in tokens; 0: 4096, or the checkpoint's if that is less */
  uint64_t mark_bytes; /* most bytes that a session keeps to rewind (koine_session_truncate); 0: the plan's choice */
  uint64_t memory_bytes; /* most bytes to use on the device; 0: what it has */
} koine_plan_options;
#define KOINE_PLAN_OPTIONS_INIT {sizeof(koine_plan_options), NULL, 0, KOINE_CACHE_PACKED, 0, 0, 0}

/* Decides where the layers run. options may be NULL. Keeps pointers to runtime and model. KOINE_ERR_NO_DEVICE, KOINE_ERR_MEMORY when
 * what is counted cannot fit (the message has the numbers), KOINE_ERR_FILE for a model without weights. */
KOINE_API koine_status koine_plan_make(koine_runtime *runtime, koine_model *model, const koine_plan_options *options, koine_plan **out);
/* The plan as text. */
KOINE_API koine_status koine_plan_describe(const koine_plan *plan, char **out);
/* Uploads weights and compiles kernels; does nothing when awake. progress may be NULL. KOINE_ERR_MEMORY, KOINE_ERR_DEVICE,
 * KOINE_ERR_CANCELLED leave the plan asleep. */
KOINE_API koine_status koine_plan_wake(koine_plan *plan, koine_progress_fn *progress, void *user);
/* Frees what wake made; does nothing when asleep. KOINE_ERR_STATE while a session is open: nothing is freed then. wake and sleep of one
 * plan are called on one thread at a time, and sleep while no other function uses the plan. */
KOINE_API koine_status koine_plan_sleep(koine_plan *plan);
/* All sessions must be closed: with one open the plan is left as it is, and the log has a warning. */
KOINE_API void koine_plan_free(koine_plan *plan);

/* Bytes on the device: expected while the plan sleeps, what is there once it is awake. 0 where nothing is known yet. */
typedef struct koine_plan_usage {
  size_t size;                     /* sizeof this struct */
  uint64_t weight_bytes;           /* as laid out there */
  uint64_t scratch_bytes;
  uint64_t weight_bytes_per_token; /* weights read to decode one token */
  uint64_t wake_ns;                /* what wake took */
  uint64_t cache_bytes;            /* of one session of the plan's context and cache mode, when it is full */
  uint64_t mark_bytes;             /* of one session, to rewind */
  uint64_t program_bytes;          /* compiled kernels */
  uint64_t limit_bytes;            /* that the plan may use; 0: unknown */
} koine_plan_usage;
#define KOINE_PLAN_USAGE_INIT {sizeof(koine_plan_usage), 0, 0, 0, 0, 0, 0, 0, 0}
KOINE_API koine_status koine_plan_get_usage(const koine_plan *plan, koine_plan_usage *out);

/* ---- session ---------------------------------------------------------------------------------------------------------- */
typedef struct koine_session koine_session;

typedef struct koine_session_options {
  size_t size;      /* sizeof this struct */
  koine_cache cache;
  uint32_t chunk;   /* tokens per evaluation step; 0: the plan's. 1 is decode token by token */
  uint64_t context; /* most tokens of the conversation; 0: 4096, or the checkpoint's if that is less. Caches grow up to it as needed;
                       more than the checkpoint was made for is allowed, with a warning in the log */
} koine_session_options;
#define KOINE_SESSION_OPTIONS_INIT {sizeof(koine_session_options), KOINE_CACHE_PACKED, 0, 0}

/* options may be NULL. KOINE_ERR_STATE for a sleeping plan, KOINE_ERR_ARG for a chunk above the plan's; KOINE_ERR_MEMORY. */
KOINE_API koine_status koine_session_open(koine_plan *plan, const koine_session_options *options, koine_session **out);
KOINE_API void koine_session_close(koine_session *session);

typedef struct koine_eval_options {
  size_t size;                 /* sizeof this struct */
  size_t n_logits;             /* positions, counted from the end, whose logits are wanted; 0: none */
  koine_progress_fn *progress; /* called between chunks, on the calling thread; may be NULL */
  void *user;
} koine_eval_options;
#define KOINE_EVAL_OPTIONS_INIT {sizeof(koine_eval_options), 0, NULL, NULL}

/* Evaluates the conversation tokens[0..n_tokens). The session compares it with what it holds and evaluates what follows the part that both
 * begin with. When that is less than it holds, or logits of positions that are already held are wanted, it rewinds as
 * koine_session_truncate does.
 * logits: room for [n_logits][n_vocab] floats, or NULL when n_logits is 0. options NULL: logits of the last position.
 * KOINE_ERR_NUMERIC: a logit is NaN; the message names the op that wrote the first one. KOINE_ERR_ARG: no token, a token outside the
 * vocabulary, more tokens than the context. KOINE_ERR_CANCELLED, KOINE_ERR_DEVICE, KOINE_ERR_MEMORY: the session holds what both began with
 * and the tokens of the finished chunks (koine_session_n_held), and goes on from there when it is called again. */
KOINE_API koine_status koine_session_eval(koine_session *session, const int32_t *tokens, size_t n_tokens,
                                          const koine_eval_options *options, float *logits);
/* Makes a running koine_session_eval of this session end after its current chunk. From any thread. */
KOINE_API void koine_session_cancel(koine_session *session);
/* Tokens that the session holds: an evaluation that begins with them evaluates only what follows. */
KOINE_API size_t koine_session_n_held(const koine_session *session);

/* Rewinds: the session forgets what it holds from position n_tokens on, so that another continuation can follow, as when an answer is made
 * anew or the last message is edited. The next evaluation goes on from the nearest mark at or below n_tokens. Marks lie at multiples of
 * 128 positions, so that at most 127 tokens are evaluated once more; under the byte budget of koine_plan_options.mark_bytes older ones are
 * thinned out, and where memory for caches runs out they are given up first. koine_session_n_held then says what is held; what is evaluated
 * once more counts in n_evaluated of koine_session_stats. n_tokens equal to what is held does nothing; KOINE_ERR_ARG for more. */
KOINE_API koine_status koine_session_truncate(koine_session *session, size_t n_tokens);
/* A second session that stands for the same tokens, with the same options, and goes its own way from there; what both hold is shared as
 * long as neither changes it. Close each. KOINE_ERR_MEMORY and KOINE_ERR_DEVICE leave the first one as it was. */
KOINE_API koine_status koine_session_fork(koine_session *session, koine_session **out);

typedef struct koine_session_stats {
  size_t size;            /* sizeof this struct */
  uint64_t n_evaluated;   /* tokens evaluated since the session was opened, those before a cut once more */
  uint64_t n_reused;      /* tokens that evaluations found held and did not evaluate */
  uint64_t cache_bytes;   /* on the device now */
  uint64_t prefill_ns, decode_ns; /* time in chunks of several tokens, of one token */
  uint64_t n_prefill, n_decode;   /* tokens in either */
  uint64_t context;       /* most tokens of the conversation */
} koine_session_stats;
#define KOINE_SESSION_STATS_INIT {sizeof(koine_session_stats), 0, 0, 0, 0, 0, 0, 0, 0}
KOINE_API koine_status koine_session_get_stats(const koine_session *session, koine_session_stats *out);

/* ---- tokens and text --------------------------------------------------------------------------------------------------- */
typedef struct koine_tokenizer koine_tokenizer;

enum {
  KOINE_TOKENIZE_SPECIAL = 1, /* special tokens written in the text become control tokens; otherwise they stay text */
  KOINE_TOKENIZE_BOS = 2      /* put the beginning-of-text token first, unless KOINE_TOKENIZE_SPECIAL found it there already */
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

/* ---- chat --------------------------------------------------------------------------------------------------------------- */
typedef enum koine_thinking { KOINE_THINK_OFF, KOINE_THINK_HIGH, KOINE_THINK_MAX } koine_thinking;

/* How a checkpoint writes conversations: its encoding/ folder, read once. Const: any number of threads may use it. */
typedef struct koine_chat koine_chat;
/* path: the checkpoint folder; one without an encoding, or NULL, gets wording of the library's own. KOINE_ERR_FILE. */
KOINE_API koine_status koine_chat_open(const char *path, koine_chat **out);
KOINE_API void koine_chat_close(koine_chat *chat);

typedef struct koine_chat_options {
  size_t size;             /* sizeof this struct */
  koine_thinking thinking;
  bool keep_reasoning;     /* of earlier turns too; otherwise it is dropped before the last user turn, unless a message has tools */
  bool no_bos;             /* without the beginning-of-text token */
  uint16_t reserved;
} koine_chat_options;
#define KOINE_CHAT_OPTIONS_INIT {sizeof(koine_chat_options), KOINE_THINK_OFF, false, false, 0}

/* A request as the prompt that the checkpoint prescribes, as text (*n_bytes bytes and a zero byte; koine_text_free), as ids
 * (koine_ids_free), or both: prompt and ids may each be NULL when not wanted. tokenizer is needed for ids alone; options may be NULL.
 *
 * json: an array of messages, or an object with `messages` and, if wanted, `tools` (or `functions`), `tool_choice`, `response_format`.
 * A message has `role` (system, user, assistant, tool, developer, latest_reminder) and `content` (text, null, or an array of parts of which
 * those of type text count); an assistant's also `reasoning_content` and `tool_calls`, a tool's `tool_call_id`. Text of users, systems
 * and tools is data: it never becomes a control token, whatever it says, and U+0000 in it is a character like others. Arguments of a call
 * that are null, missing or blank are {}. Members that would change the prompt and cannot be followed, such as a tool_choice that forces a
 * call, are refused with KOINE_ERR_UNSUPPORTED and their name; members that only concern sampling are passed over.
 * KOINE_ERR_ARG for JSON that is no such request, with the message's number. */
KOINE_API koine_status koine_chat_prompt(const koine_chat *chat, const koine_tokenizer *tokenizer, const char *json, size_t n_json,
                                         const koine_chat_options *options, char **prompt, size_t *n_bytes, int32_t **ids, size_t *n_ids);
/* The same for one prompt: opens the chat of `path`, and closes it. */
KOINE_API koine_status koine_chat_encode(const koine_tokenizer *tokenizer, const char *path, const char *json, size_t n_bytes,
                                         koine_thinking thinking, char **prompt, int32_t **ids, size_t *n_ids);

/* An answer, what follows the prompt with or without the end token, as a JSON message for the next request: role, reasoning_content,
 * content, tool_calls. thinking: as the prompt was made. By ids only control tokens count as markup, never text that looks like one: this
 * is the way to read what a model wrote. By text, which is the ids with their control tokens spelled, quoted markup cannot be told from
 * real markup.
 * Nothing is lost: whole calls are given, and what was not understood stays in the text where it stood. Then the message has a member
 * `defects` too, an array that says what is wrong in words. Bytes that are no UTF-8 become U+FFFD. Malformed answers are no errors. */
KOINE_API koine_status koine_chat_parse_ids(const koine_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, koine_thinking thinking,
                                            char **json);
KOINE_API koine_status koine_chat_parse(const char *answer, size_t n_bytes, koine_thinking thinking, char **json);

/* The same while the answer comes. Pieces are handed out as soon as nothing that may follow can change them, in whole characters; together
 * they are the texts that koine_chat_parse_ids gives. */
typedef enum koine_chat_part {
  KOINE_CHAT_REASONING,
  KOINE_CHAT_CONTENT,
  KOINE_CHAT_TOOL_CALL, /* a whole call as JSON, as an element of tool_calls */
  KOINE_CHAT_DEFECT     /* what is wrong with the answer, in words */
} koine_chat_part;
/* text [n_bytes], valid UTF-8, zero-terminated for calls and defects only. Return false to stop: the feeding call then ends in
 * KOINE_ERR_CANCELLED. Must not use the stream. */
typedef bool koine_chat_part_fn(void *user, koine_chat_part part, const char *text, size_t n_bytes);
typedef struct koine_chat_stream koine_chat_stream;
/* tokenizer: for ids; NULL when bytes are fed. It outlives the stream. fn may be NULL. One stream is used by one thread at a time. */
KOINE_API koine_status koine_chat_stream_open(const koine_tokenizer *tokenizer, koine_thinking thinking, koine_chat_part_fn *fn, void *user,
                                              koine_chat_stream **out);
KOINE_API void koine_chat_stream_close(koine_chat_stream *stream);
/* What comes next, cut anywhere. A stream takes ids or bytes, KOINE_ERR_STATE for the other or after the end. */
KOINE_API koine_status koine_chat_stream_feed_ids(koine_chat_stream *stream, const int32_t *ids, size_t n_ids);
KOINE_API koine_status koine_chat_stream_feed(koine_chat_stream *stream, const char *text, size_t n_bytes);
/* The end: hands out what was held back. *json (may be NULL) is the message as koine_chat_parse_ids gives it, with KOINE_ERR_CANCELLED
 * too, which says that the receiver had stopped the stream. */
KOINE_API koine_status koine_chat_stream_end(koine_chat_stream *stream, char **json);

/* ---- choosing tokens ------------------------------------------------------------------------------------------------------ */
typedef struct koine_sampling {
  size_t size;               /* sizeof this struct */
  float temperature;         /* 0: greedy */
  int32_t top_k;             /* 0: off */
  float top_p, min_p;        /* 1, 0: off */
  float repetition_penalty;  /* 1: off */
  float presence_penalty, frequency_penalty; /* 0: off */
  uint64_t seed;
  const koine_tokenizer *tokenizer; /* its control tokens take no part in penalties; NULL: ids 0 and 1 do not, which begin and end a text in
                                       every published checkpoint. koine_generate sets its own */
} koine_sampling;
/* Greedy, nothing filtered, no penalty. */
#define KOINE_SAMPLING_INIT {sizeof(koine_sampling), 0, 0, 1, 0, 1, 0, 0, 0, NULL}
typedef struct koine_sampler koine_sampler;
KOINE_API koine_status koine_sampler_open(const koine_sampling *sampling, size_t n_vocab, koine_sampler **out);
KOINE_API void koine_sampler_close(koine_sampler *sampler);
/* As just opened: no token seen, the seed anew. */
KOINE_API void koine_sampler_reset(koine_sampler *sampler);
/* Chooses from logits [n_vocab] given the tokens so far, by which the penalties go: all of them, each time, also when they are others than
 * before. KOINE_ERR_NUMERIC for a NaN. */
KOINE_API koine_status koine_sample(koine_sampler *sampler, const float *logits, const int32_t *tokens, size_t n_tokens, int32_t *out);

/* ---- answers -------------------------------------------------------------------------------------------------------------- */
/* A piece of generated text, in whole characters: what is no UTF-8 becomes U+FFFD. Return false to stop. */
typedef bool koine_text_fn(void *user, const char *text, size_t n_bytes);
/* A token that was chosen, before its text; return false to stop after it. */
typedef bool koine_token_fn(void *user, int32_t id);
typedef struct koine_generate_options {
  size_t size;               /* sizeof this struct */
  koine_sampling sampling;   /* its size must be set too */
  uint64_t n_predict;        /* most new tokens; 0: up to the context */
  const char *const *stops;  /* [n_stops] texts that end the answer; not handed out */
  size_t n_stops;
  bool special;              /* hand out the text of control tokens too */
  koine_text_fn *text;       /* may be NULL */
  koine_progress_fn *progress; /* prefill; may be NULL */
  void *user;                /* for all callbacks here */
  koine_token_fn *token;     /* may be NULL */
  koine_chat_stream *stream; /* takes the answer too, by ids and up to a stop text; the caller ends it. May be NULL */
} koine_generate_options;
#define KOINE_GENERATE_OPTIONS_INIT {sizeof(koine_generate_options), KOINE_SAMPLING_INIT, 0, NULL, 0, false, NULL, NULL, NULL, NULL, NULL}
typedef enum koine_stop {
  KOINE_STOP_EOS,    /* the model ended the answer */
  KOINE_STOP_LENGTH, /* n_predict */
  KOINE_STOP_TEXT,   /* one of `stops` */
  KOINE_STOP_CALLER, /* a callback returned false */
  KOINE_STOP_CONTEXT /* the session's context is full: a session with a larger one can go on */
} koine_stop;
KOINE_API const char *koine_stop_text(koine_stop stop); /* in words; never NULL */
/* Continues `prompt` until a stop. *out (koine_ids_free) has the *n_out new tokens, end token included; why in *stop (may be NULL).
 * KOINE_ERR_CANCELLED: koine_session_cancel; *out then has what came before. KOINE_ERR_ARG for a prompt longer than the context. */
KOINE_API koine_status koine_generate(koine_session *session, const koine_tokenizer *tokenizer, const int32_t *prompt, size_t n_prompt,
                                      const koine_generate_options *options, int32_t **out, size_t *n_out, koine_stop *stop);

/* Bits of information per byte of `text` under the model: consecutive pieces of `segment` tokens, each after a beginning-of-text token.
 * segment 0: 256. */
typedef struct koine_perplexity_result {
  size_t size; /* sizeof this struct */
  double bits_per_byte, nats_per_token;
  uint64_t n_tokens, n_bytes;
} koine_perplexity_result;
#define KOINE_PERPLEXITY_RESULT_INIT {sizeof(koine_perplexity_result), 0, 0, 0, 0}
KOINE_API koine_status koine_perplexity(koine_session *session, const koine_tokenizer *tokenizer, const char *text, size_t n_bytes,
                                        uint32_t segment, koine_progress_fn *progress, void *user, koine_perplexity_result *out);

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
/* segment as of koine_perplexity. KOINE_ERR_NUMERIC: a logit is not a number. */
KOINE_API koine_status koine_divergence(koine_session *session, const koine_tokenizer *tokenizer, const char *text, size_t n_bytes, uint32_t segment,
                                        koine_base_fn *base, void *base_user, koine_progress_fn *progress, void *user,
                                        koine_divergence_result *out);

/* ---- writing GGUF files -------------------------------------------------------------------------------------------------- */
/* What the columns of each product met while a text was read, experts apart: an importance matrix. Const once it is made. */
typedef struct koine_importance koine_importance;
/* Reads one in llama.cpp's GGUF form. KOINE_ERR_FILE. */
KOINE_API koine_status koine_importance_open(const char *path, koine_importance **out);
/* Evaluates `text` in pieces of `segment` tokens (0: 256), each after a beginning-of-text token, reading back what every product is given. */
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

typedef struct koine_tune_options {
  size_t size;      /* sizeof this struct */
  uint32_t seconds; /* about how long; 0: 60 */
  uint32_t reserved;
} koine_tune_options;
#define KOINE_TUNE_OPTIONS_INIT {sizeof(koine_tune_options), 0, 0}
/* Looks for parameters of kernels that are faster than the defaults on an awake plan's device, checks them against the C reference, and keeps them
 * in the cache folder: this plan and every later one on the device use them. options may be NULL. *report is a table with the speeds before
 * and after. KOINE_ERR_STATE for a sleeping plan, or without a cache folder; KOINE_ERR_CANCELLED: what was found until then is kept. */
KOINE_API koine_status koine_tune(koine_plan *plan, const koine_tune_options *options, koine_progress_fn *progress, void *user, char **report);

#ifdef __cplusplus
}
#endif
#endif
