/* Importance measured: before each product of a step its input is read back, and the squares of what each column meets are added up. Owns the room
 * for what is read. Does not change what is computed. Invariant: a product that is cut into parts counts once. */
#include <stdio.h>
#include <string.h>
#include "importance.h"
#include "model/names.h"

enum { NONE = -1 };

/* ---- entries ---- */
/* What a product may be stored in blocks for; the head is left out: few of its inputs are ever asked for. */
static bool counts(const koi_role *r) { return r->use >= KOI_DENSE || (r->use == KOI_FLOATS && (!strcmp(r->group, "compressors") || !strcmp(r->group, "indexer"))); }

typedef struct making { koine_importance *m; koine_status status; } making;

static void make_entry(void *user, int layer, const koi_role *r, const koi_weight *w)
{
  making *g = user;
  char ours[KOI_NAMES_BYTES], theirs[KOI_NAMES_BYTES];
  if (!counts(r)) return;
  for (uint32_t sub = 0; sub < w->n_sub && !g->status; sub++) {
    koi_importance_entry *v = koi_realloc(g->m->v, g->m->n_entries + 1, sizeof *v);
    if (!v) {
      g->status = KOINE_ERR_MEMORY;
      return;
    }
    snprintf(ours, sizeof ours, "layers.%d.%s%s%s%s", layer, r->path, r->units == KOI_EXPERTS ? "0." : "", r->name[sub], r->suffix);
    koi_importance_entry *e = &v[g->m->n_entries];
    *e = (koi_importance_entry){.name = koi_strdup(koi_names_stored(ours, theirs)), .k = w->k, .n = r->units == KOI_EXPERTS ? w->n_units : 1};
    e->sum = koi_alloc(e->k * e->n, sizeof *e->sum), e->count = koi_alloc(e->n, sizeof *e->count);
    g->m->v = v, g->m->n_entries++;
    if (!e->name || !e->sum || !e->count) g->status = KOINE_ERR_MEMORY;
  }
}

koine_status koi_importance_make(const koine_model *model, koine_importance **out)
{
  making g = {.m = koi_alloc(1, sizeof *g.m)};
  if (!g.m) return KOINE_ERR_MEMORY;
  koi_model_visit(model, make_entry, &g);
  if (g.status) koi_importance_free(g.m);
  else *out = g.m;
  return g.status;
}

/* ---- which weight a call multiplies ---- */
/* The role of the layer whose parts begin at or before `part`; NONE: none of those that count. */
static int role_of(const koi_stage *st, const koi_call *c, uint32_t part)
{
  if (c->layer < 0 || (uint32_t)c->layer >= st->model->config.n_layers) return NONE;
  const koi_laid *w = st->at.laid->layers[c->layer];
  for (int r = 0; r < (int)KOI_N_LAYER_ROLES; r++)
    if (part >= w[r].first && part - w[r].first < w[r].n_parts) return counts(&koi_layer_roles[r]) ? r : NONE;
  return NONE;
}

typedef struct met { /* what a call's columns meet */
  koi_importance_watch *w;
  int layer, role;
  uint64_t k;
} met;

static void add_square(const met *t, int64_t unit, const float *x, uint64_t stride)
{
  for (int sub = 0; sub < 2; sub++) {
    int32_t at = t->w->at[((size_t)t->layer * KOI_N_LAYER_ROLES + (size_t)t->role) * 2 + (size_t)sub];
    if (at == NONE) continue;
    koi_importance_entry *e = &t->w->m->v[at];
    uint64_t matrix = e->n > 1 ? (uint64_t)unit : 0;
    if (unit < 0 || matrix >= e->n) continue;
    for (uint64_t i = 0; i < t->k; i++) e->sum[matrix * e->k + i] += x[i * stride] * x[i * stride];
    e->count[matrix] += 1;
  }
}

