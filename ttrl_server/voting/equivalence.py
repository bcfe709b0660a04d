r"""When two answers are the same answer: both have the same canonical form, so this is an equivalence relation.

Answers are text a model wrote: they are rewritten as text and read as exact rationals, never evaluated. What is
compared is spelling (LaTeX, spaces, units, case) and rational value, not algebra: ``x(x+1)`` is not ``x^2+x`` here.

Decisions where notations contradict each other, each the reading most often right among answers to *one* question:

- a percent, degree or currency sign is a unit and is dropped: ``50\%`` is ``50``, hence not ``1/2``
- ``1,234`` is a number, ``1, 234`` is a list; a bare list or a set has no order, ``(1,2)`` has, and so have words
  (``pear, apple``), which are listed where they were to be sorted
- ``2\frac{1}{3}`` is the mixed number 7/3; ``x^10`` is a tenth power; ``x = 5`` is ``5``
"""

from __future__ import annotations

import re
from fractions import Fraction

from ttrl_server.voting.wording import plain

LONGEST = 1_000
"""Characters; a longer answer is compared as plain text."""
_LONGEST_NUMBER = 100
"""Characters; a longer number stays text. With exponents below 1000 this bounds every integer made here."""

_INVISIBLE = (
    *(*range(9), *range(14, 32), 0x7F, 0xAD, 0xFEFF),  # control characters, soft hyphen, byte order mark
    *(*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)),  # zero width, writing direction
)
_VISIBLE: dict[int, str | None] = {
    **dict.fromkeys(_INVISIBLE),
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full-width forms of ASCII
    **dict.fromkeys(map(ord, "\N{MINUS SIGN}\N{HYPHEN}\N{NON-BREAKING HYPHEN}"), "-"),
    ord("\N{RIGHT SINGLE QUOTATION MARK}"): "'",
    ord("\N{IDEOGRAPHIC FULL STOP}"): ". ",
}
_POWER_IN_CODE = re.compile(
    r"(?<=[0-9)]|(?<![A-Za-z])[A-Za-z])(?:\*\*|[ \t]\*\*[ \t])(?=-?(?:[0-9]{1,20}|[A-Za-z])(?![0-9A-Za-z]|\*\*))"
)
_SYMBOLS = str.maketrans(
    {
        "\N{EN DASH}": "-",
        "\N{MULTIPLICATION SIGN}": "*",
        "\N{MIDDLE DOT}": "*",
        "\N{DOT OPERATOR}": "*",
        "\N{DIVISION SIGN}": "/",
        "\N{GREEK SMALL LETTER PI}": r"\pi ",
        "\N{INFINITY}": r"\infty ",
        "\N{ALMOST EQUAL TO}": "=",
        "\N{SUPERSCRIPT TWO}": "^2",
        "\N{SUPERSCRIPT THREE}": "^3",
    }
)

_SPELLINGS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|bigg?[lr]?|displaystyle|textstyle|boxed|fbox)(?![a-z])", ""),
        (r"(?<!\\)\\\{", "⦃"),
        (r"(?<!\\)\\\}", "⦄"),
        (r",\\!\s*|\{,\}", ","),
        (r"(?<=[0-9])\\,(?=[0-9])|\\!", ""),
        (r"(?<!\\)\\[,;: ]|~|\\q?quad(?![a-z])", " "),
        (r"(?<!\\)\\[()\[\]]|`|\*\*", ""),
        (r"\s*\^\s*\{?\s*\\circ\s*\}?|\\degrees?(?![a-z])|°", " "),
        (r"\\?[%$]|[£€]", ""),
        (r"\\(?:cdot|times)(?![a-z])", "*"),
        (r"\\div(?![a-z])", "/"),
        (r"\\approx(?![a-z])", "="),
        (r"\\[dtc]frac(?![a-z])", r"\\frac"),
        (r"\\[dt]?binom\s*([0-9])\s*([0-9])", r"\\binom{\1}{\2}"),
        (r"±", r"\\pm "),
        (r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:bf|rm|it|sf|tt)|mbox|operatorname|emph)\s*\{([^{}]*)\}", r" \1 "),
        (r"\s+", " "),
    )
)
_ROOT = re.compile(r"(?:\\sqrt|√|\bsqrt(?=\())\s*(\[[^\[\]{}]*\])?\s*(?:\{([^{}]*)\}|([0-9]+|[a-z](?![a-z]))|(?=\())")
_SCRIPT = re.compile(r"\s?([\^_])\s?(?:\{([^{}]*)\}|(-?[0-9]+|[a-z]))")
_FRACTION = re.compile(r"\\frac\s*(?:([0-9])|\{([^{}]*)\})\s*(?:([0-9])|\{([^{}]*)\})")
_ATOM = re.compile(r"-?[0-9.]+|[a-z]|\\[a-z]+")
_NESTING = 8
"""Fractions in roots in fractions …: deeper ones keep their braces and are compared as spelt."""

