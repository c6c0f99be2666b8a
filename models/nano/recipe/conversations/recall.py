"""T2: a list of facts, then questions about some of them."""

from collections import namedtuple

from conversations.messages import assistant, user, varied
from conversations.words import (
    ADJECTIVES,
    ANIMALS,
    CITIES,
    COLOURS,
    NAMES,
    PLACES,
    SKIES,
    THINGS,
    WORDS,
    capitalised,
    invented_word,
    known_or_invented,
)

Attribute = namedtuple("Attribute", "fact questions value_kind of_person")
Fact = namedtuple("Fact", "attribute key value")


def attribute(fact, value_kind, *questions, of_person=False):
    return Attribute(fact, list(questions), value_kind, of_person)


ATTRIBUTES = [
    attribute(
        "The code for {k} is {v}.",
        "4 digits",
        "What is the code for {k}?",
        "Tell me the code for {k}.",
        "Which code does {k} have?",
        "Give me the code for {k}.",
        "I need the code for {k}.",
        "code for {k}?",
    ),
    attribute(
        "The number of {k} is {v}.",
        "3 digits",
        "What is the number of {k}?",
        "Tell me the number of {k}.",
        "Which number does {k} have?",
        "What number is {k}?",
    ),
    attribute(
        "The password of {k} is {v}.",
        "word",
        "What is the password of {k}?",
        "Tell me the password of {k}.",
        "I forgot the password of {k}. What is it?",
        "password of {k}?",
    ),
    attribute(
        "The colour of {k} is {v}.",
        "colour",
        "What is the colour of {k}?",
        "What colour is {k}?",
        "Tell me the colour of {k}.",
    ),
    attribute(
        "{k} lives in {v}.",
        "city",
        "Where does {k} live?",
        "In which city does {k} live?",
        "Tell me where {k} lives.",
        "What city does {k} live in?",
        of_person=True,
    ),
    attribute(
        "{k} is in room {v}.",
        "3 digits",
        "Where is {k}?",
        "In which room is {k}?",
        "Which room is {k} in?",
        "Find {k} for me.",
    ),
    attribute(
        "{k} costs {v} coins.",
        "2 digits",
        "How much does {k} cost?",
        "What does {k} cost?",
        "What is the price of {k}?",
        "Tell me the price of {k}.",
    ),
    attribute(
        "{k} has {v} points.",
        "2 digits",
        "How many points does {k} have?",
        "What is the score of {k}?",
        "Tell me the points of {k}.",
        of_person=True,
    ),
]
INTRODUCTIONS = [
    "Here is a list of facts.",
    "Please remember these facts.",
    "Read this list and answer a question.",
    "Notes:",
    "Facts:",
    "Remember the following.",
    "I will give you a list.",
    "Keep this in mind.",
]
VALUES = {
    "4 digits": lambda rng: str(rng.randint(1000, 9999)),
    "3 digits": lambda rng: str(rng.randint(100, 999)),
    "2 digits": lambda rng: str(rng.randint(10, 99)),
    "word": lambda rng: known_or_invented(rng, 0.5),
    "colour": lambda rng: rng.choice(COLOURS),
    "city": lambda rng: rng.choice(CITIES),
}


def fact_key(rng, of_person):
    draw = rng.random()
    if of_person:
        return rng.choice(NAMES) if draw < 0.6 else capitalised(invented_word(rng))
    return rng.choice(WORDS) if draw < 0.7 else invented_word(rng)


def filler(rng):
    """A sentence that is no fact of the list."""
    name, adjective = rng.choice(NAMES), rng.choice(ADJECTIVES)
    return rng.choice(
        [
            f"The {adjective} {rng.choice(ANIMALS)} slept near the {rng.choice(PLACES)}.",
            f"{name} walked to the {rng.choice(PLACES)}.",
            f"It was a {rng.choice(SKIES)} day in {rng.choice(CITIES)}.",
            f"{name} found a {rng.choice(COLOURS)} {rng.choice(THINGS)}.",
            f"There was a {adjective} {rng.choice(THINGS)} on the table.",
            f"The {rng.choice(PLACES)} was {adjective} that day.",
        ]
    )


def fact_list(rng, count):
    several = rng.random() >= 0.5
    attributes = rng.sample(ATTRIBUTES, min(len(ATTRIBUTES), rng.choice([2, 2, 3])) if several else 1)
    facts, seen = [], set()
    while len(facts) < count:
        chosen = rng.choice(attributes)
        key = fact_key(rng, chosen.of_person)
        if key.lower() in seen:
            continue
        seen.add(key.lower())
        facts.append(Fact(chosen, key, VALUES[chosen.value_kind](rng)))
    return facts


def sentence(fact):
    return capitalised(fact.attribute.fact.format(k=fact.key, v=fact.value))


def list_text(rng, facts, split):
    filler_share = rng.choice([0, 0, 0.1, 0.3])
    lines = []
    for fact in facts:
        lines.append(sentence(fact))
        if rng.random() < filler_share:
            lines.append(filler(rng))
    separator = rng.choice(["\n", " ", "\n- "])
    fillers = rng.choice([0, 0, 2, 4, 8]) if split == "train" else rng.randint(4, 10)
    tail = [filler(rng) for _ in range(fillers)]
    text = rng.choice(INTRODUCTIONS)
    text += ("\n" if separator != " " else " ") + ("- " if separator == "\n- " else "") + separator.join(lines)
    return text + ("\n" + " ".join(tail) if tail else "")


def question(rng, fact):
    # One question in ten keeps a small first letter, if its form or its key has one.
    if rng.random() < 0.9:
        return varied(rng, capitalised(rng.choice(fact.attribute.questions).format(k=fact.key)))
    return varied(rng, rng.choice(fact.attribute.questions).format(k=fact.key))


def answer(fact):
    return assistant(f"The list says: {sentence(fact)}", sentence(fact))


def document(rng, split):
    train = split == "train"
    facts = fact_list(rng, int(round(3 * (20 ** rng.random()))) if train else rng.randint(5, 60))
    text = list_text(rng, facts, split)
    asked = [rng.choice(facts) for _ in range(rng.choice([1, 2, 3, 4, 5]) if train else 1)]
    if rng.random() < 0.15 and train:  # facts first, acknowledged, question later
        acknowledgement = rng.choice(["OK, I have read the list.", "I will remember that."])
        messages = [user(text), assistant("The user gives me a list. I should read it.", acknowledgement)]
        messages += [user(question(rng, asked[0])), answer(asked[0])]
    else:
        lead = rng.choice(["", "Question: ", "\n"])
        messages = [user(text + "\n" + lead + question(rng, asked[0])), answer(asked[0])]
    for fact in asked[1:]:
        text = question(rng, fact)
        if fact.key not in text:
            text = question(rng, fact)
        messages += [user(rng.choice(["", "", "And "]) + text), answer(fact)]
    return {"family": "T2", "messages": messages}
