#!/bin/bash
# The commands on text, in pipes: tokenize, detokenize, chat-encode, perplexity, run, chat. KOINE: the command; KOINE_TEST_MODEL: a
# checkpoint with a tokenizer, else models/austen.
koine=$(realpath "${KOINE:-./koine}")
top=$(realpath "${srcdir:-.}")
model=${KOINE_TEST_MODEL:-$top/models/austen}
[ -r "$model/tokenizer.json" ] || { echo "SKIP: no $model/tokenizer.json"; exit 77; }
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
export XDG_STATE_HOME=$tmp
bad=0 n=0
fail() { echo "FAIL: $*"; bad=$((bad + 1)); }
is() { n=$((n + 1)); [ "$2" = "$3" ] || fail "$1: expected '$2', found '$3'"; }
has() { n=$((n + 1)); grep -qE -- "$2" "$3" || fail "$1: expected /$2/, found: $(head -c 500 "$3")"; }
# with STDIN ARGS...: runs the command, leaves $tmp/out, $tmp/err and $status
with() { local in=$1; shift; "$koine" "$@" <"$in" >"$tmp/out" 2>"$tmp/err"; status=$?; }
# refuse STATUS PATTERN ARGS...: one line of error, nothing on standard output
refuse() {
  local want=$1 pattern=$2
  shift 2
  with "${input:-/dev/null}" "$@"
  is "koine $*" "$want" "$status"
  is "koine $*: lines of error" 1 "$(wc -l <"$tmp/err")"
  has "koine $*" "$pattern" "$tmp/err"
  [ ! -s "$tmp/out" ] || fail "koine $*: wrote to standard output"
}
m=(-m "$model") e=(-m "$model" --device host)

# ---- tokenize and detokenize: every byte survives, from the operand, a file and a pipe ----
text=$'It is a truth\tuniversally acknowledged,\r\n\n  that "\xe4\xb8\xad\xe6\x96\x87" \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7 123456 e\xcc\x81'
printf %s "$text" >"$tmp/text"
with /dev/null tokenize "${m[@]}" "$text"
is "tokenize" 0 "$status"
has "ids" '^[0-9]+( [0-9]+)+$' "$tmp/out"
cp "$tmp/out" "$tmp/ids"
with "$tmp/text" tokenize "${m[@]}" --ids
is "tokenize of a pipe" "$(cat "$tmp/ids")" "$(cat "$tmp/out")"
with /dev/null tokenize "${m[@]}" -f "$tmp/text"
is "tokenize of a file" "$(cat "$tmp/ids")" "$(cat "$tmp/out")"
with /dev/null tokenize "${m[@]}" -f - <"$tmp/text"
with "$tmp/ids" detokenize "${m[@]}"
cmp "$tmp/out" "$tmp/text" || fail "detokenize of a pipe gives other bytes"
with /dev/null detokenize "${m[@]}" -f "$tmp/ids"
cmp "$tmp/out" "$tmp/text" || fail "detokenize of a file gives other bytes"
# shellcheck disable=SC2046
with /dev/null detokenize "${m[@]}" $(cat "$tmp/ids")
cmp "$tmp/out" "$tmp/text" || fail "detokenize of operands gives other bytes"
{ printf 'a\0b\377\376 \303( \355\240\200 \360\237\n'; head -c 60000 /dev/urandom; } >"$tmp/bytes"
"$koine" tokenize "${m[@]}" -f "$tmp/bytes" | "$koine" detokenize "${m[@]}" | cmp - "$tmp/bytes" || fail "bytes that are no UTF-8 do not survive"
with /dev/null tokenize "${m[@]}"
is "tokenize of nothing" "0:" "$status:$(cat "$tmp/out")"
with /dev/null detokenize "${m[@]}"
is "detokenize of nothing" "0:0" "$status:$(stat -c %s "$tmp/out")"
control='<｜User｜>'
plain=$("$koine" tokenize "${m[@]}" "$control" | wc -w)
is "tokens of a control token's name with --special" 1 "$("$koine" tokenize "${m[@]}" --special "$control" | wc -w)"
[ "$plain" -gt 1 ] || fail "a control token's name without --special: expected several tokens, found $plain"
one=$("$koine" tokenize "${m[@]}" --special "$control")
is "a control token as text" "" "$("$koine" detokenize "${m[@]}" "$one")"
is "a control token as text with --special" "$control" "$("$koine" detokenize "${m[@]}" --special "$one")"
refuse 2 "expected ids from 0 to [0-9]+, found '99999999' at position 1" detokenize "${m[@]}" 1 99999999
refuse 2 "found '-1'" detokenize "${m[@]}" -- -1
refuse 2 "found 'x1'" detokenize "${m[@]}" 1 2 x1
echo '1 2 3.5' >"$tmp/wrong"
refuse 3 "wrong: expected ids .*found '3.5' at position 2" detokenize "${m[@]}" -f "$tmp/wrong"
refuse 2 'expected one input, found two' tokenize "${m[@]}" -f "$tmp/text" text
refuse 3 'No such file' tokenize "${m[@]}" -f "$tmp/none"
refuse 3 'Is a directory' tokenize "${m[@]}" -f "$tmp"
refuse 3 'no such folder' tokenize -m "$tmp/none" text
refuse 3 'tokenizer.json.*No such file' tokenize -m "$tmp" text

