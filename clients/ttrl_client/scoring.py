"""Is an answer right? The server's own reader says so: a truth is compared as a vote is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ttrl_server.answers import Asked, Kind, asked, read, read_calls, same, wanted

__all__ = ["Asked", "answer_of", "expecting", "read", "same"]

_FIGURES = re.compile(r"\d|[\\^=+*/<>{}\[\]$]")
_WORD = re.compile(r"[^\W\d_]{2,}")
_VERDICTS = frozenset({"yes", "no", "true", "false"})


def expecting(prompt: str, truth: str, request: Mapping[str, Any] | None = None) -> Asked:
    """What a question asks for. Where it may be answered with calls of tools or with JSON, that;
    else as ``_expecting``."""
    found = wanted(prompt, request or {})
    return _expecting(prompt, truth) if isinstance(found, str) else asked(found)


def answer_of(text: str, calls: Sequence[tuple[str, str]], finish: str, asked: Asked) -> str | None:
    """The answer of a sample: its calls, or what its text says."""
    return (read_calls(calls, asked) if calls else read(text, finish, asked)).answer


@lru_cache(maxsize=4096)
def _expecting(prompt: str, truth: str) -> Asked:
    """What a question asks for, where it does not say so itself by what its true answer looks like.

    Whoever scores knows the answer: a question that would be voted on by nobody is still read for a
    word or a number.
    """
    found = asked(prompt)
    if found.kind in ("choice", "alternative"):
        return found
    kind: Kind = found.kind
    # Words: no signs of a formula, and most items of a list (or the one there is) name something.
    items = truth.split(",")
    named = sum(_WORD.search(item) is not None and not _FIGURES.search(item) for item in items)
    words = not re.search(r"[\\^=*{}$]", truth) and 2 * named > len(items)
    if truth.strip(" .").lower() in _VERDICTS:
        kind = "verdict"
    elif words:
        kind = found.kind if found.kind in ("words", "fact") else "words"
    elif found.kind in ("open", "unknown", "fact", "words", "verdict"):
        kind = "number"
    return replace(found, kind=kind, text=found.text or " ")
