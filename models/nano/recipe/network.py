"""The MiniMax-M2 architecture at toy scale, written for fast training on a CPU (PyTorch 1.13, bf16 matrix products).

A batch is one flat vector of tokens plus a list of attention groups (rows, length): documents are bucketed by length,
so every linear and expert layer works on the flat [N, hidden] tensor and only attention sees the (rows, length) shape.
Master weights, residual stream, norms, router and cross-entropy are float32.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

BF16 = torch.bfloat16
GROUP_TOKENS = 2048  # tokens of an attention group, its unused tail included
# Row counts are padded to multiples of these, because oneDNN compiles a kernel for every new shape.
EXPERT_ROWS = 128
HEAD_ROWS = 512


class Config:
    vocab_size = 1536
    hidden_size = 256
    intermediate_size = 64
    num_hidden_layers = 3
    num_attention_heads = 4
    num_key_value_heads = 2
    head_dim = 128
    rotary_dim = 64
    rope_theta = 5_000_000
    num_local_experts = 32
    num_experts_per_tok = 4
    rms_norm_eps = 1e-6
    max_position_embeddings = 2048

    def to_dict(self):
        return {name: value for name, value in vars(Config).items() if isinstance(value, (int, float))}


class RmsNorm(torch.autograd.Function):
    """Few passes over memory, explicit backward."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        scale = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, scale)
        return (x.float() * scale).mul_(weight).to(BF16)

    @staticmethod
    def backward(ctx, grad):
        x, weight, scale = ctx.saved_tensors
        grad = grad.float()
        normed = x.float() * scale
        weight_grad = (grad * normed).sum(0)
        grad = grad * weight
        along = (grad * normed).mean(-1, keepdim=True)
        return grad.sub_(normed.mul_(along)).mul_(scale).to(x.dtype), weight_grad, None


def rms_norm(x, weight, eps):
    return RmsNorm.apply(x, weight, eps)


class Experts(torch.autograd.Function):
    """y[n] = sum over j of weights[n, j] * w2[e](silu(w1[e] x[n]) * w3[e] x[n]), e = chosen[n, j]; tokens sorted by expert.

    Each expert's rows are padded to a multiple of EXPERT_ROWS with slots of zero weight.
    """

    @staticmethod
    def forward(ctx, x, weights, chosen, w13, w2):
        N, A = chosen.shape
        E, C, ffn = w2.shape
        pairs = chosen.reshape(-1)
        order = torch.argsort(pairs)
        counts = torch.bincount(pairs, minlength=E)
        padded = torch.div(counts + EXPERT_ROWS - 1, EXPERT_ROWS, rounding_mode="floor") * EXPERT_ROWS
        ends = torch.cumsum(padded, 0)
        shift = (ends - padded) - (torch.cumsum(counts, 0) - counts)
        slots = torch.arange(order.numel()) + shift[pairs[order]]
        total = int(ends[-1])
        token_of = torch.zeros(total, dtype=torch.long)
        token_of[slots] = torch.div(order, A, rounding_mode="floor")
        slot_of = torch.empty_like(order)
        slot_of[order] = slots
        ends = ends.tolist()
        slot_weights = torch.zeros(total)
        slot_weights[slots] = weights.reshape(-1)[order]
        slot_weights = slot_weights.to(BF16).unsqueeze(1)
        rows = x.index_select(0, token_of)
        w13, w2 = w13.to(BF16), w2.to(BF16)
        hidden = torch.empty(total, 2 * ffn, dtype=BF16)
        for e, begin, end in expert_ranges(ends):
            torch.mm(rows[begin:end], w13[e].t(), out=hidden[begin:end])
        gate, up = hidden[:, :ffn], hidden[:, ffn:]
        sigmoid = torch.sigmoid(gate)
        act = gate * sigmoid * up
        weighted_act = act * slot_weights
        y = torch.empty(total, C, dtype=BF16)
        for e, begin, end in expert_ranges(ends):
            torch.mm(weighted_act[begin:end], w2[e].t(), out=y[begin:end])
        ctx.save_for_backward(rows, hidden, sigmoid, act, weighted_act, slot_weights, token_of, slot_of, w13, w2)
        ctx.ends, ctx.experts_per_token = ends, A
        return y.index_select(0, slot_of).view(N, A, C).sum(1)

    @staticmethod
    def backward(ctx, grad):
        rows, hidden, sigmoid, act, weighted_act, slot_weights, token_of, slot_of, w13, w2 = ctx.saved_tensors
        E, C, ffn = w2.shape
        ends, A = ctx.ends, ctx.experts_per_token
        y_grad = grad.index_select(0, token_of)
        weighted_act_grad = torch.empty_like(weighted_act)
        w2_grad = torch.zeros_like(w2)
        for e, begin, end in expert_ranges(ends):
            torch.mm(y_grad[begin:end], w2[e], out=weighted_act_grad[begin:end])
            torch.mm(y_grad[begin:end].t(), weighted_act[begin:end], out=w2_grad[e])
        slot_weights_grad = (weighted_act_grad * act).sum(-1, dtype=torch.float32)
        act_grad = weighted_act_grad.mul_(slot_weights)
        gate, up = hidden[:, :ffn], hidden[:, ffn:]
        hidden_grad = torch.empty_like(hidden)
        silu = gate * sigmoid
        torch.mul(act_grad, silu, out=hidden_grad[:, ffn:])
        gate_grad = hidden_grad[:, :ffn]
        torch.mul(act_grad, up, out=gate_grad)
        gate_grad.mul_(sigmoid + silu - silu * sigmoid)
        rows_grad = torch.empty_like(rows)
        w13_grad = torch.zeros_like(w13)
        for e, begin, end in expert_ranges(ends):
            torch.mm(hidden_grad[begin:end], w13[e], out=rows_grad[begin:end])
            torch.mm(hidden_grad[begin:end].t(), rows[begin:end], out=w13_grad[e])
        N = slot_of.numel() // A
        x_grad = rows_grad.index_select(0, slot_of).view(N, A, C).sum(1)
        weights_grad = slot_weights_grad.index_select(0, slot_of).view(N, A)
        return x_grad, weights_grad, None, w13_grad.float(), w2_grad.float()


