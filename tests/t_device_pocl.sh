#!/bin/sh
# PoCL: every op against the C reference, the tiny models, sessions.
. "${srcdir:-.}/tests/device.sh"
more_models=
device portable 0,1,7,129
