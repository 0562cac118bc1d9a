/* The compiler of the emulation: a kernel's text, as it is written for HIP, becomes a library of the host's by clang. Owns programs.
 * A program holds the kernel that it is named after: that is how the backend names them, and a host's library does not list its kernels.
 * KOINE_CLANG names another clang than clang-19. Calls may come from several threads, each with a program of its own. */
#include "hip_emu.h"
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_WORDS = 128, MAX_OWN = 32 };
static const struct { const char *was, *is; } here[] = {{"__attribute__((shared))", "EMU_SHARED"}, {"__has_builtin(__builtin_amdgcn_", "EMU_HAS("}};
extern char **environ;

struct _hiprtcProgram {
  char *text, *name, *log;
  emu_code *code;
  size_t code_bytes;
};

static char *read_all(const char *path, size_t *bytes)
{
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  char *all = fd >= 0 && !fstat(fd, &st) ? calloc((size_t)st.st_size + 1, 1) : NULL;
  if (all && read(fd, all, (size_t)st.st_size) != st.st_size) free(all), all = NULL;
  if (fd >= 0) close(fd);
  if (bytes) *bytes = all ? (size_t)st.st_size : 0;
  return all;
}

/* The first of what no macro can stand for; NULL: there is none. */
static const char *find_here(const char *text, size_t *which)
{
  const char *first = NULL;
  for (size_t i = 0; i < sizeof here / sizeof *here; i++) {
    const char *at = strstr(text, here[i].was);
    if (at && (!first || at < first)) first = at, *which = i;
  }
  return first;
}

/* The text with what stands for that, and the two functions that call the kernel behind it. */
static bool write_text(const hiprtcProgram p, const char *path)
{
  FILE *f = fopen(path, "we");
  if (!f) return false;
  const char *at = p->text;
  size_t i = 0;
  for (const char *next; (next = find_here(at, &i)); at = next + strlen(here[i].was)) fprintf(f, "%.*s%s", (int)(next - at), at, here[i].is);
  fprintf(f, "%s\nEMU_ENTRIES(%s)\n", at, p->name);
  return !fclose(f);
}

static int run(char *const *words, const char *log)
{
  posix_spawn_file_actions_t files;
  pid_t child;
  int status = -1;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&files, 1, 2);
  if (!posix_spawnp(&child, words[0], &files, NULL, words, environ))
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  posix_spawn_file_actions_destroy(&files);
  return status;
}

/* -1: an architecture that is not emulated, or none. */
static int device_of(int n, const char **options)
{
  static const char key[] = "--offload-arch=";
  char arch[HIP_ARCH_BYTES];
  for (int i = 0; i < n; i++)
    for (int d = 0; d < EMU_DEVICES && !strncmp(options[i], key, sizeof key - 1); d++)
      if (!strcmp(options[i] + sizeof key - 1, emu_arch(d, arch))) return d;
  return -1;
}

/* What of the program's options a host's compiler takes: definitions. */
static int add_options(const char **words, int at, int n, const char **options)
{
  for (int i = 0; i < n && at < MAX_WORDS - 1; i++)
    if (!strncmp(options[i], "-D", 2) || (i && !strcmp(options[i - 1], "-D"))) words[at++] = options[i];
  words[at] = NULL;
  return at;
}

static uint32_t group_of(int n, const char **options)
{
  static const char key[] = "-DKOI_GROUP=";
  for (int i = 0; i < n; i++)
    if (!strncmp(options[i], key, sizeof key - 1)) return (uint32_t)strtoul(options[i] + sizeof key - 1, NULL, 10);
  return 0;
}

static void take_code(hiprtcProgram p, const char *path, int device, uint32_t group)
{
  size_t bytes;
  char *library = read_all(path, &bytes);
  if (!library) return;
  p->code_bytes = sizeof *p->code + bytes;
  p->code = malloc(p->code_bytes);
  *p->code = (emu_code){.device = (uint32_t)device, .group = group, .bytes = bytes};
  memcpy(p->code->magic, emu_magic, sizeof emu_magic);
  memcpy(p->code + 1, library, bytes);
  free(library);
}

