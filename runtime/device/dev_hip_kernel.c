/* The HIP backend's programs and launches: the kernels' texts as they are (kernels/cl/dialect.clh has a branch for HIP), compiled by hiprtc.
 * Owns built kernels, each a module of its own, and bound calls, each with its arguments.
 * Invariant: arguments stand in the order of the descriptor: buffers, ints, floats. Building touches no stream and no other kernel. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include "dev_hip.h"

enum {
  MAX_ARGS = KOI_MAX_BUFS + KOI_MAX_INTS + KOI_MAX_FLOATS,
  MAX_OPTIONS = 4 + 2 * (KOI_MAX_CONSTS + KOI_MAX_PARAMS),
  USUAL_GROUP = 64 /* where the op leaves it to the driver */
};
static const char base_options[] = "-O3 -DKOI_HIP=1";

typedef struct built {
  koi_kernel base;
  void *code;               /* ROCm does not say that a module does without it */
  hipModule_t module;
  hipFunction_t function;
} built;

typedef struct arguments { /* values, and where each stands, as a launch wants them */
  unsigned char *buf[KOI_MAX_BUFS];
  int32_t i[KOI_MAX_INTS];
  float f[KOI_MAX_FLOATS];
  void *at[MAX_ARGS];
} arguments;

typedef struct bound {
  koi_bound base;
  hipFunction_t function;
  arguments args;
} bound;

/* ---- building ---------------------------------------------------------------------------------------------------------- */
koine_status koi_dev_hip_identity(koi_device *device, char **out)
{
  const koi_endpoint *e = device->endpoint;
  *out = koi_format("%s\n%s\n%s\n%s\n%s", e->name, e->arch, e->driver, e->c_version, base_options);
  return *out ? KOINE_OK : KOINE_ERR_MEMORY;
}

/* A chip's name has settings behind it, ":sramecc+:xnack-", which code that says nothing of them runs with. */
koine_status koi_dev_hip_portable(const koi_endpoint *e, char **chip, char **identity)
{
  *chip = koi_format("%.*s", (int)strcspn(e->arch, ":"), e->arch);
  *identity = *chip ? koi_format("%s\n%s", *chip, base_options) : NULL;
  if (*identity) return KOINE_OK;
  koi_free(*chip);
  return KOINE_ERR_MEMORY;
}

