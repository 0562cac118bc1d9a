#!/bin/sh
# hip_compile.sh COMPILER SOURCE OUT OPTIONS...: one kernel's text to a code object that hipModuleLoadData takes, on a machine without a card and without
# ROCm's headers or bitcode. COMPILER: hipcc, or a clang that knows AMD's chips. OPTIONS: --offload-arch=CHIP first, then what hiprtc would be told.
# Version 4 of code objects is what every ROCm from 5.2 on loads. Where the compiler's own linker is missing, any ld.lld puts together what it assembled.
compiler=$1 source=$2 out=$3
shift 3
chip=${1#--offload-arch=}
common="-w -x hip -nogpuinc -nogpulib -mcode-object-version=4"
case $compiler in *hipcc*) kind=--genco ;; *) kind=--cuda-device-only ;; esac
rm -f "$out"
$compiler $kind $common "$@" -o "$out" "$source" >"$out.log" 2>&1 && [ -s "$out" ] && exit
case $compiler in *hipcc*) exit 1 ;; esac
rm -f "$out"
{ $compiler $kind $common "$@" -S -o "$out.s" "$source" && $compiler -target amdgcn-amd-amdhsa -mcpu="$chip" -mcode-object-version=4 -c -o "$out.o" "$out.s" &&
  ld.lld -shared --no-undefined -o "$out" "$out.o"; } >"$out.log" 2>&1 && [ -s "$out" ]
