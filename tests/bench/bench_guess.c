/* Who is wanted next, guessed in several ways, on routes as recorded: how many of the experts that were wanted are there, and how many of the others
 * would have been read ahead, at 10, 25 and 50 % residency, with as many guesses as a token wants experts.
 *   bench_guess MODEL TEXT TOKENS    evaluates a text on the host, token by token, and takes what its routers saw: guesses by the gate, too
 *   bench_guess ROUTES               a file of record_routes
 *   bench_guess power SKEW           made-up routes of 8 layers, 6 of 256 experts each, wanted with probability ~ 1 / rank^SKEW
 * gate: koi_guess, a layer's gate on what the router before it saw. table: how often of late each expert followed each of the layer before, learnt as
 * it runs. both: the gate's scores and a part of the table's shares. hot: those wanted most of late. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "device/machine.h"
#include "engine/guess.h"
#include "engine/run.h"
#include "engine/session.h"
#include "engine/turns.h"

enum { LEARN = 3 /* a third of the tokens is not counted */, MADE_LAYERS = 8, MADE_EXPERTS = 256, MADE_USED = 6, MADE_TOKENS = 3000, MAX_HIDDEN = 1 << 16 };
static const float keep = 0.999f, part_of_table = 0.2f; /* what a count keeps when its row is counted anew; the best of those tried on models/austen */

typedef struct routes { uint32_t n_layers, n_experts, n_used; size_t n_tokens; int32_t *ids; /* [n_tokens][n_layers][n_used] */ float *gate; /* [n_tokens][n_layers][n_experts]; NULL */ } routes;

static void check(koine_status s)
{
  if (!s) return;
  fprintf(stderr, "bench_guess: %s\n", koi_error_text());
  exit(1);
}

static void *need(size_t n, size_t size)
{
  void *p = koi_alloc(n, size);
  if (!p) check(KOINE_ERR_MEMORY);
  return p;
}

static int32_t *ids_of(const routes *r, size_t token, uint32_t layer) { return r->ids + (token * r->n_layers + layer) * r->n_used; }

/* ---- a model ---- */
typedef struct recording { routes *r; koi_guess *g; size_t token; uint64_t ns, n; } recording;

static koine_status look(void *user, koi_stage *st, const koi_bound_call *c)
{
  static float x[MAX_HIDDEN];
  recording *k = user;
  uint32_t layer = (uint32_t)c->call->layer;
  if (c->call->kind != KOI_CALL_OP || c->call->op != &koi_op_matvec_route) return KOINE_OK;
  const koi_backend *d = st->dev->backend;
  check(d->read(st->dev, c->bound->a.buf[MATVEC_ROUTE_IDS], c->bound->a.at[MATVEC_ROUTE_IDS], k->r->n_used * sizeof(int32_t), ids_of(k->r, k->token, layer)));
  check(d->read(st->dev, c->bound->a.buf[MATVEC_X], c->bound->a.at[MATVEC_X], st->model->config.hidden * sizeof *x, x));
  uint64_t start = koi_busy_ns();
  const float *scores = koi_guess_scores(k->g, layer + 1, x);
  if (!scores) return KOINE_OK;
  k->ns += koi_busy_ns() - start, k->n++;
  memcpy(k->r->gate + (k->token * k->r->n_layers + layer + 1) * k->r->n_experts, scores, k->r->n_experts * sizeof *scores);
  return KOINE_OK;
}

static size_t read_tokens(const char *model, const char *path, int32_t **ids)
{
  char *text;
  size_t bytes, n;
  koine_tokenizer *t;
  check(koi_file_read(path, 1 << 24, &text, &bytes));
  check(koine_tokenizer_open(model, &t));
  check(koine_tokenize(t, text, bytes, 0, ids, &n));
  koine_tokenizer_close(t);
  koi_free(text);
  return n;
}

static void evaluate(koine_plan *p, const int32_t *tokens, recording *k)
{
  koine_session_options o = {.size = sizeof o, .context = k->r->n_tokens};
  koi_watch watch = {.after = look, .user = k};
  koine_session *s;
  check(koi_session_open(p, &o, &s));
  float *logits = need(p->model->config.n_vocab, sizeof *logits);
  s->watch = &watch;
  for (; k->token < k->r->n_tokens; k->token++) check(koi_session_eval(s, tokens, k->token + 1, NULL, logits));
  koi_free(logits);
  koi_session_close(s);
}

