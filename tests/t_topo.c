/* Machines that are not here: recorded ones in tests/data/topo, with endpoints as drivers would report them. */
#include <json-c/json.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/newfile.h"
#include "device/backend.h"
#include "device/machine.h"

static int n_checks, n_failed;
#define CHECK(what) check((what), #what, __LINE__)

static void check(bool ok, const char *what, int line)
{
  n_checks++;
  if (ok) return;
  n_failed++;
  printf("FAIL t_topo.c:%d: %s (%s)\n", line, what, koi_error_text());
}

/* hwloc 2.9 loses memory itself when a file ends too early. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhwloc"; }

static const char *path(const char *name)
{
  static char out[4096];
  const char *dir = getenv("srcdir");
  snprintf(out, sizeof out, "%s/tests/data/topo/%s", dir ? dir : ".", name);
  return out;
}

static koi_topo *open_topo(const char *name)
{
  koi_topo *t = NULL;
  if (!koi_topo_open(path(name), &t)) return t;
  printf("FAIL %s\n", koi_error_text());
  exit(1);
}

static void test_two_sockets(void)
{
  koi_topo *t = open_topo("two_sockets.xml");
  CHECK(t->recorded && t->memory_bytes == 2 * 137438953472ULL && t->n_threads == 16);
  CHECK(!strcmp(t->machine, "Supermicro H13DSG"));
  CHECK(t->n_packages == 2 && t->packages[0].n_cores == 4 && t->packages[1].n_threads == 8 && t->packages[1].cache_bytes == 32 << 20);
  CHECK(t->n_nodes == 2 && t->nodes[0].package == 0 && t->nodes[1].package == 1 && t->nodes[1].memory_bytes == 137438953472ULL);
  CHECK(t->nodes[0].cpus[0] == 0xff && t->nodes[1].cpus[0] == 0xff00 && !t->nodes[1].cpus[1]);
  CHECK(t->n_cards == 3);
  const koi_topo_card *radeon = &t->cards[0], *board = &t->cards[1], *arc = &t->cards[2];
  CHECK(radeon->has_pci && radeon->pci_bus == 3 && radeon->vendor_id == 0x1002 && radeon->class_id == 0x0300 && radeon->node == 0 && !radeon->accelerator);
  CHECK(!strcmp(radeon->name, "AMD Radeon RX 7900 XTX") && radeon->link_bytes_per_s > 31.4e9 && radeon->link_bytes_per_s < 31.6e9);
  CHECK(radeon->n_osdevs == 3 && !radeon->osdevs[0].kind[0] && !strcmp(radeon->osdevs[1].name, "renderD128"));
  CHECK(!strcmp(radeon->osdevs[2].kind, "OpenCL") && radeon->osdevs[2].n_units == 48 && radeon->osdevs[2].memory_bytes == 25149440ULL << 10);
  CHECK(board->vendor_id == 0x1a03 && board->link_bytes_per_s == 0 && !strcmp(board->name, "ASPEED Graphics Family"));
  CHECK(arc->pci_bus == 0x83 && arc->node == 1);
  koi_topo_close(t);
}

static void test_other_machines(void)
{
  koi_topo *t = open_topo("nvidia.xml");
  CHECK(t->n_nodes == 1 && t->n_cards == 3);
  CHECK(t->cards[1].vendor_id == 0x10de && t->cards[1].n_osdevs == 3 && t->cards[1].osdevs[1].memory_bytes == 24671936ULL << 10);
  CHECK(t->cards[2].accelerator && !strcmp(t->cards[2].name, "PCI device 1e52:faca"));
  koi_topo_close(t);
  t = open_topo("no_card.xml");
  CHECK(!t->n_cards && t->n_packages == 1 && t->memory_bytes == 8589934592ULL);
  koi_topo_close(t);
}

static void test_bad_files(void)
{
  koi_topo *t = NULL;
  CHECK(koi_topo_open(path("there_is_none.xml"), &t) == KOINE_ERR_FILE && strstr(koi_error_text(), "there_is_none.xml"));
  CHECK(koi_topo_open(path("README"), &t) == KOINE_ERR_FILE && !t);
  char *text;
  size_t n;
  CHECK(!koi_file_read(path("nvidia.xml"), 1 << 20, &text, &n));
  const char *dir = getenv("TMPDIR");
  char cut[4096];
  snprintf(cut, sizeof cut, "%s/koine_t_topo_%ld.xml", dir ? dir : "/tmp", (long)getpid());
  for (size_t i = 0; i < n; i += n / 40) {
    CHECK(!koi_newfile_put(cut, text, i));
    koine_status s = koi_topo_open(cut, &t);
    CHECK(s == KOINE_ERR_FILE);
    if (!s) koi_topo_close(t);
  }
  remove(cut);
  koi_free(text);
}

/* ---- endpoints on a recorded machine --------------------------------------------------------------------------------------- */
static int n_unprobed;
static void unprobe(koi_endpoint *e) { (void)e, n_unprobed++; }
static const koi_backend driver = {.name = "opencl", .unprobe = unprobe};

