"""Keys of answers without further parts: a value, its unit or what is counted, or plain words."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from ttrl_server.answers import values
from ttrl_server.answers.asked import Asked, stem
from ttrl_server.answers.lexicon import ARTICLES, CHANGES_VALUE, DIRECTIONS, SAYS_NOTHING
from ttrl_server.answers.spelling import unquoted
from ttrl_server.answers.units import Unit, unit
from ttrl_server.answers.wording import numeral


class Key(NamedTuple):
    """The two texts by which answers are compared."""

    full: str
    """The value with its unit, in base units."""
    bare: str
    """The value as written, without its unit."""


def alone(text: str) -> Key:
    """The key of an answer that has no unit."""
    return Key(text, text)


def spelt(text: str, asked: Asked) -> Key:
    """The key of plain words, without articles, hyphens and marks. Case counts only where it has a
    meaning: in symbols, and in one or two letters."""
    plain = _plain(text)
    short = asked.known and not asked.choices and len(plain) <= 2 and plain.isalpha()
    plain = plain if asked.cased or short else plain.casefold()
    words = re.sub(r"(?<=[^\W\d_])-(?=[^\W\d_])", " ", plain).strip(" .,;:!?\"'").split()
    while len(words) > 1 and words[0].lower() in ARTICLES:
        del words[0]
    return alone(" ".join(words))


_SIGNS = re.compile(
    r"[\d√\\+*/!|=^_∞⌊⌈]|(?<=\S)\s?-|-\s?[A-Za-z]|(?<![A-Za-z])[A-Za-z](?![A-Za-z])"
)
_RANGE = re.compile(r"\d+(?:\.\d+)?(?:--?\d+(?:\.\d+)?)+")
_DATE_IN_FIGURES = re.compile(r"\d{1,4}/\d{1,2}/\d{2,4}")


def valued(text: str, asked: Asked) -> Key | None:
    """The key of mathematics is its value; of ranges, scores (``2-1``) and dates, their text."""
    if _RANGE.fullmatch(text) or _DATE_IN_FIGURES.fullmatch(text):
        return alone(text.replace("--", "-"))
    letters = text.isascii() and text.isalpha()
    if not _SIGNS.search(text) or (letters and (len(text) == 2 or asked.cased)):
        return None
    maybe_a_choice = not asked.known and len(text) == 1
    value = values.expression(text.lower() if maybe_a_choice else text)
    return None if value is None else alone(value)


def in_words(text: str, asked: Asked) -> Key | None:
    """The key of a number in words: ``two thirds``, ``5 million people``."""
    said = numeral(unquoted(text))
    if said is None:
        return None
    value, rest = said
    known = text[:1].isdigit() or unit(rest) or {stem(w) for w in rest.split()} <= asked.stems
    if not known:
        return None  # "Seven Samurai" is a name, not 7
    return _labelled(value, rest, asked) if rest else alone(str(value))


# ---------------------------------------------------------------- with something after it

_PLAIN_NUMBER = re.compile(
    r"[+-]?\s?(?:\d+(?:\.\d+)?\s?\\frac\s?\{\d+\}\{\d+\}|\\frac\s?\{-?\d+\}\{\d+\}|\d+ \d+/\d+"
    r"|(?:\d+(?:\.\d*)?|\.\d+)"
    r"(?:[eE][+-]?\d{1,3}(?![A-Za-z0-9])|\s?\*\s?10\s?\^\s?(?:\{-?\d+\}|-?\d+))?"
    r"(?:/\d+(?:\.\d+)?)?)"
)
_UNIT_STARTS = re.compile(
    r"(?<=[\s)}\d])(?=‹)|(?<=[\s)}])(?=[A-Za-z])|(?<=[\d)}])(?=[A-Za-z%°])|(?=[%°€£¥])"
)
_BASED = re.compile(
    r"[({]?(\d[0-9A-Fa-f]*)[)}]?\s?(?:_\s?[({]?\s?‹?(\w+)›?\s?[)}]?|\s(?:in\s)?base[- ]?(\w+))"
)
_CHOOSE = re.compile(r"[A-Z]\d")
"""In 6C2, C means "choose", not coulombs."""
_SURE = frozenset({"cm", "mm", "km", "in", "ft"})
"""Units that are never read as two variables side by side after a formula with letters."""


def measured(text: str, asked: Asked) -> Key | None:
    """The key of a value with a unit, a base or other words after it."""
    if based := _BASED.fullmatch(text):
        # Numbers with and without a base can be equal only if the question asks for a base.
        digits, base = based[1], based[2] or based[3]
        said = numeral(base)
        written = f"{digits.upper()} base {said[0] if said else base}"
        return Key(written, str(values.number(digits))) if asked.base else alone(written)
    number = _PLAIN_NUMBER.match(text)
    if number and text[number.end() :].strip():
        size = values.number(number[0].replace("+", ""))
        if size is not None and (found := _number_and(size, text[number.end() :], asked)):
            return found
    for start in _UNIT_STARTS.finditer(text):
        before, after = text[: start.start()].strip(), text[start.start() :]
        known = unit(_plain(after)) if before and not _CHOOSE.match(after) else None
        letter, spaced = _plain(after).strip(), text[start.start() - 1] == " "
        if len(letter) == 1 and letter.isalpha():
            # Not a unit without a space before it, nor if the question uses it as a name.
            variable = not spaced or letter in asked.names
        else:  # as in 2πrh
            letters = re.search(r"[A-Za-z]", before) and re.fullmatch(r"[A-Za-z]{1,2}", after)
            variable = letters is not None and after not in _SURE
        if known is None or (variable and not after.strip().startswith("‹")):
            continue
        value = values.expression(before)
        if value is not None and (":" not in value or not re.search(r"[A-Za-z]", _plain(after))):
            return _with_unit(value, values.number(before), known, asked)
    return None


def money(amount: Key, sign: str, asked: Asked) -> Key:
    """The key of an amount with its currency sign before it."""
    known = unit(sign)
    if known is None or amount.full != amount.bare:
        return amount
    return _with_unit(amount.bare, values.number(amount.bare), known, asked)


def _plain(text: str) -> str:
    return unquoted(text).replace("{", "").replace("}", "")


def _number_and(size: Fraction, rest: str, asked: Asked) -> Key | None:
    """The key of a plain number and what follows it: a unit, or words for what is counted."""
    spaced, words = rest[:1] == " ", _plain(rest)
    letter = words.strip().rstrip(".")
    named = len(letter) == 1 and letter in asked.names and not rest.strip().startswith("‹")
    if _CHOOSE.match(rest):
        return None
    if (known := unit(words, spaced=spaced)) and not named:
        return _with_unit(str(size), size, known, asked)
    if len(letter) == 1 and letter.isascii():
        return None
    # Without a space: only words set as text, East Asian words, and forms such as 5-pound.
    if spaced or rest[:1] in "‹%°" or re.match(r"[\u3040-\ud7af]|[-–][a-z]{3,}", rest):
        return _labelled(size, words, asked)
    return None


def _labelled(size: Fraction, words: str, asked: Asked) -> Key | None:
    """The key of a number with words after it. The key keeps words that the question lacks."""
    words = re.sub(r"(?:\A|\s)\([A-Za-z ,.'-]*\)", " ", words)
    listed = re.findall(r"[^\W\d_]+", words)
    if re.search(r"(?:\A|\s)[-–]|[-–]\s|[\d=+*/^\\<>(){}|]", words) or len(listed) > 8:
        return None
    says = any(len(word) > 2 or not word.isascii() for word in listed)
    if not says or any(word.lower() in CHANGES_VALUE for word in listed):
        return None
    each, value, found = words.strip(" .,!").split(), str(size), alone(str(size))
    for end in range(len(each), 0, -1):  # km north
        if known := unit(" ".join(each[:end])):
            each, found = each[end:], _with_unit(value, size, known, asked)
            break
    stems = [stem(word) for word in re.findall(r"[^\W\d_]+", " ".join(each).lower())]
    left_out = SAYS_NOTHING | (asked.stems - DIRECTIONS)
    beside = " ".join(word for word in stems if word not in left_out)
    return Key(f"{found.full} {beside}", value) if beside else found


def _with_unit(value: str, size: Fraction | None, known: Unit, asked: Asked) -> Key:
    if known.dimension == "unit":
        return alone(value)
    if known.dimension == "percent":
        if asked.percent or not asked.known:
            return Key(f"{value} %", value)
        return alone(str(size / 100) if size is not None else f"{value}/100")
    scaled = f"{value}×{known.scale}" if size is None else size * known.scale
    return Key(f"{scaled} {known.dimension}", value)
