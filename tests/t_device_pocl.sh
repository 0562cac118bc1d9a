#!/bin/sh
# PoCL: every op against the C reference, the tiny models, sessions.
. "${srcdir:-.}/tests/device.sh"
KOINE_TEST_SETS=2
export KOINE_TEST_SETS
device portable 0,1,7,129
