#!/bin/sh
# Kernel texts to a C file: embed.sh DIR > sources.c
# Every DIR/*.cl becomes one text: dialect.clh first, then the file, each #include "x.clh" replaced once by the file's lines.
# #line directives keep the compiler's messages true to the files.
set -eu
LC_ALL=C
export LC_ALL
dir=${1:?usage: embed.sh DIR}

whole_text() { # of one kernel file: with everything it needs
  awk -v dir="$dir" -v first="$1" '
    function emit(name,    path, line, n, got, part) {
      if (name in seen) return
      seen[name] = 1
      path = dir "/" name
      print "#line 1 \"" name "\""
      while ((got = (getline line < path)) > 0) {
        n++
        if (line ~ /^[ \t]*#[ \t]*include[ \t]*"/) {
          split(line, part, "\"")
          if (!(part[2] in seen)) {
            emit(part[2])
            print "#line " n + 1 " \"" name "\""
          } else print ""
        } else print line
      }
      if (got < 0) {
        print "embed.sh: cannot read " path > "/dev/stderr"
        exit 1
      }
      close(path)
    }
    BEGIN { emit("dialect.clh"); emit(first) }' </dev/null
}

echo '/* Made by kernels/embed.sh: the kernel texts. */'
echo '#include "kernels/sources.h"'
echo
echo 'const struct koi_source koi_sources[] = {'
for file in "$dir"/*.cl; do
  [ -e "$file" ] || continue
  name=$(basename "$file" .cl)
  text=$(whole_text "$name.cl")
  printf '  {"%s",\n' "$name"
  printf '%s\n' "$text" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/??/?\\?/g' -e 's/^/   "/' -e 's/$/\\n"/'
  echo '  },'
done
echo '  {0, 0}};'
