#!/usr/bin/env python3
"""Blocks of GGUF formats, all scales and codes, decoded by t_blocks and by PyPI's gguf: the same values, bit by bit.

usage: check_gguf.py [t_blocks]          exit 77 without gguf (pip install gguf)
       check_gguf.py --record FILE       some blocks of each with gguf's values as safetensors: tests/data/blocks.safetensors"""
import json
import struct
import subprocess
import sys

try:
    import gguf
    import numpy as np
except ImportError:
    print("SKIP: no gguf from PyPI")
    sys.exit(77)

# Bytes of a block at which F16 scales and minima begin; of MXFP4 there is one byte instead.
HALVES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2],
          "Q6_K": [208], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": None}
# two ordinary ones, -0, the least subnormal, the greatest, infinite, NaN, and one of sizes that weights have
SPECIAL = np.array([0x3a51, 0xb2f7, 0x8000, 0x0001, 0x7bff, 0xfc00, 0x7e01, 0x1d2b], "<u2")


def blocks_of(name, n, specials):
    """n random blocks; scales are `specials` in turn, minima the same in another order."""
    kind = gguf.GGMLQuantizationType[name]
    size = gguf.GGML_QUANT_SIZES[kind][1]
    rng = np.random.default_rng(sum(name.encode()))
    blocks = rng.integers(0, 256, (n, size), dtype=np.uint8)
    if HALVES[name] is None:
        blocks[:, 0] = np.arange(n) * (256 // n if n < 256 else 1) % 256
        blocks[-1, 0] = 255
    else:
        for i, at in enumerate(HALVES[name]):
            half = specials[(np.arange(n) * (1, 5)[i] + 3 * i) % len(specials)]
            blocks[:, at:at + 2] = half.astype("<u2").view(np.uint8).reshape(-1, 2)
    with np.errstate(all="ignore"):
        return blocks, gguf.quants.dequantize(blocks, kind).astype("<f4").reshape(n, -1)


def record(path):
    header, data = {}, b""
    for name in HALVES:
        for what, array in zip(("blocks", "values"), blocks_of(name, len(SPECIAL), SPECIAL)):
            raw = array.tobytes()
            header[f"{name.lower()}.{what}"] = {"dtype": "U8" if what == "blocks" else "F32", "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
            data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def compare(program, name):
    every = np.arange(65536, dtype="<u2")
    blocks, want = blocks_of(name, 65536, every)
    out = subprocess.run([program, "decode", name.lower()], input=blocks.tobytes(), stdout=subprocess.PIPE, check=True).stdout
    got, want = np.frombuffer(out, "<f4"), want.reshape(-1)
    if len(got) != len(want):
        print(f"{name}: {len(want)} values, {len(got)} came back")
        return 1
    same = (got.view("<u4") == want.view("<u4")) | (np.isnan(got) & np.isnan(want))
    where = np.flatnonzero(~same)
    print(f"{name}: {len(want)} values, {len(where)} differ")
    for i in where[:4]:
        per = len(want) // 65536
        print(f"  block {i // per}, value {i % per}: gguf {want[i]!r}, here {got[i]!r}")
    return len(where)


if sys.argv[1:2] == ["--record"]:
    record(sys.argv[2])
    sys.exit(0)
program = sys.argv[1] if len(sys.argv) > 1 else "./tests/t_blocks"
sys.exit(1 if sum([compare(program, name) for name in HALVES]) else 0)
