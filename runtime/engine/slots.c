/* See slots.h. Owns who has which place. Invariant: a slot whose expert is known has all of its parts. */
#include "slots.h"
#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include "guess.h"
#include "loads.h"
#include "plan/skew.h"
#include "stay.h"
#include "worth.h"

struct koi_slots {
  koi_stage *st;
  koi_loads *loads;
  koi_turns *layers;       /* [at.layer1 - at.layer0] */
  koi_arrival *arrivals;   /* [n_experts] */
  size_t n_arrivals;       /* for the next turn */
  size_t n_read;           /* of them those that nobody had begun to read */
  int32_t *ids;            /* of the layer at hand */
  uint32_t layer;
  size_t n_ids;
  uint32_t n_tokens;
  koi_guess *guess;        /* NULL: nothing is guessed */
  int32_t *guessed, *absent; /* [n_used] of layer guess_layer; those that have no place */
  uint32_t guess_layer, n_guessed;
  bool known;              /* they are no guess */
  koi_worth worth;         /* of guessing */
  koi_stay stay;
  koi_absent *absentees;   /* [n_experts] */
  koi_skew skew;           /* of what single tokens wanted */
  bool few;                /* the layer at hand may leave experts where they lie */
  bool warm;               /* the layer at hand has had as many tokens as it has places */
  uint64_t begun;          /* when the token at hand did; 0: the step is none */
  _Atomic uint64_t n_there, n_loaded, bytes, ns, guesses, right, used, guess_ns, n_stayed, stayed_ns;
};

/* ---- loading ---- */
static koine_status put(koi_slots *s, const koi_arrival *a, const uint8_t *from)
{
  const koi_backend *k = s->st->dev->backend;
  koine_status st = KOINE_OK;
  for (koi_pass p = {0}; !st && koi_loads_pass(s->st->at.laid, s->layer, a->slot, &p);)
    for (int i = 0; i < KOI_MAX_STREAMS && !st; i++) {
      uint64_t unit = a->slot - (uint32_t)s->st->at.laid->parts[p.part].unit0;
      if (p.bytes[i]) st = k->write(s->st->dev, s->st->put[p.part].stream[i], unit * p.bytes[i], p.bytes[i], from + p.at[i]);
      s->bytes += p.bytes[i];
    }
  return st;
}

/* What is waited for while this turn is computed is not counted as the loading's. */
koine_status koi_slots_load(koi_slots *s, koine_status before)
{
  koi_turns *t = &s->layers[s->layer - s->st->at.layer0];
  koine_status st = before;
  uint64_t earlier = s->ns;
  for (size_t i = 0; i < s->n_arrivals; i++) {
    const koi_arrival *a = &s->arrivals[i];
    uint64_t start = koi_now_ns();
    const uint8_t *from = st || s->st->plan->bare ? NULL : koi_loads_next(s->loads, &st);
    s->ns += koi_now_ns() - start;
    if (!i && from) st = s->st->dev->backend->finish(s->st->dev);
    start = koi_now_ns();
    if (from && !st) st = put(s, a, from);
    if (st) koi_turns_miss(t, a->slot);
    s->ns += koi_now_ns() - start;
  }
  if (!st && s->n_arrivals && s->few) koi_stay_loaded(&s->stay, s->n_read, s->ns - earlier);
  if (s->n_arrivals) koi_loads_drop(s->loads);
  s->n_arrivals = 0;
  return st;
}

/* ---- guessing ---- */
void koi_slots_guess(koi_slots *s, const float *x, int32_t token)
{
  const koi_plan_stage *at = &s->st->at;
  uint32_t next = s->layer + 1, n = 0;
  if (!s->guess || s->n_tokens != 1 || !(s->st->plan->guess_always || koi_worth_next(&s->worth)) || next >= at->layer1 || s->guess_layer == next || s->layers[s->layer - at->layer0].n_wait) return;
  uint64_t start = koi_busy_ns();
  const koi_turns *t = &s->layers[next - at->layer0];
  s->n_guessed = koi_guess_experts(s->guess, next, x, token, s->guessed, &s->known), s->guess_layer = next;
  for (uint32_t i = 0; i < s->n_guessed; i++)
    if (t->slot[s->guessed[i]] == KOI_NOBODY) s->absent[n++] = s->guessed[i];
  koi_loads_guess(s->loads, next, s->absent, n);
  if (!s->known) s->guesses += s->n_guessed;
  s->guess_ns += koi_busy_ns() - start;
}

