r"""Is an answer right? Compared are spelling and rational value; ``answers`` finds what is compared.

Model text is data: it is rewritten by pattern, never evaluated, so ``x(x+1)`` is not ``x^2+x`` here. Where notations
contradict each other, the reading is the one most often meant among the answers to one question:

- signs of percent, degree and currency are dropped, and so are units: ``50\%`` is 50, not 1/2
- ``1,234`` is one number, ``1, 234`` and ``(1,234)`` are two; only a set, in braces, has no order
- ``2\frac14`` is the mixed number 9/4; ``x^10`` is a tenth power; ``x = 5`` is 5, but not ``y = 5``
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from ttrl_client.notation import respelt

_LONGEST = 400
"""Characters. A longer answer is compared as it stands, so that nothing here costs time or makes a large number."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NAME = re.compile(r"(\\?[a-z][a-z ]*(?:_\(\w+\))?(?:\(\w+\))?(?:[+-][a-z]+)*)[=∈](?=.)")
_VARIABLES = re.compile(r"(?:\\[a-z]+|[a-z])(?:_\(\w+\))?(?:[+-][a-z])*")
_ARITHMETIC = re.compile(r"[\d.+\-*/^()√π=]*")

_MEASURED = re.compile(r"([^a-z\\]*[\dπ)])( ?)([a-z][a-z ./*]*)")
_UNIT_POWER = re.compile(r"(?<=[a-z]) ?\^\(-?\d\)")
_SHORT_UNITS = _words("mm cm dm km mi ft in yd m mg g kg lb oz ml l s h hr c f of")
_NO_UNITS = _words(
    "plus minus times over mod choose squared cubed factorial more less dozen dozens hundred hundreds thousand"
    " thousands million millions billion billions trillion trillions half halves third thirds quarter quarters"
    " fourth fourths fifth fifths sixth sixths seventh sevenths eighth eighths ninth ninths tenth tenths eleventh"
    " elevenths twelfth twelfths hundredth hundredths thousandth thousandths sin cos tan cot sec csc log exp north"
    " south east west"
)
"""Words after a number that change what it says."""

_VERDICTS = {"true": "yes", "false": "no"}
_SPACE = re.compile(r"(\d (?=[\d.])|\\[a-z]+ (?=[a-z]))| ")
_TIMES = re.compile(r"\*(?=[a-z\\(√π∞])")
_LONE = re.compile(r"\(([^()\[\],;=∈]*)\)|[⦃{]([^⦃⦄{},;=∈]*)[⦄}]")
_SET = re.compile(r"[⦃{]([^⦃⦄{}]*)[⦄}]")
_ITEM = re.compile(r",((?:[^,()\[\]]|[(\[][^()\[\]]*[)\]])+)")
_DELIMITER = re.compile(r"([,;&=<>≤≥∪()\[\]⦃⦄⟦⟧])")

_DECIMAL = r"(?:\d+(?:\.\d*)?|\.\d+)"
_RATIO = re.compile(rf"(-?)({_DECIMAL})(?:/(-?{_DECIMAL}))?")
_MIXED = re.compile(r"(-?)(\d+) (\d+)/(\d+)")
_POWER = re.compile(rf"(-?)(?:({_DECIMAL})\*)?([1-9]\d{{0,2}})\^\((-?\d{{1,2}})\)")


def equivalent(a: str | None, b: str | None) -> bool:
    """Whether two answers say the same, of the same variable if both name one; no answer is equal to nothing."""
    if a is None or b is None:
        return False
    (named, value), (other, same) = _read(a), _read(b)
    return value == same and (named == other or not (named and other))


def canonical(answer: str) -> Fraction | str:
    """The form in which equal answers are equal: an exact Fraction, else text. The ``x`` of ``x = 5`` is left out."""
    return _read(answer)[1]


@lru_cache(maxsize=4096)
def _read(answer: str) -> tuple[str, Fraction | str]:
    """The variables an answer names, or "", and what it says of them."""
    text = answer.strip().casefold()
    if len(text) > _LONGEST:
        return "", "".join(text.split())
    named, text = _named(respelt(_VERDICTS.get(text.rstrip("."), text)))
    return named, _value(_without_unit(text))


def _named(text: str) -> tuple[str, str]:
    """``x``, ``5`` of ``x=5``; of ``2*3=6`` only the result; an equation whose sides both say something stays whole."""
    named = ""
    while found := _NAME.match(text):
        named = named or (found[1] if _VARIABLES.fullmatch(found[1]) else "")
        text = text[found.end() :].replace("," + found[0], ",")
    left, _, right = text.rpartition("=")
    return named, right if _ARITHMETIC.fullmatch(left) and _number(right) is not None else text


def _without_unit(text: str) -> str:
    """``5`` of ``5 apples``, ``5cm`` and ``5 km/h``; ``5x``, ``5 million`` and ``3 pm`` stay whole."""
    found = _MEASURED.fullmatch(_UNIT_POWER.sub("", text))
    if found is None:
        return text
    first, *others = re.split(r"[ ./*]+", found[3].rstrip(" ."))
    glued = not found[2] and not found[1].endswith(")")
    known = first in _SHORT_UNITS and len(first) > 1 if glued else _is_unit(first)
    return text[: found.end(1)] if known and all(map(_is_unit, others)) else text


def _is_unit(word: str) -> bool:
    return word in _SHORT_UNITS or (len(word) > 2 and word not in _NO_UNITS)


def _value(text: str) -> Fraction | str:
    text = _TIMES.sub("", _SPACE.sub(r"\1", text)).lstrip("+")
    if lone := _LONE.fullmatch(text):
        text = lone[lone.lastindex or 0]
    if (number := _number(text)) is not None:
        return number
    pieces = ((piece, _number(piece)) for piece in _DELIMITER.split(text))
    text = "".join(piece if number is None else str(number) for piece, number in pieces)
    if (braces := _SET.fullmatch(text)) and re.fullmatch(f"(?:{_ITEM.pattern})+", "," + braces[1]):
        text = f"⦃{','.join(sorted(_ITEM.findall(',' + braces[1])))}⦄"
    return text.replace(",", ", ")


def _number(text: str) -> Fraction | None:
    """The exact value of a decimal, ratio, mixed number or small power; None of all else."""
    if (found := _RATIO.fullmatch(text)) and (below := Fraction(found[3] or 1)):
        size = Fraction(found[2]) / below
    elif (found := _MIXED.fullmatch(text)) and int(found[3]) < int(found[4]):
        size = int(found[2]) + Fraction(int(found[3]), int(found[4]))
    elif found := _POWER.fullmatch(text):
        size = Fraction(found[2] or 1) * Fraction(found[3]) ** int(found[4])
    else:
        return None
    return -size if found[1] == "-" else size
