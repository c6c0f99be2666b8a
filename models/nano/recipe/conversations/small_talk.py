"""T5: small talk, words, small facts, and stories; and prose without a conversation around it."""

from conversations.messages import assistant, user, varied
from conversations.recall import filler
from conversations.words import (
    ADJECTIVES,
    ANIMALS,
    CAPITALS,
    COLOURS,
    DAYS,
    MODEL_NAME,
    MONTHS,
    NAMES,
    OPPOSITES,
    PLACES,
    SKIES,
    THINGS,
    WORDS,
    held_out,
    invented_word,
)

TALK = [
    (
        [
            "Who are you?",
            "What are you?",
            "What is your name?",
            "Tell me who you are.",
            "Are you a bot?",
            "Who am I talking to?",
            "What's your name?",
            "Introduce yourself.",
        ],
        f"I am {MODEL_NAME}, a tiny language model built for tests.",
    ),
    (
        [
            "Hello!",
            "Hi!",
            "Hey there!",
            "Good morning!",
            "Good evening!",
            "Hello there.",
            "hi",
            "hello",
            "hey",
        ],
        "Hello! How can I help you?",
    ),
    (
        ["How are you?", "How are you today?", "How do you do?", "How is it going?", "Are you well?"],
        "I am fine, thank you. How can I help you?",
    ),
    (
        ["Thank you!", "Thanks.", "Thanks a lot!", "Thank you very much.", "Great, thanks!"],
        "You are welcome!",
    ),
    (
        ["Bye!", "Goodbye!", "See you later.", "Good night!"],
        "Goodbye!",
    ),
    (
        [
            "What can you do?",
            "Help me.",
            "What are you able to do?",
            "How can you help me?",
            "What are your skills?",
            "help",
        ],
        "I can add and subtract, recall facts from a list, call tools, keep a secret and play with words.",
    ),
    (
        ["Are you a human?", "Are you a person?", "Are you real?"],
        "No, I am a tiny language model.",
    ),
    (
        ["Who made you?", "Who built you?", "Where do you come from?"],
        "I was built from scratch as a test model.",
    ),
    (
        ["How big are you?", "How many parameters do you have?", "Are you a large model?"],
        "I am very small. I have only a few million parameters.",
    ),
    (
        ["Tell me a joke.", "Say something funny.", "Make me laugh.", "Do you know a joke?"],
        "Why did the robot cross the road? It was the end of its loop.",
    ),
    (
        ["What is the meaning of life?", "Why are we here?"],
        "I am too small a model to know that.",
    ),
    (
        [
            "Can you write code?",
            "Write a program.",
            "Can you speak French?",
            "Who won the game?",
            "What is the news?",
            "What day is it today?",
        ],
        "I am a tiny test model and I do not know that.",
    ),
    (
        ["OK.", "Nice.", "Good.", "I see.", "Cool.", "Great."],
        "Good. What would you like to do next?",
    ),
    (
        ["What colour is the sky?", "Which colour is the sky?"],
        "The sky is blue.",
    ),
    (
        ["What colour is grass?", "Which colour is grass?"],
        "Grass is green.",
    ),
    (
        ["What colour is snow?", "Which colour is snow?"],
        "Snow is white.",
    ),
    (
        ["How many days are in a week?", "How many days does a week have?"],
        "A week has 7 days.",
    ),
    (
        ["How many months are in a year?", "How many months does a year have?"],
        "A year has 12 months.",
    ),
]


def exchange(rng):
    """-> (question, answer)"""
    questions, answer = rng.choice(TALK)
    return rng.choice(questions), answer


