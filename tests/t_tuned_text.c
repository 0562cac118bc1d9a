/* Results handed on, on a machine that is made up: lists, the ladder explained, exports, imports of what strangers send, the order of devices, the
 * report. No device is asked. Usage: t_tuned_text [FILE.html]   (writes the report there; makes a folder of its own in /tmp) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "device/tuned_text.h"
#include "tune/report.h"

static int n_checks, n_failed;
#define CHECK(x) ((void)(n_checks++, (x) ? 0 : (printf("FAIL %s:%d: %s (%s)\n", __FILE__, __LINE__, #x, koi_error_text()), n_failed++)))

static char folder[] = "/tmp/t_tuned_text.XXXXXX", *shipped, *path;

/* ---- a machine ---- */
static koi_endpoint card(const char *id, koine_device_type type, const char *name, const char *arch, uint32_t n_units)
{
  koi_endpoint e = {.backend = &koi_backend_host, .type = type, .max_group = 256, .local_bytes = 32768, .n_units = n_units, .clock_mhz = 1000, .vector_width = 4, .lanes = 32,
                    .memory_bytes = (uint64_t)8 << 30, .usable = true, .denormals = true};
  koi_print(e.id, sizeof e.id, "%s", id);
  koi_print(e.name, sizeof e.name, "%s", name);
  koi_print(e.arch, sizeof e.arch, "%s", arch);
  koi_print(e.vendor, sizeof e.vendor, "Maker");
  koi_print(e.driver, sizeof e.driver, "1.0 <b>&");
  koi_print(e.platform, sizeof e.platform, "P");
  if (type == KOINE_DEVICE_GPU) e.has_pci = true, e.pci_bus = n_units;
  return e;
}

/* A large GPU, a small one, two ways to the processor. */
static koine_runtime *machine(void)
{
  koi_topo *topo;
  koi_probe p = {0};
  koine_runtime *rt = NULL;
  const koi_endpoint all[] = {card("cl0", KOINE_DEVICE_CPU, "Cpu", "", 4), card("cl1", KOINE_DEVICE_CPU, "Cpu by another", "", 4), card("cl2", KOINE_DEVICE_GPU, "Large", "g1", 64),
                              card("cl3", KOINE_DEVICE_GPU, "Small", "g1", 16)};
  CHECK(!koi_topo_open(NULL, &topo));
  for (size_t i = 0; i < KOI_COUNT(all); i++) CHECK(!koi_probe_add(&p, &all[i]));
  CHECK(!koi_runtime_make(topo, &p, &rt) && !koi_runtime_set_cache(rt, folder));
  CHECK((rt->shipped_dir = koi_strdup(shipped)) && !koi_runtime_measure(rt));
  return rt;
}

static const koi_endpoint *endpoint(const koine_runtime *rt, const char *id)
{
  size_t i = 0;
  CHECK(!koi_runtime_find(rt, id, &i));
  return &rt->endpoints[i];
}

static size_t number(const koine_runtime *rt, const char *id) { return (size_t)(endpoint(rt, id) - rt->endpoints); }

/* ---- lines ---- */
static void append_to(const char *dir, const koi_endpoint *e, const koi_tuned_line *l)
{
  koi_device d = {.endpoint = e, .cache_dir = (char *)(uintptr_t)dir}; /* only read */
  CHECK(!koi_tuned_append(&d, l));
}
static void append(const koi_endpoint *e, const koi_tuned_line *l) { append_to(folder, e, l); }

static koi_tuned_line matvec_line(koi_outcome outcome, int32_t tg)
{
  koi_tuned_line l = {.op = &koi_op_matvec, .n_samples = 7, .median_us = 10, .spread_us = 0.1, .default_us = 20, .default_spread_us = 0.2, .flops = 4e6, .bytes = 1e6, .outcome = outcome};
  memcpy(l.c, koi_op_matvec.usual, sizeof l.c);
  for (size_t i = 0; i < koi_op_n_params(l.op); i++) {
    l.p[i] = l.op->params[i].gpu;
    if (!strcmp(l.op->params[i].name, "TG")) l.p[i] = tg;
  }
  return l;
}

static koi_tuned_line speed_line(const koi_op *op, double us, koi_outcome outcome)
{
  return (koi_tuned_line){.op = op, .c = {43, 4096, 256, 129280, 1024, 1}, .n_samples = 5, .median_us = us, .spread_us = us / 100, .default_us = 2 * us, .default_spread_us = us / 50,
                          .outcome = outcome};
}

