r"""The final answer of one sample, read from its text.

What a model says last in the strongest form wins: a complete ``\boxed{…}``, else a phrase such as "the answer is …",
else a marked choice where the question lists choices, else the yes or no it asks for, else the last number, else a
short reply to a question that wants the answer and nothing else. A choice is never guessed from a stray capital letter,
and a sample that was cut off has an answer only if a complete box holds it (ttrl.md, section 4).

Every pattern here is linear in the text it reads, or bounded by a constant, whatever the text is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ttrl_server.types import FinishReason
from ttrl_server.voting.equivalence import canonical, visible, without_unit
from ttrl_server.voting.expected import (
    REASON,
    TAIL,
    Expected,
    chosen,
    exactly,
    expected,
    letter_at_end,
    letter_at_start,
    marked,
)
from ttrl_server.voting.replies import short_reply, spoken, verdict

__all__ = ["TAIL", "Expected", "Reading", "Strength", "answer", "expected", "read"]

Strength = Literal["boxed", "stated", "choice", "closing", "number"]
"""Where an answer stands, strongest first; ``closing`` is a number in the last line, ``number`` one before it."""
Choices = Mapping[str, str]

_WINDOW = 400
"""Characters after a phrase in which its answer must begin and end."""
_PHRASES = 30
"""Phrases from the end of a text that are tried."""
_NUMBERS = 500
"""Numbers from the end of a text among which an integer is looked for."""
_LONGEST_FORMULA = 200
"""Characters of a formula that the last number may stand in."""

_BOX_TOKEN = re.compile(r"(\\(?:boxed|fbox)\s{0,8}\{)|\\.|[{}]", re.DOTALL)

_PHRASE = re.compile(
    r"(?:\banswers?|\bans\b\.?|\bfinal\s{1,4}result|答案"
    r"|\b(?:correct|right|best)\s{1,4}(?:option|choice|statement|letter|response))"
    r"(?:\s{1,4}(?:to|of|for|here|in|I|we|you|choice|option)\b(?:[^.\n:=]|\.(?=[0-9])){0,120}?)?"
    r"(?:\s{0,2}\([^()\n]{1,40}\)|,[^,.\n]{1,40},)?[\s*_}\"']{0,6}"
    r"(?:\b(?:is|are|was|were|equals)\b|\b(?:would|will|must|should|can|has\s{1,4}to)\s{1,4}be\b"
    r"|\b(?:comes|turns|works)\s{1,4}(?:out\s{1,4})?to(?:\s{1,4}be)?\b|[:=→]|(?<=答案)[是为])"
    r"|^[ \t#*_>-]{0,12}(?:(?:my|the|final|correct|short)[ \t]{1,4}){0,3}answer[ \t*_]{0,6}\n"
    r"|<answer>"
    r"|^\#{4}[ \t]{0,8}(?=[-$]{0,2}[0-9.,/]{1,40}[ \t]{0,8}$)",
    re.IGNORECASE | re.MULTILINE,
)
_LEAD = re.compile(
    r"(?:[\s:*$`\"_>=}]|(?<=\n)-\s|\\[(\[$]|(?:therefore|thus|hence|so|then|simply|just|"
    r"exactly|precisely|clearly|actually|indeed|approximately|about|roughly|around|most\s{1,4}likely|probably|"
    r"(?:found|known|expected)\s{1,4}to\s{1,4}be|equal\s{1,4}to|given\s{1,4}by|option|choice|letter)\b,?)*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(
    r"\n|</answer>|\"\s?[,}]|,\s?\"|\?(?=\s|$)|!(?=[ \t*]{0,8}(?:\n|$))"
    r"|(?<!\bDr)(?<!\bMr)(?<!\bMrs)(?<!\bSt)"
    r"(?<!\.[A-Z])(?<!\.\s[A-Z])(?<![ap]\.m)\.(?=[\s*_\"$`]|\\[)\]]|$)(?<!\b[A-Z]\.(?=\s[A-Z]\.))"
    r"|(?<=[ap]\.m)\.(?=\s[A-Z]|\s{0,4}$)"
)
_ENVIRONMENT = re.compile(r"\\begin\{([a-z]{1,12})\}.{0,300}?\\end\{\1\}", re.DOTALL)
_FUNCTION = r"(?:sin|cos|tan|cot|sec|csc|arc|log|ln|exp|sqrt|pi)"
_CLAUSE = re.compile(
    rf"(?:[,;:]|\s[-\u2013\u2014])?{REASON}|[;:]\s(?=[A-Za-z]{{2}})"
    rf"|\s[-\u2013\u2014]\s(?!{_FUNCTION})(?=[A-Za-z]{{2}})"
    rf"|(?<=[0-9}}%)]),\s(?!and\b|or\b|{_FUNCTION})(?=[a-z]{{2}})"
    r"|,\sand\s(?:\S{1,30}\s)?(?:is|are|was|it|this|that|we|the|you|there)\b"
    r"|,\s(?:not|who|whose|the|an?|with|making|giving|i\.e\.|rounded)\s|,?\s(?:but|rather\sthan|instead\sof)\s"
    r"|,?\sor\s(?:about|approximately|roughly|around)\s|(?<=[0-9])\s\((?=[A-Za-z]{2})",
    re.IGNORECASE,
)
_ROUNDED = re.compile(r"(?<=[0-9}π)])\s?(?:≈|\\approx(?![a-z]))")
_DELIMITERS = re.compile(r"\*\*|__|[$`\"]|\\[()\[\]]|\\(?:boxed|fbox)\s{0,8}\{")
_PICTURES = re.compile(r"[\s\u2600-\u27bf\ufe0f\U0001f000-\U0001faff]{1,20}\Z")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_SUBJECT = re.compile(r"[A-Za-z][A-Za-z,' ]{1,100}\b[^=\n]{0,100}\b(?:is|are|was|were|equals)\s{1,4}(?=\S)")
_NO_ANSWER = re.compile(r"(?:not|that|I|we|you|it\sdepends|dependent)\s(?=[a-z(])", re.IGNORECASE)
_FORMULA_GOES_ON = re.compile(
    r"\s{0,4}(?:,\s{0,4}(?:and\s|or\s)?[$\\]|[-+*/^=<>(\\]|(?:or|and|hundred|thousand|million|billion|trillion|dozen)\b)"
)
_VERDICT = re.compile(
    r"(?:^|[.,:;]\s|\b(?:so|thus|hence|therefore|that)\s)[ \t]{0,4}"
    r"(?!(?:what|this|that|it|here|there|which|who|neither)\b)([^\s.,;:]{1,40}(?:\s[^\s.,;:]{1,40}){0,2}?)"
    r"\s{1,4}is\s{1,4}(?:the|our|your)\s{1,4}(?:(?:final|correct|right|best)\s{1,4})?answer\b",
    re.IGNORECASE | re.MULTILINE,
)
_IS_CORRECT = re.compile(
    r"(?<![A-Za-z0-9])(?:\(([A-J])\)|([A-J]))\**(?:,\s[^,.()\n]{1,40},|[).:]\s[^,.()\n]{1,40}?)?"
    r"\s{1,4}is\s{1,4}(?:the\s{1,4})?(?:correct|right|best|answer)\b"
)

_PLAIN = r"-?[0-9]{1,40}(?:[./][0-9]{1,40})?"
_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_NUMBER = re.compile(
    rf"(?<![A-Za-z0-9])(?:\\?\{{|[(\[])\s?{_PLAIN}(?:\s?,\s?{_PLAIN}){{1,8}}\s?(?:\\?\}}|[)\]])"
    rf"|\b{_MONTH}\s[0-9]{{1,2}}(?![0-9])(?:st|nd|rd|th)?(?:,?\s[0-9]{{4}})?"
    rf"|(?<![A-Za-z0-9])[0-9]{{1,2}}(?:st|nd|rd|th)?\s{_MONTH}\b(?:,?\s[0-9]{{4}})?"
    r"|(?<![\w-])[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9])"
    r"|(?<![\w:])[0-9]{1,9}(?::[0-9]{1,9}){1,3}(?:\s?[AaPp]\.?[Mm]\b\.?)?"
    r"|(?:(?<![\w)}\]^{])-)?"
    r"(?:(?:[0-9]{1,40}\s?)?\\[dt]?frac(?:\{-?[0-9]{1,40}\}\{[0-9]{1,40}\}|[0-9]{2})"
    r"|(?:(?<![A-Za-z0-9])[0-9]{1,40}\s?)?(?:\\sqrt\{[0-9]{1,40}\}|√(?:[0-9]{1,40}|\([0-9]{1,40}\)))"
    r"|(?<![A-Za-z0-9^])(?<![A-Za-z]_)(?<!\^[-{])(?<!\^\{-)"
    r"(?:(?:[0-9]{1,3}(?:(?:,|\{,\}|,?\\[!,])[0-9]{3}){1,10}(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?:\s?(?:×|\*|·|\\times|\\cdot)\s?10\s?\^\s?\{?-?[0-9]{1,6}\}?|\^\{?-?[0-9]{1,6}\}?"
    r"|[eE][-+]?[0-9]{1,6}(?![A-Za-z0-9])|\s[0-9]{1,40}(?=/[0-9]))?"
    r"(?:/[0-9]+){0,2}(?:\s?(?:π|\\pi(?![a-z])))?(?:\\?%)?)"
)
"""Not a digit of a name (x2, x_1) or an exponent (cm^2), nor a minus that subtracts (5-3)."""
_THOUSANDS = re.compile(r"(?<=[0-9])(?:,|\{,\}|,?\\[!,])(?=[0-9]{3})")
_FORMULA = re.compile(
    rf"\$\$(.{{1,{_LONGEST_FORMULA}}}?)\$\$|\\\[(.{{1,{_LONGEST_FORMULA}}}?)\\\]|\\\((.{{1,{_LONGEST_FORMULA}}}?)\\\)"
    rf"|(?<![\\$])\$(?![\s$])((?:[^$\n\\]|\\.){{1,{_LONGEST_FORMULA}}})(?<!\s)\$(?![0-9$])",
    re.DOTALL,
)
_SEVERAL = re.compile(r",|\\text\s?\{\s?(?:or|and)\b|\bor\b")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one sample answers, as it wrote it, or the letter of the listed choice that it wrote out."""

    answer: str | None
    strength: Strength | None
    """None when there is no answer."""


