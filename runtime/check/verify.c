/* Runs the tables of cases on a device: every case's buffers go there poisoned and between guard bytes, the op runs with one or several sets
 * of parameters, and everything that comes back, inputs and guards included, is compared with what the C reference made of the same bytes.
 * Owns the jobs' memory. Does not know any op. Invariant: an element that the reference leaves alone must come back bit by bit. */
#include "verify.h"
#include <stdio.h>
#include "device/kern.h"
#include "kernels/step.h"
#include "kernels/choose.h"
#include "verify_case.h"
#include "verify_sets.h"
#include "verify_weights.h"

enum { GUARD_BYTES = 512, GUARD = 0xa5, TEXT_BYTES = KOI_VERIFY_TEXT, MAX_LINES = 4 };

typedef struct run {
  koi_device *d;
  koi_verify_options o;
  koi_target target;
  koi_tunables tunables;  /* of these, how the device lays weights */
  koi_verify_counts n;
  koi_text *report;
  const koi_verify_op *v;
  koi_verify_case *cases; /* those of v that are wanted, with the constants asked for */
  size_t n_cases;
  size_t group;           /* number of the op's constants, so that different ones sweep different parameters */
  size_t op_wrong;        /* differences of this op */
  char first[3 * TEXT_BYTES]; /* the first difference of all */
} run;

/* ---- texts ---- */
static size_t put(char *out, size_t at, const char *name, int32_t value)
{
  int n = at < TEXT_BYTES ? snprintf(out + at, TEXT_BYTES - at, "%s%s=%d", at ? " " : "", name, (int)value) : 0;
  return at + (size_t)(n > 0 ? n : 0);
}

/* "WT=3 CARE=0 VW=16": p may be NULL. */
static void describe(const koi_op *op, const int32_t *c, const int32_t *p, char *out)
{
  size_t at = 0;
  out[0] = 0;
  for (size_t i = 0; i < koi_op_n_consts(op); i++) at = put(out, at, op->consts[i], c[i]);
  for (size_t i = 0; p && i < koi_op_n_params(op); i++) at = put(out, at, op->params[i].name, p[i]);
}

static void wrong(run *r, const koi_verify_case *v, const koi_kernel *k, const char *what)
{
  char how[TEXT_BYTES], line[3 * TEXT_BYTES];
  const koi_endpoint *e = r->d->endpoint;
  describe(r->v->op, k->c, k->p, how);
  snprintf(line, sizeof line, "op %s, case \"%s\" (%s): %s; device %s (%s, driver %s %s)", r->v->op->name, v->what, how, what, e->id, e->name,
           e->platform, e->driver);
  if (r->op_wrong++ < MAX_LINES) koi_text_add(r->report, "WRONG  %s\n", line);
  if (!r->n.n_wrong) snprintf(r->first, sizeof r->first, "%s", line);
  r->n.n_wrong++;
}

/* ---- one case ---- */
static koi_verify_job *make(const run *r, const koi_verify_case *v)
{
  koi_verify_job *j = koi_alloc(1, sizeof *j);
  if (!j) return NULL;
  j->op = r->v->op, j->v = v, j->denormals = r->d->endpoint->denormals;
  j->seed = koi_hash(v->c, sizeof v->c, 1) ^ koi_hash(v->i, sizeof v->i, v->how) ^ koi_hash(j->op->name, strlen(j->op->name), 2);
  j->seed |= 1;
  for (int i = 0; i < KOI_MAX_BUFS; i++) j->slot[i].same_as = -1;
  r->v->make(j);
  koi_ref_args a = {.i = v->i, .f = v->f, .c = v->c};
  for (size_t i = 0; i < KOI_MAX_BUFS && !j->failed; i++) {
    koi_verify_slot *s = &j->slot[i];
    if (s->in) memcpy(s->want, s->in, s->bytes);
    koi_verify_slot *real = s->same_as < 0 ? s : &j->slot[s->same_as];
    if (real->in) a.buf[i] = real->want, a.bytes[i] = real->bytes;
  }
  if (j->failed) return j;
  j->op->ref(&a);
  if (r->v->bound) r->v->bound(j);
  return j;
}

static void unmake(koi_verify_job *j)
{
  if (!j) return;
  for (int i = 0; i < KOI_MAX_BUFS; i++) {
    koi_free(j->slot[i].in);
    koi_free(j->slot[i].want);
    koi_free(j->slot[i].got);
    koi_free(j->slot[i].once);
    koi_free(j->slot[i].bound);
  }
  koi_free(j);
}

typedef struct memory { koi_buf *parent[KOI_MAX_BUFS], *view[KOI_MAX_BUFS]; size_t guard; } memory;

static size_t whole_bytes(const memory *m, const koi_verify_slot *s) { return 2 * m->guard + (s->bytes + 3) / 4 * 4; }

