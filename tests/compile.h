/* Kernels compiled to machine code for cards that need not be here, and what that code says: for t_compile.c. */
#ifndef COMPILE_H
#define COMPILE_H
#include <stdio.h>
#include "kernels/choose.h"
#include "kernels/ops.h"

enum { COMPILE_MAX_LOCAL = 65536, COMPILE_TEXT = 400 };

/* What the machine code says; -1: not said. */
typedef struct usage {
  long registers, scalars;
  long spilled, stack, calls; /* none is allowed */
  long local;                 /* bytes a group */
  long waves;                 /* side by side on a SIMD unit (AMD), on a multiprocessor (NVIDIA) */
  long code;                  /* bytes */
  long matrix;                /* matrix instructions */
  double per_weight, cycles;  /* in the loop that reads weights: vector instructions of a lane for each, and what llvm-mca estimates */
} usage;

typedef struct compile_case {
  const koi_op *op;
  int32_t c[KOI_MAX_CONSTS], p[KOI_MAX_PARAMS];
  char consts[COMPILE_TEXT], params[COMPILE_TEXT]; /* "WT=4 CARE=0" */
} compile_case;

typedef struct target target;

/* A compiler. In `command` $C stands for clang, $A for the chip, $N for its number, $V for the version of OpenCL C, $D for definitions, $S for the source,
 * $L for OpenCL's functions as bitcode. */
typedef struct toolchain {
  const char *name, *program, *package; /* program: what must be on PATH, "$C" for clang; package: which Debian package has it */
  const char *version;                  /* prints a line that names the release */
  const char *knows;                    /* succeeds where this release knows the chip; NULL: any does */
  const char *library;                  /* bitcode; NULL: none needed */
  const char *command;                  /* in a folder of its own; what `read` wants lies there afterwards */
  const char *counting;                 /* $V for ops that count arrivals, else it is CL1.2; NULL: not OpenCL */
  void (*read)(const target *on, const compile_case *c, usage *u);
} toolchain;

struct target {
  const char *name, *chip;
  const toolchain *by;
  koi_target t;
  bool quick;               /* in `make check` */
  const char *card;         /* one with this chip, by its maker's data sheet: */
  double gb_s, lanes_ghz;   /* bytes, and instructions of one lane, in 10^9 a second; 0: no roofline from this compiler's code */
  int least_lanes;          /* a kernel may ask for (KOI_LEAST_LANES); 0: none */
};

extern const target targets[];
extern const size_t n_targets;

/* ---- compile.c ---- */
/* NULL: it can compile; else what is missing. */
const char *compile_missing(const target *on);
/* The line that names the compiler's release. */
void compile_version(const target *on, char *out, size_t room);
/* False: it does not compile; the first line of what the compiler said is in `why`. */
bool compile_run(const target *on, const compile_case *c, const char *text, usage *u, char *why /* [COMPILE_TEXT] */);
void compile_close(void);
/* A file of the last run's, to be freed; "" when there is none. */
char *compile_file(const char *name);
/* A command in the folder of the last run; its exit status. */
int compile_shell(const char *line);

/* ---- compile_read.c ---- */
void compile_read_amd(const target *on, const compile_case *c, usage *u);
void compile_read_intel(const target *on, const compile_case *c, usage *u);
void compile_read_nvidia(const target *on, const compile_case *c, usage *u);

/* ---- compile_table.c ---- */
typedef struct row { char target[24], op[24], consts[COMPILE_TEXT], params[COMPILE_TEXT]; usage u; } row;
typedef struct table { row *rows; size_t n; char (*versions)[COMPILE_TEXT]; } table; /* versions: [n_targets], "" none */
bool table_read(table *t, const char *path);
bool table_write(const table *t, const char *path);
const row *table_find(const table *t, const char *target, const char *op, const char *consts);
void table_put(table *t, const row *r);
/* What differs by more than a change of a few instructions does; "" nothing. */
void table_compare(const row *was, const row *is, char *out /* [COMPILE_TEXT] */);
void table_free(table *t);
/* ---- compile_page.c ---- */
bool page_write(const table *t, const char *path, bool html);
#endif
