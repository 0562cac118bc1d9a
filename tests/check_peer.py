#!/usr/bin/env python3
"""GGUF files of ours and llama.cpp: it loads what koine quantize writes, and both compute the same; its quantizer stores the same formats, reads our
importance matrices, and does no better on the same weights.

usage: check_peer.py KOINE PEER AUSTEN WIDE [GOLDEN...]
PEER: a folder with bin/llama-quantize, bin/libggml-base.so and peer_logits. WIDE: what tests/t_quantize makes of AUSTEN.
GOLDEN: golden models, whose logits are compared too. Exit 77 without numpy and gguf (PyPI)."""
import ctypes
import os
import sys

try:
    import gguf
    import numpy as np
    from peer import compare, fail, path, run
    import peer as shared
except ImportError:
    print("SKIP: no numpy or gguf from PyPI")
    sys.exit(77)

koine, peer, austen, wide, golden = *sys.argv[1:5], sys.argv[5:]
# What its widths allow, and where every width is a multiple of 256.
NARROW = ["F32", "F16", "BF16", "Q8_0", "MXFP4_MOE", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL"]
WIDE = ["Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS",
        "IQ3_S", "IQ3_M", "IQ4_XS"]
OURS = ("hc_", "_ape.")  # stay F32 here


def types(file):
    return {t.name: t.tensor_type.name for t in gguf.GGUFReader(file).tensors}


def compare_types(mix, file, source):
    """What llama-quantize stores of the same model."""
    theirs = path("theirs.gguf")
    args = ["--imatrix", path("importance.gguf")] if mix.startswith(("IQ2", "IQ3", "Q2_K_S")) else []
    for name in OURS:
        args += ["--tensor-type", f"{name.strip('.')}=f32"]
    if run(f"{peer}/bin/llama-quantize", *args, source, theirs, mix).returncode:
        return fail(f"{mix}: llama-quantize fails")
    ours, theirs = types(file), types(theirs)
    for name in ours:
        if ours[name] != theirs[name]:
            fail(f"{mix}: {name}: {ours[name]}, llama-quantize stores {theirs[name]}")


def quantizers(source):
    """Errors of both quantizers on the rows of one matrix, without weights and with ones."""
    lib = ctypes.CDLL(f"{peer}/bin/libggml-base.so")
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    tensor = next(t for t in gguf.GGUFReader(source).tensors if t.name == "blk.2.ffn_gate_exps.weight")
    x = np.ascontiguousarray(tensor.data.reshape(-1, 256), dtype="<f4")
    ones = np.ones(256, "<f4")
    for mix in NARROW[3:] + WIDE:
        kind = {"MXFP4_MOE": "MXFP4"}.get(mix, mix.removesuffix("_S").removesuffix("_M").removesuffix("_L") if "_K_" in mix else mix)
        if kind not in gguf.GGMLQuantizationType.__members__:
            continue
        kind = gguf.GGMLQuantizationType[kind]
        errors = []
        for w in (None, ones):
            if w is None and kind.name.startswith(("IQ2", "IQ1")):
                continue
            out = np.zeros(x.size * 4, "u1")
            n = lib.ggml_quantize_chunk(kind.value, x.ctypes.data, out.ctypes.data, 0, len(x), 256, None if w is None else w.ctypes.data)
            errors.append(np.sqrt(((gguf.quants.dequantize(out[:n], kind).reshape(x.shape) - x) ** 2).mean()))
        ours = path("one.gguf")
        if run(koine, "quantize", "-m", source, "-o", ours, "--type", mix).returncode:
            return fail(f"{mix}: koine quantize fails")
        t = next(t for t in gguf.GGUFReader(ours).tensors if t.name == tensor.name)
        if t.tensor_type != kind:
            continue
        mine = np.sqrt(((gguf.quants.dequantize(t.data, kind).reshape(x.shape) - x) ** 2).mean())
        print(f"{kind.name}: rmse {mine:.3e}, ggml {' and with ones '.join(f'{e:.3e}' for e in errors)}")
        if mine > 1.02 * min(errors):
            fail(f"{kind.name}: an error of {mine:.3e}, ggml has {min(errors):.3e}")


# ---- the files ----
f32 = path("austen-F32.gguf")
for mix in NARROW:
    file = path(f"austen-{mix}.gguf")
    if run(koine, "quantize", "-m", austen, "-o", file, "--type", mix, "--fallback", "usual").returncode:
        fail(f"{mix}: koine quantize fails")
    else:
        compare(koine, peer, f"austen {mix}", file)
run(koine, "quantize", "-m", wide, "-o", path("wide.gguf"), "--type", "F32")
with open(path("text"), "wb") as f:
    f.write(open(f"{austen}/heldout.txt", "rb").read()[:20000])
run(koine, "quantize", "-m", wide, "-o", path("scratch.gguf"), "--type", "Q8_0", "--imatrix", path("text"), "--save-imatrix", path("importance.gguf"), "--device", "host")
for mix in WIDE:
    file = path(f"wide-{mix}.gguf")
    args = ["--imatrix", path("importance.gguf")] if mix.startswith(("IQ2", "IQ3", "Q2_K_S")) else []
    if run(koine, "quantize", "-m", wide, "-o", file, "--type", mix, *args).returncode:
        fail(f"{mix}: koine quantize fails")
        continue
    compare(koine, peer, f"wide {mix}", file)
    compare_types(mix, file, path("wide.gguf"))
    os.remove(file)
for mix in ["Q8_0", "Q4_0", "Q2_K", "Q4_K_M", "Q6_K", "IQ3_S", "IQ4_XS"]:  # of lower ones it wants importance of tensors that ours has not
    file = path("theirs.gguf")
    args = ["--imatrix", path("importance.gguf")] if mix.startswith("IQ") else []
    if not run(f"{peer}/bin/llama-quantize", *args, path("wide.gguf"), file, mix).returncode:
        compare(koine, peer, f"wide {mix} by llama-quantize", file)
quantizers(path("wide.gguf"))

# ---- golden models ----
for folder in golden:
    for mix in ["F32", "F16", "Q8_0", "Q4_K_M", "IQ2_XXS"]:
        file = path("golden.gguf")
        if run(koine, "quantize", "-m", folder, "-o", file, "--type", mix, "--fallback", "usual").returncode:
            fail(f"{folder} {mix}: koine quantize fails")
        else:
            compare(koine, peer, f"{os.path.basename(folder.rstrip('/'))} {mix}", file, 140, 128)

# ---- the same text ----
prompt = "It is a truth universally acknowledged"
said = run(koine, "tokenize", "-m", f32, prompt).stdout.split()
np.array([0] + [int(i) for i in said], "<i4").tofile(path("prompt"))
run(f"{peer}/peer_logits", f32, path("prompt"), path("theirs"), 100)
theirs = run(koine, "detokenize", "-m", f32, "--special", *np.fromfile(path("theirs"), "<i4")).stdout
ours = run(koine, "run", "-m", f32, "--device", "host", "--cache", "exact", "--temp", "0", "-n", "100", "--special", prompt).stdout.rstrip(b"\n")
if not ours or not theirs.startswith(ours) or len(theirs) > len(ours) + 40:
    fail(f"greedy text: {ours!r}, llama.cpp {theirs!r}")
print(f"greedy text: {len(ours)} bytes, the same")
sys.exit(1 if shared.n_bad else 0)
