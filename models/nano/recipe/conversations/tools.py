"""T3: tool calls by schema, one or two at a time, and answers from their results.

Part of the tools are renamed to random words with random parameter names: only copying the schema can be right there.
"""

from collections import namedtuple

from conversations import small_talk
from conversations.messages import assistant, tool_result, user, varied
from conversations.words import (
    CITIES,
    NAMES,
    SKIES,
    WORDS,
    capitalised,
    invented_word,
    known_or_invented,
    lowered,
)

# parameters: [(name, type)]; sample(rng) -> Use
Tool = namedtuple("Tool", "name description parameters sample")
# What a user asks and what comes of it; goal: how the reasoning names it.
Use = namedtuple("Use", "arguments request goal result answer")


def city(rng):
    return rng.choice(CITIES) if rng.random() < 0.8 else capitalised(invented_word(rng))


def word(rng):
    return known_or_invented(rng, 0.6)


def weather(rng):
    name = rng.choice(["get_weather", "weather", "fetch_weather", "weather_now"])
    parameter = rng.choice(["city", "location", "place"])

    def sample(rng):
        place, degrees, sky = city(rng), rng.randint(0, 39), rng.choice(SKIES)
        request = rng.choice(
            [
                f"What is the weather in {place}?",
                f"How is the weather in {place}?",
                f"Tell me the weather in {place}.",
                f"Is it warm in {place}?",
                f"weather in {place}",
                f"What's the weather like in {place} today?",
            ]
        )
        result = rng.choice([f'{{"temp": {degrees}, "sky": "{sky}"}}', f"{degrees} degrees, {sky}"])
        answer = f"It is {degrees} degrees and {sky} in {place}."
        return Use({parameter: place}, request, f"the weather in {place}", result, answer)

    return Tool(name, f"Get the weather for a {parameter}.", [(parameter, "string")], sample)


def operand_names(rng):
    return rng.choice([("a", "b"), ("x", "y"), ("left", "right"), ("first", "second")])


def addition(rng):
    name = rng.choice(["add", "add_numbers", "sum"])
    first, second = operand_names(rng)

    def sample(rng):
        a, b = rng.randint(2, 9999), rng.randint(2, 9999)
        request = rng.choice(
            [
                f"What is {a} + {b}?",
                f"Add {a} and {b}.",
                f"What is {a} plus {b}?",
                f"Use the tool to add {a} and {b}.",
            ]
        )
        return Use({first: a, second: b}, request, f"the sum of {a} and {b}", str(a + b), f"{a} + {b} = {a + b}.")

    return Tool(name, "Add two numbers.", [(first, "number"), (second, "number")], sample)


def multiplication(rng):
    name = rng.choice(["multiply", "times", "product"])
    first, second = operand_names(rng)

    def sample(rng):
        a, b = rng.randint(2, 9999), rng.randint(2, 9999)
        request = rng.choice(
            [
                f"What is {a} * {b}?",
                f"Multiply {a} by {b}.",
                f"What is {a} times {b}?",
                f"Use the tool to multiply {a} and {b}.",
            ]
        )
        return Use({first: a, second: b}, request, f"the product of {a} and {b}", str(a * b), f"{a} * {b} = {a * b}.")

    return Tool(name, "Multiply two numbers.", [(first, "number"), (second, "number")], sample)


def lookup(rng):
    name = rng.choice(["lookup", "get_value", "read_key", "lookup_key"])
    parameter = rng.choice(["key", "name", "id"])

    def sample(rng):
        key, value = word(rng), rng.randint(10, 9999)
        request = rng.choice(
            [
                f"Look up {key}.",
                f"What is the value of {key}?",
                f"Look up the value of {key}.",
                f"Which value is stored for {key}?",
            ]
        )
        answer = f"The value of {key} is {value}."
        return Use({parameter: key}, request, f"the value of {key}", str(value), answer)

    return Tool(name, "Look up the value of a key.", [(parameter, "string")], sample)


def conversion(rng):
    name = rng.choice(["convert", "convert_units", "unit_convert"])
    amount, source, target = rng.choice([("value", "from", "to"), ("amount", "source", "target")])
    units = "metres feet miles kilometres grams pounds litres gallons".split()

    def sample(rng):
        value, (a, b), converted = rng.randint(1, 999), rng.sample(units, 2), rng.randint(1, 999)
        request = rng.choice(
            [
                f"Convert {value} {a} to {b}.",
                f"How many {b} are {value} {a}?",
                f"What is {value} {a} in {b}?",
            ]
        )
        arguments = {amount: value, source: a, target: b}
        return Use(arguments, request, f"{value} {a} in {b}", str(converted), f"{value} {a} is {converted} {b}.")

    parameters = [(amount, "number"), (source, "string"), (target, "string")]
    return Tool(name, "Convert a value between units.", parameters, sample)


