/* Matrix instructions, for a kernel's text that the emulation compiles (hip_emu_kernel.h): where each element of the matrices lies, and the product. Of AMD's units
 * as their matrix instruction calculator prints it (--get-register); of sub-groups as the specification of cl_intel_subgroup_matrix_multiply_accumulate in
 * Khronos' registry has it, revision 1.1.0. Elements whose two copies differ, and lanes that are missing, make NaN.
 * Subnormals are 0, as on MI200, but where 16-bit weights, which may be subnormal, meet a unit that is said to take them. */
#ifndef HIP_EMU_MATRIX_H
#define HIP_EMU_MATRIX_H

/* Of a lane's sums, each D[i][j]: made of where the elements lie. */
typedef struct emu_sums { unsigned char i[EMU_MAX_LANES][8], j[EMU_MAX_LANES][8]; } emu_sums;
template <typename map> static constexpr emu_sums emu_sums_of()
{
  emu_sums s = {};
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 16; j++) s.i[map::sum_lane(i, j)][map::sum(i)] = (unsigned char)i, s.j[map::sum_lane(i, j)][map::sum(i)] = (unsigned char)j;
  return s;
}

static inline float emu_value(unsigned half, bool bf16)
{
#if !defined(EMU_MFMA_FP8) || (WT != 1 && WT != 2)
  if (!(half & (bf16 ? 0x7f80 : 0x7c00))) half = 0;
#endif
  if (bf16) return __builtin_bit_cast(float, half << 16);
  return (float)__builtin_bit_cast(_Float16, (unsigned short)half);
}

/* A[i][k], or B[k][i]; at: the matrix's first word of a lane. */
template <typename map, bool bf16> static inline float emu_element(const emu_wave *w, int at, int i, int k)
{
  int lane = map::lane(i, k), half = map::half(k);
  unsigned word = w->words[lane][at + half / 2];
  for (int c = 1; c < map::copies; c++)
    if (w->words[lane + 16 * c][at + half / 2] != word) return __builtin_nanf("");
  return emu_value(word >> half % 2 * 16 & 0xffff, bf16);
}

/* D = A B + C, of which each lane has what the map says. */
template <typename map, bool bf16, typename M, typename S> static inline S emu_product(M a, M b, S sums, int place)
{
  static constexpr emu_sums of = emu_sums_of<map>();
  unsigned both[2 * map::words];
  static_assert(sizeof a == 4 * map::words && sizeof sums == 4 * map::sums, "other registers than the instruction has");
  __builtin_memcpy(both, &a, sizeof a), __builtin_memcpy(both + map::words, &b, sizeof b);
  const emu_wave *w = emu->exchange_words(both, 2 * map::words, place);
  float column[16];
  for (int n = 0; n < map::sums; n++) {
    float sum = sums[n];
    for (int k = 0; k < 16 && (!n || of.j[emu->lane][n] != of.j[emu->lane][n - 1]); k++) column[k] = emu_element<map, bf16>(w, map::words, of.j[emu->lane][n], k);
    for (int k = 0; k < 16; k++) sum = __builtin_fmaf(emu_element<map, bf16>(w, 0, of.i[emu->lane][n], k), column[k], sum);
    sums[n] = w->active == ~0ull >> (64 - EMU_LANES) ? sum : __builtin_nanf("");
  }
  return sums;
}

/* In a map: registers of A or B, and of D; how many copies there are of each element of A or B, 16 lanes apart; the lane of A[i][k] and of B[k][i], and which half
 * of its registers, from the lowest on; lane and register of D[i][j]. */
#ifdef EMU_MFMA_FP8
#define EMU_MFMA 1
#define EMU_HAS_mfma_f32_16x16x32_fp8_fp8 1
#endif
#ifdef EMU_MFMA
#define EMU_HAS_mfma_f32_16x16x16f16 1
struct emu_mfma {
  enum { words = 2, sums = 4, copies = 1 };
  static constexpr int lane(int i, int k) { return 16 * (k / 4) + i; }
  static constexpr int half(int k) { return k % 4; }
  static constexpr int sum_lane(int i, int j) { return 16 * (i / 4) + j; }
  static constexpr int sum(int i) { return i % 4; }
};
#define __builtin_amdgcn_mfma_f32_16x16x16f16(a, b, sums, cbsz, abid, blgp) emu_product<emu_mfma, false>(a, b, sums, __COUNTER__)
#define __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(a, b, sums, cbsz, abid, blgp) emu_product<emu_mfma, true>(a, b, sums, __COUNTER__)
#endif

