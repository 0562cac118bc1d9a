#!/bin/bash
# A Turkish locale, in which I and i are no pair: the tests that compare words run in it, and pass.
command -v localedef >/dev/null || { echo "SKIP: no localedef (Debian's libc-bin)"; exit 77; }
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
localedef -i tr_TR -f UTF-8 "$tmp/tr_TR.UTF-8" 2>"$tmp/log" || [ -d "$tmp/tr_TR.UTF-8" ] || { echo "SKIP: no Turkish locale can be made (Debian's locales): $(head -1 "$tmp/log")"; exit 77; }
unset LC_ALL
export LOCPATH=$tmp LC_CTYPE=tr_TR.UTF-8
bad=0
for t in t_topo t_limits t_kind; do
  ./tests/$t >"$tmp/out" 2>&1 || { echo "FAIL: $t in a Turkish locale"; cat "$tmp/out"; bad=1; }
done
exit $bad
