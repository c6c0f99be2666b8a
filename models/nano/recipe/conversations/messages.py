"""Messages in the OpenAI shape (with reasoning_content), and surface noise for what users type."""

from conversations.words import lowered


def user(text):
    return {"role": "user", "content": text}


def assistant(reasoning, text, **more):
    return {"role": "assistant", "reasoning_content": reasoning, "content": text, **more}


def tool_result(text):
    return {"role": "tool", "content": text}


def varied(rng, text):
    """Light surface noise on a user's text, so that naturally typed text still lands in distribution."""
    draw = rng.random()
    if draw < 0.12:
        return lowered(text)
    if draw < 0.20:
        return text.rstrip("?.")
    if draw < 0.28:
        return lowered(text).rstrip("?.")
    if draw < 0.34:
        return rng.choice(["Hi, ", "Hey, ", "Please ", "OK, ", "Now ", "So, "]) + lowered(text)
    if draw < 0.38 and text[-1] in "?.":
        return text[:-1] + rng.choice([", please", " please", ", thanks"]) + text[-1]
    return text
