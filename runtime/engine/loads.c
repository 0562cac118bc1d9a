/* See loads.h. Owns threads, and the memory that experts pass through. Invariant: a box is written by one thread from when it is taken for an expert
 * until it is ready; those asked for are begun in their order, before any that is guessed, and one box never has a guess, so that the one taken next is
 * never without a box.
 * Locking: `lock` guards all but the boxes' bytes. Threads allocate nothing but the text of an error. */
#include "loads.h"
#include "base/thread.h"
#include <string.h>

enum { MAX_LOADERS = 6, MAX_BOXES = 12, BOXES_BYTES = 192 << 20 };

typedef enum box_state { FREE, READING, READY } box_state;
typedef struct box { /* one expert on its way */
  box_state state;
  bool guess; /* nobody has asked for it yet */
  uint32_t layer;
  int32_t expert;
  koine_status status;
  char *why;
  uint8_t *bytes;
} box;

typedef struct loader { struct koi_loads *l; pthread_t thread; koi_fetch *f; } loader;

struct koi_loads {
  const koi_laid_model *l;
  box boxes[MAX_BOXES];
  size_t n_boxes;
  koi_arrival *asked;        /* [most] */
  uint32_t layer;            /* theirs */
  size_t n_asked, begun, taken;
  int32_t guesses[MAX_BOXES];
  uint32_t guess_layer;      /* theirs */
  size_t n_guesses, guesses_begun;
  uint64_t guessed;          /* of those asked for */
  box *held;                 /* the one that was taken last */
  bool stop;
  pthread_mutex_t lock;
  pthread_cond_t work, ready;
  loader loaders[MAX_LOADERS];
  size_t n_fetches, n_threads;
};

/* ---- what an expert is ---- */
static koi_pass pass_of(const koi_laid_model *l, uint32_t layer, uint32_t role, uint32_t part, uint64_t at)
{
  koi_pass p = {.role = role, .part = part};
  const koi_span all = {(int)layer, role, part, 0, (uint64_t)l->parts[part].tile0, (uint64_t)l->parts[part].tile1};
  for (int i = 0; i < KOI_MAX_STREAMS; i++) {
    p.at[i] = at, p.bytes[i] = koi_span_bytes(l, &all, i);
    at += (p.bytes[i] + 63) / 64 * 64;
  }
  p.end = at;
  return p;
}

bool koi_loads_pass(const koi_laid_model *l, uint32_t layer, uint32_t slot, koi_pass *p)
{
  for (uint32_t r = p->role; r < KOI_N_LAYER_ROLES; r++) {
    const koi_laid *w = &l->layers[layer][r];
    if (koi_layer_roles[r].units != KOI_EXPERTS) continue;
    for (uint32_t n = p->end && r == p->role ? p->part + 1 : w->first; n < w->first + w->n_parts; n++) {
      if (slot < (uint32_t)l->parts[n].unit0 || slot >= (uint32_t)l->parts[n].unit1) continue;
      *p = pass_of(l, layer, r, n, p->end);
      return true;
    }
  }
  return false;
}

/* The largest of a layer's. */
static uint64_t bytes_of(const koi_loads *l, uint32_t layer)
{
  const koi_lots *lots = &l->l->lots[layer];
  uint64_t most = 0;
  for (uint32_t i = 0; i < lots->n; i++) {
    koi_pass p = {0};
    while (koi_loads_pass(l->l, layer, lots->first[i], &p)) {}
    if (p.end > most) most = p.end;
  }
  return most;
}

/* ---- reading ---- */
static koine_status fill(koi_fetch *f, const box *b)
{
  koine_status s = KOINE_OK;
  char name[KOI_ROLE_NAME];
  f->stored = false;
  uint32_t slot = koi_lots_slot(&f->l->lots[b->layer], (uint32_t)b->expert); /* cut like every slot that it may have */
  for (koi_pass p = {0}; !s && koi_loads_pass(f->l, b->layer, slot, &p);) {
    uint8_t *out[KOI_MAX_STREAMS] = {NULL};
    bool care = false;
    for (int i = 0; i < KOI_MAX_STREAMS; i++)
      if (p.bytes[i]) out[i] = b->bytes + p.at[i];
    koi_span one = koi_fetch_unit(f, (int)b->layer, p.role, p.part, (uint32_t)b->expert);
    s = koi_fetch_tiles(f, &one, out, &care);
    if (s) return koi_error_prefix(s, "loading expert %d of %s", b->expert, koi_role_name(&koi_layer_roles[p.role], (int)b->layer, name));
  }
  if (f->stored && f->l->model->weights) s = koi_weights_check(f->l->model->weights); /* as whole as the file is, it may be another's by now */
  return s ? koi_error_prefix(s, "loading expert %d of layer %u", b->expert, b->layer) : s;
}

