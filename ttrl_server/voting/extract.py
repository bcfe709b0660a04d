r"""The final answer of one sample, read from its text.

What a model says last in the strongest form wins: a complete ``\boxed{…}``, else a phrase such as "the answer is …",
else a marked choice letter where the question lists choices, else the last number. A choice is never guessed from a
stray capital letter, and a sample that was cut off has an answer only if a complete box holds it (ttrl.md, section 4).

Every pattern here is linear in the text it reads, or bounded by a constant, whatever the text is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ttrl_server.types import FinishReason
from ttrl_server.voting.equivalence import canonical, visible, without_unit

TAIL = 20_000
"""Characters from the end of a text (or question) that are looked at."""
_WINDOW = 400
"""Characters after a phrase in which its answer must begin and end."""

_THINK_TAG = re.compile(r"</?think>")
_BOX_TOKEN = re.compile(r"(\\(?:boxed|fbox)\s{0,8}\{)|\\.|[{}]", re.DOTALL)

_PHRASE = re.compile(
    r"(?:\banswer|\b(?:correct|right|best)\s{1,4}(?:option|choice|statement))"
    r"(?:\s{1,4}(?:to|of|for|here)\b[^.\n:=]{0,120}?)?[\s*_]{0,6}"
    r"(?:\b(?:is|was|equals)\b|\b(?:would|will|must|should|has\s{1,4}to)\s{1,4}be\b|[:=]|(?<=[*r_ \t])\n)"
    r"|^\#{4}[ \t]{0,8}(?=[-$]{0,2}[0-9.,/]{1,40}[ \t]{0,8}$)",
    re.IGNORECASE | re.MULTILINE,
)
_LEAD = re.compile(
    r"(?:[\s:*$`\"_>=]|\\[(\[$]|(?:therefore|thus|simply|just|approximately|about|roughly|equal\s{1,4}to|given\s{1,4}by|"
    r"indeed|option|choice|letter)\b,?)*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\n|[.?](?=[\s*_\"$`]|\\[)\]]|$)|!(?=[ \t*]{0,8}(?:\n|$))")
_REASON = r"\s(?:because|since|which|where|as|so|when|if|for|given|assuming|after|due|therefore|thus)\b"
_CLAUSE = re.compile(rf"(?:[,;:]|\s[-\u2013\u2014])?{_REASON}", re.IGNORECASE)
_DELIMITERS = re.compile(r"\*\*|__|[$`\"]|\\[()\[\]]|\\(?:boxed|fbox)\s{0,8}\{")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")

_WRAPPERS = re.compile(r"\\(?:text|math)[a-z]{0,6}\s{0,4}\{|\\mbox\s{0,4}\{|\\[,;:!() \[\]]|\*\*|\\?[{}$`\"]")
_LETTER = re.compile(r"\(([A-Ja-j])\)|([A-J])(?:\)|(?![A-Za-z0-9_'(]))")
_MORE_THAN_A_LETTER = re.compile(r"\s*(?:[=+*/^<>_\\]|[-\u2013]\s*[A-Z0-9]|(?:,|&|and\b|or\b)\s*\(?[A-J]\b)")
_IS_CORRECT = re.compile(
    r"(?<![A-Za-z0-9])(?:\(([A-J])\)|([A-J]))\**\s{1,4}is\s{1,4}(?:the\s{1,4})?(?:correct|right|best)\b"
)
_LISTED = re.compile(r"(?<![A-Za-z0-9(])\(?([A-Ja-j])[).:](?=[\s}*\\$]|$)")
_LINE_LETTER = re.compile(r"[\s*\-#>]{0,8}(?:\(([A-J])\)|([A-J])(?:[).:](?=[\s*]|$)|[\s*.]*$))")
_INNER_LETTER = re.compile(r"\(([A-J])\)|\*\*([A-J])(?:[).:][^*\n]{0,80})?\*\*")

_WANTS_INTEGER = re.compile(
    r"\b(?:an?|as|the)\s{1,4}(?:single\s{1,4}|positive\s{1,4}|non-?negative\s{1,4})?(?:integer|whole\s{1,4}number)\b"
    r"[^.?!]{0,60}[.?!]?\s{0,20}$|\b(?:give|answer|respond|reply|return|write|express)\b[^.?!\n]{0,60}"
    r"\b(?:integer|whole\s{1,4}number)\b|\banswer\s{1,4}(?:is|must\s{1,4}be|should\s{1,4}be)\s{1,4}an?\s{1,4}integer\b",
    re.IGNORECASE,
)
_WHOLE = re.compile(r"-?[0-9]+")

_NUMBER = re.compile(
    r"(?:(?<![\w)}\]])-)?"
    r"(?:\\[dt]?frac\{-?[0-9]{1,40}\}\{[0-9]{1,40}\}"
    r"|(?<![A-Za-z0-9])(?<![A-Za-z]_)"
    r"(?:(?:[0-9]{1,3}(?:,[0-9]{3}){1,10}(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?:[eE][-+]?[0-9]{1,6}(?![A-Za-z0-9]))?(?:/[0-9]+)?(?:\\?%)?)"
)
"""Not a digit of a name (x2, x_1), nor a minus that subtracts (5-3)."""


Strength = Literal["boxed", "stated", "choice", "closing", "number"]
"""How an answer was given: ``closing`` is a number in the last line, ``number`` one that stands somewhere before."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a question says about its answer."""

    choices: Mapping[str, str] = field(default_factory=dict)
    """Text of each listed choice by its letter; empty when none are listed."""
    integer: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """The answer of one sample, as it was written, and how."""

    answer: str | None
    strength: Strength | None