_NOTHING = Reading(None, None)


def answer(text: str, finish_reason: FinishReason, question: str | None = None) -> str | None:
    """The final answer of a sample to ``question``, or None when it has none. Never raises."""
    return read(text, finish_reason, expected(question)).answer


def read(text: str, finish_reason: FinishReason, expected: Expected) -> Reading:
    """The final answer and how clearly it is one. Never raises.

    A reason other than ``stop`` means the text was cut, by max_tokens or by us: then only a complete box counts.
    """
    tail = spoken(visible(text))[-TAIL:]
    reading = _reading(_boxed(tail, expected.choices), "boxed")
    if reading is _NOTHING and finish_reason == "stop":
        reading = next((found for found in _ways(tail, expected) if found is not _NOTHING), _NOTHING)
    return reading


def _ways(tail: str, expected: Expected) -> Iterator[Reading]:
    """The readings that need no box, strongest first."""
    yield _reading(_stated(tail, expected.choices), "stated")
    yield _reading(marked(tail, expected.choices), "choice")
    if expected.verdict:
        yield _reading(verdict(tail), "choice")
    if expected.listed:
        yield _reading(short_reply(tail, ","), "closing")
    yield _last_value(tail, expected)
    if expected.bare:
        yield _reading(short_reply(tail), "closing")


