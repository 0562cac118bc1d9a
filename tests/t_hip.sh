#!/bin/sh
# Why HIP is not there: ROCm missing, damaged, old, without some calls, without a device. `koine devices` says so in one line each time, and all else goes on.
top=${srcdir:-.}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0
KOINE_BACKENDS=hip,host
export KOINE_BACKENDS
stub() { # file, -D...: builds it
  out=$dir/$1
  shift
  ${CC:-cc} -std=gnu11 -shared -fPIC -w -I"$top/include" -I"$top/runtime" -I"$top" "$@" -o "$out" "$top/tests/hip_stub.c" || { echo "no stub was built with $*"; failed=1; }
}
says() { # words that the line about HIP has; the environment says which library
  got=$(./koine devices 2>&1) || { echo "koine devices ended with $?: $got"; failed=1; }
  line=$(echo "$got" | grep '^  HIP: ')
  case $line in *"$1"*) ;; *) echo "FAIL: expected \"$1\", found \"$line\""; failed=1 ;; esac
  case $got in *"host: C reference"*) ;; *) echo "FAIL: without HIP there is no host: $got"; failed=1 ;; esac
}

stub all.so
stub missing.so -DhipMalloc=another -DhiprtcGetCode=another2
stub no-device.so -DINIT=100
stub failing.so -DINIT=3
stub old.so -DVERSION=40500000
echo "no library" >"$dir/damaged.so"
KOINE_HIP_LIBRARY=$dir/nothing.so says "KOINE_HIP_LIBRARY names $dir/nothing.so, which is not there"
KOINE_HIP_LIBRARY=$dir/damaged.so says "damaged.so: file too short"
KOINE_HIP_LIBRARY=$dir/missing.so says "lacks hipMalloc, hiprtcGetCode: ROCm 5.2 or later is needed"
KOINE_HIP_LIBRARY=$dir/no-device.so says "hipInit failed: hipErrorNoDevice (100): no AMD GPU"
KOINE_HIP_LIBRARY=$dir/failing.so says "hipInit failed: hipErrorStub (3)"
KOINE_HIP_LIBRARY=$dir/old.so says "version 4.5, ROCm 5.2 or later is needed"
KOINE_HIP_LIBRARY=$dir/all.so says "the runtime has no device"

# By name, where the loader looks: the newest release first. ROCm 7 has its compiler in a library of its own.
for release in 6 7; do
  stub libamdhip64.so.$release -DINIT=$release
  LD_LIBRARY_PATH=$dir says "hipErrorStub ($release)"
done
for call in hiprtcVersion hiprtcGetErrorString hiprtcCreateProgram hiprtcDestroyProgram hiprtcCompileProgram hiprtcGetProgramLogSize hiprtcGetProgramLog \
  hiprtcGetCodeSize hiprtcGetCode; do alone="$alone -D$call=no_$call"; done
stub libamdhip64.so.7 $alone
LD_LIBRARY_PATH=$dir says "libamdhip64.so.7 is there, but not libhiprtc.so.7"
stub libhiprtc.so.7
LD_LIBRARY_PATH=$dir says "the runtime has no device"
exit $failed
