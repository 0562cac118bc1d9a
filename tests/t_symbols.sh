#!/bin/sh
# The library exports koine_* and nothing else, and everything that koine.h declares.
lib=.libs/libkoine.so
[ -f $lib ] || { echo "no shared library was built"; exit 77; }
nm -D --defined-only $lib | awk '{print $3}' | sed 's/@.*//' | sort -u >t_symbols.have
bad=$(grep -v '^koine_' t_symbols.have)
missing=$(cat "${srcdir:-.}"/include/koine/*.h | grep '^KOINE_API' | grep -o 'koine_[a-z_]*(' | tr -d '(' | sort -u | comm -23 - t_symbols.have)
rm -f t_symbols.have
[ -z "$bad" ] || echo "exported, but not koine_*: $bad"
[ -z "$missing" ] || echo "declared, but not exported: $missing"
[ -z "$bad$missing" ]
