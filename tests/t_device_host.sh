#!/bin/sh
# The C reference: the golden models in several chunkings, sessions.
. "${srcdir:-.}/tests/device.sh"
for m in float-mini float-pro float-yarn quant-mini quant-wide quant-fp8experts; do models="$models ${srcdir:-.}/../shared/golden/$m"; done
device host 0,7
