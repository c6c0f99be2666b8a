"""The held-out questions, exact-match evaluation through chat_template.jinja, probes, and golden outputs.

usage: python3 evaluate.py questions [--per-family 100]          writes the held-out questions
       python3 evaluate.py run [--family T1] [--at-most N]       counts right answers
       python3 evaluate.py probes [--at-most N]                  what the answers depend on
       python3 evaluate.py golden                                writes golden outputs
All take --model DIR (default: the shipped model) and read and write DIR/eval.
"""

import argparse
import json
import random
import time
from collections import defaultdict
from pathlib import Path

import jinja2
import numpy as np

from conversations.chat_format import assistant_body, full_text
from conversations.documents import FAMILIES, draw_document
from paths import SHIPPED_MODEL
from reference import Reference
from tokenizer import Tokenizer

QUESTION_SEED = 20240607
GOLDEN_LIMIT = 64  # generated tokens


class Model:
    """A model folder: its template, tokenizer, reference forward and evaluation files."""

    def __init__(self, folder, dtype=np.float32):
        self.folder = folder
        self.questions_file = folder / "eval" / "heldout.jsonl"
        self.golden_file = folder / "eval" / "golden.json"
        self.dtype = dtype

    def load(self):
        self.template = chat_template(self.folder)
        self.tokenizer = Tokenizer(self.folder / "tokenizer.json")
        self.reference = Reference(self.folder, self.dtype)
        return self

    def prompt(self, messages, tools):
        return self.template.render(messages=messages, tools=tools, add_generation_prompt=True)

    def questions(self):
        return [json.loads(line) for line in self.questions_file.read_text().splitlines()]


def chat_template(folder):
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value, ensure_ascii=False: json.dumps(value, ensure_ascii=ensure_ascii)
    return environment.from_string((folder / "chat_template.jinja").read_text())


def kind_of(document, i):
    """The kind of question that the assistant's message i answers."""
    family, messages = document["family"], document["messages"]
    if family != "T3":
        return family
    if messages[i].get("tool_calls"):
        return "T3-call-novel" if document["novel"] else "T3-call"
    return "T3-answer" if messages[i - 1]["role"] == "tool" else "T3-notool"


def question(document, i, id):
    messages, tools = document["messages"], document.get("tools")
    row = {
        "id": id,
        "family": document["family"],
        "kind": kind_of(document, i),
        "messages": messages[:i],
        "expected": assistant_body(messages[i]),
        "expected_reasoning": messages[i]["reasoning_content"],
    }
    if tools:
        row["tools"] = tools
    if messages[i].get("tool_calls"):
        row["expected_tool_calls"] = [call["function"] for call in messages[i]["tool_calls"]]
    return row


def make_questions(model, per_family):
    """per_family questions of each family, twice that of T3: the turn that calls a tool and the turn that uses its result."""
    template, rng, rows = chat_template(model.folder), random.Random(QUESTION_SEED), []
    for family in [family for family in FAMILIES if family != "prose"]:
        end = len(rows) + (2 * per_family if family == "T3" else per_family)
        while len(rows) < end:
            document = draw_document(rng, "test", family)
            messages = document["messages"]
            rendered = template.render(messages=messages, tools=document.get("tools"))
            assert rendered == full_text(document), "template and generator disagree"
            turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
            for i in turns if family == "T3" else turns[-1:]:
                rows.append(question(document, i, len(rows)))
    model.questions_file.parent.mkdir(parents=True, exist_ok=True)
    model.questions_file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(f"{model.questions_file}: {len(rows)} questions")


def answer_in(text):
    """What follows the reasoning, up to the end of the turn."""
    return text.split("</think>\n\n", 1)[-1].split("[e~[")[0]


def without_reasoning(messages):
    return [{key: value for key, value in m.items() if key != "reasoning_content"} for m in messages]


def count_right(model, rows, label, strip=False, show=0, **options):
    """Prints right answers by family and kind; -> the outputs that were wrong."""
    counts, wrong, tokens, start = defaultdict(lambda: [0, 0]), [], 0, time.time()
    for row in rows:
        messages = without_reasoning(row["messages"]) if strip else row["messages"]
        ids = model.tokenizer.encode(model.prompt(messages, row.get("tools")))
        output = model.tokenizer.decode(model.reference.greedy(ids, **options))
        tokens += len(ids)
        right = answer_in(output) == row["expected"]
        for key in {row["family"], row["kind"]}:
            counts[key][0] += right
            counts[key][1] += 1
        if not right:
            wrong.append(output)
            if len(wrong) <= show:
                print(f"  wrong: {row['kind']}: expected {row['expected'][:120]!r}, found {output[:260]!r}")
    shares = ", ".join(f"{key} {right}/{asked}" for key, (right, asked) in sorted(counts.items()))
    print(
        f"{label}: {shares} ({time.time() - start:.0f} s, {tokens / len(rows):.0f} prompt tokens on average)",
        flush=True,
    )
    return wrong


