/* Owns: who may ask: the names that this server goes by, pages of other origins, keys. */
#include <string.h>
#include <strings.h>
#include "http.h"

static const char *header(struct MHD_Connection *c, const char *name) { return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name); }

static bool is_one_of(const char *s, size_t n, const char *const *list, size_t n_list)
{
  for (size_t i = 0; i < n_list; i++)
    if (strlen(list[i]) == n && !strncasecmp(s, list[i], n)) return true;
  return false;
}

/* ---- names: a page of a foreign name that resolves to this machine must not reach it ---- */
static const char *const loopback[] = {"localhost", "127.0.0.1", "[::1]", "::1"};

bool serve_is_loopback(const char *host) { return is_one_of(host, strlen(host), loopback, sizeof loopback / sizeof *loopback) || !strncmp(host, "127.", 4); }

static bool host_is_ours(const serve_options *o, const char *host)
{
  const char *end = strchr(host, ']');
  const char *colon = strchr(end ? end : host, ':');
  size_t n = colon ? (size_t)(colon - host) : strlen(host);
  return is_one_of(host, n, loopback, sizeof loopback / sizeof *loopback) || is_one_of(host, n, &o->host, 1) || is_one_of(host, n, o->hosts, o->n_hosts);
}

/* ---- origins ---- */
/* Its own page: http://HOST. */
static bool same_origin(const char *origin, const char *host)
{
  const char *name = strstr(origin, "://");
  return host && name && !strcasecmp(name + 3, host);
}

const char *serve_gate_origin(const serve_options *o, struct MHD_Connection *c)
{
  const char *origin = header(c, "Origin");
  if (!origin) return NULL;
  for (size_t i = 0; i < o->n_origins; i++) {
    if (!strcmp(o->origins[i], "*")) return "*";
    if (!strcmp(o->origins[i], origin)) return origin;
  }
  return NULL;
}

/* ---- keys ---- */
/* In a time that does not depend on where they differ. */
static bool same_key(const char *a, const char *b)
{
  size_t n = strlen(a), m = strlen(b);
  unsigned char differ = n != m;
  for (size_t i = 0; i < n; i++) differ |= (unsigned char)(a[i] ^ b[m ? i % m : 0]);
  return !differ;
}

static bool has_key(const serve_options *o, struct MHD_Connection *c)
{
  const char *bearer = header(c, "Authorization"), *key = header(c, "X-Api-Key");
  bool good = false;
  if (bearer && !strncasecmp(bearer, "Bearer ", 7)) key = bearer + 7;
  for (size_t i = 0; key && i < o->n_keys; i++) good |= same_key(key, o->keys[i]);
  return good;
}

bool serve_gate(const serve_options *o, struct MHD_Connection *c, bool open, serve_error *e)
{
  const char *host = header(c, "Host"), *origin = header(c, "Origin");
  if (!o->n_keys && host && !host_is_ours(o, host))
    return serve_error_set(e, 403, NULL, "Host: this server does not go by that name; start it with --allowed-host NAME if it should");
  if (origin && !serve_gate_origin(o, c) && !same_origin(origin, host))
    return serve_error_set(e, 403, NULL, "Origin: pages of that origin may not ask; start the server with --cors ORIGIN if they may");
  if (open || !o->n_keys || has_key(o, c)) return true;
  return serve_error_set(e, 401, NULL, "expected a key of this server, as Authorization: Bearer KEY or X-Api-Key: KEY");
}
