/* koine serve --cache-dir: conversations that go on after a restart; folders and files with which something is wrong; a server that is killed.
 * KOINE: the command; KOINE_TEST_DEVICE: a device; KOINE_TEST_KILLS: how often it is killed (20). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "serve_asks.h"

enum { WORDS = 4000, MOST_BODY = 5 * WORDS + 4096 };
static char dir[64];

static void start(const char *cache_dir, const char *mib)
{
  const char *options[] = {"-c", "8192", "-np", "4", "--think", "off", "--cache-dir", cache_dir, "--cache-disk", mib, NULL};
  asks_start(options);
}

static void stop(void) { assert_int_equal(http_stop(&server, SIGTERM), 0); }

/* ---- the folder ---- */
static size_t files(char path[][512], size_t most)
{
  DIR *d = opendir(dir);
  size_t n = 0;
  for (struct dirent *e; d && (e = readdir(d));)
    if (e->d_name[0] != '.' && n < most) snprintf(path[n++], sizeof path[0], "%s/%s", dir, e->d_name);
  if (d) closedir(d);
  return n;
}

static void empty(void)
{
  char path[64][512];
  for (size_t i = files(path, 64); i-- > 0;) unlink(path[i]);
}

/* ---- a conversation ---- */
/* n_words of a story of its own, and what is new. */
static char *body_of(int story, int n_words, const char *more)
{
  static const char *const words[] = {" the", " sister", " of", " and", " very", " house", " no"};
  char *body = malloc(MOST_BODY), *p = body + sprintf(body, "{\"prompt\":\"");
  for (int i = 0; i < n_words; i++) p += sprintf(p, "%s", words[(i * i + story * (i % 5 + 1)) % 7]);
  sprintf(p, "%s\",\"temperature\":0,\"max_tokens\":6,\"logprobs\":5}", more);
  return body;
}

static json_object *tell(int story, int n_words, const char *more)
{
  char *body = body_of(story, n_words, more);
  json_object *o = ask("/v1/completions", body);
  free(body);
  return o;
}

static int64_t cached(json_object *o) { return number_at(o, "usage/prompt_tokens_details/cached_tokens"); }

/* The first token's probabilities, of those that both have. */
static void same_logprobs(json_object *want, json_object *got)
{
  json_object *a = at(want, "choices/0/logprobs/top_logprobs/0"), *b = at(got, "choices/0/logprobs/top_logprobs/0");
  int n = 0;
  json_object_object_foreach(a, token, v)
  {
    json_object *w = at(b, token);
    if (!w) continue;
    double x = json_object_get_double(v), y = json_object_get_double(w);
    if (x - y > 0.05 || y - x > 0.05) fail_msg("\"%s\": logprob %g, expected %g", token, y, x);
    n++;
  }
  assert_true(n >= 3);
}

/* 4,000 tokens and one turn more: what is new is evaluated, in memory and after a restart, and the logits are those of a server that never saw it. */
static void test_restart(void **state)
{
  (void)state;
  start(dir, "100");
  json_object *first = tell(1, WORDS, ""), *next = tell(1, WORDS, " said he");
  int64_t n = number_at(first, "usage/prompt_tokens");
  assert_true(n > 4000 && cached(first) == 0);
  assert_true(cached(next) >= n - 128);
  wait_metric("koine_disk_saved_total", 1);
  stop();
  start(dir, "100");
  assert_int_equal(metric("koine_disk_conversations"), 1);
  json_object *again = tell(1, WORDS, " said he");
  assert_int_equal(cached(again), n / 128 * 128);
  assert_int_equal(metric("koine_disk_loaded_total"), 1);
  stop();
  empty();
  start(dir, "100");
  json_object *fresh = tell(1, WORDS, " said he");
  assert_int_equal(cached(fresh), 0);
  same_logprobs(fresh, next), same_logprobs(fresh, again);
  stop();
  json_object_put(first), json_object_put(next), json_object_put(again), json_object_put(fresh);
}

