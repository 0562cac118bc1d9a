#!/bin/sh
# koine plan, estimate and devices --save as they are typed: options of every kind, plans read back, refusals with their status.
koine="${KOINE:-./koine}"
data="${srcdir:-.}/tests/data/machines"
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
XDG_CACHE_HOME=$tmp/cache KOINE_BACKENDS=host
export XDG_CACHE_HOME KOINE_BACKENDS
bad=0
fail() { echo "FAIL: $*"; bad=$((bad + 1)); }
plan() { "$koine" plan --machine "$data/unlike.machine" --shape v4-flash "$@" >"$tmp/out" 2>"$tmp/err"; }
# what is wanted in the output, then options
prints() {
  want=$1; shift
  plan "$@" || fail "plan $*: $(cat "$tmp/err")"
  grep -q -- "$want" "$tmp/out" || fail "plan $*: expected $want, found: $(cat "$tmp/out")"
}
# status, what is wanted in the message, then options
refuses() {
  status=$1 want=$2; shift 2
  plan "$@"
  have=$?
  [ $have = "$status" ] || fail "plan $*: expected status $status, found $have"
  grep -q -- "$want" "$tmp/err" || fail "plan $*: expected $want, found: $(cat "$tmp/err")"
}

prints 'head name=' --svg "$tmp/p.svg"
grep -q '</svg>' "$tmp/p.svg" || fail "no picture was written"
cp "$tmp/out" "$tmp/plan"
prints '^decode:' --placement "$tmp/plan"
[ "$(grep ^layers "$tmp/plan")" = "$(grep ^layers "$tmp/out")" ] || fail "a plan that was read back is another: $(cat "$tmp/out")"
prints 'layers 0-42 device=gpu0 experts=cpu' --cpu-moe
prints 'layers 0-42 device=gpu0 experts=cpu' --layers gpu0=0-3 --layers gpu0=5 --n-cpu-moe 43
prints 'layers 0-42 device=cpu' -ts 0,0,0,1
prints 'layers 0-38 device=cpu embed' -ngl 5
prints 'layers 0-42 device=cpu embed head' -ngl 99 --exclude gpu0 --exclude gpu1 --exclude gpu2
grep -q 'wanted on cards' "$tmp/err" || fail "layers for cards that are not there: $(cat "$tmp/err")"
prints 'unused: gpu0, gpu1' --exclude gpu0 --exclude gpu1
prints 'unused: .*gpu1' --memory gpu1=1 -c 8192
prints 'layers 0-42 device=cpu embed head' --device cpu
refuses 2 'no device gpu9; it has: gpu0, gpu1, gpu2, cpu' --device gpu9
prints 'at most' -np 0
refuses 2 'no device gpu9; it has: gpu0, gpu1, gpu2, cpu' --exclude gpu9
refuses 2 'subdevices: expected without --machine' --subdevices gpu0=1,1
refuses 2 'layers 0 to 42' --layers gpu0=0-99
refuses 2 'DEVICE=BYTES' --memory gpu0=many
refuses 2 'DEVICE=BYTES' --memory gpu0=99999999999T
refuses 2 'without --machine' --measure
refuses 4 'fit: [0-9.]* GiB more memory' --exclude cpu --exclude gpu1 --exclude gpu2 --memory gpu0=4294967296
cp "$tmp/err" "$tmp/same"
refuses 4 'gpu0 4.0' --exclude cpu --exclude gpu1 --exclude gpu2 --memory gpu0=4G
cmp -s "$tmp/err" "$tmp/same" || fail "4G are other bytes than 4294967296: $(cat "$tmp/err")"
refuses 2 'DEVICE=BYTES' --memory gpu0=4g
refuses 2 'there is 1 device to share' --exclude gpu0 --exclude gpu1 --exclude gpu2 -ts 1,1
prints 'expert_cache=[0-9]* embed head' --exclude cpu
grep -q 'experts take turns' "$tmp/err" || fail "experts that take turns are not told of: $(cat "$tmp/err")"
cp "$tmp/out" "$tmp/plan"
prints '^experts of layers 0-42 by turns: .* a token come at' --exclude cpu --placement "$tmp/plan"
prints '^experts: a GiB more buys most on' --exclude cpu
prints 'misses=cpu embed head' --exclude cpu --misses-on cpu
grep -q '^experts of layers 0-42: all of them on cpu' "$tmp/out" || fail "missing experts on cpu: $(cat "$tmp/out")"
cp "$tmp/out" "$tmp/plan"
prints '^experts of layers 0-42: all of them on cpu' --exclude cpu --placement "$tmp/plan"
refuses 2 'no device gpu9; it has' --misses-on gpu9
refuses 4 'while cpu holds all of them' --exclude cpu --misses-on cpu --memory cpu=64G
# the user's budget for experts by turns
prints '^layers 0-42 device=gpu1 expert_cache=6442450920 embed head' --expert-cache gpu1=6G
grep -q '^experts of layers 0-42 by turns: 11 of each' "$tmp/out" || fail "a budget of 6 GiB: $(cat "$tmp/out")"
cp "$tmp/out" "$tmp/plan"
prints '^experts of layers 0-42 by turns: 11 of each' --placement "$tmp/plan"
[ "$(grep ^layers "$tmp/plan")" = "$(grep ^layers "$tmp/out")" ] || fail "a budget that was read back is another: $(cat "$tmp/out")"
prints 'device=gpu1 expert_cache=6442450920 misses=cpu embed head' --expert-cache gpu1=6G --misses-on cpu
prints 'device=gpu0 experts=cpu expert_cache=32212254686 embed head' --cpu-moe --expert-cache cpu=30G --memory cpu=64G
prints '^experts of layers .* by turns: ' --exclude gpu0 --expert-cache gpu1=6G
grep '^layers' "$tmp/plan" | sed 's/ expert_cache=[0-9]*//' >"$tmp/whole"
prints 'device=gpu1 expert_cache=' --placement "$tmp/whole" --expert-cache gpu1=6G
refuses 2 'device gpu1 has one already' --placement "$tmp/plan" --expert-cache gpu1=6G
refuses 2 'device gpu0 has one already' --expert-cache gpu0=1G --expert-cache gpu0=2G
refuses 2 'device gpu1 computes no routed experts' --layers gpu0=0-42 --expert-cache gpu1=1G
refuses 2 'by turns and to have none' --exclude gpu0 --expert-cache gpu0=1G
refuses 2 'no device gpu9; it has' --expert-cache gpu9=1G
refuses 2 'DEVICE=BYTES' --expert-cache gpu0=0
refuses 4 'one expert of each of its 43 layers takes' --expert-cache gpu0=1
refuses 4 'the model does not fit' --expert-cache gpu0=100G
"$koine" estimate --machine "$data/unlike.machine" --shape v4-flash --expert-cache gpu1=6G 2>/dev/null | grep -q '^experts of layers 0-42 by turns: 11 of each' || fail "estimate with a budget"
"$koine" run -m "${srcdir:-.}/models/austen" -p x -n 1 --memory host=1G --expert-cache host=2M -v 2>"$tmp/err" >/dev/null || fail "run with a wish and a budget: $(cat "$tmp/err")"
grep -q 'there at once' "$tmp/err" || fail "run with a wish and a budget: $(cat "$tmp/err")"
last=0
for g in 12 14 16 20; do # more memory, more tokens
  prints '^experts of layers' --exclude cpu --exclude gpu1 --exclude gpu2 --memory gpu0=$((g << 30))
  rate=$(sed -n 's/^decode: \([0-9.e+-]*\) .*/\1/p' "$tmp/out")
  awk -v a="$rate" -v b="$last" 'BEGIN { exit !(a > b) }' || fail "$g GiB: $rate tokens/s, but $last with less: $(cat "$tmp/out")"
  last=$rate
