/* What the chat_*.c files share; nobody else includes it. Sections are named by the file that defines them. */
#ifndef KOI_CHAT_IMPL_H
#define KOI_CHAT_IMPL_H
#include "chat.h"
#include "base/jscan.h"

#define KOI_CHAT_BOS "<\xEF\xBD\x9C" "begin\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"
#define KOI_CHAT_EOS "<\xEF\xBD\x9C" "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"
#define KOI_CHAT_USER "<\xEF\xBD\x9CUser\xEF\xBD\x9C>"
#define KOI_CHAT_ASSISTANT "<\xEF\xBD\x9C" "Assistant\xEF\xBD\x9C>"
#define KOI_CHAT_REMINDER "<\xEF\xBD\x9Clatest_reminder\xEF\xBD\x9C>"
#define KOI_CHAT_THINK "<think>"
#define KOI_CHAT_THINK_END "</think>"
#define KOI_CHAT_DSML "\xEF\xBD\x9C" "DSML\xEF\xBD\x9C"
#define KOI_CHAT_TASK(name) "<\xEF\xBD\x9C" name "\xEF\xBD\x9C>"

/* ---- chat_json.c: JSON text as Python's json.dumps(ensure_ascii=False) writes it ---- */
void koi_chat_json_string(koi_text *out, const char *s, size_t n);
/* Reads the next value and writes it anew; buffer: room for any string of the text. False when j->wrong says why. */
bool koi_chat_json_value(koi_jscan *j, koi_text *out, char *buffer, size_t n_buffer);

/* ---- chat_call.c: markup of answers ---- */
typedef struct koi_chat_source {
  const char *s;
  size_t n;
  const char *begins; /* [n] bit 0 where control tokens begin; NULL: their text counts as such */
  bool last;          /* no text follows */
} koi_chat_source;
/* A piece of markup and where in it its control token begins. */
typedef struct koi_chat_mark {
  const char *s;
  size_t control;
} koi_chat_mark;
extern const koi_chat_mark koi_chat_mark_think, koi_chat_mark_think_end, koi_chat_mark_eos, koi_chat_mark_bos, koi_chat_mark_dsml, koi_chat_mark_block, koi_chat_mark_block_end,
  koi_chat_mark_invoke, koi_chat_mark_invoke_end; /* block, invoke and invoke_end without their > */
bool koi_chat_is_at(const koi_chat_source *t, size_t at, koi_chat_mark m);
/* Whether the text from `at` to its end is the beginning of m, and more follows. */
bool koi_chat_may_be(const koi_chat_source *t, size_t at, koi_chat_mark m);
/* Where m first begins at or after `from`, t->n when nowhere. */
size_t koi_chat_find(const koi_chat_source *t, size_t from, koi_chat_mark m);
size_t koi_chat_spaces(const koi_chat_source *t, size_t at);
typedef enum koi_chat_found { KOI_CHAT_WHOLE, KOI_CHAT_BAD, KOI_CHAT_OPEN /* the text ends before it is known */, KOI_CHAT_NO_MEMORY } koi_chat_found;
/* The call at *at, which then is behind it, or where it went wrong. *defect: what is wrong, NULL; a whole call may have one too. */
koi_chat_found koi_chat_call_read(const koi_chat_source *t, size_t *at, koi_chat_call *out, const char **defect);

/* ---- chat_parse.c ---- */
void koi_chat_call_json(const koi_chat_call *call, koi_text *out); /* as an element of tool_calls */

/* ---- chat_wording.c: prose ---- */
struct koi_chat {
  bool own;              /* no encoding file was found */
  char *tools;           /* templates: {name} stands for a text, {{ and }} for braces */
  char *response_format;
  char *effort[KOINE_THINK_MAX + 1]; /* before everything, by thinking; NULL: nothing */
};
koine_status koi_chat_wording_read(const char *folder, koi_chat *chat);
/* From the text of an encoding file; `path` stands for it in messages. */
koine_status koi_chat_wording_text(const char *path, const char *text, size_t n, koi_chat *chat);
/* The next part of a template: literal text, or the name of a placeholder. False at its end. */
typedef struct koi_chat_template_part {
  const char *s;
  size_t n;
  bool name;
} koi_chat_template_part;
bool koi_chat_template_next(const char **at, koi_chat_template_part *part);

/* ---- chat_request.c: messages ---- */
typedef enum koi_chat_role { KOI_ROLE_SYSTEM, KOI_ROLE_USER, KOI_ROLE_ASSISTANT, KOI_ROLE_TOOL, KOI_ROLE_DEVELOPER, KOI_ROLE_REMINDER, KOI_N_ROLES } koi_chat_role;

typedef struct koi_chat_span { /* a text in the request's pool */
  size_t at, n;
} koi_chat_span;
typedef struct koi_chat_range { /* elements of one of the request's arrays */
  size_t at, n;
} koi_chat_range;
typedef struct koi_chat_block { /* of a user turn */
  koi_chat_span text, id;
  bool result; /* of the call `id` */
} koi_chat_block;
typedef struct koi_chat_made { /* a call that an assistant made */
  koi_chat_span id, name, arguments;
} koi_chat_made;

typedef struct koi_chat_message {
  koi_chat_role role;
  koi_chat_span content, reasoning;
  koi_chat_span format;  /* response_format as JSON; n 0: none */
  koi_chat_span tools;   /* their JSON, a line each; n 0: none */
  koi_chat_range blocks; /* of a user turn */
  koi_chat_range calls;
  const char *task;      /* its token; NULL: none */
  bool unended;          /* wo_eos */
} koi_chat_message;

typedef struct koi_chat_request {
  koi_text pool;
  koi_chat_message *message;
  size_t n_messages, cap_messages;
  koi_chat_block *block;
  size_t n_blocks, cap_blocks;
  koi_chat_made *call;
  size_t n_calls, cap_calls;
} koi_chat_request;

/* Reads a request; tool messages become blocks of user turns, their results in the order of the calls. */
koine_status koi_chat_request_read(const char *json, size_t n, koi_chat_request *out);
void koi_chat_request_clear(koi_chat_request *r);
const char *koi_chat_request_text(const koi_chat_request *r, koi_chat_span span);
#endif