static void fill_box(koi_fetch *f, box *b)
{
  b->status = fill(f, b);
  koi_free(b->why);
  b->why = b->status ? koi_strdup(koi_error_text()) : NULL;
}

static void free_box(box *b)
{
  koi_free(b->why);
  b->why = NULL, b->state = FREE, b->guess = false;
}

static box *box_of(koi_loads *l, uint32_t layer, int32_t expert)
{
  for (size_t i = 0; i < l->n_boxes; i++)
    if (l->boxes[i].state != FREE && l->boxes[i].layer == layer && l->boxes[i].expert == expert) return &l->boxes[i];
  return NULL;
}

static box *free_one(koi_loads *l)
{
  for (size_t i = 0; i < l->n_boxes; i++)
    if (l->boxes[i].state == FREE) return &l->boxes[i];
  return NULL;
}

/* A guess gives way to what is asked for. */
static box *begin_asked(koi_loads *l)
{
  box *b = free_one(l);
  for (size_t i = 0; i < l->n_boxes && !b; i++)
    if (l->boxes[i].guess && l->boxes[i].state == READY) free_box(b = &l->boxes[i]);
  if (b) b->state = READING, b->layer = l->layer, b->expert = l->asked[l->begun++].expert;
  return b;
}

static box *begin_guess(koi_loads *l)
{
  size_t n = 0;
  for (size_t i = 0; i < l->n_boxes; i++) n += l->boxes[i].guess;
  while (l->guesses_begun < l->n_guesses && box_of(l, l->guess_layer, l->guesses[l->guesses_begun])) l->guesses_begun++;
  box *b = free_one(l);
  if (!b || n + 1 >= l->n_boxes || l->guesses_begun == l->n_guesses) return NULL;
  b->state = READING, b->guess = true, b->layer = l->guess_layer, b->expert = l->guesses[l->guesses_begun++];
  return b;
}

/* Under the lock. The box of the expert that is to be read next; NULL: there is none, or no room. */
static box *begin(koi_loads *l)
{
  if (l->begun < l->taken) l->begun = l->taken; /* those taken were guessed */
  while (l->begun < l->n_asked && box_of(l, l->layer, l->asked[l->begun].expert)) l->begun++;
  return l->begun < l->n_asked ? begin_asked(l) : begin_guess(l);
}

/* Under the lock, which others have meanwhile. A guess that failed before somebody asked for it is no error of theirs: it is read again. */
static void read_box(koi_loads *l, koi_fetch *f, box *b)
{
  bool guessed;
  do {
    guessed = b->guess;
    pthread_mutex_unlock(&l->lock);
    fill_box(f, b);
    pthread_mutex_lock(&l->lock);
  } while (guessed && !b->guess && b->status);
  b->state = READY;
  if (b->guess && (b->status || b->layer != l->guess_layer)) free_box(b); /* who asks for it tries again; too late */
  pthread_cond_broadcast(&l->ready);
}

static void *work(void *user)
{
  loader *r = user;
  koi_loads *l = r->l;
  pthread_mutex_lock(&l->lock);
  while (!l->stop) {
    box *b = begin(l);
    if (b) read_box(l, r->f, b);
    else pthread_cond_wait(&l->work, &l->lock);
  }
  pthread_mutex_unlock(&l->lock);
  return NULL;
}

/* ---- asking and taking ---- */
/* Gives the lock back, and has threads do n reads more. Not all of them, and none that would wait for the lock: either takes longer than a small expert. */
static void unlock_and_wake(koi_loads *l, size_t n)
{
  pthread_mutex_unlock(&l->lock);
  for (size_t i = 0; i < n && i < l->n_threads; i++) pthread_cond_signal(&l->work);
}

void koi_loads_ask(koi_loads *l, uint32_t layer, const koi_arrival *a, size_t n)
{
  pthread_mutex_lock(&l->lock);
  l->layer = layer, l->n_asked = n, l->begun = l->taken = 0;
  if (n) memcpy(l->asked, a, n * sizeof *a);
  for (size_t i = 0; i < n; i++) {
    box *b = box_of(l, layer, a[i].expert);
    if (b) b->guess = false, l->guessed++;
  }
  unlock_and_wake(l, n);
}

uint64_t koi_loads_guessed(const koi_loads *l) { return l->guessed; }
bool koi_loads_has(koi_loads *l, uint32_t layer, int32_t expert)
{
  pthread_mutex_lock(&l->lock);
  bool has = box_of(l, layer, expert) != NULL;
  pthread_mutex_unlock(&l->lock);
  return has;
}

bool koi_loads_ahead(const koi_loads *l) { return l->n_threads > 0; }

