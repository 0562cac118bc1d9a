#!/bin/bash
# Programs and libraries of different releases: one built against the header of release 0.1.0 (tests/data/koine-0.1.0) runs with a library
# whose records have grown, and one of a newer header with this library. The grown library is this one, compiled against a header with a
# member more at the end of every record. CC: the compiler. Runs in the build folder.
top=$(realpath "${srcdir:-.}")
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
bad=0
fail() { echo "FAIL: $*"; bad=$((bad + 1)); }
lib=$PWD/.libs
[ -f "$lib/libkoine.so" ] || { echo "no shared library was built"; exit 77; }
export KOINE_BACKENDS=host
read -ra cc <<<"${CC:-cc} ${KOINE_CFLAGS-}"
frozen=$top/tests/data/koine-0.1.0 headers=$top/include

# ---- the headers ----
# Until 0.1.0 is out, its header is this one.
version=$(sed -n 's/^#define KOINE_VERSION "\(.*\)"/\1/p' "$headers/koine/base.h")
[ "$version" != 0.1.0 ] || diff -r "$frozen" "$headers" || fail "tests/data/koine-0.1.0 is not the header: cp -r include/. tests/data/koine-0.1.0"
records=$(cat "$headers"/koine/*.h | grep -c '^  size_t size;')
cp -r "$frozen" "$tmp/old"
cp -r "$headers" "$tmp/now"
cp -r "$headers" "$tmp/grown"
for h in "$headers"/koine/*.h; do
  awk '/^typedef struct koine_/ { record = 0 } /^  size_t size;/ { record = 1 } record && /^} koine_/ { print "  uint64_t grown;"; record = 0 } 1' "$h" >"$tmp/grown/koine/${h##*/}"
done
grown=$(cat "$tmp"/grown/koine/*.h | grep -c '^  uint64_t grown;')
[ "$grown" = "$records" ] || fail "expected $records records with a size, grown: $grown"
# Each is a row of the library's table and of the program's calls, and ends in a member, not in padding.
for r in $(awk '/^  size_t size;/ { on = 1 } on && /^} koine_/ { gsub(/[};]/, ""); print $1; on = 0 }' "$headers"/koine/*.h); do
  last=$(grep -oE "X\($r, [a-z_]+\)" "$top/runtime/base/record.h" | sed 's/.*, \(.*\))/\1/')
  [ -n "$last" ] || fail "runtime/base/record.h has no row for $r"
  grep -q "^ *FILLED($r, " "$top/tests/abi.c" || { grep -q "^ *TAKEN($r, " "$top/tests/abi.c" && grep -q "^ *REFUSED($r, " "$top/tests/abi.c"; } ||
    fail "tests/abi.c uses no $r: it wants FILLED, or TAKEN and REFUSED"
  printf '#include <koine.h>\n#include <stddef.h>\n_Static_assert(offsetof(%s, %s) + sizeof(((%s *)0)->%s) == sizeof(%s), "padding");\n' \
    "$r" "$last" "$r" "$last" "$r" >"$tmp/record.c"
  "${cc[@]}" -std=c11 -I"$tmp/old" -c "$tmp/record.c" -o "$tmp/record.o" 2>"$tmp/err" || fail "$r of 0.1.0 ends in padding: $(head -1 "$tmp/err")"
done

# ---- a library of the grown header ----
variable() { printf 'include Makefile\nt_abi_print:\n\t@echo "$(%s)"\n' "$1" >"$tmp/print.mk"; MAKEFLAGS= "${MAKE:-make}" -s -f "$tmp/print.mk" t_abi_print; }
eval "defs=($(sed -n 's/^DEFS = //p' Makefile))" # as make hands them to a shell
read -ra flags <<<"$(variable AM_CFLAGS) $(variable CFLAGS)"
read -ra libs <<<"$(variable LIB_LIBS)"
mapfile -t objects < <(ar t "$lib/libkoi.a" | grep '\.o$')
sources=()
for o in "${objects[@]}"; do
  c=${o%.o}.c c=${c#libkoi_la-}
  found=$(find "$top/runtime" "$top/kernels" "$PWD/kernels" -name "$c" | sort -u | head -1)
  [ -n "$found" ] || fail "no source of $o"
  sources+=("$found")
done
mkdir "$tmp/objects"
build() { "${cc[@]}" -I"$tmp/grown" -I"$top/runtime" -I"$top" -I"$PWD" "${defs[@]}" "${flags[@]}" -w -O0 -fPIC -c "$1" -o "$tmp/objects/$(basename "$1" .c).o"; }
pids=()
for s in "${sources[@]}"; do
  build "$s" || fail "$s does not compile against the grown header" &
  pids+=($!)
  [ ${#pids[@]} -lt 2 ] || { wait "${pids[0]}"; pids=("${pids[@]:1}"); }
done
wait
"${cc[@]}" -shared "$tmp"/objects/*.o "${libs[@]}" -lm -lpthread -o "$tmp/libkoine.so" || fail "the grown library does not link"

# ---- programs ----
program() { # name, header's folder, library, flags
  "${cc[@]}" -std=c11 -Wall -Wpedantic -Werror -Wno-missing-field-initializers "${@:4}" -I"$tmp/$2" "$top/tests/abi.c" "$3" -Wl,-rpath,"$(dirname "$3")" -o "$tmp/$1" ||
    fail "$1 does not compile"
  "$tmp/$1" "$top/models/austen" >"$tmp/out" 2>&1 || fail "$1: $(cat "$tmp/out")"
  grep -qE '^abi: [1-9][0-9]+ checks, 0 failed$' "$tmp/out" || fail "$1 did not run to its end: $(cat "$tmp/out")"
}
program old-with-grown old "$tmp/libkoine.so"
program old-with-now old "$lib/libkoine.so"
program now-with-grown now "$tmp/libkoine.so" -DSAME
program grown-with-now grown "$lib/libkoine.so" -DGROWN
echo "t_abi: $records records, $bad failed"
[ "$bad" = 0 ]
