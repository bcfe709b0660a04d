"""The value of an expression, as a key that equal expressions share.

The key is an exact rational if the value is one, else the value to 15 digits of 50. With variables,
the key is the values at fixed points, so ``x(x+1)`` and ``x^2+x`` have the same key. First all
variables are positive, then one after another is negative: this separates ``|x|`` from ``x``.
Values that are not real there (``ln x + ln y``, although ``ln xy`` is real) are left out. Equations
that differ by a factor have the same key.

An expression has at most 400 characters, and every operation checks the size of its result first,
so no separate process with a time limit is needed.
"""

from __future__ import annotations

import hashlib
import math
import operator
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any

import mpmath

from ttrl_server.answers.expressions import Tree, names, parse

DIGITS = 15
_mp = mpmath.MPContext()
_mp.dps = 50
_alone = threading.Lock()
"""mpmath changes its own precision while it computes, so only one thread may use it at a time."""
_LARGEST = 10_000
"""Most decimal digits of a computed number; expressions above it are compared as text."""
_MOST_NAMES = 8

Value = Any
"""Fraction, mpf or mpc."""
_NO_VALUE = (ArithmeticError, ValueError, TypeError, LookupError, RecursionError)
"""What ``parse``, the operations here and mpmath raise for an expression without a value."""


class Undecidable(ValueError):
    """The expression has no value that can be compared."""


@lru_cache(maxsize=16_384)
def expression(text: str) -> str | None:
    """The key of an expression; None when it can only be compared as text. Never raises."""
    try:
        tree = parse(text)
        variables = sorted(names(tree))
        with _alone:
            if not variables:
                return _shown(_value(tree, {}))
            values, below = _at_points(tree, variables), _below_zero(tree, variables)
            first = _real(values[0])
            near = 1e-30 * (1 + abs(first))
            if all(abs(_real(value) - first) < near for value in values + below):
                return _shown(values[0])  # the variables cancel out
            positive, negative = ";".join(map(_shown, values)), ";".join(map(_shown, below))
            return f"{','.join(variables)}:{positive}|{negative}"
    except _NO_VALUE:
        return None


@lru_cache(maxsize=4_096)
def equation(left: str, right: str) -> str | None:
    """The key of ``left = right`` with variables: the ratios of left − right at the points; None
    when it can only be compared as text."""
    try:
        tree: Tree = ("-", parse(left), parse(right))
        if not (variables := sorted(names(tree))):
            return None
        with _alone:
            first, *others = _at_points(tree, variables)
            if _is_zero(first):
                return None  # true for every value, like 0 = 0: no information
            return "eq:" + ";".join(_shown(value / first) for value in others)
    except _NO_VALUE:
        return None


def number(text: str) -> Fraction | None:
    """The value of an expression without variables; None if not rational. Never raises."""
    value = _figure(text)
    return value if isinstance(value, Fraction) else None


def approximate(text: str) -> float | None:
    """The value of an expression without variables; None if not real. Never raises."""
    try:
        return float(_figure(text))
    except (TypeError, OverflowError):  # None and mpc are no float
        return None


@lru_cache(maxsize=16_384)
def _figure(text: str) -> Value:
    """The value of an expression; None if it has variables or cannot be read."""
    try:
        tree = parse(text)
        if names(tree):
            return None
        with _alone:
            return _rational(_value(tree, {}))
    except _NO_VALUE:
        return None


def _at_points(tree: Tree, variables: list[str]) -> list[Value]:
    if len(variables) > _MOST_NAMES:
        raise Undecidable("too many variables")
    points = ({name: _place(name, point) for name in variables} for point in range(3))
    return [_finite(_value(tree, point)) for point in points]


def _below_zero(tree: Tree, variables: list[str]) -> list[Value]:
    """The real values at the first point, with one variable at a time made negative."""
    found: list[Value] = []
    for negative in variables:
        point = {name: _place(name, 0) * (-1 if name == negative else 1) for name in variables}
        with suppress(*_NO_VALUE):
            value = _finite(_value(tree, point))
            if not isinstance(value, _mp.mpc) or _is_zero(value.imag):
                found.append(value)
    return found


