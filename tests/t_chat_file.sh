#!/bin/bash
# Conversations in files, through koine chat in a pipe: numbers keep their digits, a full disk leaves the old file, ~ is the home. KOINE: the command.
koine=$(realpath "${KOINE:-./koine}")
model=$(realpath "${srcdir:-.}")/models/austen
tmp=$(mktemp -d) || exit 1
trap 'mountpoint -q "$tmp/small" && umount "$tmp/small"; rm -rf "$tmp"' EXIT
bad=0
fail() { echo "FAIL: $*"; bad=$((bad + 1)); }
chat() { printf '%s\n' "$@" | HOME=$tmp "$koine" chat -m "$model" --device host -n 1 >"$tmp/out" 2>"$tmp/err"; }

numbers='1 -1 0.1 1e400 1.10 1E-7 9007199254740993 9223372036854775807 9223372036854775808 -9223372036854775809 123456789012345678901234567890 100000000000000000000.5'
{
  printf '{"messages": [{"role": "user", "content": "12345678901234567890123 \\" 1"}], "tools": [{"type": "function", "function": {"name": "f", "parameters": {"enum": ['
  printf '%s' "${numbers// /, }"
  printf ']}}}]}\n'
} >"$tmp/in.json"
chat "/load $tmp/in.json" "/save $tmp/out.json" || fail "load and save: $(cat "$tmp/err")"
chat "/load $tmp/out.json" "/save $tmp/again.json" || fail "load and save again: $(cat "$tmp/err")"
for f in in out again; do tr -d '\n' <"$tmp/$f.json" | grep -oE '"enum": *\[[^]]*' | grep -oE -- '[-0-9][-+0-9.eE]*' | tr '\n' ' ' >"$tmp/$f.numbers"; done
[ "$(cat "$tmp/in.numbers")" = "$numbers " ] || fail "this test is wrong: $(cat "$tmp/in.numbers")"
for f in out again; do cmp -s "$tmp/in.numbers" "$tmp/$f.numbers" || fail "numbers change: $(cat "$tmp/$f.numbers")"; done
grep -q '"12345678901234567890123 \\" 1"' "$tmp/out.json" || fail "digits in a text change: $(head -c 300 "$tmp/out.json")"
[ -z "$(find "$tmp" -name '*.part')" ] || fail "a part is left"

# shellcheck disable=SC2088
chat "/load $tmp/in.json" '/save ~/home.json' '/load ~/home.json' || fail "~: $(cat "$tmp/err")"
cmp -s "$tmp/home.json" "$tmp/out.json" || fail "~ is not the home"
ln -s "$tmp/target.json" "$tmp/link.json"
echo '[]' >"$tmp/target.json"
chmod 600 "$tmp/target.json"
chat "/load $tmp/in.json" "/save $tmp/link.json" || fail "a link: $(cat "$tmp/err")"
[ -L "$tmp/link.json" ] && cmp -s "$tmp/target.json" "$tmp/out.json" || fail "a link becomes a file"
[ "$(stat -c %a "$tmp/target.json")" = 600 ] || fail "the file's mode changes"
chat "/load $tmp/in.json" "/save /dev/full" && fail "a full device takes it"
grep -q 'No space left' "$tmp/err" || fail "a full device: $(cat "$tmp/err")"
printf '/load %s\n/save %s\n' "$tmp/in.json" "$tmp/closed.json" | "$koine" chat -m "$model" --device host -n 1 >&- 2>&-
cmp -s "$tmp/closed.json" "$tmp/out.json" || fail "with closed descriptors messages go into the file: $(head -c 200 "$tmp/closed.json")"

# ---- a disk that is full: the old file stays whole ----
mkdir "$tmp/small"
if mount -t tmpfs -o size=12k tmpfs "$tmp/small" 2>/dev/null; then
  echo '[{"role": "user", "content": "old"}]' >"$tmp/small/c.json"
  { printf '[{"role": "user", "content": "'; head -c 30000 /dev/zero | tr '\0' x; echo '"}]'; } >"$tmp/big.json"
  chat "/load $tmp/big.json" "/save $tmp/small/c.json" && fail "a full disk takes it"
  grep -q 'c.json: writing failed: No space left' "$tmp/err" || fail "a full disk: $(cat "$tmp/err")"
  [ "$(cat "$tmp/small/c.json")" = '[{"role": "user", "content": "old"}]' ] || fail "the old conversation is lost on a full disk"
  [ "$(ls "$tmp/small")" = c.json ] || fail "a part is left on a full disk"
else echo "t_chat_file: no full disk was tried: mounting one needs root"
fi
echo "t_chat_file: $bad failed"
[ "$bad" = 0 ]
