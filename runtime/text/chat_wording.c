/* Owns: the prose of prompts: read from the string constants of the checkpoint's encoding/encoding_dsv4.py, or our own.
 * Does not: run Python. Only constants made of string literals, other constants, + and { "key": text } tables are understood; every
 * other line is passed over.
 * Invariant: a template has only placeholders that the encoder fills in. */
#include <string.h>
#include <unistd.h>
#include "chat_impl.h"

#define MAX_FILE ((size_t)4 << 20)
#define MAX_CONSTANTS 256
#define MAX_NESTING 32

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

/* ---- Python constants ---- */
typedef struct constant {
  const char *name; /* [n_name] in the file */
  size_t n_name;
  char *key;        /* of a table's entry; NULL: a plain constant */
  char *value;
} constant;

typedef struct reader {
  const char *s;
  size_t n, i;
  bool strange;     /* the expression is none that is understood */
  constant constant[MAX_CONSTANTS];
  size_t n_constants;
  bool memory;      /* ran out of it */
} reader;

static int peek(const reader *r, size_t ahead) { return r->i + ahead < r->n ? (unsigned char)r->s[r->i + ahead] : -1; }
static bool in_name(int c) { return c == '_' || koi_is_letter(c) || koi_is_digit(c); }

static void blanks(reader *r, bool lines)
{
  for (int c; (c = peek(r, 0)) >= 0;) {
    if (c == '#') while (peek(r, 0) >= 0 && peek(r, 0) != '\n') r->i++;
    else if (c == '\\' && (peek(r, 1) == '\n' || peek(r, 1) == '\r')) r->i += 2;
    else if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || (lines && c == '\n')) r->i++;
    else return;
  }
}

static void put_utf8(koi_text *out, uint32_t c)
{
  static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
  char b[4];
  size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (size_t i = n; i-- > 1; c >>= 6) b[i] = (char)(0x80 | (c & 0x3F));
  b[0] = (char)(n == 1 ? c : lead[n] | c);
  koi_text_bytes(out, b, n);
}

/* n digits of a base at r->i. */
static uint32_t number(reader *r, size_t least, size_t most, uint32_t base)
{
  uint32_t v = 0;
  size_t n = 0;
  for (int c; n < most && (koi_is_digit(c = peek(r, 0)) || (koi_is_letter(c) && (c | 32) <= 'f')); n++, r->i++) {
    uint32_t d = koi_is_digit(c) ? (uint32_t)(c - '0') : (uint32_t)((c | 32) - 'a' + 10);
    if (d >= base) break;
    v = v * base + d;
  }
  if (n < least || v == 0 || v > 0x10FFFF || (v >= 0xD800 && v < 0xE000)) r->strange = true;
  return v;
}

static void escape(reader *r, koi_text *out)
{
  static const char letters[] = "abfnrtv\\'\"", values[] = "\a\b\f\n\r\t\v\\'\"";
  int c = peek(r, 0);
  const char *known = c > 0 ? strchr(letters, c) : NULL;
  r->i++;
  if (known) koi_text_bytes(out, &values[known - letters], 1);
  else if (c == '\n') return;
  else if (c == 'x') put_utf8(out, number(r, 2, 2, 16));
  else if (c == 'u') put_utf8(out, number(r, 4, 4, 16));
  else if (c == 'U') put_utf8(out, number(r, 8, 8, 16));
  else if (c >= '0' && c <= '7') r->i--, put_utf8(out, number(r, 1, 3, 8));
  else if (c == 'N' || c < 0) r->strange = true;
  else koi_text_bytes(out, "\\", 1), r->i--; /* Python keeps the backslash */
}

/* A literal whose quote is at r->i. out NULL: pass over it. */
static void literal(reader *r, bool raw, koi_text *out)
{
  char quote = (char)peek(r, 0);
  size_t n_quotes = peek(r, 1) == quote && peek(r, 2) == quote ? 3 : 1;
  r->i += n_quotes;
  koi_text unused = {0}, *to = out ? out : &unused;
  for (int c; (c = peek(r, 0)) >= 0;) {
    if (c == quote && (n_quotes == 1 || (peek(r, 1) == quote && peek(r, 2) == quote))) {
      r->i += n_quotes;
      koi_free(unused.s);
      return;
    }
    if (c == '\n' && n_quotes == 1) break;
    if (c == '\\' && raw) koi_text_bytes(to, r->s + r->i, peek(r, 1) >= 0 ? 2 : 1), r->i += 2;
    else if (c == '\\') r->i++, escape(r, to);
    else if (c == '\r' && peek(r, 1) == '\n') r->i++;
    else koi_text_bytes(to, r->s + r->i, 1), r->i++;
  }
  r->strange = true;
  koi_free(unused.s);
}

