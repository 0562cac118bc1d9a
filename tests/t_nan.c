/* A NaN in a weight, or an infinity in a router's, is told, whichever weight it is and whatever is asked for: by evaluation, by an answer and by the measure of a text. A choice
 * (the router's, the indexer's) does not swallow it. On the host, and on the first OpenCL device where there is one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/newfile.h"
#include "file/weights.h"

static int n_checks, n_failed;

/* What is spoiled: the whole tensor, or one value of it; and the op that must be named, "" any. */
static const struct { const char *tensor; bool whole; const char *op; bool infinite; } spoiled[] = {
  {"layers.1.ffn.gate.bias", true, "op route", false}, {"layers.1.ffn.gate.bias", false, "op route", false}, {"layers.1.ffn.gate.weight", false, "", false}, {"layers.0.attn_norm.weight", false, "", false},
  {"layers.1.attn.indexer.weights_proj.weight", false, "op ", false}, {"layers.3.attn.indexer.weights_proj.weight", true, "op ", false},
  {"layers.1.attn.indexer.compressor.norm.weight", false, "op ", false}, {"layers.3.attn.indexer.compressor.ape", true, "op ", false},
  {"head.weight", false, "", false}, {"layers.1.ffn.gate.bias", false, "op route", true},
};

static char folder[] = "/tmp/koine_t_nan_XXXXXX";

static char *austen(const char *name)
{
  const char *dir = getenv("srcdir");
  return koi_format("%s/models/austen%s%s", dir ? dir : ".", *name ? "/" : "", name);
}

static void put(const char *name, const char *text, size_t n)
{
  char *path = koi_format("%s/%s", folder, name);
  if (koi_newfile_put(path, text, n)) n_failed++, printf("FAIL %s\n", koi_error_text());
  koi_free(path);
}

static void copy(const char *name)
{
  char *from = austen(name), *text;
  size_t n;
  if (koi_file_read(from, 64 << 20, &text, &n)) n_failed++, printf("FAIL %s\n", koi_error_text());
  else put(name, text, n), koi_free(text);
  koi_free(from);
}

/* The shard with NaN in the tensor; false: it has none of that name. */
static bool spoil(const char *name, bool whole, bool infinite)
{
  const uint8_t f32[4] = {0, 0, infinite ? 0x80 : 0xc0, 0x7f}, *bf16 = f32 + 2;
  char *dir = austen(""), *from = austen("model.safetensors"), *text;
  koi_weights *w = NULL;
  size_t n = 0;
  if (koi_safetensors_open(dir, &w) || koi_file_read(from, 64 << 20, &text, &n)) return printf("FAIL %s\n", koi_error_text()), false;
  const koi_tensor *t = koi_weights_find(w, name);
  size_t step = t ? koi_dtype_bytes(t->dtype) : 0;
  if (step == 2 || step == 4) {
    uint64_t header = 0;
    for (int i = 8; i-- > 0;) header = header << 8 | (uint8_t)text[i];
    const uint8_t *first = t->data; /* the data begin with a tensor's */
    for (size_t i = 0; i < koi_weights_count(w); i++)
      if (koi_weights_at(w, i)->data < first) first = koi_weights_at(w, i)->data;
    size_t at = 8 + (size_t)header + (size_t)(t->data - first);
    for (size_t i = 0; i < (whole ? t->bytes : step); i += step) memcpy(text + at + i, step == 4 ? f32 : bf16, step);
    put("model.safetensors", text, n);
  }
  koi_weights_close(w);
  koi_free(text);
  koi_free(from);
  koi_free(dir);
  return step == 2 || step == 4;
}

static void expect(koine_status s, const char *what, size_t i, const char *device)
{
  n_checks++;
  if (s == KOINE_ERR_NUMERIC && strstr(koine_last_error(), spoiled[i].op) && strstr(koine_last_error(), "op ")) return;
  n_failed++;
  printf("FAIL %s on %s with NaN in %s: status %d, %s\n", what, device, spoiled[i].tensor, (int)s, koine_last_error());
}

static void ask(koine_session *s, koine_tokenizer *t, size_t i, const char *device)
{
  static const char sentence[] = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.";
  enum { N_TIMES = 16 };
  char text[N_TIMES * sizeof sentence] = "";
  for (int k = 0; k < (strstr(spoiled[i].tensor, "indexer") ? N_TIMES : 1); k++) strcat(text, sentence); /* the indexer chooses in longer texts alone */
  int32_t *ids = NULL, *made = NULL;
  size_t n = 0, n_made = 0;
  float *logits = koi_alloc(100000, sizeof *logits);
  koine_stop stop;
  koine_perplexity_result p;
  koine_generate_options o = {.size = sizeof o, .sampling = {.size = sizeof o.sampling, .top_p = 1, .repetition_penalty = 1}, .n_predict = 4};
  if (koine_tokenize(t, text, strlen(text), 0, &ids, &n)) n_failed++;
  expect(koine_session_eval(s, ids, n, NULL, logits), "evaluation", i, device);
  expect(koine_generate(s, t, ids, n, &o, &made, &n_made, &stop), "an answer", i, device);
  expect(koine_perplexity(s, t, text, strlen(text), 1024, NULL, NULL, &p), "perplexity", i, device);
  koine_ids_free(ids);
  koi_free(logits);
}

static void try_on(koine_runtime *rt, const char *device, size_t i)
{
  koine_model *m = NULL;
  koine_plan *plan = NULL;
  koine_session *session = NULL;
  koine_tokenizer *tokenizer = NULL;
  koine_plan_options o = {.size = sizeof o, .device = device, .chunk = 64};
  koine_status s = koine_model_open(folder, &m);
  if (!s) s = koine_tokenizer_open(folder, &tokenizer);
  if (!s) s = koine_plan_make(rt, m, &o, &plan);
  if (!s) s = koine_plan_wake(plan, NULL, NULL);
  if (!s) s = koine_session_open(plan, NULL, &session);
  if (s) n_failed++, printf("FAIL %s: %s\n", device, koine_last_error());
  else ask(session, tokenizer, i, device);
  koine_session_close(session);
  koine_plan_free(plan);
  koine_tokenizer_close(tokenizer);
  if (m) koine_model_close(m);
}

int main(void)
{
  static const char *const files[] = {"config.json", "tokenizer.json", "tokenizer_config.json"};
  koine_runtime *rt = NULL;
  koine_device_info d;
  if (!mkdtemp(folder) || koine_runtime_open(NULL, &rt) || koine_runtime_device(rt, 0, &d)) return printf("FAIL %s\n", koine_last_error()), 1;
  for (size_t i = 0; i < KOI_COUNT(files); i++) copy(files[i]);
  for (size_t i = 0; i < KOI_COUNT(spoiled); i++) {
    if (!spoil(spoiled[i].tensor, spoiled[i].whole, spoiled[i].infinite)) n_failed++, printf("FAIL no floats in %s\n", spoiled[i].tensor);
    try_on(rt, "host", i);
    if (d.type != KOINE_DEVICE_HOST && spoiled[i].op[0]) try_on(rt, d.id, i); /* the choice is a kernel of its own */
  }
  koine_runtime_close(rt);
  char *clean = koi_format("rm -rf %s", folder);
  if (system(clean)) n_failed++;
  koi_free(clean);
  printf("t_nan: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
