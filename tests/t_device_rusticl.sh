#!/bin/sh
# Mesa's rusticl on llvmpipe.
RUSTICL_ENABLE=llvmpipe
export RUSTICL_ENABLE
. "${srcdir:-.}/tests/device.sh"
more_models=
device rusticl 0,7
