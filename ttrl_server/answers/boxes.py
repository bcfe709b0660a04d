r"""Reads the answer in a box, ``\boxed{…}``."""

from __future__ import annotations

import re

from ttrl_server.answers.asked import Asked
from ttrl_server.answers.choices import alternative, letter_at_start, named
from ttrl_server.answers.keys import key

_BOX_TOKEN = re.compile(r"(\\(?:boxed|fbox)\s{0,8}\{)|\\.|[{}]", re.DOTALL)
_BOX_OF_ONE = re.compile(r"\\boxed\s{1,4}([0-9A-Za-z])(?![0-9A-Za-z])")
_JOINER = re.compile(
    r"(?i)(?:[\s$,;]|[a-zA-Z]\s?(?:=|\\in)\s?(?=\Z)|\\[()\[\],; ]|\\quad|\\qquad|\band\b|\bor\b"
    r"|\\text\s?\{\s?(?:and|or)\s?\}|[*.](?=\s?\$))*"
)
_JOINS = re.compile(r"[,;]|\band\b|\bor\b", re.IGNORECASE)
_SENTENCE_IN_BOX = re.compile(
    r"(?i)(?:\\text\{)?\s{0,4}(?:the\s)?(?:final\s)?answer\s?(?:is|:|=)\s{0,4}\}?"
)


def boxed(text: str, asked: Asked) -> str | None:
    """The content of the last complete box that says something, or of the last few boxes if one
    sentence lists them. A box that holds only a box counts as the inner one."""
    boxes = [box for box in _boxes(text) if key(box[2], asked)]
    if not boxes:
        alone = _BOX_OF_ONE.findall(text)
        return _choice_in(alone[-1], asked) if alone else None
    listed = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        between = text[box[1] : listed[0][0]]
        if len(between) > 60 or not _JOINER.fullmatch(between) or not _JOINS.search(between):
            break
        listed.insert(0, box)
    distinct = {found.full: box[2] for box in listed if (found := key(box[2], asked))}
    content = ", ".join(distinct.values())
    if sentence := _SENTENCE_IN_BOX.match(content):
        rest = content[sentence.end() :]
        wrapped = content.count("{") < content.count("}") or "{" not in rest
        content = rest.strip().removesuffix("}") if wrapped else rest
    return _choice_in(content, asked)


def _choice_in(content: str, asked: Asked) -> str:
    if asked.alternatives:  # then no choices are listed
        return alternative(content, asked.alternatives) or content
    if not asked.choices:
        return content
    return letter_at_start(content, asked.choices) or named(content, asked) or content


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """Start, end and content of every complete box that is not inside another."""
    opened: list[tuple[int, int, bool]] = []
    found: list[tuple[int, int, str]] = []
    for token in _BOX_TOKEN.finditer(text):
        if token[0] == "{" or token[1]:
            opened.append((token.start(), token.end(), token[1] is not None))
        elif token[0] == "}" and opened:
            command, start, is_box = opened.pop()
            held = text[start : token.start()].strip() if is_box else ""
            if held:
                inside = [box for box in found[-1:] if box[0] > command]
                if inside and held == text[inside[0][0] : inside[0][1]]:
                    held = inside[0][2]
                while found and found[-1][0] > command:
                    found.pop()
                found.append((command, token.end(), held))
    return found
