/* From ids to logits: devices, a model, a plan that says what runs where, and sessions. koine.h has the rules. */
#ifndef KOINE_RUN_H
#define KOINE_RUN_H
#include "base.h"
#ifdef __cplusplus
extern "C" {
#endif

/* ---- runtime and devices ---------------------------------------------------------------------------------------------- */
typedef struct koine_runtime koine_runtime;

typedef struct koine_runtime_options {
  size_t size;              /* sizeof this struct */
  const char *topology_xml; /* NULL: this machine; else an hwloc XML file to show instead (no device can then be used) */
  const char *cache_dir;    /* where compiled programs and measured choices are kept; NULL: the user's cache folder, $XDG_CACHE_HOME/koine or
                               $HOME/.cache/koine; "": nothing is ever written. Copied */
  uint32_t n_threads;       /* of this library's own work on the CPU, such as compiling; 0: as many as there are processors */
  uint32_t reserved;
  const char *const *subdevices; /* [n_subdevices] "cl0=1,1": beside cl0 there are devices cl0/0 and cl0/1, of one of its compute units each;
                               KOINE_ERR_NO_DEVICE where it is not there or its driver cannot part it so */
  size_t n_subdevices;
  const char *shipped_dir;  /* a folder of measurements (*.log, as koine_tuned_export writes them) that stand behind the user's own; NULL: those
                               that were installed with the library; "": none. Copied */
} koine_runtime_options;
#define KOINE_RUNTIME_OPTIONS_INIT {sizeof(koine_runtime_options), NULL, NULL, 0, 0, NULL, 0, NULL}

typedef enum koine_device_type { KOINE_DEVICE_HOST, KOINE_DEVICE_CPU, KOINE_DEVICE_GPU, KOINE_DEVICE_ACCELERATOR } koine_device_type;

/* One usable endpoint of a card. Unknown numbers are 0, unknown texts "". */
typedef struct koine_device_info {
  size_t size;          /* sizeof this struct */
  const char *id;       /* what --device takes: "host", "cl0", "cl1", ..., and "cl0/0" of a part of cl0 */
  const char *name;     /* the card's name */
  const char *vendor;
  const char *backend;  /* "host", "opencl", "hip" */
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
/* Device i, 0 <= i < n_devices, best first: GPUs, accelerators, processors, the host reference; of one kind those with memory of their own, then by
 * units and clock. Those that koine_tune has measured with the same model stand by their speed in each other's places. KOINE_ERR_ARG out of range. */
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
/* Architecture, parameters, bytes by precision and role, scratch, and cache bytes at each context length (none: the usual ones), as text or JSON. */
KOINE_API koine_status koine_model_describe(const koine_model *model, const uint64_t *contexts /* [n_contexts] tokens */,
                                            size_t n_contexts, bool json, char **out);

/* ---- plan ------------------------------------------------------------------------------------------------------------- */
typedef struct koine_plan koine_plan;

/* packed: cache rows in FP8/FP4 as the published model simulates them. exact: fp32, no rounding (for checks). */
typedef enum koine_cache { KOINE_CACHE_PACKED, KOINE_CACHE_EXACT } koine_cache;

typedef struct koine_plan_options {
  size_t size;        /* sizeof this struct */
  const char *device; /* an id or part of a name: all layers lie there; "": on the best device; NULL: where they run fastest, over all devices that are usable */
  uint32_t chunk;     /* most tokens evaluated at once; 0: 512 */
  koine_cache cache;  /* of the session that is counted */
  uint64_t context;   /* of that session, in tokens; 0: 4096, or the checkpoint's if that is less */
  uint64_t mark_bytes; /* most bytes that a session keeps to rewind (koine_session_truncate); 0: the plan's choice */
  uint64_t memory_bytes; /* most bytes to use on each device; 0: what it has */
  const char *const *layers; /* [n_layers] "DEVICE=FIRST-LAST", inclusive, "DEVICE=3-" to the end: every layer lies on one of several devices;
                         the embedding lies with the first, the head with the last. `device` is not given then */
  size_t n_layers;
  const char *const *experts; /* [n_experts] "DEVICE=FIRST-LAST", or "DEVICE" for all layers: these layers' routed experts are computed there */
  size_t n_experts;
  const char *placement; /* in place of layers, experts and device: a text with the lines of koine_plan_describe that begin with "place" and "layers";
                            other lines are passed over */
  uint32_t split_groups; /* into how many groups of work attention is cut for all devices, which changes last bits of results; 0: what suits the device,
                            of several the largest. With equal kernels and parameters results do not depend on which device has which layer */
  uint32_t keep_layout; /* 1: weights as laid out for a device are kept in a folder "layout" beside the checkpoint, or in the cache folder where that
                           cannot be written, as many bytes again, and the next start reads them instead of laying them out. Nothing that
                           is wrong with these files is an error: the log says so, and weights are laid out anew. Experts that come by turns
                           (expert_caches) are all laid out by the first wake; the next start reads them from there whenever they come. 0: no */
  const char *const *expert_caches; /* [n_expert_caches] "DEVICE=BYTES": of the routed experts that this device computes so many bytes are there at
                         once; a step that wants others reads them from the checkpoint, in place of those that were wanted least of late. Results are
                         right for any number of bytes that holds one expert of each of its layers, and of each format that a layer's are stored in; the
                         order of their sums, and so the last bits of a prompt's, may be another for another number of bytes */
  size_t n_expert_caches;
  const char *misses_on; /* a device that has all of those experts, and computes those that are not there when few tokens want them, as far as that is
                            quicker than loading them. NULL: none */
} koine_plan_options;
#define KOINE_PLAN_OPTIONS_INIT {sizeof(koine_plan_options), NULL, 0, KOINE_CACHE_PACKED, 0, 0, 0, NULL, 0, NULL, 0, NULL, 0, 0, NULL, 0, NULL}

/* Decides where the layers run. options may be NULL. Keeps pointers to runtime and model. KOINE_ERR_NO_DEVICE, KOINE_ERR_MEMORY when
 * what is counted cannot fit (the message has the numbers), KOINE_ERR_FILE for a model without weights, KOINE_ERR_ARG for layers without a
 * device or with two. */
KOINE_API koine_status koine_plan_make(koine_runtime *runtime, koine_model *model, const koine_plan_options *options, koine_plan **out);
/* The plan as text, which makes the same plan again (koine_plan_options.placement). */
KOINE_API koine_status koine_plan_describe(const koine_plan *plan, char **out);
/* Where everything lies, as one line: "layers 0-21 on cl0 (NAME), layers 22-42 on cl1 (NAME)". */
KOINE_API koine_status koine_plan_line(const koine_plan *plan, char **out);
/* Uploads weights and compiles kernels; does nothing when awake. progress may be NULL. KOINE_ERR_MEMORY, KOINE_ERR_DEVICE,
 * KOINE_ERR_CANCELLED leave the plan asleep. */
KOINE_API koine_status koine_plan_wake(koine_plan *plan, koine_progress_fn *progress, void *user);
/* Frees what wake made; does nothing when asleep. KOINE_ERR_STATE while a session is open: nothing is freed then. wake and sleep of one
 * plan are called on one thread at a time, and sleep while no other function uses the plan. */
KOINE_API koine_status koine_plan_sleep(koine_plan *plan);
/* All sessions must be closed: with one open the plan is left as it is, and the log has a warning. */
KOINE_API void koine_plan_free(koine_plan *plan);

/* Bytes on the devices together: expected while the plan sleeps, what is there once it is awake. 0 where nothing is known yet. */
typedef struct koine_plan_usage {
  size_t size;                     /* sizeof this struct */
  uint64_t weight_bytes;           /* as laid out there */
  uint64_t scratch_bytes;
  uint64_t weight_bytes_per_token; /* weights read to decode one token */
  uint64_t wake_ns;                /* what wake took */
  uint64_t cache_bytes;            /* of one session of the plan's context and cache mode, when it is full */
  uint64_t mark_bytes;             /* of one session, to rewind */
  uint64_t program_bytes;          /* an allowance for compiled kernels */
  uint64_t limit_bytes;            /* that the plan may use; 0: unknown */
  /* With expert caches, since the plan woke: of experts wanted those that were
   * there, or read (bytes, time); guesses a layer ahead, right ones, those read
   * ahead and used, processor time, host memory; computed by
   * the device of misses_on, time that this took. */
  uint64_t experts_there, experts_loaded, expert_bytes, expert_ns;
  uint64_t experts_guessed, guesses_right, guesses_used, guess_ns, guess_bytes;
  uint64_t experts_elsewhere, elsewhere_ns;
} koine_plan_usage;
#define KOINE_PLAN_USAGE_INIT {sizeof(koine_plan_usage), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
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
  koine_progress_fn *progress; /* between chunks, on the calling thread, where the session may only be cancelled; NULL: none */
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
/* Makes a running koine_session_eval of this session end after its current chunk, or, on several devices, those that are under way: where
 * these are the last, it ends as if nothing had been said. From any thread. */
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

/* Sessions in files, so that a conversation goes on in another process. What is saved is the part up to the last mark (see koine_session_truncate),
 * and some of the marks before it to rewind to. The file can be read by this version of the library, for the same model with the same
 * layers on each device, and in the same cache mode; devices and drivers may be others.
 * Writes to `path` in place of what has that name, at once and when all of it is on the disk: whenever the process is ended, the old file or the new
 * one is there, and nothing else. Other sessions go on meanwhile. KOINE_ERR_STATE for a session without a mark (of less than 128 tokens), or whose marks
 * are given up meanwhile for want of memory; KOINE_ERR_FILE. */
KOINE_API koine_status koine_session_save(koine_session *session, const char *path);
/* What a file stands for: its tokens, and the positions that koine_session_load can begin from, ascending, the last one n_tokens. Reads no more than
 * that. KOINE_ERR_FILE for a file that is none, another's, or damaged; KOINE_ERR_STATE for a sleeping plan. koine_ids_free takes either back. */
KOINE_API koine_status koine_session_look(koine_plan *plan, const char *path, int32_t **tokens, size_t *n_tokens, int32_t **marks, size_t *n_marks);
/* Opens a session as koine_session_open does, which holds as many of the file's tokens as a mark at or before n_tokens allows, and the context.
 * KOINE_ERR_ARG where there is no such mark; KOINE_ERR_FILE as above, and for pieces that were damaged: nothing of them is used. */
KOINE_API koine_status koine_session_load(koine_plan *plan, const koine_session_options *options, const char *path, size_t n_tokens, koine_session **out);

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

#ifdef __cplusplus
}
#endif
#endif
