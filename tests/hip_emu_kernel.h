/* What a kernel's text finds in place of an AMD compiler's built-in functions when the emulation (hip_emu.c) compiles it for the host; and, above,
 * what the compiled text and the emulation say to each other. Included by both. */
#ifndef HIP_EMU_KERNEL_H
#define HIP_EMU_KERNEL_H

enum { EMU_MAX_LANES = 64, EMU_MAX_ARGS = 64, EMU_MAX_WORDS = 16 };

/* What the lanes of a wave gave at one place of the kernel; those that did not come there are not active, and gave 0. */
typedef struct emu_wave { unsigned value[EMU_MAX_LANES]; unsigned long long active; unsigned words[EMU_MAX_LANES][EMU_MAX_WORDS]; } emu_wave;

typedef struct emu_link {
  unsigned group[3], local[3], lane; /* of the work-item that runs */
  void (*barrier)(void);
  const emu_wave *(*exchange)(unsigned value, int place);
  const emu_wave *(*exchange_words)(const unsigned *words, int n, int place);
} emu_link;

#ifdef EMU_LANES /* inside a kernel's text, which is C++ */
#define EMU_SHOWN extern "C" __attribute__((visibility("default")))
EMU_SHOWN emu_link *emu;
emu_link *emu;

/* ---- what stands for the attributes ---- */
#define global visibility("default")
#define amdgpu_flat_work_group_size(least, most) used
#define device unused
#define constant unused
#ifdef EMU_ADDRESS /* then variables have red zones instead, which a section of their own would take from them */
#define EMU_SHARED static
#else
#define EMU_SHARED static __attribute__((section("emu_memory")))
#endif
extern "C" char __start_emu_memory[] __attribute__((weak, visibility("hidden"))), __stop_emu_memory[] __attribute__((weak, visibility("hidden")));
EMU_SHOWN char *emu_shared(unsigned long *bytes) { *bytes = (unsigned long)(__stop_emu_memory - __start_emu_memory); return __start_emu_memory; }

/* ---- ids, barriers, lanes ---- */
#define __builtin_amdgcn_workgroup_id_x() (emu->group[0])
#define __builtin_amdgcn_workgroup_id_y() (emu->group[1])
#define __builtin_amdgcn_workgroup_id_z() (emu->group[2])
#define __builtin_amdgcn_workitem_id_x() (emu->local[0])
#define __builtin_amdgcn_workitem_id_y() (emu->local[1])
#define __builtin_amdgcn_workitem_id_z() (emu->local[2])
#define __builtin_amdgcn_fence(order, scope) __atomic_signal_fence(order)
#define __HIP_MEMORY_SCOPE_AGENT 0
#define __hip_atomic_fetch_add(at, more, order, scope) __atomic_fetch_add(at, more, order)
#define __builtin_amdgcn_s_barrier() emu->barrier()
#define __builtin_amdgcn_wavefrontsize() EMU_LANES
#define __builtin_amdgcn_ds_bpermute(at, v) emu_from(emu->exchange((unsigned)(v), __COUNTER__), (unsigned)(at) / 4)
#define __builtin_amdgcn_readlane(v, at) emu_from(emu->exchange((unsigned)(v), __COUNTER__), (unsigned)(at))
#define __builtin_amdgcn_readfirstlane(v) emu_first(emu->exchange((unsigned)(v), __COUNTER__))
#define __builtin_amdgcn_ballot_w32(v) ((unsigned)emu_ballot(emu->exchange((v) ? 1u : 0u, __COUNTER__)))
#define __builtin_amdgcn_ballot_w64(v) emu_ballot(emu->exchange((v) ? 1u : 0u, __COUNTER__))
#define __builtin_amdgcn_mbcnt_lo(mask, more) ((more) + (unsigned)__builtin_popcount((mask) & emu_below(emu->lane)))
#define __builtin_amdgcn_mbcnt_hi(mask, more) ((more) + (emu->lane < 32 ? 0u : (unsigned)__builtin_popcount((mask) & emu_below(emu->lane - 32))))

static inline unsigned emu_below(unsigned lane) { return lane > 31 ? ~0u : (1u << lane) - 1; }
static inline int emu_from(const emu_wave *w, unsigned lane) { return (int)w->value[lane % EMU_LANES]; }
static inline int emu_first(const emu_wave *w) { return (int)w->value[__builtin_ctzll(w->active)]; }
static inline unsigned long long emu_ballot(const emu_wave *w)
{
  unsigned long long all = 0;
  for (int i = 0; i < EMU_LANES; i++) all |= (unsigned long long)(w->value[i] & 1) << i;
  return all;
}

/* ---- what the compiler of a card has ---- */
#define EMU_HAS(name) EMU_HAS_##name /* for __has_builtin(__builtin_amdgcn_name): 0 where nothing is said */
#define EMU_HAS_ballot_w32 (EMU_LANES == 32)
#define EMU_HAS_ballot_w64 (EMU_LANES == 64)
#include "hip_emu_matrix.h"

/* ---- arguments ---- */
/* As a launch gives them, one word each, and as the kernel takes them. */
template <typename T> static inline void emu_keep(unsigned long *to, void *from) { __builtin_memcpy(to, from, sizeof(T)); }
template <typename T> static inline T emu_take(const unsigned long *from) { T v; __builtin_memcpy(&v, from, sizeof v); return v; }
template <int... I> struct emu_places {};
template <int N, int... I> struct emu_count : emu_count<N - 1, N - 1, I...> {};
template <int... I> struct emu_count<0, I...> { typedef emu_places<I...> places; };
template <typename... A, int... I> static void emu_keep_all(void (*)(A...), emu_places<I...>, unsigned long *to, void **from) { (emu_keep<A>(to + I, from[I]), ...); }
template <typename... A, int... I> static void emu_call(void (*kernel)(A...), emu_places<I...>, const unsigned long *from) { kernel(emu_take<A>(from + I)...); }
template <typename... A> static typename emu_count<(int)sizeof...(A)>::places emu_places_of(void (*)(A...)) { return {}; }
#define EMU_ENTRIES(kernel) \
  EMU_SHOWN void emu_keep_args(unsigned long *to, void **from) { emu_keep_all(kernel, emu_places_of(kernel), to, from); } \
  EMU_SHOWN void emu_run(const unsigned long *from) { emu_call(kernel, emu_places_of(kernel), from); }
#endif
#endif
