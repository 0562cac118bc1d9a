/* koine logits: token ids in, all logits out, to a file that appears whole or as the logits come. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli.h"
#include "out.h"

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

static int evaluate(koine_session *session, const int32_t *tokens, size_t n_tokens, size_t n_vocab, size_t piece, cli_out *k)
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
    if (!cli_out_put(k, logits, n * n_vocab * sizeof *logits)) status = cli_out_failed(k);
    done += n;
  }
  cli_progress_end();
  free(logits);
  return status;
}

static int run(const cli_args *a, const int32_t *tokens, size_t n_tokens, cli_engine *e, cli_out *k)
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
  cli_out k = {0};
  char *bytes = NULL;
  size_t n_bytes;
  int status = cli_read_file(path, &bytes, &n_bytes);
  const int32_t *tokens = status ? NULL : to_native(bytes, n_bytes);
  if (!status) status = check_input(a, path, tokens, n_bytes);
  if (!status) status = cli_out_open(a->v[OPT_OUTPUT].text, &k);
  if (!status) status = cli_engine_open(a, n_bytes / 4, n_bytes / 4, &e);
  if (!status) status = run(a, tokens, n_bytes / 4, &e, &k);
  int closed = cli_out_close(&k, !status);
  cli_engine_close(&e);
  free(bytes);
  return status ? status : closed;
}