static void write_file(const char *to, const char *text, size_t n)
{
  FILE *f = fopen(to, "wb");
  CHECK(f && fwrite(text, 1, n, f) == n);
  if (f) fclose(f);
}

static void forget(void) { (void)(unlink(path) == 0); }

/* ---- tests ---- */
static void test_why(void)
{
  char *text = NULL;
  koine_runtime *rt = machine();
  const koi_endpoint *large = endpoint(rt, "cl2"), *small = endpoint(rt, "cl3");
  koi_endpoint old = *large;
  koi_print(old.driver, sizeof old.driver, "0.9");
  CHECK(!koi_tuned_list(rt, number(rt, "cl2"), number(rt, "cl2") + 1, false, &text) && strstr(text, "Nothing is known"));
  koi_free(text);
  CHECK(koi_tuned_why(rt, 0, "no such op", false, &text) == KOINE_ERR_ARG && strstr(koi_error_text(), "matvec") && strstr(koi_error_text(), "panels"));
  koi_tuned_line l = matvec_line(KOI_OUTCOME_WON, 2), far = matvec_line(KOI_OUTCOME_WON, 1 << 30);
  append(small, &l);
  append(&old, &l);
  append_to(shipped, large, &far); /* no such number: the nearest that there is */
  char *from = koi_format("%s/tuned.log", shipped), *to = koi_format("%s/some.log", shipped);
  CHECK(!rename(from, to));
  koi_free(from), koi_free(to);
  CHECK(!koi_tuned_why(rt, number(rt, "cl2"), "matvec", false, &text));
  CHECK(strstr(text, "tuned, user log: nothing is known") && strstr(text, "tuned, shipped log: line 1, ") && strstr(text, "TG=1073741824") &&
        strstr(text, "taken, after a repair") && strstr(text, "not asked: a better rung answered"));
  CHECK(strstr(text, "architecture, user log: line 1") && strstr(text, "(tuned)\n"));
  koi_free(text);
  CHECK(!koi_tuned_why(rt, number(rt, "cl2"), "matvec", true, &text) && strstr(text, "\"verdict\": \"repaired\"") && strstr(text, "\"verdict\": \"not asked\"") &&
        strstr(text, "\"rung\": \"tuned\""));
  koi_free(text);
  l = matvec_line(KOI_OUTCOME_KEPT, 4);
  append(large, &l); /* the user's own goes first, also when it says no */
  CHECK(!koi_tuned_why(rt, number(rt, "cl2"), "matvec", false, &text) && strstr(text, "the default was no slower: it stays") && strstr(text, "(default)\n"));
  koi_free(text);
  CHECK(!koi_tuned_list(rt, 0, rt->n_endpoints, true, &text) && strstr(text, "\"kept\": true") && strstr(text, "\"origin\": \"user\"") && text[0] == '[');
  koi_free(text);
  koine_runtime_close(rt);
  forget();
}

/* The latest counts, in whatever order logs are put together. */
static void test_merge(void)
{
  for (int turn = 0; turn < 2; turn++) {
    koine_runtime *rt = machine();
    const koi_endpoint *e = endpoint(rt, "cl3");
    koi_tuned_line early = matvec_line(KOI_OUTCOME_WON, 1), late = matvec_line(KOI_OUTCOME_WON, 2), wrong = matvec_line(KOI_OUTCOME_WON, 4);
    early.when_ms = 1000, late.when_ms = 2000, wrong.when_ms = koi_tuned_now_ms() + (UINT64_C(365) * 86400000); /* a clock a year ahead counts for nothing */
    append(e, turn ? &late : &early);
    append(e, turn ? &early : &late);
    append(e, &wrong);
    koi_tuned_table t = {0};
    CHECK(!koi_tuned_gather(folder, NULL, e, &t) && t.n == 1 && t.v[0].when_ms == 2000 && !memcmp(t.v[0].p, late.p, sizeof late.p));
    koi_tuned_clear(&t);
    koine_runtime_close(rt);
    forget();
  }
}

