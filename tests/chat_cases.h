/* What the tests of the chat encoding share: how prompts and requests are written down, and a folder with an encoding file. */
#ifndef CHAT_CASES_H
#define CHAT_CASES_H
#include "text/chat.h"

#define BAR "\xEF\xBD\x9C"
#define BOS "<" BAR "begin\xE2\x96\x81of\xE2\x96\x81sentence" BAR ">"
#define EOS "<" BAR "end\xE2\x96\x81of\xE2\x96\x81sentence" BAR ">"
#define USER "<" BAR "User" BAR ">"
#define ASSISTANT "<" BAR "Assistant" BAR ">"
#define REMINDER "<" BAR "latest_reminder" BAR ">"
#define THINK "<think>"
#define END "</think>"
#define DSML BAR "DSML" BAR
#define UNKNOWN "\xEF\xBF\xBD"
#define ARG(key, is_text, value) "<" DSML "parameter name=\"" key "\" string=\"" is_text "\">" value "</" DSML "parameter>"
#define CALL(name, args) "<" DSML "invoke name=\"" name "\">\n" args "\n</" DSML "invoke>"
#define CALLS(calls) "\n\n<" DSML "tool_calls>\n" calls "\n</" DSML "tool_calls>"
#define M(role, content) "{\"role\":\"" role "\",\"content\":\"" content "\"}"
#define THOUGHT(reasoning, content) "{\"role\":\"assistant\",\"reasoning_content\":\"" reasoning "\",\"content\":\"" content "\"}"
#define FN(name, arguments, id) "{\"id\":\"" id "\",\"type\":\"function\",\"function\":{\"name\":\"" name "\",\"arguments\":\"" arguments "\"}}"
#define MADE(calls) "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[" calls "]}"
#define RESULT(id, content) "{\"role\":\"tool\",\"tool_call_id\":\"" id "\",\"content\":" content "}"
/* Calls, and their results in the order of the calls; texts keep their places, unknown ids come first. */
#define LONG_REQUEST \
  "[" M("user", "1") "," MADE(FN("f", "{\\\"a\\\": \\\"x\\\\ny\\\", \\\"b\\\":[1,2.50,{\\\"k\\\":null}], \\\"c\\\":true}", "i") "," FN("g", "{}", "j")) "," RESULT("j", "\"rj\"") "," M("user", "and") "," RESULT("i", "\"ri\"") "," \
  RESULT("?", "[{\"type\":\"text\",\"text\":\"u\"},{\"type\":\"text\",\"text\":\"v\"}]") "]"

const char *chat_data(const char *name); /* below tests/data/tok; valid until the next call */
koi_chat *chat_load(const char *folder);
void expect_prompt(const koi_chat *chat, const char *json, size_t n, const koi_chat_options *options, const char *want);
/* A folder with `python` as its encoding file, the same at each call; chat_remove_encoding removes it. */
const char *chat_write_encoding(const char *python);
void chat_remove_encoding(void);
#endif
