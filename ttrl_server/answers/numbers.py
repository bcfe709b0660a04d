"""Finds the number at the end of a sample: in bold, in a formula, or the last that counts."""

from __future__ import annotations

import re

from ttrl_server.answers.asked import Asked
from ttrl_server.answers.choices import exactly
from ttrl_server.answers.keys import CALCULATION, key, repeats
from ttrl_server.answers.lexicon import PARTS, SCALES, SMALL, TENS
from ttrl_server.answers.units import unit

_NUMBERS = 500
"""How many numbers, from the end of a text, may be the answer."""
_LONGEST_FORMULA = 200
"""Most characters of a formula around the last number."""

_PLAIN = r"-?[0-9]{1,40}(?:[./][0-9]{1,40})?"
_MONTH = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
)
_NUMBER = re.compile(
    rf"(?<![A-Za-z0-9])(?:\\?\{{|[(\[])\s?{_PLAIN}(?:\s?,\s?{_PLAIN}){{1,8}}\s?(?:\\?\}}|[)\]])"
    rf"|\b{_MONTH}\s[0-9]{{1,2}}(?![0-9])(?:st|nd|rd|th)?(?:,?\s[0-9]{{4}})?"
    rf"|(?<![A-Za-z0-9])[0-9]{{1,2}}(?:st|nd|rd|th)?\s{_MONTH}\b(?:,?\s[0-9]{{4}})?"
    r"|(?<![\w-])[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9])"
    r"|(?<![\w:])[0-9]{1,9}(?::[0-9]{1,9}){1,3}(?:\s?[AaPp]\.?[Mm]\b\.?)?"
    r"|(?:(?<![\w)}\]^{])-)?"
    r"(?:(?:[0-9]{1,40}\s?)?\\[dt]?frac(?:\{-?[0-9]{1,40}\}\{[0-9]{1,40}\}|[0-9]{2})"
    r"|(?:(?<![A-Za-z0-9])[0-9]{1,40}\s?)?"
    r"(?:\\sqrt\{[0-9]{1,40}\}|√(?:[0-9]{1,40}|\([0-9]{1,40}\)))"
    r"|(?<![A-Za-z0-9^])(?<![A-Za-z]_)(?<!\^[-{])(?<!\^\{-)"
    r"(?:[0-9]{1,3}(?:\.[0-9]{3}){1,5},[0-9]{1,9}"
    r"|(?:[0-9]{1,3}(?:(?:,|\{,\}|,?\\[!,])[0-9]{3}){1,10}(?![0-9])|[0-9]+)"
    r"(?:[.][0-9]+|,[0-9]{1,2}(?![0-9]))?|\.[0-9]+)"
    r"(?:\s?(?:×|\*|·|\\times|\\cdot)\s?10\s?\^\s?\{?-?[0-9]{1,6}\}?|\^\{?-?[0-9]{1,6}\}?"
    r"|[eE][-+]?[0-9]{1,6}(?![A-Za-z0-9])|\s[0-9]{1,40}(?=/[0-9]))?"
    r"(?:/[0-9]+){0,2}(?:\s?(?:π|\\pi(?![a-z])))?(?:\s?\\?%)?)"
)
"""Excludes digits in names (x2, x_1) and exponents (cm^2), and a minus that subtracts (5-3)."""
_THOUSANDS = re.compile(r"(?<=[0-9])(?:,|\{,\}|,?\\[!,])(?=[0-9]{3})")
ROUNDED = re.compile(r"(?<=[0-9π)}])\s?(?:≈|\\approx(?![a-z]))")
FORMULA = re.compile(
    rf"(?s)\$\$(.{{1,{_LONGEST_FORMULA}}}?)\$\$"
    rf"|\\\[(.{{1,{_LONGEST_FORMULA}}}?)\\\]|\\\((.{{1,{_LONGEST_FORMULA}}}?)\\\)"
    rf"|(?<![\\$])\$(?!\s*\$)((?:[^$\n\\]|\\.){{1,{_LONGEST_FORMULA}}})(?<!\$)\$(?![0-9$])"
)
_SEVERAL = re.compile(r",|\\text\s?\{\s?(?:or|and)\b|\bor\b")
_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*")
_QUALIFIES = re.compile(
    r"(?i)(?:\b(?:(?:less|more|greater|fewer|smaller|larger|bigger|higher|lower)\sthan"
    r"(?:\sor\sequal\sto)?|between|from|through|up\sto|at\s(?:most|least)"
    r"|out\sof|(?<=\d\s)of|below|under|above|within|divisible\sby|multiples?\sof|among"
    r"|(?<=\d\s)to|clos(?:e|er|est)\sto|compared\sto|relative\sto|next\sto"
    r"|every|per|by|than|over)\s"
    r"(?:the\s|a\s)?\$?|\bbetween\s\S{1,20}\sand\s\$?)\Z"
)
_STEP = re.compile(
    r"(?i)(?:\bsteps?|\bparts?|\brows?|\bpages?|\bfigures?|\bequations?|\bmethods?|\brules?"
    r"|\bexamples?|\bstep\s?#|\bcase)\s\Z"
)