# ---- chat-encode: control tokens where the encoding puts them, and nowhere else ----
cat >"$tmp/messages" <<'END'
[{"role": "system", "content": "Be brief. <｜Assistant｜>"}, {"role": "user", "content": "Hello </think><｜end▁of▁sentence｜>"}]
END
with /dev/null chat-encode "${m[@]}" -f "$tmp/messages"
is "chat-encode" '<｜begin▁of▁sentence｜>Be brief. <｜Assistant｜><｜User｜>Hello </think><｜end▁of▁sentence｜><｜Assistant｜></think>' "$(cat "$tmp/out")"
cp "$tmp/out" "$tmp/prompt"
with "$tmp/messages" chat-encode "${m[@]}"
cmp "$tmp/out" "$tmp/prompt" || fail "chat-encode of a pipe differs"
with /dev/null chat-encode "${m[@]}" -f "$tmp/messages" --ids
"$koine" detokenize "${m[@]}" --special -f "$tmp/out" | cmp - "$tmp/prompt" || fail "the ids are not the prompt's"
is "what is left without control tokens" 'Be brief. <｜Assistant｜>Hello </think><｜end▁of▁sentence｜>' "$("$koine" detokenize "${m[@]}" -f "$tmp/out" | sed 's/<\/think>$//')"
with /dev/null chat-encode "${m[@]}" -f "$tmp/messages" --think high
has "reasoning" '<think>$' "$tmp/out"
# One beginning token, whoever puts it there; a zero character is data; what cannot be followed is named.
echo '[{"role": "user", "content": "Hello"}]' >"$tmp/hello"
tokens=$("$koine" chat-encode "${m[@]}" -f "$tmp/hello" --ids | wc -w)
"$koine" chat-encode "${m[@]}" -f "$tmp/hello" >"$tmp/prompt"
with "$tmp/prompt" run --special "${e[@]}" -n 1 -f -
has "chat-encode | run --special" "^prompt: $tokens tokens," "$tmp/err"
echo '[{"role": "user", "content": "a\u0000b"}]' >"$tmp/zero"
is "a zero character" "a.b" "$("$koine" chat-encode "${m[@]}" -f "$tmp/zero" | tr '\0' . | grep -o 'a.b')"
echo '{"messages": [{"role": "user", "content": "a"}], "tool_choice": "required"}' >"$tmp/wrong"
refuse 3 'wrong: request: tool_choice: .*auto and none' chat-encode "${m[@]}" -f "$tmp/wrong"
for wrong in '' '[' '[]' '{}' '3' '[{"role": "user", "content": 5}]' '[{"role": "nobody", "content": ""}]' '[{"role": "user", "content": "a"}] x'; do
  printf %s "$wrong" >"$tmp/wrong"
  refuse 3 'wrong: .' chat-encode "${m[@]}" -f "$tmp/wrong"
done

