/* Work that may hang or crash, in a process of its own. */
#ifndef CLI_GUARD_H
#define CLI_GUARD_H
#include <stdbool.h>
#include <stdint.h>

/* What the child has to do. `left_s`: seconds of the budget that are left; nth: 0 for the first child, then one more for each that
 * was lost; hung: the last of them did.
 * Returns the exit status. It says that it lives by cli_guard_beat. */
typedef int cli_guard_fn(void *user, double left_s, unsigned nth, bool hung);

typedef struct cli_guard {
  cli_guard_fn *work;
  void *user;
  double budget_s; /* counted from a child's first beat with busy set */
  double limit_s;  /* a busy child that does not beat for so long hangs, and is ended */
  unsigned most;   /* children that may be lost */
  void (*lost)(void *user, int sig, bool hung, bool again); /* what ended one (sig 0: its device was gone), and whether another is started */
} cli_guard;

/* What `work` returns when its device is gone, but would perhaps be there for another process. */
enum { CLI_GUARD_GONE = 99 };

/* Runs children until one returns. Its exit status; or `failed` when a child ended otherwise before it was busy, or too many did. The calling
 * process must have one thread, and no driver loaded. */
int cli_guard_run(const cli_guard *g, int failed);
/* In a child: it lives; busy: what takes the budget has begun, and another child could go on with it. */
void cli_guard_beat(bool busy);
#endif
