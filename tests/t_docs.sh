#!/bin/bash
# What the documents name exists, and what they must name is named: commands, options, files, variables, exit statuses, tests. KOINE: the command.
koine=$(realpath "${KOINE:-./koine}")
cd "${srcdir:-.}" || exit 1
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
docs="README.md HACKING.md CHANGELOG.md docs/design.md docs/experts.md docs/gguf.md docs/model.md models/austen/README.md kernels/hip/README.md"
bad=0
fail() { echo "FAIL: $*"; bad=$((bad + 1)); }
for f in $docs; do [ -f "$f" ] || fail "$f is missing"; done

# Code: blocks of four blanks and spans of backticks, one a line, continuation lines joined. A span may go over the end of a line.
code() {
  awk '/^    /{ line = substr($0, 5); if (sub(/\\$/, "", line)) printf "%s ", line; else print line; next } { print "" }' "$@"
  awk '!/^    /' "$@" | tr '\n' ' ' | grep -oE '`[^`]+`' | tr -d '`'
}

# ---- commands: README has each, no document has another ----
commands=$("$koine" --help | sed -n '/^commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p')
[ -n "$commands" ] || fail "koine --help lists no commands"
for c in $commands; do
  code README.md | grep -qE "^koine $c( |$)" || fail "README.md has no example of koine $c"
  "$koine" "$c" --help | grep -oE '^  -[^ ]+(, -[^ ]+)*' | tr -d ' ' | tr ',' '\n' >"$tmp/$c"
done
cat "$tmp"/* | sort -u >"$tmp/all"
for f in $docs; do
  for c in $(code "$f" | grep -oE '^koine [a-zA-Z-]+' | cut -d' ' -f2 | sort -u); do
    case $c in CMD | --help | --man | --version | --completion-bash | help) continue ;; esac
    echo "$commands" | grep -qx -- "$c" || fail "$f: there is no koine $c"
  done
done

# ---- options: of the command that the line is about; alone, of any command ----
for f in $docs; do
  while read -r line; do
    line=${line%%  #*}
    read -r _ command _ <<<"$line"
    list=$tmp/$command
    [ -f "$list" ] || list=$tmp/all
    for o in $(sed 's/"[^"]*"//g' <<<"$line" | grep -oE '(^| )--?[a-zA-Z][a-zA-Z-]*'); do
      case $o in --man | --version | --completion-bash | --help) continue ;; esac
      grep -qx -- "$o" "$list" || fail "$f: '$line': there is no option $o"
    done
  done < <(code "$f" | grep -E '^(\./)?koine |^-' | grep -vE '^-[0-9W]')
  for o in $(code "$f" | grep -E '(^|/)configure' | grep -oE -- '--(with|without|enable|disable)-[a-z-]+' | sed -E 's/--(with|without|enable|disable)-//' | sort -u); do
    grep -qE "AC_ARG_(WITH|ENABLE)\(\[$o\]" configure.ac || fail "$f: configure has no option for $o"
  done
done

# ---- files: what looks like a path of ours, and links ----
for f in $docs; do
  folder=$(dirname "$f")
  for p in $(code "$f" | grep -oE '(^|[ (])(\.\./)?(runtime|kernels|tests|scripts|cli|docs|include|examples|models)/[A-Za-z0-9_./*-]*' | tr -d ' (' | sed 's/[.,:]*$//' | sort -u); do
    p=${p#../}
    case $p in *NAME*) continue ;; esac
    compgen -G "$p" >/dev/null || compgen -G "$p.[ch]" >/dev/null || fail "$f: there is no $p"
  done
  for p in $(grep -oE '\]\([^)#]+\)' "$f" | sed 's/^](//; s/)$//' | grep -v '^[a-z]*:'); do
    [ -e "$folder/$p" ] || fail "$f: the link $p leads nowhere"
  done
done

# ---- variables: documented ones are read somewhere, and the other way round ----
grep -rhoE 'getenv\("KOINE_[A-Z_]+"|\$\{KOINE_TEST_[A-Z_]+' runtime cli tests | grep -oE 'KOINE_[A-Z_]+' | sort -u >"$tmp/read"
code README.md HACKING.md | grep -oE '\bKOINE_[A-Z_]+' | sort -u >"$tmp/named"
for v in $(comm -13 "$tmp/read" "$tmp/named"); do fail "no code reads $v"; done
for v in $(comm -23 "$tmp/read" "$tmp/named"); do fail "HACKING.md does not name $v"; done

# ---- exit statuses, tests, levels ----
for n in $(sed -n 's/^enum {\(.*EXIT_.*\)};$/\1/p' cli/options.h | grep -oE '[0-9]+'); do
  grep -q "^| $n |" README.md || fail "README.md does not say what exit status $n means"
done
for t in tests/t_*.c tests/t_*.sh tests/fuzz_*.c tests/check_*; do
  t=$(basename "$t" | sed 's/\.[a-z]*$//')
  grep -E '^\|' HACKING.md | grep -qE "[\`/]$t[\`.]" || fail "HACKING.md: no row says what $t catches"
done
for d in runtime/*/ kernels/ref/; do
  grep -E '^\| [0-9] \|' docs/design.md | grep -qE "[ ,]${d%/}[, |]" || fail "docs/design.md: $d has no level"
done

# ---- sections that comments cite ----
for s in $(grep -hoE '(\(|section )[1-5](\.[1-6])?\b' runtime/*/*.[ch] kernels/*.[ch] | grep -oE '[1-5](\.[1-6])?$' | sort -u); do
  grep -qE "^##+ ${s/./\\.}\.? " docs/model.md || fail "docs/model.md has no section $s"
done
[ "$bad" = 0 ]
