#!/bin/sh
# The second entry for dense products in prefill, on PoCL: its products, the remembered choice, and a whole model that takes it everywhere.
# Skipped (77) where the build has no CLBlast or the machine no PoCL.
here=${srcdir:-.}/tests
cache=$(mktemp -d) || exit 1
trap 'rm -rf "$cache"' EXIT
KOINE_TEST_DEVICE=portable
POCL_CACHE_DIR=${POCL_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/pocl/kcache} # stays where it is when the test moves XDG_CACHE_HOME
export KOINE_TEST_DEVICE POCL_CACHE_DIR
./tests/t_gemm "$here/data/tiny-quant" "$cache" || exit
KOINE_GEMM=clblast KOINE_TEST_CHUNKS=64 ./tests/t_golden "$here/data/tiny-quant"
