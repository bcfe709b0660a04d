"""Whether the plain equations of a sample check: 7 * 8 = 56 does, 7 * 8 = 54 does not.

For verified votes (T3RL, arXiv 2603.02203): a sample whose own arithmetic is wrong is a bad witness
for its answer. Only numbers with + − · ÷ and one number behind the sign are checked, exactly;
everything else says nothing.
"""

from __future__ import annotations

import re
from fractions import Fraction

from ttrl_server.answers.asked import TAIL

MOST = 50
"""Equations of a sample that are checked, from its end."""
_NUMBER = r"\d{1,3}(?:,\d{3}){1,6}(?!\d)|\d{1,18}(?:\.\d{1,9})?"
_SIGN = r"\s{0,3}(?:\\times|\\cdot|\\div|[-+*×·÷/−])\s{0,3}"  # the minus sign
_EQUATION = re.compile(
    rf"(?<![\w.,^/*×·÷+−(-])(?<![*×·÷+/−-]\s)"
    rf"((?:{_NUMBER})(?:{_SIGN}(?:{_NUMBER})){{1,12}})"
    rf"\s{{0,3}}=\s{{0,3}}\$?([-−]?(?:{_NUMBER}))(?![\w^(]|[.,]\d|{_SIGN}\w)"
)
_PARTS = re.compile(rf"({_NUMBER})|(\\times|\\cdot|\\div|[-+*×·÷/−])")
_PRODUCT, _QUOTIENT = ("*", "×", "·", "\\times", "\\cdot"), ("/", "÷", "\\div")


def check(text: str) -> bool | None:
    """False when an equation in the text is wrong, True when there are some and all are right,
    None when there is none. A result may be rounded to the digits it has."""
    found = _EQUATION.findall(text[-TAIL:])[-MOST:]
    checked = [_holds(left, right) for left, right in found]
    return all(checked) if checked else None


def _holds(left: str, right: str) -> bool:
    given = right.replace("−", "-").replace(",", "")
    digits = len(given.partition(".")[2])
    try:
        return abs(_value(left) - Fraction(given)) <= Fraction(1, 2 * 10**digits) * (digits > 0)
    except ZeroDivisionError:
        return False


def _value(text: str) -> Fraction:
    """Products and quotients first, from left to right."""
    total, term, sign, operation = Fraction(0), Fraction(0), 1, ""
    for number, operator in _PARTS.findall(text):
        if operator:
            operation = operator
            continue
        value = Fraction(number.replace(",", ""))
        if operation in _PRODUCT:
            term *= value
        elif operation in _QUOTIENT:
            term /= value
        else:
            total += sign * term
            sign, term = (1 if operation in ("", "+") else -1), value
    return total + sign * term
