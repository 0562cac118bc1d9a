/* koine perplexity: bits per byte of a text, and how far a model is from another, which is a model too or the logits that were kept of it. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "common_text.h"
#include "out.h"

enum { MANY = 1 << 20 }; /* bytes of a logits file's buffer */

/* ---- what is printed ---- */
static void print_perplexity(const cli_args *a, const koine_perplexity_result *r)
{
  if (a->v[OPT_JSON].i)
    printf("{\"bits_per_byte\": %.6f, \"nats_per_token\": %.6f, \"perplexity\": %.6f, \"tokens\": %llu, \"bytes\": %llu, \"segment\": %lld}\n", r->bits_per_byte,
           r->nats_per_token, exp(r->nats_per_token), (unsigned long long)r->n_tokens, (unsigned long long)r->n_bytes, (long long)a->v[OPT_SEGMENT].i);
  else
    printf("%.4f bits per byte, %.4f nats per token, perplexity %.4f (%llu tokens, %llu bytes, segments of %lld)\n", r->bits_per_byte, r->nats_per_token,
           exp(r->nats_per_token), (unsigned long long)r->n_tokens, (unsigned long long)r->n_bytes, (long long)a->v[OPT_SEGMENT].i);
}

static void print_divergence(const cli_args *a, const koine_divergence_result *r)
{
  unsigned long long tokens = r->n_tokens, bytes = r->n_bytes;
  long long segment = a->v[OPT_SEGMENT].i;
  if (a->v[OPT_JSON].i)
    printf("{\"kl_mean\": %.9g, \"kl_median\": %.9g, \"kl_p99\": %.9g, \"kl_max\": %.9g, \"same_top\": %.6f, \"bits_per_byte\": %.6f, "
           "\"base_bits_per_byte\": %.6f, \"tokens\": %llu, \"bytes\": %llu, \"segment\": %lld}\n",
           r->mean, r->median, r->p99, r->max, r->same_top, r->bits_per_byte, r->base_bits_per_byte, tokens, bytes, segment);
  else
    printf("KL divergence: mean %.6f, median %.6f, 99 %% below %.6f, most %.6f nats; the same likeliest token %.4f of the time\n"
           "%.4f bits per byte, the base %.4f (%llu tokens, %llu bytes, segments of %lld)\n",
           r->mean, r->median, r->p99, r->max, r->same_top, r->bits_per_byte, r->base_bits_per_byte, tokens, bytes, segment);
}

/* ---- the base ---- */
typedef struct base {
  cli_text text; /* a model; or */
  FILE *file;    /* raw logits of every piece, one after the other */
  const char *path;
  bool broken;   /* the file ended, or could not be read */
  size_t n_vocab;
} base;

static koine_status evaluate(koine_session *session, const int32_t *ids, size_t n, float *logits)
{
  koine_eval_options e = {.size = sizeof e, .n_logits = n};
  koine_status s = koine_session_truncate(session, 0);
  return s ? s : koine_session_eval(session, ids, n, &e, logits);
}

static koine_status from_model(void *user, const int32_t *ids, size_t n, float *logits)
{
  base *b = user;
  return evaluate(b->text.session, ids, n, logits);
}

static koine_status from_file(void *user, const int32_t *ids, size_t n, float *logits)
{
  base *b = user;
  (void)ids;
  b->broken = fread(logits, b->n_vocab * sizeof *logits, n, b->file) != n;
  return b->broken ? KOINE_ERR_FILE : KOINE_OK;
}

/* Whether a path is a checkpoint: a folder, or a file that begins as GGUF does. */
static bool is_model(const char *path)
{
  struct stat st;
  char head[4] = "";
  if (!stat(path, &st) && S_ISDIR(st.st_mode)) return true;
  FILE *f = fopen(path, "rb");
  bool is = f && fread(head, sizeof head, 1, f) == 1 && !memcmp(head, "GGUF", 4);
  if (f) fclose(f);
  return is;
}

static int base_open(const cli_args *a, uint64_t context, uint64_t segment, base *b)
{
  cli_args own = *a;
  b->path = a->v[OPT_KL].text;
  own.v[OPT_MODEL].text = b->path;
  if (is_model(b->path)) {
    int status = cli_text_open(&own, &b->text);
    return status ? status : cli_text_wake(&own, context, segment, &b->text);
  }
  b->file = fopen(b->path, "rb");
  if (!b->file) return cli_fail_with(EXIT_FILE, "%s: expected a model, or logits that --save-logits kept, found: %s", b->path, strerror(errno));
  setvbuf(b->file, NULL, _IOFBF, MANY);
  return EXIT_DONE;
}

static void base_close(base *b)
{
  cli_text_close(&b->text);
  if (b->file) fclose(b->file);
}

