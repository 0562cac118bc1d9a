/* What all of libkoine shares: the version, status and last error, the log, progress. koine.h has the rules. */
#ifndef KOINE_BASE_H
#define KOINE_BASE_H
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

#ifdef __cplusplus
}
#endif
#endif
