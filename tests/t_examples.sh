#!/bin/bash
# The programs of examples/ and the header, as a stranger would use them: compiled with $CC against the built library and run, the header
# as C and C++, and an installed tree through pkg-config. CC, CXX: compilers; KOINE_CFLAGS: what the library was built with (sanitizers).
top=$(realpath "${srcdir:-.}")
lib=$PWD/.libs
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
read -ra cc <<<"${CC:-cc} ${KOINE_CFLAGS-}"
export KOINE_BACKENDS=host
bad=0
fail() { echo "FAIL: $*"; bad=$((bad + 1)); }
[ -f "$lib/libkoine.so" ] || { echo "no shared library was built"; exit 77; }

# ---- compiled against the build, run with good and bad input ----
ln -s "$top/include" "$tmp/include"
for e in logits chat place; do
  "${cc[@]}" -std=c11 -Wall -Wextra -Wpedantic -Werror -I"$tmp/include" "$top/examples/$e.c" "$lib/libkoine.so" -Wl,-rpath,"$lib" -o "$tmp/$e" ||
    fail "$e.c does not compile"
done
quant=$top/tests/data/tiny-quant austen=$top/models/austen

"$tmp/logits" "$quant" 5 100 7 3 >"$tmp/top" 2>"$tmp/err" || fail "logits: $(cat "$tmp/err")"
[ "$(wc -l <"$tmp/top")" = 5 ] || fail "logits: expected 5 tokens, found: $(cat "$tmp/top")"
sort -c -k2,2gr "$tmp/top" || fail "logits: the likeliest is not first"
grep -q 'uploading weights 100 %' "$tmp/err" || fail "logits: no progress: $(cat "$tmp/err")"
# The same as the command says: the last row of [4][128] floats.
printf '\005\0\0\0\144\0\0\0\007\0\0\0\003\0\0\0' >"$tmp/ids"
./koine logits -m "$quant" --tokens "$tmp/ids" -o "$tmp/rows" --device host 2>&1 || fail "koine logits"
od -An -v -tf4 -w512 "$tmp/rows" | tail -1 | tr -s ' ' '\n' | grep . | nl -v0 | sort -k2,2gr | head -5 | awk '{ printf "%d %.5f\n", $1, $2 }' >"$tmp/want"
[ "$(cut -d' ' -f1 "$tmp/top")" = "$(cut -d' ' -f1 "$tmp/want")" ] || fail "logits: expected $(cat "$tmp/want"), found $(cat "$tmp/top")"

refused() { # status, pattern, program, arguments
  local want=$1 pattern=$2 got
  shift 2
  "$@" >"$tmp/out" 2>"$tmp/err"
  got=$?
  [ $got = "$want" ] || fail "$*: expected status $want, found $got"
  grep -qE "$pattern" "$tmp/err" || fail "$*: expected /$pattern/, found: $(cat "$tmp/err")"
}
refused 2 usage "$tmp/logits" "$quant"
refused 2 "found '1x'" "$tmp/logits" "$quant" 1x
refused 1 'logits: .*nowhere' "$tmp/logits" "$tmp/nowhere" 1
refused 1 'outside the vocabulary' "$tmp/logits" "$quant" 128
refused 2 usage "$tmp/chat"
refused 1 'chat: .*tokenizer.json' "$tmp/chat" "$quant" hello

# Where layers lie, here and on a machine that is described; what is printed is a placement that runs.
"$tmp/place" "$quant" >"$tmp/out" 2>"$tmp/err" && grep -q '^layers 0-.* device=host embed head' "$tmp/out" || fail "place: $(cat "$tmp/out" "$tmp/err")"
./koine logits -m "$quant" --tokens "$tmp/ids" -o "$tmp/same" --placement "$tmp/out" && cmp "$tmp/same" "$tmp/rows" || fail "place: its output as --placement"
"$tmp/place" v4-flash 100000 "$top/tests/data/machines/unlike.machine" >"$tmp/out" && [ "$(grep -c '^layers' "$tmp/out")" -gt 1 ] || fail "place: $(cat "$tmp/out")"
refused 2 usage "$tmp/place"
refused 1 'place: .*nowhere' "$tmp/place" "$tmp/nowhere"
refused 1 'koine devices --save' "$tmp/place" v4-flash 0 "$tmp/nowhere"

