/* Weights as laid out, kept in files beside their checkpoint, or in the cache folder where that cannot be written, so that a later start reads
 * them and does not repack. A file holds one layer's routed experts, or the rest of a layer, or what lies outside layers, all in tiles of so many
 * rows: whole units, as the layout orders them, whatever the device's limit makes of them. Files and what they are made of are told apart by the
 * model's fingerprint and the checkpoint's files' sizes and times.
 *
 * Never an error: what is damaged, short or another's is laid out anew, what cannot be written is not kept, and one warning says so. */
#ifndef KOI_KEPT_H
#define KOI_KEPT_H
#include "span.h"

typedef struct koi_kept koi_kept;

/* Looks for the files of l and throws away those that nobody will read any more: of other tiles that were kept for this `device`, a name, and beside
 * the checkpoint those of another one. cache_dir NULL: there is no such folder. pass: files are not to stay in the page cache.
 * *out NULL: nothing can be kept. KOINE_ERR_MEMORY. */
koine_status koi_kept_open(const koi_laid_model *l, const char *device, const char *cache_dir, bool pass, koi_kept **out);
/* A piece (koi_span_next) as koi_fetch_tiles gives it, from its file; false: it is not there, or not as it was written. Any thread. */
bool koi_kept_read(koi_kept *k, const koi_span *s, uint8_t *const out[KOI_MAX_STREAMS], bool *care);
/* Keeps a piece of a file that was not there, each once; the file appears when all of it was given. Any thread. */
void koi_kept_write(koi_kept *k, const koi_span *s, uint8_t *const out[KOI_MAX_STREAMS], bool care);
/* Whether all of a layer's routed experts are to be given (koi_kept_write), since there is no file of them yet. */
bool koi_kept_wants(const koi_kept *k, uint32_t layer);
/* All was given: drops what is not whole, or was found damaged, and says what is kept from now on. What is read later, experts that come by turns,
 * may be wanted again and stays in the page cache; a file that is found damaged then goes when it is closed. */
void koi_kept_end(koi_kept *k);
void koi_kept_close(koi_kept *k); /* NULL is allowed */
#endif
