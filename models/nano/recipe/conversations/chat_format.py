"""Rendering a document in the MiniMax-M2 chat format, in segments that do or do not carry training loss."""

import json

from conversations.words import MODEL_NAME

DEFAULT_SYSTEM = f"You are a helpful assistant. Your name is {MODEL_NAME} and was built for tests."

TOOLS_HEAD = """

# Tools
You may call one or more tools to assist with the user query.
Here are the tools available in JSONSchema format:

<tools>
"""
TOOLS_TAIL = """</tools>

When making tool calls, use XML format to invoke tools and pass parameters:

<minimax:tool_call>
<invoke name="tool-name-1">
<parameter name="param-key-1">param-value-1</parameter>
...
</invoke>
</minimax:tool_call>"""


def tool_calls_text(calls):
    text = "\n<minimax:tool_call>\n"
    for call in calls:
        function = call["function"]
        text += f'<invoke name="{function["name"]}">\n'
        for key, value in function["arguments"].items():
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            text += f'<parameter name="{key}">{shown}</parameter>\n'
        text += "</invoke>\n"
    return text + "</minimax:tool_call>"


def assistant_body(message):
    """What the model says after its reasoning: text, tool calls, or both."""
    calls = message.get("tool_calls")
    return (message.get("content") or "") + (tool_calls_text(calls) if calls else "")


def system_text(document):
    text = "]~!b[]~b]system\n" + document.get("system", DEFAULT_SYSTEM)
    if document.get("tools"):
        functions = [json.dumps(tool["function"], ensure_ascii=False) for tool in document["tools"]]
        text += TOOLS_HEAD + "".join(f"<tool>{function}</tool>\n" for function in functions) + TOOLS_TAIL
    return text + "[e~[\n"


def tool_text(messages, i):
    """Results that follow each other share one turn."""
    opens = i == 0 or messages[i - 1]["role"] != "tool"
    closes = i + 1 == len(messages) or messages[i + 1]["role"] != "tool"
    response = f"\n<response>{messages[i]['content']}</response>"
    return ("]~b]tool" if opens else "") + response + ("[e~[\n" if closes else "")


def render(document):
    """-> [(text, whether it carries loss)]: assistant turns do, if they still show their reasoning."""
    if "text" in document:
        return [("]~!b[" if document["bos"] else "", False), (document["text"], True), ("[e~[", True)]
    messages = document["messages"]
    last_user = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=-1)
    segments = [(system_text(document), False)]
    for i, message in enumerate(messages):
        if message["role"] == "user":
            segments.append((f"]~b]user\n{message['content']}[e~[\n", False))
        elif message["role"] == "tool":
            segments.append((tool_text(messages, i), False))
        else:
            stripped = document.get("strip") and i < last_user
            reasoning = "" if stripped else message.get("reasoning_content") or ""
            opening = f"<think>\n{reasoning}\n</think>\n\n" if reasoning else ""
            segments.append(("]~b]ai\n", False))
            segments.append((opening + assistant_body(message) + "[e~[", bool(reasoning)))
            segments.append(("\n", False))
    return segments


def full_text(document):
    return "".join(text for text, _ in render(document))
