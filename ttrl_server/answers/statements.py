"""Finds the answer that a sample states: "the answer is …", a tag, "… is the answer"."""

from __future__ import annotations

import re

from ttrl_server.answers import choices
from ttrl_server.answers.asked import Asked
from ttrl_server.answers.lexicon import ANSWER, CHOICE, IS, REMARKS
from ttrl_server.answers.numbers import FORMULA, ROUNDED, number_of
from ttrl_server.answers.units import unit

_WINDOW = 400
"""Characters after a phrase that must contain the whole answer."""
_PHRASES = 30
"""Phrases from the end of a text that are tried."""

_PHRASE = re.compile(
    r"(?im)(?:(?<!\btheir\s)(?<!\bhis\s)(?<!\bher\s)(?<!\bany\s)(?<!\bgenerated\s)(?:\b|_)"
    rf"{ANSWER}\b\.?(?:\s(?:correct[ae]|finale?|esatta|corretta|certa|correta|richtig))?"
    r"|\bfinal\s{1,4}result|答案|答え|正解|정답|답(?=[은:：])|答(?=[:：])"
    rf"|\b(?:correct|right|best)\s{{1,4}}(?:{CHOICE}|statement|response))"
    rf"(?:\s{{1,4}}(?:to|of|for|here|in|I|we|you|{CHOICE})\b(?:[^.\n:=]|\.(?=[0-9])){{0,120}}?)?"
    r"(?:\s{0,2}\([^()\n]{1,40}\)|,[^,.\n]{1,40},)?[\s*_}\"']{0,6}"
    rf"(?:\b{IS}(?=[\s*_\"'$:(\[<\\]|$)|[:=→]"
    r"|\b(?:would|will|must|should|can|has\s{1,4}to)\s{1,4}be\b"
    r"|\b(?:comes|turns|works)\s{1,4}(?:out\s{1,4})?to(?:\s{1,4}be)?\b"
    r"|(?<=答案)(?:[是为选]|应为)|(?<=答え)は|(?<=正解)は|(?<=정답)[은]|(?<=답)은|\s?[\u2013\u2014-]\s(?=\S))"
    r"|^[ \t#*_>-]{0,12}(?:(?:my|the|final|correct|short)[ \t]{1,4}){0,3}answer[ \t*_]{0,6}\n"
    r"|<(?:final[_ -]?)?(?:answer|ans|result)>|<final>"
    r"|[\"'](?:final_?)?(?:result|output|value)[\"']\s{0,2}:"
    r"|^\#{4}[ \t]{0,8}(?=[-$]{0,2}[0-9.,/]{1,40}[ \t]{0,8}$)"
)
MARK = re.compile(
    r"(?im)(?:^|[.!?:]\s)[ \t*#>_`]{0,8}"
    r"(?:(?:so|thus|hence|therefore|and|finally),?\s)?(?:(?:the|my)\s)?"
    rf"(?:final\s|correct\s|right\s)?{ANSWER}[\s*_]{{0,4}}(?:{IS})"
    r"|\#{4}\s|<(?:final[_ ]?)?answer>|答案"
)
"""Forms in which a sample marks its answer without being asked to."""
_LEAD = re.compile(
    r"(?i)(?:[\s:*$`\"_>=}]|(?<=\n)-\s|\\[(\[$]|(?:therefore|thus|hence|so|then|simply|just"
    r"|exactly|precisely|clearly|actually|indeed|approximately|about|roughly|around"
    r"|most\s{1,4}likely|probably|a\s{1,4}total\s{1,4}of"
    r"|(?:found|known|expected)\s{1,4}to\s{1,4}be|equal\s{1,4}to|given\s{1,4}by"
    rf"|{CHOICE}"
    r"|l[ae]\s(?:lettre|letra|lettera)|la|le|el|die|der|das)\b,?)*"
)
_SENTENCE_END = re.compile(
    r"\n|</(?i:final[_ -]?)?(?i:answer|ans|result|final)>"
    r"|[\"']\s?[,}]|,\s?[\"']\w|\?(?=\s|$)|!(?=[ \t*]{0,8}(?:\n|$))"
    r"|(?<!\bDr)(?<!\bMr)(?<!\bMrs)(?<!\bSt)"
    r"(?<!\.[A-Z])(?<!\.\s[A-Z])(?<![ap]\.m)\.(?=[\s*_\"$`]|\\[)\]]|$)"
    r"(?<!\b[A-Z]\.(?=\s[A-Z]\.))(?!(?<=^[0-9]\.)\s[A-Za-z]\w{0,4}\s*$)"
    r"|(?<=[ap]\.m)\.(?=\s[A-Z]|\s{0,4}$)"
)
_ENVIRONMENT = re.compile(r"\\begin\{([a-z]{1,12})\}.{0,300}?\\end\{\1\}", re.DOTALL)
_FUNCTION = r"(?:sin|cos|tan|cot|sec|csc|arc|log|ln|exp|sqrt|pi)"
_CLAUSE = re.compile(
    rf"(?i)(?:[,;:]|\s[-\u2013\u2014])?{choices.REASON}|[;:]\s(?=[A-Za-z]{{2}})"
    rf"|\s[-\u2013\u2014]\s(?!{_FUNCTION})(?=[A-Za-z]{{2}})"
    rf"|(?<=[0-9}}%)]),\s(?!and\b|or\b|{_FUNCTION})(?=[a-z]{{2}})"
    r"|,\sand\s(?:\S{1,30}\s)?(?:is|are|was|it|this|that|we|the|you|there)\b"
    r"|,\s(?:not|who|whose|the|an?|with|making|giving|i\.e\.|rounded)\s"
    r"|,?\s(?:but|rather\sthan|instead\sof)\s"
    r"|,?\sor\s(?:about|approximately|roughly|around)\s"
    r"|(?<=[0-9])\s\((?=[A-Za-z]{2})|[,，](?=\s?[\u4e00-\u9fff])"
)
_DELIMITERS = re.compile(r"\*\*|__|[$`\"]|\\[()\[\]]|\\(?:boxed|fbox)\s{0,8}\{")
_PICTURES = re.compile(r"[\s\u2600-\u27bf\ufe0f\U0001f000-\U0001faff]{1,20}\Z")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_SUBJECT = re.compile(
    r"[A-Za-z][A-Za-z,' ]{1,100}\b[^=\n]{0,100}\b(?:is|are|was|were|equals)\s{1,4}(?=\S)"
)
_NO_ANSWER = re.compile(
    r"(?:not|that|I|we|you|it\sdepends|dependent)\s(?=[a-z(])|don'?t\sknow|unknown\Z", re.IGNORECASE
)
_FORMULA_GOES_ON = re.compile(
    r"\s{0,4}(?:,\s{0,4}(?:and\s|or\s)?[$\\]|[-+*/^=<>(\\]"
    r"|(?:or|and|hundred|thousand|million|billion|trillion|dozen|percent)\b|%)"
)
_UNIT_GOES_ON = re.compile(r"\s([A-Za-z°][A-Za-z/^0-9 ]{0,30})(?=[.,;\n]|\Z)")
_VERDICT_LAST = re.compile(
    r"(?im)(?:^|[.,:;]\s|\b(?:so|thus|hence|therefore|that)\s)[ \t]{0,4}"
    r"(?!(?:what|this|that|it|here|there|which|who|neither)\b)"
    r"([^\s.,;:]{1,40}(?:\s[^\s.,;:]{1,40}){0,2}?)"
    r"\s{1,4}is\s{1,4}(?:the|our|your)\s{1,4}(?:(?:final|correct|right|best)\s{1,4})?answer\b"
)
_IS_CORRECT = re.compile(
    rf"(?<![A-Za-z0-9])(?:(?i:{CHOICE})\s{{1,4}})?(?:\(([A-Z])\)|([A-Z]))\**"
    r"(?:,\s[^,.()\n]{1,40},|[).:]\s[^,.()\n]{1,40}?)?"
    r"(?:选项)?\s{0,4}(?:is\s{1,4}(?:the\s{1,4})?(?:correct|right|best|answer)\b"
    r"|是(?:对|正确|正解)的?|正确|が正解|가\s?정답)"
)


