r"""What a question says about its answer (choices, an integer, a bare reply), and which of its choices a sample names.

Choices are read from markers ``(A)``, ``A)``, ``A.`` or ``A:`` that follow each other in one style; an answer given as
the text of a choice is the letter of that choice, so that "nitric acid" and "B" are one vote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ttrl_server.voting.equivalence import canonical, visible
from ttrl_server.voting.replies import wants_list, wants_verdict, wants_words

TAIL = 20_000
"""Characters from the end of a text (or question) that are looked at."""
_LONGEST_CHOICE = 300
"""Characters of a choice that are kept, and of an answer that is compared with it."""

REASON = r"\s(?:because|since|which|where|as|so|when|if|for|given|assuming|after|due|therefore|thus)\b"
_A_REASON = re.compile(rf"(?:[,;:]|\s[-\u2013\u2014])?{REASON}", re.IGNORECASE)
_REACH = 400
"""Characters in which a letter at the start must be recognised."""

_MARKER = re.compile(r"(?<![A-Za-z0-9(\\])(?:\(([A-Ja-j])\)|([A-Ja-j])([).:])(?=[\s}*\\$]|$))")
_CHOICE_HEAD = re.compile(r"(?:[\s}*_:$]|\\[ ,;])+")
_CHOICE_TAIL = re.compile(r"(?:[\s,;*_#>-]|\\q?quad|\\[ ,;]|\\[a-z]{1,10}\{|\bor\b|\band\b)+\Z")
_WORD = re.compile(r"[^\W_]+")
_SUBSCRIPT = re.compile(r"_\(?(\w{1,10})\)?")
_MEASURED = re.compile(r"[-+$€£ ]{0,4}[0-9][0-9.,]{0,40}\s?[A-Za-z°% ]{0,40}")
_ARTICLES = frozenset({"the", "a", "an", "that", "it", "is"})

_WRAPPERS = re.compile(r"\\(?:text|math)[a-z]{0,6}\s{0,4}\{|\\mbox\s{0,4}\{|\\[,;:!() \[\]]|\*\*|\\?[{}$`\"]")
_LETTER = re.compile(r"[(\[]([A-Ja-j])[)\]]|([A-J])(?:\)|(?![A-Za-z0-9_'(]))")
_ANOTHER_LETTER = re.compile(r"\s*(?:[=+*/^<>_\\]|[-\u2013\u2014]\s*[A-J](?![A-Za-z])|(?:,|&|and\b|or\b)\s*\(?[A-J]\b)")
_AN_EXPRESSION = re.compile(r"\s*[-\u2013]\s*[A-Z0-9]|\.\s?[A-Z]\.")
_PICKS = re.compile(
    r"\b(?:choose|chose|select|pick|go\s{1,4}with)\s{1,4}(?:(?:option|choice|answer|letter)\s{1,4})?"
    r"|\b(?:it(?:'s|\s{1,4}is)|(?:therefore|thus|hence|so),?)\s{1,4}(?:(?:option|choice)\s{1,4})?"
    r"(?=\**\(?[A-J]\)?\**(?:[.,]\s|[. \t]{0,4}$))",
    re.IGNORECASE | re.MULTILINE,
)
_LINE_LETTER = re.compile(r"[\s*\-#>]{0,8}(?:\(([A-Ja-j])\)|([A-J])(?:[).:](?=[\s*]|$)|[\s*.]*$))")
_INNER_LETTER = re.compile(r"(?<!\bnot\s)(?<!\bnor\s)\(([A-J])\)|\*\*([A-J])(?:[).:][^*\n]{0,80})?\*\*")

_AN_INTEGER = r"(?:[a-z-]{1,20}\s{1,4}){0,3}?(?:integer|whole\s{1,4}number)\b"
_INTEGER = re.compile(
    rf"\bas\s{{1,4}}(?:an?|one)\s{{1,4}}{_AN_INTEGER}"
    rf"|\b(?:answer|result|response|output)\b[^.\n]{{0,40}}?"
    rf"\b(?:be|is)\s{{1,4}}an?\s{{1,4}}{_AN_INTEGER}"
    rf"|\b(?:give|enter|write|provide|return|output|respond|reply|submit)\b[^.\n]{{0,40}}?\s{_AN_INTEGER}"
    r"|\b(?:nearest|closest)\s{1,4}(?:integer|whole)\b|\binteger\s{1,4}answer\b"
    r"|(?<!be\sa\s)(?<!is\sa\s)\bwhole\s{1,4}number\b",
    re.IGNORECASE,
)
"""Said of the answer; "let n be an integer" is said of a variable."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a question says about its answer; made once per question."""

    choices: Mapping[str, str]
    """Text by capital letter; empty when the question lists none."""
    integer: bool
    """Whether it asks for an integer."""
    verdict: bool = False
    """Whether yes or no (true or false) answers it."""
    bare: bool = False
    """Whether it lists no choices and asks for the answer and nothing else, so that a short reply is one."""
    listed: bool = False
    """Whether a list between commas is asked for."""


def expected(question: str | None) -> Expected:
    """What the question says about its answer, from its last ``TAIL`` characters. Never raises."""
    text = visible(question or "")[-TAIL:]
    choices = MappingProxyType(_listed_choices(text))
    return Expected(
        choices,
        integer=_INTEGER.search(text) is not None,
        verdict=not choices and wants_verdict(text),
        bare=not choices and wants_words(text),
        listed=not choices and wants_list(text),
    )


def chosen(text: str, choices: Mapping[str, str]) -> str | None:
    """The letter of the one choice that an answer names by its text, whole or in part; None when it names none or more.

    In part: "nitric acid" begins with the choice "nitric", "nitric" is found in no other choice than "nitric acid".
    """
    return exactly(text, choices) or _only(_in_part(_words(text[:_LONGEST_CHOICE]), choices))


