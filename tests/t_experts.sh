#!/bin/sh
# Experts by turns on the host and on PoCL: t_experts, and the golden bounds with one expert and a half of a layer there, also where the others stay on
# another device.
here=${srcdir:-.}/tests
./tests/t_experts "$here/data/tiny-quant" host || exit 1
./tests/t_experts "$here/data/tiny-quant" Portable
s=$?
[ $s = 0 ] || [ $s = 77 ] || exit 1
for d in tiny-quant tiny-float; do KOINE_TEST_DEVICE=host KOINE_TEST_EXPERT_CACHE=host=800000 KOINE_TEST_CHUNKS=0,7 ./tests/t_golden "$here/data/$d" || exit 1; done
[ $s = 0 ] || exit $s
# Those that are not there are computed by the other device.
KOINE_TEST_EXPERT_CACHE=host=800000 KOINE_TEST_CHUNKS=3,1 KOINE_MISS=cpu
export KOINE_TEST_EXPERT_CACHE KOINE_TEST_CHUNKS KOINE_MISS
for d in tiny-quant tiny-float; do KOINE_TEST_DEVICE=host KOINE_TEST_MISSES_ON=Portable ./tests/t_golden "$here/data/$d" || exit 1; done
