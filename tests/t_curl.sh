#!/bin/bash
# README's examples of requests, as they stand there, against a server of models/austen: each must be answered. KOINE: the command.
koine=$(realpath "${KOINE:-./koine}")
top=$(realpath "${srcdir:-.}")
command -v curl >/dev/null || { echo "SKIP: no curl: scripts/install test"; exit 77; }
"$koine" serve -m . 2>&1 | grep -q "without the server" && { echo "SKIP: built without the server"; exit 77; }
tmp=$(mktemp -d) || exit 1
"$koine" serve -m "$top/models/austen" --think off --device portable -ub 64 --port 0 2>"$tmp/err" &
server=$!
trap 'kill $server; wait $server; rm -rf "$tmp"' EXIT
for _ in $(seq 600); do grep -q listening "$tmp/err" && break; kill -0 $server 2>/dev/null || break; sleep 0.1; done
port=$(sed -n 's/.*listening on http:.*:\([0-9]*\)$/\1/p' "$tmp/err")
[ -n "$port" ] || { echo "the server said: $(cat "$tmp/err")"; exit 1; }
n=0 bad=0
while read -r line; do
  n=$((n + 1))
  bash -c "${line//:8080/:$port} -f" >"$tmp/out" && [ -s "$tmp/out" ] || { echo "FAIL: $line: $(cat "$tmp/out")"; bad=$((bad + 1)); }
done < <(sed -n 's/^    \(curl .*\)/\1/p' "$top/README.md")
echo "t_curl: $n requests, $bad failed"
[ "$n" -ge 5 ] && [ "$bad" = 0 ]
