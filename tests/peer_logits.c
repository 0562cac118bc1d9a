/* For check_peer.py: llama.cpp's logits of a GGUF file, caches in fp32. Links with the libllama that it builds, never with ours.
 *
 * usage: peer_logits FILE IDS OUT          logits [ids][vocabulary], raw float32, of raw int32 ids
 *        peer_logits FILE IDS OUT N        N likeliest ids after them, raw int32 */
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void quiet(enum ggml_log_level level, const char *text, void *user)
{
  (void)user;
  if (level >= GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

static int die(const char *what)
{
  fprintf(stderr, "peer_logits: %s\n", what);
  exit(1);
}

static int decode(struct llama_context *c, const llama_token *ids, int n, int at)
{
  struct llama_batch b = llama_batch_init(n, 0, 1);
  b.n_tokens = n;
  for (int i = 0; i < n; i++) b.token[i] = ids[i], b.pos[i] = at + i, b.n_seq_id[i] = 1, b.seq_id[i][0] = 0, b.logits[i] = 1;
  int s = llama_decode(c, b);
  llama_batch_free(b);
  return s;
}

int main(int argc, char **argv)
{
  static llama_token ids[1 << 16];
  if (argc < 4) return die("expected FILE IDS OUT");
  llama_log_set(quiet, NULL);
  FILE *f = fopen(argv[2], "rb");
  int n = f ? (int)fread(ids, sizeof *ids, (1 << 16) - 4096, f) : 0, more = argc > 4 ? atoi(argv[4]) : 0;
  if (!n) return die("no ids");
  fclose(f);
  struct llama_model_params mp = llama_model_default_params();
  struct llama_model *m = llama_model_load_from_file(argv[1], mp);
  if (!m) return die("the model does not load");
  struct llama_context_params cp = llama_context_default_params();
  cp.n_ctx = (uint32_t)(n + more + 256), cp.n_batch = cp.n_ubatch = (uint32_t)n, cp.type_k = cp.type_v = GGML_TYPE_F32;
  cp.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  struct llama_context *c = llama_init_from_model(m, cp);
  if (!c) return die("no context");
  int vocab = llama_vocab_n_tokens(llama_model_get_vocab(m));
  f = fopen(argv[3], "wb");
  if (!f || decode(c, ids, n, 0)) return die("decoding failed");
  for (int i = 0; i < n && !more; i++) fwrite(llama_get_logits_ith(c, i), sizeof(float), (size_t)vocab, f);
  const float *last = more ? llama_get_logits_ith(c, n - 1) : NULL;
  for (int k = 0; k < more; k++) {
    llama_token best = 0;
    for (int i = 1; i < vocab; i++)
      if (last[i] > last[best]) best = i;
    fwrite(&best, sizeof best, 1, f);
    if (decode(c, &best, 1, n + k)) return die("decoding failed");
    last = llama_get_logits_ith(c, 0);
  }
  fclose(f);
  llama_free(c);
  llama_model_free(m);
  return 0;
}
