/* The tokenizer: ids of recorded texts (tests/data/tok, made with `tokenizers`), texts that are data, bytes that are no UTF-8, files
 * that ask for what is not known, threads, and want of memory. The comparison at large is check_tokenizers.py. */
#include "text/tok.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *data_path(const char *name)
{
  static char path[1024];
  const char *dir = getenv("srcdir");
  snprintf(path, sizeof path, "%s/tests/data/tok/%s", dir ? dir : ".", name);
  return path;
}

static koi_tok *load(const char *name)
{
  koi_tok *tok = NULL;
  if (koi_tok_load(data_path(name), &tok)) fail_msg("%s", koi_error_text());
  return tok;
}

/* ---- recorded texts ---- */
static size_t from_hex(const char *s, size_t n, char *out)
{
  for (size_t i = 0; i + 1 < n; i += 2) {
    unsigned byte;
    sscanf(s + i, "%2x", &byte);
    out[i / 2] = (char)byte;
  }
  return n / 2;
}

/* One line of cases.txt: the text and the ids it must have. */
static void check_line(const koi_tok *tok, const char *name, char *line)
{
  size_t n_hex = strcspn(line, " \n"), n_text = *line == '-' ? 0 : from_hex(line, n_hex, line), n;
  int32_t *ids;
  const char *want = line + n_hex;
  assert_int_equal(koi_tok_encode(tok, line, n_text, KOI_TOK_SPECIAL | KOI_TOK_TEMPLATE, &ids, &n), KOINE_OK);
  for (size_t i = 0;; i++) {
    char *end;
    long id = strtol(want, &end, 10);
    if (end == want) {
      if (i != n) fail_msg("%s: \"%.*s\": %zu ids, expected %zu", name, (int)n_text, line, n, i);
      break;
    }
    if (i >= n || ids[i] != id) fail_msg("%s: \"%.*s\": id %zu is %d, expected %ld", name, (int)n_text, line, i, i < n ? ids[i] : -1, id);
    want = end;
  }
  koi_free(ids);
}

static void test_recorded(void **state)
{
  (void)state;
  static const char *const names[] = {"deepseek", "steps", "removed", "contiguous", "contiguous_not", "mergedwithprevious_not", "mergedwithnext"};
  for (size_t i = 0; i < KOI_COUNT(names); i++) {
    koi_tok *tok = load(names[i]);
    char file[128], *text;
    size_t n, n_lines = 0;
    snprintf(file, sizeof file, "%s/cases.txt", names[i]);
    assert_int_equal(koi_file_read(data_path(file), 1 << 20, &text, &n), KOINE_OK);
    for (char *line = text, *next; *line; line = next, n_lines++) {
      next = strchr(line, '\n') + 1;
      next[-1] = 0;
      check_line(tok, names[i], line);
    }
    assert_true(n_lines > 20);
    koi_free(text);
    koi_tok_free(tok);
  }
}

/* ---- bytes ---- */
static void expect_round_trip(const koi_tok *tok, const char *s, size_t n, unsigned flags)
{
  int32_t *ids;
  size_t n_ids, n_back;
  char *back;
  assert_int_equal(koi_tok_encode(tok, s, n, flags, &ids, &n_ids), KOINE_OK);
  assert_int_equal(koi_tok_decode(tok, ids, n_ids, KOI_TOK_SPECIAL, &back, &n_back), KOINE_OK);
  assert_int_equal(n_back, n);
  assert_memory_equal(back, s, n);
  assert_int_equal(back[n], 0);
  for (size_t i = 0; !(flags & KOI_TOK_SPECIAL) && i < n_ids; i++) assert_false(koi_tok_is_added(tok, ids[i]));
  koi_free(ids);
  koi_free(back);
}

