"""Replies that are an answer as a whole, or give it in the first sentence: a verdict, a name.

Greetings and refusals are no answers: models repeat them most, so they would win votes.
"""

from __future__ import annotations

import re

from ttrl_server.answers.asked import Asked, stem
from ttrl_server.answers.lexicon import NO, YES
from ttrl_server.answers.spelling import lines


def is_no_answer(text: str) -> bool:
    """Whether a reply's form excludes an answer: code, a table, or a list up to the end."""
    written = lines(text)
    code = "```" in text and len(written) > 3
    if code and not re.search(r"(?i)\banswer|=\s?\S|\d\s*\Z", written[-1]):
        return True
    items = [line for line in written if re.match(r"\s*(?:\d{1,2}[.)]|[-*•+])\s", line)]
    rows = [line for line in written if line.count("|") >= 2]
    return len(rows) >= 3 or (len(items) >= 3 and written[-1] is items[-1])


_SHORT = 120
"""Most characters of a reply that is an answer as a whole."""
_FEW = 12
"""Most words of such a reply, if the question asks for no list."""
_MARKS = " \t*_`\"'.\u201c\u201d"
EMPTY = re.compile(r"\W{0,8}(?:#{2,10}|-{3,80}|<(\w{1,20})>\s{0,8}</\1>)\W{0,8}\Z")
"""A mark of an answer, or a rule, and nothing behind it."""
_OBLIGING = re.compile(
    r"\A(?:#{1,6}\s{1,4}(?=\S)|(?:Sure|Certainly|Okay|Of\scourse)[!,.:]\s{1,4}(?=\S))"
)
_SAYING = re.compile(
    r"(?:The\s.{1,80}\s(?:is|was|are|were)|It(?:\sis|'s)|C'est|Es\sist|Das\sist|È|É|Это)\s"
    r"(?:an?\s|the\s)?(\S{1,40}(?:\s\S{1,40}){0,3})"
)
_SMALL_TALK = re.compile(
    r"(?i)[\W_]{0,8}(?:(?:I|we)(?:\s|['\u2019])|(?:sorry|unfortunately|hello|hi|unknown|as\san\sai"
    r"|there\sis\sno|it\sdepends|not\s(?:sure|known|enough))\b)"
)
_SAYS_VERDICT = re.compile(
    r"(?i)(?:[\W_]{0,8}|(?:so|therefore|thus|hence),?\s)"
    rf"({'|'.join(sorted(YES | NO, key=lambda word: (-len(word), word)))})"
    r"(?:[\W_]{0,4}\Z|[,.;:!)*_\u2013\u2014，。、]|\s[-\u2013\u2014]"
    r"|\s(?:it|they|he|she|there|this|that|the|we|you|I|because|since|as|[0-9])\b)"
    r"|(?!.{0,200}(?:\b(?:not|never|none|no|doubt|cannot)\b|n['\u2019]t\b))"
    r".{0,200}\b(?:is|'s)\s(true|false|correct|incorrect)[\W_]{0,4}\Z"
)


def verdict(text: str) -> str | None:
    """The yes, no, true or false at the start of the last line, or at its end after "is"; else of
    the first line."""
    written = lines(text)
    found = next(filter(None, map(_SAYS_VERDICT.match, written[-1:] + written[:1])), None)
    return found[1] or found[2] if found else None


def short_reply(text: str, within: str = "") -> str | None:
    """A reply of one short line as a whole, or X of "The … is X."; the line contains ``within``."""
    line, *more = lines(text) or [""]
    short = len(line) <= _SHORT and (within or len(line.split()) <= _FEW)
    if more or not short or within not in line or _SMALL_TALK.match(line):
        return None
    line = _OBLIGING.sub("", line.strip(_MARKS))
    found = _SAYING.fullmatch(line)
    return (found[1] if found else line).strip(_MARKS)


_TELLS = re.compile(
    r"(?i)\A[^.!?\n]{0,160}?\b(?:is|was|are|were|would\s(?:likely\s)?be)\s"
    r"(?:(?:generally|widely|usually|commonly|often|typically|also|likely|probably)\s)?"
    r"(?:(?:considered|known|called|named|thought|believed|categori[sz]ed|classified|created"
    r"|written|directed|invented|founded|made|composed|developed|discovered|spoken|located"
    r"|based|found|in)\s)?"
    r"(?:(?:to\sbe|as|by|under|in|of|from|out\sof|using)\s)?(?:an?\s|the\s)?"
    r"[\"'“*_]{0,4}([^\s\"“”*_,.;:()!?](?:[^.,;:()!?\n\"”*]|\.(?=\S)){0,60}?)[\"'”*_]{0,4}"
    r"(?=[.,;:()!?\n]|\s(?:in|which|who|that|because|with|located|found|for|as|on|at|by|from"
    r"|due|made|since|and\s(?:it|they|he|she|was|is)|\()|\Z)"
)
_QUOTED = re.compile(r"[\"“]([^\"”\n]{2,60})[\"”]|\*\*([^*\n]{2,60})\*\*")


_LABEL = re.compile(r"[\s*#>-]{0,6}([A-Z][A-Za-z' ]{1,40}?)[\s*]{0,4}:[\s*]{0,4}([^\n:]{1,60})")
_PRESENTS = re.compile(
    r"(?i)\W{0,4}(?:(?:sure|certainly|of\scourse|absolutely|okay|great)\b[,!.]?\s)?"
    r"(?:here|there|below|this|these|it\sseems|i|what)\b"
)
_NO_NAME = re.compile(
    r"(?i)(?:\w+(?:ed|ing)|used\sto\b.*|able\sto\b.*|not\b.*|very\b.*|more\b.*"
    r"|one\sof\b.*|following\b.*)"
)


def under_label(text: str, asked: Asked) -> str | None:
    """The value after a label in its own line: ``Rating: mature``, if a rating is asked for."""
    for line in text.splitlines():
        found = _LABEL.fullmatch(line.rstrip(" .*"))
        if found and {stem(word.lower()) for word in found[1].split()[-1:]} <= asked.stems:
            return found[2].strip(_MARKS)
    return None


def fact(text: str) -> str | None:
    """The answer in the first sentence, a name in quotes or bold there, or a short reply."""
    if (short := short_reply(text)) and len(short.split()) <= 6:
        return short
    first = re.split(r"(?<=[.!?])\s", "".join(lines(text)[:1]), maxsplit=1)[0]
    if _SMALL_TALK.match(first) or _PRESENTS.match(first) or len(first) > 400:
        return None
    quoted: list[str] = [a or b for a, b in _QUOTED.findall(first)]
    if len(quoted) == 1:
        return quoted[0].strip(_MARKS + ",:")
    tells = _TELLS.match(first)
    name: str = tells[1].strip(_MARKS) if tells else ""
    return None if _NO_NAME.fullmatch(name) else name or None