static void add(koi_probe *p, const char *id, const char *name, const char *platform, koine_device_type type, uint64_t gib, int bus)
{
  koi_endpoint e = {.backend = &driver, .type = type, .memory_bytes = gib << 30, .max_buffer_bytes = gib << 28, .has_pci = bus >= 0,
                    .pci_bus = (uint32_t)(bus < 0 ? 0 : bus), .n_units = 8, .max_group = 256, .local_bytes = 64 << 10, .usable = true, .subgroup_sizes = {32, 64}};
  snprintf(e.id, sizeof e.id, "%s", id);
  snprintf(e.name, sizeof e.name, "%s", name);
  snprintf(e.platform, sizeof e.platform, "%s", platform);
  CHECK(!koi_probe_add(p, &e));
}

/* Two drivers reach the Radeon, one the Arc, a CPU driver the host; one card is reached that hwloc does not list. */
static koine_runtime *unlike_machine(void)
{
  koi_probe p = {0};
  add(&p, "cl0", "cpu-znver4", "Portable Computing Language", KOINE_DEVICE_CPU, 200, -1);
  add(&p, "cl1", "Flex 170", "Intel(R) OpenCL Graphics", KOINE_DEVICE_GPU, 15, 0x83);
  add(&p, "cl2", "RX 7900 XTX", "rusticl", KOINE_DEVICE_GPU, 20, 3);
  add(&p, "cl3", "Strange board", "Strange", KOINE_DEVICE_ACCELERATOR, 64, 0x44);
  add(&p, "cl4", "RX 7900 XTX", "AMD Accelerated Parallel Processing", KOINE_DEVICE_GPU, 24, 3);
  add(&p, "cl5", "llvmpipe", "rusticl", KOINE_DEVICE_CPU, 2, -1);
  add(&p, "host", "C reference", "host", KOINE_DEVICE_HOST, 256, -1);
  CHECK(!koi_probe_skip(&p, "Clover", "the platform has no \"device\"\n"));
  koine_runtime *rt = NULL;
  koi_topo *t = open_topo("two_sockets.xml");
  t->recorded = false;
  CHECK(!koi_runtime_make(t, &p, &rt));
  return rt;
}

static void test_order(void)
{
  koine_runtime *rt = unlike_machine();
  static const char *const order[] = {"cl2", "cl4", "cl1", "cl3", "cl0", "cl5", "host"};
  static const uint64_t gib[] = {24, 24, 15, 64, 256, 256, 256}; /* of the cards */
  CHECK(koine_runtime_n_devices(rt) == KOI_COUNT(order));
  for (size_t i = 0; i < KOI_COUNT(order); i++) {
    koine_device_info d;
    CHECK(!koine_runtime_device(rt, i, &d));
    if (strcmp(d.id, order[i]) || d.memory_bytes != gib[i] << 30) printf("FAIL device %zu: %s with %llu bytes\n", i, d.id, (unsigned long long)d.memory_bytes), n_failed++;
  }
  koine_device_info d;
  CHECK(koine_runtime_device(rt, KOI_COUNT(order), &d) == KOINE_ERR_ARG);
  CHECK(rt->n_cards == 5); /* Radeon, Arc, the strange board, the host, the board's display */
  CHECK(rt->cards[0].n_endpoints == 2 && rt->cards[0].place == &rt->topo->cards[0] && rt->cards[0].node == 0);
  CHECK(rt->cards[1].n_endpoints == 1 && rt->cards[1].node == 1 && !rt->cards[2].place);
  CHECK(rt->cards[3].type == KOINE_DEVICE_HOST && rt->cards[3].n_endpoints == 3 && rt->cards[3].shares_host_memory);
  CHECK(!rt->cards[4].n_endpoints && rt->cards[4].place == &rt->topo->cards[1]);
  koine_runtime_close(rt);
  CHECK(n_unprobed == 7);
}

