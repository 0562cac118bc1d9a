/* What the chat_*.c files share; nobody else includes it. Sections are named by the file that defines them. */
#ifndef KOI_CHAT_IMPL_H
#define KOI_CHAT_IMPL_H
#include "chat.h"
#include "base/jscan.h"
#include "base/utf8.h"

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
/* How many of the last bytes of s may be the beginning of `of`. */
size_t koi_chat_overlap(const char *s, size_t n, const char *of);
size_t koi_chat_spaces(const koi_chat_source *t, size_t at);
typedef enum koi_chat_found { KOI_CHAT_WHOLE, KOI_CHAT_BAD, KOI_CHAT_OPEN /* the text ends before it is known */, KOI_CHAT_NO_MEMORY } koi_chat_found;
/* The call at *at, which then is behind it, or where it went wrong. *defect: what is wrong, NULL; a whole call may have one too. */
koi_chat_found koi_chat_call_read(const koi_chat_source *t, size_t *at, koi_chat_call *out, const char **defect);

/* ---- chat_step.c: an answer while it is read ---- */
typedef enum koi_chat_phase { KOI_CHAT_OPENING, KOI_CHAT_IN_REASONING, KOI_CHAT_IN_CONTENT, KOI_CHAT_IN_BLOCK } koi_chat_phase;

struct koi_chat_stream {
  const koi_tok *tok;
  koine_chat_part_fn *fn;
  void *user;
  enum { KOI_CHAT_BY_NOTHING, KOI_CHAT_BY_TEXT, KOI_CHAT_BY_IDS } by;
  koi_utf8 utf8;
  koi_text text, begins; /* all of it; begins: bit 0 where control tokens begin */
  size_t eos, eos_end;   /* by ids: the end token; SIZE_MAX: there is none yet */
  bool control;          /* the next character begins a control token */
  size_t maybe_eos;      /* by ids: where a control token begins that may become it; SIZE_MAX: nowhere */
  bool last, over;       /* nothing follows; the answer was handed over */
  size_t at, run;        /* run: where the text without markup began that `at` is in */
  koi_chat_phase phase;
  bool behind;           /* behind the tool calls, where no text is expected */
  size_t cut, looked;    /* in a block: text from `cut` on is still to be handed out if nothing is understood; no end tag before `looked` */
  bool in_reasoning, opened, raw;
  size_t n_good;
  koi_text part[2];      /* handed out */
  koi_chat_answer answer; /* its calls and defects */
  koine_status status;   /* of the receiver, or of memory */
};

/* What can be done with what is there; false when more must be known. */
bool koi_chat_step(koi_chat_stream *s, const koi_chat_source *t);
void koi_chat_step_defect(koi_chat_stream *s, const char *words);

/* ---- chat_parse.c ---- */
void koi_chat_call_json(const koi_chat_call *call, koi_text *out); /* as an element of tool_calls */

/* ---- chat_wording.c: prose ---- */
struct koi_chat {
  char *tools;           /* templates: {name} stands for a text, {{ and }} for braces */
  char *response_format;
  char *effort[KOINE_THINK_MAX + 1]; /* before everything, by thinking; NULL: nothing */
};
koine_status koi_chat_wording_read(const char *folder, koi_chat *chat);
/* From the text of an encoding file; `path` stands for it in messages. */
koine_status koi_chat_wording_text(const char *path, const char *text, size_t n, koi_chat *chat);
/* From a chat template in Jinja. */
koine_status koi_chat_wording_template(const char *path, const char *text, size_t n, koi_chat *chat);
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

/* ---- chat_order.c ---- */
bool koi_chat_order_results(const koi_chat_request *q); /* false: out of memory */

/* ---- chat_read.c: values of a request ---- */
typedef struct koi_chat_reader {
  koi_jscan j;
  koi_chat_request *r;
  char *buffer; /* [n_buffer] for one decoded string */
  size_t n_buffer;
  size_t n;    /* bytes of the string in buffer */
  koi_chat_span top_tools, top_format; /* of the request */
  bool hide_tools; /* tool_choice none */
} koi_chat_reader;

/* False, with what is wrong: the request, or that it asks for more than is done. */
bool koi_chat_read_fail(koi_chat_reader *r, const char *wrong);
bool koi_chat_read_refuse(koi_chat_reader *r, const char *wrong);
/* Room for one more element. */
bool koi_chat_read_room(koi_chat_reader *r, void **array, size_t n, size_t *cap, size_t size);
/* A string into r->buffer, and whether it is `word` to its last byte. */
bool koi_chat_read_string(koi_chat_reader *r);
bool koi_chat_read_key(koi_chat_reader *r);
bool koi_chat_read_is(const koi_chat_reader *r, const char *word);
koi_chat_span koi_chat_read_put(koi_chat_reader *r, const char *s, size_t n); /* into the pool */
bool koi_chat_read_null(koi_chat_reader *r); /* takes a null; false when another value comes, or something is wrong */
bool koi_chat_read_text(koi_chat_reader *r, koi_chat_span *out);
bool koi_chat_read_optional_text(koi_chat_reader *r, koi_chat_span *out);
bool koi_chat_read_boolean(koi_chat_reader *r, bool *out);
bool koi_chat_read_json(koi_chat_reader *r, koi_chat_span *out); /* the next value as JSON text */
bool koi_chat_read_content(koi_chat_reader *r, koi_chat_span *out);
bool koi_chat_read_tools(koi_chat_reader *r, koi_chat_span *out);
bool koi_chat_read_function(koi_chat_reader *r, koi_chat_made *call, bool *named);
bool koi_chat_read_add_call(koi_chat_reader *r, koi_chat_made made);
bool koi_chat_read_calls(koi_chat_reader *r, koi_chat_range *out);
#endif
