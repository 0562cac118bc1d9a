/* Owns: the page at /, as it lies in page.html, and what it shows of the plan. Invariant: the page runs no script, uses no style and asks no server but those
 * of its own file. */
#include <stdio.h>
#include "http.h"
#include "page.h"

/* The policy lets the one script and the one style in by what they hash to, and nothing else at all. */
static bool add_page_headers(struct MHD_Response *r)
{
  char policy[512];
  snprintf(policy, sizeof policy,
           "default-src 'none'; script-src 'sha256-%s'; style-src 'sha256-%s'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
           serve_page_script, serve_page_style);
  return MHD_add_response_header(r, "Content-Type", "text/html; charset=utf-8") && MHD_add_response_header(r, "Content-Security-Policy", policy) &&
         MHD_add_response_header(r, "Cache-Control", "no-cache") && MHD_add_response_header(r, "X-Content-Type-Options", "nosniff") &&
         MHD_add_response_header(r, "Referrer-Policy", "no-referrer") && MHD_add_response_header(r, "Cross-Origin-Resource-Policy", "same-origin");
}

enum MHD_Result serve_page(serve_exchange *x)
{
  struct MHD_Response *r = MHD_create_response_from_buffer(serve_page_bytes, (void *)(uintptr_t)serve_page_text, MHD_RESPMEM_PERSISTENT);
  if (!r) return MHD_NO;
  enum MHD_Result queued = add_page_headers(r) ? MHD_queue_response(x->connection, MHD_HTTP_OK, r) : MHD_NO;
  MHD_destroy_response(r);
  return queued;
}

enum MHD_Result serve_plan(serve_exchange *x)
{
  const koine_plan *plan = x->server->o->engine.model.plan;
  koine_plan_usage u = KOINE_PLAN_USAGE_INIT;
  char *text = NULL, *line = NULL;
  serve_error e = {0};
  koine_status s = koine_plan_describe(plan, &text);
  if (!s) s = koine_plan_line(plan, &line);
  if (!s) s = koine_plan_get_usage(plan, &u);
  json_object *o = s ? NULL : serve_json_object("sssii", "version", koine_version(), "where", line, "plan", text, "weight_bytes", (int64_t)u.weight_bytes,
                                                "cache_bytes", (int64_t)u.cache_bytes);
  koine_text_free(line);
  koine_text_free(text);
  if (!s) return serve_http_json(x, 200, o);
  serve_error_koine(&e, s, NULL);
  return serve_http_fail(x, &e);
}