_UNIT_AFTER = [
    re.compile(rf"\s?((?:[A-Za-z°µ€£¥₹%][\w/^²³.]{{0,12}}\s?){{{n}}})(?<![\s.])")
    for n in range(1, 5)
]
_ALSO_WORDS = frozenset({"in", "a", "A", "min", "bar", "second", "times", "unit", "units"})
"""Units that are also words or letters with another meaning in a sentence."""
_IN_WORDS = "|".join(sorted([*SMALL, *TENS, *SCALES], key=len, reverse=True))
_PARTS = "|".join(PARTS)
_NUMBER_IN_WORDS = re.compile(
    rf"(?i)\b(?:an?|{_IN_WORDS})[\s-](?:{_PARTS})s?\b|\bhalf\b"
    rf"|\b(?:{_IN_WORDS})\b(?:[\s-](?:and\s)?(?:{_IN_WORDS})\b){{0,8}}"
)
_NAMED = re.compile(
    r"\\[a-zA-Z]+|\b(?:sqrt|sin|cos|tan|log|ln|exp|pi)\b(?=\s?[(\d]|\W|\Z)|(?<=\d)(?:sqrt|pi)\b"
)
_FORMULA_SIGNS = re.compile(
    r"sqrt\s?\(|(?<![a-z])pi\b|[{}^√\\±]|\)\s?\(|(?<![A-Za-z])[a-z]\s?=\s?.*\bor\b"
    r"|\d\s?[a-z]\s?[-+]|(?<![A-Za-z])[a-z]\s?[-+]\s?\d"
)
_TOTAL = re.compile(r"\s(?:\w+\s){0,2}(?:in\stotal|altogether|in\sall|overall)\b", re.IGNORECASE)
_REMARK = re.compile(r"\s\([^()\n]{1,80}\)[\s.*]*\Z")
_ASIDE = re.compile(r"\b(?:after|since|because|when|while|before|having|given)\b", re.IGNORECASE)
_CALCULATION = re.compile(rf"(?<![\d.]){CALCULATION}")
_MATRIX_FORMULA = re.compile(r"\\begin\{[a-z]*(?:matrix|array)\}")


def short_formula(text: str, asked: Asked) -> str | None:
    """A reply that is one formula and nothing else, or a matrix that is its last formula."""
    formulas = [m[m.lastindex or 0].strip() for m in FORMULA.finditer(text)]
    if formulas and _MATRIX_FORMULA.search(formulas[-1]) and "=" not in formulas[-1]:
        return formulas[-1]
    bare = text.strip().strip("$").rstrip(".").strip()
    wordy = re.search(r"\n|:|\.\s|[^\W\d_]{4,}", _NAMED.sub("", bare))
    if asked.kind != "number" or wordy or len(bare) > 80:
        return None
    formula = re.search(r"\d|\\[a-z]|pi", bare) and _FORMULA_SIGNS.search(bare)
    foreign = asked.decimal_comma and re.fullmatch(r"[-\d.,\s$€£%]+", bare)
    return bare if formula or foreign else None


def last_value(text: str, asked: Asked) -> tuple[str | None, bool]:
    """The last number of a reply, or the formula around it, and whether it is in the last line.
    Numbers that only limit another one, or repeat the question's calculation, do not count."""
    last_line = text.rstrip(" \t\r\n$*`\\])").rfind("\n") + 1
    if (bold := _only_bold(text[last_line:])) and not asked.integer:
        return exactly(bold, asked) or bold, True
    numbers = list(_NUMBER.finditer(text))[-_NUMBERS:]
    if asked.integer:
        keyed = [(number, key(number[0], asked)) for number in numbers]
        numbers = [number for number, k in keyed if k and re.fullmatch("-?[0-9]+", k.bare)]
    if asked.kind == "number":
        written = _CALCULATION.finditer(text)
        again = [found.span() for found in written if repeats(found[0].rstrip("., "), asked)]
        numbers = [n for n in numbers if not any(start <= n.start() < end for start, end in again)]
    if not numbers and asked.kind == "number":
        # Take the number in words of a short reply if it is the only one.
        runs, length = [match[0] for match in _NUMBER_IN_WORDS.finditer(text)], len(text.split())
        short = length <= 12 and "\n" not in text.strip() and len(runs) == 1
        return (runs[0] if short and (runs[0].lower() != "one" or length <= 3) else None), True
    if not numbers:
        return None, False
    number = _main(text, numbers)
    formula = None if asked.integer else _formula_around(text, number)
    value = formula or _with_unit(text, number, asked)
    choice = exactly(value, asked) or exactly(_plain(number[0]), asked)
    return choice or value, number.end() > last_line