@lru_cache(maxsize=4_096)
def _place(name: str, point: int) -> Value:
    """A fixed number for a variable: between 1 and 2, 5 and 10, or 1/4 and 1/2 at points 0, 1, 2.
    Numbers on both sides of 4 separate ``|x - 4|`` from ``x - 4``."""
    digest = hashlib.sha256(f"{name} {point}".encode()).hexdigest()
    return (1 + _mp.mpf(int(digest[:40], 16)) / 16**40) * (1.0, 5.0, 0.25)[point]


# ---------------------------------------------------------------- operations


def _value(tree: Tree, at: Mapping[str, Value]) -> Value:
    operation, *parts = tree
    if operation == "number":
        return parts[0]
    if operation == "name":
        return at[parts[0]]
    if operation == "constant":
        return _CONSTANTS[parts[0]]
    value = _OPERATIONS[operation](*(_value(part, at) for part in parts))
    if isinstance(value, Fraction):
        bits = _bits(value)
    else:
        bits = abs(_mp.mag(value)) if _mp.isfinite(value) and value else 0
    if bits / 3.32 > _LARGEST:
        raise Undecidable("too large")
    return value


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _real(value: Value) -> Value:
    return _mp.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _exact(operation: Callable[[Value, Value], Value], a: Value, b: Value) -> Value:
    """The result of an operation; two fractions give a fraction."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return operation(a, b)
    return operation(_real(a), _real(b))


def _raise(base: Value, exponent: Value) -> Value:
    """A power; the result is real where people expect a real number: (−8)^(1/3) is −2."""
    exponent = _rational(exponent)
    base = _rational(base) if isinstance(exponent, Fraction) else base
    size, power = abs(_real(base)), abs(_real(exponent))
    if power > 1e6 or (size and abs(float(_mp.log10(size))) * float(power) > _LARGEST):
        raise Undecidable("too large a power")
    if not base:
        if not isinstance(exponent, Fraction) or exponent <= 0:
            raise Undecidable("a power of zero")
        return Fraction(0)
    if isinstance(exponent, Fraction):
        if exponent.denominator == 1:
            whole = int(exponent)
            if isinstance(base, Fraction) and _bits(base) / 3.32 * abs(whole) <= _LARGEST:
                return base**whole
            return _real(base) ** whole
        if exponent.denominator <= 64 and abs(exponent.numerator) <= 4096:
            root = _root(Fraction(exponent.denominator), base)
            return _raise(root, Fraction(exponent.numerator))
    return _real(base) ** _real(exponent)


def _root(degree: Value, value: Value) -> Value:
    degree, value = _rational(degree), _rational(value)
    if not isinstance(degree, Fraction) or degree.denominator != 1 or not 1 < degree <= 64:
        raise Undecidable("an odd root")
    whole = int(degree)
    negative = not isinstance(value, _mp.mpc) and value < 0
    if negative and whole % 2:
        return -_root(degree, -value)
    if negative:
        return _mp.mpc(_real(value)) ** (_mp.mpf(1) / whole)
    if isinstance(value, Fraction):
        above, below = _exact_root(whole, value.numerator), _exact_root(whole, value.denominator)
        if above is not None and below is not None:
            return Fraction(above, below)
    return _mp.root(_real(value), whole)


def _exact_root(degree: int, whole: int) -> int | None:
    if whole.bit_length() > 400:
        return None
    near = int(_mp.nint(_mp.root(whole, degree)))
    return near if near**degree == whole else None


def _factorial(value: Value) -> Value:
    value = _rational(value)
    if isinstance(value, Fraction) and value.denominator == 1:
        if not 0 <= value <= 3_000:
            raise Undecidable("a factorial")
        return Fraction(math.factorial(int(value)))
    if isinstance(value, _mp.mpc) or abs(_real(value)) > 3_000:
        raise Undecidable("a factorial")
    return _mp.gamma(_real(value) + 1)


def _binomial(above: Value, below: Value) -> Value:
    above, below = _rational(above), _rational(below)
    if isinstance(above, Fraction) and isinstance(below, Fraction):
        whole = above.denominator == below.denominator == 1
        if whole and 0 <= below <= 3_000 and 0 <= above <= 10_000:
            return Fraction(math.comb(int(above), int(below)))
        raise Undecidable("a binomial")
    if any(isinstance(x, _mp.mpc) or abs(_real(x)) > 3_000 for x in (above, below)):
        raise Undecidable("a binomial")
    return _mp.binomial(_real(above), _real(below))


def _ln(value: Value) -> Value:
    if not value:
        raise Undecidable("a logarithm of zero")
    return Fraction(0) if value == 1 else _mp.log(_real(value))


def _floor(value: Value, up: bool = False) -> Value:
    if isinstance(value, _mp.mpc):
        raise Undecidable("a floor")
    return Fraction(int(_mp.ceil(_real(value)) if up else _mp.floor(_real(value))))


def _tame(function: Callable[[Value], Value], value: Value, largest: float = 1e6) -> Value:
    """The value of a function of mpmath, for arguments for which it is fast."""
    value = _real(value)
    if abs(value) > largest:
        raise Undecidable("too large an argument")
    return function(value)


_ANGLES = ("sin", "cos", "tan", "cot", "sec", "csc")
_OPERATIONS: dict[str, Callable[..., Value]] = {
    "+": partial(_exact, operator.add),
    "-": partial(_exact, operator.sub),
    "*": partial(_exact, operator.mul),
    "/": partial(_exact, operator.truediv),
    "^": _raise,
    "!": _factorial,
    "abs": abs,
    "root": _root,
    "binom": _binomial,
    "floor": _floor,
    "ceil": partial(_floor, up=True),
    "lg": lambda value: _ln(value) / _ln(Fraction(10)),
    "ln": _ln,
    "exp": partial(_tame, _mp.exp, largest=2 * _LARGEST),
    **{name: partial(_tame, getattr(_mp, name)) for name in (*_ANGLES, "sinh", "cosh", "tanh")},
    **{f"arc{name}": partial(_tame, getattr(_mp, f"a{name}")) for name in _ANGLES},
    **{name: partial(_tame, getattr(_mp, name)) for name in ("asin", "acos", "atan")},
}
_CONSTANTS: dict[str, Value] = {"pi": +_mp.pi, "e": +_mp.e, "i": _mp.mpc(0, 1)}


# ---------------------------------------------------------------- values


def _finite(value: Value) -> Value:
    if not isinstance(value, Fraction) and not _mp.isfinite(value):
        raise Undecidable("no finite value")
    return value


def _is_zero(value: Value) -> bool:
    return bool(abs(value) < 1e-35)


def _rational(value: Value) -> Value:
    """A computed value as a fraction if it equals one: √16 becomes 4."""
    if isinstance(value, Fraction):
        return value
    if isinstance(value, _mp.mpc):
        if not abs(value.imag) < 1e-40 * (1 + abs(value.real)):
            return value
        value = value.real
    if not _mp.isfinite(value) or abs(value) > 1e30 or (value and abs(value) < 1e-30):
        return value
    near = Fraction(_mp.nstr(value, 48)).limit_denominator(10**6)
    return near if abs(_real(near) - value) < 1e-38 * (1 + abs(value)) else value


def _shown(value: Value) -> str:
    """A fraction, or the real and imaginary part to 15 digits; no part that is a rounding error."""
    value = _rational(_finite(value))
    if isinstance(value, Fraction):
        if _bits(value) < 2_000:
            return str(value)
        figures = f"{value.numerator:x}/{value.denominator:x}"
        return f"#{hashlib.sha256(figures.encode()).hexdigest()}"
    parts = [_mp.mpf(value.real), _mp.mpf(value.imag)] if isinstance(value, _mp.mpc) else [value]
    scale = max(abs(part) for part in parts)
    shown = [_mp.nstr(part, DIGITS) if abs(part) > scale * 1e-30 else "0" for part in parts]
    return "+i".join(shown) if len(shown) == 2 and shown[1] != "0" else shown[0]