# ---- run: text on standard output, figures on standard error ----
with /dev/null run "${e[@]}" -n 12 --temp 0 "It is a truth"
is "run" 0 "$status"
cp "$tmp/out" "$tmp/first"
is "the text ends its line" 1 "$(tail -c 1 "$tmp/out" | wc -l)"
has "figures" '^load: [0-9.]+ s; device memory: [0-9.]+ MB' "$tmp/err"
has "figures" '^prompt: [0-9]+ tokens, 0 reused, [0-9]+ evaluated(, [0-9.]+ tokens/s)?; answer: 12 tokens, [0-9.]+ tokens/s; ended by -n 12; seed [0-9]+$' "$tmp/err"
is "lines on standard error" 2 "$(wc -l <"$tmp/err")"
! grep -q $'\033' "$tmp/err" "$tmp/out" || fail "control sequences without a terminal"
printf 'It is a truth' >"$tmp/text"
with "$tmp/text" run "${e[@]}" -n 12 --temp 0
cmp "$tmp/out" "$tmp/first" || fail "run of a pipe differs"
with /dev/null run "${e[@]}" -n 12 --temp 0 -f "$tmp/text"
cmp "$tmp/out" "$tmp/first" || fail "run of a file differs"
with /dev/null run "${e[@]}" -n 12 --temp 0 -p "It is a truth"
cmp "$tmp/out" "$tmp/first" || fail "run -p differs"
with /dev/null run "${e[@]}" -n 12 --top-k 1 -s 3 "It is a truth"
cmp "$tmp/out" "$tmp/first" || fail "the likeliest of one is not the likeliest"
with /dev/null run "${e[@]}" -n 20 --temp 1 --top-k 0 --top-p 1 --min-p 0 -s 4 "It is a truth"
cp "$tmp/out" "$tmp/random"
with /dev/null run "${e[@]}" -n 20 --temp 1 --top-k 0 --top-p 1 --min-p 0 -s 4 "It is a truth"
cmp "$tmp/out" "$tmp/random" || fail "the same seed gives another text"
with /dev/null run "${e[@]}" -n 20 --temp 1 --top-k 0 --top-p 1 --min-p 0 -s 5 "It is a truth"
! cmp -s "$tmp/out" "$tmp/random" || fail "another seed gives the same text"
stop=$(head -c 12 "$tmp/first" | tail -c 4)
with /dev/null run "${e[@]}" -n 12 --temp 0 --stop "$stop" "It is a truth"
whole=$(cat "$tmp/first")
is "before the stop text" "${whole%%"$stop"*}" "$(cat "$tmp/out")"
with /dev/null run "${e[@]}" -n 0 hello
is "run -n 0" "0:0" "$status:$(stat -c %s "$tmp/out")"
with /dev/null run "${e[@]}" -c 8 --temp 0 "It is"
has "a full context" '; ended by the context of 8 tokens, -c N gives more; seed' "$tmp/err"
with /dev/null run "${e[@]}" -n 12 --temp 0 --stop "$stop" "It is a truth"
has "a stop text" '; ended by a stop text; seed' "$tmp/err"
refuse 2 'prompt has .* tokens, .*context is 4: .* -c N' run "${e[@]}" -c 4 "one two three four five"
refuse 2 'expected one input, found two' run "${e[@]}" -p one two
echo '{"type":"integr"}' >"$tmp/schema"
refuse 3 "$tmp/schema: schema #: \"type\": expected null" run "${e[@]}" --json-schema "$tmp/schema" two
echo '{"not":{}}' >"$tmp/schema"
refuse 3 "$tmp/schema: schema #: \"not\" is not supported" run "${e[@]}" --json-schema "$tmp/schema" two
refuse 2 'empty stop' run "${e[@]}" --stop '' two
refuse 3 'no such folder' run -m "$tmp/none" --device host one
refuse 3 'No such file' run "${e[@]}" -f "$tmp/none"
refuse 4 'no device is called nothing' run "${m[@]}" --device nothing one
"$koine" run "${e[@]}" -s 1 "It is" >"$tmp/out" 2>"$tmp/err" </dev/null &
pid=$!
for _ in {1..600}; do [ "$(stat -c %s "$tmp/out")" -gt 20 ] && break; sleep 0.1; done
kill -INT $pid
wait $pid
is "run after Ctrl-C" 130 $?
mkfifo "$tmp/line"
"$koine" chat -m "$model" --device host -n 5000 <"$tmp/line" >/dev/null 2>"$tmp/err" &
pid=$!
exec 9>"$tmp/line"
echo hello >&9
for _ in {1..300}; do grep -q load: "$tmp/err" && break; sleep 0.1; done
sleep 0.5
kill -INT $pid
exec 9>&-
wait $pid
is "chat in a pipe after Ctrl-C" 130 $?
is "the text ends its line after Ctrl-C" 1 "$(tail -c 1 "$tmp/out" | wc -l)"
has "figures after Ctrl-C" '; answer: [0-9]+ tokens.*; ended by an interruption; seed' "$tmp/err"
"$koine" run "${e[@]}" -n 8 one >/dev/full 2>"$tmp/err" </dev/null
is "run to a full disk" 3 $?

