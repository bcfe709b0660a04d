r"""Rewrites LaTeX, Unicode, Markdown and plain text into one notation. Input and output are text.

The notation has only those LaTeX commands that ``expressions`` knows; ``‹…›`` around words that
were set as text; ``⦃…⦄`` for the braces of a set; ``<= >= != < >``; ``°`` and ``%``; and ``*`` for
every sign of multiplication.
"""

from __future__ import annotations

import re
import unicodedata

from ttrl_server.answers.lexicon import FUNCTIONS, pairs
from ttrl_server.answers.units import unit

_INVISIBLE = (
    # Control characters, soft hyphen, byte order mark.
    *(*range(9), *range(14, 32), 0x7F, 0xAD, 0xFEFF),
    # Zero width, writing direction.
    *(*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)),
)
_MINUS = "\N{MINUS SIGN}\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{SMALL HYPHEN-MINUS}"
_SPACE = "\N{NO-BREAK SPACE}\N{THIN SPACE}\N{NARROW NO-BREAK SPACE}\N{FIGURE SPACE}"
_VISIBLE: dict[int, str | None] = {
    **dict.fromkeys(_INVISIBLE),
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full-width forms of ASCII
    **dict.fromkeys(map(ord, _MINUS), "-"),
    ord("\N{RIGHT SINGLE QUOTATION MARK}"): "'",
    ord("\N{IDEOGRAPHIC FULL STOP}"): ". ",
    ord("\N{IDEOGRAPHIC COMMA}"): ", ",
    ord("\N{IDEOGRAPHIC SPACE}"): " ",
    **dict.fromkeys(map(ord, _SPACE), " "),
}
_POWER_IN_CODE = re.compile(
    r"(?<=[0-9)]|(?<![A-Za-z])[A-Za-z])(?:\*\*|[ \t]\*\*[ \t])"
    r"(?=-?(?:[0-9]{1,20}|[A-Za-z])(?![0-9A-Za-z]|\*\*))"
)
_COMMANDS = """
    ∞ infty ≈ approx ∪ cup ∩ cap ∈ in ± pm ∠ angle ∅ emptyset
    α alpha β beta γ gamma δ delta ε epsilon ϵ epsilon ζ zeta η eta θ theta ι iota κ kappa
    λ lambda μ mu µ mu ν nu ξ xi ρ rho σ sigma τ tau φ phi ϕ phi χ chi ψ psi ω omega Γ Gamma
    Δ Delta Θ Theta Λ Lambda Ξ Xi Π Pi υ upsilon Σ Sigma Φ Phi Ψ Psi π pi 𝜋 pi
"""
_SIGNS = str.maketrans(
    dict(zip("–×·⋅∙∗÷∕⁄∣º˚", "-*****///|°°", strict=True))
    | {sign: rf"\{name} " for sign, name in pairs(_COMMANDS).items()}
    | {**pairs("≤ <= ⩽ <= ≥ >= ⩾ >= ≠ !="), "ℝ": r"\mathbb{R}"}
)
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋]+")
_FRACTIONS = re.compile("[¼-¾⅐-⅞]")
_DIGITS = re.compile(r"[^\W_a-zA-Z0-9]")

_NOTHING = (
    "left right middle big bigl bigr Big Bigl Bigr bigg biggl biggr Bigg Biggl Biggr boxed fbox "
    "displaystyle textstyle limits mathstrut"
)
_SIGNS_OF_TEX = """
    cdot * times * ast * cdotp * div / lt < gt > le <= leq <= leqslant <= ge >= geq >= geqslant >=
    ne != neq != to → rightarrow → land , lor , wedge , vee , dots ... ldots ... cdots ...
    circ ° degree ° degrees ° lvert | rvert | vert | mid | lbrace ⦃ rbrace ⦄ lbrack [ rbrack ]
    lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ pounds £ euro € textdollar $
"""
_OTHER_NAMES = """
    dfrac frac tfrac frac cfrac frac dbinom binom tbinom binom varnothing emptyset
    emptyset emptyset infin infty tg tan ctg cot arcctg arccot
"""
_MEANING: dict[str, str] = {
    **dict.fromkeys(_NOTHING.split(), ""),
    **dict.fromkeys(["quad", "qquad", "enspace", "thinspace", "hspace", "newline"], " "),
    **pairs(_SIGNS_OF_TEX),
    **{name: rf"\{known} " for name, known in pairs(_OTHER_NAMES).items()},
}
"""Replacements of LaTeX commands, by the command's name."""
_ESCAPED = pairs(r"\{ ⦃ \} ⦄ \% % \$ $ \| | \\ ;")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal|up|sc)?|math"
    r"(?:rm|it|sf|tt|bf)|mbox|hbox|operatorname\*?|emph|bold|mathop)\s*\{([^{}]*)\}"
)
_SPACES = re.compile(r"\\[,;: ]|~|\\\n|\s+")
_THIN = re.compile(
    r"(?<=\d)(?:\{,\}|,?\\[!,]\s*|\\ | (?=\d{3}(?: \d{3})*(?!\d)))"
    r"(?=\d{3}(?!\d))|(?<=\d)['’](?=\d{3}(?!\d))"
)
_DELIMITERS = re.compile(r"\\[()]|\\\[|\\\]|`|\*\*|__|\$\$|\\!")
_DEGREE = re.compile(r"\s*\^\s*(?:\{\s*°\s*\}|°)")
_ENVIRONMENT = re.compile(
    r"(?s)\\begin\s?\{(?:[pbBvV]?matrix|array|smallmatrix)\}(?:\s?\{[lcr| ]*\})?(.*?)"
    r"\\end\s?\{(?:([vV])matrix|[a-zA-Z]+)\}"
)
_MOD = re.compile(r"\\pmod\s?(?:\{([^{}]*)\}|(\d))|\\p?mod(?![a-z])|\\bmod(?![a-z])")
_PLAIN_NAME = re.compile(r"(?<![A-Za-z\\])(infinity|inf|infty)(?![A-Za-z])", re.IGNORECASE)


