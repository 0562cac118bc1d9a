#!/bin/bash
# `make install` and the loader's cache: it is renewed where it is what finds the library, and not for a package or a folder of one's own.
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
bad=0
fail() { echo "FAIL: $*"; bad=$((bad + 1)); }
cat >"$tmp/ldconfig" <<END
#!/bin/sh
[ \$# -gt 0 ] && { echo "/known/lib: (from /etc/ld.so.conf:1)"; exit 0; }
echo renewed >>"$tmp/log"
exit \$(cat "$tmp/status")
END
chmod +x "$tmp/ldconfig"
hook() { : >"$tmp/log"; echo "$1" >"$tmp/status"; shift; MAKEFLAGS= make -s --no-print-directory install-exec-hook LDCONFIG="$tmp/ldconfig" "$@" >"$tmp/out" 2>&1 || fail "$*: $(cat "$tmp/out")"; }
hook 0 libdir=/known/lib
[ -s "$tmp/log" ] || fail "the cache is not renewed for a folder that it has"
[ ! -s "$tmp/out" ] || fail "said something: $(cat "$tmp/out")"
hook 1 libdir=/known/lib
grep -q 'run ldconfig as root' "$tmp/out" || fail "a refused ldconfig is not told: $(cat "$tmp/out")"
hook 0 libdir=/known/library
[ ! -s "$tmp/log" ] || fail "the cache is renewed for a folder that it does not have"
hook 0 libdir=/known/lib DESTDIR="$tmp"
[ ! -s "$tmp/log" ] || fail "the cache is renewed for a package"
echo "t_install: $bad failed"
[ "$bad" = 0 ]
