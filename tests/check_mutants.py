#!/usr/bin/env python3
"""200 GGUF files that are wrong in one place, as past readers of the format met them: koine says so in one line, with exit status 3.

usage: check_mutants.py KOINE AUSTEN
       check_mutants.py --corpus FOLDER      the same of a small file, for fuzz_gguf, whose input begins behind magic and version
No module beside Python's own."""
import os
import random
import struct
import subprocess
import sys
import tempfile

koine, austen = sys.argv[1:3]
tmp = tempfile.TemporaryDirectory()
random.seed(7)


def small():
    """Every type of value, an array of numbers and one of texts, tensors of one and two dimensions."""
    text = lambda s: struct.pack("<Q", len(s)) + s
    keys = [text(b"k%d" % kind) + struct.pack("<I", kind) + (text(b"value") if kind == 8 else bytes(size))
            for kind, size in {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 8: 0, 10: 8, 11: 8, 12: 8}.items()]
    keys.append(text(b"numbers") + struct.pack("<IIQ", 9, 4, 3) + bytes(12))
    keys.append(text(b"texts") + struct.pack("<IIQ", 9, 8, 2) + text(b"a") + text(b"bc"))
    tensors = [text(b"v") + struct.pack("<IQIQ", 1, 8, 0, 0), text(b"m") + struct.pack("<IQQIQ", 2, 32, 2, 8, 32)]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys + tensors)
    return head + bytes(-len(head) % 32 + 32 + 96)


