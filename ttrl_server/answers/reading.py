r"""The final answer of one sample, read from its text.

The strongest form wins, and within one form the last: a complete ``\boxed{…}``, else a phrase
such as "the answer is …", else a form that depends on the kind of question. For an open question
only the first two count, for a sample that was cut off only a complete box.

The time of every pattern here is linear in the text, or bounded by a constant, for any text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ttrl_server.answers.actions import Calls, call_key, json_value, written
from ttrl_server.answers.asked import TAIL, Asked
from ttrl_server.answers.boxes import boxed
from ttrl_server.answers.choices import alternative, marked
from ttrl_server.answers.keys import key
from ttrl_server.answers.numbers import last_value, short_formula
from ttrl_server.answers.replies import EMPTY, fact, is_no_answer, short_reply, under_label, verdict
from ttrl_server.answers.said import said
from ttrl_server.answers.spelling import visible
from ttrl_server.answers.statements import MARK, stated

Strength = Literal["boxed", "stated", "choice", "closing", "number"]
"""The form of an answer, strongest first. ``closing``: in the last line, or the whole reply;
``number``: before the last line."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The answer of one sample as the sample wrote it, or the letter of the choice it names."""

    answer: str | None
    strength: Strength | None
    """None when there is no answer."""


NOTHING = Reading(None, None)


def read(text: str, finish_reason: str | None, asked: Asked) -> Reading:
    """The final answer and its strength. Never raises. A reason other than ``stop`` means that
    max_tokens or the gateway cut the text off."""
    if asked.wanted.json:
        return NOTHING if json_value(text) is None else Reading(text.strip(), "stated")
    tail = said(visible(text))[-TAIL:]
    reading = _reading(boxed(tail, asked), "boxed", asked)
    unlisted = asked.choices and reading.answer not in asked.choices
    if (reading is NOTHING or unlisted) and finish_reason in ("stop", None):
        ways = [found for found in _ways(tail, asked) if found is not NOTHING]
        # A box without a listed choice may be a step towards one.
        chosen = [found for found in ways if not reading.answer or found.answer in asked.choices]
        reading = chosen[0] if chosen else reading
    return reading


def read_calls(calls: Calls, asked: Asked) -> Reading:
    """The calls of a sample as its answer; nothing where one is broken, or of an unknown tool."""
    whole = call_key(calls, asked.wanted.tools) is not None
    return Reading(written(calls), "stated") if whole else NOTHING


def _ways(tail: str, asked: Asked) -> Iterator[Reading]:
    """The readings that need no box, strongest first."""
    kind, empty = asked.kind, is_no_answer(tail)
    if kind == "open" and (empty or not MARK.search(tail)):
        return
    yield _reading(stated(tail, asked), "stated", asked)
    if kind == "choice":
        yield _reading(marked(tail, asked), "choice", asked)
    if kind == "verdict":
        yield _reading(verdict(tail), "choice", asked)
    if kind == "alternative":
        yield _reading(alternative(tail, asked.alternatives), "choice", asked)
    if asked.listed or kind == "words":
        yield _reading(short_reply(tail, within="" if kind == "words" else ","), "closing", asked)
    if not empty and kind in ("number", "unknown", "choice", "words"):
        yield _reading(short_formula(tail, asked), "closing", asked)
        # Any value if the question asks for one; a choice's value; for words, in the last line.
        value, closing = last_value(tail, asked)
        words = kind == "words" and closing
        if kind in ("number", "unknown") or value in asked.choices or words:
            yield _reading(value, "closing" if closing else "number", asked)
    if kind in ("fact", "words", "alternative"):
        yield _reading(under_label(tail, asked), "closing", asked)
    if kind == "fact" and not empty:
        yield _reading(fact(tail), "closing", asked)


def _reading(found: str | None, strength: Strength, asked: Asked) -> Reading:
    said_something = found and not EMPTY.match(found) and key(found, asked)
    return Reading(found, strength) if said_something else NOTHING