/* The first line that speaks of an error, else the first with anything on it. */
static const char *error_line(char *log)
{
  char *first = NULL, *save;
  for (char *line = strtok_r(log, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
    while (isspace((unsigned char)*line)) line++;
    if (strstr(line, "error:")) return line;
    if (!first && *line) first = line;
  }
  return first ? first : "the compiler gave no message";
}

static koine_status compiling_failed(const hip_dev *d, const char *name, hiprtcProgram program, hiprtcResult code)
{
  size_t bytes = 0;
  if (program && d->hip->hiprtcGetProgramLogSize(program, &bytes)) bytes = 0;
  char *log = koi_alloc(bytes + 1, 1);
  if (!log) return KOINE_ERR_MEMORY;
  if (bytes) d->hip->hiprtcGetProgramLog(program, log);
  koine_status s = koi_error(KOINE_ERR_DEVICE, "device %s (%s): building op %s failed: %s: %.500s", d->base.endpoint->id, d->base.endpoint->name, name,
                             d->hip->hiprtcGetErrorString(code), error_line(log));
  koi_free(log);
  return s;
}

char *koi_dev_hip_options(const char *chip, const koi_build *b)
{
  char group[KOI_NAME] = "";
  if (b->group_items) snprintf(group, sizeof group, " -DKOI_GROUP=%zu", b->group_items);
  return koi_format("--offload-arch=%s %s%s %s", chip, base_options, group, b->defs);
}

static koine_status run_compiler(const hip_dev *d, const koi_build *b, hiprtcProgram program)
{
  const char *word[MAX_OPTIONS];
  char *save, *text = koi_dev_hip_options(d->base.endpoint->arch, b);
  int n = 0;
  if (!text) return KOINE_ERR_MEMORY;
  for (char *w = strtok_r(text, " ", &save); w && n < MAX_OPTIONS; w = strtok_r(NULL, " ", &save)) word[n++] = w;
  hiprtcResult code = d->hip->hiprtcCompileProgram(program, n, word);
  koi_free(text);
  return code ? compiling_failed(d, b->name, program, code) : KOINE_OK;
}

static koine_status take_code(const hip_dev *d, const char *name, hiprtcProgram program, void **code, size_t *bytes)
{
  hiprtcResult failed = d->hip->hiprtcGetCodeSize(program, bytes);
  *code = failed ? NULL : koi_alloc(*bytes + 1, 1);
  if (!failed && !*code) return KOINE_ERR_MEMORY;
  if (!failed) failed = d->hip->hiprtcGetCode(program, *code);
  return failed ? compiling_failed(d, name, program, failed) : KOINE_OK;
}

static koine_status compile(const hip_dev *d, const koi_build *b, void **code, size_t *bytes)
{
  hiprtcProgram program = NULL;
  if (d->hip->no_compiler)
    return koi_error(KOINE_ERR_DEVICE, "device %s (%s): op %s with %.300s is none of the programs that came with Koine, and there is no compiler: %s", d->base.endpoint->id,
                     d->base.endpoint->name, b->name, b->defs, d->hip->no_compiler);
  hiprtcResult failed = d->hip->hiprtcCreateProgram(&program, b->text, b->name, 0, NULL, NULL);
  if (failed) return compiling_failed(d, b->name, NULL, failed);
  koine_status s = run_compiler(d, b, program);
  if (!s) s = take_code(d, b->name, program, code, bytes);
  d->hip->hiprtcDestroyProgram(&program);
  return s;
}

/* Registers and local memory are known of a compiled kernel only. A question that is refused limits nothing. */
static koine_status limits(const hip_dev *d, const char *name, built *k)
{
  const koi_endpoint *e = d->base.endpoint;
  int group = 0, local = 0;
  if (d->hip->hipFuncGetAttribute(&group, HIP_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, k->function) || group < 0) group = 0;
  if (d->hip->hipFuncGetAttribute(&local, HIP_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, k->function) || local < 0) local = 0;
  k->base.max_group = (size_t)group;
  if ((uint64_t)local <= e->local_bytes || !e->local_bytes) return KOINE_OK;
  return koi_error(KOINE_ERR_DEVICE, "device %s (%s): op %s needs %d bytes of local memory, there are %llu", e->id, e->name, name, local,
                   (unsigned long long)e->local_bytes);
}

static koine_status load(const hip_dev *d, const char *name, built *k)
{
  hipError_t failed = d->hip->hipModuleLoadData(&k->module, k->code);
  if (!failed) failed = d->hip->hipModuleGetFunction(&k->function, k->module, name);
  if (!failed) return limits(d, name, k);
  koine_status s = koi_dev_hip_failed(d, "loading a program", failed);
  return koi_error_prefix(s, "op %s", name);
}

static void *copy(const void *bytes, size_t n)
{
  void *own = koi_alloc(n + 1, 1);
  return own ? memcpy(own, bytes, n) : NULL;
}

static koine_status make(hip_dev *d, const koi_build *b, built *k, size_t *bytes)
{
  koine_status s = koi_dev_hip_enter(d);
  if (s) return s;
  *bytes = b->binary_bytes;
  if (!b->binary) s = compile(d, b, &k->code, bytes);
  else if (!(k->code = copy(b->binary, *bytes))) s = KOINE_ERR_MEMORY;
  return s ? s : load(d, b->name, k);
}

koine_status koi_dev_hip_build(koi_device *device, const koi_build *b, koi_kernel **out, void **binary, size_t *binary_bytes)
{
  size_t bytes = 0;
  built *k = koi_alloc(1, sizeof *k);
  if (!k) return KOINE_ERR_MEMORY;
  koine_status s = make((hip_dev *)device, b, k, &bytes);
  if (s) {
    koi_dev_hip_drop(device, &k->base);
    return s;
  }
  if (b->want_binary && (*binary = copy(k->code, bytes))) *binary_bytes = bytes;
  *out = &k->base;
  return KOINE_OK;
}

void koi_dev_hip_drop(koi_device *device, koi_kernel *kernel)
{
  built *k = (built *)kernel;
  if (!k) return;
  if (k->module && !koi_dev_hip_enter((hip_dev *)device)) ((hip_dev *)device)->hip->hipModuleUnload(k->module);
  koi_free(k->code);
  koi_free(k);
}

/* ---- launching --------------------------------------------------------------------------------------------------------- */
static void set_args(const koi_op *op, const koi_args *a, arguments *to)
{
  size_t n_bufs = koi_op_n_bufs(op), n_ints = koi_op_n_ints(op), n_floats = koi_op_n_floats(op), n = 0;
  for (size_t i = 0; i < n_bufs; i++) {
    const hip_buf *b = (const hip_buf *)a->buf[i];
    to->buf[i] = b ? b->at + a->at[i] : NULL;
    to->at[n++] = &to->buf[i];
  }
  for (size_t i = 0; i < n_ints; i++) to->i[i] = a->i[i], to->at[n++] = &to->i[i];
  for (size_t i = 0; i < n_floats; i++) to->f[i] = a->f[i], to->at[n++] = &to->f[i];
}

/* HIP counts groups, and wants to be told how large they are. */
static koine_status enqueue(hip_dev *d, hipFunction_t function, const koi_op *op, arguments *args, const koi_range *r)
{
  size_t local[3] = {r->local[0], r->local[1], r->local[2]};
  if (!local[0])
    for (local[0] = USUAL_GROUP, local[1] = local[2] = 1; r->global[0] % local[0];) local[0] /= 2;
  unsigned groups[3];
  for (int i = 0; i < 3; i++) {
    if (r->global[i] / local[i] > UINT32_MAX)
      return koi_error(KOINE_ERR_DEVICE, "device %s (%s): op %s wants %zu work-groups, HIP takes at most %u", d->base.endpoint->id, d->base.endpoint->name, op->name,
                       r->global[i] / local[i], UINT32_MAX);
    groups[i] = (unsigned)(r->global[i] / local[i]);
  }
  koine_status s = koi_dev_hip_enter(d);
  if (s) return s;
  hipError_t code = d->hip->hipModuleLaunchKernel(function, groups[0], groups[1], groups[2], (unsigned)local[0], (unsigned)local[1], (unsigned)local[2], 0, d->stream,
                                                  args->at, NULL);
  if (!code) return KOINE_OK;
  s = koi_dev_hip_failed(d, "the launch", code);
  return koi_error_prefix(s, "op %s", op->name);
}

koine_status koi_dev_hip_launch(koi_device *device, koi_kernel *kernel, const koi_args *a, const koi_range *r)
{
  arguments args;
  set_args(kernel->op, a, &args);
  return enqueue((hip_dev *)device, ((built *)kernel)->function, kernel->op, &args, r);
}

koine_status koi_dev_hip_bind(koi_device *device, koi_kernel *kernel, const koi_args *a, koi_bound **out)
{
  (void)device;
  bound *b = koi_alloc(1, sizeof *b);
  if (!b) return KOINE_ERR_MEMORY;
  b->function = ((built *)kernel)->function;
  set_args(kernel->op, a, &b->args);
  *out = &b->base;
  return KOINE_OK;
}

koine_status koi_dev_hip_patch(koi_device *device, koi_bound *call, size_t i, int32_t value)
{
  (void)device;
  ((bound *)call)->args.i[i] = value;
  return KOINE_OK;
}

koine_status koi_dev_hip_start(koi_device *device, koi_bound *call, const koi_range *r)
{
  bound *b = (bound *)call;
  return enqueue((hip_dev *)device, b->function, call->op, &b->args, r);
}

void koi_dev_hip_unbind(koi_device *device, koi_bound *call)
{
  (void)device;
  koi_free(call);
}