/* Length of a literal's prefix when a literal begins here, else -1. */
static int prefix(const reader *r)
{
  int n = 0;
  while (n < 3 && peek(r, (size_t)n) > 0 && strchr("rRbBuUfF", peek(r, (size_t)n))) n++;
  return peek(r, (size_t)n) == '"' || peek(r, (size_t)n) == '\'' ? n : -1;
}

static const constant *find(const reader *r, const char *name, size_t n, const char *key)
{
  for (size_t i = r->n_constants; i-- > 0;) {
    const constant *c = &r->constant[i];
    if (c->n_name == n && !memcmp(c->name, name, n) && (key ? c->key && !strcmp(c->key, key) : !c->key)) return c;
  }
  return NULL;
}

static void expression(reader *r, koi_text *out, bool lines, int depth);

/* Literals side by side, a constant's name, or an expression in parentheses. */
static void term(reader *r, koi_text *out, bool lines, int depth)
{
  size_t n = 0;
  int p;
  for (; !r->strange && (p = prefix(r)) >= 0; n++) {
    bool raw = false;
    for (; p > 0; p--, r->i++) {
      if (strchr("bBfF", peek(r, 0))) r->strange = true;
      if (strchr("rR", peek(r, 0))) raw = true;
    }
    literal(r, raw, out);
    blanks(r, lines);
  }
  if (n) return;
  if (peek(r, 0) == '(' && depth < MAX_NESTING) {
    r->i++;
    expression(r, out, true, depth + 1);
    if (peek(r, 0) != ')') r->strange = true;
    r->i++;
    blanks(r, lines);
    return;
  }
  size_t from = r->i;
  while (in_name(peek(r, 0))) r->i++;
  const constant *c = find(r, r->s + from, r->i - from, NULL);
  if (c) koi_text_add(out, "%s", c->value);
  else if (r->i - from != 4 || memcmp(r->s + from, "None", 4)) r->strange = true;
  blanks(r, lines);
}

static void expression(reader *r, koi_text *out, bool lines, int depth)
{
  blanks(r, lines);
  term(r, out, lines, depth);
  while (!r->strange && peek(r, 0) == '+') {
    r->i++;
    blanks(r, lines);
    term(r, out, lines, depth);
  }
}

static void keep(reader *r, const char *name, size_t n_name, char *key, koi_text *value)
{
  char *text = NULL;
  koi_text_bytes(value, "", 0);
  if (r->strange || r->n_constants == MAX_CONSTANTS || value->failed || koi_text_take(value, &text) != KOINE_OK) {
    r->memory |= value->failed;
    koi_free(key);
    koi_free(value->s);
    *value = (koi_text){0};
    return;
  }
  r->constant[r->n_constants++] = (constant){name, n_name, key, text};
}

/* { "key": text, ... } */
static void table(reader *r, const char *name, size_t n_name)
{
  r->i++;
  for (blanks(r, true); !r->strange && peek(r, 0) != '}'; blanks(r, true)) {
    koi_text key = {0}, value = {0};
    char *key_text = NULL;
    expression(r, &key, true, 0);
    if (peek(r, 0) != ':') r->strange = true;
    r->i++;
    if (!r->strange) expression(r, &value, true, 0);
    if (!r->strange && koi_text_take(&key, &key_text) != KOINE_OK) r->memory = true;
    koi_free(key.s);
    if (peek(r, 0) == ',') r->i++;
    else if (peek(r, 0) != '}') r->strange = true;
    if (key_text) keep(r, name, n_name, key_text, &value);
    else koi_free(value.s);
  }
}

/* To the first character of the next logical line. */
static void next_line(reader *r)
{
  for (int c, depth = 0; (c = peek(r, 0)) >= 0;) {
    if (c == '"' || c == '\'') literal(r, r->i > 0 && (r->s[r->i - 1] | 32) == 'r', NULL);
    else if (c == '#') while (peek(r, 0) >= 0 && peek(r, 0) != '\n') r->i++;
    else if (c == '\\') r->i += 2;
    else r->i++, depth += (strchr("([{", c) != NULL) - (strchr(")]}", c) != NULL);
    if (c == '\n' && depth <= 0) return;
  }
}