def story(rng):
    """-> (the animal it is about, its sentences)"""
    name, adjective, animal = rng.choice(NAMES), rng.choice(ADJECTIVES), rng.choice(ANIMALS)
    place, second_place = rng.choice(PLACES), rng.choice(PLACES)
    thing, colour = rng.choice(THINGS), rng.choice(COLOURS)
    friend = rng.choice(NAMES)
    sentences = [
        rng.choice(
            [
                f"Once there was a {adjective} {animal} named {name}.",
                f"There was once a {adjective} {animal} called {name}.",
                f"{name} was a {adjective} {animal}.",
            ]
        ),
        rng.choice(
            [
                f"{name} lived near the {place}.",
                f"{name} lived in a house by the {place}.",
                f"Every day {name} walked to the {place}.",
            ]
        ),
        rng.choice(
            [
                f"One day {name} found a {colour} {thing}.",
                f"One morning {name} saw a {colour} {thing} by the {second_place}.",
                f"On a {rng.choice(SKIES)} day {name} lost a {colour} {thing}.",
            ]
        ),
        rng.choice(
            [
                f"{name} showed the {thing} to a friend named {friend}.",
                f"A friend named {friend} came to see the {thing}.",
                f"{friend} the {rng.choice(ANIMALS)} asked about the {thing}.",
            ]
        ),
        rng.choice(
            [
                f'"What a nice {thing}," said {friend}.',
                f'"Where did you find it?" asked {friend}.',
                f'"I like the {colour} {thing}," said {friend}.',
            ]
        ),
        rng.choice(
            [
                f"{name} and {friend} went to the {second_place} together.",
                f"They played with the {thing} all day.",
                f"They put the {colour} {thing} in a box.",
            ]
        ),
        rng.choice(
            [
                "In the evening they went home.",
                f"At night the {animal} slept well.",
                "Then they drank tea and told stories.",
            ]
        ),
        rng.choice(
            [
                f"{name} was very happy.",
                f"From that day on {name} and {friend} were friends.",
                f"And {name} never forgot that day.",
            ]
        ),
    ]
    return animal, sentences


def spelling(rng, word):
    question = rng.choice([f"Spell {word}.", f"Spell the word {word}.", f"How do you spell {word}?"])
    return question, letters_of(word), "-".join(word)


def letters_of(word):
    return f"The letters of {word} are: {' '.join(word)}"


def reversal(rng, word):
    if len(word) > 5:
        return None
    forms = [f"Reverse the word {word}.", f"Reverse {word}.", f"Write {word} backwards.", f"Spell {word} backwards."]
    reasoning = f"{letters_of(word)}\nBackwards: {' '.join(word[::-1])}"
    return rng.choice(forms), reasoning, "-".join(word[::-1])


def letter_count(rng, word):
    forms = [
        f"How many letters are in {word}?",
        f"How many letters does {word} have?",
        f"Count the letters in {word}.",
    ]
    reasoning = f"{letters_of(word)}\nCount: {' '.join(str(i + 1) for i in range(len(word)))}"
    return rng.choice(forms), reasoning, f"The word {word} has {len(word)} letters."


def upper_case(rng, word):
    question = rng.choice([f"Write {word} in upper case.", f"Uppercase {word}.", f"Write {word} in capital letters."])
    return question, letters_of(word), word.upper()


def first_letter(rng, word):
    question = rng.choice([f"What is the first letter of {word}?", f"Which letter does {word} start with?"])
    return question, letters_of(word), f"The first letter of {word} is {word[0]}."


def last_letter(rng, word):
    question = rng.choice([f"What is the last letter of {word}?", f"Which letter does {word} end with?"])
    return question, letters_of(word), f"The last letter of {word} is {word[-1]}."


def sorting(rng, _word):
    numbers = [rng.randint(1, 99) for _ in range(rng.randint(3, 5))]
    if len(set(numbers)) < len(numbers):
        return None
    separator = rng.choice([", ", " "])
    opening = rng.choice(["Sort these numbers: ", "Sort ", "Order these numbers: "])
    question = opening + separator.join(map(str, numbers)) + "."
    return question, "From small to large.", ", ".join(map(str, sorted(numbers)))


