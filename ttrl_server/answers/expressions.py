r"""Mathematical notation, LaTeX or plain, as a tree. Read by a grammar of our own; nothing is ever evaluated as code.

    sum      = ["-"] product { ("+" | "-") product }
    product  = power { ("*" | "/" | nothing) power }
    power    = atom { "!" | "^" argument | "%" | "°" }
    atom     = number | name | function … | \frac… | \sqrt… | ( sum ) | | sum | | …

A tree is a tuple of an operation and what it is applied to: ``("+", a, b)``, ``("number", Fraction(1, 2))``,
``("name", "x_1")``. Where people read one writing in two ways (``x/2y``, ``\sin x/2``, ``1 2``) it is refused: an
answer that is compared as it is spelt may split a vote, one that is misread teaches nonsense.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from ttrl_server.answers.lexicon import FUNCTIONS, GREEK, NAMED

Tree = tuple[Any, ...]

LONGEST = 400
"""Characters of an expression that is read."""
_DEEPEST = 32

_NUMBER = re.compile(r"\d+\.\d+|\d+\.(?=\s*(?:[-+*/^)}\]|]|\Z))|\d+|\.\d+")
_REPEATS = re.compile(r"(\d*)\.(\d*?)(?:\\overline\s?\{(\d+)\}|\\dot\s?\{(\d)\}|\((\d+)\)\Z)")
_SCIENTIFIC = re.compile(r"(?:(\d+\.\d+|1)[eE]([+-]?\d+)|(\d+)E([+-]?\d+)|(\d+)e(\+?\d+|-\d{2,}))(?![\w.])")
_MIXED = re.compile(r"(\d+)\s?\\frac\s?(?:\{\s?(\d+)\s?\}|(\d))\s?(?:\{\s?(\d+)\s?\}|(\d))|(\d+) (\d+)/(\d+)(?![\d.])")
_CHOOSE = re.compile(r"(\d{1,4})\s?C\s?(\d{1,4})(?!\w)")
_COMMAND = re.compile(r"\\([A-Za-z]+)\s?")
_RUN = re.compile(r"[A-Za-z]+")
_WORD_AHEAD = re.compile(r"\\?([A-Za-z]+)")
_INDEX = re.compile(r"\d+")
_SUBSCRIPT = re.compile(r"\s?_\s?(?:\{([^{}]*)\}|([A-Za-z0-9]))")
_ACCENT = frozenset(
    {"vec", "hat", "bar", "overline", "overrightarrow", "tilde", "mathbf", "mathbb", "mathcal", "boldsymbol"}
)
_BRACKETS = {"(": ")", "[": "]", "{": "}", "⌊": "⌋", "⌈": "⌉"}
_LOG = re.compile(r"(lo?g|ln)(\d+)(?=\s?[(|])")


class Unreadable(ValueError):
    """No expression, or one that can be read in two ways."""


def parse(text: str) -> Tree:
    """The tree of one expression in the notation of ``spelling.clean``. Raises Unreadable."""
    if len(text) > LONGEST:
        raise Unreadable("too long")
    reader = _Reader(text)
    tree = reader.sum()
    reader.space()
    if reader.at < len(text):
        raise Unreadable(f"{text[reader.at :][:20]!r} goes on after the expression")
    return tree


def names(tree: Tree) -> set[str]:
    """The variables of a tree."""
    if tree[0] == "name":
        return {tree[1]}
    return set().union(*(names(part) for part in tree[1:] if isinstance(part, tuple)))


class _Reader:
    """One pass over a text; ``at`` is the place of what comes next."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self._depth, self._bars = text, 0, 0, 0

    # ------------------------------------------------------------ sums and products

    def sum(self) -> Tree:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Unreadable("too deep")
        tree = self._signed()
        while (sign := self._peek()) in ("+", "-"):
            self.at += 1
            tree = (sign, tree, self._signed())
        self._depth -= 1
        return tree

    def _signed(self) -> Tree:
        if self._peek() in ("+", "-"):
            negative = self._take() == "-"
            tree = self._signed()
            return ("-", ("number", Fraction(0)), tree) if negative else tree
        return self._product()

    def _product(self) -> Tree:
        tree, ratio = self._power(), ""
        while True:
            sign = self._peek()
            if sign in ("*", "/"):
                self.at += 1
                right = ("-", ("number", Fraction(0)), self._power()) if self._skip("-") else self._power()
                # In 1/2 x and 2/3(x+1) a fraction of figures is a factor; x/2y has two readings.
                ratio = "" if sign == "*" else "figures" if not names(tree) and _is_figure(right) else "letters"
                tree = (sign, tree, right)
            elif sign and self._begins_a_factor(sign):
                if ratio == "letters":
                    raise Unreadable("a division with another factor after it")
                if tree[0] == "number" and sign.isdigit():
                    raise Unreadable("two numbers side by side")
                tree = ("*", tree, self._power())
            else:
                return tree

    def _begins_a_factor(self, sign: str) -> bool:
        if sign == "|":
            return not self._bars
        return sign.isalnum() or (
            sign in "([{⌊⌈√.\\" and not self.text.startswith((r"\pm", r"\cup", r"\cap", r"\in "), self.at)
        )

    def _power(self) -> Tree:
        tree = self._atom()
        while sign := self._peek():
            if sign == "!":
                self.at += 1
                if self._peek() == "!":
                    raise Unreadable("a double factorial")
                tree = ("!", tree)
            elif sign == "^":
                self.at += 1
                tree = ("^", tree, self._argument())
            elif sign == "°":
                self.at += 1
                tree = ("*", tree, ("/", ("constant", "pi"), ("number", Fraction(180))))
            else:
                return tree
        return tree

    # ------------------------------------------------------------ atoms

    def _atom(self) -> Tree:
        sign = self._peek()
        if sign.isdigit() or sign == ".":
            return self._number()
        if sign in _BRACKETS and sign:
            return self._bracketed()
        if sign == "|":
            self.at += 1
            self._bars += 1
            inside = self.sum()
            self._bars -= 1
            self._expect("|")
            return ("abs", inside)
        if sign == "√":
            self.at += 1
            return self._root()
        if sign == "\\":
            return self._command()
        if run := _RUN.match(self.text, self.at):
            return self._letters(run[0])
        raise Unreadable(f"nothing to read at {self.text[self.at :][:20]!r}")

    def _number(self) -> Tree:
        for pattern, value in (
            (_MIXED, _mixed),
            (_CHOOSE, _choose),
            (_REPEATS, _repeating),
            (_SCIENTIFIC, _scientific),
        ):
            if found := pattern.match(self.text, self.at):
                self.at = found.end()
                return value(found)
        found = _NUMBER.match(self.text, self.at)
        if found is None or found.end() - found.start() > 300:
            raise Unreadable("no number")
        self.at = found.end()
        return ("number", Fraction(found[0]))

    def _bracketed(self) -> Tree:
        opened = self._take()
        bars, self._bars = self._bars, 0
        inside = self.sum()
        self._bars = bars
        self._expect(_BRACKETS[opened])
        return {"⌊": ("floor", inside), "⌈": ("ceil", inside)}.get(opened, inside)

    def _argument(self) -> Tree:
        """What TeX takes as an argument: a group, a command with its own, or else one sign; a plain number whole."""
        sign = self._peek()
        if sign in ("{", "("):
            return self._bracketed()
        if sign in ("-", "+"):
            self.at += 1
            return ("-", ("number", Fraction(0)), self._argument()) if sign == "-" else self._argument()
        return self._number() if sign.isdigit() else self._atom()

    def _tex(self) -> Tree:
        """The same for a command of LaTeX, for which 12 are two arguments."""
        sign = self._peek()
        if sign.isdigit():
            self.at += 1
            return ("number", Fraction(sign))
        return self._bracketed() if sign == "{" else self._name(self._take()) if sign.isalpha() else self._atom()

    def _root(self) -> Tree:
        degree: Tree = ("number", Fraction(2))
        if self._peek() == "[":
            self.at += 1
            degree = self.sum()
            self._expect("]")
        if self._peek() == "(":
            return ("root", degree, self._bracketed())
        return ("root", degree, self._number() if self._peek().isdigit() else self._tex())

    def _command(self) -> Tree:
        found = _COMMAND.match(self.text, self.at)
        if found is None:
            raise Unreadable(f"{self.text[self.at : self.at + 2]!r} is no command")
        name, self.at = found[1], found.end()
        if name == "frac":
            above = self._tex()
            return ("/", above, self._tex())
        if name == "binom":
            above = self._tex()
            return ("binom", above, self._tex())
        if name == "sqrt":
            return self._root()
        if name in FUNCTIONS:
            return self._function(name)
        if name in NAMED:
            return ("constant", NAMED[name])
        if name in GREEK:
            return self._name(name)
        if name in _ACCENT:
            start = self.at
            self._tex()
            return ("name", name + self.text[start : self.at])
        raise Unreadable(f"\\{name} is not known here")

    def _letters(self, run: str) -> Tree:
        """A function or constant spelt out, or else single letters side by side, of which the first is taken."""
        if based := _LOG.match(self.text, self.at):
            self.at = based.end()
            return ("/", ("ln", self._bracketed()), ("ln", ("number", Fraction(based[2]))))
        word = run.lower() if run.lower() in FUNCTIONS or run.lower() in NAMED or run.lower() in GREEK else ""
        if word and len(word) > 1:
            self.at += len(run)
            if word == "sqrt":
                return self._root()
            if word in FUNCTIONS:
                return self._function(word)
            return ("constant", NAMED[word]) if word in NAMED else self._name(word)
        if len(run) > 3:
            raise Unreadable(f"{run!r} is a word")
        self.at += 1
        return self._name(run[0])

    def _name(self, name: str) -> Tree:
        """A variable with its index and primes; e and i without any are what they stand for."""
        index = ""
        if (found := _INDEX.match(self.text, self.at)) or (found := _SUBSCRIPT.match(self.text, self.at)):
            index, self.at = (
                "_" + (found[0] if found.re is _INDEX else (found[1] or found[2] or "").strip()),
                found.end(),
            )
        while self.text.startswith("'", self.at):
            index, self.at = index + "'", self.at + 1
        return ("constant", name) if name in ("e", "i") and not index else ("name", name + index)

    def _function(self, name: str) -> Tree:
        power = base = None
        while (sign := self._peek()) in ("^", "_"):
            self.at += 1
            if sign == "^":
                power = self._argument()
            else:
                base = self._argument() if self._peek() in ("{", "(") else self._tex()
        in_brackets = self._peek() in ("(", "[", "{", "|", "⌊", "⌈")
        inside = self._atom() if in_brackets else self._bare_argument()
        if base is not None and name != "log":
            raise Unreadable(f"{name} with a base")
        if power == _MINUS_ONE and name in ("sin", "cos", "tan"):
            return (f"arc{name}", inside)
        tree: Tree = (name, inside)
        if name == "log":  # to base e or 10, as its field has it: a base of its own, for which the laws hold
            tree = ("/", ("ln", inside), ("ln", base) if base is not None else ("name", "log"))
        return ("^", tree, power) if power else tree

    def _bare_argument(self) -> Tree:
        """Of a function without brackets: the factors side by side, up to a sign, a bracket or another function."""
        inside = self._power()
        while (
            (sign := self._peek()) and sign not in "([{|" and self._begins_a_factor(sign) and not self._at_a_function()
        ):
            inside = ("*", inside, self._power())
        if self._peek() == "/":
            raise Unreadable("a function of something that is divided")
        return inside

    def _at_a_function(self) -> bool:
        found = _WORD_AHEAD.match(self.text, self.at)
        return found is not None and found[1] in FUNCTIONS

    # ------------------------------------------------------------ signs

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] == " ":
            self.at += 1

    def _peek(self) -> str:
        self.space()
        return self.text[self.at : self.at + 1]

    def _take(self) -> str:
        sign = self._peek()
        self.at += 1
        return sign

    def _skip(self, sign: str) -> bool:
        found = self._peek() == sign
        self.at += found
        return found

    def _expect(self, sign: str) -> None:
        if not self._skip(sign):
            raise Unreadable(f"{sign!r} is missing")


