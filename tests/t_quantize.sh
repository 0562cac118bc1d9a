#!/bin/bash
# koine quantize and koine perplexity --kl from the outside; koine info on a GGUF file of which only the header is here. KOINE: the command.
koine=$(realpath "${KOINE:-./koine}")
top=$(realpath "${srcdir:-.}")
austen=$top/models/austen
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
export KOINE_BACKENDS=host
bad=0 n=0
fail() { echo "FAIL: $*"; bad=$((bad + 1)); }
is() { n=$((n + 1)); [ "$2" = "$3" ] || fail "$1: expected '$2', found '$3'"; }
has() { n=$((n + 1)); grep -qE -- "$2" "$3" || fail "$1: expected /$2/, found: $(head -c 500 "$3")"; }
with() { "$koine" "$@" </dev/null >"$tmp/out" 2>"$tmp/err"; status=$?; }
# refuse STATUS PATTERN ARGS...: one line of error, and no file
refuse() {
  local want=$1 pattern=$2
  shift 2
  with "$@"
  is "koine $*" "$want" "$status"
  is "koine $*: lines of error" 1 "$(wc -l <"$tmp/err")"
  has "koine $*" "$pattern" "$tmp/err"
}
q=(quantize -m "$austen" -o "$tmp/x.gguf")

# ---- what is refused ----
refuse 2 'type: expected one of F32, .*Q4_K_M.*, found "Q4"' "${q[@]}" --type Q4
refuse 2 '--type TYPE is needed' "${q[@]}"
refuse 3 'token_embd.weight: expected rows of a multiple of 256 values for Q4_K, found 192: give a fallback' "${q[@]}" --type Q4_K_M
refuse 2 'fallback: expected "usual" or the name of a format' "${q[@]}" --type Q4_K_M --fallback Q7
refuse 3 'no/x.gguf: cannot be made' quantize -m "$austen" -o "$tmp/no/x.gguf" --type F16
refuse 2 '--save-imatrix: expected together with --imatrix' "${q[@]}" --type Q8_0 --save-imatrix "$tmp/i.gguf"
refuse 3 'expected text, found an empty file' "${q[@]}" --type Q8_0 --imatrix /dev/null
printf '\2\0\0\0\27\0\0\0blk.0.attn_q_a.weight' >"$tmp/old.dat"
refuse 3 'old.dat: expected text or an importance matrix' "${q[@]}" --type Q8_0 --imatrix "$tmp/old.dat"
rm "$tmp/old.dat"
is "files left" 0 "$(ls -A "$tmp" | grep -cvE '^(out|err)$')"

# ---- a line for each tensor that falls back ----
with "${q[@]}" --type Q4_K_M --fallback usual
is "a fallback" 0 "$status"
is "lines of the fallback" 70 "$(grep -c 'do not fit Q[46]_K: stored in Q[58]_0$' "$tmp/err")"

# ---- Ctrl-C leaves what was there ----
echo old >"$tmp/x.gguf"
(exec "$koine" "${q[@]}" --type Q4_0 -t 1 >/dev/null 2>&1) &
pid=$!
sleep 0.2
kill -INT $pid 2>/dev/null
wait $pid
status=$?
case $status in
  130) is "after Ctrl-C" old "$(cat "$tmp/x.gguf")" ;;
  0) ;; # it was faster
  *) fail "Ctrl-C: status $status" ;;
esac
is "files left after Ctrl-C" 1 "$(ls -A "$tmp" | grep -c 'x\.gguf')"

# ---- importance, kept and read again ----
head -c 600 "$austen/heldout.txt" >"$tmp/text"
with "${q[@]}" --type Q4_0 --imatrix "$tmp/text" --save-imatrix "$tmp/i.gguf"
is "with importance" 0 "$status"
with quantize -m "$austen" -o "$tmp/y.gguf" --type Q4_0 --imatrix "$tmp/i.gguf"
is "with kept importance" 0 "$status"
cmp "$tmp/x.gguf" "$tmp/y.gguf" || fail "kept importance gives another file"
refuse 3 'expected an importance matrix' quantize -m "$austen" -o "$tmp/y.gguf" --type Q4_0 --imatrix "$tmp/x.gguf"

# ---- how far it is ----
e=(--device host -f "$tmp/text")
with quantize -m "$austen" -o "$tmp/f32.gguf" --type F32
with perplexity -m "$tmp/f32.gguf" "${e[@]}" --kl "$austen" --json
is "KL of the same model" 0 "$status"
has "KL of the same model" '"kl_mean": [0-9.e-]+, .*"same_top": 1\.000000' "$tmp/out"
awk '{ gsub(/[",]/, ""); exit !($2 < 1e-6) }' "$tmp/out" || fail "the F32 file is another model: $(cat "$tmp/out")"
with perplexity -m "$austen" "${e[@]}" --save-logits "$tmp/logits"
has "saved logits" '^[0-9.]+ bits per byte' "$tmp/out"
with perplexity -m "$tmp/f32.gguf" "${e[@]}" --kl "$tmp/logits" --json
awk '{ gsub(/[",]/, ""); exit !($2 < 1e-6) }' "$tmp/out" || fail "KL against kept logits: $(cat "$tmp/out")"
refuse 3 'expected 2048 logits of every token of this text in segments of 100, found fewer' perplexity -m "$austen" --device host -f <(cat "$tmp/text" "$tmp/text") --segment 100 --kl "$tmp/logits"
head -c 300 "$tmp/text" >"$tmp/half"
refuse 3 'in segments of 256, found more' perplexity -m "$austen" --device host -f "$tmp/half" --kl "$tmp/logits"
refuse 3 'expected a model, or logits that --save-logits kept' perplexity -m "$austen" "${e[@]}" --kl "$tmp/nothing"

# ---- the header alone: the rest is a hole ----
size=$(stat -c %s "$tmp/f32.gguf")
"$koine" info "$tmp/f32.gguf" >"$tmp/whole"
cp "$tmp/f32.gguf" "$tmp/header.gguf"
truncate -s 500000 "$tmp/header.gguf" && truncate -s "$size" "$tmp/header.gguf"
"$koine" info "$tmp/header.gguf" | sed 's/header\.gguf/f32.gguf/' >"$tmp/header"
cmp "$tmp/whole" "$tmp/header" || fail "koine info reads more than the header: $(diff "$tmp/whole" "$tmp/header" | head -3)"
# A file that is not all here is described, and not run.
for k in 200000 500000 $((size - 1)); do
  head -c $k "$tmp/f32.gguf" >"$tmp/part.gguf"
  "$koine" info "$tmp/part.gguf" | sed 's/part\.gguf (header only)/f32.gguf (complete)/; /weights are not here/d' >"$tmp/part"
  cmp "$tmp/whole" "$tmp/part" || fail "the first $k bytes: $(diff "$tmp/whole" "$tmp/part" | head -3)"
  with info "$tmp/part.gguf"
  has "the first $k bytes" "weights are not here: .*part.gguf: $((size - k)) of its $size bytes$" "$tmp/out"
done
refuse 3 'part.gguf: 1 of its [0-9]* bytes: not there, so the model can be described but not run; is the file whole' run -m "$tmp/part.gguf" --device host -n 1 "It"
refuse 3 'expected a model with all its weights, found .*part.gguf: 1 of its' quantize -m "$tmp/part.gguf" -o "$tmp/y.gguf" --type Q8_0
head -c 3000 "$tmp/f32.gguf" >"$tmp/part.gguf"
refuse 3 'is the file whole' info "$tmp/part.gguf"

echo "t_quantize: $n checks, $bad failed"
[ $bad = 0 ]
