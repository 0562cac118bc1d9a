/* Owns: the sampler.
 * Does not: run the model, know the tokenizer.
 * Invariant: the order of candidates is total (logit, then lower id), and sums run in that order or in the order of ids, so nothing
 * but the inputs and the seed decides. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "sample.h"

typedef struct candidate {
  float logit;
  int32_t id;
} candidate;

struct koi_sampler {
  koi_sample_params p;
  size_t n_vocab;
  uint64_t random[4];
  candidate *candidate; /* [n_vocab] */
  double *weight;       /* [n_vocab] */
  bool *in_prompt;      /* [n_vocab] */
  uint32_t *count;      /* [n_vocab] in the answer */
  bool *exempt;         /* [n_vocab] no penalty */
  bool penalties;
};

/* ---- random numbers: xoshiro256** (Blackman and Vigna), seeded by splitmix64 ---- */
static uint64_t rotate(uint64_t x, int k) { return x << k | x >> (64 - k); }

static void seed(uint64_t state[4], uint64_t from)
{
  for (int i = 0; i < 4; i++) {
    uint64_t z = from += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    state[i] = z ^ z >> 31;
  }
}

static uint64_t next_random(uint64_t s[4])
{
  uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotate(s[3], 45);
  return result;
}

/* From [0, 1), 53 bits. */
static double uniform(uint64_t s[4]) { return (double)(next_random(s) >> 11) * 0x1p-53; }

/* ---- the sampler ---- */
static koine_status check_params(const koi_sample_params *p)
{
  const struct { const char *name; float value, least, most; } range[] = {
    {"temperature", p->temperature, 0, FLT_MAX}, {"top_p", p->top_p, 0, 1}, {"min_p", p->min_p, 0, 1},
    {"repetition_penalty", p->repetition_penalty, FLT_MIN, FLT_MAX}, {"presence_penalty", p->presence_penalty, -FLT_MAX, FLT_MAX},
    {"frequency_penalty", p->frequency_penalty, -FLT_MAX, FLT_MAX},
  };
  for (size_t i = 0; i < KOI_COUNT(range); i++)
    if (!(range[i].value >= range[i].least && range[i].value <= range[i].most))
      return koi_error(KOINE_ERR_ARG, "%s is %g, expected %g to %g", range[i].name, (double)range[i].value, (double)range[i].least, (double)range[i].most);
  if (p->top_k < 0) return koi_error(KOINE_ERR_ARG, "top_k is %d, expected 0 (off) or more", p->top_k);
  return KOINE_OK;
}

koine_status koi_sample_open(const koi_sample_params *params, size_t n_vocab, koi_sampler **out)
{
  koine_status s = check_params(params);
  if (s != KOINE_OK) return s;
  if (n_vocab == 0 || n_vocab > INT32_MAX) return koi_error(KOINE_ERR_ARG, "a vocabulary of %zu tokens, expected 1 to %d", n_vocab, INT32_MAX);
  koi_sampler *made = koi_alloc(1, sizeof *made);
  if (!made) return KOINE_ERR_MEMORY;
  made->p = *params, made->n_vocab = n_vocab;
  made->candidate = koi_alloc(n_vocab, sizeof *made->candidate);
  made->weight = koi_alloc(n_vocab, sizeof *made->weight);
  made->in_prompt = koi_alloc(n_vocab, sizeof *made->in_prompt);
  made->count = koi_alloc(n_vocab, sizeof *made->count);
  made->exempt = koi_alloc(n_vocab, sizeof *made->exempt);
  if (!made->candidate || !made->weight || !made->in_prompt || !made->count || !made->exempt) {
    koi_sample_close(made);
    return KOINE_ERR_MEMORY;
  }
  made->penalties = params->repetition_penalty != 1 || params->presence_penalty != 0 || params->frequency_penalty != 0;
  seed(made->random, params->seed);
  *out = made;
  return KOINE_OK;
}

void koi_sample_close(koi_sampler *s)
{
  if (!s) return;
  koi_free(s->candidate);
  koi_free(s->weight);
  koi_free(s->in_prompt);
  koi_free(s->count);
  koi_free(s->exempt);
  koi_free(s);
}

void koi_sample_forget(koi_sampler *s)
{
  memset(s->in_prompt, 0, s->n_vocab * sizeof *s->in_prompt);
  memset(s->count, 0, s->n_vocab * sizeof *s->count);
}

void koi_sample_reset(koi_sampler *s)
{
  koi_sample_forget(s);
  seed(s->random, s->p.seed);
}

static bool inside(const koi_sampler *s, int32_t id) { return id >= 0 && (size_t)id < s->n_vocab; }

void koi_sample_see_prompt(koi_sampler *s, const int32_t *ids, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (inside(s, ids[i])) s->in_prompt[ids[i]] = true;
}

void koi_sample_see(koi_sampler *s, int32_t id)
{
  if (inside(s, id) && s->count[id] < UINT32_MAX) s->count[id]++;
}

void koi_sample_exempt(koi_sampler *s, int32_t id)
{
  if (inside(s, id)) s->exempt[id] = true;
}

