/* Messages, tools and the form of answers as koine_chat_prompt takes them. */
#ifndef SERVE_MESSAGES_H
#define SERVE_MESSAGES_H
#include "ask.h"

/* Messages as chat clients send them: developers are systems, leading systems are one, later ones are users'; parts of contents are one text. */
bool serve_messages(json_object *given, json_object **out, serve_error *e);
/* The text of a content: a text, null, or parts of text; anything else is refused. *out: NULL for null. */
bool serve_content(json_object *content, const char *where, json_object **out, serve_error *e);

/* A tool as chat has it; parameters stay the caller's. */
json_object *serve_tool(const char *name, const char *description, json_object *parameters);
bool serve_tool_is_there(json_object *tools, const char *name);
bool serve_tool_name_is_good(const char *name);
/* Takes tools (NULL: none) over into a->chat, after a->calls was read. */
bool serve_tools_take(serve_ask *a, json_object *tools, serve_error *e);
/* {"type": "text" | "json_object" | "json_schema", "json_schema": {"schema": ...} or "schema": ...}, after a->calls was read. */
bool serve_format_take(serve_ask *a, json_object *format, const char *key, serve_error *e);
#endif
