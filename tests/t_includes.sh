#!/bin/sh
# Includes go downwards only, and folders are the levels: a file includes its own folder or one of a lower level.
# Vendor headers appear in their own files, hwloc in topo.c, and the command sees koine.h alone.
cd "${srcdir:-.}" || exit 1
bad=0
level() {
  case $1 in
    include|runtime/base) echo 0 ;;
    kernels|runtime/file|runtime/text) echo 1 ;;
    kernels/ref|runtime/model|runtime/device) echo 2 ;;
    runtime/check|runtime/plan) echo 3 ;;
    runtime/engine) echo 4 ;;
    runtime/tune) echo 5 ;;
    runtime/api) echo 6 ;;
    *) echo x ;;
  esac
}
for f in runtime/*/*.[ch] kernels/*.[ch] kernels/ref/*.[ch]; do
  [ "$f" = kernels/sources.c ] && continue
  me=$(dirname "$f")
  [ "$(level "$me")" = x ] && { echo "$f: its folder has no level in tests/t_includes.sh"; bad=1; continue; }
  for h in $(sed -n 's/^#include "\(.*\)"/\1/p' "$f"); do
    case $h in koine.h) d=include ;; kernels/*) d=$(dirname "$h") ;; */*) d=runtime/$(dirname "$h") ;; *) d=$me ;; esac
    l=$(level "$d")
    [ "$d" = "$me" ] || [ "$d" = include ] || { [ "$l" != x ] && [ "$l" -lt "$(level "$me")" ]; } ||
      { echo "$f (level $(level "$me")) includes $h (level $l)"; bad=1; }
  done
done
only() { # header, files that may include it
  found=$(grep -lE "^#include <$1" runtime/*/* kernels/*.[ch] kernels/ref/* cli/* 2>/dev/null | grep -vE "^($2)\$")
  [ -z "$found" ] || { echo "<$1 is included by $found"; bad=1; }
}
only CL/ 'runtime/device/dev_cl.*'
only clblast 'runtime/device/clblast.c'
only hwloc 'runtime/device/topo.c'
found=$(grep -nE '^#include "' cli/*.[ch] 2>/dev/null | grep -vE '"(koine|options|cmd|common|cli|term)[a-z_]*\.h"')
[ -z "$found" ] || { echo "the command includes: $found"; bad=1; }
exit $bad
