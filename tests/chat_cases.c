#include "chat_cases.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

const char *chat_data(const char *name)
{
  static char path[1024];
  const char *dir = getenv("srcdir");
  snprintf(path, sizeof path, "%s/tests/data/tok/%s", dir ? dir : ".", name);
  return path;
}

koi_chat *chat_load(const char *folder)
{
  koi_chat *chat = NULL;
  if (koi_chat_load(folder, &chat)) fail_msg("%s", koi_error_text());
  return chat;
}

void expect_prompt(const koi_chat *chat, const char *json, size_t n, const koi_chat_options *options, const char *want)
{
  koi_chat_prompt p;
  if (koi_chat_encode(chat, json, n, options, &p)) fail_msg("%s: %s", json, koi_error_text());
  if (strcmp(p.text, want)) fail_msg("%s:\nfound    %s\nexpected %s", json, p.text, want);
  for (size_t i = 0; i < p.n_segments; i++) {
    assert_true(p.segment[i].end > (i ? p.segment[i - 1].end : 0));
    assert_false(i && !p.segment[i].control && !p.segment[i - 1].control);
  }
  assert_int_equal(p.n_bytes, strlen(p.text));
  assert_int_equal(p.n_segments ? p.segment[p.n_segments - 1].end : 0, p.n_bytes);
  koi_chat_prompt_clear(&p);
}

static char folder[512];

const char *chat_write_encoding(const char *python)
{
  const char *base = getenv("TMPDIR");
  char path[600];
  snprintf(folder, sizeof folder, "%s/koine_t_chat_%ld", base ? base : "/tmp", (long)getpid());
  mkdir(folder, 0700);
  snprintf(path, sizeof path, "%s/encoding", folder);
  mkdir(path, 0700);
  snprintf(path, sizeof path, "%s/encoding/encoding_dsv4.py", folder);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(python, f);
  fclose(f);
  return folder;
}

void chat_remove_encoding(void)
{
  char path[600];
  snprintf(path, sizeof path, "%s/encoding/encoding_dsv4.py", folder);
  unlink(path);
  snprintf(path, sizeof path, "%s/encoding", folder);
  rmdir(path);
  rmdir(folder);
}
