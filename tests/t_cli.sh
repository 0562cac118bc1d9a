#!/bin/bash
# The command's surface: usage errors, help, man page and completion of one table, bad files of `koine logits`. KOINE: the command to test.
koine=$(realpath "${KOINE:-./koine}")
top=$(realpath "${srcdir:-.}")
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
bad=0 n=0
fail() { echo "FAIL: $*"; bad=$((bad + 1)); }

# expect STATUS PATTERN ARGS...: exit status, nothing on stdout, and exactly one line on stderr that matches PATTERN
expect() {
  local want=$1 pattern=$2 got
  shift 2
  n=$((n + 1))
  "$koine" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
  got=$?
  [ "$got" = "$want" ] || fail "koine $*: expected status $want, found $got: $(head -3 "$tmp/err")"
  [ "$(wc -l <"$tmp/err")" = 1 ] || fail "koine $*: expected one line of error, found: $(cat "$tmp/err")"
  grep -qE -- "$pattern" "$tmp/err" || fail "koine $*: expected /$pattern/, found: $(cat "$tmp/err")"
  [ ! -s "$tmp/out" ] || fail "koine $*: wrote to standard output"
}
commands=$("$koine" --help | sed -n '/^commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p')
[ "$(echo "$commands" | wc -w)" = 17 ] || fail "expected 17 commands in --help, found: $commands"

# ---- usage errors: status 2, the option, what was expected, what was found, where help is ----
expect 2 'expected a command, found none; see koine --help'
expect 2 "found 'benhc'; did you mean 'bench'" benhc
expect 2 "found '--nothing'" --nothing
# what was typed reaches a terminal without control characters, and in UTF-8
expect 2 "found '\\\\x1b\[31m'" $'\e[31m'
expect 2 "unknown option '--\\\\x9b31m\\\\xffé'" run $'--\x9b31m\xffé'
expect 2 "unknown option '--\\\\xed\\\\xa0\\\\x80'" run $'--\xed\xa0\x80'
expect 2 "found '\\\\xc2\\\\x9b31m\\\\x7f'" chat --think $'\xc2\x9b31m\x7f'
expect 3 '\\x1b\]0;t\\x07\\xff: no such folder' info $'\e]0;t\a\xff'
for c in $commands; do
  expect 2 "koine $c: unknown option '--xyzzy'; see koine $c --help" "$c" --xyzzy
  expect 2 "koine $c: unknown option '-Z'" "$c" -Z
  expect 2 "koine $c: --help: expected no value, found 'x'" "$c" --help=x
done
expect 2 "unknown option '--filll'; did you mean '--fill'" bench --filll
expect 2 "-m: expected MODEL, found the end of the line" logits -m
expect 2 "-m: expected MODEL, found the option '--tokens'" logits -m --tokens x
expect 2 "--model: expected MODEL, found ''" logits --model=
expect 2 "-m MODEL is needed" logits --tokens x -o y
expect 2 "--tokens FILE is needed" logits -m x -o y
expect 2 "-o FILE is needed" logits -m x --tokens y
expect 2 "-f FILE is needed" perplexity -m x
expect 2 "--cache: expected packed or exact, found 'full'" logits -m x --tokens y -o z --cache full
expect 2 "--chunk: expected an integer from 1 to 65536, found '0'" logits -m x --tokens y -o z --chunk 0
expect 2 "-ub: expected an integer from 1 to 65536, found '7x'" logits -m x --tokens y -o z -ub 7x
expect 2 "--chunk: .*found '99999999999999999999'" logits -m x --tokens y -o z --chunk=99999999999999999999
expect 2 "--temp: expected a number from 0 to 100, found 'warm'" run -m x --temp warm
expect 2 "--temp: .*found 'nan'" run -m x --temp nan
expect 2 "--top-p: expected a number from 0 to 1, found '1.5'" run -m x --top-p 1.5
expect 2 "-s: expected an integer from -1 to .*, found '1e3'" run -m x -s 1e3
expect 2 "-n: .*found ' 5'" run -m x -n ' 5'
expect 2 "--think: expected off, high or max, found 'on'" chat -m x --think on
expect 2 "-t: expected an integer from 1 to 4096, found '0'" verify -t 0
expect 2 "--shape: expected v4-flash or v4-pro, found 'v5'" bench --shape v5
expect 2 "expected -m MODEL or --shape NAME, found neither" bench
expect 2 "expected -m MODEL or --shape NAME, found both" bench -m x --shape v4-pro
expect 2 "--ratios: expected together with --shape" bench -m x --ratios 0,4
for list in '' ',' '1,' ',1' '1,,2' '1 2' '1,x' '-1' '1.5'; do
  expect 2 "-d: expected (integers separated by commas, each from 0 to|N,\.\.\., found)" bench --shape v4-flash -d "$list"