/* Any bytes survive, and without KOI_TOK_SPECIAL none becomes an added token. */
static void test_bytes(void **state)
{
  (void)state;
  koi_tok *tok = load("deepseek");
  static const char *const pieces[] = {"\xFF", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE4\xBD", "\xE4\xBD\xA0", "a", " ", "\n", "12345", "<think>", "\xEF\xBD\x9C" "DSML"};
  char text[4096];
  unsigned seed = 1;
  for (int round = 0; round < 300; round++) {
    size_t n = 0, target = round * 7u;
    while (n < target) {
      seed = seed * 1664525u + 1013904223u;
      if (seed >> 31) {
        text[n++] = (char)(seed >> 20);
      } else {
        const char *p = pieces[(seed >> 16) % KOI_COUNT(pieces)];
        memcpy(text + n, p, strlen(p));
        n += strlen(p);
      }
    }
    expect_round_trip(tok, text, n, 0);
    expect_round_trip(tok, text, n, KOI_TOK_SPECIAL);
  }
  for (int byte = 0; byte < 256; byte++) {
    char c = (char)byte;
    expect_round_trip(tok, &c, 1, 0);
  }
  koi_tok_free(tok);
}

/* A word of a megabyte: long words must not cost the square of their length. */
static void test_long_word(void **state)
{
  (void)state;
  koi_tok *tok = load("deepseek");
  size_t n = 1 << 20;
  char *s = malloc(n);
  memset(s, 'a', n);
  expect_round_trip(tok, s, n, 0);
  for (size_t i = 0; i + 3 <= n; i += 3) memcpy(s + i, "\xE4\xBD\xA0", 3);
  expect_round_trip(tok, s, n, 0);
  memset(s, ' ', n);
  expect_round_trip(tok, s, n, 0);
  free(s);
  koi_tok_free(tok);
}

/* ---- control tokens ---- */
static void test_control(void **state)
{
  (void)state;
  koi_tok *tok = load("deepseek");
  size_t n_added = 0, n;
  for (int32_t id = 0; (size_t)id < koi_tok_n_vocab(tok); id++) {
    const char *piece;
    int32_t *ids;
    size_t len;
    if (!koi_tok_is_added(tok, id)) continue;
    n_added++;
    koi_tok_piece(tok, id, &piece, &len);
    char text[128];
    snprintf(text, sizeof text, "a%.*s b", (int)len, piece);
    assert_int_equal(koi_tok_encode(tok, text, strlen(text), KOI_TOK_SPECIAL, &ids, &n), KOINE_OK);
    assert_int_equal(ids[1], id);
    koi_free(ids);
    expect_round_trip(tok, text, strlen(text), 0);
    snprintf(text, sizeof text, "%.*s", (int)len, piece);
    assert_int_equal(koi_tok_id(tok, text), id);
  }
  assert_int_equal(n_added, 17);
  koi_tok_free(tok);
}

static void test_edges(void **state)
{
  (void)state;
  koi_tok *tok = load("deepseek");
  int32_t bos = koi_tok_id(tok, "<\xEF\xBD\x9C" "begin\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"), *ids;
  size_t n;
  assert_true(bos >= 0);
  assert_int_equal(koi_tok_bos(tok), bos);
  assert_int_equal(koi_tok_eos(tok), bos + 1);
  assert_true(koi_tok_is_eos(tok, bos + 1) && koi_tok_is_eos(tok, bos + 3) && !koi_tok_is_eos(tok, bos));
  assert_int_equal(koi_tok_encode(tok, "a", 1, KOI_TOK_BOS | KOI_TOK_TEMPLATE, &ids, &n), KOINE_OK);
  assert_int_equal(n, 2);
  assert_int_equal(ids[0], bos);
  koi_free(ids);
  assert_int_equal(koi_tok_encode(tok, NULL, 0, 0, &ids, &n), KOINE_OK);
  assert_int_equal(n, 0);
  koi_free(ids);
  assert_int_equal(koi_tok_id(tok, "no such token"), -1);
  assert_int_equal(koi_tok_id(tok, "a"), koi_tok_id(tok, "a"));
  koi_tok_free(tok);
  tok = load("steps"); /* no configs: no names, but a template */
  assert_int_equal(koi_tok_bos(tok), -1);
  assert_int_equal(koi_tok_encode(tok, "a", 1, KOI_TOK_BOS, &ids, &n), KOINE_ERR_ARG);
  assert_int_equal(koi_tok_encode(tok, "", 0, KOI_TOK_TEMPLATE, &ids, &n), KOINE_OK);
  assert_int_equal(n, 2);
  koi_free(ids);
  koi_tok_free(tok);
}

static void test_decode(void **state)
{
  (void)state;
  koi_tok *tok = load("deepseek");
  int32_t n_vocab = (int32_t)koi_tok_n_vocab(tok), bad[] = {0, n_vocab};
  char *text;
  const char *piece;
  size_t n;
  assert_int_equal(koi_tok_decode(tok, bad, 2, 0, &text, &n), KOINE_ERR_ARG);
  assert_non_null(strstr(koi_error_text(), "position 1"));
  bad[1] = -1;
  assert_int_equal(koi_tok_decode(tok, bad, 2, 0, &text, &n), KOINE_ERR_ARG);
  koi_tok_piece(tok, n_vocab, &piece, &n);
  assert_int_equal(n, 0);
  int32_t ids[] = {koi_tok_id(tok, "a"), koi_tok_bos(tok), koi_tok_id(tok, "<think>"), koi_tok_id(tok, "b")};
  assert_int_equal(koi_tok_decode(tok, ids, 4, 0, &text, &n), KOINE_OK);
  assert_string_equal(text, "a<think>b"); /* only tokens marked special are left out */
  koi_free(text);
  koi_tok_free(tok);
}

/* ---- files ---- */
#define VOCAB "{\"a\":0,\"b\":1,\"ab\":2,\"\xC4\xA0\":3}"
#define MODEL(vocab, merges, more) "{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges more "}"
#define GOOD_MODEL MODEL(VOCAB, "[\"a b\"]", "")
#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define FILE_OF(model, pre, decoder, more) "{\"version\":\"1.0\",\"model\":" model ",\"pre_tokenizer\":" pre ",\"decoder\":" decoder more "}"
#define WITH_MODEL(model) FILE_OF(model, BYTE_LEVEL, BYTE_LEVEL, "")
#define WITH_PRE(pre) FILE_OF(GOOD_MODEL, pre, BYTE_LEVEL, "")
#define WITH_PATTERN(pattern) WITH_PRE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern "\"},\"behavior\":\"Isolated\",\"invert\":false}," BYTE_LEVEL "]}")
#define WITH(more) FILE_OF(GOOD_MODEL, BYTE_LEVEL, BYTE_LEVEL, "," more)
#define ADDED(fields) WITH("\"added_tokens\":[{" fields "}]")

static const char *const good_files[] = {
  WITH_MODEL(GOOD_MODEL), WITH_MODEL(MODEL(VOCAB, "[[\"a\",\"b\"]]", "")), WITH_MODEL("{\"merges\":[\"a b\"],\"vocab\":" VOCAB "}"),
  WITH_MODEL(MODEL(VOCAB, "[\"\\u0061 b\",[\"a\",\"\\u0062\"]]", ",\"dropout\":null,\"byte_fallback\":false,\"unk_token\":null,\"end_of_word_suffix\":\"\"")),
  WITH_MODEL(MODEL(VOCAB, "[]", ",\"dropout\":0.1")), WITH("\"truncation\":{\"max_length\":512},\"padding\":{\"strategy\":\"BatchLongest\"}"),
  WITH("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[]},\"truncation\":null,\"post_processor\":{\"type\":\"ByteLevel\"}"),
  WITH_PATTERN("\\\\p{Han}+|\\\\w{,2}|[^\\\\s\\\\p{^L}]|(?i:x)|\\\\u4e00|\\\\x{1F600}|{|a{2,}?|\\\\h"), ADDED("\"id\":9,\"content\":\"<x>\",\"special\":true"),
};

static const struct { const char *json, *says; } bad_files[] = {
  {"", "expected an object"}, {"[]", "expected an object"}, {"{}", "model"}, {WITH_MODEL(GOOD_MODEL) "x", "follows"},
  {"{\"model\":" GOOD_MODEL ",\"model\":" GOOD_MODEL "}", "twice"},
  {WITH_MODEL("{\"merges\":[]}"), "vocab"}, {WITH_MODEL("{\"vocab\":{}}"), "no token"}, {WITH_MODEL("{\"vocab\":{\"a\":0}}"), "merges"},
  {WITH_MODEL(MODEL("{\"a\":0,\"b\":0}", "[]", "")), "id 0"}, {WITH_MODEL(MODEL("{\"a\":-1}", "[]", "")), "expected an id"},
  {WITH_MODEL(MODEL("{\"a\":16777216}", "[]", "")), "expected an id"}, {WITH_MODEL(MODEL("{\"a\":1.5}", "[]", "")), "expected an id"},
  {WITH_MODEL(MODEL("{\"a\":0,\"a\":1}", "[]", "")), "same text"}, {WITH_MODEL(MODEL("{\"\xFF\":0}", "[]", "")), "UTF-8"},
  {WITH_MODEL(MODEL(VOCAB, "[\"a c\"]", "")), "right half"}, {WITH_MODEL(MODEL(VOCAB, "[\"b a\"]", "")), "what it makes"}, {WITH_MODEL(MODEL(VOCAB, "[\"ab\"]", "")), "item 0"},
  {WITH_MODEL(MODEL(VOCAB, "[[\"a\"]]", "")), "merges"}, {WITH_MODEL(MODEL(VOCAB, "[[\"a\",\"b\",\"a\"]]", "")), "item 0"}, {WITH_MODEL(MODEL(VOCAB, "[\"a b a\"]", "")), "item 0"},
  {WITH_MODEL(MODEL(VOCAB, "[7]", "")), "merges"}, {WITH_MODEL(MODEL(VOCAB, "[]", ",\"byte_fallback\":true")), "byte_fallback"},
  {WITH_MODEL(MODEL(VOCAB, "[]", ",\"continuing_subword_prefix\":\"##\"")), "continuing_subword_prefix"},
  {WITH_MODEL(MODEL(VOCAB, "[]", ",\"end_of_word_suffix\":\"</w>\"")), "end_of_word_suffix"}, {WITH_MODEL(MODEL(VOCAB, "[]", ",\"unk_token\":\"?\"")), "unk_token"},
  {WITH_MODEL("{\"type\":\"Unigram\",\"vocab\":" VOCAB ",\"merges\":[]}"), "Unigram"}, {WITH_MODEL(MODEL(VOCAB, "[]", ",\"fuse_unk\":1")), "fuse_unk"},
  {FILE_OF(GOOD_MODEL, "null", BYTE_LEVEL, ""), "pre_tokenizer"}, {FILE_OF(GOOD_MODEL, BYTE_LEVEL, "null", ""), "decoder"},
  {WITH_PRE("{\"type\":\"Metaspace\"}"), "Metaspace"}, {WITH_PRE("{}"), "type"}, {WITH_PRE("{\"type\":\"Sequence\"}"), "pretokenizers"},
  {WITH_PRE("{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL ",{\"type\":\"Digits\"}]}"), "after ByteLevel"}, {WITH_PATTERN(""), "empty pattern"},
  {WITH_PATTERN("[a-z&&[^x]]"), "&&"}, {WITH_PATTERN("[a[bc]]"), "class in a class"}, {WITH_PATTERN("[[:alpha:]]"), "class in a class"}, {WITH_PATTERN("\\\\bx"), "escape"},
  {WITH_PATTERN("(?<n>x)"), "group"}, {WITH_PATTERN("(*ACCEPT)"), "group"}, {WITH_PATTERN("x{2}+"), "repeat"}, {WITH_PATTERN("\\\\p{Foo}"), "Foo"}, {WITH_PATTERN("(x"), "parenthesis"},
  {WITH_PATTERN("[x"), "class without"}, {WITH_PATTERN("\\\\xFF"), "code point"}, {WITH_PATTERN("\\\\p{L"), "property"},
  {WITH_PRE("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x\"},\"behavior\":\"Odd\"}"), "Odd"}, {WITH_PRE("{\"type\":\"Split\",\"behavior\":\"Isolated\"}"), "pattern"},
  {WITH("\"normalizer\":{\"type\":\"NFC\"}"), "NFC"}, {WITH("\"post_processor\":{\"type\":\"BertProcessing\"}"), "BertProcessing"},
  {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}"), "0 times"}, {WITH("\"added_tokens\":7"), "added_tokens"},
  {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}]}"), "names no token"},
  {FILE_OF(GOOD_MODEL, BYTE_LEVEL, "{\"type\":\"WordPiece\"}", ""), "WordPiece"}, {ADDED("\"id\":1,\"content\":\"<x>\""), "another token"}, {ADDED("\"id\":1,\"content\":\"a\""), "in the vocabulary"},
  {ADDED("\"id\":9"), "content"}, {ADDED("\"id\":9,\"content\":\"\""), "content"}, {ADDED("\"content\":\"x\""), "expected an id"}, {ADDED("\"id\":9,\"content\":\"x\",\"special\":2"), "special"},
};

