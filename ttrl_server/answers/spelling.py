r"""Rewrites LaTeX, Unicode, Markdown and plain text into one notation. Input and output are text.

The notation has only those LaTeX commands that ``expressions`` knows; ``‹…›`` around words that
were set as text; ``⦃…⦄`` for the braces of a set; ``<= >= != < >``; ``°`` and ``%``; and ``*`` for
every sign of multiplication.
"""

from __future__ import annotations

import re
import unicodedata

from ttrl_server.answers.lexicon import FUNCTIONS
from ttrl_server.answers.units import unit

_INVISIBLE = (
    # Control characters, soft hyphen, byte order mark.
    *(*range(9), *range(14, 32), 0x7F, 0xAD, 0xFEFF),
    # Zero width, writing direction.
    *(*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)),
)
_GREEK_LETTERS = {
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "ε": "epsilon",
    "ϵ": "epsilon",
    "η": "eta",
    "θ": "theta",
    "κ": "kappa",
    "λ": "lambda",
    "μ": "mu",
    "µ": "mu",
    "ν": "nu",
    "ξ": "xi",
    "ρ": "rho",
    "σ": "sigma",
    "τ": "tau",
    "φ": "phi",
    "ϕ": "phi",
    "χ": "chi",
    "ψ": "psi",
    "ω": "omega",
    "Γ": "Gamma",
    "Δ": "Delta",
    "Θ": "Theta",
    "Λ": "Lambda",
    "Σ": "Sigma",
    "Φ": "Phi",
    "Ψ": "Psi",
    "π": "pi",
    "𝜋": "pi",
}
_VISIBLE: dict[int, str | None] = {
    **dict.fromkeys(_INVISIBLE),
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full-width forms of ASCII
    **dict.fromkeys(
        map(ord, "\N{MINUS SIGN}\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{SMALL HYPHEN-MINUS}"), "-"
    ),
    ord("\N{RIGHT SINGLE QUOTATION MARK}"): "'",
    ord("\N{IDEOGRAPHIC FULL STOP}"): ". ",
    ord("\N{IDEOGRAPHIC COMMA}"): ", ",
    ord("\N{IDEOGRAPHIC SPACE}"): " ",
    **dict.fromkeys(
        map(ord, "\N{NO-BREAK SPACE}\N{THIN SPACE}\N{NARROW NO-BREAK SPACE}\N{FIGURE SPACE}"), " "
    ),
}
_POWER_IN_CODE = re.compile(
    r"(?<=[0-9)]|(?<![A-Za-z])[A-Za-z])(?:\*\*|[ \t]\*\*[ \t])"
    r"(?=-?(?:[0-9]{1,20}|[A-Za-z])(?![0-9A-Za-z]|\*\*))"
)
_SIGNS = str.maketrans(
    {
        "–": "-",
        "×": "*",
        "·": "*",
        "⋅": "*",
        "∙": "*",
        "∗": "*",
        "÷": "/",
        "∕": "/",
        "⁄": "/",
        "∞": r"\infty ",
        "≈": r"\approx ",
        "≤": "<=",
        "≥": ">=",
        "⩽": "<=",
        "⩾": ">=",
        "≠": "!=",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∈": r"\in ",
        "±": r"\pm ",
        "∠": r"\angle ",
        "∅": r"\emptyset ",
        "ℝ": r"\mathbb{R}",
        "∣": "|",
        "º": "°",
        "˚": "°",
    }
)
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋]+")
_FRACTIONS = re.compile("[¼-¾⅐-⅞]")
_DIGITS = re.compile(r"[^\W_a-zA-Z0-9]")

