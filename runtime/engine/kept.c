/* See kept.h: where tiles lie in their files, reading and writing them. Owns the files. Invariant: a tile that is given to a caller has the sum that
 * it was written with. */
#include <errno.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "kept_impl.h"
#include "model/fingerprint.h"

static const char magic[8] = "koilaid1";

uint64_t koi_kept_sum(const void *data, size_t n, uint64_t seed)
{
  enum { LANES = 4 };
  uint64_t h[LANES] = {seed, ~seed, seed << 1 | 1, n};
  const uint8_t *p = data;
  size_t i = 0;
  for (; i + 8 * LANES <= n; i += 8 * LANES)
    for (int j = 0; j < LANES; j++) { /* each step keeps apart what was apart */
      uint64_t word;
      memcpy(&word, p + i + 8 * j, 8);
      h[j] = (h[j] ^ word) * 0x9fb21c651e98df25u;
      h[j] ^= h[j] >> 29;
    }
  return koi_hash(p + i, n - i, koi_hash(h, sizeof h, seed));
}

/* ---- places ---- */
static kept_file *file_of(const koi_kept *k, int layer, const koi_role *role, uint32_t r)
{
  if (layer < 0) return &k->files[r == KOI_TOP_embed ? 0 : 1];
  return &k->files[2 + 2 * layer + (role->units == KOI_EXPERTS)];
}

static const kept_place *place_of(const koi_kept *k, const koi_span *s) { return s->layer < 0 ? &k->top[s->role] : &k->layers[s->layer][s->role]; }

/* How a format's tiles come of a file's rows: the sum of some that are made of fixed bits. */
static uint64_t manner(int32_t wt, uint32_t tile)
{
  enum { COLUMNS = 256, ROW_BYTES = 4 * COLUMNS };
  uint8_t *out[KOI_MAX_STREAMS] = {0}, *rows = koi_alloc(2 * KOI_MOST_TILE, ROW_BYTES);
  uint64_t h = (uint64_t)wt;
  bool ok = rows;
  for (int s = 0; s < KOI_MAX_STREAMS && ok; s++) {
    uint64_t bytes = koi_format_tile_bytes(wt, s, COLUMNS, tile);
    ok = !bytes || (out[s] = koi_alloc(bytes, 1));
  }
  if (ok) {
    for (size_t i = 0; i < (size_t)2 * KOI_MOST_TILE * ROW_BYTES; i++) rows[i] = (uint8_t)((i * 2654435761u) >> 13);
    koi_format_tiles(wt, tile, &(koi_stored){rows, rows + (size_t)KOI_MOST_TILE * ROW_BYTES, tile, COLUMNS}, 0, tile, 0, 1, out);
    for (int s = 0; s < KOI_MAX_STREAMS; s++)
      if (out[s]) h = koi_kept_sum(out[s], koi_format_tile_bytes(wt, s, COLUMNS, tile), h);
  }
  for (int s = 0; s < KOI_MAX_STREAMS; s++) koi_free(out[s]);
  koi_free(rows);
  return ok ? h : 0;
}

/* Bytes of a tile of a matrix, or of a row, in a stream. */
static uint64_t tile_bytes(const koi_kept *k, const koi_role *role, const koi_laid *w, int32_t wt, int stream)
{
  koi_part one = {.unit1 = 1, .tile1 = 1, .wt = wt};
  return koi_lay_part_bytes(k->l, role, w, &one, stream);
}

