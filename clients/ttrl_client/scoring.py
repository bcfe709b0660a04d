"""Is an answer right? Compared by pattern alone; ``answers`` finds what is compared.

Model text is data: it is matched, never evaluated.
"""

from __future__ import annotations

import re
from fractions import Fraction

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_PLAIN = rf"(?:{_DIGITS}(?:\.\d+)?|\.\d+)"
_FRACTION = re.compile(r"(-?)\\frac(?:\{(-?\d+)\}|(\d))(?:\{(-?\d+)\}|(\d))")
_RATIO = re.compile(r"(-?(?:\d+(?:\.\d+)?|\.\d+))(?:/(\d+))?")
_WRAPPER = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\{([^{}]*)\}")
_NOISE = re.compile(r"\\left|\\right|\\[!,;: ]|\\?[$%]|\\[()\[\]]|\^\\circ|\^\{\\circ\}|\*\*|\s+|(?<=\d)\{,\}(?=\d{3})")
_MOST_DIGITS = 200
"""Longer digit strings are compared as text: exact arithmetic on them would cost time for nothing."""


def canonical(answer: str) -> Fraction | str:
    """The form in which equal answers are equal: an exact Fraction, else text without markup, space and case."""
    text = _stripped(answer)
    return number if (number := _as_fraction(text)) is not None else text.casefold()


def equivalent(a: str | None, b: str | None) -> bool:
    """Whether two answers say the same; no answer is equal to nothing."""
    return a is not None and b is not None and canonical(a) == canonical(b)


def _stripped(answer: str) -> str:
    text = _WRAPPER.sub(r"\1", answer)
    text = _NOISE.sub("", text).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    return text.rstrip(".")


def _as_fraction(text: str) -> Fraction | None:
    if len(text) > _MOST_DIGITS:
        return None
    if latex := _FRACTION.fullmatch(text):
        sign, above, above_digit, below, below_digit = latex.groups()
        return _ratio(above or above_digit, below or below_digit, -1 if sign else 1)
    if re.fullmatch(rf"-?{_PLAIN}(?:/{_DIGITS})?", text):
        text = text.replace(",", "")
    plain = _RATIO.fullmatch(text)
    return _ratio(plain.group(1), plain.group(2) or "1", 1) if plain else None


def _ratio(above: str, below: str, sign: int) -> Fraction | None:
    return sign * Fraction(above) / int(below) if int(below) else None
