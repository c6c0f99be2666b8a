"""Byte-level BPE: encoder and decoder over a Hugging Face tokenizer.json, and the tables that its trainer shares."""

import json

import regex

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPECIALS = ["]!p~[", "]~!b[", "]~b]", "[e~[", "<think>", "</think>", "<minimax:tool_call>", "</minimax:tool_call>"]


def stays_visible(token):
    """Thinking and tool-call marks are no "special" tokens: decoding shows them."""
    return "think" in token or "tool_call" in token


def byte_characters():
    """The GPT-2 table: a printable character for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    table = {byte: chr(byte) for byte in printable}
    return table | {byte: chr(256 + i) for i, byte in enumerate(rest)}


CHARACTER_OF = byte_characters()
BYTE_OF = {character: byte for byte, character in CHARACTER_OF.items()}


def split_at(tokens, keep):
    """A regex that splits text at these tokens, keeping them or not."""
    either = "|".join(map(regex.escape, tokens))
    return regex.compile(f"({either})" if keep else either)


class Tokenizer:
    def __init__(self, path):
        with open(path) as file:
            settings = json.load(file)
        self.vocabulary = settings["model"]["vocab"]
        self.ranks = {tuple(merge.split(" ")): i for i, merge in enumerate(settings["model"]["merges"])}
        self.pieces = {id: piece for piece, id in self.vocabulary.items()}
        self.added = {token["content"]: token["id"] for token in settings["added_tokens"]}
        self.words = regex.compile(settings["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"])
        self.at_added = split_at(self.added, keep=True)
        self.cache = {}

    def encode(self, text):
        ids = []
        for part in self.at_added.split(text):
            if part in self.added:
                ids.append(self.added[part])
            elif part:
                for word in self.words.findall(part):
                    ids += self.encode_word(word)
        return ids

    def encode_word(self, word):
        if word in self.cache:
            return self.cache[word]
        symbols = [CHARACTER_OF[byte] for byte in word.encode()]
        unmergeable = len(self.ranks)
        while len(symbols) > 1:
            pairs = enumerate(zip(symbols, symbols[1:]))
            rank, i = min((self.ranks.get(pair, unmergeable), i) for i, pair in pairs)
            if rank == unmergeable:
                break
            symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
        ids = [self.vocabulary[symbol] for symbol in symbols]
        if len(self.cache) < 200_000:
            self.cache[word] = ids
        return ids

    def decode(self, ids):
        out = b""
        for id in ids:
            piece = self.pieces[id]
            out += piece.encode() if piece in self.added else bytes(BYTE_OF[character] for character in piece)
        return out.decode("utf-8", "replace")
