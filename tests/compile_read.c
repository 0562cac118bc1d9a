/* What compilers say of the code that they made: their remarks beside it, and the code itself. Owns nothing. */
#include <stdlib.h>
#include <string.h>
#include "compile.h"

/* The number behind the last `key` in text; -1 without one. */
static long number_after(const char *text, const char *key)
{
  const char *at = NULL, *next = text;
  while ((next = strstr(next, key))) at = next += strlen(key);
  return at ? strtol(at, NULL, 10) : -1;
}

/* The number before the last `key`. */
static long number_before(const char *text, const char *key)
{
  const char *at = NULL, *next = text;
  while ((next = strstr(next, key))) at = next++;
  if (!at) return -1;
  while (at > text && at[-1] == ' ') at--;
  while (at > text && at[-1] >= '0' && at[-1] <= '9') at--;
  return strtol(at, NULL, 10);
}

static long count(const char *text, const char *key)
{
  long n = 0;
  while ((text = strstr(text, key))) text += strlen(key), n++;
  return n;
}

/* ---- the loop that reads weights ---- */
/* Bits of a weight where each is a piece of a word; 0: not so simple. */
static int weight_bits(const compile_case *c)
{
  static const int bits[] = {[KOI_WT_F32] = 32, [KOI_WT_F16] = 16, [KOI_WT_BF16] = 16, [KOI_WT_FP8] = 8, [KOI_WT_FP4] = 4};
  int32_t wt = c->op == &koi_op_matvec ? c->c[0] : -1;
  return wt == KOI_WT_MXFP4 ? 4 : wt >= 0 && (size_t)wt < KOI_COUNT(bits) ? bits[wt] : 0;
}

typedef struct words { /* of one assembler: how instructions begin, behind a tab */
  const char *label, *vector, *load;
  const char *const *scalar_like; /* what begins like a vector instruction and is none; NULL-terminated */
} words;

typedef struct loop { const char *at, *end; long vectors, bytes; } loop;

/* Bytes that a load of words reads; single bytes are scales. */
static long load_bytes(const char *line)
{
  static const struct { const char *name; long bytes; } sizes[] = {
    {"dwordx4", 16}, {"dwordx3", 12}, {"dwordx2", 8}, {"dword", 4}, {"_b128", 16}, {"_b96", 12}, {"_b64", 8}, {"_b32", 4},
    {".v4.", 16}, {".v2.", 8}, {".b64", 8}, {".u32", 4}, {".b32", 4}, {".f32", 4}, {"ushort", 2}, {"short_d16", 2}, {"_u16", 2}, {"b16", 2}, {".u16", 2}};
  size_t n = strcspn(line, " \t\n");
  for (size_t i = 0; i < KOI_COUNT(sizes); i++) {
    const char *at = strstr(line, sizes[i].name);
    if (at && (size_t)(at - line) < n) return sizes[i].bytes;
  }
  return 0;
}

static bool begins(const char *line, const char *word) { return !strncmp(line, word, strlen(word)); }

static void measure(loop *l, const words *w)
{
  l->vectors = l->bytes = 0;
  for (const char *line = l->at; line < l->end; line = strchr(line, '\n') + 1) {
    if (*line != '\t') continue;
    const char *name = line + 1;
    if (begins(name, w->load)) l->bytes += load_bytes(name);
    bool vector = begins(name, w->vector) && *name >= 'a' && *name <= 'z';
    for (size_t i = 0; w->scalar_like[i]; i++) vector &= !begins(name, w->scalar_like[i]);
    l->vectors += vector;
  }
}

/* From a label to the last jump back to it; false: none jumps back. */
static bool find_end(loop *l, const char *label, size_t n)
{
  l->end = NULL;
  for (const char *at = strchr(l->at, '\n'); at && (at = strstr(at, label)); at += n)
    if ((at[n] < '0' || at[n] > '9') && (at[-1] == ' ' || at[-1] == '\t')) {
      const char *line = at;
      while (line[-1] != '\n') line--;
      if (strstr(line, "bra") && strstr(line, "bra") < at) l->end = strchr(at, '\n') + 1;
    }
  return l->end != NULL;
}

/* The first loop that begins behind `at`; false: there is none. */
static bool next_loop(const char *at, const words *w, loop *l)
{
  while ((at = strstr(at, w->label))) {
    size_t n = strcspn(at, ":\n ");
    char label[64];
    l->at = at++;
    if (l->at[-1] != '\n' || l->at[n] != ':' || n >= sizeof label) continue;
    memcpy(label, l->at, n);
    label[n] = 0;
    if (find_end(l, label, n)) return true;
  }
  return false;
}

/* Of the loops that have none inside and read words of memory, the one with the most to do: others bring activations or a ragged end. */
static bool find_loop(const char *text, const words *w, loop *best)
{
  loop l, inner;
  best->vectors = 0;
  for (const char *at = text; next_loop(at, w, &l); at = l.at + 1) {
    if (next_loop(l.at + 1, w, &inner) && inner.end <= l.end) continue;
    measure(&l, w);
    if (l.bytes && l.vectors > best->vectors) *best = l;
  }
  return best->vectors > 0;
}

