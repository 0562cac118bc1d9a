/* koine logits: token ids in, all logits out. Owns the output file: it appears whole under its name, or not at all; what is no ordinary
 * file (-, a device, a pipe) is written to as the logits come. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cli.h"

enum { PIECE_BYTES = 64 << 20 }; /* logits held at once, unless one chunk is more */

/* ---- tokens ---- */
static int check_tokens(const char *path, const int32_t *tokens, size_t n_bytes, uint32_t n_vocab)
{
  if (!n_bytes) return cli_fail_with(EXIT_FILE, "%s: expected int32 token ids, found an empty file", path);
  if (n_bytes % 4) return cli_fail_with(EXIT_FILE, "%s: expected int32 token ids, found %zu bytes, which is no multiple of 4", path, n_bytes);
  for (size_t i = 0; i < n_bytes / 4; i++)
    if (tokens[i] < 0 || (uint32_t)tokens[i] >= n_vocab)
      return cli_fail_with(EXIT_FILE, "%s: expected ids from 0 to %u, found %d at position %zu", path, n_vocab - 1, tokens[i], i);
  return EXIT_DONE;
}

/* From the file's little-endian bytes to the machine's integers, in place. */
static int32_t *to_native(char *bytes, size_t n_bytes)
{
  for (size_t i = 0; i + 4 <= n_bytes; i += 4) {
    const unsigned char *b = (const unsigned char *)bytes + i;
    uint32_t v = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    memcpy(bytes + i, &v, 4);
  }
  return (int32_t *)(void *)bytes; /* from malloc */
}

static void to_little_endian(float *x, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    uint32_t v;
    memcpy(&v, &x[i], 4);
    unsigned char b[4] = {(unsigned char)v, (unsigned char)(v >> 8), (unsigned char)(v >> 16), (unsigned char)(v >> 24)};
    memcpy(&x[i], b, 4);
  }
}

/* ---- output ---- */
typedef struct sink {
  const char *path;
  char *part; /* the file beside it that is renamed at the end; NULL: written directly */
  FILE *f;
} sink;

static int sink_fail(const sink *k) { return cli_fail_with(EXIT_FILE, "%s: writing failed: %s", k->path, strerror(errno)); }

static int sink_open(const char *path, sink *k)
{
  struct stat st;
  *k = (sink){.path = path};
  if (!strcmp(path, "-")) {
    k->f = stdout;
    return EXIT_DONE;
  }
  if (stat(path, &st) || S_ISREG(st.st_mode)) {
    size_t n = strlen(path) + 32;
    k->part = malloc(n);
    if (!k->part) return cli_fail_with(EXIT_DEVICE, "out of memory");
    snprintf(k->part, n, "%s.%ld.part", path, (long)getpid());
  }
  k->f = fopen(k->part ? k->part : path, "wb");
  return k->f ? EXIT_DONE : sink_fail(k);
}

/* keep: the logits are complete. */
static int sink_close(sink *k, bool keep)
{
  int status = EXIT_DONE;
  if (k->f && (k->f == stdout ? fflush(k->f) : fclose(k->f)) && keep) status = sink_fail(k);
  if (k->f && k->part && keep && !status && rename(k->part, k->path)) status = sink_fail(k);
  if (k->f && k->part && (!keep || status)) remove(k->part);
  free(k->part);
  return status;
}

/* ---- evaluation ---- */
/* In pieces of whole chunks, so that the chunks are those that one evaluation of all tokens would have. */
static size_t piece_tokens(size_t chunk, size_t n_vocab)
{
  size_t chunks = PIECE_BYTES / 4 / n_vocab / chunk;
  return chunks ? chunks * chunk : chunk;
}

typedef struct piece_at { size_t done, all; } piece_at; /* tokens before a piece, and of all pieces */

/* Between the chunks of a piece: Ctrl-C ends it there. */
static bool in_piece(void *user, const char *what, uint64_t done, uint64_t total)
{
  const piece_at *at = user;
  (void)total;
  return cli_progress(NULL, what, at->done + done, at->all);
}

static int evaluate(koine_session *session, const int32_t *tokens, size_t n_tokens, size_t n_vocab, size_t piece, sink *k)
{
  int status = EXIT_DONE;
  if (piece > n_tokens) piece = n_tokens;
  float *logits = malloc(piece * n_vocab * sizeof *logits);
  if (!logits) return cli_fail_with(EXIT_DEVICE, "out of memory: %zu bytes for the logits of %zu tokens", piece * n_vocab * sizeof *logits, piece);
  for (size_t done = 0; done < n_tokens && !status;) {
    size_t n = n_tokens - done < piece ? n_tokens - done : piece;
    piece_at at = {done, n_tokens};
    koine_eval_options options = {.size = sizeof options, .n_logits = n, .progress = in_piece, .user = &at};
    koine_status s = koine_session_eval(session, tokens, done + n, &options, logits);
    if (!s && cli_interrupted()) s = KOINE_ERR_CANCELLED;
    if (s) {
      status = cli_fail(s);
      break;
    }
    to_little_endian(logits, n * n_vocab);
    if (fwrite(logits, n_vocab * sizeof *logits, n, k->f) != n) status = sink_fail(k);
    done += n;
  }
  cli_progress_end();
  free(logits);
  return status;
}

static int run(const cli_args *a, const int32_t *tokens, size_t n_tokens, cli_engine *e, sink *k)
{
  const cli_value *v = a->v;
  size_t chunk = v[OPT_CHUNK].given ? (size_t)v[OPT_CHUNK].i : 512;
  if (chunk > n_tokens) chunk = n_tokens;
  koine_session_options options = {.size = sizeof options, .cache = (koine_cache)v[OPT_CACHE].i, .context = n_tokens, .chunk = (uint32_t)chunk};
  koine_session *session;
  koine_model_info info = KOINE_MODEL_INFO_INIT;
  koine_status s = koine_model_get_info(e->model, &info);
  if (!s) s = koine_session_open(e->plan, &options, &session);
  if (s) return cli_fail(s);
  int status = evaluate(session, tokens, n_tokens, info.n_vocab, piece_tokens(chunk, info.n_vocab), k);
  koine_session_close(session);
  return status;
}

/* The cheap checks first: the tokens need only the model's vocabulary, not its weights on a device. */
static int check_input(const cli_args *a, const char *path, const int32_t *tokens, size_t n_bytes)
{
  koine_model *model;
  koine_model_info info = KOINE_MODEL_INFO_INIT;
  koine_status s = koine_model_open(a->v[OPT_MODEL].text, &model);
  if (s) return cli_fail(s);
  s = koine_model_get_info(model, &info);
  koine_model_close(model);
  return s ? cli_fail(s) : check_tokens(path, tokens, n_bytes, info.n_vocab);
}

int cmd_logits(const cli_args *a)
{
  const char *path = a->v[OPT_TOKENS].text;
  cli_engine e = {0};
  sink k = {0};
  char *bytes = NULL;
  size_t n_bytes;
  int status = cli_read_file(path, &bytes, &n_bytes);
  const int32_t *tokens = status ? NULL : to_native(bytes, n_bytes);
  if (!status) status = check_input(a, path, tokens, n_bytes);
  if (!status) status = sink_open(a->v[OPT_OUTPUT].text, &k);
  if (!status) status = cli_engine_open(a, n_bytes / 4, n_bytes / 4, &e);
  if (!status) status = run(a, tokens, n_bytes / 4, &e, &k);
  int closed = sink_close(&k, !status);
  cli_engine_close(&e);
  free(bytes);
  return status ? status : closed;
}
