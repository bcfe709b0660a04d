r"""The parts of a canonical answer: lists, tuples, intervals, unions, matrices, and the expressions they hold.

Only the expressions may need more than their text (``symbolic.py``); what surrounds them is put together again here,
so that ``(1/√(2), 3)`` and ``(√(2)/2, 3)`` meet once their first coordinates do.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ttrl_server.voting.equivalence import canonical, listed
from ttrl_server.voting.wording import is_date

Leaf = Callable[[str], str]

_DEEPEST = 12
_OPEN, _CLOSE = "([{⦃", ")]}⦄"
_MATRIX = re.compile(r"\\begin\{([pbv]?matrix)\}(.*)\\end\{\1\}", re.DOTALL)

FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "log", "ln", "exp"}
)
_COMMANDS = (
    FUNCTIONS
    | {"pi", "theta", "alpha", "beta", "gamma", "delta", "lambda", "mu", "phi", "omega", "sigma", "rho", "tau"}
    | {"epsilon", "binom", "lfloor", "rfloor", "lceil", "rceil"}
)
_COMMAND = re.compile(r"\\([a-z]+|.)")
_WORD = re.compile(r"[a-z]+")
_MATHEMATICAL = re.compile(r"[√^\\+*/!|=]|(?<=.)-|-[a-z]|[0-9][a-z]|[a-z0-9)]\(|\)[a-z0-9]")
_PLUS_MINUS = re.compile(r"\s*\\pm\s*")
_PLAIN_RATIO = re.compile(r"-?[0-9]+(?:/[0-9]+)?")
LONGEST = 300
"""Characters of an expression that is looked at more closely."""


def is_expression(text: str) -> bool:
    """Whether a leaf is mathematics whose value its text does not show: ``2√(3)``, ``x+1``; not ``7`` or ``paris``."""
    if len(text) > LONGEST or _PLAIN_RATIO.fullmatch(text) or is_date(text) or not _MATHEMATICAL.search(text):
        return False
    if any(command not in _COMMANDS for command in _COMMAND.findall(text)):
        return False
    words = _WORD.findall(_COMMAND.sub(" ", text))
    return all(len(word) == 1 or word in FUNCTIONS for word in words) or all(len(word) <= 2 for word in words)


def text_key(answer: str) -> str:
    """The key of an answer whose expressions are taken as they are spelt."""
    return render(canonical(answer), lambda leaf: leaf)


def leaves(text: str) -> set[str]:
    """The expressions of a canonical answer that are worth a closer look."""
    found: set[str] = set()

    def note(leaf: str) -> str:
        if is_expression(leaf):
            found.add(leaf)
        return leaf

    render(text, note)
    return found


def render(text: str, leaf: Leaf, depth: int = 0) -> str:
    """The answer with every leaf replaced; lists of figures, sets, unions and ±, which have no order, are sorted."""
    if depth > _DEEPEST or not text:
        return text

    def inner(part: str) -> str:
        return render(part, leaf, depth + 1)

    if len(items := split(text, ",")) > 1:
        return ",".join(listed(list(map(inner, items))))
    if len(parts := split(text, r"\cup")) > 1:
        return r"\cup".join(sorted(map(inner, parts)))
    if matrix := _MATRIX.fullmatch(text):
        rows = [",".join(inner(canonical(cell)) for cell in row.split("&")) for row in matrix[2].split(r"\\")]
        kind = "det" if matrix[1] == "vmatrix" else "mat"
        return f"{kind}[{';'.join(rows)}]"
    if text[0] in "([⦃" and _closes_at_the_end(text) and len(items := split(text[1:-1], ",")) > 1:
        done = [inner(item) for item in items]
        return text[0] + ",".join(sorted(done) if text[0] == "⦃" else done) + text[-1]
    if text.count(r"\pm") == 1:
        both = {inner(_PLUS_MINUS.sub(sign, text).removeprefix("+")) for sign in "+-"}
        return ",".join(sorted(both))
    return leaf(text)


def split(text: str, at: str) -> list[str]:
    """The parts of ``text`` between the occurrences of ``at`` that stand outside all brackets."""
    parts, depth, start, i = [], 0, 0, 0
    while i < len(text):
        depth += (text[i] in _OPEN) - (text[i] in _CLOSE)
        if depth == 0 and text.startswith(at, i):
            parts.append(text[start:i].strip())
            i += len(at)
            start = i
        else:
            i += 1
    return [*parts, text[start:].strip()]


def _closes_at_the_end(text: str) -> bool:
    depth = 0
    for i, character in enumerate(text):
        depth += (character in _OPEN) - (character in _CLOSE)
        if depth == 0:
            return i == len(text) - 1 and character in ")]⦄"
    return False


# ---------------------------------------------------------------- back to LaTeX, for the parser


def latex(text: str) -> str:
    r"""A canonical expression as LaTeX in which nothing is left to the parser's taste.

    ``a/b`` divides by the one factor after it (``1/2π`` is π/2, as it came from ``\frac{1}{2}\pi``); roots and scripts
    get their braces back. Raises ValueError where brackets do not match.
    """
    out, i = [], 0
    while i < len(text):
        piece, i = _piece(text, i)
        out.append(piece)
    return "".join(out)


def _piece(text: str, i: int) -> tuple[str, int]:
    character = text[i]
    if character == "√":
        return _root(text, i + 1)
    if character in "^_" and text[i + 1 : i + 2] == "(":
        end = _match(text, i + 1)
        return f"{character}{{{latex(text[i + 2 : end])}}}", end + 1
    if character == "/":
        end = _factor_end(text, i + 1)
        return rf"\cdot ({latex(text[i + 1 : end])})^{{-1}}", end
    if character == "*":
        return r"\cdot ", i + 1
    if character == "\\" and (command := _COMMAND.match(text, i)):
        return command[0] + " ", command.end()
    if (word := _WORD.match(text, i)) and word[0] in FUNCTIONS:
        return rf"\{word[0]} ", word.end()
    return character, i + 1


def _root(text: str, i: int) -> tuple[str, int]:
    degree = ""
    if text[i : i + 1] == "[":
        end = _match(text, i)
        degree, i = f"[{latex(text[i + 1 : end])}]", end + 1
    if text[i : i + 1] != "(":
        raise ValueError(f"a root of nothing in {text[:60]!r}")
    end = _match(text, i)
    return rf"\sqrt{degree}{{{latex(text[i + 1 : end])}}}", end + 1


def _factor_end(text: str, i: int) -> int:
    """Where the factor that starts at ``i`` ends: a number, a letter, a command or a bracket, with its power."""
    start, i = i, i + (text[i : i + 1] == "-")
    if text[i : i + 1] == "√":
        i = _root(text, i + 1)[1]
    elif text[i : i + 1] and text[i] in _OPEN:
        i = _match(text, i) + 1
    elif match := re.compile(r"[0-9.]+|[a-z]|\\[a-z]+ ?").match(text, i):
        i = match.end()
        if match[0].strip().removeprefix("\\") in FUNCTIONS:
            i = _factor_end(text, i)
    if text[i : i + 2] == "^(":
        i = _match(text, i + 1) + 1
    if i == start:
        raise ValueError(f"a division by nothing in {text[:60]!r}")
    return i


def _match(text: str, i: int) -> int:
    """The place of the bracket that closes the one at ``i``."""
    depth = 0
    for j in range(i, len(text)):
        depth += (text[j] in _OPEN) - (text[j] in _CLOSE)
        if depth == 0:
            return j
    raise ValueError(f"a bracket that is never closed in {text[:60]!r}")
