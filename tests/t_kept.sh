#!/bin/bash
# Reads of weights that go wrong, and weights kept as laid out (--keep-layout): every start gives the right logits or an error that names file and
# tensor, and none ends by a signal. KOINE: the command to test.
koine=${KOINE:-./koine}
source=${srcdir:-.}/models/austen
shim=${abs_builddir:-$PWD}/tests/.libs/libbadreads.so
bad=0
fail() { echo "FAIL: $*"; bad=1; }
[ -f "$shim" ] || { echo "FAIL: $shim is not there"; exit 1; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export POCL_CACHE_DIR=${POCL_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/pocl/kcache} # stays where it is
export XDG_CACHE_HOME=$dir/cache
model=$dir/model
fresh() { rm -rf "$model" && mkdir "$model" && cp -p "$source"/*.json "$source"/*.safetensors "$model"/; }
printf '\001\000\000\000\002\000\000\000\005\000\000\000' > "$dir/ids"

# start WAY FROM FILE [option...]: one start with such reads; status, $dir/got, $dir/said
start() {
  local way=$1 from=$2 file=$3
  shift 3
  rm -f "$dir/got"
  KOINE_TEST_READ=$way KOINE_TEST_READ_FROM=$from KOINE_TEST_READ_FILE=$file LD_PRELOAD=$shim \
    "$koine" logits -m "$model" --device "$device" --tokens "$dir/ids" -o "$dir/got" "$@" 2> "$dir/said"
  status=$?
}
right() { [ $status = 0 ] && cmp -s "$dir/got" "$dir/right" || fail "$device: $*: status $status: $(head -3 "$dir/said")"; }
wrong() { # WHAT PATTERN
  [ $status = 3 ] || fail "$device: $1: expected status 3, found $status: $(head -3 "$dir/said")"
  [ ! -e "$dir/got" ] || fail "$device: $1: logits all the same"
  grep -q "model.safetensors: .*$2" "$dir/said" || fail "$device: $1: expected a line with the file and $2, found $(head -3 "$dir/said")"
}
says() { grep -q "$2" "$dir/said" || fail "$device: $1: expected a line with $2, found $(head -3 "$dir/said")"; }
silent() { grep -q warning "$dir/said" && fail "$device: $1: $(head -3 "$dir/said")"; }
bytes_read() { awk '$1 == "READ" { n += $2 } END { print n + 0 }' "$dir/said"; }

bad_reads() {
  local from=3000000 option
  for option in --cache=packed --keep-layout; do
    [ "$device$option" = portable--keep-layout ] && continue # the same code, and its starts are slow
    fresh
    start eio $from model.safetensors $option; wrong "a read that fails" 'cannot read .*: Input/output error'
    start end $from model.safetensors $option; wrong "a file that ends early" 'it became shorter'
    start slow 0 model.safetensors $option; right "slow reads that give less than was asked for"
    start eio 0 model.safetensors $option; wrong "a header that cannot be read" 'cannot read its header: Input/output error'
    start touch $from model.safetensors $option; wrong "a file that is written to" 'was written to since it was opened'
    fresh
    start cut $from model.safetensors $option; wrong "a file that is cut off" 'it became shorter'
  done
}

kept() {
  fresh
  start log 0 model.safetensors --keep-layout; right "the first start"; silent "the first start"
  [ "$(bytes_read)" -gt 6000000 ] || fail "$device: the first start read $(bytes_read) bytes of the checkpoint"
  [ -n "$(ls "$model"/layout/*.laid 2>/dev/null)" ] || fail "$device: nothing is kept"
  start log 0 model.safetensors --keep-layout; right "the second start"; silent "the second start"
  [ "$(bytes_read)" -lt 3000000 ] || fail "$device: the second start read $(bytes_read) bytes of the checkpoint"
  start slow 0 .laid --keep-layout; right "slow reads of kept weights"; silent "slow reads"
  start eio 100000 .laid --keep-layout; right "kept weights that cannot be read"; says "unread" 'warning: .*laid: Input/output error: .*laid out anew'
  start log 0 .laid --keep-layout; right "the start after"; silent "the start after"
  local f n
  for f in "$model"/layout/*.laid; do
    n=$(stat -c %s "$f")
    printf 'damage' | dd of="$f" bs=1 seek=$((n / 2)) conv=notrunc status=none
  done
  start log 0 .laid --keep-layout; right "damaged weights"; says "damage" 'warning: .*laid: it has other bytes than were written'
  start log 0 .laid --keep-layout; right "after the damage"; silent "after the damage"
  for f in "$model"/layout/*.laid; do printf 'damage' | dd of="$f" bs=1 seek=160 conv=notrunc status=none; done
  start log 0 .laid --keep-layout; right "a damaged head"; says "a damaged head" 'warning: .*laid: .*laid out anew'
  for f in "$model"/layout/*.laid; do truncate -s -100 "$f"; done
  start log 0 .laid --keep-layout; right "short files"; says "short files" 'warning: .*laid: it ends too early'
  for f in "$model"/layout/*.laid; do head -c 70000 /dev/urandom > "$f"; done
  start log 0 .laid --keep-layout; right "another's files"; says "another's files" 'warning: .*laid: it is no file of'
  start log 0 .laid --keep-layout; right "all whole again"; silent "all whole again"
  touch "$model/model.safetensors"
  start log 0 .laid --keep-layout; right "a checkpoint that was written anew"; says "written anew" 'warning: .*laid: the checkpoint was written to since'
  export KOINE_LAYOUT=32
  start log 0 .laid --keep-layout; right "other tiles"; says "other tiles" 'warning: .*kept in tiles of 16 rows, but .* wants 32 now'
  [ -z "$(ls "$model"/layout/*-16-*.laid 2>/dev/null)" ] || fail "$device: the files of the other tiles are still there"
  unset KOINE_LAYOUT
  rm -rf "$model/layout" && : > "$model/layout"
  start log 0 .laid --keep-layout; right "no folder beside the checkpoint"; says "no folder" "warning: .*kept in $dir/cache/koine/layout"
  start log 0 model.safetensors --keep-layout; right "from the cache folder"; silent "from the cache folder"
  [ "$(bytes_read)" -lt 3000000 ] || fail "$device: the cache folder's weights were not read"
  rm -rf "$dir/cache/koine/layout"
}

# Experts by turns, read while tokens are evaluated: from the checkpoint, and as laid out.
turns() {
  local id=host from f n
  [ "$device" = host ] || id=$("$koine" devices | sed -n 's/^ *\(cl[0-9]*\): .*Portable Computing.*/\1/p' | head -1)
  local some=--expert-cache=$id=600K
  fresh
  start none 0 nothing "$some"; cp "$dir/got" "$dir/right" || fail "$device: no logits by turns"
  from=$(($(stat -c %s "$model/model.safetensors") / 2))
  start eio $from model.safetensors "$some"; wrong "an expert that cannot be read" 'cannot read .*: Input/output error'
  start end $from model.safetensors "$some"; wrong "an expert where the file ends" 'it became shorter'
  start slow 0 model.safetensors "$some"; right "slow reads of experts"
  start log 0 model.safetensors "$some" --keep-layout; right "experts laid out once"; silent "experts laid out once"
  n=$(bytes_read)
  start log 0 model.safetensors "$some" --keep-layout; right "experts as laid out"; silent "experts as laid out"
  [ "$(bytes_read)" -lt $((n / 2)) ] || fail "$device: experts came from the checkpoint, $(bytes_read) bytes after $n"
  start slow 0 .laid "$some" --keep-layout; right "slow reads of laid-out experts"; silent "slow reads of laid-out experts"
  start log 0 .laid --keep-layout; silent "all experts there, from the same files"
  for f in "$model"/layout/*.laid; do
    n=$(stat -c %s "$f")
    printf 'damage' | dd of="$f" bs=1 seek=$((n / 2)) conv=notrunc status=none
  done
  start log 0 .laid "$some" --keep-layout; right "damaged experts"; says "damaged experts" 'warning: .*laid: it has other bytes than were written'
  start log 0 .laid "$some" --keep-layout; right "after damaged experts"; silent "after damaged experts"
}

devices=host
"$koine" devices | grep -qi 'portable computing' && devices="host portable"
for device in $devices; do
  fresh
  unset KOINE_LAYOUT
  start none 0 nothing; cp "$dir/got" "$dir/right" || fail "$device: no logits"
  bad_reads
  kept
  turns
done
exit $bad