/* NAME = text, NAME: type = text, NAME = { ... } */
static void assignment(reader *r)
{
  size_t from = r->i, begin;
  while (in_name(peek(r, 0))) r->i++;
  size_t n_name = r->i - from;
  blanks(r, false);
  if (peek(r, 0) == ':')
    while (peek(r, 0) >= 0 && peek(r, 0) != '=' && peek(r, 0) != '\n') r->i++;
  if (!n_name || peek(r, 0) != '=' || peek(r, 1) == '=') return;
  r->i++;
  blanks(r, false);
  begin = r->i;
  r->strange = false;
  if (peek(r, 0) == '{') {
    table(r, r->s + from, n_name);
  } else {
    koi_text value = {0};
    expression(r, &value, false, 0);
    if (peek(r, 0) != '\n' && peek(r, 0) >= 0) r->strange = true;
    keep(r, r->s + from, n_name, NULL, &value);
  }
  r->i = begin; /* next_line walks over the value, understood or not */
}

static void read_constants(reader *r)
{
  while (r->i < r->n) {
    if (in_name(peek(r, 0))) assignment(r);
    r->strange = false;
    next_line(r);
  }
}

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

static const char *text_of(const reader *r, const char *name, const char *key)
{
  const constant *c = find(r, name, strlen(name), key);
  return c ? c->value : NULL;
}

/* From a table REASONING_EFFORT...["word"], or else from REASONING_EFFORT_WORD. */
static char *effort_of(const reader *r, const char *word)
{
  static const char stem[] = "REASONING_EFFORT";
  const char *text = NULL;
  char upper[40];
  size_t n = sizeof stem - 1;
  memcpy(upper, stem, n);
  upper[n++] = '_';
  for (size_t i = 0; word[i] && n + 1 < sizeof upper; i++) upper[n++] = (char)(word[i] - 'a' + 'A') /* words are small letters */;
  upper[n] = 0;
  for (size_t i = 0; !text && i < r->n_constants; i++) {
    const constant *c = &r->constant[i];
    if (c->key && !strcmp(c->key, word) && c->n_name >= sizeof stem - 1 && !memcmp(c->name, stem, sizeof stem - 1)) text = c->value;
  }
  if (!text) text = text_of(r, upper, NULL);
  return text && *text ? koi_strdup(text) : NULL;
}

static koine_status take_template(const reader *r, const char *path, const char *name, const char *must, const char *own, char **out)
{
  const char *text = text_of(r, name, NULL);
  if (!text) koi_log(KOINE_LOG_WARNING, "%s: no text constant %s: wording of our own is used", path, name);
  koine_status s = text ? check_template(path, name, text, must) : KOINE_OK;
  if (s != KOINE_OK) return s;
  *out = koi_strdup(text ? text : own);
  return *out ? KOINE_OK : KOINE_ERR_MEMORY;
}

static koine_status take_constants(const reader *r, const char *path, koi_chat *chat)
{
  for (size_t i = 0; i < KOI_COUNT(spelled); i++) {
    const char *value = text_of(r, spelled[i].name, NULL);
    if (value && strcmp(value, spelled[i].value))
      return koi_error(KOINE_ERR_FILE, "%s: %s is \"%.60s\", expected \"%s\": this is another encoding", path, spelled[i].name, value, spelled[i].value);
  }
  koine_status s = take_template(r, path, "TOOLS_TEMPLATE", "tool_schemas", own_tools, &chat->tools);
  if (s == KOINE_OK) s = take_template(r, path, "response_format_template", "schema", own_response_format, &chat->response_format);
  chat->effort[KOINE_THINK_HIGH] = effort_of(r, "high");
  chat->effort[KOINE_THINK_MAX] = effort_of(r, "max");
  return s;
}

koine_status koi_chat_wording_text(const char *path, const char *text, size_t n, koi_chat *chat)
{
  reader *r = koi_alloc(1, sizeof *r);
  if (!r) return KOINE_ERR_MEMORY;
  r->s = text, r->n = n;
  read_constants(r);
  koine_status s = r->memory ? koi_error(KOINE_ERR_MEMORY, "%s: out of host memory", path) : take_constants(r, path, chat);
  for (size_t i = 0; i < r->n_constants; i++) {
    koi_free(r->constant[i].key);
    koi_free(r->constant[i].value);
  }
  koi_free(r);
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
  chat->own = true;
  chat->tools = koi_strdup(own_tools);
  chat->response_format = koi_strdup(own_response_format);
  chat->effort[KOINE_THINK_MAX] = koi_strdup(own_effort_max);
  return chat->tools && chat->response_format && chat->effort[KOINE_THINK_MAX] ? KOINE_OK : KOINE_ERR_MEMORY;
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