def whole(keys={}, tensors={}, tokens=None):
    """A tiny model of one layer of each kind: metadata and tensors (kind, dimensions from the fastest, bytes; None: left out) put in place of its own."""
    text = lambda s: struct.pack("<Q", len(s)) + s
    words = lambda kind, v: struct.pack("<IIQ", 9, kind, len(v))
    u32, f32 = lambda v: struct.pack("<II", 4, v), lambda v: struct.pack("<If", 6, v)
    texts = lambda v: words(8, v) + b"".join(map(text, v))
    names = tokens or [b"<s>", b"</s>", b"a", b"b", b"ab", b"c", b"d", b"e"]
    own = {"attention.head_count": u32(2), "attention.head_count_kv": u32(1), "attention.key_length": u32(32), "attention.q_lora_rank": u32(32), "block_count": u32(3),
           "attention.output_lora_rank": u32(32), "attention.output_group_count": u32(1), "attention.sliding_window": u32(8), "attention.indexer.head_count": u32(1),
           "attention.indexer.key_length": u32(32), "attention.indexer.top_k": u32(4), "attention.layer_norm_rms_epsilon": f32(1e-6), "context_length": u32(512),
           "attention.compress_rope_freq_base": f32(1e4), "attention.compress_ratios": words(5, [0] * 3) + struct.pack("<3i", 0, 4, 8), "embedding_length": u32(32),
           "rope.dimension_count": u32(8), "rope.freq_base": f32(1e4), "expert_count": u32(2), "expert_used_count": u32(1), "expert_feed_forward_length": u32(32),
           "expert_shared_count": u32(1), "expert_weights_scale": f32(1), "expert_weights_norm": struct.pack("<IB", 7, 1), "expert_gating_func": u32(4), "vocab_size": u32(8),
           "hash_layer_count": u32(1), "swiglu_clamp_exp": f32(10), "hyper_connection.count": u32(2), "hyper_connection.sinkhorn_iterations": u32(3),
           "hyper_connection.epsilon": f32(1e-6), "rope.scaling.type": struct.pack("<I", 8) + text(b"yarn"), "rope.scaling.factor": f32(4),
           "rope.scaling.original_context_length": u32(64)}
    meta = {"general.architecture": struct.pack("<I", 8) + text(b"deepseek4"), **{"deepseek4." + k: v for k, v in own.items()},
            "tokenizer.ggml.model": struct.pack("<I", 8) + text(b"gpt2"), "tokenizer.ggml.pre": struct.pack("<I", 8) + text(b"deepseek-v3"), "tokenizer.ggml.tokens": texts(names),
            "tokenizer.ggml.token_type": words(5, names) + struct.pack(f"<{len(names)}i", 3, 3, *[1] * (len(names) - 2)), "tokenizer.ggml.merges": texts([b"a b"]),
            "tokenizer.ggml.bos_token_id": u32(0), "tokenizer.ggml.eos_token_id": u32(1),
            "tokenizer.chat_template": struct.pack("<I", 8) + text(b"{% set tools_header = 'x' + ' y' %}{% set tools_footer = \"z\" %}"), **keys}
    vectors = {"output_norm": 32, "output_hc_base": 2, "output_hc_scale": 1}
    matrices = {"token_embd": (32, 8), "output": (32, 8), "output_hc_fn": (64, 2)}
    for n, ratio in enumerate((0, 4, 8)):
        b, wide = f"blk.{n}.", 64 if ratio == 4 else 32
        vectors |= {b + "attn_norm": 32, b + "ffn_norm": 32, b + "attn_q_a_norm": 32, b + "attn_kv_a_norm": 32, b + "attn_sinks": 2}
        matrices |= {b + "attn_q_a": (32, 32), b + "attn_q_b": (32, 64), b + "attn_kv": (32, 32), b + "attn_output_a": (64, 32), b + "attn_output_b": (32, 32), b + "ffn_gate_inp": (32, 2)}
        for part in ("attn", "ffn"):
            vectors |= {b + f"hc_{part}_base": 8, b + f"hc_{part}_scale": 3}
            matrices[b + f"hc_{part}_fn"] = (64, 8)
        for part in ("gate", "up", "down"):
            matrices |= {b + f"ffn_{part}_shexp": (32, 32), b + f"ffn_{part}_exps": (32, 32, 2)}
        for kind, width in (("attn", wide), ("indexer", 64))[:(ratio > 0) + (ratio == 4)]:
            vectors[b + kind + "_compressor_norm"] = 32
            matrices |= {b + kind + "_compressor_kv": (32, width), b + kind + "_compressor_gate": (32, width), b + kind + "_compressor_ape": (width, ratio)}
        if ratio == 4:
            matrices |= {b + "indexer.attn_q_b": (32, 32), b + "indexer.proj": (32, 1)}
    count = lambda dims: dims[0] * (dims[1] if len(dims) > 1 else 1) * (dims[2] if len(dims) > 2 else 1)
    all_of = {k + ".weight": (0, (n,), bytes(4 * n)) for k, n in vectors.items()}
    all_of |= {k + ".weight": (1, d, b"\0\x3c" * count(d)) if "_ape" in k else (2, d, (b"\0\x30" + bytes(range(16))) * (count(d) // 32)) for k, d in matrices.items()}
    all_of |= {"blk.0.ffn_gate_tid2eid.weight": (26, (1, 8), bytes(32)), "blk.1.exp_probs_b.bias": (0, (2,), bytes(8)), "blk.2.exp_probs_b.bias": (0, (2,), bytes(8)), **tensors}
    all_of = {k: v for k, v in all_of.items() if v}
    head, body = b"GGUF" + struct.pack("<IQQ", 3, len(all_of), len(meta)) + b"".join(text(k.encode()) + v for k, v in meta.items()), b""
    for name, (kind, dims, raw) in all_of.items():
        head += text(name.encode()) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, len(body))
        body += raw + bytes(-len(raw) % 32)
    return head + bytes(-len(head) % 32) + body


def models():
    """Files whose header is right and whose content is not: shapes, tensors, settings, tokens, scales."""
    u32, f32 = lambda v: struct.pack("<II", 4, v), lambda v: struct.pack("<If", 6, v)
    yield whole()
    for name, new in (("blk.1.attn_q_a.weight", None), ("output.weight", None), ("blk.7.attn_norm.weight", (0, (32,), bytes(128))), ("more.weight", (0, (1,), bytes(4))),
                      ("blk.1.attn_norm.weight", (0, (64,), bytes(256))), ("blk.0.ffn_up_exps.weight", (2, (32, 32, 3), bytes(18 * 96))),
                      ("blk.0.ffn_gate_tid2eid.weight", (26, (1, 8), b"\xff" * 32)), ("token_embd.weight", (0, (32, 8), b"\0\0\xc0\x7f" * 256)),
                      ("blk.2.ffn_up_exps.weight", (39, (32, 32, 2), b"\xff" * 17 * 64)), ("blk.2.attn_kv.weight", (8, (32, 32), b"\xff" * 34 * 32)), ("output_hc_fn.weight", (19, (256, 1), bytes(50)))):
        yield whole(tensors={name: new})
    for key in ("block_count", "embedding_length", "expert_count", "hash_layer_count", "attention.output_group_count", "hyper_connection.count", "rope.dimension_count", "vocab_size"):
        for value in (u32(0), u32(1), u32(2**32 - 1), struct.pack("<Ii", 5, -1), f32(float("nan")), struct.pack("<IQ", 8, 1) + b"x"):
            yield whole(keys={"deepseek4." + key: value})
    for key in ("rope.freq_base", "hyper_connection.epsilon", "swiglu_clamp_exp", "rope.scaling.factor", "expert_weights_scale"):
        for value in (0, -1, 1e38, float("nan"), float("inf")):
            yield whole(keys={"deepseek4." + key: f32(value)})
    for tokens in ([b"<s>", b"</s>", b"a", b"a", b"ab", b"c", b"d", b"e"], [b"\xff\xfe"] * 8, [b"<s>", b"</s>"]):
        yield whole(tokens=tokens)
    yield whole(keys={"tokenizer.ggml.merges": struct.pack("<IIQQ", 9, 8, 1, 3) + b"a z"})
    yield whole(keys={"deepseek4.nextn_predict_layers": u32(1)})
    yield whole(keys={"deepseek4.nextn_predict_layers": u32(9)})


if koine == "--corpus":
    data = small()
else:
    good = os.path.join(tmp.name, "good.gguf")
    subprocess.run([koine, "quantize", "-m", austen, "-o", good, "--type", "F16"], check=True)
    subprocess.run([koine, "info", good], check=True, stdout=subprocess.DEVNULL)
    data = open(good, "rb").read()


def scan():
    """Where counts, types, dimensions and offsets stand: {kind: [(position, bytes)]}, and the header's end."""
    at, places = 24, {k: [] for k in ("length", "type", "array", "dims", "dim", "tensor type", "offset", "name")}
    n_tensors, n_keys = struct.unpack_from("<QQ", data, 8)
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def string(kind):
        nonlocal at
        places[kind].append((at, 8))
        at += 8 + struct.unpack_from("<Q", data, at)[0]

    for _ in range(n_keys):
        string("name")
        places["type"].append((at, 4))
        kind, n = struct.unpack_from("<I", data, at)[0], 1
        at += 4
        if kind == 9:
            kind, n = struct.unpack_from("<IQ", data, at)
            places["type"].append((at, 4))
            places["array"].append((at + 4, 8))
            at += 12
        for _ in range(n):
            if kind == 8:
                string("length")
            else:
                at += sizes[kind]
    for _ in range(n_tensors):
        string("name")
        n = struct.unpack_from("<I", data, at)[0]
        places["dims"].append((at, 4))
        places["dim"] += [(at + 4 + 8 * i, 8) for i in range(n)]
        places["tensor type"].append((at + 4 + 8 * n, 4))
        places["offset"].append((at + 8 + 8 * n, 8))
        at += 16 + 8 * n
    return places, at


places, end = scan()
HUGE = [2**64 - 1, 2**63, 2**32, 2**40, 2**61]
mutants = [(f"the first {n} bytes", data[:n]) for n in [0, 1, 3, 4, 8, 12, 23, 24] + [random.randrange(25, end) for _ in range(32)]]


def put(what, at, size, value):
    mutants.append((f"{what} at {at}: {value}", data[:at] + (value % 2**(8 * size)).to_bytes(size, "little") + data[at + size:]))


for at, what in ((8, "tensors"), (16, "keys")):
    for v in HUGE:
        put(what, at, 8, v)
for v in (0, 1, 4, 0x03000000):
    put("version", 4, 4, v)
for kind in ("length", "array", "name", "dim"):
    for _ in range(20):
        put(kind, *random.choice(places[kind]), random.choice(HUGE))
for _ in range(12):
    put("name", *random.choice(places["name"]), 0)
    put("dim", *random.choice(places["dim"]), 0)
    put("dimensions", *random.choice(places["dims"]), random.choice([0, 5, 255, 2**32 - 1]))
    put("type", *random.choice(places["type"]), random.choice([13, 99, 2**32 - 1]))
    at, _ = random.choice(places["offset"][1:])
    put("offset", at, 8, random.choice([1, 7, 2**63, len(data) * 2, 2**64 - 32]))
    at, _ = random.choice(places["offset"][1:])
    put("overlap", at, 8, struct.unpack_from("<Q", data, random.choice(places["offset"])[0])[0])
while len(mutants) < 200:
    put("tensor type", *random.choice(places["tensor type"]), random.choice([4, 5, 40, 99, 2**31]))

if koine == "--corpus":
    os.makedirs(austen, exist_ok=True)
    for i, text in enumerate([data] + [m for _, m in mutants] + list(models())):
        with open(os.path.join(austen, f"seed{i}"), "wb") as f:
            f.write(text[8:])
    sys.exit(0)
bad = 0
file = os.path.join(tmp.name, "mutant.gguf")
for what, text in mutants[:200]:
    if text == data:  # an offset that became itself
        continue
    with open(file, "wb") as f:
        f.write(text)
    done = subprocess.run([koine, "info", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    lines = done.stderr.decode(errors="replace").splitlines()
    if done.returncode != 3 or len(lines) != 1:
        bad += 1
        print(f"{what}: status {done.returncode}, {len(lines)} lines: {lines[:2]}")
print(f"{min(len(mutants), 200)} files, {bad} wrong")
sys.exit(1 if bad else 0)
