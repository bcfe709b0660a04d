r"""What a question says about its answer: the kind, the listed choices, the notation.

Some questions ask for nothing that can be compared (a poem, advice, a list of ideas). Numbers and
words shared by replies to them are no agreement. ``Asked.kind`` is then ``open``, and only what a
sample itself marks as its answer counts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from ttrl_server.answers.kinds import FOREIGN, MARKED, Kind, alternatives, kind
from ttrl_server.answers.spelling import visible

TAIL = 20_000
"""Characters from the end of a text (or question) that are read."""
LONGEST_CHOICE = 300
"""Characters of a choice that are kept, and of an answer that is compared with it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A question that may be answered with more than text."""

    text: str | None
    tools: frozenset[str] = frozenset()
    """Names of the tools that may be called."""
    ignored: frozenset[str] = frozenset()
    """Arguments of calls that are not compared."""
    json: bool = False
    """Whether the whole reply is one JSON value."""
    fields: bool = False
    """Whether the fields of that value vote, each for itself."""


Asking = Wanted | str | None
"""A question; a text alone asks for text."""


def wanted(
    text: str | None,
    chat: Mapping[str, Any],
    *,
    fields: bool = False,
    ignored: Collection[str] = (),
) -> Asking:
    """What a chat request may be answered with, by its tools and format."""
    tools = chat.get("tools") or () if chat.get("tool_choice") != "none" else ()
    names = frozenset(tool["function"]["name"] for tool in tools)
    form = (chat.get("response_format") or {}).get("type")
    json = form in ("json_object", "json_schema")
    if not (names or json):
        return text
    return Wanted(text, names, frozenset(ignored), json=json, fields=json and fields)


def text_of(question: Asking) -> str | None:
    return question.text if isinstance(question, Wanted) else question


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question says about its answer; made once per question."""

    kind: Kind = "unknown"
    choices: Mapping[str, str] = field(default_factory=dict)
    """Text of each choice by capital letter; empty when the question lists no choices."""
    alternatives: tuple[str, ...] = ()
    """Words that the question offers to choose from: even, odd."""
    integer: bool = False
    listed: bool = False
    """Whether several values, separated by commas, are asked for."""
    ordered: bool = False
    """Whether the order of several values matters."""
    percent: bool = False
    equation: bool = False
    """Whether an equation is the answer, not the value of its right-hand side."""
    ratio: bool = False
    base: bool = False
    """Whether a number in a base is asked for."""
    cased: bool = False
    """Whether upper and lower case differ: formulas of chemistry, genotypes, symbols, codes."""
    decimal_comma: bool = False
    marked: bool = False
    """Whether the question asks to mark the answer (a box, ``####``, a tag, "Answer: …")."""
    names: frozenset[str] = frozenset()
    """Letters that name something in the question, so they are not read as units."""
    stems: frozenset[str] = frozenset()
    """The question's words without plural endings; keys leave them out after a number."""
    wanted: Wanted = Wanted(None)
    text: str = ""
    """The question without spaces; finds expressions that name an answer's value (``a+b = 5``)."""

    @property
    def known(self) -> bool:
        """Whether there is a question at all."""
        return bool(self.text)


@lru_cache(maxsize=64)
def asked(question: Asking) -> Asked:
    """What a question says about its answer, from its last ``TAIL`` characters. Never raises.
    Cached: a long question takes tens of milliseconds, and several ask for the same."""
    wanted = question if isinstance(question, Wanted) else Wanted(question)
    if not wanted.text or not wanted.text.strip():
        return Asked(wanted=replace(wanted, text=None))
    text = visible(wanted.text)[-TAIL:]

    def says(pattern: re.Pattern[str]) -> bool:
        return pattern.search(text) is not None

    choices = MappingProxyType(listed_choices(text))
    offered = () if choices else alternatives(text)
    return Asked(
        wanted=wanted,
        kind=kind(text, bool(choices), offered),
        choices=choices,
        alternatives=offered,
        integer=says(_INTEGER),
        listed=says(_LISTED),
        ordered=says(_ORDERED),
        percent=says(_PERCENT),
        equation=says(_EQUATION),
        ratio=says(_RATIO),
        base=says(_BASE),
        cased=says(_CASED),
        decimal_comma=not choices and says(FOREIGN),
        marked=says(MARKED),
        names=frozenset(_NAMES.findall(text)) - {"a", "A", "I"},
        stems=frozenset(stem(word) for word in _WORDS.findall(text.lower())),
        text="".join(text[-2_000:].split()),
    )