static koine_status allocate(const run *r, const koi_verify_job *j, memory *m)
{
  const koi_backend *b = r->d->backend;
  size_t align = r->d->endpoint->base_align_bytes;
  m->guard = r->o.bare ? 0 : align > GUARD_BYTES ? align : GUARD_BYTES;
  for (size_t i = 0; i < KOI_MAX_BUFS; i++) {
    const koi_verify_slot *s = &j->slot[i];
    if (!s->in || !s->bytes) continue;
    koine_status st = b->alloc(r->d, whole_bytes(m, s), &m->parent[i]);
    if (!st && !r->o.bare) st = b->view(r->d, m->parent[i], m->guard, s->bytes, &m->view[i]);
    if (st) return st;
  }
  return KOINE_OK;
}

/* Guards and contents as before the op. */
static koine_status fill(const run *r, const koi_verify_job *j, const memory *m)
{
  const koi_backend *b = r->d->backend;
  koine_status st = KOINE_OK;
  for (size_t i = 0; i < KOI_MAX_BUFS && !st; i++) {
    const koi_verify_slot *s = &j->slot[i];
    if (!m->parent[i]) continue;
    if (!r->o.bare) st = b->fill(r->d, m->parent[i], GUARD);
    if (!st && (!r->o.bare || (j->op->bufs[i].access & KOI_IN))) st = b->write(r->d, m->parent[i], m->guard, s->bytes, s->in);
  }
  return st;
}

static void release(const run *r, memory *m)
{
  for (size_t i = 0; i < KOI_MAX_BUFS; i++) {
    if (m->view[i]) r->d->backend->free(r->d, m->view[i]);
    if (m->parent[i]) r->d->backend->free(r->d, m->parent[i]);
  }
}

/* Reads slot i back; *guards_ok false when a byte around it changed. */
static koine_status fetch(const run *r, koi_verify_job *j, const memory *m, size_t i, bool *guards_ok)
{
  koi_verify_slot *s = &j->slot[i];
  size_t whole = whole_bytes(m, s);
  uint8_t *all = koi_alloc(whole, 1);
  if (!all) return KOINE_ERR_MEMORY;
  koine_status st = r->d->backend->read(r->d, m->parent[i], 0, whole, all);
  for (size_t k = 0; k < whole && !st && m->guard; k++)
    if ((k < m->guard || k >= m->guard + s->bytes) && all[k] != GUARD) *guards_ok = false;
  if (!st) memcpy(s->got, all + m->guard, s->bytes);
  koi_free(all);
  return st;
}

/* Whether the device left the same bytes as at the first run, of which a copy is made; false, and where. */
static bool same_again(koi_verify_job *j, char *what)
{
  for (size_t i = 0; i < KOI_MAX_BUFS; i++) {
    koi_verify_slot *s = &j->slot[i];
    if (!s->in || !s->bytes) continue;
    if (!s->once) {
      if (!(s->once = koi_alloc(s->bytes, 1))) return j->failed = true;
      memcpy(s->once, s->got, s->bytes);
      continue;
    }
    size_t at = 0;
    while (at < s->bytes && s->once[at] == s->got[at]) at++;
    if (at == s->bytes) continue;
    snprintf(what, TEXT_BYTES, "%s, byte %zu: 0x%02x, and 0x%02x when run again", j->op->bufs[i].name, at, s->once[at], s->got[at]);
    return false;
  }
  return true;
}

static koine_status check(run *r, koi_verify_job *j, const koi_kernel *k, const memory *m)
{
  char what[TEXT_BYTES];
  koine_status st = KOINE_OK;
  bool guards_ok = true;
  for (size_t i = 0; i < KOI_MAX_BUFS && !st; i++)
    if (m->parent[i]) {
      bool ok = true;
      st = fetch(r, j, m, i, &ok);
      if (!ok) snprintf(what, sizeof what, "%s: written outside the buffer", j->op->bufs[i].name), guards_ok = false;
    }
  if (!st && guards_ok && r->o.twice) guards_ok = same_again(j, what);
  if (st || j->failed) return st ? st : KOINE_ERR_MEMORY;
  if (r->v->settle) r->v->settle(j);
  for (size_t i = 0; i < KOI_MAX_BUFS && guards_ok; i++)
    if (m->parent[i] && !koi_verify_compare(&j->slot[i], &j->op->bufs[i], r->o.bare, what)) {
      wrong(r, j->v, k, what);
      return KOINE_OK;
    }
  if (!guards_ok) wrong(r, j->v, k, what);
  return KOINE_OK;
}