koine_status koi_sample_check(const float *logits, size_t n, const char *op)
{
  size_t n_possible = 0;
  for (size_t i = 0; i < n; i++) {
    if (isnan(logits[i]) || logits[i] == INFINITY)
      return koi_error(KOINE_ERR_NUMERIC, "%s: logit %zu of %zu is %s; a device or the weights are at fault", op, i, n, isnan(logits[i]) ? "not a number" : "infinite");
    n_possible += logits[i] > -INFINITY;
  }
  return n_possible ? KOINE_OK : koi_error(KOINE_ERR_NUMERIC, "%s: all %zu logits are -inf", op, n);
}

static float penalised(const koi_sampler *s, size_t id, float logit)
{
  const koi_sample_params *p = &s->p;
  uint32_t count = s->count[id];
  if (s->exempt[id]) return logit;
  if (count || s->in_prompt[id]) logit = logit > 0 ? logit / p->repetition_penalty : logit * p->repetition_penalty;
  if (count) logit -= p->presence_penalty + p->frequency_penalty * (float)count;
  return isnan(logit) ? -INFINITY : logit > FLT_MAX ? FLT_MAX : logit; /* an extreme penalty is no error of the logits */
}

/* Whether a comes before b. */
static bool before(candidate a, candidate b) { return a.logit > b.logit || (a.logit == b.logit && a.id < b.id); }

static void sift(candidate *v, size_t n, size_t i)
{
  candidate c = v[i];
  for (size_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && before(v[child + 1], v[child])) child++;
    if (!before(v[child], c)) break;
    v[i] = v[child];
  }
  v[i] = c;
}

/* Moves the first of the heap v[0..*n) behind it. So those taken lie behind the heap, the last one taken first. */
static candidate take_first(candidate *v, size_t *n)
{
  candidate first = v[0];
  v[0] = v[--*n];
  v[*n] = first;
  if (*n) sift(v, *n, 0);
  return first;
}

/* The possible tokens with their penalised logits; *best is the first of them in the order. */
static size_t gather(koi_sampler *s, const float *logits, candidate *best)
{
  size_t n = 0;
  for (size_t id = 0; id < s->n_vocab; id++) {
    candidate c = {s->penalties ? penalised(s, id, logits[id]) : logits[id], (int32_t)id};
    if (c.logit == -INFINITY) continue;
    if (n == 0 || before(c, *best)) *best = c;
    s->candidate[n++] = c;
  }
  return n;
}

static double weight_of(const koi_sampler *s, candidate c, candidate best) { return exp(((double)c.logit - best.logit) / s->p.temperature); }

/* Top-k, then top-p: puts the kept ones into their order at the front of the candidates. Returns how many. */
static size_t keep_top(koi_sampler *s, size_t n, candidate best)
{
  candidate *v = s->candidate;
  size_t k = s->p.top_k > 0 && (size_t)s->p.top_k < n ? (size_t)s->p.top_k : n, left = n, kept = 0;
  double total = 0, sum = 0;
  for (size_t i = 0; k == n && i < n; i++) total += weight_of(s, v[i], best);
  for (size_t i = n / 2; i-- > 0;) sift(v, n, i);
  if (k < n) {
    while (left > n - k) total += weight_of(s, take_first(v, &left), best);
    for (kept = 0; kept < k && !(sum >= s->p.top_p * total && kept); kept++) sum += weight_of(s, v[n - 1 - kept], best);
  } else {
    for (; kept < n && !(sum >= s->p.top_p * total && kept); kept++) sum += weight_of(s, take_first(v, &left), best);
  }
  for (size_t i = 0; i < n - 1 - i; i++) { /* the first one taken is the last: turn round */
    candidate c = v[i];
    v[i] = v[n - 1 - i], v[n - 1 - i] = c;
  }
  return kept;
}

/* One draw from candidates that pass min-p. */
static int32_t draw(koi_sampler *s, size_t n, candidate best)
{
  double sum = 0, at = 0, u = uniform(s->random);
  for (size_t i = 0; i < n; i++) {
    double w = weight_of(s, s->candidate[i], best);
    s->weight[i] = w >= s->p.min_p ? w : 0;
    sum += s->weight[i];
  }
  size_t last = 0;
  for (size_t i = 0; i < n; i++) {
    if (s->weight[i] == 0) continue;
    at += s->weight[i];
    last = i;
    if (at > u * sum) break;
  }
  return s->candidate[last].id; /* rounding may leave u * sum unreached: then the last one that may be drawn */
}

koine_status koi_sample_next(koi_sampler *s, const float *logits, const char *op, int32_t *id)
{
  koine_status status = koi_sample_check(logits, s->n_vocab, op);
  if (status != KOINE_OK) return status;
  candidate best = {0, 0};
  size_t n = gather(s, logits, &best);
  if (n == 0) return koi_error(KOINE_ERR_NUMERIC, "%s: the penalties leave no token of %zu", op, s->n_vocab);
  if (s->p.temperature == 0) return *id = best.id, KOINE_OK;
  if (s->p.top_k > 0 || s->p.top_p < 1) n = keep_top(s, n, best);
  *id = draw(s, n, best);
  return KOINE_OK;
}
