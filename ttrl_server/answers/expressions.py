r"""Parses mathematical notation, LaTeX or plain, into a tree. The grammar is this module's own;
nothing is ever evaluated as code.

    sum      = ["-"] product { ("+" | "-") product }
    product  = power { ("*" | "/" | nothing) power }
    power    = atom { "!" | "^" argument | "%" | "°" }
    atom     = number | name | function … | \frac… | \sqrt… | ( sum ) | | sum | | …

A tree is a tuple of an operation and its arguments: ``("+", a, b)``, ``("number",
Fraction(1, 2))``, ``("name", "x_1")``. A text that people read in two ways (``x/2y``, ``\sin x/2``,
``1 2``) is refused and then compared as text: a split vote is better than wrong rewards.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from ttrl_server.answers.lexicon import FUNCTIONS, GREEK, words

Tree = tuple[Any, ...]

LONGEST = 400
"""Most characters of an expression; a longer one is not parsed."""
_DEEPEST = 32

_NUMBER = re.compile(r"\d+\.\d+|\d+\.(?=\s*(?:[-+*/^)}\]|]|\Z))|\d+|\.\d+")
_REPEATS = re.compile(r"(\d*)\.(\d*?)(?:\\overline\s?\{(\d+)\}|\\dot\s?\{(\d)\}|\((\d+)\)\Z)")
_SCIENTIFIC = re.compile(
    r"(?:(\d+\.\d+|1)[eE]([+-]?\d+)|(\d+)E([+-]?\d+)|(\d+)e(\+?\d+|-\d{2,}))(?![\w.])"
)
_MIXED = re.compile(
    r"(\d+)\s?\\frac\s?(?:\{\s?(\d+)\s?\}|(\d))\s?(?:\{\s?(\d+)\s?\}|(\d))"
    r"|(\d+) (\d+)/(\d+)(?![\d.])"
)
_CHOOSE = re.compile(r"(\d{1,4})\s?C\s?(\d{1,4})(?!\w)")
_COMMAND = re.compile(r"\\([A-Za-z]+)\s?")
_RUN = re.compile(r"[A-Za-z]+")
_WORD_AHEAD = re.compile(r"\\?([A-Za-z]+)")
_INDEX = re.compile(r"\d+")
_SUBSCRIPT = re.compile(r"\s?_\s?(?:\{([^{}]*)\}|([A-Za-z0-9]))")
_ACCENT = words("vec hat bar overline overrightarrow tilde mathbf mathbb mathcal boldsymbol")
_SPELT_OUT = FUNCTIONS | GREEK | {"pi"}
"""Words that are read as one name, not letter by letter."""
_BRACKETS = {"(": ")", "[": "]", "{": "}", "⌊": "⌋", "⌈": "⌉"}
_LOG = re.compile(r"(lo?g|ln)(\d+)(?=\s?[(|])")


class Unreadable(ValueError):
    """The text is not an expression, or can be read in two ways."""


def parse(text: str) -> Tree:
    """The tree of one expression in the notation of ``spelling.clean``. Raises Unreadable."""
    if len(text) > LONGEST:
        raise Unreadable("too long")
    reader = _Reader(text)
    tree = reader.sum()
    if reader.at < len(text):
        raise Unreadable(f"{text[reader.at :][:20]!r} goes on after the expression")
    return tree


def names(tree: Tree) -> set[str]:
    """The variables of a tree."""
    if tree[0] == "name":
        return {tree[1]}
    return set().union(*(names(part) for part in tree[1:] if isinstance(part, tuple)))


class _Reader:
    """Reads a text once from start to end; ``at`` is the index of the next character."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self._depth, self._bars = text, 0, 0, 0

    # ------------------------------------------------------------ sums and products

    def sum(self) -> Tree:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Unreadable("too deep")
        tree = self._product()
        while (sign := self._peek()) in ("+", "-"):
            self.at += 1
            tree = (sign, tree, self._product())
        self._depth -= 1
        return tree

    def _product(self) -> Tree:
        """A product, with any plus and minus signs before it."""
        if self._peek() in ("+", "-"):
            return _minus(self._product()) if self._take() == "-" else self._product()
        tree, divided = self._power(), False
        while True:
            sign = self._peek()
            if sign in ("*", "/"):
                self.at += 1
                right = _minus(self._power()) if self._skip("-") else self._power()
                # In 1/2 x and 2/3(x+1) a fraction of figures is a factor; x/2y has two readings.
                figure = right[0] in ("number", "^", "!") and not names(right)
                divided = sign == "/" and (bool(names(tree)) or not figure)
                tree = (sign, tree, right)
            elif sign and self._begins_a_factor(sign):
                if divided:
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
            sign in "([{⌊⌈√.\\"
            and not self.text.startswith((r"\pm", r"\cup", r"\cap", r"\in "), self.at)
        )

    def _power(self) -> Tree:
        tree = self._atom()
        while sign := self._peek():
            if sign not in "!^°":
                break
            self.at += 1
            if sign == "!" and self._peek() == "!":
                raise Unreadable("a double factorial")
            if sign == "!":
                tree = ("!", tree)
            elif sign == "^":
                tree = ("^", tree, self._argument())
            else:
                tree = ("*", tree, _DEGREE)
        return tree

    # ------------------------------------------------------------ atoms

    def _atom(self) -> Tree:
        sign = self._peek()
        if sign.isdigit() or sign == ".":
            return self._number()
        if sign in _BRACKETS:
            self.at += 1
            bars, self._bars = self._bars, 0
            inside = self.sum()
            self._bars = bars
            self._expect(_BRACKETS[sign])
            return {"⌊": ("floor", inside), "⌈": ("ceil", inside)}.get(sign, inside)
        if self._skip("|"):
            self._bars += 1
            inside = self.sum()
            self._bars -= 1
            self._expect("|")
            return ("abs", inside)
        if self._skip("√"):
            return self._root()
        if sign == "\\":
            return self._command()
        if based := self._match(_LOG):
            return ("/", ("ln", self._atom()), ("ln", _figure(based[2])))
        run = _RUN.match(self.text, self.at)
        if run is None:
            raise Unreadable(f"nothing to read at {self.text[self.at :][:20]!r}")
        word = run[0].lower()
        if word in _SPELT_OUT:
            self.at = run.end()
            return self._spelt_out(word)
        if len(run[0]) > 3:
            raise Unreadable(f"{run[0]!r} is a word")
        self.at += 1  # letters side by side are single names: take the first
        return self._name(run[0][0])

    def _number(self) -> Tree:
        if found := self._match(_MIXED):
            whole, above = int(found[1] or found[6]), int(found[2] or found[3] or found[7])
            below = int(found[4] or found[5] or found[8])
            if above >= below:
                raise Unreadable("no mixed number, and a product has a sign or brackets")
            return _figure(whole + Fraction(above, below))
        if found := self._match(_CHOOSE):
            return ("binom", _figure(found[1]), _figure(found[2]))
        if found := self._match(_REPEATS):
            return _repeating(found)
        if found := self._match(_SCIENTIFIC):
            mantissa, power = found[1] or found[3] or found[5], found[2] or found[4] or found[6]
            if abs(int(power)) > 999 or len(mantissa) > 100:
                raise Unreadable("too large")
            return _figure(Fraction(mantissa) * Fraction(10) ** int(power))
        found = self._match(_NUMBER)
        if found is None or len(found[0]) > 300:
            raise Unreadable("no number")
        return _figure(found[0])

    def _argument(self) -> Tree:
        """One argument as in TeX, but a plain number is read as a whole."""
        if self._peek() in ("-", "+"):
            return _minus(self._argument()) if self._take() == "-" else self._argument()
        return self._atom()

    def _tex(self) -> Tree:
        """One argument of a LaTeX command, where 12 is two arguments: 1 and 2."""
        sign = self._peek()
        if sign.isdigit():
            return _figure(self._take())
        return self._name(self._take()) if sign.isalpha() else self._atom()

    def _root(self) -> Tree:
        degree = _figure(2)
        if self._skip("["):
            degree = self.sum()
            self._expect("]")
        return ("root", degree, self._number() if self._peek().isdigit() else self._tex())

    def _command(self) -> Tree:
        found = self._match(_COMMAND)
        if found is None:
            raise Unreadable(f"{self.text[self.at : self.at + 2]!r} is no command")
        name = found[1]
        if name in ("frac", "binom"):
            above = self._tex()
            return ("/" if name == "frac" else name, above, self._tex())
        if name in _SPELT_OUT:
            return self._spelt_out(name)
        if name in _ACCENT:
            start = self.at
            self._tex()
            return ("name", name + self.text[start : self.at])
        raise Unreadable(f"\\{name} is not known here")

    def _name(self, name: str) -> Tree:
        """A variable with its index and primes; e and i without these are the constants."""
        index = ""
        if found := self._match(_INDEX):
            index = f"_{found[0]}"
        elif found := self._match(_SUBSCRIPT):
            index = f"_{(found[1] or found[2] or '').strip()}"
        while self.text.startswith("'", self.at):
            index, self.at = index + "'", self.at + 1
        return ("constant", name) if name in ("e", "i") and not index else ("name", name + index)

    def _spelt_out(self, name: str) -> Tree:
        """The tree for a word: a function of the text after it, a constant or a variable."""
        if name == "sqrt":
            return self._root()
        if name not in FUNCTIONS:
            return ("constant", name) if name == "pi" else self._name(name)
        power = base = None
        while self._peek() in ("^", "_"):
            if self._take() == "^":
                power = self._argument()
            else:
                base = self._tex()
        in_brackets = self._peek() in ("(", "[", "{", "|", "⌊", "⌈")
        inside = self._atom() if in_brackets else self._power()
        # Without brackets the argument ends at a sign, a bracket or another function.
        while not in_brackets and (sign := self._peek()) and sign not in "([{|":
            ahead = _WORD_AHEAD.match(self.text, self.at)
            if not self._begins_a_factor(sign) or (ahead and ahead[1] in FUNCTIONS):
                break
            inside = ("*", inside, self._power())
        if not in_brackets and self._peek() == "/":
            raise Unreadable("a function of something that is divided")
        if base is not None and name != "log":
            raise Unreadable(f"{name} with a base")
        if power == _MINUS_ONE and name in ("sin", "cos", "tan"):
            return (f"arc{name}", inside)
        # log without a base may mean base e or 10, so its base is a variable here.
        below = ("name", "log") if base is None else ("ln", base)
        tree = ("/", ("ln", inside), below) if name == "log" else (name, inside)
        return ("^", tree, power) if power else tree

    # ------------------------------------------------------------ signs

    def _peek(self) -> str:
        while self.text.startswith(" ", self.at):
            self.at += 1
        return self.text[self.at : self.at + 1]

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The match of ``pattern`` at ``at``; ``at`` moves to the end of the match."""
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found

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


def _figure(value: str | int | Fraction) -> Tree:
    return ("number", Fraction(value))


def _minus(tree: Tree) -> Tree:
    return ("-", _figure(0), tree)


_MINUS_ONE = _minus(_figure(1))
_DEGREE: Tree = ("/", ("constant", "pi"), _figure(180))


def _repeating(found: re.Match[str]) -> Tree:
    """``0.1\\overline{6}`` is 1/6."""
    before, again = found[2], found[3] or found[4] or found[5]
    if not found[1] and not before:
        raise Unreadable("no number")
    fixed = Fraction(f"{found[1] or 0}.{before or 0}")
    if found[5] and before and (found.start() or found[1] not in ("", "0")):
        return ("*", _figure(fixed), _figure(again))  # 2.5(4) is 10
    if len(found[0]) > 60:
        raise Unreadable("too long a number")
    return _figure(fixed + Fraction(int(again), (10 ** len(again) - 1) * 10 ** len(before)))