/* ---- reading back ---- */
/* n bytes of argument b into the room, at `at`. */
static koine_status fetch(koi_importance_watch *w, koi_stage *st, const koi_args *a, size_t b, size_t at, size_t n)
{
  if (at + n > w->bytes) {
    uint8_t *room = koi_realloc(w->room, at + n, 1);
    if (!room) return KOINE_ERR_MEMORY;
    w->room = room, w->bytes = at + n;
  }
  return st->dev->backend->read(st->dev, a->buf[b], a->at[b], n, w->room + at);
}

static koine_status meet_matvec(met *t, koi_stage *st, const koi_args *a)
{
  size_t n = (size_t)a->i[MATVEC_E], rows = (n + (size_t)a->i[MATVEC_X_DIV] - 1) / (size_t)a->i[MATVEC_X_DIV], ld = (size_t)a->i[MATVEC_LDX];
  size_t x_bytes = ((rows - 1) * ld + t->k) * sizeof(float);
  bool ids = a->i[MATVEC_HAS_IDS];
  koine_status s = fetch(t->w, st, a, MATVEC_X, 0, x_bytes);
  if (!s && ids) s = fetch(t->w, st, a, MATVEC_IDS, x_bytes, n * sizeof(int32_t));
  for (size_t e = 0; e < n && !s; e++) {
    int32_t unit = 0;
    if (ids) memcpy(&unit, t->w->room + x_bytes + 4 * e, sizeof unit);
    if (ids && (unit < a->i[MATVEC_UNIT0] || unit >= a->i[MATVEC_UNIT1])) continue;
    add_square(t, unit, (const float *)(const void *)t->w->room + e / (size_t)a->i[MATVEC_X_DIV] * ld, 1);
  }
  return s;
}

/* One row for several weights. */
static koine_status meet_matvecs(met *t, koi_stage *st, const koi_call *c, const koi_args *a)
{
  static const int codes[MATVECS_MOST] = {MATVECS_W, MATVECS_W1, MATVECS_W2};
  t->k = (uint64_t)a->i[MATVECS_K];
  koine_status s = fetch(t->w, st, a, MATVECS_X, 0, t->k * sizeof(float));
  for (size_t i = 0; i < MATVECS_MOST && !s; i++) {
    if (c->buf[codes[i]].space == KOI_AT_NONE) continue;
    t->role = role_of(st, c, c->buf[codes[i]].id);
    if (t->role != NONE) add_square(t, 0, (const float *)(const void *)t->w->room, 1);
  }
  return s;
}

/* One row for the gate, which chooses as well. */
static koine_status meet_gate(met *t, koi_stage *st, const koi_call *c, const koi_args *a)
{
  t->role = role_of(st, c, c->buf[MATVEC_W].id), t->k = (uint64_t)a->i[MATVEC_ROUTE_K];
  koine_status s = t->role == NONE ? KOINE_OK : fetch(t->w, st, a, MATVEC_X, 0, t->k * sizeof(float));
  if (!s && t->role != NONE) add_square(t, 0, (const float *)(const void *)t->w->room, 1);
  return s;
}

static koine_status meet_matmul(met *t, koi_stage *st, const koi_args *a, size_t nt)
{
  size_t n = (size_t)a->i[MATMUL_N_PANELS], panel = t->k * nt, x_bytes = n * panel * sizeof(float);
  bool has = a->i[MATMUL_HAS_ROWS];
  koine_status s = fetch(t->w, st, a, MATMUL_XP, 0, x_bytes);
  if (!s && has) s = fetch(t->w, st, a, MATMUL_UNIT, x_bytes, n * 4);
  if (!s && has) s = fetch(t->w, st, a, MATMUL_ROWS, x_bytes + 4 * n, n * nt * 4);
  for (size_t i = 0; i < n * nt && !s; i++) {
    int32_t unit = 0, row = (int32_t)i;
    if (has) memcpy(&unit, t->w->room + x_bytes + i / nt * 4, 4), memcpy(&row, t->w->room + x_bytes + 4 * n + 4 * i, 4);
    if (row < 0 || row >= a->i[MATMUL_N_ROWS] || (has && (unit < a->i[MATMUL_UNIT0] || unit >= a->i[MATMUL_UNIT1]))) continue;
    add_square(t, unit, (const float *)(const void *)t->w->room + i / nt * panel + i % nt, nt);
  }
  return s;
}

