/* koine_verify: every op of a device against the C reference, then a small whole model whose answer is known. The model is made up: random
 * weights by a fixed rule, all layer kinds, routed by table and by score, FP8 and FP4; its answer was computed once by the C reference
 * (which is checked against DeepSeek's own logits) and is kept here. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "known_answer.h"
#include "plan/plan.h"
#include "device/machine.h"
#include "device/tuned.h"
#include "engine/session.h"
#include "check/verify.h"

enum { N_TOKENS = 150, N_VOCAB = 40, N_ANSWER = 40 };

/* Logits of the last of the N_TOKENS tokens, exact cache: what tests/t_known_answer prints for the host. */
static const float answer[N_ANSWER] = {
#include "known_answer.inc"
};

static const koi_config config = {
  .n_layers = 4, .hidden = 96, .n_heads = 4, .head_dim = 48, .rope_dim = 16, .q_rank = 40, .o_groups = 2, .o_rank = 24, .n_experts = 6, .n_used = 2,
  .inter = 64, .n_hash_layers = 1, .window = 20, .index_heads = 3, .index_dim = 32, .index_topk = 12, .n_streams = 4, .sinkhorn_iters = 20,
  .n_vocab = N_VOCAB, .max_context = 4096, .rms_eps = 1e-6f, .hc_eps = 1e-6f, .swiglu_limit = 10, .shared_limit = 10, .route_scale = 1.5f, .score = KOI_SCORE_SQRTSOFTPLUS,
  .rope_theta = 10000, .compress_theta = 160000, .yarn = {true, 16, 32, 1, 65536}, .bos = 0, .eos = 1, .hash = {true},
  .float_format = KOI_WT_BF16, .dense_format = KOI_WT_FP8, .expert_format = KOI_WT_FP4,
};
static const uint32_t ratios[] = {0, 4, 128, 4};

static koine_status make_model(koine_model **out)
{
  koine_model *m = koi_alloc(1, sizeof *m);
  koine_status s = m && (m->path = koi_strdup("known answer")) ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!s) m->config = config, s = koi_model_bind(m, ratios);
  if (s) koi_model_close(m);
  else m->synthetic = m->runnable = true, *out = m;
  return s;
}

koine_status koi_known_answer(const koi_endpoint *e, float *logits)
{
  koine_model *m = NULL;
  koine_plan *p = NULL;
  koine_session *s = NULL;
  koi_plan_wish wish = {.chunk = 64, .cache = KOINE_CACHE_EXACT, .context = N_TOKENS};
  koine_session_options o = {.size = sizeof o, .cache = KOINE_CACHE_EXACT, .context = N_TOKENS};
  int32_t tokens[N_TOKENS];
  for (int i = 0; i < N_TOKENS; i++) tokens[i] = (i * 29 + 3) % N_VOCAB;
  koine_status st = make_model(&m);
  if (!st) st = koi_plan_make(NULL, m, e, 0, &wish, &p);
  if (!st) st = koi_engine_wake(p, NULL, NULL);
  if (!st) st = koi_session_open(p, &o, &s);
  if (!st) st = koi_session_eval(s, tokens, N_TOKENS - 1, NULL, logits); /* panels, a ragged chunk */
  if (!st) st = koi_session_eval(s, tokens, N_TOKENS, NULL, logits);     /* and one token alone */
  koi_session_close(s);
  if (p) koi_engine_sleep(p);
  koi_plan_free(p);
  koi_model_close(m);
  return st;
}

static koine_status check_answer(const koi_endpoint *e, koi_text *report)
{
  float logits[N_VOCAB], low = answer[0], high = answer[0];
  double worst = 0;
  koine_status s = koi_known_answer(e, logits);
  if (s) return s;
  for (int i = 0; i < N_ANSWER; i++) {
    double d = fabs((double)logits[i] - answer[i]);
    low = fminf(low, answer[i]), high = fmaxf(high, answer[i]);
    if (!(d <= worst)) worst = d == d ? d : INFINITY;
  }
  bool right = worst <= 1e-4 * (high - low);
  koi_text_add(report, "%-14s %s: logits differ by at most %.1e of their range (1e-4 allowed)\n", "known answer", right ? "ok" : "WRONG", worst / (high - low));
  if (right) return KOINE_OK;
  return koi_error(KOINE_ERR_CHECK, "known-answer model: wrong logits on %s, driver %s %s, though each op alone may be right: report this with `koine devices`",
                   e->name, e->platform, e->driver);
}

koine_status koine_verify(koine_runtime *runtime, const char *device, koine_progress_fn *progress, void *user, char **report)
{
  if (!runtime || !report) return koi_missing("koine_verify");
  size_t i;
  koi_device *d = NULL;
  koi_text t = {0};
  const char *fault = koi_fp_fault(); /* the references would be wrong, and a driver would be blamed */
  if (fault) return koi_error(KOINE_ERR_CHECK, "koine_verify: nothing can be checked in this process: %s", fault);
  koine_status s = koi_runtime_find(runtime, device, &i);
  if (s) return s;
  const koi_endpoint *e = &runtime->endpoints[i];
  if (!e->usable) return koi_error(KOINE_ERR_NO_DEVICE, "device %s (%s) cannot run kernels: %s", e->id, e->name, e->why);
  koi_text_add(&t, "%s: %s, %s %s\n", e->id, e->name, e->platform, e->driver);
  s = koi_device_open(e, NULL, 0, &d);
  if (!s) {
    s = koi_tuned_load(d, runtime->cache_dir);
    if (!s) s = koi_verify_ops(d, NULL, progress, user, &t);
    koi_device_close(d);
  }
  if (!s) s = check_answer(e, &t);
  koi_text_add(&t, "%s\n", s ? "FAILED" : "all right");
  char message[1024]; /* building the text must not hide what went wrong */
  snprintf(message, sizeof message, "%s", koi_error_text());
  koine_status made = koi_text_take(&t, report);
  return s ? koi_error(s, "%s", message) : made;
}
