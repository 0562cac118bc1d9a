"""Writes the trained model in the published layout, and measures it.

Owns: the files of the shipped folder, reading them back, the held-out measure, samples, golden logits.
Does not: train (train.py) or decide how a weight is rounded (net.py).
Invariant: what `eval` and `golden` run is read from the written files, not from the checkpoint.
"""
import argparse
import json
import math
import pathlib
import re
import struct

import numpy as np
import torch

import data
import net
import train

HERE = pathlib.Path(__file__).parent
DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32, "I64": torch.int64, "I8": torch.int8,
          "F8_E4M3": torch.float8_e4m3fn, "F8_E8M0": torch.uint8, "I32": torch.int32}
# the library's name -> the published one, tried in order; the rest of the name stays
RENAMES = [
    (r"^model\.", ""), (r"^embed_tokens\.", "embed."), (r"^lm_head\.", "head."),
    (r"^hc_head\.hc_(\w+)$", r"hc_head_\1"), (r"\.attn_hc\.(\w+)$", r".hc_attn_\1"), (r"\.ffn_hc\.(\w+)$", r".hc_ffn_\1"),
    (r"\.input_layernorm\.", ".attn_norm."), (r"\.post_attention_layernorm\.", ".ffn_norm."),
    (r"\.self_attn\.", ".attn."), (r"\.mlp\.", ".ffn."), (r"\.compressor\.indexer\.scorer\.", ".indexer."),
    (r"\.compressor\.indexer\.q_b_proj\.", ".indexer.wq_b."), (r"\.compressor\.indexer\.", ".indexer.compressor."),
    (r"\.sinks$", ".attn_sink"), (r"\.position_bias$", ".ape"), (r"compressor\.kv_norm\.", "compressor.norm."),
    (r"compressor\.kv_proj\.", "compressor.wkv."), (r"compressor\.gate_proj\.", "compressor.wgate."),
    (r"\.q_a_proj\.", ".wq_a."), (r"\.q_b_proj\.", ".wq_b."), (r"attn\.kv_proj\.", "attn.wkv."),
    (r"\.o_a_proj\.", ".wo_a."), (r"\.o_b_proj\.", ".wo_b."), (r"\.q_a_norm\.", ".q_norm."),
    (r"\.e_score_correction_bias$", ".bias"), (r"shared_experts\.gate_proj\.", "shared_experts.w1."),
    (r"shared_experts\.down_proj\.", "shared_experts.w2."), (r"shared_experts\.up_proj\.", "shared_experts.w3."),
]


def published(name):
    for pattern, to in RENAMES:
        name = re.sub(pattern, to, name)
    return name


# ---- writing ----

def e8m0(exponent):
    return (exponent + 127).to(torch.uint8)


def stored(name, w):
    """A weight as (dtype, tensor) for `weight`, and for `scale` where it has one."""
    how = net.kind(name, w)
    if how == "fp4":
        code, exponent, _ = net.fp4_parts(w)
        packed = (code[:, 0::2] | (code[:, 1::2] << 4)).to(torch.uint8).view(torch.int8)
        return {"weight": ("I8", packed), "scale": ("F8_E8M0", e8m0(exponent))}
    if how == "fp8":
        code, exponent, _ = net.fp8_parts(w)
        return {"weight": ("F8_E4M3", code.contiguous()), "scale": ("F8_E8M0", e8m0(exponent))}
    if how == "bf16":
        return {"weight": ("BF16", w.bfloat16())}
    return {"weight": ("F32", w.float())}


def tensors(model):
    """published name -> (dtype, tensor), for all of the model."""
    out = {}
    for name, value in model.state_dict().items():
        m = re.match(r"model\.layers\.(\d+)\.mlp\.experts\.(gate_up_proj|down_proj)\.(\d+)$", name)
        if m:
            stem = f"layers.{m[1]}.ffn.experts.{m[3]}."
            parts = {"w1": value.chunk(2)[0], "w3": value.chunk(2)[1]} if m[2] == "gate_up_proj" else {"w2": value}
            for part, w in parts.items():
                for end, item in stored(name, w.contiguous()).items():
                    out[f"{stem}{part}.{end}"] = item
            continue
        to = published(name)
        if to.endswith("tid2eid"):
            out[to] = ("I64", value)
        elif to.endswith(".weight"):
            for end, item in stored(name, value).items():
                out[to[:-len("weight")] + end] = item
        else:
            out[to] = ("F32", value.float())
    return out


