/* Owns: the prose of prompts: read from the string constants of the checkpoint's encoding/encoding_dsv4.py or of a chat template, or our own.
 * Does not: understand Python or Jinja; chat_constants.c and chat_jinja.c find the constants.
 * Invariant: a template has only placeholders that the encoder fills in. */
#include <string.h>
#include <unistd.h>
#include "chat_impl.h"
#include "chat_jinja.h"

#define MAX_FILE ((size_t)4 << 20)

/* ---- our own wording ---- */
static const char own_tools[] =
  "# Functions\n\n"
  "You may call the functions listed below. To call one or more, end your turn with a block of this form:\n\n"
  "<{dsml_token}tool_calls>\n"
  "<{dsml_token}invoke name=\"FUNCTION\">\n"
  "<{dsml_token}parameter name=\"PARAMETER\" string=\"true|false\">VALUE</{dsml_token}parameter>\n"
  "</{dsml_token}invoke>\n"
  "</{dsml_token}tool_calls>\n\n"
  "Write one invoke element for each call and one parameter element for each argument. A text stands as it is, with string=\"true\"; any "
  "other value is JSON, with string=\"false\".\n\n"
  "If your turn begins with {thinking_start_token}, close it with {thinking_end_token} before you call or answer.\n\n"
  "The functions, one JSON object a line:\n\n"
  "{tool_schemas}\n\n"
  "Call only these functions, with arguments that fit their schemas.\n";
static const char own_response_format[] = "Answer with JSON that fits this schema, and with nothing else:\n{schema}";
static const char own_effort_max[] =
  "Take all the thought that this needs: work through every step, weigh the other ways, look for mistakes, and check the result before you "
  "answer.\n\n";

/* ---- templates ---- */
bool koi_chat_template_next(const char **at, koi_chat_template_part *part)
{
  const char *s = *at;
  if (!*s) return false;
  part->name = false;
  if (*s == '{' && s[1] != '{') {
    size_t n = strcspn(s + 1, "{}");
    part->s = s + 1, part->n = n, part->name = true;
    *at = s + 1 + n + (s[1 + n] == '}');
    return true;
  }
  if (*s == '{' || *s == '}') {
    part->s = s, part->n = 1;
    *at = s + (s[1] == *s ? 2 : 1);
    return true;
  }
  part->s = s, part->n = strcspn(s, "{}");
  *at = s + part->n;
  return true;
}

static koine_status check_template(const char *path, const char *name, const char *text, const char *must)
{
  static const char *const known[] = {"dsml_token", "thinking_start_token", "thinking_end_token"};
  koi_chat_template_part part;
  bool has = false;
  while (koi_chat_template_next(&text, &part)) {
    bool ok = !part.name;
    for (size_t i = 0; i < KOI_COUNT(known); i++) ok |= strlen(known[i]) == part.n && !memcmp(known[i], part.s, part.n);
    if (part.name && strlen(must) == part.n && !memcmp(must, part.s, part.n)) ok = has = true;
    if (!ok) return koi_error(KOINE_ERR_FILE, "%s: %s has the placeholder {%.*s}, which is not known", path, name, (int)(part.n < 40 ? part.n : 40), part.s);
  }
  return has ? KOINE_OK : koi_error(KOINE_ERR_FILE, "%s: %s has no placeholder {%s}", path, name, must);
}

/* ---- the encoding file ---- */
/* What the encoder here takes for granted. A file that says otherwise belongs to another encoding. */
static const struct { const char *name, *value; } spelled[] = {
  {"bos_token", KOI_CHAT_BOS}, {"eos_token", KOI_CHAT_EOS}, {"thinking_start_token", KOI_CHAT_THINK}, {"thinking_end_token", KOI_CHAT_THINK_END},
  {"dsml_token", KOI_CHAT_DSML}, {"USER_SP_TOKEN", KOI_CHAT_USER}, {"ASSISTANT_SP_TOKEN", KOI_CHAT_ASSISTANT}, {"LATEST_REMINDER_SP_TOKEN", KOI_CHAT_REMINDER},
  {"tool_calls_block_name", "tool_calls"}, {"system_msg_template", "{content}"}, {"user_msg_template", "{content}"}, {"thinking_template", "{reasoning_content}"},
  {"latest_reminder_msg_template", "{content}"}, {"tool_output_template", "<tool_result>{content}</tool_result>"},
};

static const char *text_of(const koi_chat_constants *l, const char *name, const char *key)
{
  const koi_chat_constant *c = koi_chat_constants_find(l, name, strlen(name), key);
  return c ? c->value : NULL;
}

/* Nothing becomes NULL. */
static koine_status copy_of(const char *text, char **out)
{
  *out = text && *text ? koi_strdup(text) : NULL;
  return text && *text && !*out ? KOINE_ERR_MEMORY : KOINE_OK;
}

/* From a table REASONING_EFFORT...["word"], or else from REASONING_EFFORT_WORD. */
static const char *effort_of(const koi_chat_constants *l, const char *word)
{
  static const char stem[] = "REASONING_EFFORT";
  const char *text = NULL;
  char upper[40];
  size_t n = sizeof stem - 1;
  memcpy(upper, stem, n);
  upper[n++] = '_';
  for (size_t i = 0; word[i] && n + 1 < sizeof upper; i++) upper[n++] = (char)(word[i] - 'a' + 'A') /* words are small letters */;
  upper[n] = 0;
  for (size_t i = 0; !text && i < l->n; i++) {
    const koi_chat_constant *c = &l->v[i];
    if (c->key && !strcmp(c->key, word) && c->n_name >= sizeof stem - 1 && !memcmp(c->name, stem, sizeof stem - 1)) text = c->value;
  }
  return text ? text : text_of(l, upper, NULL);
}