static koine_status put_weight(koi_kept *k, int layer, const koi_role *role, uint32_t r, const koi_weight *from, const koi_laid *w, kept_place *p)
{
  kept_file *f = file_of(k, layer, role, r);
  koi_spanned one = {role, from, w, NULL};
  uint64_t sub = w->n_parts ? koi_span_of_sub(k->l, &one) : 0, n = (uint64_t)from->n_units * (uint64_t)w->n_sub; /* every expert, whatever places there are */
  const uint64_t what[] = {r, (uint64_t)w->k, sub, (uint64_t)from->n_units, (uint64_t)w->n_sub};
  if (!w->n_parts) return KOINE_OK;
  if (!(p->at = koi_alloc(n, sizeof *p->at))) return KOINE_ERR_MEMORY;
  p->tile = f->head.n_tiles;
  f->head.shape = koi_hash(what, sizeof what, f->head.shape);
  int32_t last = KOI_FORMAT_NONE;
  uint64_t last_manner = 0;
  for (uint64_t i = 0; i < n; i++) {
    int32_t wt = koi_role_is_matrix(role) ? koi_weight_piece(from, (uint32_t)(i / w->n_sub), (uint32_t)(i % w->n_sub))->format : w->wt;
    if (wt != last && koi_role_is_matrix(role)) last_manner = manner(wt, k->l->tile);
    last = wt;
    p->at[i] = f->head.bytes;
    f->head.shape = koi_hash(&last_manner, sizeof last_manner, koi_hash(&wt, sizeof wt, f->head.shape));
    for (int s = 0; s < KOI_MAX_STREAMS; s++) f->head.bytes += sub * tile_bytes(k, role, w, wt, s);
    f->head.bytes = (f->head.bytes + 63) / 64 * 64;
    f->head.n_tiles += sub;
  }
  return KOINE_OK;
}

static koine_status put_weights(koi_kept *k)
{
  const koine_model *m = k->l->model;
  koine_status s = KOINE_OK;
  for (uint32_t r = 0; r < KOI_N_TOP_ROLES && !s; r++) s = put_weight(k, -1, &koi_top_roles[r], r, &m->top[r], &k->l->top[r], &k->top[r]);
  for (uint32_t n = 0; n < m->config.n_layers && !s; n++)
    for (uint32_t r = 0; r < KOI_N_LAYER_ROLES && !s; r++)
      s = put_weight(k, (int)n, &koi_layer_roles[r], r, &m->layers[n].w[r], &k->l->layers[n][r], &k->layers[n][r]);
  return s;
}

/* What every file's head has to be, and room for its sums. Offsets were counted from 0. */
static koine_status make_heads(koi_kept *k)
{
  kept_head common = {.model = koi_model_fingerprint(k->l->model), .files = koi_weights_stamp(k->l->model->weights), .tile = k->l->tile};
  memcpy(common.magic, magic, sizeof magic);
  koi_print(common.device, sizeof common.device, "%s", k->device);
  if (!common.model) return KOINE_ERR_STATE;
  for (size_t i = 0; i < k->n_files; i++) {
    kept_file *f = &k->files[i];
    const kept_head own = f->head;
    if (!own.n_tiles) continue;
    f->head = common, f->head.number = (uint32_t)i, f->head.shape = own.shape, f->head.n_tiles = own.n_tiles, f->left = own.n_tiles;
    f->head.bytes = own.bytes + sizeof f->head + own.n_tiles * sizeof *f->sums;
    f->sums = koi_alloc(own.n_tiles, sizeof *f->sums);
    if (!f->sums) return KOINE_ERR_MEMORY;
  }
  return KOINE_OK;
}

koine_status koi_kept_open(const koi_laid_model *l, const char *device, const char *cache_dir, bool pass, koi_kept **out)
{
  const koine_model *m = l->model;
  *out = NULL;
  if (!m->weights) return KOINE_OK;
  koi_kept *k = koi_alloc(1, sizeof *k);
  if (!k) return KOINE_ERR_MEMORY;
  pthread_mutex_init(&k->lock, NULL);
  k->l = l, k->device = device, k->pass = pass, k->n_files = 2 + 2 * (size_t)m->config.n_layers;
  k->files = koi_alloc(k->n_files, sizeof *k->files), k->layers = koi_alloc(m->config.n_layers, sizeof *k->layers);
  k->beside = koi_format("%s%slayout", m->path, m->gguf ? "." : "/"), k->cache = cache_dir ? koi_format("%s/layout", cache_dir) : NULL;
  bool ok = k->files && k->layers && k->beside && (k->cache || !cache_dir);
  koine_status s = ok ? put_weights(k) : KOINE_ERR_MEMORY;
  if (!s) s = make_heads(k);
  if (!s) s = koi_kept_find(k);
  if (!s) return *out = k, s;
  koi_kept_close(k);
  return s == KOINE_ERR_STATE ? KOINE_OK : s; /* a checkpoint that cannot be read: its reader says so */
}