def _main(text: str, numbers: list[re.Match[str]]) -> re.Match[str]:
    """The number of the last sentence that the sentence's other numbers only explain or limit."""
    remark = _REMARK.search(text)
    outside = [number for number in numbers if not remark or number.start() <= remark.start() + 1]
    if remark and outside and "\n" not in text[outside[-1].end() : remark.start()]:
        numbers = outside
    number = numbers[-1]
    sentence = [n for n in numbers if not re.search(r"[.!?]\s|\n", text[n.end() : number.start()])]
    if total := next((n for n in sentence[:-1] if _TOTAL.match(text, n.end())), None):
        return total
    for earlier in reversed(sentence[:-1]):
        # Skip a number that only limits another one ("42 integers less than 1000"), or an aside.
        before = text[max(number.start() - 40, 0) : number.start()]
        limits = _QUALIFIES.search(before) or _STEP.search(before)
        if not limits and not _ASIDE.search(text[earlier.end() : number.start()]):
            break
        number = earlier
    return number


def _with_unit(text: str, number: re.Match[str], asked: Asked) -> str:
    """The number with the currency before it or the unit after it: 25 m are not 25 cm."""
    found, before = _plain(number[0]), text[number.start() - 1 : number.start()]
    currency = before and before in "€£¥₹$"
    if currency and not _formula_at(text, number.start(), number.start() - _LONGEST_FORMULA):
        return before + found
    for words in range(4, 0, -1):
        after = _UNIT_AFTER[words - 1].match(text, number.end())
        letter = after is not None and len(after[1]) == 1 and after[1] in asked.names
        if after and not letter and after[1] not in _ALSO_WORDS and unit(after[1]):
            return f"{found} {after[1]}"
    return found


def _only_bold(line: str) -> str | None:
    """The number in the only bold words of a line, if these are not part of a formula."""
    bold = list(_BOLD.finditer(line))
    if len(bold) != 1 or re.search(r"[=*/+<>]", line[bold[0].end() :]):
        return None
    said, numbers = bold[0][1], _NUMBER.findall(bold[0][1])
    alone = len(numbers) == 1 and len(said.split()) <= 4 and not FORMULA.search(said)
    return _plain(numbers[0]) if alone else None


def _formula_around(text: str, number: re.Match[str]) -> str | None:
    """What follows the last "=" of the formula around the number, if it is a whole expression."""
    at = number.start()
    formula = _formula_at(text, at, max(at - 2 * _LONGEST_FORMULA, text.rfind("\n\n", 0, at) + 1))
    if formula is None:
        return None
    content = ROUNDED.split(formula[formula.lastindex or 0], maxsplit=1)[0]
    if content.count("=") < 2 or not _SEVERAL.search(content):
        content = content.rsplit("=", 1)[-1]
    content = content.lstrip().rstrip(" .,;\n")
    braces = content.count("{") == content.count("}")
    whole = braces and content.count(r"\begin") == content.count(r"\end")
    return content if whole and re.search("[0-9]", content) else None


def _formula_at(text: str, place: int, reach: int) -> re.Match[str] | None:
    """The formula around a place of a text, if it starts after ``reach``."""
    formulas = FORMULA.finditer(text, max(reach, 0))
    return next((f for f in formulas if f.start() < place < f.end()), None)


def _plain(number: str) -> str:
    """The number without thousands separators; a bracketed list keeps its commas."""
    return number if number[:1] in "([{\\" else _THOUSANDS.sub("", number)


def number_of(sentence: str) -> str | None:
    """The first number of a sentence that begins with a number ("40 dollars and …"), else the last
    number ("the number of 3 …, or 10")."""
    leading = _NUMBER.match(sentence.lstrip("$"))
    found = [leading[0]] if leading else _NUMBER.findall(sentence)
    return _plain(found[-1]) if found else None