static void test_share(void)
{
  char *text = NULL, *report = NULL;
  size_t n;
  koine_runtime *rt = machine();
  const koi_endpoint *large = endpoint(rt, "cl2"), *small = endpoint(rt, "cl3");
  CHECK(koi_tuned_export(rt, NULL, &text, &n) == KOINE_ERR_STATE);
  koi_tuned_line lines[] = {matvec_line(KOI_OUTCOME_MEASURED, 1), matvec_line(KOI_OUTCOME_WON, 1), matvec_line(KOI_OUTCOME_WON, 2), matvec_line(KOI_OUTCOME_HUNG, 4)};
  for (size_t i = 0; i < KOI_COUNT(lines); i++) append(large, &lines[i]);
  append(small, &lines[1]);
  CHECK(!koi_tuned_export(rt, large, &text, &n) && n == strlen(text) && strchr(text, '\n') == text + n - 1); /* of four lines the one that holds */
  CHECK(strstr(text, "TG=2") && !strstr(text, "Small"));
  koi_free(text);
  CHECK(!koi_tuned_export(rt, NULL, &text, &n) && strstr(text, "Small") && strstr(text, "Large"));
  forget();
  CHECK(!koi_tuned_import(rt, "mail", text, n, &report) && strstr(report, "mail: 2 lines taken, 0 there already, 0 damaged") && strstr(report, "1 results are used as they are"));
  koi_free(report);
  CHECK(!koi_tuned_import(rt, "mail", text, n, &report) && strstr(report, "mail: 0 lines taken, 2 there already"));
  koi_free(report);
  char *half = koi_format("%.*sgarbage\n%.40s", (int)n, text, text);
  CHECK(!koi_tuned_import(rt, "mail", half, strlen(half), &report) && strstr(report, "2 damaged"));
  koi_free(report);
  CHECK(koi_tuned_import(rt, "mail", "hello\n", 6, &report) == KOINE_ERR_FILE && strstr(koi_error_text(), "mail"));
  CHECK(koi_tuned_import(rt, "mail", "", 0, &report) == KOINE_ERR_FILE);
  koi_free(half), koi_free(text);
  koine_runtime_close(rt);
  forget();
}

/* A stranger's file: lines with a right sum and any numbers in them. Whatever they say, what is chosen is legal, for any of the constants. */
static void test_hostile(void)
{
  uint64_t seed = 88172645463325252u;
  koine_runtime *rt = machine();
  const koi_endpoint *e = endpoint(rt, "cl2");
  koi_text all = {0};
  char *report;
  size_t n_ops = 0;
  while (koi_ops[n_ops]) n_ops++;
  for (int k = 0; k < 3000; k++) {
    koi_tuned_line l = {.op = koi_ops[k % (int)n_ops], .outcome = KOI_OUTCOME_WON, .when_ms = (uint64_t)k};
    memcpy(l.c, l.op->usual, sizeof l.c);
    for (size_t i = 0; i < KOI_MAX_PARAMS; i++) {
      static const int32_t some[] = {0, -1, INT32_MAX, INT32_MIN, 3, 65536, 1, 7};
      seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
      l.p[i] = seed % 3 ? some[seed / 3 % KOI_COUNT(some)] : (int32_t)(seed >> 32);
      if (i < KOI_MAX_CONSTS && seed % 97 == 0) l.c[i] = (int32_t)(seed >> 20);
    }
    koi_tuned_put_line(&all, e, &l);
  }
  CHECK(!koi_tuned_import(rt, "mail", all.s, all.len, &report));
  koi_free(report);
  koi_tuned_table t = {0};
  koi_target target;
  CHECK(!koi_tuned_gather(folder, NULL, e, &t) && t.n > n_ops / 2);
  koi_dev_target(e, &target);
  target.tuned = &t;
  for (size_t i = 0; i < n_ops; i++) {
    int32_t p[KOI_MAX_PARAMS] = {0};
    const koi_op *op = koi_ops[i];
    CHECK(!koi_choose(&target, op, op->usual, 0, p, NULL) && koi_legal(&target, op, op->usual, p));
    for (size_t k = 0; k < koi_op_n_params(op); k++) CHECK(p[k] >= 0 && p[k] <= 4096);
  }
  koi_tunables u;
  koi_step_tunables(&target, &u);
  CHECK(u.nt >= 8 && u.nt <= 32 && u.max_splits >= 1);
  CHECK(!koi_tuned_list(rt, 0, rt->n_endpoints, false, &report)); /* with constants that no kernel has */
  koi_free(report);
  koi_tuned_clear(&t);
  koi_free(all.s);
  koine_runtime_close(rt);
  forget();
}

