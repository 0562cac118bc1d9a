/* koine_perplexity, koine_divergence and koine_importance_measure: a text in pieces that stand alone, each evaluated once. Owns nothing. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "api_text.h"
#include "base/record.h"
#include "quant/importance.h"

/* What is made of a piece: ids [n], the beginning-of-text token first; logits [n - 1][n_vocab] of what follows each but the last. */
typedef struct reading reading;
struct reading {
  koine_session *session;
  const koine_tokenizer *tokenizer;
  uint32_t segment;
  const char *what; /* for progress */
  koine_progress_fn *progress;
  void *user;
  koine_status (*piece)(reading *r, const int32_t *ids, size_t n, const float *logits);
  bool last_only; /* of a piece's logits */
  size_t n;       /* tokens of the text */
  double nats;
  /* koine_divergence */
  koine_base_fn *base;
  void *base_user;
  float *base_logits, *apart; /* apart [n]: each token's divergence */
  size_t n_apart, n_same;
  double base_nats;
};

/* log of the sum of e^logit, and the likeliest. */
static double norm(const float *logits, size_t n, size_t *top)
{
  double sum = 0;
  *top = 0;
  for (size_t i = 1; i < n; i++) *top = logits[i] > logits[*top] ? i : *top;
  for (size_t i = 0; i < n; i++) sum += exp((double)(logits[i] - logits[*top]));
  return (double)logits[*top] + log(sum);
}

static koine_status evaluate(reading *r, const int32_t *ids, size_t n, float *logits)
{
  koine_eval_options e = {.size = sizeof e, .n_logits = r->last_only ? 1 : n - 1};
  koi_session_clear(r->session); /* each piece stands alone */
  koine_status s = koi_session_eval(r->session, ids, n - 1, &e, logits);
  return s ? s : r->piece(r, ids, n, logits);
}

static koine_status read_pieces(reading *r, const int32_t *ids, int32_t bos, float *logits, int32_t *part)
{
  koine_status s = KOINE_OK;
  for (size_t at = 0; at < r->n && !s; at += r->segment) {
    size_t m = r->n - at < r->segment ? r->n - at : r->segment;
    part[0] = bos;
    memcpy(part + 1, ids + at, m * sizeof *ids);
    if (r->progress && !r->progress(r->user, r->what, at, r->n)) s = koi_error(KOINE_ERR_CANCELLED, "cancelled after %zu of %zu tokens", at, r->n);
    if (!s) s = evaluate(r, part, m + 1, logits);
  }
  return s;
}

static koine_status read_text(reading *r, const char *text, size_t n_bytes)
{
  koine_status s = koi_session_alone(r->session, r->what);
  if (s) return s;
  if (!r->segment) r->segment = 256;
  if (r->segment > r->session->context)
    return koi_error(KOINE_ERR_ARG, "pieces of %u tokens do not fit a context of %llu", r->segment, (unsigned long long)r->session->context);
  int32_t bos = koi_tok_bos(r->tokenizer->tok), *ids = NULL, *part = NULL;
  if (bos < 0) return koi_error(KOINE_ERR_FILE, "the tokenizer names no beginning-of-text token, which each piece needs");
  s = koi_tok_encode(r->tokenizer->tok, text, n_bytes, 0, &ids, &r->n);
  size_t room = (r->last_only ? 1 : (size_t)r->segment) * r->session->plan->model->config.n_vocab;
  float *logits = s ? NULL : koi_alloc(room, sizeof *logits);
  if (!s && (!logits || !(part = koi_alloc((size_t)r->segment + 1, sizeof *part)))) s = KOINE_ERR_MEMORY;
  if (!s && r->base && (!(r->base_logits = koi_alloc(room, sizeof *logits)) || !(r->apart = koi_alloc(r->n + 1, sizeof *r->apart)))) s = KOINE_ERR_MEMORY;
  if (!s && !r->n) s = koi_error(KOINE_ERR_ARG, "the text is empty");
  if (!s) s = read_pieces(r, ids, bos, logits, part);
  koi_free(ids);
  koi_free(part);
  koi_free(logits);
  return s;
}

/* ---- perplexity ---- */
static koine_status add_surprise(reading *r, const int32_t *ids, size_t n, const float *logits)
{
  size_t n_vocab = r->session->plan->model->config.n_vocab, top;
  for (size_t i = 1; i < n; i++, logits += n_vocab) r->nats += norm(logits, n_vocab, &top) - (double)logits[ids[i]];
  return isnan(r->nats) ? koi_session_explain_nan(r->session) : KOINE_OK;
}

