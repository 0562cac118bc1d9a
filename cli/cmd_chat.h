/* The parts of koine chat: lines typed, the conversation, answers shown. */
#ifndef CLI_CMD_CHAT_H
#define CLI_CMD_CHAT_H
#include "common_text.h"

/* ---- lines: chat_line.c ---- */
typedef struct chat_line chat_line;
typedef enum chat_input { CHAT_INPUT_LINE, CHAT_INPUT_CLEARED /* by Ctrl-C */, CHAT_INPUT_END } chat_input;

/* Editing, history and a prompt when standard input and output are terminals. 0, or the exit status after a message. */
int chat_line_open(chat_line **out);
void chat_line_close(chat_line *l);
bool chat_line_is_edited(const chat_line *l);
/* The next line without its end; it lives until the next call. */
chat_input chat_line_read(chat_line *l, const char **text, size_t *n_bytes);

/* ---- the conversation: chat_talk.c ---- */
typedef struct chat_talk chat_talk;

/* system: NULL for none. The tokenizer and system text outlive it. */
int chat_talk_open(const koine_tokenizer *tokenizer, const char *folder, const char *system, chat_talk **out);
void chat_talk_close(chat_talk *k);
size_t chat_talk_n_messages(const chat_talk *k);
int chat_talk_reset(chat_talk *k); /* only the system message stays */
int chat_talk_add_user(chat_talk *k, const char *text, size_t n_bytes);
/* The JSON message that an answer was read as. */
int chat_talk_add_answer(chat_talk *k, const char *message);
/* A turn: between the two, what was said when it began can be had back. */
int chat_talk_begin(chat_talk *k);
void chat_talk_undo(chat_talk *k);
/* Takes off the answers at the end, and with `question` the user's message before them: what is next is answered anew. `name`: of the command,
 * for the message when there is none. */
int chat_talk_take_back(chat_talk *k, const char *name, bool question);
/* The whole conversation as tokens, spelled as the session holds them where that is the same text; free *ids. */
int chat_talk_encode(chat_talk *k, koine_thinking thinking, int32_t **ids, size_t *n_ids);
/* What the session was given last, and what it gave. */
int chat_talk_hold(chat_talk *k, const int32_t *prompt, size_t n_prompt, const int32_t *answer, size_t n_answer);
/* JSON messages. A file that is no conversation leaves the conversation as it was. */
int chat_talk_save(const chat_talk *k, const char *path);
int chat_talk_load(chat_talk *k, const char *path);

/* ---- conversations in files: chat_file.c ---- */
struct json_object;
/* The path with a leading ~ or ~/ as the user's home; free it. NULL: no memory. */
char *chat_file_path(const char *path);
/* The file's text as a request, {"messages": [...]}; NULL after a message. */
struct json_object *chat_file_parse(const char *path, const char *text, size_t n_bytes);

/* ---- answers as they come: chat_show.c ---- */
typedef struct chat_show {
  koine_chat_stream *stream; /* of koine_generate */
  bool reasoning, dimmed;    /* what is on the line now */
  bool some, at_line, broken;
  char defects[512];         /* in words, separated by semicolons */
} chat_show;

int chat_show_begin(const koine_tokenizer *tokenizer, koine_thinking thinking, chat_show *w); /* w stays where it is */
bool chat_show_token(void *show, int32_t id); /* a koine_token_fn: Ctrl-C and a broken standard output end the answer */
/* Prints what was held back, and a newline; *message (koine_text_free) is the answer as a JSON message. */
koine_status chat_show_end(chat_show *w, char **message);
void chat_show_clear(chat_show *w);
#endif
