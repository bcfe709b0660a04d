"""What does a completion answer? Found by pattern alone, in time linear in the text; ``scoring`` compares.

Model text is data: it is matched, never evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

Form = Literal["figures", "words", "verdict"]
"""Of an answer: a number or formula, a name or other words, yes or no (true or false)."""

_MATHEMATICAL = re.compile(r"[\\^=+*/<>{}\[\]$]")
_LETTERS = re.compile(r"[^\W\d_]{2,}")
_VERDICTS = frozenset({"yes", "no", "true", "false"})
_VERDICT = re.compile(
    r"(?:[\W_]{0,8}|(?:so|therefore|thus|hence),?\s)(yes|no|true|false)"
    r"(?:[\W_]{0,4}\Z|[,.;:!)*_\u2013\u2014]|\s[-\u2013\u2014]"
    r"|\s(?:it|they|he|she|there|this|that|the|we|you|I|because|since|as|[0-9])\b)"
    r"|(?!.{0,200}(?:\b(?:not|never|none|no|doubt|cannot)\b|n['\u2019]t\b)).{0,200}\b(?:is|'s)\s(true|false)[\W_]{0,4}\Z",
    re.IGNORECASE,
)
_MARKS = " \t*_`\"'.\u201c\u201d"
_SAYING = re.compile(
    r"(?:The\s.{1,80}\s(?:is|was|are|were)|It(?:\sis|'s))\s(?:an?\s|the\s)?(\S{1,40}(?:\s\S{1,40}){0,3})"
)
"""A sentence that says the answer."""
_OBLIGING = re.compile(r"\A(?:Sure|Certainly|Okay|Of\scourse)[!,.:]\s{1,4}(?=\S)")
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_LATEX_FRACTION = r"\\[dt]?frac\s*(?:\{\s*-?\d+\s*\}|\d)\s*(?:\{\s*-?\d+\s*\}|\d)"
_NUMBER = re.compile(rf"(?:(?<![\w.)}}])-)?(?:{_LATEX_FRACTION}|(?:{_DIGITS}(?:\.\d+)?|\.\d+)(?:\s?/\s?{_DIGITS})?)")
_ANSWER_IS = re.compile(r"\banswer[\s*_]*(?:is|=|:)[\s*_:]*", re.IGNORECASE)
_FORMULA = re.compile(
    r"(?:\$\$((?:\\.|[^\\$])+)\$\$|\$((?:\\.|[^\\$\n])+)\$(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\])"
    r"(?!,?\s?(?:or|and)?\s?[$\\])",
    re.DOTALL,
)
_SENTENCE_END = re.compile(r"\n|[.!?](?=\s|$)")
_NOT_A_NUMBER = re.compile(r"\^(?!\{?\\circ)|\\(?:sqrt|pi|infty)|\d[a-z]\b")
_WORD = re.compile(r"(?<!\\)\b(?!(?:or|and|pi|sqrt)\b)[a-z]{2,}", re.IGNORECASE)
_NO_ARTICLE = r"(?!(?<=\b[AI])\s(?!because\b|since\b|as\b|for\b)[a-z])"
"""After a letter: "A total of 56" and "I get 42" name no choice."""
_LETTER = re.compile(rf"\(?([A-Z])\)?(?=[\s.,:;]|$){_NO_ARTICLE}")
_WRAPPER = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\{([^{}]*)\}")


def form_of(truth: str) -> Form:
    """What a true answer looks like, and hence what to look for in what a model says."""
    if truth.strip(_MARKS).lower() in _VERDICTS:
        return "verdict"
    if _MATHEMATICAL.search(truth):
        return "figures"
    items = truth.split(",")
    named = sum(_LETTERS.search(item) is not None and not re.search(r"\d", item) for item in items)
    return "words" if 2 * named > len(items) or named == len(items) else "figures"


def final_answer(
    text: str, finish_reason: str | None = "stop", letters: str = "", form: Form = "figures"
) -> str | None:
    r"""The last balanced ``\boxed{…}``, else what follows "answer is", else by form: the last number, the yes or no
    at the beginning of the last line or the first, or a reply of one line; or None.

    A sample cut at its token limit (finish_reason ``length``) never came to an answer, unless it boxed one. With
    ``letters`` (a multiple-choice question) only one of them is an answer.
    """
    text = text.rpartition("</think>")[2].replace("\u2212", "-")
    boxed = _last_boxed(text)
    if letters:
        return _chosen(text, boxed, finish_reason, letters)
    if boxed is not None:
        return boxed
    if finish_reason == "length":
        return None
    return _stated(text) or _READERS[form](text)


def _chosen(text: str, boxed: str | None, finish_reason: str | None, letters: str) -> str | None:
    """The letter in the box, after "answer is" and its like, or at the beginning or end of a short reply."""
    marked = re.compile(rf"[(\[*\s]*([{letters}])(?:[)\].:*,]|\s*$)")
    if boxed is not None:
        found = marked.match(_WRAPPER.sub(r"\1", boxed))
        return found.group(1) if found else None
    if finish_reason == "length":
        return None
    for said in (r"answer", r"(?:choice|option)"):  # "the answer is B because option A …" answers B
        stated = rf"\b(?i:{said})\b(?:[^.\n]{{0,40}}?(?:\bis\b|[:=]))?[\s:(*\[]*\b([{letters}])\b{_NO_ARTICLE}"
        if named := re.findall(stated, text):
            return str(named[-1])
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    for line in (lines[-1:] + lines[:1]) if lines else []:
        if found := marked.match(line):
            return found.group(1)
    return None


def _last_boxed(text: str) -> str | None:
    """The content of the last ``\\boxed{…}`` whose braces balance and hold something."""
    open_at: list[int] = []
    ends: dict[int, int] = {}
    starts = {match.end() for match in re.finditer(r"\\boxed\s{0,9}\{", text)}
    for brace in re.finditer(r"[{}]", text):
        if brace.group() == "{":
            open_at.append(brace.end())
        elif open_at and (start := open_at.pop()) in starts:
            ends[start] = brace.start()
    contents = (text[start : ends[start]].strip() for start in sorted(ends, reverse=True))
    return next((content for content in contents if content), None)


def _stated(text: str) -> str | None:
    """What follows the last "answer is": a formula, a choice letter, a number, or else the words of that sentence."""
    statements = list(_ANSWER_IS.finditer(text))
    if not statements:
        return None
    after = text[statements[-1].end() :]
    if formula := _FORMULA.match(after):
        return formula[formula.lastindex or 0].strip() or None
    said = _SENTENCE_END.split(after, maxsplit=1)[0].strip(" *_$")
    if said.count("=") == 1:  # of "x = 1 or x = 2" both are meant
        said = said.partition("=")[2].strip(" *_$")
    if letter := _LETTER.match(said):
        return letter.group(1)
    if _NOT_A_NUMBER.search(said) or not _WORD.search(said):
        return said or None
    number = _NUMBER.search(said)
    return number.group() if number else said


def _last_number(text: str) -> str | None:
    numbers = _NUMBER.findall(text)
    return numbers[-1] if numbers else None


def _verdict(text: str) -> str | None:
    lines = [line for line in text.splitlines() if line.strip()]
    found = next(filter(None, map(_VERDICT.match, [*lines[-1:], *lines[:1]])), None)
    return found[1] or found[2] if found else None


def _only_line(text: str) -> str | None:
    """As it stands, or what "The … is X." says."""
    line, *more = [line for line in text.splitlines() if line.strip()] or [""]
    if more:
        return None
    line = _OBLIGING.sub("", line.strip(_MARKS))
    said = _SAYING.fullmatch(line)
    return (said[1] if said else line).strip(_MARKS) or None


_READERS: dict[Form, Callable[[str], str | None]] = {
    "figures": _last_number,
    "words": _only_line,
    "verdict": _verdict,
}
