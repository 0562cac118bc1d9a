/* Weights from the files to the device, in bounded pieces, so that the host never holds a second copy. Owns nothing: the buffers are the caller's.
 * Invariant: the bytes allocated are those that were laid. */
#include "upload.h"
#include "ahead.h"
#include "kept.h"

typedef struct upload {
  koi_device *dev;
  koi_laid_model *l;
  koi_put *put;
  struct koi_kept *kept;
  bool pass;
  koine_progress_fn *progress;
  void *user;
  uint64_t done, allocated;
} upload;

/* ---- room ---- */
static koine_status make_part(upload *u, const koi_role *role, const koi_laid *w, uint32_t part)
{
  koine_status s = KOINE_OK;
  for (int i = 0; i < KOI_MAX_STREAMS && !s; i++) {
    uint64_t bytes = koi_lay_part_bytes(u->l, role, w, &u->l->parts[part], i);
    if (bytes && !(s = koi_device_alloc(u->dev, bytes, &u->put[part].stream[i]))) u->allocated += bytes;
  }
  return s;
}

static koine_status make_weights(upload *u, int layer, const koi_role *roles, uint32_t n_roles, const koi_laid *laid)
{
  char name[KOI_ROLE_NAME];
  for (uint32_t r = 0; r < n_roles; r++)
    for (uint32_t p = laid[r].first; p < laid[r].first + laid[r].n_parts; p++) {
      koine_status s = make_part(u, &roles[r], &laid[r], p);
      if (s) return koi_error_prefix(s, "uploading %s", koi_role_name(&roles[r], layer, name));
    }
  return KOINE_OK;
}

static koine_status make_all(upload *u)
{
  const koi_laid_model *l = u->l;
  koine_status s = make_weights(u, -1, koi_top_roles, KOI_N_TOP_ROLES, l->top);
  for (uint32_t n = 0; n < l->model->config.n_layers && !s; n++) s = make_weights(u, (int)n, koi_layer_roles, KOI_N_LAYER_ROLES, l->layers[n]);
  if (!s && u->allocated != l->bytes)
    s = koi_error(KOINE_ERR_DEVICE, "weights: %llu bytes were allocated, but %llu were laid out", (unsigned long long)u->allocated, (unsigned long long)l->bytes);
  return s;
}

/* ---- filling ---- */
static koine_status advance(upload *u, uint64_t bytes)
{
  u->done += bytes;
  if (!u->progress || u->progress(u->user, "uploading weights", u->done, u->l->bytes)) return KOINE_OK;
  return koi_error(KOINE_ERR_CANCELLED, "cancelled while uploading weights");
}

static koine_status put_piece(upload *u, const koi_piece_read *p)
{
  const koi_span *at = &p->span;
  koi_spanned w = koi_span_weight(u->l, at);
  koi_part *part = &u->l->parts[at->part], before = *part, some = *part;
  koine_status s = KOINE_OK;
  part->care |= p->care;
  for (int i = 0; i < KOI_MAX_STREAMS && !s; i++) {
    before.unit1 = (int32_t)at->unit, some.unit1 = some.unit0 + 1; /* whole units before it, and of its own the tiles before it */
    some.tile0 = part->tile0, some.tile1 = (int32_t)at->tile0;
    uint64_t offset = koi_lay_part_bytes(u->l, w.role, w.to, &before, i) + koi_lay_part_bytes(u->l, w.role, w.to, &some, i);
    some.tile0 = (int32_t)at->tile0, some.tile1 = (int32_t)at->tile1;
    uint64_t bytes = koi_lay_part_bytes(u->l, w.role, w.to, &some, i);
    if (bytes) s = u->dev->backend->write(u->dev, u->put[at->part].stream[i], offset, bytes, p->out[i]);
    if (bytes && !s) s = advance(u, bytes);
  }
  char name[KOI_ROLE_NAME];
  return s && s != KOINE_ERR_CANCELLED ? koi_error_prefix(s, "uploading %s", koi_role_name(w.role, at->layer, name)) : s;
}

static koine_status fill_all(upload *u)
{
  koi_ahead *a = NULL;
  koine_status s = koi_ahead_open(u->l, u->kept, u->dev->n_threads, u->pass, &a), read = KOINE_OK;
  while (!s) {
    const koi_piece_read *p = koi_ahead_next(a, &read);
    if (!p) break;
    s = put_piece(u, p);
  }
  if (!s) s = read;
  koi_ahead_close(a);
  if (!s) s = u->dev->backend->finish(u->dev);
  if (!s && u->l->model->weights) s = koi_weights_check(u->l->model->weights);
  return s;
}

koine_status koi_upload(koi_device *dev, koi_laid_model *l, koi_put *put, struct koi_kept *kept, bool pass, koine_progress_fn *progress, void *user)
{
  upload u = {.dev = dev, .l = l, .put = put, .kept = kept, .pass = pass, .progress = progress, .user = user};
  koine_status s = make_all(&u);
  return s ? s : fill_all(&u);
}

koine_status koi_upload_room(koi_device *dev, koi_laid_model *l, koi_put *put)
{
  upload u = {.dev = dev, .l = l, .put = put};
  return make_all(&u);
}

void koi_upload_free(koi_device *dev, koi_put *put, uint32_t n_parts)
{
  for (uint32_t i = 0; put && i < n_parts; i++)
    for (int s = 0; s < KOI_MAX_STREAMS; s++)
      if (put[i].stream[s]) koi_device_free(dev, put[i].stream[s]);
}

/* ---- experts that come by turns ---- */
/* Reads all experts of a layer, for the file that keeps them. */
static koine_status keep_layer(const koi_laid_model *like, struct koi_kept *kept, uint32_t layer, uint32_t n_threads, bool pass)
{
  koi_laid_model *all = NULL;
  koi_ahead *a = NULL;
  koine_status s = koi_lay_share(like->model, 0, like->tile, &(koi_share){.layer0 = layer, .layer1 = layer + 1, .of = KOI_OF_EXPERTS}, &all), read = KOINE_OK;
  if (!s) s = koi_ahead_open(all, kept, n_threads, pass, &a);
  while (!s && koi_ahead_next(a, &read)) {}
  koi_ahead_close(a);
  koi_lay_free(all);
  return s ? s : read;
}

koine_status koi_upload_keep(const koi_device *dev, const koi_laid_model *l, struct koi_kept *kept, bool pass, koine_progress_fn *progress, void *user)
{
  koine_status s = KOINE_OK;
  for (uint32_t n = 0; n < l->model->config.n_layers && !s; n++) {
    if (!koi_kept_wants(kept, n)) continue;
    s = keep_layer(l, kept, n, dev->n_threads, pass);
    if (!s && progress && !progress(user, "laying out experts", n + 1, l->model->config.n_layers)) s = koi_error(KOINE_ERR_CANCELLED, "cancelled while laying out experts");
  }
  return s;
}