/* ---- tiles ---- */
static uint64_t sum_of(const uint64_t *tile /* [KOI_MAX_STREAMS] bytes */, uint8_t *const at[KOI_MAX_STREAMS], uint64_t i, bool care)
{
  uint64_t h = i;
  for (int s = 0; s < KOI_MAX_STREAMS; s++)
    if (tile[s]) h = koi_kept_sum(at[s] + i * tile[s], tile[s], h);
  return (h & ~UINT64_C(1)) | care;
}

typedef struct stretch { /* a piece in its file */
  kept_file *f;
  uint64_t *sums, at[KOI_MAX_STREAMS], tile[KOI_MAX_STREAMS], n; /* place and bytes of a tile of each stream; tiles */
} stretch;

/* Whichever laid model of the same weights the piece's part is of. */
static stretch find(const koi_kept *k, const koi_span *s)
{
  const koine_model *m = k->l->model;
  const bool top = s->layer < 0;
  const koi_role *role = top ? &koi_top_roles[s->role] : &koi_layer_roles[s->role];
  const koi_laid *to = top ? &k->l->top[s->role] : &k->l->layers[s->layer][s->role];
  koi_spanned w = {role, top ? &m->top[s->role] : &m->layers[s->layer].w[s->role], to, NULL};
  const kept_place *p = place_of(k, s);
  stretch out = {.f = file_of(k, s->layer, w.role, s->role), .n = s->tile1 - s->tile0};
  uint64_t sub = koi_span_of_sub(k->l, &w), matrix = (uint64_t)s->unit * (uint64_t)w.to->n_sub + s->tile0 / sub, in = s->tile0 % sub;
  uint64_t at = sizeof out.f->head + out.f->head.n_tiles * sizeof *out.f->sums + p->at[matrix];
  out.sums = out.f->sums + p->tile + matrix * sub + in;
  int32_t wt = koi_role_is_matrix(role) ? koi_weight_piece(w.from, s->unit, (uint32_t)(s->tile0 / sub))->format : to->wt;
  for (int i = 0; i < KOI_MAX_STREAMS; i++) {
    out.tile[i] = tile_bytes(k, role, to, wt, i);
    out.at[i] = at + in * out.tile[i], at += sub * out.tile[i];
  }
  return out;
}

/* Once a file: the rest of it may still be right. */
static void tell_damage(koi_kept *k, kept_file *f, const char *why)
{
  pthread_mutex_lock(&k->lock);
  bool told = f->damaged;
  f->damaged = true, k->n_bad += !told;
  pthread_mutex_unlock(&k->lock);
  if (!told) koi_log(KOINE_LOG_WARNING, "%s: %s: these weights are laid out anew, and so is the file at the next start", f->path, why);
}

bool koi_kept_read(koi_kept *k, const koi_span *s, uint8_t *const out[KOI_MAX_STREAMS], bool *care)
{
  stretch t = find(k, s);
  bool some = false;
  if (t.f->state != KEPT_THERE) return false;
  for (int i = 0; i < KOI_MAX_STREAMS; i++) {
    size_t got, n = (size_t)(t.n * t.tile[i]);
    int e = n ? koi_file_at(t.f->opened - 1, t.at[i], n, out[i], &got) : 0;
    if (e || (n && got < n)) return tell_damage(k, t.f, e ? strerror(e) : "it ends too early"), false;
    if (k->pass && n) posix_fadvise(t.f->opened - 1, (off_t)t.at[i], (off_t)n, POSIX_FADV_DONTNEED);
  }
  for (uint64_t i = 0; i < t.n; i++) {
    some |= t.sums[i] & 1;
    if (sum_of(t.tile, out, i, t.sums[i] & 1) != t.sums[i]) return tell_damage(k, t.f, "it has other bytes than were written"), false;
  }
  *care |= some;
  return true;
}

/* ---- writing ---- */
/* Nothing more is written; what is there stays. */
static void give_up(koi_kept *k)
{
  if (!k->full) koi_log(KOINE_LOG_WARNING, "laid-out weights are not kept: %s", koi_error_text());
  k->full = true;
  for (size_t i = 0; i < k->n_files; i++)
    if (k->files[i].state == KEPT_NEW) k->files[i].state = KEPT_OFF;
}

