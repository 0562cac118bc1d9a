/* Scratch memory of a stage: which buffers there are, how large, and where each lies in one arena. Lifetimes are computed from call lists: a
 * buffer lives from a call that writes it to the last one that reads that, and what never lives at once shares memory. */
#ifndef KOI_SCRATCH_H
#define KOI_SCRATCH_H
#include "call.h"
#include "kernels/step.h"
#include "model/model.h"

/* name, kind (F float, I int), elements. The letters are those of koi_scratch_sizes. */
#define KOI_SCRATCH(X) \
  X(streams, F, t * streams) X(mix, F, (t > strips ? t : strips) * mix) X(post, F, t * hc) X(comb, F, t * hc * hc) X(xn, F, t * d) X(xn_panels, F, columns * d) \
  X(stream_panels, F, columns * streams) X(qr, F, t * q_rank) X(qr_panels, F, columns * q_rank) X(q, F, t * heads) X(kv, F, t * dh) \
  X(ckv, F, 2 * t * comp) X(pooled, F, windows * dh) X(ikv, F, 2 * t * icomp) X(ipooled, F, iwindows * ih) \
  X(iq, F, index * t * nh * ih) X(iw, F, index * t * nh) X(scores, F, index * scores) X(top_rows, I, index * t * top_k) X(top_vals, F, index * t * top_k) \
  X(part_o, F, part_rows * heads) X(part_ml, F, part_rows * h * 2) X(o, F, t * heads) X(o_panels, F, group_columns * (heads / groups)) \
  X(og, F, t * groups * o_rank) X(og_panels, F, columns * groups * o_rank) X(sub_out, F, t * d) X(gate, F, t * experts) X(ids, I, e) \
  X(weights, F, e) X(rows, I, expert_columns) X(units, I, panels) X(group_rows, I, group_columns) X(group_units, I, group_columns / nt) \
  X(up_panels, F, expert_columns * d) X(up, F, e * 2 * inter) X(act, F, e * inter) X(down_panels, F, expert_columns * inter) X(parts, F, e * d) \
  X(shared_up, F, t * 2 * inter) X(shared_act, F, t * inter) X(shared_panels, F, columns * inter) X(head_streams, F, hr * streams) \
  X(head_mix, F, hr * mix) X(head_x, F, hr * d) X(head_panels, F, head_columns * (streams > d ? streams : d)) X(logits, F, hr * vocab) \
  X(wide, F, wide)
enum {
#define X(name, kind, n) KOI_S_##name,
  KOI_SCRATCH(X)
#undef X
  KOI_N_SCRATCH
};
enum { KOI_HEAD_ROWS = 32, KOI_MAX_SEQS = 64 /* sequences of a step */, KOI_WIDE_BYTES = 16 << 20 };

typedef struct koi_scratch {
  uint64_t bytes[KOI_N_SCRATCH];
  uint64_t at[KOI_N_SCRATCH];
  uint64_t arena_bytes; /* of those that the lists use */
} koi_scratch;

bool koi_scratch_is_float(uint32_t id);
const char *koi_scratch_name(uint32_t id);
/* Bytes of each buffer for chunks up to `chunk` on a stage of `layers` [layer0, layer1). */
void koi_scratch_sizes(const koine_model *m, uint32_t layer0, uint32_t layer1, const koi_tunables *t, uint32_t chunk, koi_scratch *out);
/* Places what the lists [n] use, largest first; align: of each buffer's begin. KOINE_ERR_MEMORY. */
koine_status koi_scratch_place(const koi_calls *lists, size_t n, uint64_t align, koi_scratch *s);
/* Panels that always suffice for n entries over n_units units. */
uint64_t koi_scratch_panels(uint64_t n, uint64_t n_units, uint64_t nt);
/* Floats of the indexer's score buffer: bounded, whatever the context. */
uint64_t koi_scratch_score_floats(const koi_tunables *t, uint64_t chunk, uint64_t context);
#endif
