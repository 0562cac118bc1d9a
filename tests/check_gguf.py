#!/usr/bin/env python3
"""Blocks of GGUF formats, all scales and codes, decoded by t_gguf_model and by PyPI's gguf: the same values, bit by bit.

usage: check_gguf.py [t_gguf_model]      exit 77 without gguf (pip install gguf)"""
import subprocess
import sys

try:
    import gguf
    import numpy as np
except ImportError:
    print("SKIP: no gguf from PyPI")
    sys.exit(77)

program = sys.argv[1] if len(sys.argv) > 1 else "./tests/t_gguf_model"
FORMATS = {"q8_0": (gguf.GGMLQuantizationType.Q8_0, 2), "mxfp4": (gguf.GGMLQuantizationType.MXFP4, 1)}  # and the bytes of a scale
bad = 0
for name, (kind, scale_bytes) in FORMATS.items():
    values, size = gguf.GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(1)
    scales = np.arange(256 ** scale_bytes, dtype="<u4")  # every scale there is: zero, subnormal, negative, infinite, NaN
    blocks = rng.integers(0, 256, (len(scales), size), dtype=np.uint8)
    blocks[:, :scale_bytes] = scales.view(np.uint8).reshape(-1, 4)[:, :scale_bytes]
    with np.errstate(all="ignore"):
        want = gguf.quants.dequantize(blocks, kind).astype("<f4").reshape(-1)
    got = np.frombuffer(subprocess.run([program, "decode", name], input=blocks.tobytes(), stdout=subprocess.PIPE, check=True).stdout, "<f4")
    same = (got.view("<u4") == want.view("<u4")) | (np.isnan(got) & np.isnan(want))
    where = np.flatnonzero(~same)
    print(f"{name}: {len(want)} values, {len(where)} differ")
    for i in where[:4]:
        print(f"  block {i // values}, value {i % values}: gguf {want[i]!r}, here {got[i]!r}")
    bad += len(where) or len(got) != len(want)
sys.exit(1 if bad else 0)