void koi_loads_guess(koi_loads *l, uint32_t layer, const int32_t *experts, size_t n)
{
  pthread_mutex_lock(&l->lock);
  l->guess_layer = layer, l->n_guesses = n < MAX_BOXES ? n : MAX_BOXES, l->guesses_begun = 0;
  if (n) memcpy(l->guesses, experts, l->n_guesses * sizeof *experts);
  for (size_t i = 0; i < l->n_boxes; i++)
    if (l->boxes[i].guess && l->boxes[i].state == READY && l->boxes[i].layer != layer) free_box(&l->boxes[i]);
  unlock_and_wake(l, n);
}

/* Under the lock. Reads it, where no thread has begun to. */
static box *wait_for(koi_loads *l, int32_t expert)
{
  box *b = box_of(l, l->layer, expert);
  if (!b && (b = begin(l))) read_box(l, l->loaders[l->n_fetches - 1].f, b);
  while (b->state != READY) pthread_cond_wait(&l->ready, &l->lock);
  return b;
}

const uint8_t *koi_loads_next(koi_loads *l, koine_status *s)
{
  *s = KOINE_OK;
  pthread_mutex_lock(&l->lock);
  if (l->held) free_box(l->held), pthread_cond_signal(&l->work);
  l->held = NULL;
  if (l->taken < l->n_asked) {
    l->held = wait_for(l, l->asked[l->taken].expert);
    l->taken++;
    if (l->held->status) *s = koi_error(l->held->status, "%s", l->held->why ? l->held->why : "an expert cannot be read");
  }
  const uint8_t *bytes = l->held && !*s ? l->held->bytes : NULL;
  pthread_mutex_unlock(&l->lock);
  return bytes;
}

void koi_loads_drop(koi_loads *l)
{
  pthread_mutex_lock(&l->lock);
  l->begun = l->taken = l->n_asked, l->held = NULL;
  for (size_t i = 0; i < l->n_boxes; i++) {
    if (l->boxes[i].guess) continue;
    while (l->boxes[i].state == READING) pthread_cond_wait(&l->ready, &l->lock);
    free_box(&l->boxes[i]);
  }
  unlock_and_wake(l, l->n_guesses - l->guesses_begun); /* there is room */
}

/* ---- making it ---- */
static koine_status make_boxes(koi_loads *l, uint32_t layer0, uint32_t layer1)
{
  uint64_t most = 0;
  for (uint32_t n = layer0; n < layer1; n++)
    if (bytes_of(l, n) > most) most = bytes_of(l, n);
  size_t n = most ? BOXES_BYTES / most : 1, least = l->n_fetches > 1 ? 2 : 1;
  for (n = n < least ? least : n < MAX_BOXES ? n : MAX_BOXES; l->n_boxes < n && most; l->n_boxes++)
    if (!(l->boxes[l->n_boxes].bytes = koi_alloc(most, 1))) return KOINE_ERR_MEMORY;
  return KOINE_OK;
}

/* The last of the fetches is the caller's. */
static void start(koi_loads *l)
{
  while (l->n_threads + 1 < l->n_fetches && koi_thread_start(&l->loaders[l->n_threads].thread, work, &l->loaders[l->n_threads])) l->n_threads++;
}

koine_status koi_loads_open(const koi_laid_model *laid, uint32_t layer0, uint32_t layer1, uint32_t most, struct koi_kept *kept, uint32_t n_threads, koi_loads **out)
{
  koi_loads *l = koi_alloc(1, sizeof *l);
  size_t n = 1 + (n_threads < MAX_LOADERS - 1 ? n_threads : MAX_LOADERS - 1);
  if (!l) return KOINE_ERR_MEMORY;
  pthread_mutex_init(&l->lock, NULL);
  pthread_cond_init(&l->work, NULL);
  pthread_cond_init(&l->ready, NULL);
  l->l = laid;
  koine_status s = (l->asked = koi_alloc(most, sizeof *l->asked)) ? KOINE_OK : KOINE_ERR_MEMORY;
  for (; l->n_fetches < n && !s; l->n_fetches += !s) {
    l->loaders[l->n_fetches].l = l;
    s = koi_fetch_open(laid, kept, false, &l->loaders[l->n_fetches].f);
  }
  if (!s) s = make_boxes(l, layer0, layer1);
  if (s) koi_loads_close(l);
  else start(l), *out = l;
  return s;
}

void koi_loads_close(koi_loads *l)
{
  if (!l) return;
  pthread_mutex_lock(&l->lock);
  l->stop = true;
  pthread_cond_broadcast(&l->work);
  pthread_mutex_unlock(&l->lock);
  for (size_t i = 0; i < l->n_threads; i++) pthread_join(l->loaders[i].thread, NULL);
  for (size_t i = 0; i < l->n_fetches; i++) koi_fetch_close(l->loaders[i].f);
  for (size_t i = 0; i < l->n_boxes; i++) koi_free(l->boxes[i].why), koi_free(l->boxes[i].bytes);
  koi_free(l->asked);
  pthread_cond_destroy(&l->ready);
  pthread_cond_destroy(&l->work);
  pthread_mutex_destroy(&l->lock);
  koi_free(l);
}