static int n_notes;
static koine_log_level last_level;
static char last_line[1024];
static void note(void *user, koine_log_level level, const char *line)
{
  (void)user, n_notes++, last_level = level;
  snprintf(last_line, sizeof last_line, "%s", line);
}

/* ---- which card is best: type, memory of its own, units times clock; memory never decides between unlike ones ---- */
typedef struct gpu { const char *id; koine_device_type type; bool unified; uint32_t units, mhz; uint64_t gib; } gpu;

static void expect_best(const char *id, const gpu *a, const gpu *b)
{
  for (int turn = 0; turn < 2; turn++) { /* in either order of discovery */
    const gpu *both[2] = {turn ? b : a, turn ? a : b};
    koi_probe p = {0};
    for (int i = 0; i < 2; i++) {
      add(&p, both[i]->id, both[i]->id, "", both[i]->type, both[i]->gib, both[i]->type == KOINE_DEVICE_CPU ? -1 : both[i]->id[0]);
      koi_endpoint *e = &p.endpoints[i];
      e->host_unified = both[i]->unified, e->n_units = both[i]->units, e->clock_mhz = both[i]->mhz;
    }
    koine_runtime *rt = NULL;
    CHECK(!koi_runtime_make(open_topo("no_card.xml"), &p, &rt));
    if (strcmp(rt->endpoints[0].id, id)) printf("FAIL %s and %s: %s is first, expected %s\n", a->id, b->id, rt->endpoints[0].id, id), n_failed++;
    koine_runtime_close(rt);
  }
}

static void test_best(void)
{
  static const gpu integrated = {"integrated", KOINE_DEVICE_GPU, true, 96, 2400, 28}, discrete = {"discrete", KOINE_DEVICE_GPU, false, 28, 2000, 12},
                   small = {"small", KOINE_DEVICE_GPU, false, 16, 1500, 16}, unsaid = {"unsaid", KOINE_DEVICE_GPU, false, 40, 0, 8},
                   cpu = {"cpu", KOINE_DEVICE_CPU, true, 128, 4000, 512}, board = {"board", KOINE_DEVICE_ACCELERATOR, false, 512, 3000, 96},
                   twin = {"twin", KOINE_DEVICE_GPU, false, 28, 2000, 24};
  expect_best("discrete", &integrated, &discrete);
  expect_best("small", &integrated, &small);
  expect_best("discrete", &discrete, &small); /* though that has more memory */
  expect_best("unsaid", &unsaid, &small);
  expect_best("discrete", &discrete, &unsaid);
  expect_best("integrated", &integrated, &cpu);
  expect_best("integrated", &integrated, &board);
  expect_best("twin", &discrete, &twin);
}

/* ---- what keeps a device from being used is said; plain C is not taken in silence ---- */
static koine_runtime *with_host(bool usable, const char *skipped)
{
  koi_probe p = {0};
  if (!skipped) {
    add(&p, "cl0", "A card", "", KOINE_DEVICE_GPU, 8, 3);
    p.endpoints[0].usable = usable;
    if (!usable) snprintf(p.endpoints[0].why, sizeof p.endpoints[0].why, "its folder /x is full");
  } else CHECK(!koi_probe_skip(&p, "A platform", skipped));
  add(&p, "host", "C reference", "host", KOINE_DEVICE_HOST, 256, -1);
  p.endpoints[p.n_endpoints - 1].backend = &koi_backend_host;
  koine_runtime *rt = NULL;
  koi_topo *t = open_topo("no_card.xml");
  t->recorded = false, t->limit_bytes = 4ULL << 30;
  CHECK(!koi_runtime_make(t, &p, &rt));
  return rt;
}

/* Of a limit of 4 GiB: an eighth and 128 MiB stay for the process. */
#define LEFT (3456ULL << 20)