def first_of_each_family(rows, at_most):
    seen = defaultdict(int)
    kept = []
    for row in rows:
        seen[row["family"]] += 1
        if not at_most or seen[row["family"]] <= at_most:
            kept.append(row)
    return kept


def rounded_cache(bits, group=32):
    """Round-to-nearest symmetric quantisation of every new key and value, in groups along head_dim."""

    def rounded(values):
        groups = values.reshape(*values.shape[:-1], -1, group)
        scale = np.abs(groups).max(-1, keepdims=True) / (2 ** (bits - 1) - 1) + 1e-12
        return (np.round(groups / scale) * scale).reshape(values.shape).astype(values.dtype)

    return lambda k, v: (rounded(k), rounded(v))


def probe(model, at_most):
    rows = first_of_each_family(model.questions(), at_most)
    of = lambda family: [row for row in rows if row["family"] == family]
    count_right(model, of("T4"), "T4 with its reasoning")
    wrong = count_right(model, of("T4"), "T4 without earlier reasoning", strip=True)
    print(f"  of the wrong answers {sum('no longer know' in output for output in wrong)} say so")
    for window in (64, 128, 256):
        count_right(model, of("T2"), f"T2 with a window of {window} tokens", window=window)
    half = [row for family in ("T2", "T1", "T4") for row in of(family)[: at_most // 2]]
    for bits in (8, 4, 3, 2):
        count_right(model, half, f"keys and values of {bits} bits", kv_hook=rounded_cache(bits))


def log_softmax(logits):
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def rounded_to_bf16(values):
    bits = values.astype(np.float32).view(np.uint32)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32).astype(values.dtype)


def bf16_cache_error(model, ids, top, logprobs):
    """How far keys and values in bf16 alone move the logprobs of the ids in top."""
    model.reference.reset()
    logits = model.reference.forward(ids, kv_hook=lambda k, v: (rounded_to_bf16(k), rounded_to_bf16(v)))
    return float(np.abs(log_softmax(logits) - logprobs)[top].max())


def golden_case(model, name, text):
    ids = model.tokenizer.encode(text)
    steps = model.reference.greedy_steps(ids, limit=GOLDEN_LIMIT)
    first = steps[0][1]
    top = np.argsort(-first)[:5]
    logprobs = log_softmax(first)
    ordered = [np.sort(logits) for _, logits in steps]
    return {
        "name": name,
        "prompt": text,
        "ids": ids,
        "top5_ids": [int(i) for i in top],
        "top5_logits": [float(first[i]) for i in top],
        "greedy_ids": [id for id, _ in steps],
        "greedy_text": model.tokenizer.decode([id for id, _ in steps]),
        "top5_logprobs": [float(logprobs[i]) for i in top],
        "bf16_cache_error": bf16_cache_error(model, ids, top, logprobs),
        "margins": [round(float(logits[-1] - logits[-2]), 4) for logits in ordered],
    }


def make_golden(model):
    rows = model.questions()
    said = lambda text: [{"role": "user", "content": text}]
    prompts = [("chat: hello", said("Hello!"), None), ("chat: 347 + 58", said("What is 347 + 58?"), None)]
    for kind in ("T2", "T3-call", "T3-answer", "T4"):
        row = next(row for row in rows if row["kind"] == kind)
        prompts.append((kind, row["messages"], row.get("tools")))
    texts = [(name, model.prompt(messages, tools)) for name, messages, tools in prompts]
    texts.append(("raw prose", "Once there was a small fox named Mira."))
    cases = [golden_case(model, name, text) for name, text in texts]
    reference = f"numpy float64 forward on the bf16 weights; greedy stops at [e~[ (id 3) or {GOLDEN_LIMIT} tokens"
    model.golden_file.write_text(json.dumps({"reference": reference, "cases": cases}, ensure_ascii=False, indent=1))
    print(f"{model.golden_file}: {len(cases)} cases")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["questions", "run", "probes", "golden"])
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL)
    parser.add_argument("--per-family", type=int, default=100)
    parser.add_argument("--family", choices=FAMILIES)
    parser.add_argument("--at-most", type=int, default=0, help="questions of each family; 0: all")
    options = parser.parse_args()
    model = Model(options.model, np.float64 if options.command == "golden" else np.float32)
    if options.command == "questions":
        make_questions(model, options.per_family)
    elif options.command == "run":
        rows = [row for row in model.load().questions() if options.family in (None, row["family"])]
        count_right(model, first_of_each_family(rows, options.at_most), "held-out", show=12)
    elif options.command == "probes":
        probe(model.load(), options.at_most or 100)
    else:
        make_golden(model.load())


if __name__ == "__main__":
    main()