koine_status koine_perplexity(koine_session *session, const koine_tokenizer *tokenizer, const char *text, size_t n_bytes, uint32_t segment,
                              koine_progress_fn *progress, void *user, koine_perplexity_result *out)
{
  if (!session || !tokenizer || !text || !out) return koi_missing("koine_perplexity");
  reading r = {.session = session, .tokenizer = tokenizer, .segment = segment, .what = "perplexity", .progress = progress, .user = user, .piece = add_surprise};
  koine_status s = read_text(&r, text, n_bytes);
  if (s) return s;
  if (!isfinite(r.nats)) return koi_error(KOINE_ERR_NUMERIC, "a logit is not a number, or infinite (op head)");
  koine_perplexity_result own = {
    .bits_per_byte = r.nats / log(2) / (double)n_bytes, .nats_per_token = r.nats / (double)r.n, .n_tokens = r.n, .n_bytes = n_bytes};
  KOI_GIVE(koine_perplexity_result, &own, out);
  return KOINE_OK;
}

/* ---- divergence ---- */
static koine_status add_divergence(reading *r, const int32_t *ids, size_t n, const float *logits)
{
  size_t n_vocab = r->session->plan->model->config.n_vocab, top, base_top;
  const float *base = r->base_logits;
  koine_status s = r->base(r->base_user, ids, n - 1, r->base_logits);
  for (size_t i = 1; i < n && !s; i++, logits += n_vocab, base += n_vocab) {
    double a = norm(base, n_vocab, &base_top), b = norm(logits, n_vocab, &top), sum = 0;
    for (size_t k = 0; k < n_vocab; k++) sum += exp((double)base[k] - a) * (((double)base[k] - a) - ((double)logits[k] - b));
    r->nats += b - (double)logits[ids[i]], r->base_nats += a - (double)base[ids[i]];
    r->apart[r->n_apart++] = (float)(sum > 0 ? sum : sum == sum ? 0 : sum); /* below 0 is rounding */
    r->n_same += top == base_top;
  }
  if (!s && !isfinite(r->nats)) s = koi_session_explain_nan(r->session);
  if (!s && !isfinite(r->base_nats)) s = koi_error(KOINE_ERR_NUMERIC, "a logit of the base is not a number, or infinite");
  return s;
}

static int by_size(const void *a, const void *b)
{
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static void summarize(reading *r, size_t n_bytes, koine_divergence_result *own)
{
  double sum = 0;
  size_t n = r->n_apart;
  for (size_t i = 0; i < n; i++) sum += (double)r->apart[i];
  qsort(r->apart, n, sizeof *r->apart, by_size);
  *own = (koine_divergence_result){.mean = sum / (double)n, .median = (double)r->apart[n / 2], .p99 = (double)r->apart[(n - 1) * 99 / 100],
                                   .max = (double)r->apart[n - 1], .same_top = (double)r->n_same / (double)n, .bits_per_byte = r->nats / log(2) / (double)n_bytes,
                                   .base_bits_per_byte = r->base_nats / log(2) / (double)n_bytes, .n_tokens = n, .n_bytes = n_bytes};
}

koine_status koine_divergence(koine_session *session, const koine_tokenizer *tokenizer, const char *text, size_t n_bytes, uint32_t segment, koine_base_fn *base,
                              void *base_user, koine_progress_fn *progress, void *user, koine_divergence_result *out)
{
  if (!session || !tokenizer || !text || !base || !out) return koi_missing("koine_divergence");
  koine_divergence_result own;
  reading r = {.session = session, .tokenizer = tokenizer, .segment = segment, .what = "divergence", .progress = progress, .user = user, .piece = add_divergence,
               .base = base, .base_user = base_user};
  koine_status s = read_text(&r, text, n_bytes);
  if (!s) {
    summarize(&r, n_bytes, &own);
    KOI_GIVE(koine_divergence_result, &own, out);
  }
  koi_free(r.base_logits);
  koi_free(r.apart);
  return s;
}

/* ---- importance ---- */
static koine_status pass(reading *r, const int32_t *ids, size_t n, const float *logits)
{
  (void)r, (void)ids, (void)n, (void)logits;
  return KOINE_OK;
}

koine_status koine_importance_measure(koine_session *session, const koine_tokenizer *tokenizer, const char *text, size_t n_bytes, uint32_t segment,
                                      koine_progress_fn *progress, void *user, koine_importance **out)
{
  if (!session || !tokenizer || !text || !out) return koi_missing("koine_importance_measure");
  koine_importance *m;
  koi_importance_watch w;
  koi_watch watch;
  reading r = {.session = session, .tokenizer = tokenizer, .segment = segment, .what = "measuring importance", .progress = progress, .user = user, .piece = pass,
               .last_only = true};
  koine_status s = koi_importance_make(session->plan->model, &m);
  if (s) return s;
  s = koi_importance_begin(m, session->plan->model, &w, &watch);
  session->watch = &watch;
  if (!s) s = read_text(&r, text, n_bytes);
  session->watch = NULL;
  koi_importance_end(&w);
  m->n_tokens = r.n, m->segment = r.segment;
  if (s) koi_importance_free(m);
  else *out = m;
  return s;
}