static void test_files(void **state)
{
  (void)state;
  koi_tok *tok;
  for (size_t i = 0; i < KOI_COUNT(good_files); i++) {
    if (koi_tok_load_text("mem", good_files[i], strlen(good_files[i]), &tok)) fail_msg("%s: %s", good_files[i], koi_error_text());
    koi_tok_free(tok);
  }
  for (size_t i = 0; i < KOI_COUNT(bad_files); i++) {
    koine_status s = koi_tok_load_text("mem", bad_files[i].json, strlen(bad_files[i].json), &tok);
    if (s != KOINE_ERR_FILE || !strstr(koi_error_text(), bad_files[i].says) || strncmp(koi_error_text(), "mem: ", 5))
      fail_msg("%s: expected an error with \"%s\", found %d \"%s\"", bad_files[i].json, bad_files[i].says, s, s ? koi_error_text() : "");
  }
  assert_int_equal(koi_tok_load("/nonexistent", &tok), KOINE_ERR_FILE);
  int32_t *ids;
  size_t n; /* a byte without a token is an error, not a loss */
  assert_int_equal(koi_tok_load_text("mem", good_files[0], strlen(good_files[0]), &tok), KOINE_OK);
  assert_int_equal(koi_tok_encode(tok, "abc", 3, 0, &ids, &n), KOINE_ERR_FILE);
  assert_non_null(strstr(koi_error_text(), "0x63"));
  koi_tok_free(tok);
}