static koine_status take_template(const koi_chat_constants *l, const char *path, const char *name, const char *must, const char *own, char **out)
{
  const char *text = text_of(l, name, NULL);
  if (!text) koi_log(KOINE_LOG_WARNING, "%s: no text constant %s: wording of our own is used", path, name);
  koine_status s = text ? check_template(path, name, text, must) : KOINE_OK;
  if (s != KOINE_OK) return s;
  *out = koi_strdup(text ? text : own);
  return *out ? KOINE_OK : KOINE_ERR_MEMORY;
}

static koine_status check_spelling(const koi_chat_constants *l, const char *path)
{
  for (size_t i = 0; i < KOI_COUNT(spelled); i++) {
    const char *value = text_of(l, spelled[i].name, NULL);
    if (value && strcmp(value, spelled[i].value))
      return koi_error(KOINE_ERR_FILE, "%s: %s is \"%.60s\", expected \"%s\": this is another encoding", path, spelled[i].name, value, spelled[i].value);
  }
  return KOINE_OK;
}

static koine_status take_constants(const koi_chat_constants *l, const char *path, koi_chat *chat)
{
  koine_status s = check_spelling(l, path);
  if (!s) s = take_template(l, path, "TOOLS_TEMPLATE", "tool_schemas", own_tools, &chat->tools);
  if (s == KOINE_OK) s = take_template(l, path, "response_format_template", "schema", own_response_format, &chat->response_format);
  if (!s) s = copy_of(effort_of(l, "high"), &chat->effort[KOINE_THINK_HIGH]);
  return s ? s : copy_of(effort_of(l, "max"), &chat->effort[KOINE_THINK_MAX]);
}

koine_status koi_chat_wording_text(const char *path, const char *text, size_t n, koi_chat *chat)
{
  koi_chat_constants *l = NULL;
  koine_status s = koi_chat_constants_read(path, text, n, &l);
  if (!s) s = take_constants(l, path, chat);
  koi_chat_constants_free(l);
  return s;
}

static koine_status read_file(const char *path, koi_chat *chat)
{
  char *text;
  size_t n;
  koine_status s = koi_file_read(path, MAX_FILE, &text, &n);
  if (s == KOINE_OK) {
    s = koi_chat_wording_text(path, text, n, chat);
    koi_free(text);
  }
  return s;
}

static koine_status use_own(koi_chat *chat)
{
  chat->tools = koi_strdup(own_tools);
  chat->response_format = koi_strdup(own_response_format);
  chat->effort[KOINE_THINK_MAX] = koi_strdup(own_effort_max);
  return chat->tools && chat->response_format && chat->effort[KOINE_THINK_MAX] ? KOINE_OK : KOINE_ERR_MEMORY;
}

/* ---- the chat template ---- */
/* The texts that llama.cpp's template of this model gives names to, as a template of ours; where it has not got them, our own. */
static koine_status between(const koi_chat_constants *l, const char *before, const char *value, const char *behind, const char *own, char **made)
{
  const char *parts[] = {text_of(l, before, NULL), value, behind ? text_of(l, behind, NULL) : ""};
  koi_text out = {0};
  if (!parts[0] || !parts[2]) return copy_of(own, made);
  for (size_t i = 0; i < KOI_COUNT(parts); i++)
    for (const char *c = parts[i]; *c; c++) koi_text_bytes(&out, (const char[]){*c, *c}, parts[i] != value && (*c == '{' || *c == '}') ? 2 : 1);
  return koi_text_take(&out, made);
}

static koine_status take_named(const koi_chat_constants *l, const char *path, koi_chat *chat)
{
  koine_status s = check_spelling(l, path);
  if (!s && (!text_of(l, "tools_header", NULL) || !text_of(l, "tools_footer", NULL)))
    koi_log(KOINE_LOG_WARNING, "%s: tokenizer.chat_template: no texts tools_header and tools_footer: wording of our own is used", path);
  if (!s) s = between(l, "tools_header", "{tool_schemas}\n", "tools_footer", own_tools, &chat->tools);
  if (!s) s = between(l, "response_format_template", "{schema}", NULL, own_response_format, &chat->response_format);
  if (!s) s = copy_of(text_of(l, "reasoning_effort_high", NULL), &chat->effort[KOINE_THINK_HIGH]);
  return s ? s : copy_of(text_of(l, "reasoning_effort_max", NULL), &chat->effort[KOINE_THINK_MAX]);
}

koine_status koi_chat_wording_template(const char *path, const char *text, size_t n, koi_chat *chat)
{
  koi_chat_constants *l = NULL;
  char *lines = NULL;
  koine_status s = koi_chat_jinja_read(path, text, n, &lines, &l);
  if (!s) s = take_named(l, path, chat);
  koi_chat_constants_free(l);
  koi_free(lines);
  return s;
}

koine_status koi_chat_wording_read(const char *folder, koi_chat *chat)
{
  if (!folder) return use_own(chat);
  char *path = koi_format("%s/encoding/encoding_dsv4.py", folder);
  if (!path) return KOINE_ERR_MEMORY;
  koine_status s = access(path, F_OK) == 0 ? read_file(path, chat) : use_own(chat);
  koi_free(path);
  return s;
}