static void record(const char *path, const char *text, size_t most, routes *r)
{
  koine_runtime *rt;
  koine_model *m;
  koine_plan *p;
  int32_t *tokens;
  size_t n = read_tokens(path, text, &tokens);
  check(koine_runtime_open(NULL, &rt));
  check(koine_model_open(path, &m));
  const koi_config *c = &m->config;
  *r = (routes){c->n_layers, c->n_experts, c->n_used, n < most ? n : most, NULL, NULL};
  r->ids = need(r->n_tokens, (size_t)r->n_layers * r->n_used * sizeof *r->ids), r->gate = need(r->n_tokens, (size_t)r->n_layers * r->n_experts * sizeof *r->gate);
  koine_plan_options o = {.size = sizeof o, .device = "host", .chunk = 1, .context = r->n_tokens};
  check(koine_plan_make(rt, m, &o, &p));
  check(koine_plan_wake(p, NULL, NULL));
  recording k = {.r = r};
  check(koi_guess_open(m, 0, c->n_layers, &k.g));
  evaluate(p, tokens, &k);
  printf("a guess by the gate: %.1f us\n", k.n ? 1e-3 * (double)k.ns / (double)k.n : 0);
  koi_guess_close(k.g);
  koine_plan_free(p);
  koine_model_close(m);
  koine_runtime_close(rt);
  koine_ids_free(tokens);
}

/* ---- without one ---- */
static void read_routes(const char *path, routes *r)
{
  unsigned n_layers, n_experts, n_used, n_tokens, id;
  FILE *f = fopen(path, "r");
  if (!f || fscanf(f, "%u %u %u %u", &n_layers, &n_experts, &n_used, &n_tokens) != 4) check(koi_error(KOINE_ERR_FILE, "%s: no routes", path));
  *r = (routes){n_layers, n_experts, n_used, n_tokens, need(n_tokens, (size_t)n_layers * n_used * sizeof *r->ids), NULL};
  for (size_t i = 0; i < (size_t)n_tokens * n_layers * n_used; i++) {
    if (fscanf(f, "%2x", &id) != 1 || id >= n_experts) check(koi_error(KOINE_ERR_FILE, "%s: expected %u experts in hexadecimal", path, n_experts));
    r->ids[i] = (int32_t)id;
  }
  fclose(f);
}

static double uniform(uint64_t *state)
{
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (double)(*state >> 11) * 0x1p-53;
}

static void make_up(double skew, routes *r)
{
  double sum[MADE_EXPERTS], all = 0;
  uint64_t state = 11;
  *r = (routes){MADE_LAYERS, MADE_EXPERTS, MADE_USED, MADE_TOKENS, need((size_t)MADE_TOKENS * MADE_LAYERS * MADE_USED, sizeof *r->ids), NULL};
  for (int e = 0; e < MADE_EXPERTS; e++) sum[e] = all += pow(e + 1, -skew);
  for (size_t n = 0; n < (size_t)MADE_TOKENS * MADE_LAYERS; n++)
    for (uint32_t i = 0; i < MADE_USED;) {
      int32_t *ids = r->ids + n * MADE_USED, e = 0;
      bool again = false;
      for (double at = uniform(&state) * all; sum[e] < at;) e++;
      ids[i] = (e * 37 + (int32_t)(n % MADE_LAYERS) * 11) % MADE_EXPERTS;
      for (uint32_t j = 0; j < i; j++) again |= ids[j] == ids[i];
      i += !again;
    }
}

/* ---- ways to guess ---- */
typedef struct replay { const routes *r; koi_turns *layers; /* [n_layers] */ float *table; /* [n_layers][n_experts][n_experts] who followed whom */ float *score; /* [n_experts] */ } replay;

static float *row_of(const replay *p, uint32_t layer, int32_t from) { return p->table + ((size_t)layer * p->r->n_experts + (uint32_t)from) * p->r->n_experts; }

static void by_gate(const replay *p, size_t token, uint32_t layer) { memcpy(p->score, p->r->gate + (token * p->r->n_layers + layer) * p->r->n_experts, p->r->n_experts * sizeof *p->score); }

static void add_table(const replay *p, size_t token, uint32_t layer, float part)
{
  const int32_t *before = ids_of(p->r, token, layer - 1);
  for (uint32_t i = 0; i < p->r->n_used; i++) {
    const float *row = row_of(p, layer, before[i]);
    float all = 1;
    for (uint32_t e = 0; e < p->r->n_experts; e++) all += row[e];
    for (uint32_t e = 0; e < p->r->n_experts; e++) p->score[e] += part * row[e] / all;
  }
}

static void by_table(const replay *p, size_t token, uint32_t layer)
{
  memset(p->score, 0, p->r->n_experts * sizeof *p->score);
  add_table(p, token, layer, 1);
}

static void by_both(const replay *p, size_t token, uint32_t layer)
{
  by_gate(p, token, layer);
  add_table(p, token, layer, part_of_table);
}

static void by_heat(const replay *p, size_t token, uint32_t layer)
{
  const koi_turns *t = &p->layers[layer];
  (void)token;
  for (uint32_t e = 0; e < p->r->n_experts; e++) p->score[e] = t->heat[e] * powf(0.98f, (float)(t->n_tokens - t->heated[e]));
}

static const struct way { const char *name; void (*score)(const replay *, size_t, uint32_t); bool gate; } ways[] = {
  {"none", NULL, false}, {"hot", by_heat, false}, {"table", by_table, false}, {"gate", by_gate, true}, {"both", by_both, true}};

