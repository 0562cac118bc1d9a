/* See turns.h. Owns its arrays. Invariant: slot[expert[s]] == s for every slot that has somebody. */
#include "turns.h"
#include <math.h>

#define COOLING 0.98f /* of an expert's heat with every token: who was wanted by one of the last 50 counts as much as who is wanted by all of them, once */

koine_status koi_turns_make(uint32_t n_slots, uint32_t n_experts, const koi_lots *lots, koi_turns *out)
{
  *out = (koi_turns){.n_slots = n_slots, .n_experts = n_experts, .lots = lots};
  out->expert = koi_alloc(n_slots, sizeof *out->expert), out->turn = koi_alloc(n_slots, sizeof *out->turn);
  out->slot = koi_alloc(n_experts, sizeof *out->slot), out->waits = koi_alloc(n_experts, sizeof *out->waits);
  out->heat = koi_alloc(n_experts, sizeof *out->heat), out->heated = koi_alloc(n_experts, sizeof *out->heated);
  if (!out->expert || !out->turn || !out->slot || !out->waits || !out->heat || !out->heated) {
    koi_turns_free(out);
    return KOINE_ERR_MEMORY;
  }
  for (uint32_t s = 0; s < n_slots; s++) out->expert[s] = KOI_NOBODY;
  for (uint32_t e = 0; e < n_experts; e++) out->slot[e] = KOI_NOBODY;
  return KOINE_OK;
}

void koi_turns_free(koi_turns *t)
{
  koi_free(t->expert);
  koi_free(t->turn);
  koi_free(t->slot);
  koi_free(t->waits);
  koi_free(t->heat);
  koi_free(t->heated);
  *t = (koi_turns){0};
}

static float heat_now(const koi_turns *t, int32_t e) { return t->heat[e] * powf(COOLING, (float)(t->n_tokens - t->heated[e])); }

void koi_turns_begin(koi_turns *t, const int32_t *ids, size_t n, uint32_t n_tokens)
{
  t->n_tokens += n_tokens, t->n_turns += 2; /* nobody has part of a step that ended early */
  for (uint32_t e = 0; e < t->n_experts; e++) t->waits[e] = 0;
  for (size_t i = 0; i < n; i++)
    if (ids[i] >= 0 && (uint32_t)ids[i] < t->n_experts) t->waits[ids[i]]++;
  t->n_wait = 0;
  for (uint32_t e = 0; e < t->n_experts; e++) {
    if (!t->waits[e]) continue;
    t->n_wait++;
    t->heat[e] = heat_now(t, (int32_t)e) + (float)t->waits[e], t->heated[e] = t->n_tokens;
  }
}

static void take_turn(koi_turns *t, uint32_t slot, uint64_t turn)
{
  t->turn[slot] = turn;
  t->waits[t->expert[slot]] = 0, t->n_wait--;
}

/* ---- lots ---- */
typedef struct range { uint32_t slot0, slot1; } range;

static uint32_t n_lots(const koi_turns *t) { return t->lots ? t->lots->n : 1; }
static uint32_t lot_of(const koi_turns *t, uint32_t e) { return t->lots ? t->lots->of[e] : 0; }
static range slots_of(const koi_turns *t, uint32_t lot) { return t->lots ? (range){t->lots->first[lot], t->lots->first[lot + 1]} : (range){0, t->n_slots}; }

/* Of the slots that have no part in this turn or the next, and whose expert waits for none, the one whose expert has the least heat; r.slot1: there is
 * none. */
static uint32_t coldest(const koi_turns *t, range r)
{
  uint32_t best = r.slot1;
  float least = INFINITY;
  for (uint32_t s = r.slot0; s < r.slot1; s++) {
    int32_t e = t->expert[s];
    if (t->turn[s] >= t->n_turns || (e != KOI_NOBODY && t->waits[e])) continue;
    float heat = e == KOI_NOBODY ? -1.0f : heat_now(t, e);
    if (heat < least) least = heat, best = s;
  }
  return best;
}

size_t koi_turns_absent(const koi_turns *t, koi_absent *v)
{
  size_t n = 0;
  for (uint32_t e = 0; e < t->n_experts; e++)
    if (t->waits[e] && t->slot[e] == KOI_NOBODY) v[n++] = (koi_absent){(int32_t)e, t->waits[e], heat_now(t, (int32_t)e)};
  return n;
}

float koi_turns_coldest(const koi_turns *t, int32_t expert)
{
  range r = slots_of(t, lot_of(t, (uint32_t)expert));
  uint32_t s = coldest(t, r);
  if (s == r.slot1) return INFINITY;
  return t->expert[s] == KOI_NOBODY ? -1.0f : heat_now(t, t->expert[s]);
}

void koi_turns_stay(koi_turns *t, int32_t expert) { t->waits[expert] = 0, t->n_wait--; }

static uint32_t n_waiting(const koi_turns *t, uint32_t lot)
{
  uint32_t n = 0;
  for (uint32_t e = 0; e < t->n_experts && t->n_wait; e++) n += t->waits[e] && lot_of(t, e) == lot;
  return n;
}

/* Who of a lot comes for the next turn, at most `most`. */
static void come(koi_turns *t, uint32_t lot, uint32_t most, koi_arrival *arrivals, size_t *n)
{
  range r = slots_of(t, lot);
  for (uint32_t e = 0; e < t->n_experts && most && t->n_wait; e++) {
    if (!t->waits[e] || t->slot[e] != KOI_NOBODY || lot_of(t, e) != lot) continue;
    uint32_t s = coldest(t, r);
    if (s == r.slot1) break;
    if (t->expert[s] != KOI_NOBODY) t->slot[t->expert[s]] = KOI_NOBODY;
    t->expert[s] = (int32_t)e, t->slot[e] = (int32_t)s;
    take_turn(t, s, t->n_turns + 1);
    arrivals[(*n)++] = (koi_arrival){(int32_t)e, s}, most--;
  }
}

/* When more of a lot wait than have room, half of its slots compute while the other half is loaded. */
bool koi_turns_next(koi_turns *t, koi_arrival *arrivals, size_t *n)
{
  *n = 0, t->n_now = 0, t->n_turns++;
  for (uint32_t lot = 0; lot < n_lots(t); lot++) {
    range r = slots_of(t, lot);
    uint32_t size = r.slot1 - r.slot0, most = n_waiting(t, lot) > size ? (size + 1) / 2 : size, now = 0;
    for (uint32_t s = r.slot0; s < r.slot1; s++) now += t->turn[s] == t->n_turns;
    for (uint32_t s = r.slot0; s < r.slot1 && now < most; s++)
      if (t->expert[s] != KOI_NOBODY && t->waits[t->expert[s]]) take_turn(t, s, t->n_turns), now++;
    t->n_now += now;
    come(t, lot, most, arrivals, n);
  }
  return t->n_now || *n;
}

int32_t koi_turns_place(const koi_turns *t, int32_t expert)
{
  if (expert < 0 || (uint32_t)expert >= t->n_experts) return KOI_NOBODY;
  int32_t s = t->slot[expert];
  return s != KOI_NOBODY && t->turn[s] == t->n_turns ? s : KOI_NOBODY;
}

void koi_turns_miss(koi_turns *t, uint32_t slot)
{
  if (t->expert[slot] == KOI_NOBODY) return;
  t->slot[t->expert[slot]] = KOI_NOBODY, t->expert[slot] = KOI_NOBODY, t->turn[slot] = 0;
}