static void test_told(void)
{
  static const struct { bool usable; const char *skipped, *taken, *said; koine_log_level level; } cases[] = {
    {true, NULL, "cl0", "A card", KOINE_LOG_NOTE}, {false, NULL, "host", "its folder /x is full", KOINE_LOG_WARNING}, {false, "it cannot start", "host", "A platform: it cannot start", KOINE_LOG_WARNING}};
  koi_log_set(note, NULL);
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    koine_runtime *rt = with_host(cases[i].usable, cases[i].skipped);
    size_t found = 9;
    n_notes = 0;
    CHECK(!koi_runtime_find(rt, NULL, &found) && n_notes == 1 && last_level == cases[i].level && strstr(last_line, cases[i].said));
    CHECK(found < rt->n_endpoints && !strcmp(rt->endpoints[found].id, cases[i].taken) && strstr(last_line, cases[i].taken));
    CHECK(koi_runtime_find(rt, "cl7", &found) == KOINE_ERR_NO_DEVICE && strstr(koi_error_text(), cases[i].said));
    const koi_endpoint *host = &rt->endpoints[rt->n_endpoints - 1];
    CHECK(host->memory_bytes == LEFT && host->max_buffer_bytes <= LEFT && koi_runtime_card(rt, rt->n_endpoints - 1)->memory_bytes == 4ULL << 30);
    CHECK(cases[i].skipped || rt->endpoints[0].memory_bytes == 8ULL << 30); /* a card's own */
    char *text;
    CHECK(!koine_runtime_describe(rt, false, &text) && strstr(text, "of which this process may have 4.0 GiB"));
    koi_free(text);
    koine_runtime_close(rt);
  }
  koi_probe p = {0}; /* a processor in place of cards that no driver reaches */
  add(&p, "cl0", "A processor", "", KOINE_DEVICE_CPU, 8, -1);
  koine_runtime *cpu = NULL;
  koi_topo *t = open_topo("two_sockets.xml");
  size_t first = 9;
  t->recorded = false;
  CHECK(!koi_runtime_make(t, &p, &cpu) && !koi_runtime_find(cpu, NULL, &first) && !first && last_level == KOINE_LOG_WARNING);
  CHECK(strstr(last_line, "RX 7900 XTX: no driver reached it") && !strstr(last_line, "ASPEED"));
  koine_runtime_close(cpu);
  setenv("KOINE_BACKENDS", "host", 1); /* then nothing else was to be asked */
  koine_runtime *rt = with_host(false, "KOINE_BACKENDS");
  size_t found;
  CHECK(!koi_runtime_find(rt, NULL, &found) && last_level == KOINE_LOG_NOTE);
  unsetenv("KOINE_BACKENDS");
  koine_runtime_close(rt);
  koi_log_set(NULL, NULL);
}

static void test_find(void)
{
  koine_runtime *rt = unlike_machine();
  static const struct { const char *text; size_t index; int notes; } cases[] = {
    {NULL, 0, 1}, {"", 0, 1}, {"cl4", 1, 0}, {"HOST", 6, 0}, {"FLEX 170", 2, 0}, {"INTEL", 2, 0}, {"radeon", 7, 0}, {"rx 7900", 0, 1}, {"amd acc", 1, 0}, {"flex", 2, 0},
    {"portable", 4, 0}, {"llvm", 5, 0}, {"rusticl", 0, 1}, {"accelerator", 3, 0}, {"cl9", 7, 0}};
  koi_log_set(note, NULL);
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    size_t found = 7;
    n_notes = 0;
    koine_status s = koi_runtime_find(rt, cases[i].text, &found);
    bool ok = found == cases[i].index && s == (cases[i].index == 7 ? KOINE_ERR_NO_DEVICE : KOINE_OK) && n_notes == cases[i].notes;
    if (!ok) printf("FAIL find %s: %zu\n", cases[i].text ? cases[i].text : "NULL", found), n_failed++;
  }
  koi_log_set(NULL, NULL);
  CHECK(strstr(koi_error_text(), "cl9") && strstr(koi_error_text(), "cl4 (RX 7900 XTX)") && strstr(koi_error_text(), "host (C reference)"));
  koine_runtime_close(rt);
}

/* ---- text and JSON --------------------------------------------------------------------------------------------------------- */
static json_object *member(json_object *o, const char *key)
{
  json_object *v = NULL;
  CHECK(json_object_object_get_ex(o, key, &v));
  return v;
}

