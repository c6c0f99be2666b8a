"""Documents, generated and tokenised ahead of training, in one .npz file (ids, loss weights, offsets, families).

usage: python3 dataset.py OUT.npz COUNT SEED train|test
"""

import argparse
import random
from pathlib import Path

import numpy as np

from conversations.chat_format import render
from conversations.documents import FAMILIES, draw_document
from paths import NEW_MODEL
from tokenizer import Tokenizer

LONGEST = 1280  # tokens; longer documents are left out
CONVERSATIONS = [family for family in FAMILIES if family != "prose"]


def build(count, seed, split, tokenizer):
    """The test split has every kind of conversation in turn; the training split draws by the mix."""
    rng = random.Random(seed)
    ids, weights, offsets, families = [], [], [0], []
    while len(families) < count:
        wanted = CONVERSATIONS[len(families) % len(CONVERSATIONS)] if split == "test" else None
        document = draw_document(rng, split, wanted)
        document_ids, document_weights = [], []
        for text, has_loss in render(document):
            encoded = tokenizer.encode(text)
            document_ids += encoded
            document_weights += [int(has_loss)] * len(encoded)
        if len(document_ids) > LONGEST:
            continue
        ids.append(np.array(document_ids, np.uint16))
        weights.append(np.array(document_weights, np.uint8))
        offsets.append(offsets[-1] + len(document_ids))
        families.append(FAMILIES.index(document["family"]))
    return {
        "ids": np.concatenate(ids),
        "weights": np.concatenate(weights),
        "offsets": np.array(offsets),
        "families": np.array(families),
    }


def load(path):
    """-> [(ids, loss weights, family)]"""
    file = np.load(path)
    cuts = file["offsets"][1:-1]
    return list(zip(np.split(file["ids"].astype(np.int64), cuts), np.split(file["weights"], cuts), file["families"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("split", choices=["train", "test"])
    parser.add_argument("--tokenizer", type=Path, default=NEW_MODEL / "tokenizer.json")
    options = parser.parse_args()

    data = build(options.count, options.seed, options.split, Tokenizer(options.tokenizer))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(options.out, **data)
    share = data["weights"].mean()
    print(
        f"{options.out}: {len(data['families'])} documents, {data['offsets'][-1]} tokens, {share:.2f} of them with loss"
    )


if __name__ == "__main__":
    main()
