#!/usr/bin/env python3
"""What llama.cpp's own script makes of checkpoints: Koine reads it, computes what llama.cpp does, and, as far as the types allow, what it computes of
the checkpoint itself.

usage: check_convert.py KOINE PEER SOURCE CHECKPOINT...
PEER: as for check_peer.py. SOURCE: llama.cpp's tree. Exit 77 without torch, transformers, numpy and gguf (PyPI)."""
import json
import os
import sys

try:
    import gguf
    import numpy as np
    import torch  # noqa: F401  the script needs it
    import transformers  # noqa: F401
    from peer import compare, fail, logits, path, run
    import peer as shared
except ImportError as missing:
    print(f"SKIP: no {missing.name} from PyPI")
    sys.exit(77)

koine, peer, source, checkpoints = *sys.argv[1:4], sys.argv[4:]
here = os.path.dirname(os.path.abspath(__file__))


def against_checkpoint(what, file, folder, n, vocab):
    """Q8_0 and F16 round what FP8 and F32 hold, and change logits a little."""
    a, b = (logits(koine, m, n, vocab) for m in (file, folder))
    apart = np.abs(a - b).max(axis=1) / (b.max() - b.min())
    print(f"{what}: against the checkpoint: median {np.median(apart):.2e}")
    if not np.median(apart) < 0.02:
        fail(f"{what}: another model than its checkpoint")


for folder in checkpoints:
    config = json.load(open(os.path.join(folder, "config.json")))
    n, vocab = 140, config["vocab_size"]
    for kind in ("q8_0",) if "expert_dtype" in config else ("f32", "f16", "q8_0"):
        what, file = f"{os.path.basename(folder.rstrip('/'))} by the script in {kind}", path("converted.gguf")
        if run(sys.executable, os.path.join(here, "convert_hf.py"), source, folder, kind, file).returncode:
            fail(f"{what}: not converted")
            continue
        print(what, sorted({t.tensor_type.name for t in gguf.GGUFReader(file).tensors}))
        compare(koine, peer, what, file, n, vocab)
        against_checkpoint(what, file, folder, n, vocab)
sys.exit(1 if shared.n_bad else 0)