static bool compile(hiprtcProgram p, const char *folder, int device, int n, const char **options)
{
  char in[64], out[64], log[64], lanes[32], unit[32];
  const char *clang = getenv("KOINE_CLANG"), *words[MAX_WORDS];
  const char *own[MAX_OWN] = {clang && *clang ? clang : "clang-19", "-x", "c++", "-std=gnu++17", "-O1", "-w", "-fPIC", "-shared", "-fvisibility=hidden",
    "-ffp-contract=off", "-include", HIP_EMU_KERNEL, lanes, unit, in, "-o", out, "-lm",
#ifdef __x86_64__
    "-mavx2", "-mfma", "-mf16c",
#endif
#ifdef __SANITIZE_ADDRESS__
    "-fsanitize=address", "-DEMU_ADDRESS=1",
#endif
    NULL};
  int at = 0;
  snprintf(in, sizeof in, "%s/in.cc", folder);
  snprintf(out, sizeof out, "%s/out.so", folder);
  snprintf(log, sizeof log, "%s/log", folder);
  snprintf(lanes, sizeof lanes, "-DEMU_LANES=%d", emu_lanes[device]);
  snprintf(unit, sizeof unit, "-D%s", emu_unit[device]);
  for (; own[at]; at++) words[at] = own[at];
  add_options(words, at, n, options);
  bool good = write_text(p, in) && !run((char *const *)words, log);
  p->log = read_all(log, NULL);
  if (good) take_code(p, out, device, group_of(n, options));
  unlink(in), unlink(out), unlink(log);
  return p->code != NULL;
}

/* ---- the calls --------------------------------------------------------------------------------------------------------- */
EMU_API hiprtcResult hiprtcVersion(int *major, int *minor) { return *major = 9, *minor = 0, HIPRTC_SUCCESS; }
EMU_API const char *hiprtcGetErrorString(hiprtcResult code) { return code ? "HIPRTC_ERROR" : "HIPRTC_SUCCESS"; }

EMU_API hiprtcResult hiprtcCreateProgram(hiprtcProgram *out, const char *text, const char *name, int n_headers, const char **headers, const char **header_names)
{
  (void)headers, (void)header_names;
  if (n_headers || !(*out = calloc(1, sizeof **out))) return HIPRTC_ERROR_INVALID_INPUT;
  (*out)->text = strdup(text), (*out)->name = strdup(name);
  return HIPRTC_SUCCESS;
}

EMU_API hiprtcResult hiprtcDestroyProgram(hiprtcProgram *p)
{
  free((*p)->text), free((*p)->name), free((*p)->log), free((*p)->code), free(*p);
  *p = NULL;
  return HIPRTC_SUCCESS;
}

EMU_API hiprtcResult hiprtcCompileProgram(hiprtcProgram p, int n, const char **options)
{
  char folder[] = "/tmp/koine-hip-XXXXXX";
  int device = device_of(n, options);
  if (device < 0) return HIPRTC_ERROR_INVALID_OPTION;
  if (!mkdtemp(folder)) return HIPRTC_ERROR_INTERNAL_ERROR;
  bool good = compile(p, folder, device, n, options);
  rmdir(folder);
  return good ? HIPRTC_SUCCESS : HIPRTC_ERROR_COMPILATION;
}

EMU_API hiprtcResult hiprtcGetProgramLogSize(hiprtcProgram p, size_t *out) { return *out = p->log ? strlen(p->log) + 1 : 0, HIPRTC_SUCCESS; }
EMU_API hiprtcResult hiprtcGetProgramLog(hiprtcProgram p, char *out) { return strcpy(out, p->log ? p->log : ""), HIPRTC_SUCCESS; }
EMU_API hiprtcResult hiprtcGetCodeSize(hiprtcProgram p, size_t *out) { return *out = p->code_bytes, HIPRTC_SUCCESS; }
EMU_API hiprtcResult hiprtcGetCode(hiprtcProgram p, char *out) { return memcpy(out, p->code, p->code_bytes), HIPRTC_SUCCESS; }
