"""Trains the tokenizer on generated documents and writes tokenizer.json.

usage: python3 train_tokenizer.py [--vocabulary 1536] [--documents 12000] [--out work/model/tokenizer.json]
"""

import argparse
import json
import random
from collections import Counter, defaultdict
from pathlib import Path

import regex

from conversations.chat_format import full_text
from conversations.documents import draw_document
from paths import NEW_MODEL
from tokenizer import CHARACTER_OF, PATTERN, SPECIALS, Tokenizer, split_at, stays_visible

RAREST_MERGE = 20  # a pair that occurs less often is not worth an id


def train(texts, vocabulary_size):
    """-> the merges, most frequent first (ties: the later pair in the alphabet)"""
    words, pattern, at_specials = Counter(), regex.compile(PATTERN), split_at(SPECIALS, keep=False)
    for text in texts:
        for part in at_specials.split(text):
            words.update(pattern.findall(part))
    sequences = [[CHARACTER_OF[byte] for byte in word.encode()] for word in words]
    counts = list(words.values())
    pairs, places = Counter(), defaultdict(set)
    for i, sequence in enumerate(sequences):
        for pair in zip(sequence, sequence[1:]):
            pairs[pair] += counts[i]
            places[pair].add(i)
    merges = []
    while len(merges) < vocabulary_size - 256 - len(SPECIALS):
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        if pairs[best] < RAREST_MERGE:
            break
        merges.append(best)
        for i in list(places[best]):
            for pair in zip(sequences[i], sequences[i][1:]):
                pairs[pair] -= counts[i]
            sequences[i] = merged(sequences[i], best)
            for pair in zip(sequences[i], sequences[i][1:]):
                pairs[pair] += counts[i]
                places[pair].add(i)
        del pairs[best], places[best]
    return merges


def merged(sequence, pair):
    out, i = [], 0
    while i < len(sequence):
        if tuple(sequence[i : i + 2]) == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(sequence[i])
            i += 1
    return out


def added_token(id, content):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": id, "content": content, **flags, "special": not stays_visible(content)}


def tokenizer_json(merges):
    vocabulary = {token: id for id, token in enumerate(SPECIALS)}
    for byte in range(256):
        vocabulary[CHARACTER_OF[byte]] = len(vocabulary)
    for first, second in merges:
        vocabulary.setdefault(first + second, len(vocabulary))
    split = {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(id, content) for id, content in enumerate(SPECIALS)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [f"{first} {second}" for first, second in merges],
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocabulary", type=int, default=1536, help="ids, special tokens and bytes included")
    parser.add_argument("--documents", type=int, default=12_000)
    parser.add_argument("--out", type=Path, default=NEW_MODEL / "tokenizer.json")
    options = parser.parse_args()

    rng = random.Random(7)
    texts = [full_text(draw_document(rng)) for _ in range(options.documents)]
    settings = tokenizer_json(train(texts, options.vocabulary))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with open(options.out, "w") as file:
        json.dump(settings, file, ensure_ascii=False, indent=1)

    tokenizer = Tokenizer(options.out)
    for text in ["héllo wörld 你好 😀 \x00ÿ  tabs\t\n\n x12345 y", "".join(map(chr, range(2000))), texts[0]]:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    lengths = [len(tokenizer.encode(text)) for text in texts]
    print(
        f"{len(settings['model']['vocab'])} ids; tokens per document: mean {sum(lengths) / len(lengths):.0f},", end=" "
    )
    print(f"most {max(lengths)}; characters per token: {sum(map(len, texts)) / sum(lengths):.2f}")


if __name__ == "__main__":
    main()