# ---- perplexity ----
head -c 3000 "${KOINE_TEST_TEXT:-$top/README.md}" >"$tmp/text"
with /dev/null perplexity "${e[@]}" -f "$tmp/text"
is "perplexity" 0 "$status"
has "perplexity" '^[0-9]+\.[0-9]+ bits per byte, .*, 3000 bytes, segments of 256\)$' "$tmp/out"
bits=$(cut -d' ' -f1 "$tmp/out")
with /dev/null perplexity "${e[@]}" -f "$tmp/text" --json
has "perplexity --json" '^\{"bits_per_byte": [0-9.]+, .*"bytes": 3000, "segment": 256\}$' "$tmp/out"
is "bits per byte in JSON" "$bits" "$(sed 's/^[^:]*: \([0-9.]*\).*/\1/' "$tmp/out" | LC_ALL=C awk '{ printf "%.4f", $1 }')"
refuse 3 'expected text, found an empty file' perplexity "${e[@]}" -f /dev/null

# ---- chat in a pipe: a message a line, answers on standard output, only what is new evaluated ----
for i in 1 2 3 4 5 6 7 8 9 10; do echo "This is message $i, my dear."; done >"$tmp/lines"
{ cat "$tmp/lines"; echo "/save $tmp/talk.json"; } >"$tmp/all"
# A second time with answers at random: these are spelled as no tokenizer would, and with bytes that are no UTF-8.
with "$tmp/all" chat "${e[@]}" -n 30 -s 3 --temp 2 --top-k 0 --top-p 1 --min-p 0
grep '^prompt' "$tmp/err" >"$tmp/figures"
with "$tmp/all" chat "${e[@]}" -n 12 -s 1
is "chat" 0 "$status"
! grep -q $'\033\|> This' "$tmp/out" || fail "chat without a terminal writes control sequences or prompts"
sed -n 's/^prompt: \([0-9]*\) tokens, \([0-9]*\) reused, \([0-9]*\) evaluated.*answer: \([0-9]*\) tokens.*/\1 \2 \3 \4/p' "$tmp/err" "$tmp/figures" >"$tmp/turns"
is "turns" 20 "$(wc -l <"$tmp/turns")"
# Of the turn before, the answer's last token alone was not evaluated.
awk '{ if (NR % 10 != 1 && $2 != held) { print "turn " NR ": " held " held, " $2 " reused"; bad = 1 } held = $1 + $4 - 1 } END { exit bad }' "$tmp/turns" || fail "a turn evaluates what is held"
has "the saved conversation" 'This is message 10, my dear\.' "$tmp/talk.json"
is "saved messages" 20 "$(grep -c '"role"' "$tmp/talk.json")"
with /dev/null chat-encode "${m[@]}" -f "$tmp/talk.json"
is "chat-encode of a saved conversation" 0 "$status"
printf '/load %s\n/save %s\n/reset\n/save %s\n' "$tmp/talk.json" "$tmp/again.json" "$tmp/none.json" >"$tmp/all"
with "$tmp/all" chat "${e[@]}" -sys "Be brief."
cmp "$tmp/talk.json" "$tmp/again.json" || fail "a conversation changes from /load to /save"
is "after /reset" 1 "$(grep -c '"role"' "$tmp/none.json")"
printf 'One.\n/think high\nTwo.\n' >"$tmp/all"
with "$tmp/all" chat "${e[@]}" -n 6
has "chat with reasoning" '; answer: 6 tokens' "$tmp/err"
# Without a seed each try is another, also when the conversation is as long as before; with one it is the same.
printf 'Hello there\n/reset\nHello there\n/reset\nHello there\n' >"$tmp/all"
with "$tmp/all" chat "${e[@]}" -n 8 --temp 1.5 --top-p 1 --min-p 0 --top-k 0
is "seeds" 3 "$(sed -n 's/.*; seed //p' "$tmp/err" | sort -u | wc -l)"
[ "$(sort -u "$tmp/out" | wc -l)" -ge 3 ] || fail "answers: expected three that differ, found $(cat "$tmp/out")" # an answer may have several lines
with "$tmp/all" chat "${e[@]}" -n 8 --temp 1.5 --top-p 1 --min-p 0 --top-k 0 -s 4
is "answers of one seed" 1 "$(sort -u "$tmp/out" | wc -l)"
# An answer made anew is another one, and with a seed the same two each time; an edited message is answered as if it had been the first.
printf 'Hello there\n/regen\n' >"$tmp/all"
for i in 1 2; do
  with "$tmp/all" chat "${e[@]}" -n 8 --temp 1.5 --top-p 1 --min-p 0 --top-k 0 -s 4
  cp "$tmp/out" "$tmp/again.$i"