_SOLUTIONS = re.compile(
    r"(?i)\b(?:solutions|roots|zeros)\b[^.\n:=]{0,60}?\bare\s(?=[^.\n]{0,40}\d)"
)
_UNDECIDED = re.compile(
    r"(?:either\s)?\(?[A-Z]\)?(?:,\s?\(?[A-Z]\)?)*\s(?:or|oder|ou|o)\s\(?[A-Z]\)?[\s.]*(?:\n|\Z)"
)


def stated(text: str, asked: Asked) -> str | None:
    """The answer in the last phrase that states one, else in the last "… is the answer"."""
    for phrase in reversed(list(_PHRASE.finditer(text))[-_PHRASES:]):
        if found := _read_statement(text[phrase.end() : phrase.end() + _WINDOW], asked):
            return found
    correct = [match[1] or match[2] for match in _IS_CORRECT.finditer(text)]
    if correct and correct[-1] in (asked.choices or choices.UNLISTED):
        return correct[-1]
    if last := list(_VERDICT_LAST.finditer(text)):
        return _read_statement(last[-1][1], asked)
    solved = [text[found.end() : found.end() + _WINDOW] for found in _SOLUTIONS.finditer(text)]
    return _read_statement(solved[-1], asked) if solved and asked.kind == "number" else None