def answer(text: str, finish_reason: FinishReason, question: str | None = None) -> str | None:
    """The final answer as the sample wrote it, or None when it has none. Never raises."""
    return read(text, finish_reason, expected(question)).answer


def expected(question: str | None) -> Expected:
    """What kind of answer a question asks for, where it says so."""
    tail = (question or "")[-TAIL:]
    return Expected(_listed_choices(tail), _WANTS_INTEGER.search(tail) is not None)


def read(text: str, finish_reason: FinishReason, expected: Expected) -> Reading:
    """What a sample answers. Never raises.

    A reason other than ``stop`` means the text was cut, by max_tokens or by us. Where the question lists choices, an
    answer that is one of them in words is its letter; where it wants an integer, a number found without any phrase
    around it counts only if it is one.
    """
    tail = _spoken(visible(text))[-TAIL:]
    for strength, find in _FINDERS.items():
        if strength != "boxed" and finish_reason != "stop":
            break
        found = find(tail, expected)
        if found and canonical(found):
            return Reading(_as_choice(found, expected.choices), _closing(strength, found, tail))
    return Reading(None, None)


def _closing(strength: Strength, found: str, text: str) -> Strength:
    last = text.rstrip().rsplit("\n", 1)[-1].replace(",", "")
    return "closing" if strength == "number" and found in last else strength


def _as_choice(found: str, choices: Mapping[str, str]) -> str:
    """The letter of the choice that says the same as ``found``, if there is just one; else ``found``."""
    if not choices or found in choices:
        return found
    said = canonical(found)
    letters = [letter for letter, text in choices.items() if said and said == canonical(text)]
    return letters[0] if len(letters) == 1 else found


def _spoken(text: str) -> str:
    """The text outside ``<think>`` blocks: none if one stays open. The prompt may have opened the first one."""
    kept: list[str] = []
    start, thinking = 0, False
    for tag in _THINK_TAG.finditer(text):
        opens = tag[0] == "<think>"
        if opens and not thinking:
            kept.append(text[start : tag.start()])
        elif not opens and not thinking:
            kept.clear()
        thinking, start = opens, tag.end()
    return "" if thinking else "".join([*kept, text[start:]])