def web_search(rng):
    name = rng.choice(["search", "web_search", "search_web", "find_pages"])
    parameter = rng.choice(["query", "q", "text"])

    def sample(rng):
        query = " ".join(rng.sample(WORDS, rng.choice([1, 2])))
        found = " ".join(rng.sample(WORDS, 2))
        request = rng.choice(
            [
                f"Search for {query}.",
                f"Search the web for {query}.",
                f"Find pages about {query}.",
                f"Can you search for {query}?",
            ]
        )
        return Use({parameter: query}, request, f"pages about {query}", found, f"The search found: {found}.")

    return Tool(name, "Search the web.", [(parameter, "string")], sample)


def clock(rng):
    name = rng.choice(["get_time", "clock", "current_time"])
    parameter = rng.choice(["city", "zone", "place"])

    def sample(rng):
        place, time = city(rng), f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"
        request = rng.choice(
            [
                f"What time is it in {place}?",
                f"Tell me the time in {place}.",
                f"time in {place}",
                f"What is the time in {place} now?",
            ]
        )
        return Use({parameter: place}, request, f"the time in {place}", time, f"It is {time} in {place}.")

    return Tool(name, f"Get the current time in a {parameter}.", [(parameter, "string")], sample)


def price(rng):
    name = rng.choice(["get_price", "price_of", "check_price"])
    parameter = rng.choice(["item", "product", "article"])

    def sample(rng):
        item, coins = word(rng), rng.randint(1, 999)
        request = rng.choice(
            [
                f"How much does the {item} cost?",
                f"What is the price of the {item}?",
                f"Check the price of the {item}.",
            ]
        )
        return Use({parameter: item}, request, f"the price of the {item}", str(coins), f"The {item} costs {coins}.")

    return Tool(name, f"Get the price of an {parameter}.", [(parameter, "string")], sample)


def translation(rng):
    name = rng.choice(["translate", "translate_word", "translator"])
    text, language = rng.choice([("word", "language"), ("text", "to")])

    def sample(rng):
        source = rng.choice(WORDS)
        into = rng.choice(["French", "German", "Spanish", "Italian", "Dutch", "Polish"])
        translated = invented_word(rng)
        request = rng.choice(
            [
                f"Translate {source} to {into}.",
                f"What is {source} in {into}?",
                f"How do you say {source} in {into}?",
            ]
        )
        answer = f"In {into}, {source} is {translated}."
        return Use({text: source, language: into}, request, f"{source} in {into}", translated, answer)

    return Tool(name, "Translate a word.", [(text, "string"), (language, "string")], sample)


def message(rng):
    name = rng.choice(["send_email", "send_message", "send_mail"])
    receiver, body = rng.choice([("to", "text"), ("name", "message"), ("to", "body")])

    def sample(rng):
        person = rng.choice(NAMES) if rng.random() < 0.7 else capitalised(invented_word(rng))
        texts = ["hello", "good morning", "see you soon", "the meeting is at noon"]
        text = rng.choice([*texts, "thank you", "call me", "dinner is ready"])
        request = rng.choice(
            [
                f"Send a message to {person}: {text}",
                f"Tell {person}: {text}",
                f"Write to {person}: {text}",
            ]
        )
        result = rng.choice(["sent", "ok"])
        answer = f"I sent the message to {person}."
        return Use({receiver: person, body: text}, request, f"a message to {person}", result, answer)

    return Tool(name, "Send a message to a person.", [(receiver, "string"), (body, "string")], sample)


VERBS = """find get check open close start stop read delete create update order book count lock move print reset test
watch""".split()
NOUNS = """ticket file order user door lamp server room record table train flight invoice folder device account report
task job camera robot""".split()