/* Every beginning of a file is refused; a copy of exact size lets a sanitizer see any read beyond. */
static void test_truncated(void **state)
{
  (void)state;
  for (size_t n = 0; n < strlen(good_files[6]); n++) {
    char *part = malloc(n ? n : 1);
    koi_tok *tok;
    memcpy(part, good_files[6], n);
    assert_int_equal(koi_tok_load_text("mem", part, n, &tok), KOINE_ERR_FILE);
    free(part);
  }
}

/* ---- memory and threads ---- */
static void test_memory(void **state)
{
  (void)state;
  koi_tok *tok;
  const char *text = "\xF0\x9E\x80\xB0" "a b\xFF a", *json = good_files[6];
  for (long at = 1;; at++) {
    koi_alloc_fail_at(at);
    koine_status s = koi_tok_load_text("mem", json, strlen(json), &tok);
    koi_alloc_fail_at(0);
    if (s == KOINE_OK) break;
    assert_int_equal(s, KOINE_ERR_MEMORY);
    assert_true(at < 1000);
  }
  koi_tok_free(tok);
  tok = load("deepseek");
  for (long at = 1;; at++) {
    int32_t *ids = NULL;
    size_t n;
    koi_alloc_fail_at(at);
    koine_status s = koi_tok_encode(tok, text, strlen(text), 0, &ids, &n);
    koi_alloc_fail_at(0);
    if (s == KOINE_OK) koi_free(ids);
    if (s == KOINE_OK) break;
    assert_int_equal(s, KOINE_ERR_MEMORY);
    assert_true(at < 1000);
  }
  koi_tok_free(tok);
}

