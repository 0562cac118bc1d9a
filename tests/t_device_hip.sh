#!/bin/sh
# HIP on the CPU: one small model with 64 lanes, the small cases of every op at its defaults with 32, of products, the indexer's scores and attention with other matrix units, kernels with faults,
# which show that those without are right. More: scripts/bigcheck.
command -v "${KOINE_CLANG:-clang-19}" >/dev/null || { echo "no clang-19, which compiles kernels for HIP on the CPU"; exit 77; }
KOINE_HIP_LIBRARY=$PWD/tests/.libs/libhipemu.so
KOINE_BACKENDS=hip
KOINE_TEST_SMALL=1
KOINE_TEST_SETS=1
export KOINE_HIP_LIBRARY KOINE_BACKENDS KOINE_TEST_SMALL KOINE_TEST_SETS
. "${srcdir:-.}/tests/device.sh"
failed=0
KOINE_TEST_DEVICE=hip1 KOINE_TEST_CHUNKS=0,7 KOINE_TEST_ALONE=1 run ./tests/t_golden "$here/data/tiny-quant"
KOINE_TEST_DEVICE=hip0 run ./tests/t_ops
for d in hip1 hip2 hip3; do KOINE_TEST_DEVICE=$d KOINE_TEST_OP=matmul run ./tests/t_ops; done
for o in index_score attn; do KOINE_TEST_DEVICE=hip1 KOINE_TEST_OP=$o run ./tests/t_ops; done
KOINE_TEST_DEVICE=hip1 run ./tests/t_mutants
for d in hip0 hip2 hip3 hip4 hip5; do KOINE_TEST_DEVICE=$d run ./tests/t_mutants unit-; done
run ./tests/t_backend HIP
run ./tests/t_kern HIP
KOINE_TEST_DEVICE=hip1 run ./tests/t_record "$here/data/tiny-quant"
exit $failed
