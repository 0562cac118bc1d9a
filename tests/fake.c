/* See fake.h. Invariant: a refused call has no effect but the error message, which names the fake, the kind and the call's number. */
#include "fake.h"
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

typedef struct fake_device {
  koi_device base;
  koi_device *host;
} fake_device;

static struct { fake_kind kind; long first, n; koine_status status; } rule;
static atomic_long calls[FAKE_N_KINDS + 1], n_live;

static const char *const names[] = {"open", "alloc", "view", "write", "read", "copy", "fill", "build", "launch", "bind", "patch", "start", "finish", "record", "replay", "any call"};
const char *fake_kind_name(fake_kind kind) { return names[kind]; }

void fake_refuse(fake_kind kind, long first, long n, koine_status status)
{
  for (size_t i = 0; i < KOI_COUNT(calls); i++) atomic_store(&calls[i], 0);
  rule.kind = kind, rule.first = first, rule.n = n, rule.status = status;
}

long fake_calls(fake_kind kind) { return atomic_load(&calls[kind]); }
long fake_n_live(void) { return atomic_load(&n_live); }

static long lose_at;
static _Atomic(const koi_endpoint *) lost;
static uint64_t memory, max_buffer;

void fake_lose_at(long nth)
{
  for (size_t i = 0; i < KOI_COUNT(calls); i++) atomic_store(&calls[i], 0);
  lose_at = nth;
  atomic_store(&lost, NULL);
}

const char *fake_lost(void)
{
  const koi_endpoint *e = atomic_load(&lost);
  return e ? e->id : "";
}

void fake_memory(uint64_t bytes) { memory = bytes; }
void fake_max_buffer(uint64_t bytes) { max_buffer = bytes; }

/* Counts a call to a device; the status to refuse it with, or KOINE_OK. */
static koine_status enter(const koi_endpoint *e, fake_kind kind)
{
  long nth = atomic_fetch_add(&calls[kind], 1) + 1, nth_of_all = atomic_fetch_add(&calls[FAKE_ANY], 1) + 1;
  long at = rule.kind == FAKE_ANY ? nth_of_all : nth;
  if (nth_of_all == lose_at) atomic_store(&lost, e);
  if (atomic_load(&lost) == e) return koi_error(KOINE_ERR_DEVICE, "device %s: %s: it is lost, for a test", e->id, names[kind]);
  if ((rule.kind != kind && rule.kind != FAKE_ANY) || at < rule.first || at - rule.first >= rule.n) return KOINE_OK;
  return koi_error(rule.status, "device %s: %s %ld refused for a test", e->id, names[kind], at);
}

static koine_status gave(koine_status s)
{
  if (!s) atomic_fetch_add(&n_live, 1);
  return s;
}

static bool can_record;
static koi_device *host(koi_device *d) { return ((fake_device *)d)->host; }

static size_t n_devices = 1;

static koine_status probe(koi_probe *out)
{
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < n_devices && !s; i++) {
    s = koi_backend_host.probe(out);
    if (s) break;
    koi_endpoint *e = &out->endpoints[out->n_endpoints - 1];
    e->backend = &fake_backend;
    snprintf(e->id, sizeof e->id, i ? "fake%zu" : "fake", i);
    if (max_buffer) e->max_buffer_bytes = max_buffer;
  }
  return s;
}

static void unprobe(koi_endpoint *e) { koi_backend_host.unprobe(e); }

static koine_status open_(const koi_endpoint *e, koi_device **out)
{
  koine_status s = enter(e, FAKE_OPEN);
  if (s) return s;
  fake_device *d = koi_alloc(1, sizeof *d);
  if (!d) return KOINE_ERR_MEMORY;
  d->base = (koi_device){.backend = &fake_backend, .endpoint = e, .can_record = can_record};
  s = koi_backend_host.open(e, &d->host);
  if (s) koi_free(d);
  else *out = &d->base;
  return gave(s);
}

static void close_(koi_device *d)
{
  koi_backend_host.close(host(d));
  koi_free(d);
  atomic_fetch_sub(&n_live, 1);
}