_MINUS_ONE = ("-", ("number", Fraction(0)), ("number", Fraction(1)))


def _is_figure(tree: Tree) -> bool:
    return tree[0] in ("number", "^", "!") and not names(tree)


def _mixed(found: re.Match[str]) -> Tree:
    whole, above, below = found[1] or found[6], found[2] or found[3] or found[7], found[4] or found[5] or found[8]
    if int(below) == 0 or int(above) >= int(below):
        raise Unreadable("no mixed number, and a product has a sign or brackets")
    return ("number", Fraction(whole) + Fraction(int(above), int(below)))


def _choose(found: re.Match[str]) -> Tree:
    return ("binom", ("number", Fraction(found[1])), ("number", Fraction(found[2])))


def _repeating(found: re.Match[str]) -> Tree:
    """``0.1\\overline{6}`` is 1/6."""
    before, again = found[2], found[3] or found[4] or found[5]
    if not found[1] and not before:
        raise Unreadable("no number")
    if found[5] and before and (found.start() or found[1] not in ("", "0")):
        return ("*", ("number", Fraction(f"{found[1] or 0}.{before}")), ("number", Fraction(again)))  # 2.5(4) is 10
    if len(found[0]) > 60:
        raise Unreadable("too long a number")
    fixed = Fraction(f"{found[1] or 0}.{before or 0}")
    return ("number", fixed + Fraction(int(again), (10 ** len(again) - 1) * 10 ** len(before)))


def _scientific(found: re.Match[str]) -> Tree:
    mantissa, exponent = (found[1] or found[3] or found[5]), int(found[2] or found[4] or found[6])
    if abs(exponent) > 999 or len(mantissa) > 100:
        raise Unreadable("too large")
    return ("number", Fraction(mantissa) * Fraction(10) ** exponent)
