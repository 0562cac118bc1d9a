"""The network: its configuration, and how its weights are rounded, balanced and watched in training.

Owns: the config in published keys, FP4/FP8/BF16 rounding of weights, the rules for groups of parameters,
routing bias, the indexer's own loss. Does not: read text, or define the model: that is transformers'
DeepseekV4ForCausalLM.
Invariant: the values a rounded() block computes with are the values that ship.py writes.
"""
import contextlib
import math

import torch
import torch.nn.functional as F
from torch import nn

CONFIG = {
    "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4",
    "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 1,
    "hc_eps": 1e-6, "hc_mult": 4, "hc_sinkhorn_iters": 20,
    "head_dim": 64, "hidden_act": "silu", "hidden_size": 192,
    "index_head_dim": 64, "index_n_heads": 4, "index_topk": 64, "initializer_range": 0.02,
    "max_position_embeddings": 8192, "moe_intermediate_size": 128,
    "n_routed_experts": 16, "n_shared_experts": 1, "norm_topk_prob": True,
    "num_attention_heads": 4, "num_experts_per_tok": 2, "num_hidden_layers": 5, "num_hash_layers": 1,
    "num_key_value_heads": 1, "num_nextn_predict_layers": 0, "o_groups": 2, "o_lora_rank": 96,
    "q_lora_rank": 128, "qk_rope_head_dim": 32, "rms_norm_eps": 1e-6,
    "rope_scaling": {"type": "yarn", "factor": 16.0, "original_max_position_embeddings": 512,
                     "beta_fast": 32, "beta_slow": 1},
    "rope_theta": 10000.0, "compress_rope_theta": 160000.0, "compress_ratios": [0, 4, 128, 4, 0],
    "routed_scaling_factor": 1.5, "scoring_func": "sqrtsoftplus", "sliding_window": 64,
    "swiglu_limit": 10.0, "tie_word_embeddings": False, "topk_method": "noaux_tc",
    "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 2048,
}
QUANT = {"quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                                 "scale_fmt": "ue8m0", "weight_block_size": [128, 128]},
         "expert_dtype": "fp4"}
FP4_VALUES = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6])


def build(config=None):
    """An untrained model; the experts as lists of matrices, for Muon takes nothing of three dimensions."""
    from transformers import DeepseekV4Config, DeepseekV4ForCausalLM
    conf = DeepseekV4Config(**(config or CONFIG))
    conf._attn_implementation = "eager"
    conf._experts_implementation = "eager"
    model = DeepseekV4ForCausalLM(conf).float()
    for layer in model.model.layers:
        experts = layer.mlp.experts
        for name in ("gate_up_proj", "down_proj"):
            stack = getattr(experts, name).data
            delattr(experts, name)
            setattr(experts, name, nn.ParameterList([nn.Parameter(w.clone()) for w in stack]))
    return model