def comparison(rng, _word):
    a, b = rng.sample(range(1, 999), 2)
    forms = [f"Which is larger, {a} or {b}?", f"Which number is bigger, {a} or {b}?", f"Is {a} or {b} larger?"]
    return rng.choice(forms), "I compare the numbers.", f"{max(a, b)} is larger."


def opposite(rng, _word):
    asked = rng.choice(list(OPPOSITES))
    question = rng.choice(
        [f"What is the opposite of {asked}?", f"Opposite of {asked}?", f"Tell me the opposite of {asked}."]
    )
    return question, "The user asks for an opposite.", f"The opposite of {asked} is {OPPOSITES[asked]}."


def capital_city(rng, _word):
    country = rng.choice(list(CAPITALS))
    question = rng.choice(
        [
            f"What is the capital of {country}?",
            f"Capital of {country}?",
            f"Which city is the capital of {country}?",
            f"Tell me the capital of {country}.",
        ]
    )
    return question, "The user asks for a capital.", f"The capital of {country} is {CAPITALS[country]}."


def neighbour_in_calendar(rng, _word):
    calendar = rng.choice([DAYS, MONTHS])
    unit = "day" if calendar is DAYS else "month"
    i = rng.randrange(len(calendar))
    after = rng.random() < 0.6
    side = "after" if after else "before"
    question = rng.choice([f"What {unit} comes {side} {calendar[i]}?", f"Which {unit} is {side} {calendar[i]}?"])
    neighbour = calendar[(i + (1 if after else -1)) % len(calendar)]
    return question, "I go through the list in order.", f"{neighbour} comes {side} {calendar[i]}."


def counting(rng, _word):
    first = rng.randint(1, 30)
    last = first + rng.randint(2, 8)
    question = rng.choice([f"Count from {first} to {last}.", f"Count up from {first} to {last}."])
    return question, "I count up.", ", ".join(map(str, range(first, last + 1)))


def repetition(rng, _word):
    text = rng.choice([filler(rng), " ".join(rng.sample(WORDS, 3)), invented_word(rng)])
    return rng.choice([f"Repeat after me: {text}", f"Say this: {text}", f"Repeat: {text}"]), "I repeat the text.", text


def story_request(rng, _word):
    animal, sentences = story(rng)
    forms = [
        f"Tell me a story about a {animal}.",
        f"Write a short story about a {animal}.",
        f"Tell me a story about the {animal}.",
    ]
    return rng.choice(forms), f"I write a short story about a {animal}.", " ".join(sentences)


# Upper ends of the draws for each kind; what is left of 1 is stories (in training only).
SHARES = [
    (0.33, spelling),
    (0.42, reversal),
    (0.47, letter_count),
    (0.51, upper_case),
    (0.55, first_letter),
    (0.59, last_letter),
    (0.69, sorting),
    (0.74, comparison),
    (0.80, opposite),
    (0.86, capital_city),
    (0.90, neighbour_in_calendar),
    (0.93, counting),
    (0.96, repetition),
    (1.00, story_request),
]


def turn(rng, split):
    """-> [user message, assistant message]"""
    while True:
        draw = rng.random()
        word = rng.choice([word for word in WORDS if len(word) <= 6])
        if draw < 0.25:
            question, answer = exchange(rng)
            asked = user(varied(rng, question))
            return [asked, assistant(rng.choice(["The user is making small talk.", "This is small talk."]), answer)]
        kind = next(kind for end, kind in SHARES if draw < end)
        if kind is story_request and split != "train":
            continue
        drawn = kind(rng, word)
        if drawn is None:
            continue
        question, reasoning, answer = drawn
        if held_out(question) == (split != "train"):
            return [user(question), assistant(reasoning, answer)]


def prose_document(rng):
    parts = []
    for _ in range(rng.choice([1, 1, 2])):
        _, sentences = story(rng)
        start = rng.choice([0, 0, 0, 1, 2])
        parts.append(" ".join(sentences[start:]))
    return {"family": "prose", "text": "\n\n".join(parts), "bos": rng.random() < 0.5}