static void test_texts(void)
{
  koine_runtime *rt = unlike_machine();
  koi_runtime_note_host_op(rt, 0, "topk");
  koi_runtime_note_host_op(rt, 0, "topk");
  koi_runtime_note_host_op(rt, 0, "attn");
  CHECK(!strcmp(rt->endpoints[0].why, "done on the host: topk, attn"));
  rt->endpoints[1].local_bytes = 512; /* too little for the ranking keys of route, whatever the work-group */
  CHECK(koi_backend_fits(&rt->endpoints[0], &koi_op_route) && !koi_backend_fits(&rt->endpoints[1], &koi_op_route));
  char *s;
  CHECK(!koine_runtime_describe(rt, false, &s));
  static const char *const expected[] = {"Package 1:", "NUMA node 1: 128.0 GiB", "PCI 0000:83:00.0 (8086:56c0), link 15.8 GB/s, NUMA node 1", "cl4: RX 7900 XTX",
                                         "sizes 32, 64", "PCI 0000:44:00.0, link unknown", "no driver reached it", "done on the host: topk, attn",
                                         "Clover: the platform has no \"device\"", "share it"};
  for (size_t i = 0; i < KOI_COUNT(expected); i++)
    if (!strstr(s, expected[i])) printf("FAIL the text lacks: %s\n%s", expected[i], s), n_failed++;
  koi_free(s);
  CHECK(!koine_runtime_describe(rt, true, &s));
  json_object *root = json_tokener_parse(s);
  CHECK(root != NULL);
  json_object *cards = member(root, "cards"), *radeon = json_object_array_get_idx(cards, 0);
  CHECK(json_object_array_length(cards) == 5 && json_object_array_length(member(radeon, "endpoints")) == 2);
  CHECK(!strcmp(json_object_get_string(member(member(radeon, "pci"), "address")), "0000:03:00.0"));
  CHECK(json_object_get_int64(member(radeon, "memory_bytes")) == 24LL << 30 && json_object_get_int(member(radeon, "numa_node")) == 0);
  json_object *endpoint = json_object_array_get_idx(member(radeon, "endpoints"), 1);
  CHECK(!strcmp(json_object_get_string(member(endpoint, "id")), "cl4") && json_object_array_length(member(endpoint, "subgroup_sizes")) == 2);
  CHECK(!json_object_get(member(json_object_array_get_idx(cards, 3), "pci")));
  CHECK(!strcmp(json_object_get_string(member(json_object_array_get_idx(member(root, "skipped"), 0), "why")), "the platform has no \"device\""));
  json_object_put(root);
  koi_free(s);
  koine_runtime_close(rt);
}

/* Every recorded machine can be shown; none of its devices can be used. */
static void test_recorded(void)
{
  static const char *const files[] = {"two_sockets.xml", "nvidia.xml", "no_card.xml"};
  for (size_t i = 0; i < KOI_COUNT(files); i++) {
    koine_runtime_options o = {.size = sizeof o, .topology_xml = path(files[i])};
    koine_runtime *rt;
    size_t found;
    char *s;
    CHECK(!koine_runtime_open(&o, &rt));
    CHECK(!koine_runtime_n_devices(rt) && koi_runtime_find(rt, NULL, &found) == KOINE_ERR_NO_DEVICE);
    for (int json = 0; json < 2; json++) {
      CHECK(!koine_runtime_describe(rt, json, &s));
      CHECK((strstr(s, "RTX 4090") != NULL) == (i == 1));
      json_object *root = json ? json_tokener_parse(s) : NULL;
      CHECK(!json || root);
      json_object_put(root);
      koi_free(s);
    }
    koine_runtime_close(rt);
  }
}

/* Memory that runs out anywhere ends in an error and leaks nothing (the sanitizers look). */
static void test_exhaustion(void)
{
  koine_runtime_options o = {.size = sizeof o, .topology_xml = path("two_sockets.xml")};
  koine_status s = KOINE_ERR_MEMORY;
  for (long n = 1; s == KOINE_ERR_MEMORY && n < 1000; n++) {
    koine_runtime *rt = NULL;
    char *text = NULL;
    koi_alloc_fail_at(n);
    s = koine_runtime_open(&o, &rt);
    if (!s) s = koine_runtime_describe(rt, n & 1, &text);
    koi_alloc_fail_at(0);
    koine_runtime_close(rt);
    koi_free(text);
  }
  CHECK(s == KOINE_OK);
}

int main(void)
{
  setlocale(LC_ALL, ""); /* t_locale.sh has a Turkish one */
  test_two_sockets();
  test_other_machines();
  test_bad_files();
  test_order();
  test_best();
  test_told();
  test_find();
  test_texts();
  test_recorded();
  test_exhaustion();
  printf("t_topo: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
