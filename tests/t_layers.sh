#!/bin/sh
# Layers over several devices: PoCL beside the host reference, and PoCL in two parts, on a tiny model; sessions and rewinding over stages.
# More devices and models: scripts/bigcheck.
here=${srcdir:-.}/tests
failed=0
run() { echo "== $*"; "$@" || { echo "FAILED with $?: $*"; failed=1; }; }
./tests/t_layers "$here/data/tiny-quant"
case $? in 0) ;; 77) exit 77 ;; *) failed=1 ;; esac
KOINE_TEST_LAYERS='host=0-0;host=1-2;host=3-'
export KOINE_TEST_LAYERS
run ./tests/t_session "$here/data/tiny-quant"
run ./tests/t_saved "$here/data/tiny-quant"
KOINE_TEST_LAYERS='fake=0-1;fake1=2-'
run ./tests/t_batch "$here/data/tiny-quant"
KOINE_TEST_LAYERS='host=0-1;portable=2-'
run ./tests/t_rewind "$here/data/tiny-quant"
exit $failed
