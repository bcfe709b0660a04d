"""What is said outside thinking; and questions that want nothing but their answer, with replies that are one.

What a model says of its own accord (greetings, refusals) is what it repeats most: read as an answer it would win votes.
So a short reply counts only where one is asked for, and then as it stands (docs/decisions.md).
"""

from __future__ import annotations

import re

_THINK_TAG = re.compile(r"</?think>")
_SHORT = 120
"""Characters of a reply that is an answer by itself."""
_FEW = 12
"""Its words, where no list is asked for."""

_PAIR = r"(?:yes\s?(?:or|/)\s?no|true\s?(?:or|/)\s?false)"
_YES_OR_NO = re.compile(
    rf"\b(?:answer|respond|reply|say|write|state|return|output)\b[^.?!\n]{{0,40}}?\b{_PAIR}\b"
    rf"|\A\s{{0,8}}{_PAIR}\s?[:?]|\b{_PAIR}[?.)]{{0,3}}\Z|\breturn\s(?:true|yes)\sif\b"
    r"|(?:\A\s{0,8}|[.!?]\s{1,4}|\n\s{0,4}\n)(?:is|are|was|were|does|did|has|(?:can|could|will|would)(?!\s(?:you|we)\b))\s"
    r"(?![^?.!\n]{0,200}\b(?:or|how|what|which|who|where|when|why)\b)[^?.!\n]{1,200}\?\s{0,4}"
    r"(?:\(?(?:please\s)?(?:answer|respond|reply|explain|justify|think)\b[^?]{0,80})?\Z",
    re.IGNORECASE,
)
"""Asked for in these words, or by the form of the last sentence."""
_BARE = re.compile(
    r"\b(?:answer|respond|reply|return|provide|give|write|state|print|output(?:\sshould\sbe)?)\s{1,4}"
    r"(?:(?:only|just)\s{1,4}(?:with\s{1,4})?|with\s{1,4}(?:only|just)\s{1,4})"
    r"(?:the|an?|one|your)\s{1,4}(?!sentence|paragraph|line|poem|story)[a-z]"
    r"|\b(?:in|with)\s(?:one|a\ssingle)\sword\b",
    re.IGNORECASE,
)
_LISTED = re.compile(r"\bcomma[- ]separated\slist\b", re.IGNORECASE)
_VERDICT = re.compile(
    r"(?:[\W_]{0,8}|(?:so|therefore|thus|hence),?\s)(yes|no|true|false)"
    r"(?:[\W_]{0,4}\Z|[,.;:!)*_\u2013\u2014]|\s[-\u2013\u2014]"
    r"|\s(?:it|they|he|she|there|this|that|the|we|you|I|because|since|as|[0-9])\b)"
    r"|(?!.{0,200}(?:\b(?:not|never|none|no|doubt|cannot)\b|n['\u2019]t\b)).{0,200}\b(?:is|'s)\s(true|false)[\W_]{0,4}\Z",
    re.IGNORECASE,
)
_MARKS = " \t*_`\"'.\u201c\u201d"
_OBLIGING = re.compile(r"\A(?:Sure|Certainly|Okay|Of\scourse)[!,.:]\s{1,4}(?=\S)")
_SAYING = re.compile(
    r"(?:The\s.{1,80}\s(?:is|was|are|were)|It(?:\sis|'s))\s(?:an?\s|the\s)?(\S{1,40}(?:\s\S{1,40}){0,3})"
)
_SMALL_TALK = re.compile(
    r"[\W_]{0,8}(?:(?:I|we)(?:\s|['\u2019])|(?:sorry|unfortunately|hello|hi|unknown|as\san\sai|there\sis\sno|it\sdepends"
    r"|not\s(?:sure|known|enough))\b)",
    re.IGNORECASE,
)


def spoken(text: str) -> str:
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


def wants_verdict(question: str) -> bool:
    """Whether yes or no (true or false) answers it."""
    return _YES_OR_NO.search(question.rstrip()) is not None


def wants_words(question: str) -> bool:
    """Whether it asks for the answer and nothing else."""
    return _BARE.search(question) is not None


def wants_list(question: str) -> bool:
    """Whether it asks for a list between commas."""
    return _LISTED.search(question) is not None


def verdict(text: str) -> str | None:
    """The yes, no, true or false that the last line or the first begins with, or says that something is."""
    lines = [line for line in text.splitlines() if line.strip()]
    found = next(filter(None, map(_VERDICT.match, [*lines[-1:], *lines[:1]])), None)
    return found[1] or found[2] if found else None


def short_reply(text: str, within: str = "") -> str | None:
    """A reply of one short line as it stands, or what "The … is X." says; ``within`` must be in it.

    Refusals and greetings, which models repeat most, are none.
    """
    line, *more = [line for line in text.splitlines() if line.strip()] or [""]
    short = len(line) <= _SHORT and (within or len(line.split()) <= _FEW)
    if more or not short or within not in line or _SMALL_TALK.match(line):
        return None
    line = _OBLIGING.sub("", line.strip(_MARKS))
    said = _SAYING.fullmatch(line)
    return (said[1] if said else line).strip(_MARKS)
