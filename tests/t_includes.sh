#!/bin/sh
# Includes go downwards only, and folders are the levels: a file includes its own folder or one of a lower level.
# Vendor headers appear in their own files, hwloc in topo.c, and the command sees koine.h alone.
# `t_includes.sh arrows` prints instead what includes what: file, its level, header, its level. tests/house.sh reads that. `t_includes.sh levels`: folder, level.
cd "${srcdir:-.}" || exit 1
bad=0
levels='
include/koine -2 include -1
runtime/base 0
kernels/cl 0 kernels 1 runtime/file 1 runtime/text 1
kernels/ref 2 runtime/model 2 runtime/device 2
runtime/check 3 runtime/plan 3
runtime/engine 4
runtime/tune 5 runtime/quant 5
runtime/api 6
cli/serve 7 cli/load 7
cli 8'
[ "$1" = levels ] && { printf '%s %s\n' $levels; exit; }
arrows() {
  awk -v levels="$levels" '
    function folder(file) { return substr(file, 1, match(file, "/[^/]*$") - 1) }
    function level(file) { return folder(file) in at ? at[folder(file)] : "none" }
    BEGIN { n = split(levels, word); for (k = 1; k < n; k += 2) at[word[k]] = word[k + 1] }
    FILENAME !~ /^(kernels\/sources|cli\/serve\/page_text)\.c$/ && /^#include "/ {
      split($0, quoted, "\""); h = quoted[2]
      to = h ~ /^koine(\.h$|\/)/ ? "include/" h : h ~ /^kernels\// ? h : h ~ /^(serve|load)\// ? "cli/" h : h ~ /\// ? "runtime/" h : folder(FILENAME) "/" h
      print FILENAME, level(FILENAME), to, level(to)
    }' include/*.h include/koine/*.h runtime/*/*.[ch] kernels/*.[ch] kernels/ref/*.[ch] cli/*.[ch] cli/serve/*.[ch] cli/load/*.[ch]
}
[ "$1" = arrows ] && { arrows; exit; }

found=$(arrows | awk '
  function folder(file) { return substr(file, 1, match(file, "/[^/]*$") - 1) }
  $2 == "none" || $4 == "none" { print $1 " includes " $3 ": a folder without a level in tests/t_includes.sh"; next }
  $4 >= $2 && folder($1) != folder($3) { print $1 " (level " $2 ") includes " $3 " (level " $4 ")" }')
[ -z "$found" ] || { echo "$found"; bad=1; }
# Who plans sees no device: none of its files has the backends' hooks in sight, by whatever way.
found=$(arrows | awk '
  { to[$1] = to[$1] " " $3 }
  END {
    for (file in to) if (file ~ /^runtime\/plan\//) {
      n = 1; delete seen; way[1] = file; seen[file] = 1
      for (k = 1; k <= n; k++) {
        m = split(to[way[k]], next_, " ")
        for (j = 1; j <= m; j++) if (!seen[next_[j]]++) way[++n] = next_[j]
      }
      if (seen["runtime/device/backend.h"]) print file " sees runtime/device/backend.h"
    }
  }')
[ -z "$found" ] || { echo "$found"; bad=1; }
only() { # header, files that may include it
  found=$(grep -lE "^#include <$1" runtime/*/* kernels/*.[ch] kernels/ref/* cli/*.[ch] cli/serve/* cli/load/* 2>/dev/null | grep -vE "^($2)\$")
  [ -z "$found" ] || { echo "<$1 is included by $found"; bad=1; }
}
only CL/ 'runtime/device/dev_cl.*'
only clblast 'runtime/device/clblast.c'
only hwloc 'runtime/device/topo.c'
only microhttpd 'cli/serve/http.h'
only curl 'cli/load/wire.h'
found=$(grep -nE '^#include "' cli/*.[ch] 2>/dev/null | grep -vE '"(koine|options|cmd|common|cli|out|term|guard|serve/|load/)[a-z0-9_]*\.h"')
[ -z "$found" ] || { echo "the command includes: $found"; bad=1; }
own=$(ls cli/serve/*.h | sed 's,.*/,,' | tr '\n' '|')
found=$(grep -nE '^#include "' cli/serve/*.[ch] | grep -v '^cli/serve/page_text.c:' | grep -vE "\"(${own}koine.h)\"")
[ -z "$found" ] || { echo "the server includes: $found"; bad=1; }
own=$(ls cli/load/*.h | sed 's,.*/,,' | tr '\n' '|')
found=$(grep -nE '^#include "' cli/load/*.[ch] | grep -vE "\"(${own%|})\"")
[ -z "$found" ] || { echo "the load test includes: $found"; bad=1; }
exit $bad
