#!/bin/sh
# The C reference: the golden models in several chunkings, sessions.
KOINE_TEST_SETS=1 # its kernels have no parameters
export KOINE_TEST_SETS
. "${srcdir:-.}/tests/device.sh"
for m in float-mini float-pro float-yarn quant-mini quant-wide quant-fp8experts; do models="$models ${srcdir:-.}/../shared/golden/$m"; done
device host 0,7