done
expect 2 "koine tune: expected -m MODEL or --shape NAME, found neither" tune
expect 2 "--budget: expected .*found '0'" tune --shape v4-flash --budget 0
expect 2 "unknown option '--no-tune'" tune --shape v4-flash --no-tune
for what in --list --report=- --export=- --why=x; do expect 2 "subdevices x: expected" tune $what --subdevices x; done
expect 2 "expected md, csv or json, found 'xml'" bench --shape v4-flash -o xml
expect 2 "expected options only, found 'x'" verify x
expect 2 "expected at most 1 operand, found 'b'" info a b
expect 2 "expected at most 8 operands, found '9'" load-test 1 2 3 4 5 6 7 8 9
expect 2 "expected one MODEL, as an operand or with -m, found both" info a -m b
expect 2 "expected one MODEL, as an operand or with -m, found none" info

# ---- bad input files: status 3; no such device: 4 ----
model=$top/tests/data/tiny-quant
: >"$tmp/empty"
printf 'abc' >"$tmp/three"
printf '\001\000\000\000\200\000\000\000' >"$tmp/above"
printf '\377\377\377\377' >"$tmp/below"
printf '\001\000\000\000\002\000\000\000\003\000\000\000' >"$tmp/good"
logits() { want=$1 pattern=$2 file=$3; shift 3; expect "$want" "$pattern" logits -m "$model" --tokens "$file" -o "$tmp/logits" --device host "$@"; [ ! -e "$tmp/logits" ] || fail "logits of $file left a file"; }
logits 3 'empty: expected int32 token ids, found an empty file' "$tmp/empty"
logits 3 'three: .*found 3 bytes' "$tmp/three"
logits 3 'above: expected ids from 0 to 127, found 128 at position 1' "$tmp/above"
logits 3 'below: .*found -1 at position 0' "$tmp/below"
logits 3 'missing: expected a readable file, found: No such file' "$tmp/missing"
logits 3 'expected a readable file|reading failed' "$tmp"
logits 4 'no device is called nothing' "$tmp/good" --device nothing
expect 3 'no such folder|[Nn]o such file' info "$tmp/nowhere"
expect 3 'writing failed: No such file' logits -m "$model" --tokens "$tmp/good" -o "$tmp/no/folder" --device host
expect 3 'writing failed: No space' logits -m "$model" --tokens "$tmp/good" -o /dev/full --device host

expect 3 'full: writing failed: No space' perplexity -m "$top/models/austen" -f "$top/HACKING.md" --segment 16 --save-logits /dev/full --device host
# ---- a file that may not grow is an error of its writing, not the command's end ----
for c in "logits --tokens $tmp/good --device host" "quantize --type F32"; do
  # shellcheck disable=SC2086
  (ulimit -f 1; exec "$koine" $c -m "$model" -o "$tmp/limited" 2>"$tmp/err")
  got=$?
  [ $got = 3 ] && grep -q 'File too large' "$tmp/err" || fail "$c beyond ulimit -f: status $got: $(cat "$tmp/err")"
  [ -z "$(find "$tmp" -name 'limited*')" ] || fail "$c beyond ulimit -f left a file"
done

# ---- a standard output that is not there: what it was to get is lost, which is no success ----
for c in "info $model" --help "logits -m $model --tokens $tmp/good -o - --device host"; do
  # shellcheck disable=SC2086
  "$koine" $c >&- 2>"$tmp/err"
  got=$?
  [ $got = 3 ] && grep -q 'writing failed' "$tmp/err" || fail "$c without a standard output: status $got: $(cat "$tmp/err")"
done

# ---- memory: what is too little is refused, with numbers that say something of a small model, too ----
KOINE_BACKENDS=host expect 4 'expert cache of 1 bytes on device host: one expert of each of its 5 layers takes' run -m "$top/models/austen" -p x --expert-cache host=3
KOINE_BACKENDS=host expect 4 'weights 0\.00[1-9] GiB.* host 0\.0[12][0-9]; what would fit: 0\.0[0-9]+ GiB' run -m "$top/models/austen" -p x --memory host=20M

# ---- an option that has nothing to do says so ----
"$koine" logits -m "$model" --tokens "$tmp/good" -o - --device host --misses-on host 2>"$tmp/err" >/dev/null || fail "logits --misses-on: $(cat "$tmp/err")"
grep -q 'warning: misses on host: no routed experts come by turns' "$tmp/err" || fail "--misses-on without turns: expected a warning, found: $(cat "$tmp/err")"

# ---- and a good one: the size, the same to a file and to a pipe, nothing left beside it ----
"$koine" logits -m "$model" --tokens "$tmp/good" -o "$tmp/logits" --device host 2>"$tmp/err" || fail "logits: $(cat "$tmp/err")"
[ "$(stat -c %s "$tmp/logits")" = $((3 * 128 * 4)) ] || fail "logits: expected $((3 * 128 * 4)) bytes, found $(stat -c %s "$tmp/logits")"
[ ! -s "$tmp/err" ] || fail "logits: said something without a terminal: $(cat "$tmp/err")"
"$koine" logits -m "$model" --tokens "$tmp/good" -o - --device host -t 1 | cmp - "$tmp/logits" || fail "logits differ between file and pipe"
[ -z "$(find "$tmp" -name '*.part')" ] || fail "logits left a part behind"