def _reading(found: str | None, strength: Strength) -> Reading:
    return Reading(found, strength) if found and canonical(found) else _NOTHING


def _boxed(text: str, choices: Choices) -> str | None:
    """What the last complete box with something in it holds; a box that holds only a box counts as that one."""
    opened: list[tuple[int, int, bool]] = []
    box, content = "", None
    for token in _BOX_TOKEN.finditer(text):
        if token[0] == "{" or token[1]:
            opened.append((token.start(), token.end(), token[1] is not None))
        elif token[0] == "}" and opened:
            command, start, is_box = opened.pop()
            held = text[start : token.start()].strip() if is_box else ""
            if held:
                content = content if held == box else held
                box = text[command : token.end()]
    return (
        (letter_at_start(content, choices) or chosen(content, choices) or content) if content and choices else content
    )


def _stated(text: str, choices: Choices) -> str | None:
    """The answer of the last phrase that states one, else of the last "… is the answer"."""
    for phrase in reversed(list(_PHRASE.finditer(text))[-_PHRASES:]):
        if found := _read_statement(text[phrase.end() : phrase.end() + _WINDOW], choices):
            return found
    if verdicts := list(_IS_CORRECT.finditer(text)):
        return verdicts[-1][1] or verdicts[-1][2]
    named = list(_VERDICT.finditer(text))
    return _read_statement(named[-1][1], choices) if named else None


