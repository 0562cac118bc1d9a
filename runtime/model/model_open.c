/* Opens a model: config and tensors of a checkpoint's folder or of a GGUF file, which model.c binds to roles.
 * Owns nothing. Invariant: what failed to open leaves nothing behind. */
#include "base/kind.h"
#include "model.h"
#include "names.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static koine_status read_config(koine_model *m, uint32_t **ratios)
{
  struct stat st;
  char *file = koi_format("%s/config.json", m->path), *text = NULL;
  size_t n;
  koine_status s = file ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!s) s = koi_kind_check_folder(m->path, false);
  if (!s && stat(m->path, &st)) s = koi_error(KOINE_ERR_FILE, "%s: expected a model's folder: %s", m->path, strerror(errno));
  else if (!s && stat(file, &st)) s = koi_error(KOINE_ERR_FILE, "%s: expected the model's config: %s", file, strerror(errno));
  else if (!s && !S_ISREG(st.st_mode)) s = koi_error(KOINE_ERR_FILE, "%s: expected a regular file", file);
  if (!s) s = koi_file_read(file, KOI_MAX_CONFIG_BYTES, &text, &n);
  if (!s) s = koi_config_parse(text, n, file, &m->config, ratios);
  koi_free(text);
  koi_free(file);
  return s;
}

static void count_mtp(koine_model *m)
{
  for (size_t i = 0; i < koi_weights_count(m->weights); i++) {
    const koi_tensor *t = koi_weights_at(m->weights, i);
    if (strncmp(t->name, "mtp.", 4)) continue;
    m->n_mtp_tensors++;
    m->mtp_bytes += t->bytes;
  }
}

static koine_status read_weights(koine_model *m)
{
  koine_status s = koi_safetensors_open(m->path, &m->weights);
  if (s) return s;
  m->index = koi_weights_get_index(m->weights);
  const char *absent = koi_weights_absent(m->weights);
  if (!absent) {
    m->runnable = true;
    count_mtp(m);
    if (!koi_weights_find(m->weights, "embed.weight") && koi_weights_find(m->weights, "embed_tokens.weight"))
      s = koi_error(KOINE_ERR_FILE, "%s: expected tensors named as DeepSeek publishes them (embed.weight), found the Hugging Face library's names "
                    "(embed_tokens.weight)", m->path);
    return s;
  }
  m->missing = koi_strdup(absent);
  m->n_mtp_tensors = m->index.n_mtp;
  koi_weights_close(m->weights);
  m->weights = NULL;
  return m->missing ? KOINE_OK : KOINE_ERR_MEMORY;
}

/* Config and tensors of a GGUF file. */
static koine_status read_gguf(koine_model *m, uint32_t **ratios)
{
  koi_gguf *g;
  koine_status s = koi_gguf_open_header(m->path, &g);
  if (s) return s;
  const char *absent = koi_weights_absent(koi_gguf_weights(g));
  m->gguf = true, m->runnable = !absent;
  if (absent && !(m->missing = koi_strdup(absent))) s = KOINE_ERR_MEMORY;
  if (!s) s = koi_config_gguf(g, &m->config, ratios);
  m->weights = koi_gguf_take(g);
  koi_gguf_close(g);
  if (!s) s = koi_names_rename(m->weights, &(koi_names_sizes){m->config.n_layers, m->config.n_mtp, m->config.n_experts});
  if (!s) count_mtp(m);
  return s;
}

static koine_status read_folder(koine_model *m, uint32_t **ratios)
{
  koine_status s = read_config(m, ratios);
  return s ? s : read_weights(m);
}

koine_status koi_model_open(const char *path, koine_model **out)
{
  uint32_t *ratios = NULL;
  koine_model *m = koi_alloc(1, sizeof *m);
  koine_status s = m && (m->path = koi_strdup(path)) ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!s) s = koi_gguf_is(path) ? read_gguf(m, &ratios) : read_folder(m, &ratios);
  if (!s) s = koi_model_bind(m, ratios);
  koi_free(ratios);
  if (s) koi_model_close(m);
  else *out = m;
  return s;
}
