"""T1: adding and subtracting numbers of one to three digits, column by column in the reasoning."""

from conversations.messages import assistant, user, varied
from conversations.words import NAMES, held_out


def addition_columns(a, b):
    width = max(len(str(a)), len(str(b)))
    x, y = str(a).zfill(width), str(b).zfill(width)
    lines, carry, result = [f"{x}+{y}"], 0, ""
    for i in range(width - 1, -1, -1):
        digit_sum = int(x[i]) + int(y[i]) + carry
        column = f"{x[i]}+{y[i]}" + ("+1" if carry else "") + f"={digit_sum}"
        if i == 0:
            result = str(digit_sum) + result
            lines.append(f"{column}: {result}")
        else:
            result = str(digit_sum % 10) + result
            carry = digit_sum // 10
            lines.append(f"{column}: {result}" + (", carry 1" if carry else ""))
    return "\n".join(lines)


def subtraction_columns(a, b):
    """a >= b"""
    width = max(len(str(a)), len(str(b)))
    x, y = str(a).zfill(width), str(b).zfill(width)
    lines, borrow, result = [f"{x}-{y}"], 0, ""
    for i in range(width - 1, -1, -1):
        difference = int(x[i]) - int(y[i]) - borrow
        column = ("1" if difference < 0 else "") + f"{x[i]}-{y[i]}" + ("-1" if borrow else "") + f"={difference % 10}"
        result = str(difference % 10) + result
        borrow = int(difference < 0)
        lines.append(f"{column}: {result}" + (", borrow 1" if borrow else ""))
    if result != str(a - b):
        lines.append(f"{result} is {a - b}")
    return "\n".join(lines)


def worked_out(a, b, sign):
    """-> (the columns as text, the result)"""
    if sign == "+":
        return addition_columns(a, b), a + b
    if a >= b:
        return subtraction_columns(a, b), a - b
    # a < b: write the columns, swap, and put the sign back at the end
    columns = f"{str(a).zfill(len(str(b)))}-{b}\nswap: " + subtraction_columns(b, a) + "\nThe sign is minus."
    return columns, a - b


def number(rng):
    return rng.choice(
        [
            rng.randint(0, 9),
            rng.randint(10, 99),
            rng.randint(10, 99),
            rng.randint(100, 999),
            rng.randint(100, 999),
            rng.randint(100, 999),
        ]
    )


def story_question(rng, a, b, sign):
    name = rng.choice(NAMES)
    thing = rng.choice(["coins", "apples", "books", "stones", "cards", "eggs"])
    if sign == "+":
        return rng.choice(
            [
                f"{name} has {a} {thing} and gets {b} more. How many {thing} does {name} have now?",
                f"There are {a} {thing} in one box and {b} in another. How many {thing} are there in total?",
                f"{name} buys {a} {thing} on one day and {b} on the next day. How many {thing} is that?",
            ]
        )
    return rng.choice(
        [
            f"{name} has {a} {thing} and gives away {b}. How many {thing} are left?",
            f"There were {a} {thing} in a box. {name} took {b} of them. How many {thing} remain?",
        ]
    )


def plain_question(rng, a, b, sign):
    if sign == "+":
        forms = [f"What is {a} + {b}?", f"What is {a} + {b}?", f"{a} + {b}", f"{a}+{b}", f"{a} + {b} =", f"{a}+{b}=?"]
        forms += [f"{a} + {b} = ?", f"Calculate {a} + {b}.", f"Compute {a}+{b}.", f"Add {a} and {b}."]
        forms += [f"What is the sum of {a} and {b}?", f"What is {a} plus {b}?", f"How much is {a} plus {b}?"]
        forms += [f"How much is {a} + {b}?", f"Work out {a} + {b}.", f"Can you add {a} and {b}?"]
        forms += [f"Can you add {b} to {a}?", f"What do you get when you add {b} to {a}?", f"What's {a}+{b}?"]
        forms += [f"{a} plus {b}"]
    else:
        forms = [f"What is {a} - {b}?", f"What is {a} - {b}?", f"{a} - {b}", f"{a}-{b}", f"{a} - {b} =", f"{a}-{b}=?"]
        forms += [f"{a} - {b} = ?", f"Calculate {a} - {b}.", f"Compute {a}-{b}.", f"Subtract {b} from {a}."]
        forms += [f"What is {a} minus {b}?", f"How much is {a} minus {b}?", f"How much is {a} - {b}?"]
        forms += [f"Work out {a} - {b}.", f"Can you subtract {b} from {a}?", f"What's {a}-{b}?", f"{a} minus {b}"]
        forms += [f"Take {b} away from {a}."]
    return rng.choice(forms)


def turn(rng, split):
    """-> [user message, assistant message]"""
    while True:
        a, b, sign = number(rng), number(rng), rng.choice("+-")
        if sign == "-" and a < b and rng.random() < 0.7:
            a, b = b, a
        if held_out(f"{a}{sign}{b}") == (split != "train"):
            break
    reasoning, result = worked_out(a, b, sign)
    as_story = rng.random() < 0.15 and (sign == "+" or a >= b)
    question = story_question(rng, a, b, sign) if as_story else plain_question(rng, a, b, sign)
    return [user(varied(rng, question)), assistant(reasoning, f"{a} {sign} {b} = {result}.")]