_MEANING: dict[str, str] = {
    **dict.fromkeys(
        (
            "left",
            "right",
            "big",
            "bigl",
            "bigr",
            "Big",
            "Bigl",
            "Bigr",
            "bigg",
            "Bigg",
            "displaystyle",
        ),
        "",
    ),
    **dict.fromkeys(
        (
            "textstyle",
            "limits",
            "boxed",
            "fbox",
            "middle",
            "biggl",
            "biggr",
            "Biggl",
            "Biggr",
            "mathstrut",
        ),
        "",
    ),
    **dict.fromkeys(("quad", "qquad", "enspace", "thinspace", "hspace", "newline"), " "),
    **dict.fromkeys(("dfrac", "tfrac", "cfrac"), r"\frac "),
    **dict.fromkeys(("dbinom", "tbinom"), r"\binom "),
    **dict.fromkeys(("cdot", "times", "ast", "cdotp"), "*"),
    **dict.fromkeys(("le", "leq", "leqslant"), "<="),
    **dict.fromkeys(("ge", "geq", "geqslant"), ">="),
    **dict.fromkeys(("ne", "neq"), "!="),
    **dict.fromkeys(("lvert", "rvert", "vert", "mid"), "|"),
    **dict.fromkeys(("lbrace",), "⦃"),
    **dict.fromkeys(("rbrace",), "⦄"),
    **dict.fromkeys(("circ", "degree", "degrees"), "°"),
    **dict.fromkeys(("varnothing", "emptyset"), r"\emptyset "),
    **dict.fromkeys(("to", "rightarrow"), "→"),
    **dict.fromkeys(("dots", "ldots", "cdots"), "..."),
    "div": "/",
    "lt": "<",
    "gt": ">",
    "lfloor": "⌊",
    "rfloor": "⌋",
    "lceil": "⌈",
    "rceil": "⌉",
    "lbrack": "[",
    "rbrack": "]",
    "pounds": "£",
    "euro": "€",
    "textdollar": "$",
    "infin": r"\infty ",
    "land": ",",
    "lor": ",",
    "wedge": ",",
    "vee": ",",
    "arcctg": r"\arccot ",
    "tg": r"\tan ",
    "ctg": r"\cot ",
}
"""Replacements of LaTeX commands, by the command's name."""
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
    r"\\begin\s?\{(?:[pbBvV]?matrix|array|smallmatrix)\}(?:\s?\{[lcr| ]*\})?(.*?)"
    r"\\end\s?\{(?:([vV])matrix|[a-zA-Z]+)\}",
    re.DOTALL,
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
        text = "".join(rf"\{_GREEK_LETTERS[c]} " if c in _GREEK_LETTERS else c for c in text)
    text = _ENVIRONMENT.sub(_matrix, text)
    text = _THIN.sub("", text)
    text = (
        text.replace(r"\{", "⦃")
        .replace(r"\}", "⦄")
        .replace(r"\%", "%")
        .replace(r"\$", "$")
        .replace(r"\|", "|")
        .replace("\\\\", ";")
    )
    text = _DELIMITERS.sub("", _SPACES.sub(" ", text))
    text = _MOD.sub(
        lambda found: f"(mod {found[1] or found[2]})" if found[1] or found[2] else " mod ", text
    )
    for _ in range(4):
        if (set_ := _TEXT.sub(_quoted, text)) == text:
            break
        text = set_
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
    rows = [row.strip() for row in found[1].replace(r"\hline", "").split(r"\\")]
    cells = [
        "⟨" + "⟩⟨".join(cell.strip() for cell in row.split("&")) + "⟩"
        for row in rows
        if row.strip(" &")
    ]
    return ("⟦|" if found[2] else "⟦") + ";".join(cells) + "⟧"


def _quoted(found: re.Match[str]) -> str:
    r"""Marks ``\text{cm}`` as words with ``‹…›``; ``\mathrm{e}``, ``\operatorname{lcm}`` and
    ``\mathrm{CO}`` get no marks."""
    inside = found[1].strip()
    if not inside:
        return " "
    is_text = found[0].startswith((r"\text", r"\mbox", r"\hbox", r"\operatorname"))
    if not any(character.isalnum() for character in inside):
        return f"{inside} "
    if inside[0] == ",":
        return f", ‹{inside[1:].strip()}› "
    if inside in FUNCTIONS:
        return rf"\{inside} "
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