# ---- Ctrl-C between the chunks: 130 at once, no file, and the one that was there stays; asked or forced to end it leaves nothing either ----
has_open() { for fd in /proc/"$1"/fd/*; do [[ $(readlink "$fd") == "$2"* ]] && return; done; return 1; } # the process has a file in this folder
interrupted() { # signal, expected status, command...
  local signal=$1 status=$2 pid got before after
  shift 2
  before=$(find "$tmp" | sort)
  "$koine" "$@" --device host 2>"$tmp/err" &
  pid=$!
  for _ in {1..300}; do has_open $pid "$tmp/long/" && break; sleep 0.1; done
  sleep 1
  kill "-$signal" $pid
  wait $pid 2>/dev/null
  got=$?
  after=$(find "$tmp" | sort)
  [ $got = "$status" ] || fail "$1 after $signal: expected status $status, found $got: $(cat "$tmp/err")"
  [ "$before" = "$after" ] || fail "$1 after $signal left files behind: $(diff <(echo "$before") <(echo "$after"))"
}
mkdir "$tmp/long"
for ((i = 0; i < 4000; i++)); do printf '\007\000\000\000'; done >"$tmp/many"
for how in "INT 130" "TERM 143"; do
  # shellcheck disable=SC2086
  interrupted $how logits -m "$top/models/austen" --tokens "$tmp/many" -o "$tmp/long/logits" -ub 64
done
echo old >"$tmp/long/saved"
interrupted INT 130 perplexity -m "$top/models/austen" -f "$top/HACKING.md" --save-logits "$tmp/long/saved"
[ "$(cat "$tmp/long/saved")" = old ] || fail "perplexity after Ctrl-C lost the file that was there"
expect 2 "quantize: --output: expected a file's name, found -" quantize -m "$top/models/austen" -o - --type Q8_0
KOINE_BACKENDS=host expect 2 'expert cache host=2M: device host has one already' run -m "$top/models/austen" -p x --expert-cache host=1M --expert-cache host=2M

# ---- --version, --help, and the same options everywhere ----
[[ $("$koine" --version) =~ ^koine\ [0-9]+\.[0-9]+ ]] || fail "--version: found $("$koine" --version)"
"$koine" --man >"$tmp/man" || fail "--man"
"$koine" --completion-bash >"$tmp/completion" || fail "--completion-bash"
# README's exit statuses are the table's, with more words at most
while read -r status; do
  read -r what
  grep -qF "| $status | ${what%.}" "$top/README.md" || fail "README.md does not say that exit status $status is: $what"
done < <(sed -n '/^.SH EXIT STATUS/,/^.SH EXAMPLES/{s/^\.B \([0-9]*\)$/\1/p;/^[a-z]/p}' "$tmp/man")
cmp "$tmp/man" "$top/docs/koine.1" || fail "docs/koine.1 is not what koine --man prints: koine --man > docs/koine.1"
bash -n "$tmp/completion" || fail "the completion is no bash"
# shellcheck disable=SC1091
. "$tmp/completion"
complete_for() { COMP_WORDS=(koine "$@") COMP_CWORD=$#; COMPREPLY=(); _koine; printf '%s\n' "${COMPREPLY[@]}"; }
for c in $commands; do
  "$koine" "$c" --help >"$tmp/help" || fail "$c --help: status $?"
  "$koine" help "$c" | cmp - "$tmp/help" || fail "koine help $c differs from koine $c --help"
  [ "$(head -c 13 "$tmp/help")" = "usage: koine " ] || fail "$c --help does not begin with its usage"
  awk -v c="$c" '/^\.SS koine /{ on = $0 ~ "^\\.SS koine " c "( |$)" } /^\.SS Options of/{ on = 1 } on' <(sed 's/\\-/-/g' "$tmp/man") >"$tmp/section"
  complete_for "$c" - >"$tmp/offered"
  complete_for "${c:0:3}" | grep -qx -- "$c" || fail "completion of '${c:0:3}' does not offer $c"
  options=$(sed -n '/^options:/,$p' "$tmp/help" | grep -oE '^  -[^ ]+(, -[^ ]+)*' | tr -d ' ' | tr ',' '\n')
  [ -n "$options" ] || fail "$c --help names no option"
  for o in $options; do
    grep -q -- "\\\\fB$o\\\\fR" "$tmp/section" || fail "the man page's part on $c lacks $o"
    grep -qx -- "$o" "$tmp/offered" || fail "the completion of $c lacks $o"
  done
  [ "$(echo "$options" | wc -l)" = "$(wc -l <"$tmp/offered")" ] || fail "the completion of $c offers what --help lacks"
done
[ "$(complete_for logits --cache '' | tr '\n' ' ')" = "packed exact " ] || fail "--cache completes to $(complete_for logits --cache '')"
[ "$(complete_for bench -o '' | tr '\n' ' ')" = "md csv json " ] || fail "bench -o completes to $(complete_for bench -o '')"
if command -v man >/dev/null; then
  warnings=$(MANWIDTH=100 LC_ALL=C.UTF-8 man --warnings=w -l "$tmp/man" 2>&1 >/dev/null)
  [ -z "$warnings" ] || fail "man: $warnings"
fi
echo "t_cli: $n refusals, $bad failed"
[ "$bad" = 0 ]
