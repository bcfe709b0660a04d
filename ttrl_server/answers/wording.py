"""Converts numbers, times and dates in words to one form that all their spellings share."""

from __future__ import annotations

import re
from fractions import Fraction

from ttrl_server.answers.lexicon import MONTHS, PARTS, SCALES, SMALL, TENS

_MONTH = (
    r"(?P<month>jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec|january|february|march|april"
    r"|june|july|august|september|october|november|december)\.?"
)
_DAY, _YEAR = r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?", r"(?P<year>[0-9]{4})"

_TIME = re.compile(r"([0-9]{1,2})(?::([0-5][0-9]))?\s?([ap])\.?\s?m\.?")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-5][0-9])")
_DATES = (
    re.compile(rf"(?:[a-z]+day,? )?{_MONTH} {_DAY}(?:,? {_YEAR})?"),
    re.compile(rf"(?:[a-z]+day,? )?(?:the )?{_DAY}(?: of)? {_MONTH}(?:,? {_YEAR})?"),
)
_ISO = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_FIGURE = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?")
_BELOW_HUNDRED = SMALL | TENS


def moment(text: str) -> str | None:
    """``3:30 p.m.`` as ``15:30``, ``March 5th, 2021`` as ``2021-03-05``, from a text in lower case.
    None for any other text, also for 5/3/2021: the day depends on the country."""
    if time := _TIME.fullmatch(text) or _CLOCK.fullmatch(text):
        hour, half = int(time[1]), time[3] if time.re is _TIME else ""
        if hour > (12 if half else 23) or (half and hour == 0):
            return None
        if half:
            hour = hour % 12 + (12 if half == "p" else 0)
        return f"{hour:02d}:{time[2] or '00'}"
    if _ISO.fullmatch(text):
        return text
    date = _DATES[0].fullmatch(text) or _DATES[1].fullmatch(text)
    if date is None or not 1 <= int(date["day"]) <= 31:
        return None
    month = MONTHS.index(date["month"][:3]) + 1
    return f"{date['year'] or '----'}-{month:02d}-{int(date['day']):02d}"


def numeral(text: str) -> tuple[Fraction, str] | None:
    """A number in words, or with a word such as "million", and the words after it, which may make
    it a name: ``two thirds``, ``2.5 million people``, ``Seven Samurai``. None if the text does not
    begin with one, or is only a figure."""
    words = text.lower().replace(",", "").replace("-", " ").split()
    negative = bool(words) and words[0] in ("minus", "negative")
    words = words[negative:]
    if not words or len(words) > 14:
        return None
    value, used = _whole(words)
    if used == 0:
        return None
    rest = words[used:]
    first, second, third = [*rest, "", "", ""][:3]
    above = 1 if second in ("a", "an") else SMALL.get(second)
    if first == "and" and above and (below := _below(third)):
        value, rest = value + Fraction(above, below), rest[3:]
    elif first == "and" and len(rest) == 2 and second in PARTS:
        value, rest = value + Fraction(1, PARTS[second]), []
    elif (below := _below(first)) and (value == 1 or first.endswith("s")):
        value, rest = value / below, rest[1:]
        if rest[:1] == ["of"]:
            return None
    elif used == 1 and _FIGURE.fullmatch(words[0]):
        return None
    return (-value if negative else value), " ".join(rest)


def _whole(words: list[str]) -> tuple[Fraction, int]:
    """The number at the start of the words, and how many words belong to it."""
    total = current = Fraction(0)
    used, padded = 0, ["", *words, ""]
    for place, word in enumerate(words):
        before, after = padded[place], padded[place + 2]
        if place == 0 and _FIGURE.fullmatch(word):
            current = Fraction(word)
        elif words == ["half"]:
            current = Fraction(1, 2)
        elif place == 0 and word in ("a", "an") and (after in SCALES or _below(after)):
            current = Fraction(1)
        elif word in _BELOW_HUNDRED and before not in SMALL:
            current += _BELOW_HUNDRED[word]
        elif word in SCALES:
            current = (current if place else Fraction(1)) * SCALES[word]
            if SCALES[word] >= 1000:
                total, current = total + current, Fraction(0)
        elif word == "and" and before in SCALES and after in _BELOW_HUNDRED:
            continue
        else:
            break
        used = place + 1
    return total + current, used


def _below(word: str) -> int | None:
    return 2 if word == "halves" else PARTS.get(word) or PARTS.get(word.removesuffix("s"))