def visible(text: str) -> str:
    """The text without control, direction and zero-width characters. Full-width forms, minus signs
    and digits of any script become ASCII. A power of program code (``2**8``) becomes ``2^8``, as
    its stars are not emphasis."""
    text = _POWER_IN_CODE.sub("^", text.translate(_VISIBLE))
    if text.isascii():
        return text
    return _DIGITS.sub(lambda found: str(unicodedata.decimal(found[0], found[0])), text)


def clean(text: str) -> str:
    """An answer in the one notation that ``expressions`` and ``keys`` read."""
    text = visible(text).translate(_SIGNS)
    if not text.isascii():
        text = _RAISED.sub(lambda found: f"^{{{_plain_form(found[0])}}}", text)
        text = _LOWERED.sub(lambda found: f"_{{{_plain_form(found[0])}}}", text)
        text = _FRACTIONS.sub(
            lambda found: rf"\frac{{{_plain_form(found[0])}}}".replace("\N{FRACTION SLASH}", "}{"),
            text,
        )
    text = _ENVIRONMENT.sub(_matrix, text)
    text = _THIN.sub("", text)
    for escaped, sign in _ESCAPED.items():
        text = text.replace(escaped, sign)
    text = _DELIMITERS.sub("", _SPACES.sub(" ", text))
    text = _MOD.sub(
        lambda found: f"(mod {found[1] or found[2]})" if found[1] or found[2] else " mod ", text
    )
    for _ in range(4):  # text in text
        text = _TEXT.sub(_quoted, text)
    text = _COMMAND.sub(lambda command: _MEANING.get(command[1], command[0]), text)
    text = _PLAIN_NAME.sub(lambda _: r"\infty ", text)
    text = " ".join(_DEGREE.sub("°", text).split())
    # Dollar signs delimit formulas; a single one beside a number means money and stays.
    if text.count("$") == 1 and re.search(r"\A-?\$\s?\d|\d\s?\$\Z", text):
        return text
    return text.replace("$", "").strip()


def _plain_form(signs: str) -> str:
    return unicodedata.normalize("NFKC", signs).replace("\N{MINUS SIGN}", "-")


def _matrix(found: re.Match[str]) -> str:
    rows = map(str.strip, found[1].replace(r"\hline", "").split(r"\\"))
    cells = [map(str.strip, row.split("&")) for row in rows if row.strip(" &")]
    held = ";".join("".join(f"⟨{cell}⟩" for cell in row) for row in cells)
    return f"⟦{'|' if found[2] else ''}{held}⟧"


def _quoted(found: re.Match[str]) -> str:
    r"""Marks ``\text{cm}`` as words with ``‹…›``; ``\mathrm{e}``, ``\operatorname{lcm}`` and
    ``\mathrm{CO}`` get no marks."""
    inside = found[1].strip()
    if not inside:
        return " "
    if not any(map(str.isalnum, inside)):
        return f"{inside} "
    if inside[0] == ",":
        return f", ‹{inside[1:].strip()}› "
    if inside in FUNCTIONS:
        return rf"\{inside} "
    is_text = found[0].startswith((r"\text", r"\mbox", r"\hbox", r"\operatorname"))
    if not is_text and (len(inside) == 1 or (len(inside) <= 3 and unit(inside) is None)):
        return inside
    return f" ‹{inside}› " if is_text or unit(inside) or " " in inside else f"‹{inside}›"


def unquoted(text: str) -> str:
    """The text without the marks ``‹…›``."""
    return " ".join(text.replace("‹", "").replace("›", "").split())


def lines(text: str) -> list[str]:
    """The lines that are not blank."""
    return [line for line in text.splitlines() if line.strip()]


def split(text: str, *separators: str) -> list[str]:
    """The parts of ``text`` between those separators that are outside all brackets."""
    parts, depth, start, i = [], 0, 0, 0
    while i < len(text):
        found = next((s for s in separators if text.startswith(s, i)), None) if depth <= 0 else None
        if found:
            parts.append(text[start:i].strip())
            i += len(found)
            start = i
        else:
            depth += (text[i] in "([{⦃⟦⌊⌈‹") - (text[i] in ")]}⦄⟧⌋⌉›")
            i += 1
    return [*parts, text[start:].strip()]


def closes_at_the_end(text: str) -> bool:
    """Whether the last character of a text closes the bracket at the start of the text."""
    depth = 0
    for i, character in enumerate(text):
        depth += (character in "([{⦃⟦") - (character in ")]}⦄⟧")
        if depth == 0:
            return i == len(text) - 1
    return False