def _read_statement(window: str, choices: Choices) -> str | None:
    """The answer at the start of what follows "the answer is", without the explanation after it."""
    lead = _LEAD.match(window)
    text = window[lead.end() :] if lead else window
    if letter := letter_at_start(text, choices):
        return letter
    sentence = _DELIMITERS.sub("", _formula_ahead(window, len(window) - len(text)) or _first_sentence(text))
    clipped = _clip(sentence)
    if letter := chosen(clipped, choices) or chosen(sentence, choices) or letter_at_end(clipped, choices):
        return letter
    if subject := _SUBJECT.match(clipped):
        clipped = clipped[subject.end() :]
    short = without_unit(clipped)
    words = len(_WORD.findall(short))
    if words > 3 and (number := _number_of(sentence)):
        return number
    return None if words > 8 or _NO_ANSWER.match(short) else short


def _formula_ahead(window: str, start: int) -> str | None:
    """The whole formula that opens just before ``start``, unless the answer goes on after it (``$2$ or $3$``)."""
    for formula in _FORMULA.finditer(window):
        inside = formula.start(formula.lastindex or 0)
        if formula.start() >= start:
            return None
        if inside <= start < formula.end():
            ahead = window[start : formula.end(formula.lastindex or 0)]
            return None if _FORMULA_GOES_ON.match(window, formula.end()) else ahead.replace("\n", " ")
    return None


def _first_sentence(text: str) -> str:
    """Up to the first end of a sentence or line that is not inside a matrix."""
    end = _SENTENCE_END.search(text)
    matrix = _ENVIRONMENT.search(text)
    if end and matrix and matrix.start() < end.start() < matrix.end():
        return text[: matrix.end()].replace("\n", " ")
    return text[: end.start()] if end else text


def _clip(sentence: str) -> str:
    """Without reasons, remarks, rounded values and decoration after the answer."""
    clipped = _ROUNDED.split(_CLAUSE.split(sentence, maxsplit=1)[0], maxsplit=1)[0]
    clipped = _PICTURES.sub("", clipped).lstrip(" \t,;:*_").rstrip(" \t.,;:*_")
    return clipped.removesuffix("}") if clipped.count("}") > clipped.count("{") else clipped


def _number_of(sentence: str) -> str | None:
    """Its first number where it begins with one ("40 dollars and …"), else its last ("the number of 3 …, or 10")."""
    leading = _NUMBER.match(sentence)
    return _plain(leading[0]) if leading else _last([match[0] for match in _NUMBER.finditer(sentence)])


def _last_value(text: str, expected: Expected) -> Reading:
    """The last number, or the formula it stands in; where an integer is asked for, the last that is one."""
    numbers = reversed(list(_NUMBER.finditer(text))[-_NUMBERS:])
    number = next((match for match in numbers if not expected.integer or _is_integer(match[0])), None)
    if number is None:
        return _NOTHING
    last_line = text.rstrip(" \t\r\n$*`\\])").rfind("\n") + 1
    found = (not expected.integer and _formula_around(text, number)) or _plain(number[0])
    found = exactly(found, expected.choices) or found
    return _reading(found, "closing" if number.end() > last_line else "number")


def _formula_around(text: str, number: re.Match[str]) -> str | None:
    """What stands after the last equals sign of the formula that holds the number, if that is a whole expression."""
    reach = max(number.start() - 2 * _LONGEST_FORMULA, text.rfind("\n\n", 0, number.start()) + 1, 0)
    for formula in _FORMULA.finditer(text, reach):
        if formula.start() < number.start() < formula.end():
            content = _ROUNDED.split(formula[formula.lastindex or 0], maxsplit=1)[0]
            if content.count("=") < 2 or not _SEVERAL.search(content):
                content = content.rsplit("=", 1)[-1]
            content = content.lstrip().rstrip(" .,;\n")
            whole = content.count("{") == content.count("}") and content.count(r"\begin") == content.count(r"\end")
            return content if whole and re.search("[0-9]", content) else None
    return None


def _is_integer(number: str) -> bool:
    return re.fullmatch(r"-?[0-9]+", canonical(number)) is not None


def _last(numbers: list[str]) -> str | None:
    return _plain(numbers[-1]) if numbers else None


def _plain(number: str) -> str:
    """Without the separators between thousands; a bracketed list keeps its commas."""
    return number if number[:1] in "([{\\" else _THOUSANDS.sub("", number)