def start(model, counts):
    """Initial values that the library leaves to the checkpoint: stream mixing near identity, the hash table."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 2 and name.split(".")[-1] == "weight" and "embed" not in name:
                p.normal_(0, p.shape[1] ** -0.5 * (0.5 if "lm_head" not in name else 0.2))
            if "experts." in name and p.ndim == 2:
                p.normal_(0, p.shape[1] ** -0.5 * 0.5)
            if name.endswith("embed_tokens.weight"):
                p.normal_(0, 0.5)
        hc = model.config.hc_mult
        for layer in model.model.layers:
            for mix in (layer.attn_hc, layer.ffn_hc):
                mix.base[:2 * hc].normal_(0, 0.5)
                mix.base[2 * hc:] = 3 * torch.eye(hc).flatten()
            if layer.mlp.is_hash:
                layer.mlp.gate.tid2eid.copy_(hash_table(counts, model.config))


def hash_table(counts, config):
    """[vocab][top k] experts by token id: the commonest tokens first, each to the experts with the least load."""
    load = [0.0] * config.n_routed_experts
    out = torch.zeros(config.vocab_size, config.num_experts_per_tok, dtype=torch.long)
    for token in torch.argsort(counts, descending=True).tolist():
        pick = sorted(range(len(load)), key=lambda e: load[e])[:config.num_experts_per_tok]
        for expert in pick:
            load[expert] += float(counts[token]) + 1.0
        out[token] = torch.tensor(pick)
    return out


# ---- rounding ----

def kind(name, p):
    """How a parameter is stored: fp4, fp8, bf16 or f32."""
    if p.ndim < 2 or "_hc." in name or "hc_head" in name or "position_bias" in name:
        return "bf16" if name.endswith("norm.weight") else "f32"
    if ".experts." in name and "shared" not in name:
        return "fp4"
    dense = ("q_a_proj", "q_b_proj", "o_a_proj", "o_b_proj", "shared_experts", "self_attn.kv_proj")
    return "fp8" if any(d in name for d in dense) else "bf16"


def fp4_parts(w):
    """codes [out][in] 0..15 and exponents [out][in/32]: of the two scales next to amax/6 the one that errs less."""
    blocks = w.reshape(w.shape[0], -1, 32)
    amax = blocks.abs().amax(-1, keepdim=True).clamp(min=6 * 2.0 ** -126)
    up = torch.ceil(torch.log2(amax / 6))
    best = None
    for exponent in (up, up - 1):
        scaled = blocks / torch.exp2(exponent)
        mids = (FP4_VALUES[1:] + FP4_VALUES[:-1]) / 2
        code = torch.bucketize(scaled.abs().contiguous(), mids)
        value = FP4_VALUES[code] * scaled.sign() * torch.exp2(exponent)
        error = ((value - blocks) ** 2).sum(-1, keepdim=True)
        code = code + 8 * (scaled < 0)
        if best is None:
            best = [code, exponent, value, error]
        else:
            better = error < best[3]
            best = [torch.where(better, new, old) for new, old in zip((code, exponent, value, error), best)]
    code, exponent, value, _ = best
    return code.reshape(w.shape), exponent.squeeze(-1), value.reshape(w.shape)


def fp8_parts(w):
    """E4M3 weights, exponents [ceil(out/128)][ceil(in/128)] and the values they stand for."""
    out, inner = w.shape
    rows, cols = math.ceil(out / 128), math.ceil(inner / 128)
    wide = F.pad(w, (0, cols * 128 - inner, 0, rows * 128 - out)).reshape(rows, 128, cols, 128)
    amax = wide.abs().amax((1, 3)).clamp(min=1e-4)
    exponent = torch.ceil(torch.log2(amax / 448))
    scale = torch.exp2(exponent)[:, None, :, None]
    code = (wide / scale).clamp(-448, 448).to(torch.float8_e4m3fn)
    value = (code.float() * scale).reshape(rows * 128, cols * 128)[:out, :inner]
    return code.reshape(rows * 128, cols * 128)[:out, :inner], exponent, value


def round_weight(name, p):
    how = kind(name, p)
    if how == "fp4":
        return fp4_parts(p)[2]
    if how == "fp8":
        return fp8_parts(p)[2]
    return p.bfloat16().float() if how == "bf16" else p


@contextlib.contextmanager
def rounded(model, on=True):
    """Inside, the weights are the rounded ones; gradients taken there fall on the masters (straight through)."""
    masters = []
    if on:
        with torch.no_grad():
            for name, p in model.named_parameters():
                masters.append((p, p.data))
                p.data = round_weight(name, p.data)
    try:
        yield
    finally:
        for p, data in masters:
            p.data = data


# ---- training aids ----

def groups(model):
    """(for Muon, for AdamW): Muon has the hidden matrices, AdamW embeddings, head, routers, mixing and vectors."""
    muon, adam = [], []
    for name, p in model.named_parameters():
        hidden = p.ndim == 2 and not any(s in name for s in (
            "embed_tokens", "lm_head", "_hc.", "hc_head", "mlp.gate.", "position_bias", "weights_proj"))
        (muon if hidden else adam).append(p)
    return muon, adam


class Balance:
    """Keeps the experts' loads even by moving each router's selection bias against the sign of its excess."""

    def __init__(self, model):
        self.load = {}
        for layer in model.model.layers:
            if not layer.mlp.is_hash:
                layer.mlp.gate.register_forward_hook(self.count)

    def count(self, gate, args, out):
        self.load[gate] = torch.bincount(out[2].flatten(), minlength=gate.num_experts).float()

    def step(self, rate):
        """Moves the biases; returns the worst load as a multiple of the mean."""
        worst = 0.0
        for gate, load in self.load.items():
            gate.e_score_correction_bias += rate * torch.sign(load.mean() - load)
            worst = max(worst, float(load.max() / load.mean()))
        return worst


class IndexerLoss:
    """The top-k passes no gradient, so the indexer learns by itself to score rows as the attention weighs them.

    Its inputs are cut off from the graph: the loss moves the indexer's own weights only.
    """

    def __init__(self, model):
        self.scores, self.loss = {}, []
        for layer in model.model.layers:
            attn = layer.self_attn
            indexer = getattr(attn.compressor, "indexer", None)
            if indexer is None:
                continue
            indexer.register_forward_pre_hook(lambda m, args: (args[0].detach(), args[1].detach()) + args[2:])
            indexer.scorer.register_forward_hook(lambda m, a, out, key=attn: self.scores.__setitem__(key, out))
            attn.register_forward_hook(self.compare)

    def compare(self, attn, args, out):
        scores = self.scores.pop(attn)  # [batch][tokens][rows]
        n_tokens, n_rows = scores.shape[1:]
        if not torch.is_grad_enabled() or n_rows == 0:
            return
        target = out[1][..., -n_rows:].detach().mean(1)
        seen = (torch.arange(n_tokens)[:, None] + 1) // attn.compressor.compress_rate > torch.arange(n_rows)
        logp = torch.log_softmax(scores.masked_fill(~seen, -1e4), -1)
        target = target / target.sum(-1, keepdim=True).clamp(min=1e-9)
        use = seen.any(-1)
        kl = (target * (torch.log(target.clamp(min=1e-9)) - logp) * seen).sum(-1)
        self.loss.append(kl[:, use].mean())

    def take(self):
        total = sum(self.loss) if self.loss else torch.zeros(())
        self.loss = []
        return total