def verb_and_noun(rng):
    verb, noun = rng.choice(VERBS), rng.choice(NOUNS)
    name = rng.choice([f"{verb}_{noun}", f"{verb}_{noun}", f"{noun}_{verb}"])
    parameter = rng.choice(["id", "name", f"{noun}_id", f"{noun}_name", "target"])
    numeric = parameter.endswith("id") and rng.random() < 0.7

    def sample(rng):
        target = rng.randint(1, 9999) if numeric else word(rng)
        request = rng.choice(
            [
                f"{capitalised(verb)} {noun} {target}.",
                f"{capitalised(verb)} the {noun} {target}.",
                f"Please {verb} {noun} {target}.",
                f"Can you {verb} the {noun} {target}?",
                f"I want to {verb} {noun} {target}.",
            ]
        )
        status = rng.choice(["done", "ok", "ready", "failed", "not found", "active"])
        result = rng.choice([status, rng.choice(WORDS), str(rng.randint(1, 999))])
        answer = f"The result for {noun} {target} is: {result}."
        return Use({parameter: target}, request, f"to {verb} {noun} {target}", result, answer)

    parameters = [(parameter, "number" if numeric else "string")]
    return Tool(name, f"{capitalised(verb)} a {noun}.", parameters, sample)


KINDS = [weather, addition, multiplication, lookup, conversion, web_search, clock, price, translation, message]
KINDS += [verb_and_noun] * 4


def renamed(rng, tool):
    """The same tool under an unpredictable name with unpredictable parameters."""

    def random_word():
        return rng.choice(WORDS) if rng.random() < 0.5 else invented_word(rng, 2)

    name = "_".join(random_word() for _ in range(rng.choice([1, 2])))
    names = {}
    for parameter, _ in tool.parameters:
        while parameter not in names or list(names.values()).count(names[parameter]) > 1:
            names[parameter] = random_word()

    def sample(rng):
        use = tool.sample(rng)
        return use._replace(arguments={names[key]: value for key, value in use.arguments.items()})

    return Tool(name, tool.description, [(names[key], kind) for key, kind in tool.parameters], sample)


def toolbox(rng, count, novel):
    """Tools that cannot be taken for each other."""
    tools, seen = [], set()
    while len(tools) < count:
        tool = rng.choice(KINDS)(rng)
        tags = {tool.name, tool.description, (tool.name.split("_")[0], tool.description)}
        if tags & seen:
            continue
        seen |= tags
        tools.append(renamed(rng, tool) if novel else tool)
    return tools


def schema(tool):
    parameters = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in tool.parameters},
        "required": [name for name, _ in tool.parameters],
    }
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def call(tool, use):
    return {"type": "function", "function": {"name": tool.name, "arguments": use.arguments}}


def two_calls(rng, tools, opening):
    """A turn that needs two calls at once; empty when both draws want the same."""
    first = rng.choice(tools)
    second = rng.choice(tools) if rng.random() < 0.5 else first
    one, other = first.sample(rng), second.sample(rng)
    if one.arguments == other.arguments:
        return []
    if rng.random() < 0.5:
        request = one.request.rstrip("?.") + " " + rng.choice(["and", "and also"]) + " " + lowered(other.request)
    else:
        request = one.request + " " + other.request
    reasoning = f"The user wants {one.goal} and {other.goal}. I will call {first.name} and {second.name}."
    return [
        user(request),
        assistant(reasoning, opening, tool_calls=[call(first, one), call(second, other)]),
        tool_result(one.result),
        tool_result(other.result),
        assistant("I have both results.", one.answer + " " + other.answer),
    ]


def one_call(rng, tools, opening):
    tool = rng.choice(tools)
    use = tool.sample(rng)
    reasoning = f"The user wants {use.goal}. I will call {tool.name}."
    return [
        user(varied(rng, use.request)),
        assistant(reasoning, opening, tool_calls=[call(tool, use)]),
        tool_result(use.result),
        assistant(f"The tool returned {use.result}.", use.answer),
    ]


def document(rng, split):
    train = split == "train"
    count = rng.choice([1, 2, 2, 3])
    novel = rng.random() < (0.5 if train else 0.3)
    tools = toolbox(rng, count, novel)
    messages = []
    for _ in range(rng.choice([1, 1, 2, 2, 3]) if train else 1):
        draw = rng.random()
        if draw < 0.12:
            question, answer = small_talk.exchange(rng)
            messages += [user(varied(rng, question)), assistant("No tool is needed.", answer)]
            continue
        opening = rng.choice([""] * 9 + ["Let me check."]) if train else ""
        messages += two_calls(rng, tools, opening) if draw < 0.30 else one_call(rng, tools, opening)
    if not messages:
        return document(rng, split)
    return {"family": "T3", "messages": messages, "tools": [schema(tool) for tool in tools], "novel": novel}