typedef struct job {
  const koi_tok *tok;
  const char *text;
  size_t n_text;
  int32_t *ids;
  size_t n;
} job;

static void *work(void *arg)
{
  job *j = arg;
  return koi_tok_encode(j->tok, j->text, j->n_text, KOI_TOK_SPECIAL, &j->ids, &j->n) == KOINE_OK ? j : NULL;
}

static void test_threads(void **state)
{
  (void)state;
  koi_tok *tok = load("deepseek");
  char *text;
  size_t n;
  assert_int_equal(koi_file_read(data_path("deepseek/tokenizer.json"), 1 << 20, &text, &n), KOINE_OK);
  job jobs[4];
  pthread_t thread[4];
  for (size_t i = 0; i < 4; i++) {
    jobs[i] = (job){tok, text, n, NULL, 0};
    assert_int_equal(pthread_create(&thread[i], NULL, work, &jobs[i]), 0);
  }
  for (size_t i = 0; i < 4; i++) {
    void *done;
    pthread_join(thread[i], &done);
    assert_non_null(done);
    assert_int_equal(jobs[i].n, jobs[0].n);
    assert_memory_equal(jobs[i].ids, jobs[0].ids, jobs[0].n * sizeof *jobs[0].ids);
  }
  for (size_t i = 0; i < 4; i++) koi_free(jobs[i].ids);
  koi_free(text);
  koi_tok_free(tok);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_recorded), cmocka_unit_test(test_bytes), cmocka_unit_test(test_long_word), cmocka_unit_test(test_control), cmocka_unit_test(test_edges),
    cmocka_unit_test(test_decode), cmocka_unit_test(test_files), cmocka_unit_test(test_truncated), cmocka_unit_test(test_memory), cmocka_unit_test(test_threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
