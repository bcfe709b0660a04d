"""Reads answers from text, finds the kind of answer that a question asks for, and compares answers.

    question ─asked─▶ Asked ──┐
    sample ─said─▶ own words ─┴read─▶ Reading ─keys─▶ equal keys are equal answers

The functions are pure: no model, no process, no file. The vote, the gate, ``ttrl-vote``,
``ttrl-replay`` and the recipes use them. It imports nothing of the server: clients import it too.
"""

from __future__ import annotations

from ttrl_server.answers.actions import written
from ttrl_server.answers.asked import (
    Asked,
    Asking,
    Wanted,
    asked,
    by_chance,
    echoes,
    form,
    text_of,
    wanted,
)
from ttrl_server.answers.keys import keys, same
from ttrl_server.answers.kinds import Kind
from ttrl_server.answers.opposites import opposite
from ttrl_server.answers.reading import Reading, Strength, read, read_calls

__all__ = [
    "Asked",
    "Asking",
    "Kind",
    "Reading",
    "Strength",
    "Wanted",
    "asked",
    "by_chance",
    "echoes",
    "form",
    "keys",
    "opposite",
    "read",
    "read_calls",
    "same",
    "text_of",
    "wanted",
    "written",
]
