"""A bank of graded questions with known answers, from easy to hard, in many forms.

The gate takes its sentinels from it: those that the base model at hand answers right sometimes, so
that a candidate can be seen to be worse, and better. A small model finds them among the easy ones,
a large one among the hard.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

LEVELS = (0, 0, 0, 1, 2, 3, 4, 5)
"""Of difficulty, of every form that can be made harder; thrice the easiest, for small models."""

TRIES = 50
"""At a question that is new and does not hold its answer; some forms have one question a level."""
NUMBER, WORD = "Answer with just the number.", "Answer with just the word."

KNOWN = (
    ("How many days are in a week?", "7"),
    ("How many months are in a year?", "12"),
    ("How many hours are in a day?", "24"),
    ("How many legs does a spider have?", "8"),
    ("How many sides does a triangle have?", "3"),
    ("How many minutes are in an hour?", "60"),
    ("How many cents are in a dollar?", "100"),
    ("How many wheels does a bicycle have?", "2"),
    ("How many letters are in the English alphabet?", "26"),
    ("How many bones does an adult human have?", "206"),
    ("How many squares are on a chess board?", "64"),
    ("How many degrees does a full turn have?", "360"),
)
CAPITALS = (
    ("France", "Paris"),
    ("Japan", "Tokyo"),
    ("Egypt", "Cairo"),
    ("Canada", "Ottawa"),
    ("Turkey", "Ankara"),
    ("Kenya", "Nairobi"),
    ("Mongolia", "Ulaanbaatar"),
    ("Bhutan", "Thimphu"),
    ("Burkina Faso", "Ouagadougou"),
)
OPPOSITES = (
    ("hot", "cold"),
    ("early", "late"),
    ("empty", "full"),
    ("ancient", "modern"),
    ("expand", "contract"),
    ("scarce", "abundant"),
)
WORDS = ("cat", "table", "banana", "elephant", "university", "extraordinary")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ROMAN = ((100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"))


@dataclass(frozen=True, slots=True)
class Graded:
    """A question whose answer is known."""

    level: int
    form: str
    text: str
    answer: str


Made = tuple[str, int | str]
"""A question and its answer."""


def _number(order: random.Random, level: int) -> int:
    """One to four digits; two in the middle."""
    return order.randint(*((2, 9), (5, 19), (11, 99), (50, 500), (100, 999), (1000, 9999))[level])


def _sum(order: random.Random, level: int) -> Made:
    a, b = _number(order, level), _number(order, level)
    return f"What is {a} + {b}?", a + b


def _difference(order: random.Random, level: int) -> Made:
    a, b = _number(order, level), _number(order, level)
    return f"What is {a + b} - {a}?", b


def _product(order: random.Random, level: int) -> Made:
    a, b = _number(order, level), _number(order, max(0, level - 1))
    return f"What is {a} * {b}?", a * b


def _quotient(order: random.Random, level: int) -> Made:
    a, b = _number(order, level), _number(order, max(0, level - 2))
    return f"What is {a * b} divided by {b}?", a


def _remainder(order: random.Random, level: int) -> Made:
    a, b = 10 * _number(order, level) + 7, _number(order, level // 2)
    return f"What is the remainder when {a} is divided by {b}?", a % b


def _chain(order: random.Random, level: int) -> Made:
    terms = [order.randint(2, 9) * (1 + 4 * (level > 2)) for _ in range(level + 2)]
    return f"What is {' + '.join(map(str, terms))}?", sum(terms)


def _half(order: random.Random, level: int) -> Made:
    half = _number(order, level)
    return f"What is half of {2 * half}?", half


def _next(order: random.Random, level: int) -> Made:
    start, step = _number(order, level), order.randint(2, 3 + 4 * level)
    shown = ", ".join(str(start + step * i) for i in range(4))
    return f"What number comes next: {shown}?", start + 4 * step


def _apples(order: random.Random, level: int) -> Made:
    had, bags, each = _number(order, level), order.randint(2, 2 + level), order.randint(2, 9)
    more = f"buys {bags} bags with {each} apples each"
    return f"Tom has {had} apples and {more}. How many has he now?", had + bags * each


def _minutes(order: random.Random, level: int) -> Made:
    hours, minutes = order.randint(1, 2 + 3 * level), order.randint(1, 12 + 9 * level)
    return f"How many minutes are {hours} hours and {minutes} minutes?", 60 * hours + minutes


def _letters(order: random.Random, level: int) -> Made:
    return f"How many letters are in the word '{WORDS[level]}'?", len(WORDS[level])


def _day(order: random.Random, level: int) -> Made:
    today, later = order.randrange(7), (1, 2, 3, 5, 11, 40)[level]
    asked = f"Today is {DAYS[today]}. What day of the week is it in {later} days?"
    return asked, DAYS[(today + later) % 7]


def _roman(order: random.Random, level: int) -> Made:
    value = _number(order, min(level, 2)) + level
    left, numeral = value, ""
    for worth, sign in (*ROMAN, (1, "I")):
        numeral += sign * (left // worth)
        left %= worth
    return f"Which number is the Roman numeral {numeral}?", value


MADE: tuple[Callable[[random.Random, int], Made], ...] = (
    _sum,
    _difference,
    _product,
    _quotient,
    _remainder,
    _chain,
    _half,
    _next,
    _apples,
    _minutes,
    _letters,
    _day,
    _roman,
)


def questions() -> list[Graded]:
    """The whole bank, the same every time; no answer stands in its question."""
    order, found, seen = random.Random(0), list[Graded](), set[str]()
    for level in LEVELS:
        for make in MADE:
            tried = (make(order, level) for _ in range(TRIES))
            # A model that repeats the question must be wrong.
            new = ((t, a) for t, a in tried if str(a) not in t and t not in seen)
            text, answer = next(new, ("", 0))
            if not text:
                continue
            seen.add(text)
            asked = WORD if isinstance(answer, str) else NUMBER
            found.append(Graded(level, make.__name__[1:], f"{text} {asked}", str(answer)))
    known = [Graded(0, "known", f"{text} {NUMBER}", answer) for text, answer in KNOWN]
    known += [
        Graded(0, "capital", f"What is the capital of {country}? {WORD}", city)
        for country, city in CAPITALS
    ]
    known += [
        Graded(0, "opposite", f"What is the opposite of '{word}'? {WORD}", other)
        for word, other in OPPOSITES
    ]
    return found + known