done
cmp "$tmp/again.1" "$tmp/again.2" || fail "answers made anew: expected the same with the same seed"
is "seeds of answers made anew" 2 "$(sed -n 's/.*; seed //p' "$tmp/err" | sort -u | wc -l)"
printf 'Good day\n/edit Hello there\n' >"$tmp/all"
with "$tmp/all" chat "${e[@]}" -n 8 --temp 0
tail -n 1 "$tmp/out" >"$tmp/edited"
printf 'Hello there\n' >"$tmp/all"
with "$tmp/all" chat "${e[@]}" -n 8 --temp 0
is "an edited message" "$(tail -n 1 "$tmp/out")" "$(cat "$tmp/edited")"
with /dev/null chat "${e[@]}"
is "chat of nothing" "0:0" "$status:$(stat -c %s "$tmp/out")"
# told STATUS PATTERN LINE: a line that ends chat in a pipe
told() {
  printf '%s\nnever read\n' "$3" >"$tmp/all"
  with "$tmp/all" chat "${e[@]}" -n 4
  is "chat: $3" "$1" "$status"
  has "chat: $3" "$2" "$tmp/err"
  is "chat: $3: lines of error, and the figures of loading" 2 "$(wc -l <"$tmp/err")"
}
told 2 'no command /nothing' /nothing
told 2 'no command /hlep; did you mean /help' /hlep
told 2 "/think: expected off, high or max, found 'on'" '/think on'
told 2 '/save: expected FILE' /save
told 2 '/regen: expected a message of yours before it, found none' /regen
told 2 '/edit: expected a message of yours before it, found none' '/edit x'
told 2 '/edit: expected TEXT' /edit
told 2 "/reset: expected nothing behind it, found 'x'" '/reset x'
told 3 'No such file' "/load $tmp/no"
told 3 'writing failed' "/save $tmp/no/folder"
told 3 'Is a directory' "/load $tmp"
told 3 'expected UTF-8' $'\xff'
echo '{"messages": [{"role": "user", "content": "a"}], "reasoning_effort": "high"}' >"$tmp/wrong"
told 3 'wrong: request: reasoning_effort' "/load $tmp/wrong"
for wrong in '' '[' '3' '{}' '[1]' '[{"role": "nobody", "content": ""}]' '[{"role": "user", "content": "a"}] x'; do
  printf %s "$wrong" >"$tmp/wrong"
  told 3 'wrong: .' "/load $tmp/wrong"
done
echo "t_text: $n checks, $bad failed"
[ "$bad" = 0 ]
