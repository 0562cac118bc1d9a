#!/bin/bash
# The same bytes in any locale: prompts with the checkpoint's prose, JSON, CSV, tables, messages, in one where i is not the small I, and in
# one with a comma in numbers. CC: the compiler.
top=$(realpath "${srcdir:-.}")
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
bad=0
fail() { echo "FAIL: $*"; bad=$((bad + 1)); }
[ -f .libs/libkoine.so ] || { echo "no shared library was built"; exit 77; }
command -v localedef >/dev/null || { echo "SKIP: no localedef"; exit 77; }
for l in tr_TR de_DE; do
  localedef -i $l -f UTF-8 "$tmp/$l.UTF-8" 2>/dev/null || { echo "SKIP: no source of the locale $l (package locales)"; exit 77; }
done
localedef -i tr_TR -f ISO-8859-9 "$tmp/tr_TR.ISO-8859-9" 2>/dev/null || { echo "SKIP: no ISO-8859-9 (package locales)"; exit 77; }
mkdir -p "$tmp/model/encoding"
cp "$top"/models/austen/* "$tmp/model/" 2>/dev/null
cat >"$tmp/model/encoding/encoding_dsv4.py" <<'PY'
REASONING_EFFORT_HIGH = "Think high \x49\u0130.\n\n"
REASONING_EFFORT_MAX = "Think at most.\n\n"
TOOLS_TEMPLATE = "Tools:\n{tool_schemas}"
response_format_template = "Format: {schema}"
PY
read -ra cc <<<"${CC:-cc} ${KOINE_CFLAGS-}"
"${cc[@]}" -std=c11 -Wall -Wextra -Werror -I"$top/include" "$top/tests/same_bytes.c" "$PWD/.libs/libkoine.so" -Wl,-rpath,"$PWD/.libs" -o "$tmp/same_bytes" || fail "same_bytes.c does not compile"
export KOINE_BACKENDS=host LOCPATH=$tmp
"$tmp/same_bytes" "$tmp/model" C >"$tmp/C" 2>&1 || fail "in the C locale: $(tail -1 "$tmp/C")"
for word in 'Think high' 'Think at most' '"minimum": 1.5' '12345678.0' 'tg9,' 'temperature is -1.5'; do
  grep -qF -- "$word" "$tmp/C" || fail "expected '$word' among what is said"
done
for l in tr_TR.UTF-8 de_DE.UTF-8 tr_TR.ISO-8859-9; do
  "$tmp/same_bytes" "$tmp/model" $l >"$tmp/$l.out" 2>&1 || fail "$l: $(tail -1 "$tmp/$l.out")"
  cmp "$tmp/C" "$tmp/$l.out" || fail "$l: $(diff "$tmp/C" "$tmp/$l.out" | head -5)"
done
[ "$bad" = 0 ]