# A second turn goes on from the first one's caches: all the prompts and answers together hold fewer tokens than two prompts from the start.
"$tmp/chat" "$austen" 'Good "morning".' $'tab\tand\nline' >"$tmp/text" 2>"$tmp/err" || fail "chat: $(cat "$tmp/err")"
[ "$(wc -c <"$tmp/text")" -gt 80 ] || fail "chat: expected two answers, found: $(cat "$tmp/text")"
"$tmp/chat" "$austen" 'Good "morning".' 2>/dev/null | head -c 60 | cmp - <(head -c 60 "$tmp/text") || fail "chat: the first answer depends on what comes later"
evaluated=$(sed -n 's/^\[tokens evaluated in all: \([0-9]*\)\]$/\1/p' "$tmp/err")
[ "${evaluated:-999}" -le 140 ] || fail "chat: expected two short prompts and two answers of 40 tokens, found $evaluated tokens evaluated"

# ---- the header ----
{
  printf '#include <koine.h>\n#include <koine.h>\nint main(void)\n{\n  int bad = koine_version()[0] == 0;\n'
  for init in $(cat "$top"/include/koine/*.h | grep -oE '^#define KOINE_[A-Z_]+_INIT' | cut -d' ' -f2); do # each initialises every member of its record
    record=$(tr '[:upper:]' '[:lower:]' <<<"${init%_INIT}")
    printf '  %s %s_made = %s;\n  bad |= %s_made.size != sizeof(%s);\n' "$record" "$record" "$init" "$record" "$record"
  done
  printf '  return bad;\n}\n'
} >"$tmp/header.c"
[ "$(grep -c _made "$tmp/header.c")" -ge 28 ] || fail "koine.h has fewer initialisers than records"
cp "$tmp/header.c" "$tmp/header.cc"
"${cc[@]}" -std=c99 -Wall -Wextra -Wpedantic -Werror -I"$tmp/include" "$tmp/header.c" "$lib/libkoine.so" -Wl,-rpath,"$lib" -o "$tmp/header" &&
  "$tmp/header" || fail "koine.h as C"
read -ra cxx <<<"${CXX:-g++} ${KOINE_CFLAGS-}"
if command -v "${cxx[0]}" >/dev/null; then
  "${cxx[@]}" -std=c++11 -Wall -Wextra -Wpedantic -Werror -I"$tmp/include" "$tmp/header.cc" "$lib/libkoine.so" -Wl,-rpath,"$lib" -o "$tmp/header" &&
    "$tmp/header" || fail "koine.h as C++"
else
  echo "SKIP: the header as C++: no ${cxx[0]}"
fi

# ---- installed, found through pkg-config ----
root=$tmp/root
MAKEFLAGS= "${MAKE:-make}" install DESTDIR="$root" >"$tmp/install" 2>&1 || fail "make install: $(tail -5 "$tmp/install")"
pc=$(find "$root" -name koine.pc) shared=$(find "$root" -name 'libkoine.so.*.*') program=$(find "$root" -path '*bin/koine')
for what in "$pc" "$shared" "$program" "$(find "$root" -name koine.h)" "$(find "$root" -path '*include/koine/text.h')" "$(find "$root" -name koine.1)" "$(find "$root" -path '*bash-completion*' -type f)"; do
  [ -n "$what" ] || fail "not installed: a file of this list: $(cd "$root" && find . -type f)"
done
if [ -n "$pc" ] && [ -n "$shared" ] && [ -n "$program" ]; then
  export PKG_CONFIG_SYSROOT_DIR=$root
  PKG_CONFIG_PATH=$(dirname "$pc")${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
  export PKG_CONFIG_PATH
  libdir=$(dirname "$shared")
  read -ra flags <<<"$(pkg-config --cflags --libs koine)"
  # What the library itself needs is found by it, not named by its users: only -lkoine.
  [[ " ${flags[*]} " != *" -lhwloc "* ]] || fail "koine.pc names the library's own libraries: ${flags[*]}"
  "${cc[@]}" "$top/examples/logits.c" "${flags[@]}" -o "$tmp/installed" || fail "logits.c through koine.pc: ${flags[*]}"
  LD_LIBRARY_PATH=$libdir "$tmp/installed" "$quant" 5 100 7 3 2>/dev/null | cmp - "$tmp/top" || fail "the installed library says something else"
  version=$(LD_LIBRARY_PATH=$libdir "$program" --version)
  [ "$version" = "koine $(pkg-config --modversion koine)" ] || fail "versions: $version, koine.pc $(pkg-config --modversion koine)"
  ! readelf -d "$program" "$shared" | grep -iE 'R(UN)?PATH' | grep -F "$PWD" || fail "an installed file looks for libraries in the build folder"
fi
[ "$bad" = 0 ]