static koine_status alloc(koi_device *d, size_t bytes, koi_buf **out)
{
  koine_status s = enter(d->endpoint, FAKE_ALLOC);
  if (!s && ((memory && d->bytes + bytes > memory) || (d->endpoint->max_buffer_bytes && bytes > d->endpoint->max_buffer_bytes)))
    s = koi_error(KOINE_ERR_MEMORY, "device %s: there is no room for %zu bytes beside %llu, for a test", d->endpoint->id, bytes, (unsigned long long)d->bytes);
  return s ? s : gave(koi_backend_host.alloc(host(d), bytes, out));
}

static koine_status view(koi_device *d, koi_buf *parent, size_t offset, size_t bytes, koi_buf **out)
{
  koine_status s = enter(d->endpoint, FAKE_VIEW);
  return s ? s : gave(koi_backend_host.view(host(d), parent, offset, bytes, out));
}

static void free_(koi_device *d, koi_buf *b)
{
  if (b) atomic_fetch_sub(&n_live, 1);
  koi_backend_host.free(host(d), b);
}

static koine_status write_(koi_device *d, koi_buf *b, size_t offset, size_t bytes, const void *src)
{
  koine_status s = enter(d->endpoint, FAKE_WRITE);
  return s ? s : koi_backend_host.write(host(d), b, offset, bytes, src);
}

static koine_status read_(koi_device *d, koi_buf *b, size_t offset, size_t bytes, void *dst)
{
  koine_status s = enter(d->endpoint, FAKE_READ);
  return s ? s : koi_backend_host.read(host(d), b, offset, bytes, dst);
}

static koine_status copy(koi_device *d, koi_buf *to, size_t to_offset, koi_buf *from, size_t from_offset, size_t bytes)
{
  koine_status s = enter(d->endpoint, FAKE_COPY);
  return s ? s : koi_backend_host.copy(host(d), to, to_offset, from, from_offset, bytes);
}

static koine_status fill(koi_device *d, koi_buf *b, uint8_t value)
{
  koine_status s = enter(d->endpoint, FAKE_FILL);
  return s ? s : koi_backend_host.fill(host(d), b, value);
}

static bool gives_binaries, refuses_binaries;
void fake_binaries(bool give, bool refuse) { gives_binaries = give, refuses_binaries = refuse; }

static koine_status identity(koi_device *d, char **out)
{
  *out = koi_format("fake %s", d->endpoint->name);
  return *out ? KOINE_OK : KOINE_ERR_MEMORY;
}

/* Its binaries are long enough to be cut, and say what they are of. */
static char *binary_of(const koi_build *b)
{
  koi_text t = {0};
  for (int i = 0; i < 500; i++) koi_text_add(&t, "binary of %s with %s from %zu bytes\n", b->name, b->defs, strlen(b->text));
  char *text;
  return koi_text_take(&t, &text) ? NULL : text;
}

static koine_status build(koi_device *d, const koi_build *b, koi_kernel **out, void **binary, size_t *binary_bytes)
{
  koine_status s = enter(d->endpoint, FAKE_BUILD);
  if (s) return s;
  char *own = gives_binaries ? binary_of(b) : NULL;
  if (gives_binaries && !own) return KOINE_ERR_MEMORY;
  if (b->binary && (!own || refuses_binaries || b->binary_bytes != strlen(own) || memcmp(b->binary, own, b->binary_bytes)))
    s = koi_error(KOINE_ERR_DEVICE, "device fake: this is no binary of %s", b->name);
  if (!s) s = gave(koi_backend_host.build(host(d), b, out, NULL, NULL));
  if (!s && b->want_binary && own) *binary = own, *binary_bytes = strlen(own);
  else koi_free(own);
  return s;
}

static void drop(koi_device *d, koi_kernel *k)
{
  if (k) atomic_fetch_sub(&n_live, 1);
  koi_backend_host.drop(host(d), k);
}

static koine_status launch(koi_device *d, koi_kernel *k, const koi_args *a, const koi_range *r)
{
  koine_status s = enter(d->endpoint, FAKE_LAUNCH);
  return s ? s : koi_backend_host.launch(host(d), k, a, r);
}

static koine_status bind_call(koi_device *d, koi_kernel *k, const koi_args *a, koi_bound **out)
{
  koine_status s = enter(d->endpoint, FAKE_BIND);
  return s ? s : gave(koi_backend_host.bind(host(d), k, a, out));
}