/* Under the lock. */
static bool begin(koi_kept *k, kept_file *f)
{
  if (f->state != KEPT_NEW) return false;
  if (f->f) return true;
  koine_status s = koi_newfile_open(f->path, 0644, &f->f);
  if (!s) s = koi_newfile_room(f->f, f->head.bytes);
  if (s) give_up(k);
  return !s;
}

/* The last tile was written. */
static koine_status finish(koi_kept *k, kept_file *f)
{
  f->head.sum = koi_kept_head_sum(f);
  koine_status s = koi_newfile_write(f->f, sizeof f->head, f->sums, (size_t)f->head.n_tiles * sizeof *f->sums);
  if (!s) s = koi_weights_check(k->l->model->weights);
  if (!s) s = koi_newfile_write(f->f, 0, &f->head, sizeof f->head);
  if (s) koi_newfile_drop(f->f);
  else s = koi_newfile_finish(f->f);
  int fd = s || !k->pass ? -1 : open(f->path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), close(fd);
  return s;
}

void koi_kept_write(koi_kept *k, const koi_span *s, uint8_t *const out[KOI_MAX_STREAMS], bool care)
{
  stretch t = find(k, s);
  koine_status st = KOINE_OK;
  pthread_mutex_lock(&k->lock);
  bool on = begin(k, t.f);
  pthread_mutex_unlock(&k->lock);
  if (!on) return;
  for (int i = 0; i < KOI_MAX_STREAMS && !st; i++)
    if (t.tile[i]) st = koi_newfile_write(t.f->f, t.at[i], out[i], (size_t)(t.n * t.tile[i]));
  for (uint64_t i = 0; i < t.n; i++) t.sums[i] = sum_of(t.tile, out, i, care);
  pthread_mutex_lock(&k->lock);
  if (st) give_up(k);
  bool last = !st && t.f->left == t.n;
  t.f->left -= t.n;
  pthread_mutex_unlock(&k->lock);
  if (!last) return;
  st = finish(k, t.f);
  pthread_mutex_lock(&k->lock);
  t.f->f = NULL, t.f->state = KEPT_OFF;
  if (st) give_up(k);
  else k->n_kept++, k->kept_bytes += t.f->head.bytes;
  pthread_mutex_unlock(&k->lock);
}

/* ---- the end ---- */
bool koi_kept_wants(const koi_kept *k, uint32_t layer) { return k->files[2 + 2 * layer + 1].state == KEPT_NEW; }

/* Unless another has taken its place. */
static void throw_damaged(const kept_file *f)
{
  struct stat ours, there;
  if (f->damaged && !fstat(f->opened - 1, &ours) && !stat(f->path, &there) && ours.st_ino == there.st_ino && ours.st_dev == there.st_dev) unlink(f->path);
}

void koi_kept_end(koi_kept *k)
{
  for (size_t i = 0; i < k->n_files; i++) {
    kept_file *f = &k->files[i];
    koi_newfile_drop(f->f);
    throw_damaged(f);
    if (f->state == KEPT_NEW) f->state = KEPT_OFF;
    f->f = NULL;
  }
  k->pass = false;
  if (k->n_kept) koi_log(KOINE_LOG_NOTE, "laid-out weights are kept for the next start: %.1f MB in %zu files of %s", (double)k->kept_bytes / 1e6, (size_t)k->n_kept, k->used);
}

void koi_kept_close(koi_kept *k)
{
  if (!k) return;
  for (size_t i = 0; k->files && i < k->n_files; i++) {
    kept_file *f = &k->files[i];
    koi_newfile_drop(f->f);
    throw_damaged(f);
    if (f->opened) close(f->opened - 1);
    koi_free(f->sums);
    koi_free(f->path);
  }
  for (size_t r = 0; r < KOI_N_TOP_ROLES; r++) koi_free(k->top[r].at);
  for (size_t n = 0; k->layers && n < k->l->model->config.n_layers; n++)
    for (size_t r = 0; r < KOI_N_LAYER_ROLES; r++) koi_free(k->layers[n][r].at);
  koi_free(k->layers);
  koi_free(k->files);
  koi_free(k->beside);
  koi_free(k->cache);
  pthread_mutex_destroy(&k->lock);
  koi_free(k);
}
