#!/bin/sh
# The library exports koine_* and nothing else, and everything that koine.h declares. Links go downwards as includes do (t_includes.sh has the levels).
src=${srcdir:-.} bad=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

# ---- links: who needs a symbol, and whose it is ----
# One link goes upwards, as docs/design.md says: an op's record in kernels points at its reference.
sh "$src/tests/t_includes.sh" levels >"$tmp/levels"
{ (cd "$src" && ls runtime/*/*.c kernels/*.c kernels/ref/*.c); ls kernels/*.c 2>/dev/null; } | sort -u >"$tmp/sources"
nm -A -P -g .libs/libkoi.a >"$tmp/symbols" || bad=1
awk '
  FILENAME == ARGV[1] { level[$1] = $2; next }
  FILENAME == ARGV[2] {
    name = folder = $1
    sub(/.*\//, "", name); sub(/\.c$/, "", name); sub(/\/[^\/]*$/, "", folder)
    if (name in home) print "two files are called " name ".c: in " home[name] " and " folder
    home[name] = folder
    next
  }
  {
    object = $1
    sub(/.*\[(libkoi_la-)?/, "", object); sub(/\.o\]:$/, "", object)
    if (!(object in home)) { if (!unknown[object]++) print object ".o: no source of that name"; next }
    if ($3 == "U") needs[object, $2]
    else if ($3 !~ /^[vw]$/) owner[$2] = object
  }
  END {
    for (need in needs) {
      split(need, part, SUBSEP)
      from = part[1]; symbol = part[2]
      if (!(symbol in owner)) continue
      n_links++
      a = home[from]; b = home[owner[symbol]]
      if (!(a in level) || !(b in level)) { print from ".c to " owner[symbol] ".c: a folder without a level in tests/t_includes.sh"; continue }
      if (a == b || level[b] < level[a]) continue
      if (a == "kernels" && from ~ /^ops_/ && b == "kernels/ref" && symbol ~ /^koi_ref_/) { n_references++; continue }
      print a "/" from ".c (level " level[a] ") links to " symbol " of " b "/" owner[symbol] ".c (level " level[b] ")"
    }
    if (n_links < 1000 || !n_references) print "only " n_links + 0 " links and " n_references + 0 " references were found in libkoi.a"
  }' "$tmp/levels" "$tmp/sources" "$tmp/symbols" | sort >"$tmp/upward"
[ ! -s "$tmp/upward" ] || { cat "$tmp/upward"; bad=1; }

# ---- exports ----
lib=.libs/libkoine.so
[ -f $lib ] || { echo "no shared library was built"; [ $bad = 0 ] && exit 77; exit 1; }
nm -D --defined-only $lib | awk '{print $3}' | sed 's/@.*//' | sort -u >"$tmp/have"
more=$(grep -v '^koine_' "$tmp/have")
missing=$(cat "$src"/include/koine/*.h | grep '^KOINE_API' | grep -o 'koine_[a-z_]*(' | tr -d '(' | sort -u | comm -23 - "$tmp/have")
[ -z "$more" ] || { echo "exported, but not koine_*: $more"; bad=1; }
[ -z "$missing" ] || { echo "declared, but not exported: $missing"; bad=1; }
exit $bad