static koine_status patch(koi_device *d, koi_bound *b, size_t i, int32_t value)
{
  koine_status s = enter(d->endpoint, FAKE_PATCH);
  return s ? s : koi_backend_host.patch(host(d), b, i, value);
}

static koine_status start(koi_device *d, koi_bound *b, const koi_range *r)
{
  koine_status s = enter(d->endpoint, FAKE_START);
  return s ? s : koi_backend_host.start(host(d), b, r);
}

/* ---- recordings ---- */
typedef struct recorded {
  koi_recorded base;
  koi_bound *const *calls, *as; /* [n] whose they are, and as they were */
  koi_range *ranges;
  struct recorded *next;
} recorded;
static recorded *all_recorded; /* tests that record have one thread */
static long n_replayed, n_torn;

void fake_records(bool can) { can_record = can, n_replayed = n_torn = 0; }
long fake_n_replayed(void) { return n_replayed; }
long fake_n_torn(void) { return n_torn; }

static void *copy_of(const void *from, size_t bytes)
{
  void *to = koi_alloc(bytes, 1);
  return to ? memcpy(to, from, bytes) : NULL;
}

static void free_recorded(recorded *r)
{
  koi_free((void *)(uintptr_t)r->calls);
  koi_free(r->as);
  koi_free(r->ranges);
  koi_free(r);
}

static koine_status record(koi_device *d, koi_bound *const *calls, const koi_range *ranges, size_t n, koi_recorded **out)
{
  koine_status s = enter(d->endpoint, FAKE_RECORD);
  recorded *r = s ? NULL : koi_alloc(1, sizeof *r);
  if (!r) return s ? s : KOINE_ERR_MEMORY;
  *r = (recorded){{n}, copy_of(calls, n * sizeof *calls), koi_alloc(n, sizeof *r->as), copy_of(ranges, n * sizeof *ranges), all_recorded};
  if (!r->calls || !r->as || !r->ranges) {
    free_recorded(r);
    return KOINE_ERR_MEMORY;
  }
  for (size_t i = 0; i < n; i++) r->as[i] = *calls[i];
  all_recorded = r;
  *out = &r->base;
  return gave(KOINE_OK);
}

static koine_status replay(koi_device *d, koi_recorded *what)
{
  const recorded *r = (const recorded *)what;
  koine_status s = enter(d->endpoint, FAKE_REPLAY);
  for (size_t i = 0; i < what->n && !s; i++, n_replayed++) s = koi_backend_host.launch(host(d), r->as[i].kernel, &r->as[i].a, &r->ranges[i]);
  return s;
}

static void unrecord(koi_device *d, koi_recorded *what)
{
  (void)d;
  recorded **at = &all_recorded;
  while (&(*at)->base != what) at = &(*at)->next;
  *at = (*at)->next;
  free_recorded((recorded *)what);
  atomic_fetch_sub(&n_live, 1);
}

static void unbind(koi_device *d, koi_bound *b)
{
  for (const recorded *r = all_recorded; r; r = r->next)
    for (size_t i = 0; i < r->base.n; i++) n_torn += r->calls[i] == b;
  atomic_fetch_sub(&n_live, 1);
  koi_backend_host.unbind(host(d), b);
}

static koine_status finish(koi_device *d)
{
  koine_status s = enter(d->endpoint, FAKE_FINISH);
  return s ? s : koi_backend_host.finish(host(d));
}

const koi_backend fake_backend = {
  .name = "fake", .probe = probe, .unprobe = unprobe, .open = open_, .close = close_, .alloc = alloc, .view = view, .free = free_,
  .write = write_, .read = read_, .copy = copy, .fill = fill, .identity = identity, .build = build, .drop = drop, .launch = launch,
  .bind = bind_call, .patch = patch, .start = start, .unbind = unbind, .record = record, .replay = replay, .unrecord = unrecord, .finish = finish};

koine_status fake_runtime_open(koine_runtime **out) { return fake_runtime_open_many(1, out); }

koine_status fake_runtime_open_many(size_t n, koine_runtime **out)
{
  n_devices = n;
  koi_topo *topo;
  koi_probe p = {0};
  koine_status s = koi_topo_open(NULL, &topo);
  if (s) return s;
  s = probe(&p);
  if (!s) return koi_runtime_make(topo, &p, out);
  koi_probe_free(&p);
  koi_topo_close(topo);
  return s;
}
