"""An independent forward pass: numpy only, read from the exported files, one sequence with a KV cache.

No code is shared with network.py. In float64 it is what eval/golden.json was made with.
"""

import json
import struct
from pathlib import Path

import numpy as np


def read_safetensors(path, dtype):
    raw = Path(path).read_bytes()
    start = 8 + struct.unpack("<Q", raw[:8])[0]
    tensors = {}
    for name, entry in json.loads(raw[8:start]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        data = raw[start + begin : start + end]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(data, np.float32)
        tensors[name] = values.reshape(entry["shape"]).astype(dtype)
    return tensors


def silu(x):
    return x / (1 + np.exp(-x))


class Reference:
    def __init__(self, model_dir, dtype=np.float32):
        self.config = json.loads((Path(model_dir) / "config.json").read_text())
        self.weights = read_safetensors(Path(model_dir) / "model.safetensors", dtype)
        self.dtype = dtype
        self.reset()

    def reset(self):
        """Forgets the sequence."""
        self.cache = [None] * self.config["num_hidden_layers"]
        self.length = 0

    def norm(self, x, name):
        mean_square = (x * x).mean(-1, keepdims=True)
        return x / np.sqrt(mean_square + self.config["rms_norm_eps"]) * self.weights[name]

    def rope(self, x, positions):
        """Turns the pairs (i, i + R/2) of the first R dimensions of each head."""
        R = self.config["rotary_dim"]
        frequencies = self.config["rope_theta"] ** -(np.arange(0, R, 2) / R)
        angles = positions[:, None] * frequencies
        cos, sin = np.cos(angles)[:, None].astype(self.dtype), np.sin(angles)[:, None].astype(self.dtype)
        first, second = x[..., : R // 2], x[..., R // 2 : R]
        return np.concatenate([first * cos - second * sin, second * cos + first * sin, x[..., R:]], -1)

    def attention(self, layer, h, positions, window, kv_hook):
        config, weights, T = self.config, self.weights, len(h)
        D, heads, kv_heads = config["head_dim"], config["num_attention_heads"], config["num_key_value_heads"]
        prefix = f"model.layers.{layer}.self_attn."
        q = self.norm(h @ weights[prefix + "q_proj.weight"].T, prefix + "q_norm.weight").reshape(T, heads, D)
        k = self.norm(h @ weights[prefix + "k_proj.weight"].T, prefix + "k_norm.weight").reshape(T, kv_heads, D)
        v = (h @ weights[prefix + "v_proj.weight"].T).reshape(T, kv_heads, D)
        q, k = self.rope(q, positions), self.rope(k, positions)
        if kv_hook:
            k, v = kv_hook(k, v)
        if self.cache[layer] is not None:
            k, v = (np.concatenate([old, new]) for old, new in zip(self.cache[layer], (k, v)))
        self.cache[layer] = (k, v)
        key_positions = np.arange(len(k))
        hidden = key_positions[None] > positions[:, None]
        if window:
            hidden = hidden | (key_positions[None] <= positions[:, None] - window)
        out = np.empty((T, heads, D), self.dtype)
        for head in range(heads):
            kv_head = head // (heads // kv_heads)
            scores = q[:, head] @ k[:, kv_head].T / np.sqrt(D).astype(self.dtype)
            scores = np.where(hidden, -np.inf, scores)
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, head] = scores / scores.sum(-1, keepdims=True) @ v[:, kv_head]
        return out.reshape(T, heads * D) @ weights[prefix + "o_proj.weight"].T

    def experts(self, layer, h):
        prefix = f"model.layers.{layer}.block_sparse_moe."
        weights = self.weights
        scores = 1 / (1 + np.exp(-(h @ weights[prefix + "gate.weight"].T)))
        biased = scores + weights[prefix + "e_score_correction_bias"]
        chosen = np.argsort(-biased, -1, kind="stable")[:, : self.config["num_experts_per_tok"]]
        out = np.zeros_like(h)
        for expert in np.unique(chosen):
            tokens, _ = np.nonzero(chosen == expert)
            w1, w2, w3 = (weights[f"{prefix}experts.{expert}.{name}.weight"] for name in ("w1", "w2", "w3"))
            share = scores[tokens, expert] / scores[tokens[:, None], chosen[tokens]].sum(-1)
            out[tokens] += share[:, None] * ((silu(h[tokens] @ w1.T) * (h[tokens] @ w3.T)) @ w2.T)
        return out

    def forward(self, ids, window=0, kv_hook=None):
        """Appends ids to the sequence; logits after the last one.

        window: attend to the last `window` positions only (0: all). kv_hook(k, v) may degrade the new keys and values,
        for instance to measure how much rounding the cache stands.
        """
        positions = np.arange(self.length, self.length + len(ids))
        x = self.weights["model.embed_tokens.weight"][ids]
        for layer in range(self.config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}."
            x = x + self.attention(layer, self.norm(x, prefix + "input_layernorm.weight"), positions, window, kv_hook)
            x = x + self.experts(layer, self.norm(x, prefix + "post_attention_layernorm.weight"))
        self.length += len(ids)
        return self.norm(x[-1], "model.norm.weight") @ self.weights["lm_head.weight"].T

    def greedy(self, ids, limit=256, eos=3, **options):
        """The continuation of a new sequence, the end-of-turn id included."""
        return [id for id, _ in self.greedy_steps(ids, limit, eos, **options)]

    def greedy_steps(self, ids, limit=256, eos=3, **options):
        """-> [(id, its logits)]"""
        self.reset()
        steps, logits = [], self.forward(ids, **options)
        while len(steps) < limit:
            steps.append((int(logits.argmax()), logits))
            if steps[-1][0] == eos:
                break
            logits = self.forward([steps[-1][0]], **options)
        return steps
