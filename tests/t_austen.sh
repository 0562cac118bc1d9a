#!/bin/bash
# The model that ships, through the command: its figure holds, its text is the same on PoCL and on the host (exact cache, temperature 0), and a
# prompt gives English words. KOINE: the command to test.
koine=${KOINE:-./koine}
model=${srcdir:-.}/models/austen
bad=0
fail() { echo "FAIL: $*"; bad=1; }

device=portable
"$koine" devices | grep -qi 'portable computing' || device=host

# bits per byte as shipped: models/austen/README.md gives 1.5038 in the exact cache; it must stay at or below 1.52
for cache in exact packed; do
  figure=$("$koine" perplexity -m "$model" -f "$model/heldout.txt" --cache $cache --device $device --json | grep -o '"bits_per_byte": *[0-9.]*' | grep -o '[0-9.]*$')
  echo "bits per byte, $cache cache on $device: ${figure:-none}"
  awk -v f="${figure:-9}" 'BEGIN { exit !(f > 1.40 && f <= 1.52) }' || fail "expected at most 1.52 bits per byte with the $cache cache, found ${figure:-none}"
done

run() { "$koine" run -m "$model" --device "$1" --cache exact --temp 0 -n 100 "It is a truth" 2>/dev/null; }
host=$(run host) there=$(run $device)
[ -n "$host" ] || fail "no text on the host"
[ "$host" = "$there" ] || fail "other text on $device: $there; on the host: $host"
echo "$host" | grep -qiE '\b(the|of|and|to)\b' || fail "no English words in: $host"
exit $bad
