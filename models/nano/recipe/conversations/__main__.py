"""Prints a document of each family:  python3 -m conversations"""

import random

from conversations.chat_format import full_text
from conversations.documents import FAMILIES, draw_document

rng = random.Random(1)
for family in FAMILIES:
    for split in ("train", "test"):
        print(f"=== {family} {split}\n{full_text(draw_document(rng, split, family))[:2200]}")
