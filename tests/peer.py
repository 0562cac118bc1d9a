"""What the scripts share that compare with llama.cpp: PEER is a folder with peer_logits."""
import os
import subprocess
import tempfile

import gguf
import numpy as np

_tmp = tempfile.TemporaryDirectory()
n_bad = 0


def run(*args, **more):
    done = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    if done.returncode:
        print(f"FAILED with {done.returncode}: {' '.join(map(str, args))}\n{done.stderr.decode(errors='replace')[-400:]}")
    return done


def fail(text):
    global n_bad
    n_bad += 1
    print(f"FAIL: {text}")


def path(name):
    return os.path.join(_tmp.name, name)


def tokens(name, n, vocab):
    rng = np.random.default_rng(5)
    ids = np.concatenate([[0], rng.integers(8, vocab, n - 1)]).astype("<i4")
    ids.tofile(path(name))
    return path(name)


def dequantize(file, to):
    """The same model in F32. llama-quantize would leave some tensors as they are."""
    reader, writer = gguf.GGUFReader(file), gguf.GGUFWriter(to, "deepseek4")
    for f in reader.fields.values():
        if f.name.startswith("GGUF.") or f.name == "general.architecture":
            continue
        if f.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_array(f.name, f.contents())
        else:
            writer.add_key_value(f.name, f.contents(), f.types[0])
    for t in reader.tensors:
        writer.add_tensor(t.name, t.data if t.tensor_type.name == "I32" else gguf.quants.dequantize(t.data, t.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits(koine, model, n, vocab):
    """Koine's in exact mode; NaN, which is near nothing, where there are none."""
    if run(koine, "logits", "-m", model, "--device", "host", "--cache", "exact", "--tokens", tokens("ids", n, vocab), "-o", path("ours")).returncode:
        return np.full((n, vocab), np.nan)
    return np.fromfile(path("ours"), "<f4").reshape(n, -1).astype("f8")


def compare(koine, peer, what, file, n=160, vocab=2048):
    """Koine's logits of a file against llama.cpp's of the F32 file that its own Python module makes of it."""
    ids, whole = tokens("ids", n, vocab), path("whole.gguf")
    dequantize(file, whole)
    if run(f"{peer}/peer_logits", whole, ids, path("theirs")).returncode:
        return fail(f"{what}: no logits of llama.cpp")
    a, b = logits(koine, file, n, vocab), np.fromfile(path("theirs"), "<f4").reshape(n, -1).astype("f8")
    apart = np.abs(a - b).max(axis=1) / (b.max() - b.min())
    print(f"{what}: median {np.median(apart):.2e}, 90 % {np.quantile(apart, .9):.2e} of the range apart")
    if not np.median(apart) < 2e-5:
        fail(f"{what}: expected a median below 2e-5")