_GROUPED = re.compile(r"(?<![0-9.,])[1-9][0-9]{0,2}(?:,[0-9]{3}){1,10}(?![0-9,])")
_LOOSE_SPACE = re.compile(r"(?<![a-z0-9]) | (?![a-z0-9])|(?<=[0-9]) (?=[a-z])")
_TIMES = re.compile(r"(?<=[0-9a-z)])\*(?=[a-z\\(√])")
_NEEDLESS_BRACKETS = re.compile(r"(?<![a-z0-9)^_√\]])\(([0-9]+|[a-z])\)")
_WHOLE_BRACKETS = re.compile(r"\(([^(),;\[\]]*)\)|⦃([^⦃⦄]*)⦄|\{([^{}]*)\}")
_NAME = re.compile(r"[a-z][a-z ]{0,40}(?:_\(\w+\))?(?:\([a-z]\))?")
_MEMBER_OF = re.compile(r"[a-z]\\in(?![a-z])")
_ARITHMETIC = re.compile(r"[0-9+\-*/^().]+")
_IN_WORDS = re.compile(r"[^\W\d_][^\W\d_ '-]*[^\W\d_](?:[ '-][^\W\d_]+)*")
_DELIMITER = re.compile(r"([,;()\[\]⦃⦄])")

_DECIMAL = r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_RATIO = re.compile(rf"({_DECIMAL})(?:/({_DECIMAL}))?")
_MIXED = re.compile(r"(-?)([0-9]+) ([0-9]+)/([0-9]+)")
_SCIENTIFIC = re.compile(rf"({_DECIMAL})(?:\*10\^\((-?[0-9]{{1,3}})\)|e([-+]?[0-9]{{1,3}}))")
_POWER = re.compile(r"([0-9]{1,6})\^\(([0-9]{1,2})\)")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PLAIN_NUMBER = re.compile(r"-?(?:[0-9][0-9,.]*|\.[0-9]+)(?:/[0-9]+| [0-9]+/[0-9]+)?")
_EXPRESSION = re.compile(r"[^ ]*[0-9)i](?= )")
_UNIT_POWER = re.compile(r"\s?\^\s?[({]?-?[0-9][)}]?|[²³]")
_UNIT_BREAK = re.compile(r"[ /*·.]+")
_UNITS = _words(
    "mm cm dm km ml cl dl kg mg lb lbs oz ft yd mi hr hrs min mins sec secs ms mph kmh kph usd rad deg hz khz kw kwh "
    "mol pa kpa inch inches foot feet mile miles meter meters metre metres gram grams liter liters litre litres second "
    "seconds minute minutes hour hours day days week weeks month months year years degree degrees radian radians "
    "dollar dollars cent cents percent unit units square sq cubic cu per"
)
_UNITS_AFTER_A_SPACE = _UNITS | frozenset({"m", "g", "s", "h", "l", "in", "of"})
_NOT_UNITS = _words(
    "and but not nor plus minus times divided over choose mod sqrt sin cos tan log exp less more than squared cubed "
    "factorial dozen hundred thousand million billion trillion half halves third thirds quarter quarters fourth "
    "fourths fifth fifths sixth sixths seventh sevenths eighth eighths ninth ninths tenth tenths hundredth hundredths"
)


def equivalent(a: str, b: str) -> bool:
    """Whether two answers are the same: reflexive, symmetric and transitive by construction."""
    return canonical(a) == canonical(b)


def canonical(answer: str) -> str:
    """The key that equivalent answers share; empty when the answer says nothing. Never raises."""
    text = visible(answer).strip().casefold()
    if len(text) > LONGEST:
        return text
    text = plain(_spelt(text).strip().rstrip(" ,;:").removesuffix("."))
    text = without_unit(_structured(text).strip().rstrip(" .,;:"))
    text = _TIMES.sub("", _LOOSE_SPACE.sub("", text))
    return _key(_right_hand_side(_NEEDLESS_BRACKETS.sub(r"\1", text)).removeprefix("+"))


def visible(text: str) -> str:
    """The text without control, direction and zero-width characters; full-width forms and minus signs as ASCII, and
    a program's power (``2**8``), whose stars are no emphasis, as ``2^8``."""
    return _POWER_IN_CODE.sub("^", text.translate(_VISIBLE))


def without_unit(text: str) -> str:
    """``5 apples``, ``15cm^2`` and ``3√(2) km/h`` without what is counted or measured; any other text as it is.

    A number may be followed by any words, except words that change its value (``5 million``, ``3 and``); another
    expression only by known units, since ``3x`` and ``5 n`` are products.
    """
    number = _PLAIN_NUMBER.match(text)
    if number and _is_unit(text[number.end() :], known_only=False):
        return number[0].rstrip(",.")
    expression = _EXPRESSION.match(text)
    if expression and _is_unit(text[expression.end() :], known_only=True):
        return expression[0]
    return text