def expert_ranges(ends):
    """-> (expert, first slot, end) of the experts that have slots"""
    begin = 0
    for e, end in enumerate(ends):
        if end > begin:
            yield e, begin, end
        begin = end


def attend(q, k, v, groups, window):
    """Causal grouped-query attention within each row of each group: q [N, Hq, D], k and v [N, Hk, D] -> [N, Hq D]"""
    _, heads, D = q.shape
    kv_heads = k.shape[1]
    share = heads // kv_heads
    outs, offset = [], 0
    for rows, length in groups:
        part = slice(offset, offset + rows * length)
        offset += GROUP_TOKENS
        # [rows * Hk, share * length, D]: the query heads of one KV head are stacked along the length
        qs = q[part].view(rows, length, kv_heads, share, D).permute(0, 2, 3, 1, 4)
        qs = qs.reshape(rows * kv_heads, share * length, D)
        ks = k[part].view(rows, length, kv_heads, D).permute(0, 2, 3, 1).reshape(rows * kv_heads, D, length)
        vs = v[part].view(rows, length, kv_heads, D).transpose(1, 2).reshape(rows * kv_heads, length, D)
        i = torch.arange(length)
        hidden = i[None, :] > i[:, None]
        if window:
            hidden |= i[None, :] <= i[:, None] - window
        mask = torch.zeros(length, length, dtype=BF16).masked_fill_(hidden, -1e9)
        scores = torch.baddbmm(mask.repeat(share, 1), qs, ks, alpha=1 / math.sqrt(D))
        out = torch.bmm(torch.softmax(scores, -1), vs)
        out = out.view(rows, kv_heads, share, length, D).permute(0, 3, 1, 2, 4).reshape(rows * length, heads * D)
        outs += [out, out.new_zeros(GROUP_TOKENS - rows * length, heads * D)]
    return torch.cat(outs)


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        C, D, E, ffn = config.hidden_size, config.head_dim, config.num_local_experts, config.intermediate_size
        queries, keys = config.num_attention_heads * D, config.num_key_value_heads * D

        def matrix(*shape, scale=1 / math.sqrt(C)):
            return nn.Parameter(torch.randn(*shape) * scale)

        self.q, self.k, self.v = matrix(queries, C), matrix(keys, C), matrix(keys, C)
        self.o = matrix(C, queries, scale=0.2 / math.sqrt(queries))
        self.q_norm, self.k_norm = nn.Parameter(torch.ones(queries)), nn.Parameter(torch.ones(keys))
        self.input_norm, self.post_norm = nn.Parameter(torch.ones(C)), nn.Parameter(torch.ones(C))
        self.gate = matrix(E, C)
        self.w13 = matrix(E, 2 * ffn, C)
        self.w2 = matrix(E, C, ffn, scale=0.5 / math.sqrt(ffn))
        self.register_buffer("bias", torch.zeros(E))
        self.load = torch.zeros(E)  # each expert's share of the last batch