static const char *ids(const koine_runtime *rt)
{
  static char text[64];
  text[0] = 0;
  for (size_t i = 0; i < rt->n_endpoints; i++) koi_print(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "", rt->endpoints[i].id);
  return text;
}

/* With results that put cl3 last: they are not asked. */
static void test_order_off(void)
{
  setenv("KOINE_TUNED", "off", 1);
  koine_runtime *rt = machine();
  CHECK(!strcmp(ids(rt), "cl2 cl3 cl0 cl1") && !rt->endpoints[0].known);
  koine_runtime_close(rt);
  setenv("KOINE_TUNED", "order", 1); /* --no-tune: the same device, and default parameters */
  rt = machine();
  CHECK(!rt->endpoints[0].known || !rt->endpoints[0].known->n);
  koine_runtime_close(rt);
  unsetenv("KOINE_TUNED");
}

/* Types first; then whoever was measured with the same model changes places. */
static void test_order(void)
{
  char *text = NULL;
  koine_runtime *rt = machine();
  koi_endpoint cpu = *endpoint(rt, "cl0"), other = *endpoint(rt, "cl1"), large = *endpoint(rt, "cl2"), small = *endpoint(rt, "cl3");
  CHECK(!strcmp(ids(rt), "cl2 cl3 cl0 cl1"));
  koine_runtime_close(rt);
  koi_tuned_line l = matvec_line(KOI_OUTCOME_WON, 1); /* by the rate of an op: the second processor is faster */
  append(&cpu, &l);
  l.median_us = 5;
  append(&other, &l);
  rt = machine();
  CHECK(!strcmp(ids(rt), "cl2 cl3 cl1 cl0") && !koi_runtime_text(rt, &text) && strstr(text, "order: measured: 200 GB/s of weights"));
  koi_free(text);
  koine_runtime_close(rt);
  koi_tuned_line slow = speed_line(&koi_step_decode, 900, KOI_OUTCOME_WON), fast = speed_line(&koi_step_decode, 200, KOI_OUTCOME_KEPT); /* kept: 400 us are in use */
  append(&small, &fast);
  append(&cpu, &slow);
  rt = machine();
  CHECK(!strcmp(ids(rt), "cl2 cl3 cl0 cl1")); /* the two that were measured from end to end keep their order; rates are asked no more */
  koine_runtime_close(rt);
  append(&large, &slow);
  koi_endpoint newer = small;
  rt = machine();
  CHECK(!strcmp(ids(rt), "cl3 cl2 cl0 cl1") && !koi_runtime_json(rt, &text) && strstr(text, "\"order\": \"measured: 2500 tokens a second\""));
  CHECK(koi_runtime_card(rt, 0)->n_endpoints == 1 && koi_runtime_card(rt, 2) == koi_runtime_card(rt, 3));
  koi_free(text);
  size_t at = 99;
  CHECK(!koi_runtime_find(rt, NULL, &at) && at == 0); /* and is the default */
  koine_runtime_close(rt);
  slow.median_us = 9000; /* measured anew with another driver: slower than all */
  koi_print(newer.driver, sizeof newer.driver, "2.0");
  append(&newer, &slow);
  rt = machine();
  CHECK(!strcmp(ids(rt), "cl2 cl0 cl1 cl3")); /* endpoints of a card stay together, here the processor's */
  koine_runtime_close(rt);
  test_order_off();
  forget();
}

/* Well-formed: every element is closed, in order; what is quoted is closed; nothing outside is named. */
static bool well_formed(const char *s)
{
  const char *names[64];
  size_t lengths[64], depth = 0;
  for (s = strchr(s, '>') + 1; (s = strchr(s, '<')); s++) { /* behind the doctype */
    bool end = s[1] == '/';
    const char *name = s + 1 + end, *close = name + strcspn(name, ">");
    size_t len = strcspn(name, " />");
    if (!*close || memchr(s + 1, '<', (size_t)(close - s - 1))) return false;
    if (end && (!depth || lengths[depth - 1] != len || strncmp(names[depth - 1], name, len))) return printf("at %.60s\n", s), false;
    if (end) depth--;
    else if (close[-1] != '/') {
      if (depth == KOI_COUNT(names)) return false;
      names[depth] = name, lengths[depth++] = len;
    }
  }
  return !depth;
}

