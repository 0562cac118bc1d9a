#!/usr/bin/env python3
"""A checkpoint's folder as a GGUF file, by llama.cpp's own convert_hf_to_gguf.py. What that script wants and small models lack is made up: a
tokenizer of single letters, and a name for split patterns that it does not know. It takes FP4 experts alone, and keeps what is not theirs in the
checkpoint's precision, FP8 as Q8_0; of a checkpoint in floats every matrix is stored in TYPE here.

usage: convert_hf.py LLAMA_CPP FOLDER TYPE OUT       needs torch and transformers (PyPI)"""
import json
import os
import runpy
import sys
import tempfile

source, folder, kind, out = sys.argv[1:5]
sys.path[:0] = [source, os.path.join(source, "gguf-py")]
import gguf  # noqa: E402
import numpy as np  # noqa: E402
from conversion import base, deepseek  # noqa: E402


def with_tokenizer(to):
    """A folder of links to the checkpoint's files, with a tokenizer."""
    for name in os.listdir(folder):
        os.symlink(os.path.join(os.path.abspath(folder), name), os.path.join(to, name))
    n = json.load(open(os.path.join(folder, "config.json")))["vocab_size"]
    vocab = {chr(0x4E00 + i): i for i in range(2, n - 1)}
    vocab = {"<s>": 0, "</s>": 1, **vocab, chr(0x4E02) + chr(0x4E03): n - 1}
    added = [{"id": i, "content": text, "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False} for text, i in list(vocab.items())[:2]]
    split = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "vocab": vocab, "merges": [[chr(0x4E02), chr(0x4E03)]], "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
             "dropout": None, "ignore_merges": False}
    whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None, "pre_tokenizer": split, "post_processor": None,
             "decoder": split, "model": model}
    json.dump(whole, open(os.path.join(to, "tokenizer.json"), "w"))
    json.dump({"tokenizer_class": "PreTrainedTokenizerFast"}, open(os.path.join(to, "tokenizer_config.json"), "w"))
    return to


def write_experts(self, layer, part, key):
    """One tensor of all of a layer's, as the script writes FP4 ones."""
    names = [f"layers.{layer}.ffn.experts.{i}.{part}.weight" for i in range(self.hparams["n_routed_experts"])]
    data = np.stack([base.LazyTorchTensor.to_eager(self.model_tensors[n]()).float().numpy() for n in names])
    stored = gguf.GGMLQuantizationType[kind.upper()]
    self.gguf_writer.add_tensor(self.format_tensor_name(key, layer), gguf.quants.quantize(data, stored), raw_dtype=stored)
    return names


if "expert_dtype" not in json.load(open(os.path.join(folder, "config.json"))):
    deepseek.DeepseekV4Model._write_mxfp4_expert_tensor = write_experts
    deepseek.DeepseekV4Model.tensor_force_quant = lambda self, name, new_name, layer, n_dims: False

with tempfile.TemporaryDirectory() as tmp:
    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "deepseek-v3"
    if not os.path.exists(os.path.join(folder, "tokenizer.json")):
        folder = with_tokenizer(tmp)
    sys.argv = ["convert_hf_to_gguf.py", folder, "--outtype", kind, "--outfile", out]
    runpy.run_path(os.path.join(source, "convert_hf_to_gguf.py"), run_name="__main__")