static int compare(const cli_args *a, cli_text *t, const char *text, size_t n_bytes, uint64_t context, uint64_t segment)
{
  base b = {0};
  koine_model_info info = KOINE_MODEL_INFO_INIT, other = KOINE_MODEL_INFO_INIT;
  koine_divergence_result r = KOINE_DIVERGENCE_RESULT_INIT;
  int status = base_open(a, context, segment, &b);
  koine_status s = status ? KOINE_OK : koine_model_get_info(t->engine.model, &info);
  if (!status && !s && !b.file) s = koine_model_get_info(b.text.engine.model, &other);
  b.n_vocab = info.n_vocab;
  if (!status && !s && !b.file && other.n_vocab != info.n_vocab)
    status = cli_fail_with(EXIT_FILE, "%s: expected a vocabulary of %u as the model's, found %u", b.path, info.n_vocab, other.n_vocab);
  if (!status && !s)
    s = koine_divergence(t->session, t->tokenizer, text, n_bytes, (uint32_t)segment, b.file ? from_file : from_model, &b, cli_progress, NULL, &r);
  cli_progress_end();
  bool more = !status && !s && b.file && getc(b.file) != EOF;
  if (b.broken || more)
    status = cli_fail_with(EXIT_FILE, "%s: expected %zu logits of every token of this text in segments of %llu, found %s", b.path, b.n_vocab,
                           (unsigned long long)segment, more ? "more" : "fewer");
  else if (!status && s) status = cli_fail(s);
  if (!status) print_divergence(a, &r);
  base_close(&b);
  return status;
}

/* ---- the figures, and logits to keep ---- */
typedef struct keeping { koine_session *session; cli_out out; size_t n_vocab; } keeping;

/* As a base: the session's own logits, written as they come. */
static koine_status keep(void *user, const int32_t *ids, size_t n, float *logits)
{
  keeping *k = user;
  koine_status s = evaluate(k->session, ids, n, logits);
  if (!s && !cli_out_put(&k->out, logits, n * k->n_vocab * sizeof *logits)) s = KOINE_ERR_FILE;
  return s;
}

/* Each piece is evaluated twice: for the figures, and to be kept. */
static int save(const cli_args *a, cli_text *t, const char *text, size_t n_bytes, uint64_t segment)
{
  koine_model_info info = KOINE_MODEL_INFO_INIT;
  koine_divergence_result r = KOINE_DIVERGENCE_RESULT_INIT;
  keeping k = {.session = t->session};
  int status = cli_out_open(a->v[OPT_SAVE_LOGITS].text, &k.out);
  koine_status s = status ? KOINE_OK : koine_model_get_info(t->engine.model, &info);
  k.n_vocab = info.n_vocab;
  if (!status && !s) s = koine_divergence(t->session, t->tokenizer, text, n_bytes, (uint32_t)segment, keep, &k, cli_progress, NULL, &r);
  cli_progress_end();
  if (s) status = k.out.error ? cli_out_failed(&k.out) : cli_fail(s);
  int closed = cli_out_close(&k.out, !status);
  if (status || closed) return status ? status : closed;
  double nats = r.bits_per_byte * log(2) * (double)r.n_bytes / (double)r.n_tokens;
  print_perplexity(a, &(koine_perplexity_result){.bits_per_byte = r.bits_per_byte, .nats_per_token = nats, .n_tokens = r.n_tokens, .n_bytes = r.n_bytes});
  return EXIT_DONE;
}

static int plain(const cli_args *a, cli_text *t, const char *text, size_t n_bytes, uint64_t segment)
{
  koine_perplexity_result r = KOINE_PERPLEXITY_RESULT_INIT;
  koine_status s = koine_perplexity(t->session, t->tokenizer, text, n_bytes, (uint32_t)segment, cli_progress, NULL, &r);
  cli_progress_end();
  if (s) return cli_fail(s);
  print_perplexity(a, &r);
  return EXIT_DONE;
}

int cmd_perplexity(const cli_args *a)
{
  const cli_value *v = a->v;
  cli_text t = {0};
  char *text = NULL;
  size_t n_bytes;
  uint64_t segment = (uint64_t)v[OPT_SEGMENT].i, context = v[OPT_CTX].i ? (uint64_t)v[OPT_CTX].i : segment;
  if (v[OPT_KL].given && v[OPT_SAVE_LOGITS].given) return cli_usage_error(a->command, "expected --kl or --save-logits, found both");
  int status = cli_text_input(a, &text, &n_bytes);
  if (!status && !n_bytes) status = cli_fail_with(EXIT_FILE, "%s: expected text, found an empty file", v[OPT_FILE].text);
  if (!status) status = cli_text_open(a, &t);
  if (!status) status = cli_text_wake(a, context, segment, &t);
  if (!status && v[OPT_KL].given) status = compare(a, &t, text, n_bytes, context, segment);
  else if (!status && v[OPT_SAVE_LOGITS].given) status = save(a, &t, text, n_bytes, segment);
  else if (!status) status = plain(a, &t, text, n_bytes, segment);
  cli_text_close(&t);
  free(text);
  return status;
}