/* *refused: the device did not start the kernel. */
static koine_status run_case(run *r, const koi_verify_case *v, koi_kernel *k, bool *refused)
{
  memory m = {0};
  koi_verify_job *j = make(r, v);
  koine_status st = !j || j->failed ? KOINE_ERR_MEMORY : allocate(r, j, &m);
  size_t before = r->n.n_wrong;
  for (int n = r->o.twice ? 2 : 1; n && !st && !*refused && r->n.n_wrong == before; n--) {
    koi_args a = {0};
    st = fill(r, j, &m);
    for (size_t i = 0; i < KOI_MAX_BUFS; i++) {
      size_t at = j->slot[i].same_as < 0 ? i : (size_t)j->slot[i].same_as;
      a.buf[i] = m.view[at] ? m.view[at] : m.parent[at];
    }
    memcpy(a.i, v->i, sizeof a.i);
    memcpy(a.f, v->f, sizeof a.f);
    if (!st) st = koi_kern_launch(r->d, k, &a);
    if (st == KOINE_ERR_DEVICE) *refused = true, st = KOINE_OK;
    else if (!st) st = check(r, j, k, &m);
  }
  release(r, &m);
  unmake(j);
  return st;
}

/* ---- all cases of one op ---- */
static bool same_consts(const koi_op *op, const koi_verify_case *a, const koi_verify_case *b)
{
  return !memcmp(a->c, b->c, koi_op_n_consts(op) * sizeof *a->c);
}

/* Whether to go on. */
static bool open_yet(const run *r, koine_status st) { return !st && !(r->o.first && r->n.n_wrong); }

static void note_host(run *r, const int32_t *c, const char *why)
{
  char how[TEXT_BYTES];
  describe(r->v->op, c, NULL, how);
  koi_text_add(r->report, "host   op %s (%s) runs on the host: %s\n", r->v->op->name, how, why);
  r->n.n_host++;
}

/* One kernel and every case from number `at` on that has its constants. */
static koine_status run_kernel(run *r, size_t at, const koi_verify_set *s, bool is_default)
{
  const koi_op *op = r->v->op;
  const koi_verify_case *first = &r->cases[at];
  koi_kernel *k = NULL;
  bool given = r->o.kernel && !memcmp(r->o.kernel->c, first->c, koi_op_n_consts(op) * sizeof *first->c);
  koine_status st = KOINE_OK;
  if (given) k = r->o.kernel;
  else st = is_default ? koi_kern_choose(r->d, op, first->c, 0, &k) : koi_kern_build(r->d, op, first->c, s->p, &k);
  if (st == KOINE_ERR_DEVICE) {
    if (is_default) note_host(r, first->c, koi_error_text());
    else r->n.n_refused++;
    return KOINE_OK;
  }
  if (st) return st;
  r->n.n_kernels++;
  for (size_t i = at; i < r->n_cases && open_yet(r, st); i++) {
    const koi_verify_case *v = &r->cases[i];
    bool refused = false;
    size_t before = r->n.n_wrong;
    if (!same_consts(op, first, v)) continue;
    st = run_case(r, v, k, &refused);
    if (refused && is_default) wrong(r, v, k, koi_error_text());
    if (refused && !is_default) {
      r->n.n_refused++;
      break;
    }
    if (is_default) r->n.n_cases++;
    if (r->o.verbose && !st && before == r->n.n_wrong) {
      char how[TEXT_BYTES];
      describe(op, k->c, k->p, how);
      koi_text_add(r->report, "ok     op %s, case \"%s\" (%s)\n", op->name, v->what, how);
    }
  }
  if (!is_default && !given) koi_kern_drop(r->d, k);
  return st;
}

/* Whether a case before number `at` has its constants. */
static bool seen(const run *r, size_t at)
{
  for (size_t k = 0; k < at; k++)
    if (same_consts(r->v->op, &r->cases[at], &r->cases[k])) return true;
  return false;
}

/* The sets for the constants of the case at `at`. */
static koine_status run_sets(run *r, size_t at)
{
  koi_verify_set sets[KOI_VERIFY_SETS + 1] = {0};
  size_t n = koi_verify_sets(&r->target, r->v->op, r->cases[at].c, r->o.max_sets, r->group, sets);
  koine_status st = KOINE_OK;
  for (size_t s = 0; s < n && open_yet(r, st); s++) st = run_kernel(r, at, &sets[s], s == 0);
  return st;
}

static koine_status run_given(run *r, size_t at)
{
  koi_verify_set given = {0};
  memcpy(given.p, r->o.p, koi_op_n_params(r->v->op) * sizeof *given.p);
  return run_kernel(r, at, &given, false);
}

