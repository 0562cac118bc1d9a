#!/bin/bash
# The page of koine serve as it is sent, without a browser: its bytes, its policy, that it names no other server; /plan. KOINE: the command.
koine=$(realpath "${KOINE:-./koine}")
top=$(realpath "${srcdir:-.}")
command -v curl >/dev/null || { echo "SKIP: no curl: scripts/install test"; exit 77; }
"$koine" serve -m . 2>&1 | grep -q "without the server" && { echo "SKIP: built without the server"; exit 77; }
tmp=$(mktemp -d) || exit 1
printf 'sesame\n' >"$tmp/keys"
"$koine" serve -m "$top/models/austen" --device portable -ub 64 --api-key-file "$tmp/keys" --port 0 2>"$tmp/err" &
server=$!
trap 'kill $server; wait $server; rm -rf "$tmp"' EXIT
for _ in $(seq 600); do grep -q listening "$tmp/err" && break; kill -0 $server 2>/dev/null || break; sleep 0.1; done
at=http://127.0.0.1:$(sed -n 's/.*listening on http:.*:\([0-9]*\)$/\1/p' "$tmp/err")
bad=0
fail() { echo "FAIL: $*"; bad=$((bad + 1)); }

[ "$(curl -s -D "$tmp/head" -o "$tmp/page" -w '%{http_code} %{content_type}' "$at/")" = "200 text/html; charset=utf-8" ] || fail "/: expected 200 and text/html, found $(cat "$tmp/head")"
cmp "$tmp/page" "$top/cli/serve/page.html" || fail "the page is another one than cli/serve/page.html"
[ "$(curl -sI -o /dev/null -w '%{http_code}' "$at/")" = 200 ] || fail "HEAD /: expected 200"
[ "$(wc -l <"$tmp/page")" -le 1000 ] || fail "expected at most 1000 lines"

# Nothing from elsewhere, and nothing that the policy would keep from running.
grep -nE '(https?:)?//[A-Za-z0-9]+\.|(src|href|action)="?(https?:)?//|@import|url\(' "$tmp/page" && fail "the page names another server"
grep -nE '<[a-z][^>]* (on[a-z]+|style)=' "$tmp/page" && fail "a script or a style in an attribute does not run"
grep -nE 'innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function' "$tmp/page" && fail "text could become markup"
[ "$(grep -cE '<script|<style' "$tmp/page")" = 2 ] || fail "expected one script and one style"

# The policy as a browser reads it: the hash of what stands between the tags.
policy=$(tr -d '\r' <"$tmp/head" | sed -n 's/^Content-Security-Policy: //p')
for part in "default-src 'none'" "connect-src 'self'" "base-uri 'none'" "form-action 'none'" "frame-ancestors 'none'"; do [[ "; $policy;" == *"; $part;"* ]] || fail "policy: expected $part, found $policy"; done
[[ $policy == *unsafe* || $policy == *\** ]] && fail "policy: $policy"
for tag in script style; do
  tr '\n' '\001' <"$tmp/page" | sed "s,.*<$tag>,,; s,</$tag>.*,," | tr '\001' '\n' | sha256sum | cut -d' ' -f1 >"$tmp/sum"
  hash=$(sed 's/../\\x&/g' "$tmp/sum" | { read -r x; printf "$x"; } | base64)
  [[ "; $policy;" == *"; $tag-src 'sha256-$hash';"* ]] || fail "policy: expected $tag-src 'sha256-$hash', found $policy"
done

# What the page asks for its devices wants the key, and says where the layers are.
[ "$(curl -s -o /dev/null -w '%{http_code}' "$at/plan")" = 401 ] || fail "/plan: expected 401 without a key"
curl -s -H 'Authorization: Bearer sesame' "$at/plan" >"$tmp/plan"
grep -qE '"where": ?"all layers on .*"plan": ?".*\\nlayers 0-4 device=[^ ]+ embed head name=' "$tmp/plan" || fail "/plan: $(cat "$tmp/plan")"
[ "$bad" = 0 ] && echo "the page is what it should be"
[ "$bad" = 0 ]
