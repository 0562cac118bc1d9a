/* Which experts a model takes: evaluates a text on the host and prints them, for t_turns.
 *   record_routes MODEL TEXT TOKENS > tests/data/routes/NAME.txt
 * First "LAYERS EXPERTS USED TOKENS", then a line for each token with two hexadecimal digits for each expert, layer after layer. */
#include <stdio.h>
#include <stdlib.h>
#include "device/machine.h"
#include "engine/run.h"
#include "engine/session.h"

enum { CHUNK = 128 };
typedef struct record { uint32_t n_layers, n_used; size_t first; uint8_t *ids; /* [n_tokens][n_layers][n_used] */ } record;

static void check(koine_status s)
{
  if (!s) return;
  fprintf(stderr, "record_routes: %s\n", koi_error_text());
  exit(1);
}

static void *need(void *p)
{
  if (!p) check(KOINE_ERR_MEMORY);
  return p;
}

static koine_status look(void *user, koi_stage *st, const koi_bound_call *c)
{
  record *r = user;
  static int32_t ids[CHUNK * 64];
  bool one = c->call->op == &koi_op_matvec_route; /* of one token, where the gate's product chooses */
  if (c->call->kind != KOI_CALL_OP || (c->call->op != &koi_op_route && !one)) return KOINE_OK;
  size_t n = one ? 1 : (size_t)c->bound->a.i[ROUTE_T], at = one ? MATVEC_ROUTE_IDS : ROUTE_IDS;
  check(st->dev->backend->read(st->dev, c->bound->a.buf[at], c->bound->a.at[at], n * r->n_used * sizeof *ids, ids));
  for (size_t t = 0; t < n; t++)
    for (uint32_t i = 0; i < r->n_used; i++) r->ids[((r->first + t) * r->n_layers + (uint32_t)c->call->layer) * r->n_used + i] = (uint8_t)ids[t * r->n_used + i];
  return KOINE_OK;
}

static int32_t *read_tokens(const char *model, const char *path, size_t *n)
{
  static char text[1 << 20];
  FILE *f = fopen(path, "rb");
  koine_tokenizer *t;
  int32_t *ids;
  size_t bytes = f ? fread(text, 1, sizeof text, f) : 0;
  if (!f) check(koi_error(KOINE_ERR_FILE, "%s: cannot be read", path));
  fclose(f);
  check(koine_tokenizer_open(model, &t));
  check(koine_tokenize(t, text, bytes, 0, &ids, n));
  koine_tokenizer_close(t);
  return ids;
}

int main(int argc, char **argv)
{
  koine_runtime *rt;
  koine_model *m;
  koine_plan *p;
  koine_session *s;
  size_t n = 0;
  if (argc < 4) return fprintf(stderr, "usage: record_routes MODEL TEXT TOKENS\n"), 2;
  int32_t *tokens = read_tokens(argv[1], argv[2], &n);
  if (n > strtoul(argv[3], NULL, 10)) n = strtoul(argv[3], NULL, 10);
  koine_plan_options po = {.size = sizeof po, .device = "host", .chunk = CHUNK, .context = n};
  koine_session_options so = {.size = sizeof so, .context = n};
  check(koine_runtime_open(NULL, &rt));
  check(koine_model_open(argv[1], &m));
  check(koine_plan_make(rt, m, &po, &p));
  check(koine_plan_wake(p, NULL, NULL));
  check(koi_session_open(p, &so, &s));
  record r = {m->config.n_layers, m->config.n_used, 0, need(koi_alloc(n, m->config.n_layers * m->config.n_used))};
  koi_watch watch = {.after = look, .user = &r};
  float *logits = need(koi_alloc(m->config.n_vocab, sizeof *logits));
  s->watch = &watch;
  for (; r.first < n; r.first += CHUNK) check(koi_session_eval(s, tokens, r.first + CHUNK < n ? r.first + CHUNK : n, NULL, logits));
  printf("%u %u %u %zu\n", r.n_layers, m->config.n_experts, r.n_used, n);
  for (size_t i = 0; i < n * r.n_layers * r.n_used; i++) printf("%02x%s", r.ids[i], (i + 1) % (r.n_layers * r.n_used) ? "" : "\n");
  return 0;
}
