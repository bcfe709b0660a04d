r"""What an expression is worth, as a key that equal expressions share. Runs in worker processes only (``pool.py``).

An expression is parsed by latex2sympy2-extended, the grammar that math-verify reads answers with, into a tree that
nothing has evaluated yet; strings are never evaluated. Its key is the exact rational where it is one, otherwise its
value to 15 digits: at two fixed points where it has variables, so that ``x(x+1)`` and ``x^2+x`` meet (two different
expressions that agree at both points to 15 digits have not been seen). An equation ``a = b`` is what it says up to a
factor: (a − b) at the one point over (a − b) at the other.

Why not math-verify's own ``verify(a, b)``: it is not an equivalence relation (its outcome may depend on which of the
two is the reference, and on 6-digit rounding), and it looks at pairs, of which 64 answers have 2016.
"""

from __future__ import annotations

import hashlib
import math
import re
from fractions import Fraction
from typing import Any

import sympy
import sympy.parsing.sympy_parser
from latex2sympy2_extended import latex2sympy

from ttrl_server.voting.structure import latex

DIGITS = 15
_WORKING_DIGITS = 50
_LARGEST = 10_000
"""Decimal digits; larger powers and factorials are compared as they are spelt."""


class Undecidable(Exception):
    """The expression has no value that could be compared."""


def _read_number(text: str, **_options: Any) -> Any:
    """What sympy's string parser is asked for here: a number, exactly. Anything else is refused, not evaluated."""
    if not _NUMBER.fullmatch(text.strip()):
        raise Undecidable(f"{text[:60]!r} is no number, and strings are not evaluated here")
    value = Fraction(text.strip())
    return sympy.Rational(value.numerator, value.denominator)


_NUMBER = re.compile(r"[0-9]{1,300}(?:\.[0-9]{0,300})?|\.[0-9]{1,300}")
# latex2sympy makes its numbers with sympy.Number(text), which would go to Python's eval.
sympy.parsing.sympy_parser.parse_expr = _read_number


def key(text: str) -> str | None:
    """The key of one canonical expression; None when it can only be compared as text."""
    try:
        tree = latex2sympy(latex(text))
        if isinstance(tree, sympy.Eq):
            return _equation(tree)
        return _expression(tree) if isinstance(tree, sympy.Expr) else None
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception:  # whatever a parser and an algebra system raise on what a model wrote
        return None


def _expression(tree: Any) -> str:
    tree = _plain(tree)
    variables = sorted(tree.free_symbols, key=str)
    if not variables:
        exact = tree.doit()
        if exact.is_Rational:
            return str(Fraction(int(exact.p), int(exact.q)))
        return "i" if exact == sympy.I else _number(exact)
    values = [_at(tree, point) for point in (0, 1)]
    if len(variables) == 1 and all(_close(value, _place(variables[0], i)) for i, value in enumerate(values)):
        return str(variables[0])
    names = ",".join(map(str, variables))
    if _close(*values) and all(_close(values[0], _at(tree, point)) for point in (2, 3)):
        return _number(values[0])  # the variables cancel out
    return f"{names}:{_shown(values[0])};{_shown(values[1])}"


def _equation(tree: Any) -> str:
    difference = _plain(tree.lhs) - _plain(tree.rhs)
    first, second = (_at(difference, point) for point in (0, 1))
    if abs(second) < 1e-30:
        return "0=0" if abs(first) < 1e-30 else "eq:1/0"
    return f"eq:{_shown(first / second)}"


def _plain(tree: Any) -> Any:
    """i and e as what they stand for; nothing too large to handle."""
    names = {sympy.Symbol("i"): sympy.I, sympy.Symbol("e"): sympy.E}
    _check_size(tree)
    return tree.xreplace(
        {symbol: names[sympy.Symbol(symbol.name)] for symbol in tree.free_symbols if symbol.name in "ie"}
    )


def _check_size(tree: Any) -> float:
    """An estimate of log10 of the magnitude; raises Undecidable before anything large is computed."""
    below = [_check_size(part) for part in tree.args]
    size = 1.0
    if tree.is_Rational:
        size = _log10(int(tree.p)) - _log10(int(tree.q))
    elif isinstance(tree, sympy.Pow):
        size = abs(below[0]) * 10 ** min(below[1], 300.0)
    elif isinstance(tree, (sympy.factorial, sympy.factorial2, sympy.gamma, sympy.exp)):
        size = 10 ** min(below[0], 300.0) * max(below[0], 1)
    elif isinstance(tree, sympy.Mul):
        size = sum(below)
    elif below:
        size = max(below) + 1
    if size > _LARGEST:
        raise Undecidable("too large")
    return size


def _log10(whole: int) -> float:
    return math.log10(abs(whole)) if whole else 0.0


def _place(symbol: Any, point: int) -> Any:
    """A fixed number for a variable at a point: above 1 at even points, below −1 at odd ones."""
    digest = hashlib.sha256(f"{symbol}{point}".encode()).hexdigest()
    value = sympy.Rational(int(digest[:32], 16), 16**32) + 1
    return -value if point % 2 else value


def _at(tree: Any, point: int) -> Any:
    return _finite(
        tree.xreplace({symbol: _place(symbol, point) for symbol in tree.free_symbols}).evalf(_WORKING_DIGITS)
    )


def _number(exact: Any) -> str:
    value = _finite(exact.evalf(_WORKING_DIGITS))
    real, imaginary = value.as_real_imag()
    if abs(imaginary) < sympy.Float("1e-30", 20) * (1 + abs(real)):
        near = Fraction(str(real)).limit_denominator(10**6)
        if abs(Fraction(str(real)) - near) < Fraction(1, 10**25) * (1 + abs(near)):
            return str(near)
    return "e" if _close(value, sympy.E) else _shown(value)  # no worker is asked about ``e`` alone


def _finite(value: Any) -> Any:
    if not value.is_number or value.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo) or value.free_symbols:
        raise Undecidable("no finite value")
    if not all(part.is_Number for part in value.as_real_imag()):
        raise Undecidable("not a number")
    return value


def _close(a: Any, b: Any) -> bool:
    return bool(abs(sympy.N(a - b, 30)) < sympy.Float("1e-25", 20) * (1 + abs(sympy.N(b, 30))))


def _shown(value: Any) -> str:
    """Real and imaginary part to 15 significant digits; a part that is rounding alone is left out."""
    real, imaginary = value.as_real_imag()
    scale = abs(real) + abs(imaginary)
    parts = [
        str(sympy.N(part, DIGITS)) if abs(part) > scale * sympy.Float("1e-20", 20) else "0"
        for part in (real, imaginary)
    ]
    return parts[0] if parts[1] == "0" else "+i".join(parts)