done
"$koine" estimate --machine "$data/laptop.machine" --shape v4-flash >"$tmp/out" 2>/dev/null || fail "estimate by turns: $(cat "$tmp/out")"
grep -q '^experts of layers .* by turns' "$tmp/out" || fail "estimate by turns: $(cat "$tmp/out")"
sed 's/^machine .*/& disk_bytes_per_s=4e9 cached_bytes_per_s=8e9/' "$data/laptop.machine" >"$tmp/quick.machine"
"$koine" plan --machine "$tmp/quick.machine" --shape v4-flash 2>/dev/null | grep -q '^experts: 4.00 GB/s from the disk, 8.00 from the page cache, measured' || fail "a machine with a measured disk"
refuses 2 'line such as' --placement "$data/README"
"$koine" estimate --machine "$data/mi300x.machine" --shape v4-flash >"$tmp/out" 2>&1 || fail "estimate: $(cat "$tmp/out")"
grep -q '^decode: .* tokens/s, likely' "$tmp/out" || fail "estimate: $(cat "$tmp/out")"
env -u KOINE_TUNED KOINE_BACKENDS=opencl,host XDG_CACHE_HOME="$tmp/one" "$koine" plan -m "${srcdir:-.}/models/austen" --device host --measure >"$tmp/out" 2>&1 || fail "plan --measure of one device: $(cat "$tmp/out")"
grep -q 'by measurements of this machine' "$tmp/out" && grep -q '^cost device="host"' "$tmp/one/koine/machine.txt" || fail "one device, measured: $(cat "$tmp/out")"
! grep '^cost' "$tmp/one/koine/machine.txt" | grep -v 'device="host"' || fail "a device was measured that is not to take part"
"$koine" devices --save "$tmp/here" >/dev/null 2>"$tmp/err" || fail "devices --save: $(cat "$tmp/err")"
sed '1,/^topology$/d' "$tmp/here" >"$tmp/here.xml"
"$koine" devices --topology "$tmp/here.xml" >"$tmp/out" 2>&1 && grep -q '^Machine:' "$tmp/out" || fail "the saved topology: $(cat "$tmp/out")"
"$koine" plan --machine "$tmp/here" --shape v4-flash --ratios 0,4 --experts 8 >"$tmp/out" 2>"$tmp/err"
[ $? = 0 ] && grep -q "by an estimate" "$tmp/out" || fail "a machine of unknown speed: $(cat "$tmp/out" "$tmp/err")"
[ $bad = 0 ]