#ifdef EMU_WMMA_GFX11
#define EMU_HAS_wmma_f32_16x16x16_f16_w32 1
struct emu_wmma {
  enum { words = 8, sums = 8, copies = 2 };
  static constexpr int lane(int i, int) { return i; }
  static constexpr int half(int k) { return k; }
  static constexpr int sum_lane(int i, int j) { return 16 * i % 32 + j; }
  static constexpr int sum(int i) { return i / 2; }
};
#define __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(a, b, sums) emu_product<emu_wmma, false>(a, b, sums, __COUNTER__)
#endif

#ifdef EMU_WMMA_GFX12
#define EMU_HAS_wmma_f32_16x16x16_f16_w32 1 /* compilers have both, and the other's is refused */
#define EMU_HAS_wmma_f32_16x16x16_f16_w32_gfx12 1
struct emu_wmma {
  enum { words = 4, sums = 8, copies = 1 };
  static constexpr int lane(int i, int k) { return 16 * (k / 4 % 2) + i; }
  static constexpr int half(int k) { return 2 * (2 * (k / 8) + k / 2 % 2) + k % 2; }
  static constexpr int sum_lane(int i, int j) { return 16 * (i / 8) + j; }
  static constexpr int sum(int i) { return i % 8; }
};
#define __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(a, b, sums) emu_product<emu_wmma, false>(a, b, sums, __COUNTER__)
#define __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(a, b, sums) emu_product<emu_wmma, true>(a, b, sums, __COUNTER__)
#endif

/* ---- sub-groups ---- */
#ifdef EMU_SUB_GROUPS
#define cl_intel_subgroup_matrix_multiply_accumulate 1
#define KOI_LEAST_LANES EMU_LANES
#define KOI_HALF_SUBNORMALS 1
#define intel_reqd_sub_group_size(lanes) unused
#define get_sub_group_id() (emu->local[0] / EMU_LANES)
#define get_sub_group_local_id() (emu->lane)
#define intel_sub_group_shuffle_xor(v, mask) __builtin_bit_cast(float, __builtin_amdgcn_ds_bpermute((int)((emu->lane ^ (mask)) % EMU_LANES * 4), __builtin_bit_cast(int, v)))
#define intel_sub_group_f16_f16_matrix_mad_k16(a, b, sums) emu_mad(a, b, sums, __COUNTER__)

/* A has 8 rows m and 16 columns k, B 16 rows k and as many columns n as there are lanes. Component m of a lane's A has as many columns, from its lowest bits on, as
 * make 16 of all lanes'; component k / 2 of its B two rows; the column is the lane, in A B too. */
struct emu_groups {
  enum { each = 16 / EMU_LANES, a_words = 4 * each, words = a_words + 8 };
  static constexpr int a_lane(int k) { return k / each; }
  static constexpr int a_half(int m, int k) { return m * each + k % each; }
  static constexpr int b_half(int k) { return 2 * a_words + k; }
};

template <typename A, typename B, typename S> static inline S emu_mad(A a, B b, S sums, int place)
{
  typedef emu_groups map;
  unsigned both[map::words];
  static_assert(sizeof a == 4 * map::a_words && sizeof b == 32 && sizeof sums == 32, "other operands than the function has");
  __builtin_memcpy(both, &a, sizeof a), __builtin_memcpy(both + map::a_words, &b, sizeof b);
  const emu_wave *w = emu->exchange_words(both, map::words, place);
  auto value = [&](int lane, int half) { return emu_value(w->words[lane][half / 2] >> half % 2 * 16 & 0xffff, false); };
  for (int m = 0; m < 8; m++) {
    float sum = sums[m];
    for (int k = 0; k < 16; k++) sum = __builtin_fmaf(value(map::a_lane(k), map::a_half(m, k)), value((int)emu->lane, map::b_half(k)), sum);
    sums[m] = w->active == ~0ull >> (64 - EMU_LANES) ? sum : __builtin_nanf("");
  }
  return sums;
}
#endif
#endif
