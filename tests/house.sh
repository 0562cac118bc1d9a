#!/bin/sh
# House figures, each of which must be 0: of all C files and headers, the public ones, tests, benchmarks and examples too, and of the texts of kernels, as
# clang-format lays them out at 80 columns. Prints a line a figure, and the places behind one that is not 0.
cd "${srcdir:-$(dirname "$0")/..}" || exit 1
attributes=KERNEL,FN,FN_IN,GLOBAL,LOCAL,LOCAL_PTR,CONSTANT,CONSTANT_PTR,FEW_LANES,UNIT_KERNEL # of the dialect that kernels are written in
style="{BasedOnStyle: LLVM, ColumnLimit: 80, SortIncludes: Never, AttributeMacros: [$attributes]}"
file_lines=500 function_lines=60

command -v clang-format >/dev/null || { echo "no clang-format: scripts/install test"; exit 77; }
ctags --version 2>/dev/null | grep -q Universal || { echo "no Universal Ctags: scripts/install test"; exit 77; }
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
figure() { # what it counts; its places on standard input, a line each
  places=$(cat)
  n=$(printf '%s' "$places" | grep -c '')
  printf '%5d %s\n' "$n" "$1"
  [ "$n" = 0 ] || { printf '%s\n' "$places" | sed 's/^/        /'; : >"$tmp/bad"; }
}

files=$(ls include/*.h include/*/*.h runtime/*/*.[ch] kernels/*.[ch] kernels/ref/*.[ch] cli/*.[ch] cli/serve/*.[ch] cli/load/*.[ch] examples/*.c tests/*.[ch] tests/bench/*.[ch] tools/*.c \
  kernels/cl/*.cl kernels/cl/*.clh |
  grep -vx -e kernels/sources.c -e cli/serve/page_text.c)
mkdir "$tmp/src"
tar cf - $files | tar xf - -C "$tmp/src"
cd "$tmp/src" || exit 1
printf '%s\n' $files | xargs -n 20 -P "$(nproc)" clang-format -i --style="$style" || exit 1
awk '{ n[FILENAME]++ } END { for (f in n) print n[f], f }' $files | sort -rn >"$tmp/files"
# Of each function its length, place and name; one without an end is a function that was not understood. Macros that stand like attributes or, with arguments,
# for whole functions are nothing to ctags, which passes over what is behind them else.
ctags --quiet --options=NONE --languages=C --langmap=C:.c.h.cl.clh -I "$attributes,KERNEL_OF+,OF_16+" --kinds-C=f --fields=+ne -f - $files |
  awk -F '\t' '{ first = last = 0
    for (k = 4; k <= NF; k++) { if ($k ~ /^line:/) first = substr($k, 6); if ($k ~ /^end:/) last = substr($k, 5) }
    print last ? last - first + 1 : 999999, $2, $1 }' | sort -rn >"$tmp/functions"
cd "$OLDPWD" || exit 1
n_files=$(grep -c '' "$tmp/files") n_functions=$(grep -c '' "$tmp/functions")
[ "$n_files" -gt 100 ] && [ "$n_functions" -gt 1000 ] || { echo "only $n_files files and $n_functions functions were found"; exit 1; }
echo "$n_files files, the longest $(head -n 1 "$tmp/files"); $n_functions functions, the longest $(head -n 1 "$tmp/functions")"

# FN and KERNEL begin nearly every function of a kernel's text.
for file in $(cd "$tmp/src" && ls kernels/cl/*); do
  begun=$(grep -cE '^(FN|KERNEL)' "$tmp/src/$file") found=$(cut -d ' ' -f 2 "$tmp/functions" | grep -cFx "$file")
  [ "$begun" -le "$found" ] || echo "$file: $begun functions, $found found"
done | figure "kernel texts that were not understood"

awk -v most=$file_lines '$1 > most' "$tmp/files" | figure "files over $file_lines lines"
awk -v most=$function_lines '$1 > most' "$tmp/functions" | figure "functions over $function_lines lines"

srcdir=. sh tests/t_includes.sh arrows >"$tmp/arrows"
[ "$(grep -c '' "$tmp/arrows")" -gt 200 ] || { echo "tests/t_includes.sh told too few arrows"; exit 1; }
# Folders, and modules: x.c, x.h and x_impl.h are one.
sed -E 's,([^ ]*)/[^ ]* ([^ ]*) ([^ ]*)/[^ ]* ([^ ]*),\1 \3 \2 \4,' "$tmp/arrows" | awk '$1 != $2' | sort -u >"$tmp/folders"
sed -E 's,(_impl)?\.[a-z]+ [^ ]*,,g' "$tmp/arrows" | awk '$1 != $2' | sort -u >"$tmp/modules"
awk '$4 >= $3 { print $1 " (level " $3 ") to " $2 " (level " $4 ")" }' "$tmp/folders" | figure "arrows upward between folders"
circles() { # tsort names the members of each
  tsort 2>&1 >/dev/null | awk '/contains a loop/ { if (line) print line; line = ""; next } { line = line " " $2 } END { if (line) print line }'
}
cut -d ' ' -f 1,2 "$tmp/folders" | circles | figure "circles between folders"
circles <"$tmp/modules" | figure "circles between files"

grep -nE '(^|[^A-Za-z0-9_])(i|buf|c|p)\[[0-9]+\]' kernels/*.c kernels/ref/*.[ch] runtime/plan/*.[ch] runtime/engine/*.[ch] runtime/check/*.[ch] |
  grep -v '^kernels/sources.c:' | figure "positions by number"
grep -n 'pthread_create(' runtime/*/*.[ch] kernels/*.[ch] kernels/ref/*.[ch] | grep -v '^runtime/base/thread.c:' | figure "threads that may take a program's signals"
[ ! -e "$tmp/bad" ]