/* The layer that was guessed has come. */
static void count_right(koi_slots *s)
{
  for (uint32_t i = 0; i < s->n_guessed && s->guess_layer == s->layer && !s->known; i++)
    for (size_t j = 0; j < s->n_ids; j++)
      if (s->ids[j] == s->guessed[i]) {
        s->right++;
        break;
      }
  if (s->guess_layer != s->layer) s->known = true; /* of an earlier step: what was read of it does no harm, and does not count */
  if (s->guess) koi_loads_guess(s->loads, s->layer, NULL, 0); /* it is known by now who is wanted */
  s->guess_layer = 0;
}

/* ---- staying ---- */
/* Who is being read comes in any case, unless nobody may. */
static size_t find_absent(koi_slots *s)
{
  size_t n = 0, all = koi_turns_absent(&s->layers[s->layer - s->st->at.layer0], s->absentees);
  for (size_t i = 0; i < all; i++)
    if (s->st->plan->misses == KOI_MISSES_STAY || !koi_loads_has(s->loads, s->layer, s->absentees[i].expert)) s->absentees[n++] = s->absentees[i];
  return n;
}

/* The heat of whoever the hottest of n absent ones would displace. */
static float coldest(const koi_slots *s, size_t n)
{
  size_t hottest = 0;
  for (size_t i = 1; i < n; i++)
    if (s->absentees[i].heat > s->absentees[hottest].heat) hottest = i;
  return n ? koi_turns_coldest(&s->layers[s->layer - s->st->at.layer0], s->absentees[hottest].expert) : INFINITY;
}

uint32_t koi_slots_stay(koi_slots *s, int32_t *ids)
{
  koi_turns *t = &s->layers[s->layer - s->st->at.layer0];
  size_t n = find_absent(s), n_stay = s->st->plan->misses == KOI_MISSES_STAY ? n : koi_stay_choose(&s->stay, s->absentees, n, coldest(s, n));
  uint32_t n_entries = 0;
  s->few = true;
  for (size_t i = 0; i < s->n_ids; i++) {
    ids[i] = KOI_NOBODY;
    for (size_t k = 0; k < n_stay; k++)
      if (s->absentees[k].expert == s->ids[i]) ids[i] = s->ids[i], n_entries++;
  }
  for (size_t k = 0; k < n_stay; k++) koi_turns_stay(t, s->absentees[k].expert);
  s->n_there -= n_stay;
  s->n_stayed += n_stay;
  if (s->warm) s->skew.there -= n_stay;
  return n_entries;
}

void koi_slots_stayed(koi_slots *s, uint32_t n_entries, uint64_t ns)
{
  koi_stay_stayed(&s->stay, n_entries, ns);
  s->stayed_ns += ns;
}

/* ---- turns ---- */
/* A token's last layer has had its turns. */
static void end_token(koi_slots *s)
{
  const koi_worth *w = &s->worth;
  bool compared = koi_worth_took(&s->worth, koi_now_ns() - s->begun);
  s->begun = 0;
  if (compared && s->guess)
    koi_log(KOINE_LOG_NOTE, "experts by turns on %s: a token takes %.2f ms with guesses who is wanted next, %.2f without; the next ones are %s", s->st->at.endpoint->id,
            1e-6 * (double)w->usual[1], 1e-6 * (double)w->usual[0], s->st->plan->guess_always || !w->no ? "guessed" : "not guessed");
}

void koi_slots_begin(koi_slots *s, uint32_t layer, const int32_t *ids, uint32_t n_tokens)
{
  s->layer = layer, s->n_tokens = n_tokens, s->n_ids = (size_t)n_tokens * s->st->model->config.n_used;
  memcpy(s->ids, ids, s->n_ids * sizeof *ids);
  if (layer == s->st->at.layer0) s->begun = n_tokens == 1 ? koi_now_ns() : 0;
  koi_turns *t = &s->layers[layer - s->st->at.layer0];
  koi_turns_begin(t, s->ids, s->n_ids, n_tokens);
  s->n_there += t->n_wait;
  s->few = false;
  s->warm = n_tokens == 1 && t->n_tokens > t->n_slots;
  if (s->warm) s->skew.wanted += t->n_wait, s->skew.there += t->n_wait;
  count_right(s);
}

