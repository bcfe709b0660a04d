"""Finds which of the listed choices, or of the words that a question offers, a sample names.

An answer that gives the text of a choice is read as the choice's letter, so that "nitric acid" and
"B" are the same answer. A capital letter somewhere in a text is never read as a choice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import dropwhile

from ttrl_server.answers.asked import LONGEST_CHOICE, Asked
from ttrl_server.answers.keys import key
from ttrl_server.answers.lexicon import ARTICLES, CHOICE
from ttrl_server.answers.spelling import lines

Choices = Mapping[str, str]

REASON = (
    r"\s(?:because|since|which|where|as|so|when|if|for|given|assuming|after|due|therefore|thus)\b"
)
_A_REASON = re.compile(rf"(?:[,;:]|\s[-\u2013\u2014])?{REASON}", re.IGNORECASE)
UNLISTED = frozenset("ABCDEFGHIJ")
"""Letters that are read as choices if the question lists no choices."""
_REACH = 400
"""Characters from the start of a text that are read to find a letter there."""

_WORD = re.compile(r"[^\W_]+")
_BEFORE_A_NAME = ARTICLES | {"that", "it", "is"}
_MEASURED = re.compile(r"[-+$€£ ]{0,4}[0-9][0-9.,]{0,40}\s?[A-Za-z°% ]{0,40}")
_WRAPPERS = re.compile(
    r"\\(?:text|math)[a-z]{0,6}\s{0,4}\{|\\mbox\s{0,4}\{|\\[,;:!() \[\]]|\*\*|\\?[{}$`\"]"
)
_LETTER = re.compile(
    rf"(?i)(?:{CHOICE}\s{{1,3}})?(?:[(\[]([A-Za-z])[)\]]"
    r"|([A-Z])(?:\)|(?![A-Za-z0-9_₀-₉'(^]))|([b-z])(?=[).]|\s?$|[.,]\s))"
)
_ANOTHER_LETTER = re.compile(
    r"\s*(?:[=+*^<>_\\]|/\s*[A-Z](?![a-z])|[-\u2013\u2014]\s*[A-Z](?![A-Za-z])"
    r"|(?:,|&|and\b|or\b)\s*\(?[A-Z]\b)"
)
_AN_EXPRESSION = re.compile(r"\s*[-\u2013]\s*[A-Z0-9]|\.\s?[A-Z]\.")
_PICKS = re.compile(
    r"(?im)\b(?:choose|chose|select|pick|go\s{1,4}with|leaving|leaves|say|must\s{1,4}be)\s{1,4}"
    rf"(?:(?:only|just)\s)?(?:(?:{CHOICE}|answer)\s{{1,4}})?(?=\**\(?[A-Z]\b)"
    r"|\b(?:it(?:'s|\s{1,4}is)|(?:therefore|thus|hence|so),?(?:\sit\sis)?)\s{1,4}"
    rf"(?:{CHOICE}\s{{1,4}})?"
    r"(?=\**\(?[A-Z]\)?\**(?:[.,]\s|[. \t]{0,4}$))"
    r"|\A[^.\n]{1,40}:\s(?=\(?[A-Z]\)?\.?\s{0,4}\Z)"
    r"|(?:故选|因此选|应选|答案选|所以选|选择|选项|只有选项|故答案为|选)[:：]?\s{0,2}(?=\(?[A-Z])"
)
_LINE_LETTER = re.compile(
    rf"[\s*\-#>]{{0,8}}(?:(?i:{CHOICE})\s)?(?:\(([A-Za-z])\)"
    r"|([A-Z])(?:[).:、．](?=[\s*\w]|$)|[\s*.!]*$)|([a-z])(?:[).](?=\s|$)|[\s*.]*$))"
)
_INNER_LETTER = re.compile(
    r"(?<!\bnot\s)(?<!\bnor\s)\(([A-Z])\)|\*\*([A-Z])(?:[).:][^*\n]{0,80})?\*\*"
)


def named(text: str, asked: Asked) -> str | None:
    """The letter of the one choice that an answer names by its text or a part of it: it begins with
    the choice ("nitric acid" with "nitric"), or is in no other one ("nitric" in "nitric acid")."""
    if letter := exactly(text, asked):
        return letter
    said = _words(text[:LONGEST_CHOICE])
    texts = {letter: _words(choice) for letter, choice in asked.choices.items()}
    texts = {letter: words for letter, words in texts.items() if _has_name(words)}
    found = [letter for letter, words in texts.items() if _holds(said, words)]
    longest = [a for a in found if not any(a != b and _holds(texts[b], texts[a]) for b in found)]
    if longest:  # the answer holds a choice, and must begin with it
        words = texts[longest[0]]
        return _only(longest) if said[: len(words)] == words else None
    return _only([a for a, words in texts.items() if _has_name(said) and _holds(words, said)])


def exactly(text: str, asked: Asked) -> str | None:
    """The letter of the one choice whose text, letter or number the text is."""
    bare = text.strip()
    choices = asked.choices
    if len(bare) == 1 and bare.upper() in choices:
        return bare.upper()
    if not choices or not bare:
        return None
    said = _key(bare)
    letters = [letter for letter, choice in choices.items() if said and _key(choice) == said]
    if letters or not _MEASURED.fullmatch(bare):
        return _only(letters)
    number = _number(bare)
    measured = {letter: choice for letter, choice in choices.items() if _MEASURED.fullmatch(choice)}
    return _only([letter for letter, choice in measured.items() if _number(choice) == number])


def letter_at_start(text: str, choices: Choices) -> str | None:
    """The choice letter at the start, if this is no expression ("A + 1") or word ("A circle")."""
    plain = _WRAPPERS.sub(" ", text[:_REACH]).strip()
    match = _LETTER.match(plain)
    if match is None or (match[3] and not choices):
        return None
    written, rest = match[1] or match[2] or match[3], plain[match.end() :]
    letter, start = written.upper(), rest.strip()[:12]
    if letter not in (choices or UNLISTED) or _ANOTHER_LETTER.match(rest):
        return None
    if not choices and (_AN_EXPRESSION.match(rest) or (written.islower() and not match[1])):
        return None
    a_word = match[1] is None and letter in "AI" and re.match(r"\s+[a-z]", rest)
    named_too = start.casefold() == choices.get(letter, "").casefold()[: len(start)]
    return None if a_word and not _A_REASON.match(rest) and not named_too else letter


def letter_at_end(statement: str, choices: Choices) -> str | None:
    """The letter of a listed choice that a statement ends with: "to start antibiotics (B)"."""
    letter = _only([match[1] or match[2] for match in _INNER_LETTER.finditer(statement)])
    ends = statement.endswith(f"({letter})") and not statement.startswith("not ")
    return letter if ends and letter in choices else None


def picked(text: str, choices: Choices) -> str | None:
    """The letter after the last "I choose", "leaving", "so it is" or 故选."""
    picks = list(_PICKS.finditer(text)) if choices else []
    return letter_at_start(text[picks[-1].end() :], choices) if picks else None


def marked(text: str, asked: Asked) -> str | None:
    """The choice that a sample picks ("I choose B"), or marks as "(B)", "**B**", "B." or alone in
    its last or first line, if this is not one of several listed options."""
    choices = asked.choices
    written = lines(text)
    if not choices or not written:
        return None
    if letter := picked(text, choices):
        return letter
    starts = {_capital(match) for match in map(_LINE_LETTER.match, written) if match}
    for line in (written[-1], written[0]):
        start = _LINE_LETTER.match(line)
        if start and len(starts) > 1:
            continue
        letters = {_capital(match) for match in (*_INNER_LETTER.finditer(line), start) if match}
        if len(letters) == 1 and letters <= choices.keys():
            return letters.pop()
    return exactly(written[-1], asked)


_NEGATED = r"(?:\b(?:not|n't|isn't|never|neither|nor|rather\sthan|instead\sof)\b[^.;,]{0,40})"


def alternative(text: str, words: tuple[str, ...]) -> str | None:
    """The one offered word that the last line, or else the first sentence, names, not negated."""
    written = lines(text)
    word, *others = words
    if others == [f"not {word}"]:  # read the first line, else the last
        bare = rf"(?<!\w){re.escape(word)}"
        prefixed = rf"(?<!\w)(?:ir|in|un|non-?){re.escape(word)}"
        for line in (*written[:1], *written[-1:]):
            sentence = re.split(r"(?<=[.!?:])\s", line)[0]
            if re.search(rf"(?:{bare}|{prefixed})(?!\w)", sentence, re.IGNORECASE):
                denied = re.search(rf"{_NEGATED}{bare}|{prefixed}", sentence, re.IGNORECASE)
                return f"not {word}" if denied else word
        return None
    first = [re.split(r"(?<=[.!?])\s", line)[0] for line in written[:1]]
    for line in (*written[-1:], *first):
        said = {w for w in words if re.search(rf"(?i)(?<!\w){re.escape(w)}(?:s|es)?(?!\w)", line)}
        kept = {w for w in said if not re.search(rf"(?i){_NEGATED}(?<!\w){re.escape(w)}", line)}
        if len(kept) == 1 and (len(said) == 1 or len(kept) < len(said)):
            return kept.pop()
    return None


def _capital(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group).upper()


def _words(text: str) -> list[str]:
    """The words of a text in lower case, without LaTeX commands, and without articles before."""
    words = _WORD.findall(re.sub(r"\\[a-z]+", " ", text).casefold())
    return list(dropwhile(_BEFORE_A_NAME.__contains__, words))


def _has_name(words: list[str]) -> bool:
    return any(len(word) >= 2 and word.isalpha() for word in words)


def _holds(words: list[str], part: list[str]) -> bool:
    starts = range(len(words) - len(part) + 1)
    return any(words[start : start + len(part)] == part for start in starts)


def _key(text: str) -> str | None:
    found = key(text, Asked())
    return found.full if found else None


def _number(text: str) -> str | None:
    """The key of a measured value's digits and sign, as for ``1,000 °C`` and ``1000 degrees``."""
    digits = re.search(r"-?\s?[0-9][0-9.,]{0,40}", text)
    return _key(digits[0]) if digits else None


def _only(letters: list[str]) -> str | None:
    return letters[0] if len(letters) == 1 else None