def _is_unit(text: str, *, known_only: bool) -> bool:
    words = _UNIT_BREAK.split(_UNIT_POWER.sub("", text.casefold()))
    if words[0]:  # written against the number: 5cm, never 5m or 5n
        return words[0] in _UNITS and all(_names_a_unit(word, known_only) for word in words[1:])
    return len(words) > 1 and all(_names_a_unit(word, known_only) for word in words[1:])


def _names_a_unit(word: str, known_only: bool) -> bool:
    if not word or word in _UNITS_AFTER_A_SPACE:
        return True
    return not known_only and len(word) >= 3 and word.isalpha() and word not in _NOT_UNITS


def _spelt(text: str) -> str:
    """One spelling for what LaTeX and Unicode let one spell in many ways."""
    text = text.translate(_SYMBOLS)
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    if text.strip()[:1] not in {"(", "[", "{", "⦃"}:  # in brackets a comma separates: (1,234) is a pair
        text = _GROUPED.sub(lambda number: number[0].replace(",", ""), text)
    return text


def _structured(text: str) -> str:
    """Roots as ``√(…)``, scripts as ``^(…)`` and ``_(…)``, fractions as ``a/b``, from the innermost outwards."""
    for _ in range(_NESTING):
        before = text
        text = _ROOT.sub(_root, text)
        text = _SCRIPT.sub(lambda script: f"{script[1]}({script[2] or script[3] or ''})", text)
        text = _FRACTION.sub(_ratio, text)
        if text == before:
            break
    return text


def _root(match: re.Match[str]) -> str:
    radicand = match[2] or match[3]
    return f"√{match[1] or ''}" + (f"({radicand})" if radicand else "")


def _ratio(match: re.Match[str]) -> str:
    """``a/b`` with the brackets that keep its value beside its neighbours."""
    above, below = (match[1] or match[2] or "").strip(), (match[3] or match[4] or "").strip()
    left, right = match.string[max(match.start() - 1, 0) : match.start()], match.string[match.end() :][:1]
    mixed = left.isdigit() and above.isdigit() and below.isdigit()
    joint = " " if mixed else "*" if left.isalnum() or left in {")", "}"} else ""
    above = f"({above})" if "+" in above[1:] or "-" in above[1:] else above
    below = below if _ATOM.fullmatch(below) else f"({below})"
    return f"{joint}{above}/{below}{'*' if right.isdigit() else ''}"


def _right_hand_side(text: str) -> str:
    """``5`` of ``x=5``, ``area=5`` and ``2*3-1=5``; an equation in which both sides say something stays whole."""
    text = _MEMBER_OF.sub("", text, count=1) if _MEMBER_OF.match(text) else text
    *left, right = text.split("=")
    named = left and all(_NAME.fullmatch(side) or _ARITHMETIC.fullmatch(side) for side in left)
    if not named or (_ARITHMETIC.fullmatch(left[0]) and _rational(right) is None):
        return text
    return right


def _key(text: str) -> str:
    brackets = _WHOLE_BRACKETS.fullmatch(text)
    items = _items(brackets[brackets.lastindex or 0] if brackets else text)
    return ",".join(sorted(items) if brackets else listed(items))


def listed(items: list[str]) -> list[str]:
    """The items of a bare list in the order in which it is compared: their own where all are words."""
    return items if all(map(_IN_WORDS.fullmatch, items)) else sorted(items)


def _items(text: str) -> list[str]:
    """The parts between commas outside all brackets, each with its numbers in lowest terms."""
    items, depth = [""], 0
    if (number := _rational(text)) is not None:
        return [str(number)]
    for piece in _DELIMITER.split(text):
        depth += (piece in {"(", "[", "⦃"}) - (piece in {")", "]", "⦄"})
        if piece == "," and depth == 0:
            items.append("")
        else:
            number = _rational(piece)
            items[-1] += piece if number is None else str(number)
    return items


def _rational(text: str) -> Fraction | None:
    """The exact value of a decimal, ratio, mixed number, scientific notation or small power; None for all else."""
    if len(text) > _LONGEST_NUMBER:
        return None
    if ratio := _RATIO.fullmatch(text):
        below = Fraction(ratio[2] or 1)
        return Fraction(ratio[1]) / below if below else None
    if mixed := _MIXED.fullmatch(text):
        sign, whole, above, below_digits = -1 if mixed[1] else 1, int(mixed[2]), int(mixed[3]), int(mixed[4])
        return sign * (whole + Fraction(above, below_digits)) if below_digits else None
    if scientific := _SCIENTIFIC.fullmatch(text):
        return Fraction(scientific[1]) * Fraction(10) ** int(scientific[2] or scientific[3])
    if power := _POWER.fullmatch(text):
        return Fraction(int(power[1]) ** int(power[2]))
    return None