static void learn(const replay *p, size_t token, uint32_t layer)
{
  const int32_t *from = ids_of(p->r, token, layer - 1), *to = ids_of(p->r, token, layer);
  for (uint32_t i = 0; i < p->r->n_used; i++) {
    float *row = row_of(p, layer, from[i]);
    for (uint32_t e = 0; e < p->r->n_experts; e++) row[e] *= keep;
    for (uint32_t j = 0; j < p->r->n_used; j++) row[to[j]] += 1;
  }
}

/* ---- replaying ---- */
typedef struct counts { size_t wanted, missed, guessed, right, read, used; } counts;

static void guess(const replay *p, const int32_t *ids, const koi_turns *t, bool *ahead, counts *n)
{
  for (uint32_t k = 0; k < p->r->n_used; k++) {
    uint32_t best = 0;
    for (uint32_t e = 1; e < p->r->n_experts; e++)
      if (p->score[e] > p->score[best]) best = e;
    p->score[best] = -INFINITY;
    ahead[best] = t->slot[best] == KOI_NOBODY;
    n->guessed++, n->read += ahead[best];
    for (uint32_t i = 0; i < p->r->n_used; i++) n->right += ids[i] == (int32_t)best;
  }
}

static void one_layer(const replay *p, const struct way *w, size_t token, uint32_t layer, koi_arrival *arrivals, bool *ahead, counts *n)
{
  koi_turns *t = &p->layers[layer];
  const int32_t *ids = ids_of(p->r, token, layer);
  size_t some;
  memset(ahead, 0, p->r->n_experts * sizeof *ahead);
  if (w->score) w->score(p, token, layer), guess(p, ids, t, ahead, n);
  koi_turns_begin(t, ids, p->r->n_used, 1);
  n->wanted += p->r->n_used;
  while (koi_turns_next(t, arrivals, &some))
    for (size_t i = 0; i < some; i++) n->missed++, n->used += ahead[arrivals[i].expert];
  learn(p, token, layer);
}

static counts run(const routes *r, const struct way *w, uint32_t n_slots)
{
  replay p = {r, need(r->n_layers, sizeof *p.layers), need((size_t)r->n_layers * r->n_experts, r->n_experts * sizeof *p.table), need(r->n_experts, sizeof *p.score)};
  koi_arrival *arrivals = need(n_slots, sizeof *arrivals);
  bool *ahead = need(r->n_experts, sizeof *ahead);
  counts n = {0};
  for (uint32_t l = 0; l < r->n_layers; l++) check(koi_turns_make(n_slots, r->n_experts, NULL, &p.layers[l]));
  for (size_t t = 0; t < r->n_tokens; t++) {
    if (t == r->n_tokens / LEARN) n = (counts){0};
    for (uint32_t l = 1; l < r->n_layers; l++) one_layer(&p, w, t, l, arrivals, ahead, &n);
  }
  for (uint32_t l = 0; l < r->n_layers; l++) koi_turns_free(&p.layers[l]);
  koi_free(p.layers), koi_free(p.table), koi_free(p.score), koi_free(arrivals), koi_free(ahead);
  return n;
}

static double share(size_t a, size_t of) { return of ? 100.0 * (double)a / (double)of : 0; }

static void compare(const routes *r)
{
  static const uint32_t percent[] = {10, 25, 50};
  printf("%u layers, %u of %u experts, %zu tokens; %%\n", r->n_layers, r->n_used, r->n_experts, r->n_tokens);
  printf("| there at once | guesses | found there | guesses right | of the missing read ahead | there or read ahead | of what was read ahead used |\n|---:|---|---:|---:|---:|---:|---:|\n");
  for (size_t i = 0; i < KOI_COUNT(percent); i++)
    for (size_t w = 0; w < KOI_COUNT(ways); w++) {
      uint32_t n_slots = r->n_experts * percent[i] / 100;
      if (ways[w].gate && !r->gate) continue;
      counts n = run(r, &ways[w], n_slots ? n_slots : 1);
      printf("| %u | %s | %.1f | %.1f | %.1f | %.1f | %.1f |\n", percent[i], ways[w].name, share(n.wanted - n.missed, n.wanted), share(n.right, n.guessed), share(n.used, n.missed),
             share(n.wanted - n.missed + n.used, n.wanted), share(n.used, n.read));
    }
}

int main(int argc, char **argv)
{
  routes r;
  if (argc == 4) record(argv[1], argv[2], strtoul(argv[3], NULL, 10), &r);
  else if (argc == 3 && !strcmp(argv[1], "power")) make_up(strtod(argv[2], NULL), &r);
  else if (argc == 2) read_routes(argv[1], &r);
  else return fprintf(stderr, "usage: bench_guess MODEL TEXT TOKENS | ROUTES | power SKEW\n"), 2;
  compare(&r);
  koi_free(r.ids);
  koi_free(r.gate);
  return 0;
}