def write_safetensors(path, items):
    """The format by hand: torch's writer has no E8M0 for every version, and the header is twenty lines."""
    header, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name in sorted(items, key=lambda n: (-items[n][1].element_size(), n)):
        dtype, value = items[name]
        raw = value.contiguous().view(torch.uint8).numpy().tobytes()
        header[name] = {"dtype": dtype, "shape": list(value.shape), "data_offsets": [at, at + len(raw)]}
        blobs.append(raw)
        at += len(raw)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(blobs))


def write_folder(folder, model, tok):
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "model.safetensors", tensors(model))
    put = {"config.json": {**net.CONFIG, **net.QUANT},
           "generation_config.json": {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 1,
                                      "do_sample": True, "temperature": 0.8, "top_p": 0.95},
           "tokenizer_config.json": {"add_bos_token": True, "add_eos_token": False, "bos_token": data.BOS,
                                     "eos_token": data.EOS, "pad_token": data.EOS, "unk_token": None,
                                     "clean_up_tokenization_spaces": False, "model_max_length": 8192,
                                     "tokenizer_class": "PreTrainedTokenizerFast"}}
    for name, value in put.items():
        (folder / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    (folder / "tokenizer.json").write_text(tok.to_str(pretty=False) + "\n")


# ---- reading back ----

def read_safetensors(path):
    """name -> (dtype, tensor), read from the bytes."""
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    header.pop("__metadata__", None)
    out = {}
    for name, info in header.items():
        a, b = (8 + n + v for v in info["data_offsets"])
        flat = torch.from_numpy(np.frombuffer(raw[a:b], np.uint8).copy())
        out[name] = (info["dtype"], flat.view(DTYPES[info["dtype"]]).reshape(info["shape"]))
    return out


def dequantised(items, name):
    dtype, w = items[name]
    scale = items.get(name[:-len("weight")] + "scale")
    if scale is None:
        return w if dtype == "I64" else w.float()
    factor = torch.exp2(scale[1].float() - 127)
    if dtype == "I8":
        byte = w.view(torch.uint8).int()
        code = torch.stack([byte & 15, byte >> 4], -1).flatten(-2)
        value = net.FP4_VALUES[code & 7] * torch.where(code > 7, -1.0, 1.0)
        return value * factor.repeat_interleave(32, 1)
    rows, cols = w.shape
    return w.float() * factor.repeat_interleave(128, 0)[:rows].repeat_interleave(128, 1)[:, :cols]


def load_folder(folder):
    """The shipped model through the library's own reader: from_pretrained on a float copy in published names."""
    import tempfile
    from transformers import DeepseekV4ForCausalLM
    items = read_safetensors(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    for key in ("quantization_config", "expert_dtype"):
        config.pop(key)
    config["torch_dtype"] = "float32"
    flat = {n: ("I64" if d == "I64" else "F32", dequantised(items, n)) for n, (d, _) in items.items() if not n.endswith(".scale")}
    with tempfile.TemporaryDirectory() as tmp:
        write_safetensors(pathlib.Path(tmp) / "model.safetensors", flat)
        (pathlib.Path(tmp) / "config.json").write_text(json.dumps(config))
        model, info = DeepseekV4ForCausalLM.from_pretrained(
            tmp, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
            output_loading_info=True)
    wrong = {k: v for k, v in info.items() if v and k in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if wrong:
        raise SystemExit(f"{folder}: the library did not take every tensor: {wrong}")
    return model.eval()


def load_checkpoint(work):
    model = net.build()
    model.load_state_dict(torch.load(pathlib.Path(work) / "last.pt")["model"])
    return model.eval()


# ---- measuring ----

def segments(tok, text):
    """BOS and the next LENGTH tokens, segment after segment; the last may be shorter."""
    ids = tok.encode(text, add_special_tokens=False).ids
    return [torch.tensor([0] + ids[i:i + train.LENGTH]) for i in range(0, len(ids), train.LENGTH)]


def bits_per_byte(model, tok, text):
    nats = 0.0
    parts = segments(tok, text)
    full = [p for p in parts if len(p) == train.LENGTH + 1]
    for group in (full, [p for p in parts if len(p) != train.LENGTH + 1]):
        if group:
            nats += train.held_out_loss(model, group) * sum(len(p) - 1 for p in group)
    model.eval()
    return nats / math.log(2) / len(text.encode())


def sample(model, tok, prompt, n, temperature, top_p, seed):
    gen = torch.Generator().manual_seed(seed)
    ids = [0] + tok.encode(prompt, add_special_tokens=False).ids
    with torch.no_grad():
        for _ in range(n):
            logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1].float()
            if temperature == 0:
                ids.append(int(logits.argmax()))
                continue
            p, order = torch.softmax(logits / temperature, -1).sort(descending=True)
            keep = p.cumsum(-1) - p < top_p
            ids.append(int(order[torch.multinomial(p * keep, 1, generator=gen)]))
    return tok.decode(ids, skip_special_tokens=True)


def verify(folder, work):
    """The written folder against the checkpoint's rounded weights in memory."""
    ids, held, tok = train.corpus(work)
    seq = torch.stack(segments(tok, held[0])[:4])
    memory, shipped = load_checkpoint(work), load_folder(folder)
    with torch.no_grad(), net.rounded(memory):
        a = memory(seq, use_cache=False).logits
        b = shipped(seq, use_cache=False).logits
    worst = float((a - b).abs().max() / (a.max() - a.min()))
    print(f"logits differ by at most {worst:.2e} of their range")
    if not worst < 1e-5:
        raise SystemExit("the written model is not the trained one")


def golden(folder, tok, text, out):
    """300 tokens of held-out text (BOS first) and the logits in float64, weights exactly as stored."""
    model = load_folder(folder).double()
    ids = torch.tensor([0] + tok.encode(text, add_special_tokens=False).ids[:299])
    with torch.no_grad():
        logits = model(ids[None], use_cache=False).logits[0].float()
    write_safetensors(out, {"tokens": ("I32", ids.int()), "logits_exact": ("F32", logits)})


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("what", choices=["export", "verify", "eval", "sample", "golden", "heldout"])
    ap.add_argument("--work", default="work")
    ap.add_argument("--model", type=pathlib.Path, default=HERE)
    ap.add_argument("--out", type=pathlib.Path, default=pathlib.Path("golden.safetensors"))
    ap.add_argument("--prompt", default="It is a truth")
    ap.add_argument("-n", type=int, default=120)
    ap.add_argument("--temp", type=float, default=0.8)
    ap.add_argument("--top-p", type=float, default=0.95)
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    torch.set_num_threads(2)
    _, held, tok = train.corpus(args.work)
    text = "\n".join(held)
    if args.what == "heldout":
        (args.model / "heldout.txt").write_text(text)
    elif args.what == "export":
        write_folder(args.model, load_checkpoint(args.work), tok)
    elif args.what == "verify":
        verify(args.model, args.work)
    elif args.what == "eval":
        shipped = bits_per_byte(load_folder(args.model), tok, text)
        floats = bits_per_byte(load_checkpoint(args.work), tok, text)
        print(f"held out, {len(text.encode())} bytes: as shipped {shipped:.4f}, float {floats:.4f} bits per byte "
              f"({100 * (shipped / floats - 1):+.2f} %)")
    elif args.what == "sample":
        print(sample(load_folder(args.model), tok, args.prompt, args.n, args.temp, args.top_p, args.seed))
    else:
        golden(args.model, tok, text, args.out)


if __name__ == "__main__":
    main()
