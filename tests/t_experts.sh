#!/bin/sh
# Experts by turns on the host and on PoCL: t_experts, and the golden bounds with one expert and a half of a layer there.
here=${srcdir:-.}/tests
./tests/t_experts "$here/data/tiny-quant" host || exit 1
./tests/t_experts "$here/data/tiny-quant" Portable
s=$?
[ $s = 0 ] || [ $s = 77 ] || exit 1
for d in tiny-quant tiny-float; do KOINE_TEST_DEVICE=host KOINE_TEST_EXPERT_CACHE=host=800000 KOINE_TEST_CHUNKS=0,7 ./tests/t_golden "$here/data/$d" || exit 1; done
exit $s