def _boxed(text: str, expected: Expected) -> str | None:
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
    return (_letter(content, expected.choices) or content) if content and expected.choices else content


def _stated(text: str, expected: Expected) -> str | None:
    """The answer of the last phrase that states one."""
    for phrase in reversed(list(_PHRASE.finditer(text))):
        window = text[phrase.end() : phrase.end() + _WINDOW]
        if found := _read_statement(_LEAD.sub("", window, count=1), expected.choices):
            return found
    verdicts = list(_IS_CORRECT.finditer(text))
    return verdicts[-1][1] or verdicts[-1][2] if verdicts else None


def _read_statement(text: str, choices: Mapping[str, str]) -> str | None:
    """The answer at the start of what follows "the answer is", without the explanation after it."""
    if letter := _letter(text, choices):
        return letter
    sentence = _DELIMITERS.sub("", _SENTENCE_END.split(text, maxsplit=1)[0])
    clipped = _CLAUSE.split(sentence, maxsplit=1)[0].strip(" \t.,;:*_")
    short = without_unit(clipped)
    words = len(_WORD.findall(short))
    if words > 3 and (number := _last_number(sentence, Expected())):
        return number
    return None if words > 8 or short.casefold().startswith("not ") else short


def _letter(text: str, choices: Mapping[str, str]) -> str | None:
    """The choice letter at the start, unless it begins an expression ("A + 1") or is a word ("A circle …")."""
    plain = _WRAPPERS.sub(" ", text[:_WINDOW]).strip()
    match = _LETTER.match(plain)
    if match is None:
        return None
    letter, rest = (match[1] or match[2]).upper(), plain[match.end() :]
    if (choices and letter not in choices) or _MORE_THAN_A_LETTER.match(rest):
        return None
    a_word = match[1] is None and letter in "AI" and re.match(r"\s+[a-z]", rest) and not _CLAUSE.match(rest)
    return None if a_word and not choices else letter


def _listed_choices(question: str) -> dict[str, str]:
    """The choices a question lists, by letter: the last list that begins with A and B; empty when there is none."""
    marks = list(_LISTED.finditer(question))
    ends = [*(mark.start() for mark in marks[1:]), len(question)]
    listed: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=False):
        text = question[mark.end() : end].split("\n\n", 1)[0]
        listed[mark[1].upper()] = _WRAPPERS.sub(" ", text[:_WINDOW]).strip(" \n\t,;.")
    return listed if {"A", "B"} <= listed.keys() else {}


def _marked_choice(text: str, expected: Expected) -> str | None:
    """The one letter marked, as "(B)", "**B**" or "B.", in the last line or else the first.

    Lines that list several options one by one do not count.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not expected.choices or not lines:
        return None
    starts = {match[1] or match[2] for match in map(_LINE_LETTER.match, lines) if match}
    for line in (lines[-1], lines[0]):
        start = _LINE_LETTER.match(line)
        if start and len(starts) > 1:
            continue
        letters = {match[1] or match[2] for match in _INNER_LETTER.finditer(line)}
        letters |= {start[1] or start[2]} if start else set()
        if len(letters) == 1 and letters <= expected.choices.keys():
            return letters.pop()
    return None


def _last_number(text: str, expected: Expected) -> str | None:
    """The last number written in the text, thousands separators removed; none if an integer is asked and it is not."""
    numbers = [match[0] for match in _NUMBER.finditer(text)]
    number = numbers[-1].replace(",", "") if numbers else None
    return None if number and expected.integer and not _WHOLE.fullmatch(canonical(number)) else number


_FINDERS: dict[Strength, Callable[[str, Expected], str | None]] = {
    "boxed": _boxed,
    "stated": _stated,
    "choice": _marked_choice,
    "number": _last_number,
}
"""In the order in which they are believed."""
