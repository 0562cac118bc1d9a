/* koine serve: the options as a server's, and its end by signals. Owns nothing. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>
#include "common_text.h"
#ifdef HAVE_SERVER
#include "serve/serve.h"

/* ---- keys ---- */
enum { MOST_KEYS = 256 };
typedef struct keys {
  char *text; /* the file's, cut into lines */
  const char *key[MOST_KEYS];
  size_t n;
} keys;

/* One a line; empty lines and those that begin with # are passed over. */
static int read_keys(const char *path, keys *out)
{
  size_t n_bytes;
  if (!path) return EXIT_DONE;
  int status = cli_read_file(path, &out->text, &n_bytes);
  if (status) return status;
  char *rest = NULL;
  for (char *line = strtok_r(out->text, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest)) {
    if (line[0] == '#') continue;
    if (out->n == MOST_KEYS) return cli_fail_with(EXIT_FILE, "%s: expected at most %d keys", path, MOST_KEYS);
    out->key[out->n++] = line;
  }
  return out->n ? EXIT_DONE : cli_fail_with(EXIT_FILE, "%s: expected a key on a line, found none", path);
}

/* ---- names of the model ---- */
typedef struct names {
  char *own; /* the last part of the model's path */
  const char **name;
  size_t n;
} names;

static bool name_model(const cli_args *a, names *out)
{
  const cli_value *alias = &a->v[OPT_ALIAS];
  char *path = strdup(a->v[OPT_MODEL].text);
  out->name = calloc(alias->n + 1, sizeof *out->name);
  if (!path || !out->name) return free(path), false;
  for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--) path[n - 1] = 0;
  char *slash = strrchr(path, '/');
  out->own = strdup(slash ? slash + 1 : path);
  free(path);
  if (!out->own) return false;
  for (size_t i = 0; i < alias->n; i++) out->name[out->n++] = alias->texts[i];
  out->name[out->n++] = out->own;
  return true;
}

/* ---- serving ---- */
static uint64_t context_of(const cli_args *a, const koine_model_info *info)
{
  uint64_t usual = info->max_context && info->max_context < 4096 ? info->max_context : 4096;
  return a->v[OPT_CTX].i ? (uint64_t)a->v[OPT_CTX].i : usual;
}

static int serve(const cli_args *a, const cli_text *t, const koine_chat *chat, const keys *k, const names *n)
{
  const cli_value *v = a->v;
  char why[512];
  koine_model_info info = KOINE_MODEL_INFO_INIT;
  koine_status s = koine_model_get_info(t->engine.model, &info);
  if (s) return cli_fail(s);
  serve_options o = {
    .host = v[OPT_HOST].text, .port = (uint16_t)v[OPT_PORT].i, .names = n->name, .n_names = n->n, .keys = k->key, .n_keys = k->n, .origins = v[OPT_CORS].texts,
    .n_origins = v[OPT_CORS].n, .hosts = v[OPT_ALLOWED_HOST].texts, .n_hosts = v[OPT_ALLOWED_HOST].n, .n_connections = (uint32_t)v[OPT_CONNECTIONS].i,
    .body_bytes = (uint64_t)v[OPT_MAX_BODY].i << 20, .grace_s = (uint32_t)v[OPT_GRACE].i,
    .thinking = v[OPT_THINK].given ? (koine_thinking)v[OPT_THINK].i : KOINE_THINK_HIGH, .stopping = cli_interrupted, .note = cli_note,
    .engine = {.n_parallel = (uint32_t)v[OPT_SLOTS].i, .n_queue = (uint32_t)v[OPT_QUEUE].i, .cache_bytes = (uint64_t)v[OPT_CACHE_RAM].i << 20,
               .cache_dir = v[OPT_CACHE_DIR].text, .disk_bytes = (uint64_t)v[OPT_CACHE_DISK].i << 20,
               .model = {.plan = t->engine.plan, .tokenizer = t->tokenizer, .chat = chat, .n_vocab = info.n_vocab, .context = context_of(a, &info),
                         .cache = (koine_cache)v[OPT_CACHE].i, .chunk = v[OPT_CHUNK].i ? (uint32_t)v[OPT_CHUNK].i : 512}}};
  s = serve_run(&o, why, sizeof why);
  return s ? cli_fail_with(EXIT_DEVICE, "%s", why) : EXIT_DONE;
}

static int check(const cli_args *a, const keys *k)
{
  const char *host = a->v[OPT_HOST].text;
  char why[512];
  if (!k->n && !serve_is_loopback(host) && !a->v[OPT_INSECURE].i)
    return cli_usage_error(CMD_SERVE, "--host %s: expected --api-key-file where others can reach the server, found none; --insecure serves them all the same", host);
  return serve_port_is_free(host, (uint16_t)a->v[OPT_PORT].i, why, sizeof why) ? EXIT_DONE : cli_fail_with(EXIT_DEVICE, "%s", why);
}

int cmd_serve(const cli_args *a)
{
  cli_text t = {0};
  koine_chat *chat = NULL;
  keys k = {0};
  names n = {0};
  int status = read_keys(a->v[OPT_API_KEY_FILE].text, &k);
  if (!status) status = check(a, &k);
  if (!status && !name_model(a, &n)) status = cli_fail_with(EXIT_DEVICE, "out of memory");
  if (!status) status = cli_text_open(a, &t);
  koine_status s = status ? KOINE_OK : koine_chat_open(a->v[OPT_MODEL].text, &chat);
  if (s) status = cli_fail(s);
  if (!status) status = cli_engine_open(a, (uint64_t)a->v[OPT_CTX].i, 0, &t.engine);
  cli_catch_end();
  if (!status) status = serve(a, &t, chat, &k, &n);
  koine_chat_close(chat);
  cli_text_close(&t);
  free(k.text);
  free(n.own);
  free(n.name);
  return status;
}
#else
int cmd_serve(const cli_args *a)
{
  return cli_fail_with(EXIT_DEVICE, "%s: this build is without the server: install libmicrohttpd-dev and configure again without --without-server", cli_commands[a->command].name);
}
#endif
