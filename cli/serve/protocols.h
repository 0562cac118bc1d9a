/* How each protocol's bodies are read: its fields, and messages as chat has them. */
#ifndef SERVE_PROTOCOLS_H
#define SERVE_PROTOCOLS_H
#include "ask.h"

/* False with what is wrong; the ask then still has to be cleared. Texts in it lie in the body. */
bool serve_chat_read(serve_ask *a, json_object *body, serve_error *e);
bool serve_completions_read(serve_ask *a, json_object *body, serve_error *e);
bool serve_responses_read(serve_ask *a, json_object *body, serve_error *e);
bool serve_messages_read(serve_ask *a, json_object *body, serve_error *e);
#endif
