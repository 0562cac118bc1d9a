#!/bin/bash
# Flags that give up IEEE arithmetic: configure refuses them by name, and so does a compiler that knows what it was told.
top=$(realpath "${srcdir:-.}")
cc=${CC:-cc}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
bad=0
fail() { echo "FAIL: $*"; bad=$((bad + 1)); }
compiles() { echo '#include "base/base.h"' | $cc -x c -fsyntax-only -I"$top/include" -I"$top/runtime" "$@" - >"$tmp/log" 2>&1; }

compiles -O2 || fail "base.h does not compile: $(head -3 "$tmp/log")"
compiles -O3 -march=native || fail "harmless flags are refused: $(head -3 "$tmp/log")"
for flag in -ffast-math -Ofast -ffinite-math-only; do
  ! compiles -O2 $flag || fail "$flag compiles"
  grep -q 'IEEE arithmetic' "$tmp/log" || fail "$flag: no reason in the error: $(head -3 "$tmp/log")"
done
if $cc --version | grep -q 'Free Software Foundation'; then
  for flag in -funsafe-math-optimizations -freciprocal-math -fno-signed-zeros; do ! compiles -O2 $flag || fail "$flag compiles"; done
fi

cd "$tmp" || exit 1
for flags in CFLAGS="-O3 -ffast-math" CFLAGS=-Ofast LDFLAGS=-ffast-math CFLAGS=-fassociative-math "CC=$cc -ffinite-math-only"; do
  "$top/configure" -q "$flags" >log 2>&1 && fail "configure takes $flags"
  grep -q "error: build without ${flags##* }\|error: build without ${flags#*=}" log || fail "configure $flags: $(tail -2 log)"
done
echo "t_flags: $bad failed"
[ "$bad" = 0 ]
