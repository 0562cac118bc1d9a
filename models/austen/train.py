"""Trains models/austen. Run by hand: see README.md. Resumes from WORK/last.pt when it is there.

Owns: the loop, the schedule, the checkpoints. Does not: round weights (net.py) or write the model (ship.py).
Invariant: everything random comes from SEED and the step's number, so a resumed run takes the same batches.
"""
import argparse
import math
import pathlib
import time

import torch

import data
import net

SEED, LENGTH = 1813, 256


def corpus(work):
    """(training ids, held-out texts, tokenizer, count of each token); cached in `work`."""
    from tokenizers import Tokenizer
    cache = pathlib.Path(work) / "corpus.pt"
    if not cache.exists():
        texts = data.novels(work)
        tok = data.train_tokenizer([a for a, _ in texts])
        ids = []
        for text, _ in texts:
            ids += tok.encode(text, add_special_tokens=False).ids + [1]
        torch.save({"ids": torch.tensor(ids), "held": [b for _, b in texts], "tok": tok.to_str()}, cache)
    got = torch.load(cache)
    return got["ids"], got["held"], Tokenizer.from_str(got["tok"])


def paragraphs(ids, tok):
    """Where a paragraph begins: after a token with a blank line in it."""
    blank = torch.tensor(["\n\n" in tok.decode([i]) for i in range(data.VOCAB)])
    starts = torch.nonzero(blank[ids]).flatten() + 1
    return starts[starts < len(ids) - LENGTH]


def batch(ids, starts, size, step):
    """BOS and LENGTH tokens from random places; every fourth begins where a paragraph does."""
    gen = torch.Generator().manual_seed(SEED * 1_000_003 + step)
    at = torch.randint(0, len(ids) - LENGTH, (size,), generator=gen)
    some = starts[torch.randint(0, len(starts), (size,), generator=gen)]
    at = torch.where(torch.arange(size) % 4 == 0, some, at)
    body = ids[at[:, None] + torch.arange(LENGTH)]
    return torch.cat([torch.zeros(size, 1, dtype=torch.long), body], 1)


def schedule(step, total):
    """Share of the full rate: 50 steps up, level to 30 % of the run, then straight down to 2 %."""
    if step < 50:
        return (step + 1) / 50
    return min(1.0, 0.02 + 0.98 * (total - step) / (0.7 * total))


def bias_rate(step, total):
    """How far a routing bias moves a step: little while the routers find their feet, then with the learning rate."""
    return 0.002 if step < 200 else 0.01 * schedule(step, total) if step < 0.9 * total else 0.0


def held_out_loss(model, segments, size=16):
    """Mean nats a token over segments, each a tensor of ids that begins with BOS."""
    nats, n = 0.0, 0
    model.eval()
    with torch.no_grad():
        for i in range(0, len(segments), size):
            seq = torch.stack(segments[i:i + size])
            logits = model(seq[:, :-1], use_cache=False).logits.float()
            nats += float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), seq[:, 1:].flatten(), reduction="sum"))
            n += seq[:, 1:].numel()
    model.train()
    return nats / n


def watch_set(held, tok, n=64):
    """A few full held-out segments to watch the run with, and their bytes a token. Chooses nothing."""
    segments, size, count = [], 0, 0
    for text in held:
        ids = tok.encode(text, add_special_tokens=False).ids
        size, count = size + len(text.encode()), count + len(ids)
        segments += [torch.tensor([0] + ids[i:i + LENGTH]) for i in range(0, len(ids) - LENGTH, LENGTH)]
    return segments[::max(1, len(segments) // n)], size / count


def fuse(model):
    """Compiles the parts of the library's model that are many small operations: mixing, RoPE, attention's core."""
    from transformers.models.deepseek_v4 import modeling_deepseek_v4 as lib
    torch._dynamo.config.cache_size_limit = 64
    for layer in model.model.layers:
        layer.attn_hc.compile(dynamic=False)
        layer.ffn_hc.compile(dynamic=False)
    lib.eager_attention_forward = torch.compile(lib.eager_attention_forward, dynamic=False)
    lib.apply_rotary_pos_emb = torch.compile(lib.apply_rotary_pos_emb, dynamic=False)


def save(path, step, model, optims):
    torch.save({"step": step, "model": model.state_dict(), "optims": [o.state_dict() for o in optims]},
               path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def resume(path, model, optims):
    """Takes up a checkpoint where there is one; the step that comes next."""
    if not path.exists():
        return 0
    got = torch.load(path)
    model.load_state_dict(got["model"])
    for o, state in zip(optims, got["optims"]):
        o.load_state_dict(state)
    return got["step"]


def run(args):
    work = pathlib.Path(args.work)
    torch.manual_seed(SEED)
    torch.set_num_threads(args.threads)
    ids, held, tok = corpus(work)
    starts = paragraphs(ids, tok)
    watch, bytes_per_token = watch_set(held, tok)
    model = net.build()
    net.start(model, torch.bincount(ids, minlength=data.VOCAB))
    muon, adam = net.groups(model)
    base = [0.02, 3e-3]
    optims = [torch.optim.Muon(muon, lr=base[0], weight_decay=0.1),
              torch.optim.AdamW(adam, lr=base[1], betas=(0.9, 0.95), weight_decay=0.0)]
    balance, indexer = net.Balance(model), net.IndexerLoss(model)
    last = work / "last.pt"
    step = resume(last, model, optims)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(ids)} tokens, step {step} of {args.steps}", flush=True)
    if args.compile:
        fuse(model)
    began, shown, mean = time.time(), step, 0.0
    while step < min(args.steps, args.stop):
        share = schedule(step, args.steps)
        for o, lr in zip(optims, base):
            o.param_groups[0]["lr"] = lr * share
        seq = batch(ids, starts, args.batch, step)
        with net.rounded(model, step >= (1 - args.qat) * args.steps):
            logits = model(seq[:, :-1], use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), seq[:, 1:].flatten())
            (loss + indexer.take()).backward()
        torch.nn.utils.clip_grad_norm_(adam, 1.0)
        torch.set_num_threads(1)  # hundreds of small products: handing them to two threads costs more than it gives
        for o in optims:
            o.step()
            o.zero_grad(set_to_none=True)
        torch.set_num_threads(args.threads)
        worst = balance.step(bias_rate(step, args.steps))
        step, mean = step + 1, mean + loss.item()
        if step % 10 == 0:
            rate = (step - shown) * args.batch * LENGTH / (time.time() - began)
            mean /= step - shown
            print(f"step {step} loss {mean:.4f} bits/byte {mean / math.log(2) / bytes_per_token:.3f} "
                  f"rate {share:.3f} load {worst:.2f} {rate:.0f} tokens/s", flush=True)
            began, shown, mean = time.time(), step, 0.0
        if step % 50 == 0 or step in (args.steps, args.stop):
            with net.rounded(model, step >= (1 - args.qat) * args.steps):
                bits = held_out_loss(model, watch) / math.log(2) / bytes_per_token
            print(f"step {step} held out {bits:.4f} bits/byte", flush=True)
            save(last, step, model, optims)
            began, shown, mean = time.time(), step, 0.0


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--work", default="work", help="folder for the package, the checkpoint and the cache")
    ap.add_argument("--steps", type=int, default=320)
    ap.add_argument("--stop", type=int, default=10**9, help="stop after this step, which a later call takes up from")
    ap.add_argument("--batch", type=int, default=16)
    ap.add_argument("--qat", type=float, default=0.2, help="share of the run, at its end, with rounded weights")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--compile", action="store_true", help="with torch.compile: needs a C++ compiler, a quarter faster")
    run(ap.parse_args())