/* One file for a conversation that grows, and another for one that leaves it. */
static void test_grows(void **state)
{
  (void)state;
  empty();
  start(dir, "100");
  for (int n = 300; n < 1200; n += 300) json_object_put(tell(2, n, ""));
  wait_metric("koine_disk_saved_total", 3);
  wait_metric("koine_disk_conversations", 1);
  json_object_put(tell(2, 600, " But the rest is another story, of which nobody had heard"));
  for (int i = 0; i < 10; i++) json_object_put(tell(2, 900, "")); /* nothing that is not there */
  stop();
  char path[8][512];
  size_t n = files(path, 8);
  assert_true(n == 1 || n == 2); /* two where the first was being written still */
  start(dir, "100");
  json_object *o = tell(2, 600, " But the rest is another story, of which nobody had heard");
  assert_true(cached(o) >= 256); /* a mark before it parts */
  json_object_put(o);
  stop();
}

/* ---- what can be wrong ---- */
static void damage(size_t at_end, bool cut)
{
  char path[8][512];
  struct stat st;
  size_t n = files(path, 8);
  assert_true(n > 0);
  for (size_t i = 0; i < n; i++) {
    FILE *f = fopen(path[i], "r+b");
    assert_true(f && !fstat(fileno(f), &st));
    long at = (long)st.st_size - (long)at_end;
    if (cut) assert_int_equal(ftruncate(fileno(f), at), 0);
    else {
      fseek(f, at, SEEK_SET);
      int c = fgetc(f);
      fseek(f, at, SEEK_SET);
      fputc(c ^ 4, f);
    }
    fclose(f);
  }
}

static void write_conversation(int story)
{
  empty();
  start(dir, "100");
  json_object_put(tell(story, 500, ""));
  stop();
}

/* A damaged file is a miss, and is not asked again; a foreign one is left alone. */
static void test_damaged(void **state)
{
  (void)state;
  char path[8][512], other[512];
  write_conversation(3);
  damage(1000, false);
  start(dir, "100");
  json_object *o = tell(3, 500, " x");
  assert_int_equal(cached(o), 0);
  assert_int_equal(metric("koine_disk_damaged_total"), 1);
  json_object_put(o);
  stop();
  write_conversation(3);
  damage(1000, true);
  snprintf(other, sizeof other, "%s/notes.koine", dir);
  FILE *f = fopen(other, "wb");
  assert_true(f && fwrite("my notes", 1, 8, f) == 8 && !fclose(f));
  start(dir, "100");
  assert_int_equal(metric("koine_disk_foreign_total"), 2);
  o = tell(3, 500, " x");
  assert_int_equal(cached(o), 0);
  json_object_put(o);
  stop();
  assert_int_equal(access(other, F_OK), 0);
  assert_int_equal(files(path, 8), 3);
}

/* A disk that is full for all files, which a limit on their size stands for; a folder that is removed; one that cannot be made. */
static void test_folders(void **state)
{
  (void)state;
  char away[128];
  empty();
  start(dir, "100");
  assert_int_equal(prlimit(server.pid, RLIMIT_FSIZE, &(struct rlimit){50000, RLIM_INFINITY}, NULL), 0); /* not before: drivers write, too */
  for (int i = 1; i < 4; i++) {
    json_object_put(tell(4 + i, 500, ""));
    wait_metric("koine_disk_failed_total", i);
  }
  json_object *o = tell(5, 500, " and"); /* memory has it still */
  assert_true(cached(o) >= 384);
  json_object_put(o);
  char path[8][512];
  assert_int_equal(files(path, 8), 0);
  stop();
  start(dir, "100");
  snprintf(away, sizeof away, "%s.away", dir);
  assert_int_equal(rename(dir, away), 0);
  json_object_put(tell(4, 500, ""));
  wait_metric("koine_disk_saved_total", 1); /* in a new one */
  assert_int_equal(files(path, 8), 1);
  stop();
  rmdir(away);
  start("/dev/null/nowhere", "100");
  json_object_put(tell(4, 500, ""));
  wait_metric("koine_disk_failed_total", 1);
  stop();
}