class Network(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embed = nn.Parameter(torch.randn(config.vocab_size, config.hidden_size) * 0.5)
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.num_hidden_layers)])
        self.norm = nn.Parameter(torch.ones(config.hidden_size))
        self.head = nn.Parameter(torch.randn(config.vocab_size, config.hidden_size) * 0.02)
        exponents = torch.arange(0, config.rotary_dim, 2).float() / config.rotary_dim
        angles = torch.outer(torch.arange(config.max_position_embeddings).float(), 1.0 / (config.rope_theta**exponents))
        self.cos, self.sin = angles.cos(), angles.sin()  # [positions, rotary_dim / 2]

    def rope(self, x, cos, sin):
        """x [N, heads, D]: turns the pairs (i, i + R/2) of the first R dimensions."""
        half = self.config.rotary_dim // 2
        first, second = x[..., :half], x[..., half : 2 * half]
        return torch.cat([first * cos - second * sin, second * cos + first * sin, x[..., 2 * half :]], -1)

    def attention(self, layer, x, cos, sin, groups, window):
        config, N = self.config, len(x)
        h = rms_norm(x, layer.input_norm, config.rms_norm_eps)
        q = rms_norm(h @ layer.q.to(BF16).t(), layer.q_norm, config.rms_norm_eps).view(N, -1, config.head_dim)
        k = rms_norm(h @ layer.k.to(BF16).t(), layer.k_norm, config.rms_norm_eps).view(N, -1, config.head_dim)
        v = (h @ layer.v.to(BF16).t()).view(N, -1, config.head_dim)
        out = attend(self.rope(q, cos, sin), self.rope(k, cos, sin), v, groups, window)
        return out @ layer.o.to(BF16).t()

    def experts(self, layer, x):
        h = rms_norm(x, layer.post_norm, self.config.rms_norm_eps)
        scores = torch.sigmoid(h.float() @ layer.gate.t())
        chosen = (scores.detach() + layer.bias).topk(self.config.num_experts_per_tok, -1, sorted=False)[1]
        weights = scores.gather(1, chosen)
        weights = weights / weights.sum(-1, keepdim=True)
        if self.training:
            layer.load = torch.bincount(chosen.view(-1), minlength=len(layer.load)).float() / chosen.numel()
        return Experts.apply(h, weights, chosen, layer.w13, layer.w2)

    def forward(self, ids, groups, selected, window=0):
        """ids [N], flat, a group every GROUP_TOKENS; groups [(rows, length)]; selected: where logits are wanted."""
        lengths = [F.pad(torch.arange(n).repeat(rows), (0, GROUP_TOKENS - rows * n)) for rows, n in groups]
        positions = torch.cat(lengths)
        cos, sin = self.cos[positions].to(BF16).unsqueeze(1), self.sin[positions].to(BF16).unsqueeze(1)
        x = self.embed.index_select(0, ids)
        for layer in self.layers:
            x = x + self.attention(layer, x, cos, sin, groups, window)
            x = x + self.experts(layer, x)
        count = selected.numel()
        x = x.index_select(0, F.pad(selected, (0, -count % HEAD_ROWS)))
        h = rms_norm(x, self.norm, self.config.rms_norm_eps)
        return (h @ self.head.to(BF16).t())[:count].float()
