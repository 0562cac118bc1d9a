#!/bin/sh
# Mesa's rusticl on llvmpipe, which compiles slowly: one small model, the small cases of every op at its defaults. More: scripts/bigcheck.
RUSTICL_ENABLE=llvmpipe
KOINE_TEST_SMALL=1
KOINE_TEST_SETS=1
export RUSTICL_ENABLE KOINE_TEST_SMALL KOINE_TEST_SETS
. "${srcdir:-.}/tests/device.sh"
models=$here/data/tiny-quant
device rusticl 0
