"""The opposite of a question: which is larger, which is smaller?

A model that does not read what is compared gives both the same answer. So an answer that stands in
its question has to lose the opposite one before it is taught (``guard.opposite``).
"""

from __future__ import annotations

import re

PAIRS = (
    "larger smaller, bigger smaller, greater less, greater lesser, higher lower, longer shorter, "
    "taller shorter, older younger, newer older, heavier lighter, faster slower, warmer cooler, "
    "hotter colder, earlier later, nearer farther, closer farther, richer poorer, stronger weaker, "
    "deeper shallower, wider narrower, cheaper dearer, "
    "largest smallest, biggest smallest, greatest least, highest lowest, longest shortest, "
    "tallest shortest, oldest youngest, newest oldest, heaviest lightest, fastest slowest, warmest "
    "coolest, hottest coldest, earliest latest, nearest farthest, closest farthest, richest "
    "poorest, strongest weakest, deepest shallowest, widest narrowest, cheapest dearest, "
    "maximum minimum, max min"
)
"""Words that compare. Not among them: what often does something else (first, most, best, right)."""
TAIL = 2_000
"""Characters from the end of a question that are looked at."""


def _table() -> dict[str, str]:
    """The opposite of each word; the first pair that has the word decides."""
    found: dict[str, str] = {}
    for pair in PAIRS.split(", "):
        one, other = pair.split()
        found.setdefault(one, other)
        found.setdefault(other, one)
    return found


OPPOSITE = _table()
_WORD = re.compile(rf"(?i)(?<!\w)(?<!\bat )({'|'.join(sorted(OPPOSITE, key=len)[::-1])})(?!\w)")
_OFFERS = re.compile(r"(?i)\bor\b|\d\D+\d|\n\W*[A-D]\W")
"""Several things to choose from: "A or B", two numbers, listed choices."""


def opposite(question: str | None) -> str | None:
    """The question that asks for the opposite; None where no one word compares what is offered."""
    before, text = (question or "")[:-TAIL], (question or "")[-TAIL:]
    words = {found.group().casefold() for found in _WORD.finditer(text)}
    if len(words) != 1 or not _OFFERS.search(text):
        return None

    def turned(found: re.Match[str]) -> str:
        word = OPPOSITE[found.group().casefold()]
        return word.capitalize() if found.group()[:1].isupper() else word

    return before + _WORD.sub(turned, text)