static void ask(koi_slots *s)
{
  uint64_t before = koi_loads_guessed(s->loads);
  koi_loads_ask(s->loads, s->layer, s->arrivals, s->n_arrivals);
  uint64_t guessed = koi_loads_guessed(s->loads) - before;
  if (!s->known) s->used += guessed;
  s->n_read = s->n_arrivals - guessed;
}

bool koi_slots_turn(koi_slots *s, int32_t *places, bool *now)
{
  koi_turns *t = &s->layers[s->layer - s->st->at.layer0];
  bool any = koi_turns_next(t, s->arrivals, &s->n_arrivals);
  if (s->n_arrivals && !s->st->plan->bare) ask(s);
  s->n_there -= s->n_arrivals;
  s->n_loaded += s->n_arrivals;
  if (s->warm) s->skew.there -= s->n_arrivals;
  for (size_t i = 0; i < s->n_ids; i++) places[i] = koi_turns_place(t, s->ids[i]);
  *now = t->n_now > 0;
  if (!any && s->begun && s->layer + 1 == s->st->at.layer1) end_token(s);
  return any;
}

/* ---- opening ---- */
/* Not to guess costs time alone, and is no reason to stay asleep. */
static void make_guess(koi_slots *s)
{
  const koi_plan_stage *at = &s->st->at;
  uint32_t n = s->st->model->config.n_used;
  s->guessed = koi_alloc(n, sizeof *s->guessed), s->absent = koi_alloc(n, sizeof *s->absent);
  koine_status st = s->guessed && s->absent ? koi_guess_open(s->st->model, at->layer0, at->layer1, &s->guess) : KOINE_ERR_MEMORY;
  if (st) koi_log(KOINE_LOG_WARNING, "experts by turns on %s: no guesses who is wanted next, so all are read when they are wanted: %s", at->endpoint->id, koi_error_text());
}

static koine_status make(koi_slots *s)
{
  const koi_plan_stage *at = &s->st->at;
  uint32_t n_layers = at->layer1 - at->layer0, n_experts = s->st->model->config.n_experts;
  koine_status st = koi_loads_open(at->laid, at->layer0, at->layer1, n_experts, s->st->kept, s->st->dev->n_threads, &s->loads);
  s->layers = koi_alloc(n_layers, sizeof *s->layers), s->arrivals = koi_alloc(n_experts, sizeof *s->arrivals);
  s->absentees = koi_alloc(n_experts, sizeof *s->absentees);
  s->ids = koi_alloc((size_t)s->st->plan->chunk * s->st->model->config.n_used, sizeof *s->ids);
  if (!st && (!s->layers || !s->arrivals || !s->absentees || !s->ids)) st = KOINE_ERR_MEMORY;
  if (!st && s->st->plan->guess && !s->st->plan->bare && koi_plan_guesses(at, s->st->model) && koi_loads_ahead(s->loads)) make_guess(s);
  for (uint32_t n = 0; n < n_layers && !st; n++) st = koi_turns_make(at->laid->lots[at->layer0 + n].n_slots, n_experts, &at->laid->lots[at->layer0 + n], &s->layers[n]);
  return st;
}

koine_status koi_slots_open(koi_stage *st, koi_slots **out)
{
  koi_slots *s = koi_alloc(1, sizeof *s);
  if (!s) return KOINE_ERR_MEMORY;
  s->st = st;
  koine_status status = make(s);
  if (status) koi_slots_close(s);
  else *out = s;
  return status;
}

void koi_slots_close(koi_slots *s)
{
  if (!s) return;
  s->skew.n_slots = s->st->at.n_slots, s->skew.n_experts = s->st->model->config.n_experts;
  if (s->st->dev) koi_skew_keep(s->st->dev->cache_dir, s->st->model, &s->skew);
  koi_loads_close(s->loads);
  for (uint32_t n = 0; s->layers && n < s->st->at.layer1 - s->st->at.layer0; n++) koi_turns_free(&s->layers[n]);
  koi_free(s->layers);
  koi_free(s->arrivals);
  koi_guess_close(s->guess);
  koi_free(s->guessed);
  koi_free(s->absent);
  koi_free(s->absentees);
  koi_free(s->ids);
  koi_free(s);
}

koi_expert_figures koi_slots_figures(const koi_slots *s)
{
  return (koi_expert_figures){s->n_there, s->n_loaded, s->bytes, s->ns, s->guesses, s->right, s->used, s->guess_ns, s->guess ? koi_plan_gate_bytes(s->st->plan, &s->st->at) : 0, s->n_stayed, s->stayed_ns};
}