OFFERED: tuple[Kind, ...] = ("choice", "alternative", "verdict")
"""Kinds of questions that name what they may be answered with."""


def echoes(answer: str | None, question: Asking) -> bool:
    """Whether an answer is a word or number of its question, which did not offer it as one; or the
    first digits of such a number, at which a sample may have stopped (84 or 37? 8). What is done is
    none: its arguments come from the question."""
    text, known = text_of(question), asked(question)
    if not answer or not text or len(answer) > LONGEST_CHOICE:
        return False
    if known.kind in OFFERED or known.wanted.tools or known.wanted.json:
        return False
    return _stands(answer, text, pieces=answer.strip().isdecimal())


def _stands(answer: str, text: str, *, pieces: bool = False) -> bool:
    """Whether the answer stands in the question as a word; with ``pieces`` also where more digits
    follow."""
    word, end = re.escape(answer.strip().casefold()), r"(?!\w|[.,]\d)"
    end = rf"(?:\d|{end})" if pieces else end
    return re.search(rf"(?<![\w.]){word}{end}", text[-TAIL:].casefold()) is not None


def by_chance(answer: str | None, question: Asking) -> float:
    """The answer's share of the votes if each sample took one of the answers that the question
    itself names: its choices, or its numbers. 0 for any other answer."""
    text, known = text_of(question), asked(question)
    if not answer or not text or known.wanted.tools or known.wanted.json:
        return 0.0
    if known.kind in OFFERED:
        return 1 / max(2, len(known.choices or known.alternatives))
    if not any(map(str.isdigit, answer)) or not _stands(answer, text):
        return 0.0
    return 1 / max(2, len(set(_NUMBER.findall(text[-TAIL:]))))


_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")

_FORM = re.compile(
    r"""(["'`«“]).{0,200}?["'`»”]|[-+]?\d[\d.,:/]*|(?<=[a-z,;:)] )[A-Z]\w+""", re.DOTALL
)
"""What differs between questions of one form: quoted words, numbers, names."""
_FORM_TAIL = 4000
"""Characters from the end of a question that its form is read from."""
_ROWS = re.compile(r"…(?:[\s,]*…)+")
"""A name of several words, or a list."""


def form(question: Asking) -> str:
    """A question without its quoted words, numbers and names: equal for questions of one form."""
    return _ROWS.sub("…", _FORM.sub("…", (text_of(question) or "")[-_FORM_TAIL:]))


