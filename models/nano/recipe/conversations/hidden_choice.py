"""T4: a secret that stands only in the reasoning of an earlier turn, revealed after other turns."""

from conversations import arithmetic, small_talk
from conversations.messages import assistant, user, varied
from conversations.words import ANIMALS, CITIES, COLOURS, FRUITS, NAMES, WORDS

SECRETS = {
    "number": lambda rng: str(
        rng.choice([rng.randint(1, 10), rng.randint(1, 100), rng.randint(1, 100), rng.randint(100, 999)])
    ),
    "animal": lambda rng: rng.choice(ANIMALS),
    "colour": lambda rng: rng.choice(COLOURS),
    "fruit": lambda rng: rng.choice(FRUITS),
    "word": lambda rng: rng.choice(WORDS),
    "city": lambda rng: rng.choice(CITIES),
    "name": lambda rng: rng.choice(NAMES),
}


def other_turns(rng, least, most):
    messages = []
    for _ in range(rng.randint(least, most)):
        messages += small_talk.turn(rng, "train") if rng.random() < 0.7 else arithmetic.turn(rng, "train")
    return messages


def choosing_turn(rng, kind, secret):
    article = "an" if kind == "animal" else "a"
    bounded = kind == "number" and secret.isdigit() and int(secret) <= 100
    bounds = rng.choice([" between 1 and 100", "", ""]) if bounded else ""
    request = rng.choice(
        [
            f"Think of a secret {kind}{bounds} and keep it to yourself.",
            f"Think of {article} {kind}{bounds} but do not tell me.",
            f"Pick a secret {kind}{bounds}. Do not tell me yet.",
            f"Choose {article} {kind}{bounds} and keep it secret.",
            f"Please think of a secret {kind}{bounds}.",
            f"Pick {article} {kind}{bounds} and do not say it.",
        ]
    )
    asked = user(varied(rng, request))
    reply = rng.choice([f"I have picked a secret {kind}.", f"OK, I am thinking of {article} {kind}."])
    return [asked, assistant(f"I pick the {kind} {secret}. I will keep it secret.", reply)]


def guessing_turn(rng, kind, secret, only_one):
    guess = secret if rng.random() < 0.3 else SECRETS[kind](rng)
    request = f"Is your {kind} {guess}?"
    if only_one:
        request = rng.choice([request, f"Is it {guess}?", f"Did you pick {guess}?"])
    reply = f"Yes, it is {guess}." if guess == secret else f"No, it is not {guess}."
    return [user(request), assistant(f"Earlier I picked the {kind} {secret}. The guess is {guess}.", reply)]


def revealing_turn(rng, kind, secret, split, stripped):
    request = rng.choice(
        [
            f"What was your secret {kind}?",
            f"Which {kind} did you pick?",
            f"Tell me the {kind} now.",
            f"What {kind} were you thinking of?",
            f"Now tell me your secret {kind}.",
            f"Reveal the {kind}.",
            f"What was the {kind}?",
            f"What is your secret {kind}?",
        ]
    )
    asked = user(varied(rng, request) if split == "train" else request)
    if stripped:
        return [asked, assistant("My earlier reasoning is not in this conversation.", f"I no longer know the {kind}.")]
    return [asked, assistant(f"Earlier I picked the {kind} {secret}.", f"My secret {kind} was {secret}.")]


def document(rng, split):
    """Some training documents are rendered without earlier reasoning: there the right answer is not to know."""
    train = split == "train"
    kinds = rng.sample(list(SECRETS), rng.choice([1, 1, 1, 2]))
    secrets = {kind: SECRETS[kind](rng) for kind in kinds}
    stripped = train and rng.random() < 0.12
    messages = other_turns(rng, 0, 1)
    for kind in kinds:
        messages += choosing_turn(rng, kind, secrets[kind])
        messages += other_turns(rng, 0, 1 if len(kinds) > 1 else 0)
    messages += other_turns(rng, 0 if train else 1, 4)
    while train and rng.random() < 0.25:
        kind = rng.choice(kinds)
        if stripped:
            break
        messages += guessing_turn(rng, kind, secrets[kind], len(kinds) == 1)
    for kind in rng.sample(kinds, 1) if not train or rng.random() < 0.5 else kinds:
        messages += revealing_turn(rng, kind, secrets[kind], split, stripped)
    return {"family": "T4", "messages": messages, "strip": stripped}
