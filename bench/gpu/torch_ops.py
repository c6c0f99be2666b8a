"""Times the ops of bench/gpu/specs.ts in PyTorch, one line of JSON in, one out: {"op": ..., sizes} -> {"name": microseconds, ...}.

Each measurement replays a CUDA graph of some runs that take their sets of tensors in turn, enough of them that none is still in a cache, and divides.
Where PyTorch has several ways (attention), each is a name of its own; one that cannot run the shape is left out.
"""
import json
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

ROTATED = 256 * 2**20
REPEATS = 20
BF16 = {"dtype": torch.bfloat16, "device": "cuda"}
F32 = {"dtype": torch.float32, "device": "cuda"}


def turns(size, make):
    return [make() for _ in range(max(1, min(REPEATS, -(-ROTATED // max(size, 1)))))]


def microseconds(sets, run):
    def all_runs():
        for i in range(REPEATS):
            run(*sets[i % len(sets)])

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        all_runs()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        all_runs()
    graph.replay()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    graph.replay()
    end.record()
    torch.cuda.synchronize()
    return 1000 * begin.elapsed_time(end) / REPEATS


def linear(spec):
    rows, n, k = spec["rows"], spec["n"], spec["k"]
    sets = turns(2 * n * k, lambda: (torch.randn(rows, k, **BF16), torch.randn(n, k, **BF16) / k**0.5))
    return {"cuBLAS": microseconds(sets, F.linear)}


def routed_sets(spec, n, k):
    sizes, rows = spec["sizes"], spec["rows"]
    experts, active = sizes["experts"], sizes["expertsPerToken"]
    weight = (torch.randn(experts, n, k, **BF16) / k**0.5).transpose(1, 2)

    def routed():
        chosen = torch.rand(rows, experts, device="cuda").topk(active).indices.flatten()
        ends = torch.bincount(chosen, minlength=experts).cumsum(0).to(torch.int32)
        target = torch.argsort(torch.argsort(chosen, stable=True)).view(rows, active)
        return torch.randn(rows * active, k, **BF16), weight, ends, target

    return [routed() for _ in range(8 if rows <= 64 else 2)]


def gate_up(spec):
    sets = routed_sets(spec, 2 * spec["sizes"]["expertHidden"], spec["sizes"]["hiddenSize"])
    return {"_grouped_mm": microseconds(sets, lambda x, w, ends, _: torch._grouped_mm(x, w, offs=ends))}


def experts_down(spec):
    rows, width, active = spec["rows"], spec["sizes"]["hiddenSize"], spec["sizes"]["expertsPerToken"]
    weights, out = torch.full((rows, 1, active), 1 / active, **BF16), torch.randn(rows, width, **F32)

    def run(x, w, ends, target):
        y = torch._grouped_mm(x, w, offs=ends)
        out.add_(torch.bmm(weights, y[target]).squeeze(1))

    return {"_grouped_mm, bmm": microseconds(routed_sets(spec, width, spec["sizes"]["expertHidden"]), run)}


def attention(spec):
    sizes, batch, queries, context = spec["sizes"], spec["sequences"], spec["queries"], spec["context"]
    heads, kv_heads, dim = sizes["heads"], sizes["kvHeads"], sizes["headDim"]

    def tensors():
        q = torch.randn(batch, heads, queries, dim, **BF16)
        k, v = (torch.randn(batch, kv_heads, context, dim, **BF16) for _ in range(2))
        return q, k, v

    sets = turns(4 * batch * context * kv_heads * dim, tensors)
    times = {}
    for name, backend in (("SDPA flash", SDPBackend.FLASH_ATTENTION), ("SDPA cuDNN", SDPBackend.CUDNN_ATTENTION)):
        def run(q, k, v, backend=backend):
            with sdpa_kernel(backend):
                F.scaled_dot_product_attention(q, k, v, is_causal=queries == context and queries > 1, enable_gqa=True)

        try:
            times[name] = microseconds(sets, run)
        except RuntimeError:
            pass
    return times


def rms_norm(spec):
    rows, width = spec["rows"], spec["sizes"]["hiddenSize"]
    sets = turns(4 * rows * width, lambda: (torch.randn(rows, width, **F32), torch.ones(width, **F32)))
    return {"rms_norm": microseconds(sets, lambda x, w: F.rms_norm(x, (width,), w, 1e-6).to(torch.bfloat16))}


def route(spec):
    sizes, rows = spec["sizes"], spec["rows"]
    experts, active = sizes["experts"], sizes["expertsPerToken"]
    gate, bias = torch.randn(experts, sizes["hiddenSize"], **F32) / 50, torch.randn(experts, **F32) / 10

    def run(x):
        scores = torch.sigmoid(x @ gate.T)
        chosen = torch.topk(scores + bias, active, dim=-1).indices
        weights = scores.gather(1, chosen)
        weights = weights / weights.sum(-1, keepdim=True)
        order = torch.argsort(chosen.flatten(), stable=True)
        return weights, order, torch.histc(chosen.flatten().float(), experts, 0, experts - 1).cumsum(0)

    sets = turns(4 * rows * sizes["hiddenSize"], lambda: (torch.randn(rows, sizes["hiddenSize"], **F32),))
    return {"eager": microseconds(sets, run)}


def sample(spec):
    rows, vocab = spec["rows"], spec["sizes"]["vocabSize"]

    def run(logits):
        kept, ids = torch.topk(logits, 40, dim=-1)
        p = torch.softmax(kept, dim=-1)
        p = torch.where(p.cumsum(-1) - p < 0.95, p, 0)
        return ids.gather(1, torch.argmax(p / torch.empty_like(p).exponential_(), dim=-1, keepdim=True))

    sets = turns(4 * rows * vocab, lambda: (4 * torch.randn(rows, vocab, **F32),))
    return {"topk": microseconds(sets, run)}


def copy(spec):
    a = torch.randn(spec["bytes"] // 2, **BF16)
    return {"copy": microseconds([(torch.empty_like(a), a)], lambda to, what: to.copy_(what))}


def matmul(spec):
    a, b = (torch.randn(spec["n"], spec["n"], **BF16) for _ in range(2))
    if spec["unit"] == "bf16":
        return {"matmul": microseconds([(a, b)], torch.matmul)}
    one = torch.ones((), **F32)
    operands = [(a.to(torch.float8_e4m3fn), b.to(torch.float8_e4m3fn).t())]
    return {"matmul": microseconds(operands, lambda a, b: torch._scaled_mm(a, b, one, one, out_dtype=torch.bfloat16))}


OPS = {"linear": linear, "gateUp": gate_up, "expertsDown": experts_down, "attention": attention, "rmsNorm": rms_norm, "route": route, "sample": sample, "copy": copy, "matmul": matmul}


def main():
    print(json.dumps({"torch": torch.__version__, "device": torch.cuda.get_device_name()}), flush=True)
    for line in sys.stdin:
        spec = json.loads(line)
        try:
            times = OPS[spec["op"]](spec) if spec["op"] in OPS else {}
        except (RuntimeError, AttributeError) as error:
            times = {"error": str(error).split("\n")[0]}
        torch.cuda.empty_cache()
        print(json.dumps(times), flush=True)


main()