/* Constants that a case has in common with those asked for; -1 where the parameters asked for are not legal. */
static int likeness(const run *r, const koi_verify_case *v)
{
  int n = 0;
  if (r->o.p && !koi_legal(&r->target, r->v->op, v->c, r->o.p)) return -1;
  for (size_t i = 0; i < koi_op_n_consts(r->v->op); i++) n += v->c[i] == r->o.c[i];
  return n;
}

/* The cases that are wanted: all, or those whose constants are most like those asked for; and where others will do, with these very ones. */
static koine_status take_cases(run *r)
{
  int most = 0, tile_at = koi_op_const(r->v->op, "TILE");
  r->n_cases = 0;
  r->cases = koi_alloc(r->v->n_cases, sizeof *r->cases);
  if (!r->cases) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < r->v->n_cases; i++) {
    koi_verify_case *v = &r->cases[r->n_cases];
    *v = r->v->cases[i];
    if (tile_at >= 0) koi_verify_lay(r->v->op, v, r->o.c ? r->o.c[tile_at] : r->tunables.tile);
    if (koi_op_counts(r->v->op, v->c) && !r->target.arrivals) continue; /* no step asks for it there */
    if ((r->o.small && (v->how & KOI_VERIFY_BIG)) || (!r->o.c && !r->o.all && (v->how & KOI_VERIFY_ASKED))) continue;
    if (r->o.c && r->v->free_from && !memcmp(v->c, r->o.c, r->v->free_from * sizeof *v->c)) memcpy(v->c, r->o.c, koi_op_n_consts(r->v->op) * sizeof *v->c);
    if (r->o.c && likeness(r, v) > most) most = likeness(r, v), r->cases[0] = *v, v = &r->cases[r->n_cases = 0];
    if (!r->o.c || likeness(r, v) == most) r->n_cases++;
  }
  return KOINE_OK;
}

static koine_status run_op(run *r)
{
  koi_verify_counts before = r->n;
  r->op_wrong = 0, r->group = 0;
  koine_status st = take_cases(r);
  for (size_t i = 0; i < r->n_cases && open_yet(r, st); i++) {
    if (seen(r, i)) continue;
    st = r->o.p ? run_given(r, i) : run_sets(r, i);
    r->group++;
  }
  koi_free(r->cases);
  if (st) return koi_error_prefix(st, "verifying op %s", r->v->op->name);
  koi_text_add(r->report, "%s  op %s: %zu cases, %zu kernels, %zu wrong\n", r->op_wrong ? "WRONG" : "ok   ", r->v->op->name,
               r->n.n_cases - before.n_cases, r->n.n_kernels - before.n_kernels, r->op_wrong);
  r->n.n_ops++;
  return KOINE_OK;
}

/* What only a library does is called only where there is one. */
static bool can_do(const run *r)
{
  bool able = r->v->op->source || r->d->backend->gemm || r->d->endpoint->type == KOINE_DEVICE_HOST;
  if (!able) koi_text_add(r->report, "none   op %s: this device has no library for it\n", r->v->op->name);
  return able;
}

koine_status koi_verify_ops(koi_device *d, const koi_verify_options *o, koine_progress_fn *progress, void *user, koi_text *report)
{
  static const koi_verify_op *const tables[] = {koi_verify_mat, koi_verify_products, koi_verify_panels, koi_verify_gemm, koi_verify_rows, koi_verify_cache, koi_verify_joined, koi_verify_index, koi_verify_attn};
  run r = {.d = d, .report = report};
  if (o) r.o = *o;
  if (r.o.max_sets < 1) r.o.max_sets = 1;
  koi_backend_target(d, &r.target);
  koi_step_tunables(&r.target, &r.tunables);
  uint64_t total = 0, done = 0;
  for (size_t t = 0; t < KOI_COUNT(tables); t++)
    for (r.v = tables[t]; r.v->op; r.v++) total++;
  koine_status st = KOINE_OK;
  for (size_t t = 0; t < KOI_COUNT(tables) && !st; t++)
    for (r.v = tables[t]; r.v->op && !st; r.v++, done++) {
      if (r.o.op && strcmp(r.o.op, r.v->op->name)) continue;
      if (progress && !progress(user, r.v->op->name, done, total)) st = koi_error(KOINE_ERR_CANCELLED, "the verification was cancelled");
      if (!st) st = can_do(&r) ? run_op(&r) : KOINE_OK;
    }
  koi_text_add(report, "%zu ops, %zu cases, %zu kernels: %zu wrong, %zu on the host, %zu parameter sets refused\n", r.n.n_ops, r.n.n_cases,
               r.n.n_kernels, r.n.n_wrong, r.n.n_host, r.n.n_refused);
  if (r.o.counts) *r.o.counts = r.n;
  if (st) return st;
  return r.n.n_wrong ? koi_error(KOINE_ERR_CHECK, "%zu wrong; first: %s", r.n.n_wrong, r.first) : KOINE_OK;
}
