"""Training: Muon on the matrices, AdamW on the rest, warmup-stable-decay by wall clock, loads balanced by the router bias.

usage: python3 train.py DATA.npz CHECKPOINT --minutes M [--init CHECKPOINT] [--decay 0.3] [--small 0.45] [--seed 0]
"""

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F

from conversations.documents import FAMILIES
from dataset import load
from network import BF16, GROUP_TOKENS, Config, Network
from paths import WORK

# Fixed shapes matter (oneDNN compiles a kernel for every shape): a batch is GROUP_TOKENS * groups tokens, a group is one
# of these (rows, length) boxes.
BOXES = [(rows, GROUP_TOKENS // rows // 8 * 8) for rows in (32, 24, 20, 16, 14, 12, 10, 9, 8, 7, 6, 5, 4, 3, 2)]

WARMUP_STEPS = 40
BALANCE_RATE = 0.002  # of the router bias, per step
DOCUMENTS_AT_ONCE = 600
REPORT_STEPS = 50
EVALUATE_STEPS = 200


def make_groups(documents, open_boxes):
    """Puts every document in the smallest box that holds its length; -> the groups that became full."""
    full = []
    for document in documents:
        box = next((box for box in BOXES if box[1] >= len(document[0])), None)
        if box is None:
            continue
        open_boxes.setdefault(box, []).append(document)
        if len(open_boxes[box]) == box[0]:
            full.append((box, open_boxes.pop(box)))
    return full


def make_all_groups(documents):
    """Groups of all documents, partly filled ones at the end."""
    open_boxes = {}
    return make_groups(documents, open_boxes) + list(open_boxes.items())


def collate(groups):
    """-> (ids [N], shapes, indices that carry loss, their targets, their families)"""
    columns = [[], [], [], []]
    for (rows, length), documents in groups:
        ids, weights, families = np.zeros((3, rows, length), np.int64)
        for i, (document_ids, document_weights, family) in enumerate(documents):
            ids[i, : len(document_ids)] = document_ids
            weights[i, : len(document_ids)] = document_weights
            families[i] = family
        targets, target_weights = np.zeros((2, rows, length), np.int64)
        targets[:, :-1], target_weights[:, :-1] = ids[:, 1:], weights[:, 1:]
        tail = np.zeros(GROUP_TOKENS - rows * length, np.int64)
        for column, values in zip(columns, (ids, targets, target_weights, families)):
            column += [values.ravel(), tail]
    ids, targets, weights, families = (torch.from_numpy(np.concatenate(column)) for column in columns)
    selected = torch.nonzero(weights).flatten()
    return ids, [box for box, _ in groups], selected, targets[selected], families[selected]


def newton_schulz(matrices, steps=5):
    """Orthogonalises a batch of matrices [..., m, n]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[-2] > matrices.shape[-1]
    X = matrices.transpose(-1, -2) if tall else matrices
    X = (X / (X.flatten(-2).norm(dim=-1)[..., None, None] + 1e-7)).to(BF16).contiguous()
    for _ in range(steps):
        A = X @ X.transpose(-1, -2)
        B = b * A + c * (A @ A)
        X = a * X + B @ X
    X = X.float()
    return X.transpose(-1, -2) if tall else X


class Muon:
    """Steps along the orthogonalised momentum, with decoupled weight decay."""

    def __init__(self, parameters, rate, momentum=0.95, decay=0.01):
        self.parameters, self.rate, self.momentum, self.decay = parameters, rate, momentum, decay
        self.averages = [torch.zeros_like(parameter) for parameter in parameters]

    @torch.no_grad()
    def step(self, scale):
        rate = self.rate * scale
        for parameter, average in zip(self.parameters, self.averages):
            gradient = parameter.grad
            average.mul_(self.momentum).add_(gradient, alpha=1 - self.momentum)
            step = newton_schulz(gradient.mul(1 - self.momentum).add_(average, alpha=self.momentum))
            parameter.mul_(1 - self.decay * rate)
            parameter.add_(step, alpha=-rate * max(1.0, step.shape[-2] / step.shape[-1]) ** 0.5)
            parameter.grad = None


@torch.no_grad()
def evaluate(network, documents):
    """Share of documents whose last turn with loss is predicted fully right, teacher-forced: what greedy decoding gets."""
    network.eval()
    right, asked = np.zeros(len(FAMILIES)), np.zeros(len(FAMILIES))
    for group in make_all_groups(documents):
        ids, shapes, selected, targets, families = collate([group])
        good = (network(ids, shapes, selected).argmax(-1) == targets).numpy()
        length = shapes[0][1]
        rows, columns = (selected // length).numpy(), (selected % length).numpy()
        for i in range(len(group[1])):
            places = np.nonzero(rows == i)[0]
            breaks = np.nonzero(np.diff(columns[places]) > 1)[0]
            last_turn = places[breaks[-1] + 1 :] if len(breaks) else places
            family = families[last_turn[0]].item()
            right[family] += good[last_turn].all()
            asked[family] += 1
    network.train()
    return {FAMILIES[i]: round(right[i] / asked[i], 3) for i in range(len(FAMILIES)) if asked[i]}


@torch.no_grad()
def balance(network, scale):
    """Raises the bias of experts below the mean load, lowers it above."""
    for layer in network.layers:
        layer.bias.add_(torch.sign(layer.load.mean() - layer.load), alpha=BALANCE_RATE * scale)
        layer.bias.sub_(layer.bias.mean())


class Batches:
    """Groups of documents in a shuffled order, over the data again and again."""

    def __init__(self, documents, rng):
        self.documents, self.rng = documents, rng
        self.next, self.queue, self.open_boxes = 0, [], {}

    def take(self, count):
        if len(self.queue) < count:
            chosen = [self.documents[(self.next + i) % len(self.documents)] for i in range(DOCUMENTS_AT_ONCE)]
            self.next += DOCUMENTS_AT_ONCE
            self.queue += make_groups(chosen, self.open_boxes)
            self.rng.shuffle(self.queue)
        taken, self.queue = self.queue[:count], self.queue[count:]
        return taken


class Losses:
    """Mean loss by family since the last report."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.sums, self.counts = np.zeros(len(FAMILIES)), np.zeros(len(FAMILIES))

    def add(self, losses, families):
        self.sums += np.bincount(families, losses, len(FAMILIES))
        self.counts += np.bincount(families, minlength=len(FAMILIES))

    def __str__(self):
        means = self.sums / np.maximum(1, self.counts)
        return " ".join(f"{family}:{mean:.3f}" for family, mean in zip(FAMILIES, means))


def optimizers(network, options):
    matrices = [m for layer in network.layers for m in (layer.q, layer.k, layer.v, layer.o, layer.w13, layer.w2)]
    taken = {id(matrix) for matrix in matrices}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in taken]
    adam = torch.optim.AdamW(rest, lr=options.adam_rate, betas=(0.9, 0.98), weight_decay=0.0)
    return Muon(matrices, options.muon_rate), adam, rest


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("checkpoint")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--init", help="checkpoint to start from")
    parser.add_argument("--muon-rate", type=float, default=0.02)
    parser.add_argument("--adam-rate", type=float, default=3e-3)
    parser.add_argument("--decay", type=float, default=0.3, help="share of the time in which the rates fall to zero")
    parser.add_argument("--groups", type=int, default=4, help="groups of a batch")
    parser.add_argument("--small", type=float, default=0.45, help="share of the time with half batches, at the start")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test", default=WORK / "test.npz")
    return parser.parse_args()


def main():
    options = arguments()
    torch.set_num_threads(2)
    torch.manual_seed(options.seed)
    rng = np.random.RandomState(options.seed)
    network = Network(Config())
    if options.init:
        network.load_state_dict(torch.load(options.init)["model"])
    network.train()
    muon, adam, adam_parameters = optimizers(network, options)
    batches, test, losses = Batches(load(options.data), rng), load(options.test), Losses()
    start, seconds, step, tokens = time.time(), options.minutes * 60, 0, 0

    def save():
        config = network.config.to_dict()
        torch.save(
            {"model": network.state_dict(), "config": config, "tokens": tokens, "steps": step}, options.checkpoint
        )

    while (elapsed := time.time() - start) <= seconds:
        done = elapsed / seconds
        batch = batches.take(options.groups if done > options.small else max(1, options.groups // 2))
        scale = min(1, (step + 1) / WARMUP_STEPS)
        scale *= 1 if done < 1 - options.decay else max(0.01, (1 - done) / options.decay)
        ids, shapes, selected, targets, families = collate(batch)
        loss = F.cross_entropy(network(ids, shapes, selected), targets, reduction="none")
        loss.mean().backward()
        torch.nn.utils.clip_grad_norm_(adam_parameters, 1.0)
        muon.step(scale)
        for group in adam.param_groups:
            group["lr"] = options.adam_rate * scale
        adam.step()
        adam.zero_grad(set_to_none=True)
        balance(network, scale)
        step += 1
        tokens += sum(len(document[0]) for _, documents in batch for document in documents)
        losses.add(loss.detach().numpy(), families.numpy())
        if step % REPORT_STEPS == 0:
            # How many times its even share the busiest expert of each layer gets.
            busiest = ",".join(f"{(layer.load.max() * len(layer.load)).item():.1f}" for layer in network.layers)
            speed = f"{elapsed:.0f}s {tokens / 1e6:.2f}M tokens {tokens / max(elapsed, 1):.0f}/s"
            print(f"step {step} {speed} scale {scale:.2f} loss {losses} load {busiest}", flush=True)
            losses.clear()
        if step % EVALUATE_STEPS == 0:
            print("  right", evaluate(network, test), flush=True)
            save()
    save()
    print(f"{step} steps, {tokens} tokens, right: {evaluate(network, test)}")


if __name__ == "__main__":
    main()