static koine_status meet_gemm(met *t, koi_stage *st, const koi_args *a)
{
  size_t n = (size_t)a->i[GEMM_N], ld = (size_t)a->i[GEMM_LDX];
  koine_status s = fetch(t->w, st, a, GEMM_X, 0, ((n - 1) * ld + t->k) * sizeof(float));
  for (size_t e = 0; e < n && !s; e++) add_square(t, 0, (const float *)(const void *)t->w->room + e * ld, 1);
  return s;
}

static koine_status before(void *user, koi_stage *st, const koi_bound_call *b)
{
  koi_importance_watch *w = user;
  const koi_call *c = b->call;
  if (c->kind != KOI_CALL_OP) return KOINE_OK;
  const koi_args *a = &b->bound->a;
  met t = {w, c->layer, NONE, 0};
  if (c->op == &koi_op_widen) w->wide = c->buf[WIDEN_W].id;
  bool vectors = c->op == &koi_op_matvec || c->op == &koi_op_matvec_glu || c->op == &koi_op_matvec_post; /* which have matvec's arguments */
  if (c->op == &koi_op_matvec_route) return meet_gate(&t, st, c, a);
  if (c->op == &koi_op_matvecs) return meet_matvecs(&t, st, c, a);
  if (vectors && !a->i[MATVEC_TILE0] && a->i[MATVEC_E]) t.role = role_of(st, c, c->buf[MATVEC_W].id), t.k = (uint64_t)a->i[MATVEC_K];
  else if (c->op == &koi_op_matmul && !a->i[MATMUL_TILE0]) t.role = role_of(st, c, c->buf[MATMUL_W].id), t.k = (uint64_t)a->i[MATMUL_K];
  else if (c->op == &koi_op_gemm && !a->i[GEMM_Y_OFFSET]) t.role = role_of(st, c, w->wide), t.k = (uint64_t)a->i[GEMM_K];
  if (t.role == NONE) return KOINE_OK;
  if (c->op == &koi_op_gemm) return meet_gemm(&t, st, a);
  return vectors ? meet_matvec(&t, st, a) : meet_matmul(&t, st, a, (size_t)c->c[MATMUL_NT]);
}

static koine_status after(void *user, koi_stage *st, const koi_bound_call *b)
{
  (void)user, (void)st, (void)b;
  return KOINE_OK;
}

koine_status koi_importance_begin(koine_importance *m, const koine_model *model, koi_importance_watch *w, koi_watch *out)
{
  size_t n = (size_t)model->config.n_layers * KOI_N_LAYER_ROLES * 2;
  char ours[KOI_NAMES_BYTES], theirs[KOI_NAMES_BYTES];
  *w = (koi_importance_watch){.m = m, .n_layers = model->config.n_layers, .at = koi_alloc(n, sizeof *w->at)};
  if (!w->at) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < n; i++) {
    const koi_role *r = &koi_layer_roles[i / 2 % KOI_N_LAYER_ROLES];
    w->at[i] = NONE;
    if (!r->name[i % 2]) continue;
    snprintf(ours, sizeof ours, "layers.%zu.%s%s%s%s", i / 2 / KOI_N_LAYER_ROLES, r->path, r->units == KOI_EXPERTS ? "0." : "", r->name[i % 2], r->suffix);
    const koi_importance_entry *e = koi_importance_find(m, koi_names_stored(ours, theirs));
    if (e) w->at[i] = (int32_t)(e - m->v);
  }
  *out = (koi_watch){before, after, w};
  return KOINE_OK;
}

void koi_importance_end(koi_importance_watch *w)
{
  koi_free(w->at);
  koi_free(w->room);
  *w = (koi_importance_watch){0};
}