static void test_report(const char *to)
{
  char *html = NULL;
  koine_runtime *rt = machine();
  const koi_endpoint *e = endpoint(rt, "cl2");
  CHECK(koi_report_html(rt, number(rt, "cl3"), &html) == KOINE_ERR_STATE && strstr(koi_error_text(), "koine tune"));
  for (int k = 0; k < 40; k++) {
    koi_tuned_line l = matvec_line(k % 9 == 5 ? KOI_OUTCOME_REFUSED : k % 13 == 7 ? KOI_OUTCOME_WRONG : k == 20 ? KOI_OUTCOME_CRASHED : KOI_OUTCOME_MEASURED, 1);
    l.median_us = 8 + k * 37 % 29, l.bucket = k % 3;
    append(e, &l);
  }
  koi_tuned_line won = matvec_line(KOI_OUTCOME_WON, 2), kept = matvec_line(KOI_OUTCOME_KEPT, 1), decode = speed_line(&koi_step_decode, 900, KOI_OUTCOME_WON),
                 prefill = speed_line(&koi_step_prefill, 100, KOI_OUTCOME_KEPT), read = {.op = &koi_step_read, .bytes = 2e11};
  kept.bucket = 1;
  append(e, &won), append(e, &kept), append(e, &decode), append(e, &prefill), append(e, &read);
  CHECK(!koi_report_html(rt, number(rt, "cl2"), &html));
  CHECK(html && well_formed(html) && !strstr(html, "http") && !strstr(html, "url(") && !strstr(html, "nan") && !strstr(html, "inf"));
  CHECK(strstr(html, "1.0 &lt;b&gt;&amp;") && strstr(html, "prefers-color-scheme: dark") && strstr(html, "class=\"roof guess\"") && strstr(html, "class=\"curve\"") &&
        strstr(html, "class=\"after\"") && strstr(html, "class=\"dot\"") && strstr(html, "1111") && strstr(html, "not faster: the defaults stay"));
  if (to && html) write_file(to, html, strlen(html));
  koi_free(html);
  koine_runtime_close(rt);
  forget();
}

/* A log of many lines: all of it is read, each key once. Nothing here depends on time. */
static void test_many(void)
{
  enum { N = 20000 };
  koine_runtime *rt = machine();
  koi_text all = {0};
  const koi_endpoint *e = endpoint(rt, "cl2");
  for (int k = 0; k < N; k++) {
    koi_tuned_line l = matvec_line(k % 4 ? KOI_OUTCOME_MEASURED : KOI_OUTCOME_WON, 1);
    l.bucket = k / 2;
    koi_tuned_put_line(&all, e, &l);
  }
  write_file(path, all.s, all.len);
  koi_free(all.s);
  koine_runtime_close(rt);
  rt = machine();
  e = endpoint(rt, "cl2");
  CHECK(e->known && e->known->n >= N / 4 && e->known->n_lines == N);
  koi_device d = {.endpoint = e, .cache_dir = folder};
  CHECK(!koi_tuned_load(&d, folder) && d.tuned.n == e->known->n && d.tuned.read == e->known->read);
  koi_tuned_line l = matvec_line(KOI_OUTCOME_WON, 1);
  l.bucket = -5;
  append(e, &l); /* what comes later is read without the rest */
  CHECK(!koi_tuned_load(&d, folder) && d.tuned.n == e->known->n + 1 && d.tuned.n_lines == N + 1);
  koi_tuned_drop(&d);
  koine_runtime_close(rt);
  forget();
}

int main(int argc, char **argv)
{
  unsetenv("KOINE_TUNED");
  if (!mkdtemp(folder) || !(shipped = koi_format("%s/shipped", folder)) || mkdir(shipped, 0700) || !(path = koi_format("%s/tuned.log", folder)))
    return printf("t_tuned_text: no folder\n"), 1;
  test_why();
  char *some = koi_format("%s/some.log", shipped);
  CHECK(!unlink(some));
  test_merge();
  test_share();
  test_hostile();
  test_order();
  test_report(argc > 1 ? argv[1] : NULL);
  test_many();
  rmdir(shipped), rmdir(folder);
  koi_free(some), koi_free(shipped), koi_free(path);
  printf("t_tuned_text: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
