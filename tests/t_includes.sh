#!/bin/sh
# Includes go downwards only: each file of runtime/ and kernels/ has a level (see HACKING.md), and includes its own or a lower one.
# Vendor headers appear in their own dev_*.c, hwloc in topo.c, and the command sees koine.h alone.
cd "${srcdir:-.}" || exit 1
bad=0
level() {
  case $1 in
    base|koine) echo 0 ;;
    dev|topo|weights|weights_table|safetensors|jscan|model|model_*|config|tok|tok_*|chat|chat_*|sample|ops|ops_*|layout|mat|sources) echo 1 ;;
    backend|backends|dev_*|ref|ref_*|repack|rope|clblast) echo 2 ;;
    verify|verify_*) echo 3 ;;
    plan|exec|gemm|upload|graph|session) echo 4 ;;
    runtime|runtime_text|api|text|bench|known_answer) echo 5 ;;
    *) echo x ;;
  esac
}
for f in runtime/*.[ch] kernels/*.[ch]; do
  me=$(level "$(basename "$f" | sed 's/\.[ch]$//')")
  [ "$f" = kernels/sources.c ] && continue
  [ "$me" = x ] && { echo "$f has no level in tests/t_includes.sh"; bad=1; continue; }
  for h in $(sed -n 's/^#include "\(.*\)\.h"/\1/p' "$f"); do
    l=$(level "$(basename "$h")")
    [ "$h" = config ] && continue
    [ "$l" != x ] && [ "$l" -le "$me" ] || { echo "$f (level $me) includes $h.h (level $l)"; bad=1; }
  done
done
only() { # header, files that may include it
  found=$(grep -lE "^#include <$1" runtime/* kernels/*.[ch] cli/* 2>/dev/null | grep -vE "^($2)\$")
  [ -z "$found" ] || { echo "<$1 is included by $found"; bad=1; }
}
only CL/ 'runtime/dev_cl.*'
only clblast 'runtime/clblast.c'
only hwloc 'runtime/topo.c'
found=$(grep -nE '^#include "' cli/*.[ch] 2>/dev/null | grep -vE '"(koine|options|cmd|common|cli|term)[a-z_]*\.h"')
[ -z "$found" ] || { echo "the command includes: $found"; bad=1; }
exit $bad
