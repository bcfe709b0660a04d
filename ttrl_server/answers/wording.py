"""Converts numbers, times and dates in words to one form that all their spellings share."""

from __future__ import annotations

import re
from fractions import Fraction

from ttrl_server.answers.lexicon import MONTHS, PARTS, SCALES, SMALL, TENS

_MONTH = (
    r"(jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec|january|february|march|april|june|july"
    r"|august|september|october|november|december)\.?"
)
_DAY, _YEAR = r"([0-9]{1,2})(?:st|nd|rd|th)?", r"([0-9]{4})"

_TIME = re.compile(r"([0-9]{1,2})(?::([0-5][0-9]))?\s?([ap])\.?\s?m\.?")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-5][0-9])")
_DATES = (
    re.compile(rf"(?:[a-z]+day,? )?{_MONTH} {_DAY}(?:,? {_YEAR})?"),
    re.compile(rf"(?:[a-z]+day,? )?(?:the )?{_DAY}(?: of)? {_MONTH}(?:,? {_YEAR})?"),
)
_ISO = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_FIGURE = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?")
_MINUS = frozenset({"minus", "negative"})


def moment(text: str) -> str | None:
    """``3:30 p.m.`` as ``15:30``, ``March 5th, 2021`` as ``2021-03-05``; None for any other text.

    ``text`` is in lower case. A date such as 5/3/2021 gives None: it means different days in
    different countries.
    """
    if time := _TIME.fullmatch(text) or _CLOCK.fullmatch(text):
        hour, half = int(time[1]), time[3] if time.re is _TIME else ""
        if hour > (12 if half else 23) or (half and hour == 0):
            return None
        if half:
            hour = hour % 12 + (12 if half == "p" else 0)
        return f"{hour:02d}:{time[2] or '00'}"
    if _ISO.fullmatch(text):
        return text
    if (date := _DATES[0].fullmatch(text)) and 1 <= int(date[2]) <= 31:
        return _iso(date[3], date[1], date[2])
    if (date := _DATES[1].fullmatch(text)) and 1 <= int(date[1]) <= 31:
        return _iso(date[3], date[2], date[1])
    return None


def _iso(year: str | None, month: str, day: str) -> str:
    return f"{year or '----'}-{MONTHS.index(month[:3]) + 1:02d}-{int(day):02d}"


def numeral(text: str) -> tuple[Fraction, str] | None:
    """A number in words, or with a word such as "million", and the words after the number: ``two
    thirds``, ``one hundred and five``, ``2.5 million people``. None if the text does not begin with
    one, or is only a figure.

    The caller decides whether other words after the number make it a name (``Seven Samurai``).
    """
    words = text.lower().replace(",", "").replace("-", " ").split()
    negative = bool(words) and words[0] in _MINUS
    words = words[negative:]
    if not words or len(words) > 14:
        return None
    figures = _FIGURE.fullmatch(words[0]) is not None
    value, used = _whole(words)
    if used == 0:
        return None
    rest = words[used:]
    if (
        len(rest) >= 3
        and rest[0] == "and"
        and (above := 1 if rest[1] in ("a", "an") else SMALL.get(rest[1]))
        and (below := _below(rest[2]))
    ):
        value, rest = value + Fraction(above, below), rest[3:]
    elif rest and rest[0] == "and" and len(rest) == 2 and rest[1] in PARTS:
        value, rest = value + Fraction(1, PARTS[rest[1]]), []
    elif (
        rest
        and (below := _below(rest[0]))
        and (value == 1 or rest[0].endswith("s") or rest[0] == "halves")
    ):
        value, rest = value / below, rest[1:]
        if rest[:1] == ["of"]:
            return None
    elif figures and used == 1:
        return None
    return (-value if negative else value), " ".join(rest)


def _whole(words: list[str]) -> tuple[Fraction, int]:
    """The number at the start of the words, and how many words belong to it."""
    total = current = Fraction(0)
    used, seen = 0, False
    for place, word in enumerate(words):
        if _FIGURE.fullmatch(word) and not seen:
            current = Fraction(word)
        elif word == "half" and place == 0 and len(words) == 1:
            current = Fraction(1, 2)
        elif (
            word in ("a", "an")
            and place == 0
            and len(words) > 1
            and (words[1] in SCALES or _below(words[1]))
        ):
            current = Fraction(1)
        elif word in SMALL or word in TENS:
            if seen and words[place - 1] in SMALL:
                break
            current += SMALL.get(word, TENS.get(word, 0))
        elif word in SCALES and (seen or place == 0):
            scale = SCALES[word]
            current = (current if seen else Fraction(1)) * scale
            if scale >= 1000:
                total, current = total + current, Fraction(0)
        elif (
            word == "and"
            and seen
            and place + 1 < len(words)
            and words[place - 1] in SCALES
            and (words[place + 1] in SMALL or words[place + 1] in TENS)
        ):
            continue
        else:
            break
        seen, used = True, place + 1
    return total + current, used


def _below(word: str) -> int | None:
    return 2 if word == "halves" else PARTS.get(word) or PARTS.get(word.removesuffix("s"))
