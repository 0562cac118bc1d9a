/* Laid weights (plan/lay.h) onto a device. */
#ifndef KOI_UPLOAD_H
#define KOI_UPLOAD_H
#include "device/backend.h"
#include "plan/lay.h"

struct koi_kept;

typedef union koi_put { /* the buffers of one part */
  struct { koi_buf *codes, *scales; };
  koi_buf *stream[KOI_MAX_STREAMS]; /* NULL past the format's last */
} koi_put;

/* Fills put [l->n_parts], which is zeroed, and `care` of every laid weight. Needs no kernel, so that those are built afterwards.
 * kept, pass: see fetch.h. The caller releases with koi_upload_free after a failure, too. */
koine_status koi_upload(koi_device *dev, koi_laid_model *l, koi_put *put, struct koi_kept *kept, bool pass, koine_progress_fn *progress, void *user);
/* The same buffers with nothing in them. */
koine_status koi_upload_room(koi_device *dev, koi_laid_model *l, koi_put *put);
/* Of routed experts that come by turns, those of layers that no file has yet: laid out once, for kept alone. */
koine_status koi_upload_keep(const koi_device *dev, const koi_laid_model *l, struct koi_kept *kept, bool pass, koine_progress_fn *progress, void *user);
void koi_upload_free(koi_device *dev, koi_put *put, uint32_t n_parts);
#endif
