"""Is a completion right? Final answers of numeric and boxed questions, found and compared by pattern alone.

Model text is data: it is matched, never evaluated.
"""

from __future__ import annotations

import re
from fractions import Fraction

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_PLAIN = rf"(?:{_DIGITS}(?:\.\d+)?|\.\d+)"
_LATEX_FRACTION = r"\\[dt]?frac\s*(?:\{\s*-?\d+\s*\}|\d)\s*(?:\{\s*-?\d+\s*\}|\d)"
_NUMBER = re.compile(rf"(?:(?<![\w.)}}])-)?(?:{_LATEX_FRACTION}|{_PLAIN}(?:\s?/\s?{_DIGITS})?)")
_FRACTION = re.compile(r"(-?)\\frac(?:\{(-?\d+)\}|(\d))(?:\{(-?\d+)\}|(\d))")
_RATIO = re.compile(r"(-?(?:\d+(?:\.\d+)?|\.\d+))(?:/(\d+))?")
_ANSWER_IS = re.compile(r"\banswer\s*(?:is|=|:)\s*:?\s*", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\n|[.!?](?=\s|$)")
_FORMULA = re.compile(r"\^(?!\{?\\circ)|\\(?:sqrt|pi|infty)|\d[a-z]\b")
_LETTER = re.compile(r"\(?([A-Z])\)?(?=[\s.,:;]|$)")
_WRAPPER = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\{([^{}]*)\}")
_NOISE = re.compile(r"\\left|\\right|\\[!,;: ]|\\?[$%]|\\[()\[\]]|\^\\circ|\^\{\\circ\}|\*\*|\s+|(?<=\d)\{,\}(?=\d{3})")
_MOST_DIGITS = 200
"""Longer digit strings are compared as text: exact arithmetic on them would cost time for nothing."""


def final_answer(text: str, finish_reason: str | None = "stop", letters: str = "") -> str | None:
    r"""The last balanced ``\boxed{…}``, else what follows "answer is", else the last number; or None.

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
    return _stated(text) or _last_number(text)


def _chosen(text: str, boxed: str | None, finish_reason: str | None, letters: str) -> str | None:
    """The letter in the box, after "answer is" and its like, or at the beginning or end of a short reply."""
    marked = re.compile(rf"[(\[*\s]*([{letters}])(?:[)\].:*,]|\s*$)")
    if boxed is not None:
        found = marked.match(_WRAPPER.sub(r"\1", boxed))
        return found.group(1) if found else None
    if finish_reason == "length":
        return None
    stated = list(
        re.finditer(rf"\b(?:answer|choice|option)\b[^.\n]{{0,40}}?\b(?:is|:)?[\s:(*\[]*\b([{letters}])\b", text)
    )
    if stated:
        return stated[-1].group(1)
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    for line in (lines[-1:] + lines[:1]) if lines else []:
        if found := marked.match(line):
            return found.group(1)
    return None


def canonical(answer: str) -> Fraction | str:
    """The form in which equal answers are equal: an exact Fraction, else text without markup, space and case."""
    text = _stripped(answer)
    return number if (number := _as_fraction(text)) is not None else text.casefold()


def equivalent(a: str | None, b: str | None) -> bool:
    """Whether two answers say the same; no answer is equal to nothing."""
    return a is not None and b is not None and canonical(a) == canonical(b)


def _last_boxed(text: str) -> str | None:
    """The content of the last ``\\boxed{…}`` whose braces balance; one pass, so that no text is slow."""
    open_at: list[int] = []
    boxed: dict[int, str] = {}
    starts = {match.end() for match in re.finditer(r"\\boxed\s{0,9}\{", text)}
    for brace in re.finditer(r"[{}]", text):
        if brace.group() == "{":
            open_at.append(brace.end())
        elif open_at and (start := open_at.pop()) in starts:
            boxed[start] = text[start : brace.start()].strip()
    return next((boxed[start] for start in sorted(boxed, reverse=True) if boxed[start]), None)


def _stated(text: str) -> str | None:
    """What follows the last "answer is": a number, else a choice letter, else the words of that sentence."""
    statements = list(_ANSWER_IS.finditer(text))
    if not statements:
        return None
    tail = _SENTENCE_END.split(text[statements[-1].end() :], maxsplit=1)[0].rsplit("=", 1)[-1].strip(" *_$")
    if letter := _LETTER.match(tail):
        return letter.group(1)
    number = None if _FORMULA.search(tail) else _NUMBER.search(tail)
    return number.group() if number else tail or None


def _last_number(text: str) -> str | None:
    numbers = _NUMBER.findall(text)
    return numbers[-1] if numbers else None


def _stripped(answer: str) -> str:
    text = _WRAPPER.sub(r"\1", answer)
    text = _NOISE.sub("", text).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    return text.rstrip(".")


def _as_fraction(text: str) -> Fraction | None:
    if len(text) > _MOST_DIGITS:
        return None
    if latex := _FRACTION.fullmatch(text):
        sign, above, above_digit, below, below_digit = latex.groups()
        return _ratio(above or above_digit, below or below_digit, -1 if sign else 1)
    if re.fullmatch(rf"-?{_PLAIN}(?:/{_DIGITS})?", text):
        text = text.replace(",", "")
    plain = _RATIO.fullmatch(text)
    return _ratio(plain.group(1), plain.group(2) or "1", 1) if plain else None


def _ratio(above: str, below: str, sign: int) -> Fraction | None:
    return sign * Fraction(above) / int(below) if int(below) else None