/* Cycles of the loop, if nothing in it ever waited, where llvm-mca is installed and knows the chip. */
static double estimate(const target *on, const loop *l)
{
  char line[COMPILE_TEXT];
  FILE *f;
  if (compile_shell("command -v llvm-mca-19 >/dev/null && : >loop.s && pwd >where")) return -1;
  char *where = compile_file("where"), path[COMPILE_TEXT];
  where[strcspn(where, "\n")] = 0;
  snprintf(path, sizeof path, "%s/loop.s", where);
  koi_free(where);
  if (!(f = fopen(path, "wb"))) return -1;
  fwrite(l->at, 1, (size_t)(l->end - l->at), f);
  fclose(f);
  snprintf(line, sizeof line, "llvm-mca-19 -mtriple=amdgcn-amd-amdhsa -mcpu=%s loop.s >mca 2>/dev/null", on->chip);
  if (compile_shell(line)) return -1;
  char *said = compile_file("mca");
  const char *at = strstr(said, "Block RThroughput:");
  double cycles = at ? strtod(strchr(at, ':') + 1, NULL) : -1;
  koi_free(said);
  return cycles;
}

static void read_loop(const target *on, const compile_case *c, const char *text, const words *w, usage *u)
{
  int bits = weight_bits(c);
  loop l;
  if (!bits || !find_loop(text, w, &l)) return;
  double n = (double)l.bytes * 8 / bits;
  u->per_weight = (double)l.vectors / n;
  double cycles = on->lanes_ghz > 0 ? estimate(on, &l) : -1;
  if (cycles > 0) u->cycles = cycles / n;
}

/* ---- by compiler ---- */
void compile_read_amd(const target *on, const compile_case *c, usage *u)
{
  static const char *const none[] = {"v_nop", NULL};
  static const words amd = {".LBB", "v_", "global_load", none};
  char *s = compile_file("out.s");
  u->registers = number_after(s, ".vgpr_count:"), u->scalars = number_after(s, ".sgpr_count:");
  u->spilled = number_after(s, ".vgpr_spill_count:") + number_after(s, ".sgpr_spill_count:");
  u->stack = number_after(s, ".private_segment_fixed_size:"), u->local = number_after(s, ".group_segment_fixed_size:");
  u->calls = strstr(s, "s_swappc") != NULL;
  u->waves = number_after(s, "; Occupancy: "), u->code = number_after(s, "; codeLenInByte = ");
  u->matrix = count(s, "\tv_mfma") + count(s, "\tv_wmma") + count(s, "\tv_smfmac");
  read_loop(on, c, s, &amd, u);
  koi_free(s);
}

/* Matrix instructions in machine code of Intel's chips since Xe HPG, whose reference manuals have the encoding: eight bytes where bit 29 says so, else 16; the lowest
 * seven bits are the operation. */
static long count_dpas(const char *code, long bytes)
{
  enum { COMPACT = 1 << 29, OPERATION = 0x7f, DPAS = 0x59 };
  long n = 0;
  uint32_t word;
  for (long at = 0; at + 8 <= bytes; at += word & COMPACT ? 8 : 16) {
    memcpy(&word, code + at, sizeof word);
    n += (word & OPERATION) == DPAS;
  }
  return n;
}

/* ocloc says how much it spilled in a warning, and nothing where it did not. */
void compile_read_intel(const target *on, const compile_case *c, usage *u)
{
  (void)on;
  char *log = compile_file("log"), *parts = compile_file("PTM.txt"), move[COMPILE_TEXT];
  char *name = strstr(parts, "KernelName ");
  if (name) *name = 0; /* what follows is a table of symbols, which has code as well */
  long spilled = number_after(log, "spilled around ");
  u->registers = 128; /* each thread has as many, however few it uses */
  u->spilled = spilled > 0 ? spilled : 0, u->stack = 0;
  u->local = c->op->local_bytes ? (long)c->op->local_bytes(c->c, c->p) : 0;
  u->code = number_after(parts, "KernelUnpaddedSize ");
  snprintf(move, sizeof move, "mv %s_KernelHeap.dat heap", c->op->name); /* a table of symbols may have such a file, too */
  u->matrix = compile_shell(move) ? -1 : 0;
  char *heap = compile_file("heap");
  if (!u->matrix) u->matrix = count_dpas(heap, u->code);
  koi_free(log);
  koi_free(heap);
  koi_free(parts);
}

/* Warps that a multiprocessor can hold: of 64, by its 65,536 registers. */
static long warps(long registers, long group)
{
  long of_warp = (registers + 7) / 8 * 8 * 32, all = 65536 / of_warp, in_group = (group + 31) / 32;
  all = all < 64 ? all : 64;
  return all / in_group * in_group;
}

void compile_read_nvidia(const target *on, const compile_case *c, usage *u)
{
  static const char *const none[] = {"ld.", "st.", "bra", "bar.", "mov.", "ret", "cvta.", NULL};
  static const words ptx = {"$L__BB", "", "ld.global", none};
  char *log = compile_file("log"), *s = compile_file("out.s");
  long stores = number_before(log, " bytes spill stores"), loads = number_before(log, " bytes spill loads"), local = number_before(log, " bytes smem");
  u->registers = number_before(log, " registers"), u->spilled = stores + loads, u->stack = number_before(log, " bytes stack frame");
  u->local = local < 0 ? 0 : local;
  u->code = compile_shell("objdump -h out.bin | awk '$2 ~ /^[.]text[.]/ { print \"text 0x\" $3 }' >size") ? -1 : 0;
  char *size = compile_file("size");
  if (!u->code) u->code = strtol(size + strcspn(size, "0"), NULL, 16);
  u->matrix = count(s, "\tmma.sync");
  if (u->registers > 0) u->waves = warps(u->registers, (long)c->op->group_items(c->c, c->p));
  read_loop(on, c, s, &ptx, u);
  koi_free(log);
  koi_free(s);
  koi_free(size);
}