def exactly(text: str, choices: Mapping[str, str]) -> str | None:
    """The letter of the one choice that is equivalent to the text, or whose letter it is, or whose number it gives."""
    bare = text.strip()
    if len(bare) == 1 and bare.upper() in choices:
        return bare.upper()
    if not choices or not bare:
        return None
    key = _key(bare)
    same = [letter for letter, choice in choices.items() if key and _key(choice) == key]
    if same or not _MEASURED.fullmatch(bare):
        return _only(same)
    number = _number(bare)
    measured = {letter: choice for letter, choice in choices.items() if _MEASURED.fullmatch(choice)}
    return _only([letter for letter, choice in measured.items() if _number(choice) == number])


def letter_at_start(text: str, choices: Mapping[str, str]) -> str | None:
    """The choice letter at the start, unless it begins an expression ("A + 1") or is a word ("A circle …")."""
    plain = _WRAPPERS.sub(" ", text[:_REACH]).strip()
    match = _LETTER.match(plain)
    if match is None:
        return None
    letter, rest = (match[1] or match[2]).upper(), plain[match.end() :]
    if (choices and letter not in choices) or _ANOTHER_LETTER.match(rest):
        return None
    if not choices and _AN_EXPRESSION.match(rest):
        return None
    a_word = match[1] is None and letter in "AI" and re.match(r"\s+[a-z]", rest) and not _A_REASON.match(rest)
    return None if a_word and not choices else letter


def letter_at_end(statement: str, choices: Mapping[str, str]) -> str | None:
    """The letter of a listed choice that a statement ends with: "to start antibiotics (B)"."""
    letters = [match[1] or match[2] for match in _INNER_LETTER.finditer(statement)]
    alone = len(letters) == 1 and statement.endswith(f"({letters[0]})") and not statement.startswith("not ")
    return letters[0] if alone and letters[0] in choices else None


def marked(text: str, choices: Mapping[str, str]) -> str | None:
    """The choice picked ("I choose B"), or marked as "(B)", "**B**" or "B." or written alone in the last or first line.

    Lines that list several options one by one do not count.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not choices or not lines:
        return None
    picks = list(_PICKS.finditer(text))
    if picks and (letter := letter_at_start(text[picks[-1].end() :], choices)):
        return letter
    starts = {_capital(match) for match in map(_LINE_LETTER.match, lines) if match}
    for line in (lines[-1], lines[0]):
        start = _LINE_LETTER.match(line)
        if start and len(starts) > 1:
            continue
        letters = {_capital(match) for match in _INNER_LETTER.finditer(line)} | ({_capital(start)} if start else set())
        if len(letters) == 1 and letters <= choices.keys():
            return letters.pop()
    return exactly(lines[-1], choices)


def _capital(match: re.Match[str]) -> str:
    return (match[1] or match[2]).upper()


def _listed_choices(question: str) -> dict[str, str]:
    """Text by letter of the last run A, B, … of at least two markers in the same style."""
    runs: dict[str, list[re.Match[str]]] = {}
    last: list[re.Match[str]] = []
    for marker in _MARKER.finditer(question):
        style = f"{'()' if marker[1] else marker[3]}{(marker[1] or marker[2]).isupper()}"
        run = runs.setdefault(style, [])
        if _capital(marker) == "A":
            runs[style] = [marker]
        elif run and ord(_capital(marker)) == ord(_capital(run[-1])) + 1:
            run.append(marker)
            last = run
    ends = [*(marker.start() for marker in last[1:]), len(question)]
    return {_capital(m): _choice_text(question[m.end() : end]) for m, end in zip(last, ends, strict=False)}


def _choice_text(text: str) -> str:
    """The first line with anything in it, without the markup that joins it to the markers around it."""
    head = _CHOICE_HEAD.match(text)
    line = text[head.end() if head else 0 :][:_LONGEST_CHOICE].split("\n", 1)[0]
    return _CHOICE_TAIL.sub("", line).rstrip("$. ")


def _in_part(said: list[str], choices: Mapping[str, str]) -> list[str]:
    """Letters of the choices that the words begin with, if they name no other, or else that hold the words."""
    texts = {letter: words for letter, choice in choices.items() if (words := _words(choice)) and _has_name(words)}
    named = [letter for letter, words in texts.items() if _holds(said, words)]
    longest = [a for a in named if not any(a != b and _holds(texts[b], texts[a]) for b in named)]
    if longest:
        return longest if said[: len(texts[longest[0]])] == texts[longest[0]] else []
    return [letter for letter, words in texts.items() if _has_name(said) and _holds(words, said)]


def _words(text: str) -> list[str]:
    """Its words in lower case, without the LaTeX commands around them and the articles before them."""
    words = _WORD.findall(re.sub(r"\\[a-z]+", " ", text).casefold())
    while words and words[0] in _ARTICLES:
        del words[0]
    return words


def _has_name(words: list[str]) -> bool:
    return any(len(word) >= 2 and word.isalpha() for word in words)


def _holds(words: list[str], part: list[str]) -> bool:
    return any(words[start : start + len(part)] == part for start in range(len(words) - len(part) + 1))


def _key(text: str) -> str:
    """Canonical, and without the mark of a subscript: a question lists CO2, a sample writes ``CO_2``."""
    return _SUBSCRIPT.sub(r"\1", canonical(text))


def _number(text: str) -> str:
    """The digits of a measured value, with its sign; ``1,000 °C`` and ``1000 degrees`` give the same."""
    digits = re.search(r"-?\s?[0-9][0-9.,]{0,40}", text)
    return canonical(digits[0]) if digits else ""


def _only(letters: list[str]) -> str | None:
    return letters[0] if len(letters) == 1 else None