def _read_statement(window: str, asked: Asked) -> str | None:
    """The answer at the start of the text after "the answer is", without the explanation."""
    text = _LEAD.sub("", window, count=1)
    lead = window[: len(window) - len(text)]
    if letter := choices.letter_at_start(text, asked.choices):
        return letter
    if asked.choices and _UNDECIDED.match(text):
        return None
    if asked.choices and (letter := choices.picked(_first_sentence(text), asked.choices)):
        return letter
    sentence = _DELIMITERS.sub("", _formula_ahead(window, len(lead)) or _first_sentence(text))
    dollar = re.search(r"(?<!\\)\$\Z", lead)
    if dollar and re.match(r"\d[\d,.]*(?!.*\$)", text.split("\n")[0]):
        sentence = "$" + sentence  # the $ means money here, not a formula
    # Remove reasons, remarks, rounded values and decoration after the answer.
    clipped = ROUNDED.split(_CLAUSE.split(sentence, maxsplit=1)[0], maxsplit=1)[0]
    clipped = _PICTURES.sub("", clipped).lstrip(" \t,;:*_").rstrip(" \t.,;:*_")
    if clipped.count("}") > clipped.count("{"):
        clipped = clipped.removesuffix("}")
    letter = choices.named(clipped, asked) or choices.named(sentence, asked)
    if letter := letter or choices.letter_at_end(clipped, asked.choices):
        return letter
    if asked.alternatives and (word := choices.alternative(sentence, asked.alternatives)):
        return word
    subject = _SUBJECT.match(clipped)
    return _short(clipped[subject.end() if subject else 0 :], sentence)


def _short(clipped: str, sentence: str) -> str | None:
    """The clipped sentence if it is short enough to be an answer, else the sentence's number."""
    first = re.match(r"(?:indeed|also|very|quite|fully|not)?\s?([a-z]+)", clipped)
    if first and first[1] in REMARKS:
        return None  # a remark about the answer: "This answer is correct"
    words = len(_WORD.findall(clipped))
    number = re.match(r"[-+]?[$€£]?\d[\d.,]*(?<![.,])", clipped)
    if number and words > 3 and re.search(r"\band\b.*\d", clipped[number.end() :]):
        return number[0]  # "40 dollars and the change is 2" means 40
    words += len(re.findall(r"[\u3040-\u9fff\uac00-\ud7af]", clipped))
    if words > 3 and (found := number_of(sentence)):
        return found
    return None if words > 8 or _NO_ANSWER.match(clipped) else clipped


def _formula_ahead(window: str, start: int) -> str | None:
    """The whole formula that opens just before ``start``, with its unit; None if the answer goes on
    after the formula."""
    for formula in FORMULA.finditer(window):
        held = formula.lastindex or 0
        if formula.start() >= start:
            return None
        if formula.start(held) <= start < formula.end():
            ahead = window[start : formula.end(held)]
            if _FORMULA_GOES_ON.match(window, formula.end()):
                return None
            if (measured := _UNIT_GOES_ON.match(window, formula.end())) and unit(measured[1]):
                ahead += " " + measured[1]
            return ahead.replace("\n", " ")
    return None


def _first_sentence(text: str) -> str:
    """The text up to the first end of a sentence or line that is not inside a matrix."""
    end = _SENTENCE_END.search(text)
    matrix = _ENVIRONMENT.search(text)
    if end and matrix and matrix.start() < end.start() < matrix.end():
        return text[: matrix.end()].replace("\n", " ")
    return text[: end.start()] if end else text
