#!/bin/sh
# PoCL: every op at its defaults against the C reference, the tiny models, sessions. More parameters: scripts/bigcheck.
. "${srcdir:-.}/tests/device.sh"
KOINE_TEST_SETS=1
export KOINE_TEST_SETS
device portable 0,1,7,129