/* What is on disk stays under the budget, whatever is used meanwhile. */
static void test_budget(void **state)
{
  (void)state;
  char path[64][512];
  struct stat st;
  empty();
  start(dir, "1");
  for (int i = 0; i < 12; i++) {
    json_object_put(tell(10 + i, 1000, ""));
    json_object_put(tell(10, 1000, " and so")); /* this one is used between all others */
  }
  stop();
  off_t sum = 0;
  for (size_t i = files(path, 64); i-- > 0;) sum += stat(path[i], &st) ? 0 : st.st_size;
  assert_true(sum > 200000 && sum <= 1 << 20);
  start(dir, "1");
  json_object *o = tell(21, 1000, " and so"); /* the last one is there */
  assert_true(cached(o) >= 896);
  json_object_put(o);
  stop();
}

/* Two servers, one folder: each finds what the other wrote once it has written itself. */
static void test_two(void **state)
{
  (void)state;
  empty();
  start(dir, "100");
  http_server a = server;
  start(dir, "100");
  http_server b = server;
  for (int i = 0; i < 3; i++) {
    server = a;
    json_object_put(tell(30 + i, 600, ""));
    wait_metric("koine_disk_saved_total", i + 1);
    server = b;
    json_object_put(tell(40 + i, 600, ""));
    wait_metric("koine_disk_saved_total", i + 1);
    json_object *o = tell(30 + i, 600, " said she");
    assert_true(cached(o) >= 512);
    json_object_put(o);
  }
  server = a;
  empty(); /* files that go away under both */
  json_object_put(tell(42, 600, " said she"));
  stop();
  server = b;
  json_object_put(tell(31, 600, " said she"));
  stop();
}

/* ---- killed ---- */
static void test_killed(void **state)
{
  (void)state;
  const char *often = getenv("KOINE_TEST_KILLS");
  int kills = often ? atoi(often) : 20;
  unsigned seed = 7, n_found = 0;
  char path[64][512];
  empty();
  for (int i = 0; i < kills; i++) {
    start(dir, "4");
    assert_int_equal(metric("koine_disk_foreign_total"), 0);
    for (size_t k = files(path, 64); k-- > 0;) assert_string_equal(path[k] + strlen(path[k]) - 6, ".koine");
    for (int k = 0; k < 4; k++) { /* as many as are made at once */
      char *body = body_of(50 + (i + k) % 6, 200 + 130 * (i % 5), "");
      http_ask(http_connect(&server), "/v1/completions", NULL, body);
      free(body);
    }
    seed = seed * 1103515245 + 12345;
    usleep((seed >> 16) % 32768 * 30); /* a second at most */
    assert_int_equal(http_stop(&server, SIGKILL), 128 + SIGKILL);
  }
  start(dir, "4");
  for (int k = 0; k < 6; k++) {
    json_object *o = tell(50 + k, 900, "");
    n_found += cached(o) > 0;
    json_object_put(o);
  }
  assert_int_equal(metric("koine_disk_damaged_total") + metric("koine_disk_foreign_total"), 0);
  stop();
  print_message("killed %d times, %u of 6 conversations were found\n", kills, n_found);
  assert_true(n_found > 0);
}

static int setup(void **state)
{
  (void)state;
  strcpy(dir, "/tmp/t_serve_disk.XXXXXX");
  return !mkdtemp(dir);
}

static int teardown(void **state)
{
  (void)state;
  empty();
  return rmdir(dir);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_restart), cmocka_unit_test(test_grows), cmocka_unit_test(test_damaged), cmocka_unit_test(test_folders),
    cmocka_unit_test(test_budget),  cmocka_unit_test(test_two),   cmocka_unit_test(test_killed),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
