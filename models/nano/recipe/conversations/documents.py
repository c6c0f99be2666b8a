"""The mix of documents: one call draws one, of a family, for training or for the held-out set.

Held out: prompts whose checksum falls in one part of twenty never appear in training (T1, T5); T2 to T4 draw from a space
so large that another seed is enough.
"""

from conversations import arithmetic, hidden_choice, recall, small_talk, tools
from conversations.words import MODEL_NAME

FAMILIES = ["T1", "T2", "T3", "T4", "T5", "prose"]
# Share of documents. The first phase of training used [26, 20, 22, 14, 16, 3] and no renamed tools.
MIX = [40, 14, 28, 8, 14, 2]
SYSTEM_TEXTS = [
    "You are a helpful assistant.",
    "You are a friendly assistant. Answer briefly.",
    f"You are {MODEL_NAME}.",
    "Be brief.",
    "You are a careful assistant. Think before you answer.",
]


def several_turns(rng, split, family, turn, count):
    return {"family": family, "messages": sum([turn(rng, split) for _ in range(count)], [])}


def draw_document(rng, split="train", family=None):
    """-> dict(family, messages, tools?, system?, strip?, novel?); prose: dict(family, text, bos)

    split: "train" or "test". strip: render without the reasoning of earlier turns. novel: its tools are renamed.
    """
    train = split == "train"
    family = family or rng.choices(FAMILIES, MIX)[0]
    turns = rng.choice([1, 2, 3, 4]) if train else 1
    if family == "prose":
        return small_talk.prose_document(rng)
    if family == "T1":
        document = several_turns(rng, split, family, arithmetic.turn, turns)
    elif family == "T5":
        document = several_turns(rng, split, family, small_talk.turn, turns)
    else:
        document = {"T2": recall, "T3": tools, "T4": hidden_choice}[family].document(rng, split)
    if train and family in ("T1", "T2", "T5") and rng.random() < 0.12:
        document["strip"] = True
    if rng.random() < 0.12 and train:
        document["system"] = rng.choice(SYSTEM_TEXTS)
    return document
