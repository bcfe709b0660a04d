"""One way of writing for what LaTeX, Unicode and plain text let one write in many."""

from __future__ import annotations

import re

_SIGNS = str.maketrans(
    {"−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "÷": "/", "²": "^2", "³": "^3", "≈": "=", "’": "'"}
    | dict.fromkeys("~\u00a0\u202f", " ")
    | {"±": r"\pm "}
)
_MEANING = {
    "\\": ";",
    "{": "⦃",
    "}": "⦄",
    "lbrace": "⦃",
    "rbrace": "⦄",
    **dict.fromkeys("!()[]$%", ""),
    **dict.fromkeys(("left", "right", "big", "bigl", "bigr", "bigg", "biggl", "biggr", "displaystyle"), ""),
    **dict.fromkeys((*" ,:;\n", "quad", "qquad"), " "),
    **dict.fromkeys(("dfrac", "tfrac", "cfrac"), r"\frac"),
    **dict.fromkeys(("textbf", "textit", "textrm", "textnormal", "mbox", "operatorname", "boxed"), r"\text"),
    **dict.fromkeys(("mathrm", "mathbf", "mathit"), r"\text"),
    **dict.fromkeys(("circ", "degree"), "°"),
    **dict.fromkeys(("cdot", "times"), "*"),
    **dict.fromkeys(("le", "leq"), "≤"),
    **dict.fromkeys(("ge", "geq"), "≥"),
    **dict.fromkeys(("infty", "infinity"), "∞"),
    "approx": "=",
    "cup": "∪",
    "div": "/",
    "in": "∈",
    "neq": r"\ne ",
    "pi": "π",
    "sqrt": "√",
}
"""Of a command, by its name."""
_COMMAND = re.compile(r"\\([a-z]+|.)", re.DOTALL)
_BARE_COMMAND = re.compile(r"(?<![a-z\\])(pi|sqrt|infinity)(?![a-z])")
_MATRIX = re.compile(r"\\(?:(begin)|end)\{[bp]matrix\}")
_POWER = re.compile(r"(?<=[\w)])\*\*(?=[\w(-])")
_DECORATION = re.compile(r"\*\*|[$%£€`]")
_THIN_GROUPS = re.compile(r"(?<=\d)(?:\{,\}|,?\\!\s*|\\,)(?=\d{3}(?!\d))")
_COMMA_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!,?\d)")
_BEFORE_BRACKETS = re.compile(r"\A[^(\[⦃]+")

_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_DEGREE = re.compile(r"\^\s*(?:\{\s*°\s*\}|°)|°")
_ROOT = re.compile(r"√\s*(\[\w*\])?\s*(?:\{([^{}]*)\}|(\d+|[a-zπ]))")
_SCRIPT = re.compile(r"\s*([\^_])\s*(?:\{([^{}]*)\}|(-?\d+|[a-zπ∞]))")
_FRACTION = re.compile(r"\s*\\frac\s*(?:\{([^{}]*)\}|([\da-zπ]))\s*(?:\{([^{}]*)\}|([\da-zπ]))")
_ATOM = re.compile(r"-?[\d.]+|[a-zπ]|√\(\w+\)")
_ALTERNATIVE = re.compile(r",? (?:or|and) ")
_LOOSE_SPACE = re.compile(r" (?![\w\\(√])|(?<![\w)]) ")


def respelt(text: str) -> str:
    """Lower-case text with commands as signs; roots ``√(…)``, scripts ``^(…)``, fractions ``a/b``, sets ``⦃…⦄``."""
    return _structured(_spelt(text))


def _spelt(text: str) -> str:
    text = _THIN_GROUPS.sub("", text.translate(_SIGNS))
    text = _COMMAND.sub(lambda command: _MEANING.get(command[1], command[0]), text)
    text = _BARE_COMMAND.sub(lambda command: _MEANING[command[1]], text)
    text = _MATRIX.sub(lambda side: "⟦" if side[1] else "⟧", text)
    text = _DECORATION.sub("", _POWER.sub("^", text)).strip().rstrip(".,;: ")
    # In brackets a comma separates: (1,234) is a pair.
    return _BEFORE_BRACKETS.sub(lambda head: _COMMA_GROUPS.sub(lambda n: n[0].replace(",", ""), head[0]), text)


def _structured(text: str) -> str:
    """From the innermost braces outwards, until none has a meaning."""
    before = None
    while text != before:
        before = text
        text = _DEGREE.sub(" ", _TEXT.sub(r" \1 ", text))
        text = _SCRIPT.sub(r"\1(\2\3)", _ROOT.sub(r"√\1(\2\3)", text))
        text = _FRACTION.sub(_ratio, text)
    return _LOOSE_SPACE.sub("", _ALTERNATIVE.sub(",", " ".join(text.split())))


def _ratio(match: re.Match[str]) -> str:
    """``a/b``, with the brackets and signs that keep it apart from its neighbours."""
    above, below = (match[1] or match[2] or "").strip(), (match[3] or match[4] or "").strip()
    left, right = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    mixed = left.isdigit() and above.isdigit() and below.isdigit()
    joint = " " if mixed else "*" if left.isalnum() or left in (")", "}") else ""
    above = f"({above})" if re.search(r"[+-]", above[1:]) else above
    below = below if _ATOM.fullmatch(below) else f"({below})"
    return f"{joint}{above}/{below}{'*' if right.isdigit() else ''}"