def stem(word: str) -> str:
    """A word without its plural ending: "houses" becomes "house", "boxes" becomes "box"."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


_WORDS = re.compile(r"[^\W\d_]{3,}")
_NAMES = re.compile(r"(?<![A-Za-z'\\0-9])(?<!\d\s)([A-Za-z])(?![A-Za-z'])")

# ---------------------------------------------------------------- how the answer is written

_AN_INTEGER = r"(?:[a-z-]{1,20}\s{1,4}){0,3}?(?:integer|whole\s{1,4}number)\b"
_INTEGER = re.compile(
    rf"(?i)\bas\s{{1,4}}(?:an?|one)\s{{1,4}}{_AN_INTEGER}"
    rf"|\b(?:answer|result|response|output)\b[^.\n]{{0,40}}?"
    rf"\b(?:be|is)\s{{1,4}}an?\s{{1,4}}{_AN_INTEGER}"
    r"|\b(?:give|enter|write|provide|return|output|respond|reply|submit)\b"
    rf"[^.\n]{{0,40}}?\s{_AN_INTEGER}"
    r"|\b(?:nearest|closest)\s{1,4}(?:integer|whole)\b|\binteger\s{1,4}answer\b"
    r"|(?<!be\sa\s)(?<!is\sa\s)\bwhole\s{1,4}number\b"
)
"""The question asks for an integer; "let n be an integer" does not, it describes a variable."""
_LISTED = re.compile(
    r"(?i)\bcomma[- ]separated\b|\bseparated\sby\s(?:a\s)?commas?\b"
    r"|\blist\s(?:of\s)?(?:all|the|of|in|every|your|them|its)\b"
    r"|\breturn\s(?:a|the)\slist\b|\bin\sa\slist\b"
)
_ORDERED = re.compile(
    r"(?i)\b(?:sort(?:ed)?|rank(?:ed)?|arranged?|ascending|descending|alphabetical(?:ly)?"
    r"|chronological(?:ly)?|respectively|reverse[sd]?)\b"
    r"|\b(?:in(?:to)?|the|correct|right)\s(?:[a-z]{1,20}\s){0,3}order\b"
    r"(?!\s(?:to|of\smagnitude|that))|\border\sthe\b|\border\sof\sthe\s"
    r"|\bfirst\b.{1,60}\b(?:then|second|followed)\b"
    r"|\bfrom\s(?:the\s)?(?:least|smallest|lowest|largest|greatest|highest"
    r"|oldest|earliest|shortest|left|top)\b"
    r"|\bsequence\b|\bpermutation\b|排序|顺序|順序|reihenfolge|\bordre\b|\borden(?:a|e)?\b"
)
_PERCENT = re.compile(
    r"(?i)\bpercentages?\b|\bwhat\s(?:\w+\s){0,3}per\s?cent\b"
    r"|\b(?:in|as\sa)\s(?:per\s?cent\b|%)|\bpourcentage\b|\bprozentsatz\b|\bporcentaje\b|百分之几|百分比"
)
"""The question asks for a percentage; "What is 15 % of 80?" does not."""
_EQUATION = re.compile(
    r"(?i)\b(?:equation|formula)\sof\b|\bwhat\sis\s(?:the|an)\s(?:[a-z-]{1,20}\s){0,3}equation\b"
    r"|\b(?:which|write|find|give|determine|state)\s(?:an?\s|the\s|one\s)?"
    r"(?:[a-z-]{1,20}\s){0,3}equations?\b"
    r"|\b(?:find|determine|what\sis|give|write)\sthe\s(?:[a-z-]{1,20}\s){0,2}"
    r"(?:line|circle|ellipse|parabola|hyperbola|locus|curve|plane|asymptotes?|tangent\sline"
    r"|directrix)\b(?!\ssegment)"
)
_RATIO = re.compile(r"(?i)\b(?:ratios?|odds|scale|proportions?|verhältnis|rapport)\b|比例|比是")
_BASE = re.compile(
    r"(?i)\bbase[- ]?(?:\d|two|three|four|five|six|seven|eight|nine|ten|b\b)"
    r"|\bbinary\b|\boctal\b|\bhexadecimal\b"
)
_CASED = re.compile(
    r"(?is)\b(?:chemical|molecular|empirical|structural)\b"
    r"|\b(?:just|only|with|give|write|state|what\sis)\s(?:the\s|its\s|a\s)?formula\b"
    r"|\bgenotypes?\b|\balleles?\b|\bsymbols?\b"
    r"|\b(?:code|password|passphrase|token|key|cipher|string|identifier|acronym|abbreviation)s?\b"
    r"|\bcase[- ]sensitive\b|\b(?:gas|substance|compound|ion|element|molecule)\b.{0,80}\bformula\b"
)

# ---------------------------------------------------------------- listed choices

_MARKER = re.compile(
    r"(?<![A-Za-z0-9(\\])(?:\(([A-Za-z])\)"
    r"|([A-Za-z])([).:](?=[\s}*\\$]|$)|、|\))|(?<=\n)([A-Z])([.:])(?=[^\s.]))"
)
_CHOICE_HEAD = re.compile(r"(?:[\s}*_:$]|\\[ ,;])+")
_CHOICE_TAIL = re.compile(r"(?:[\s,;*_#>-]|\\q?quad|\\[ ,;]|\\[a-z]{1,10}\{|\bor\b|\band\b)+\Z")


def listed_choices(question: str) -> dict[str, str]:
    """Text by letter, from the last run A, B, … of at least two markers in the same style."""
    runs: dict[str, list[re.Match[str]]] = {}
    last: list[re.Match[str]] = []
    for marker in _MARKER.finditer(question):
        style = f"{'()' if marker[1] else marker[3] or marker[5]}{_letter(marker).isupper()}"
        run = runs.setdefault(style, [])
        letter = _letter(marker).upper()
        if letter == "A":
            runs[style] = [marker]
        elif run and ord(letter) == ord(_letter(run[-1]).upper()) + 1:
            run.append(marker)
            last = run
    ends = [*(marker.start() for marker in last[1:]), len(question)]
    choices: dict[str, str] = {}
    for marker, end in zip(last, ends, strict=False):
        # Take the first line that is not blank, without the markup around the markers.
        head = _CHOICE_HEAD.match(question, marker.end(), end)
        text = question[head.end() if head else marker.end() : end]
        line = text[:LONGEST_CHOICE].split("\n", 1)[0]
        choices[_letter(marker).upper()] = _CHOICE_TAIL.sub("", line).rstrip("$. ")
    return choices


def _letter(marker: re.Match[str]) -> str:
    return marker[1] or marker[2] or marker[4]
