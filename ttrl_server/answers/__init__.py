"""The one reader of answers: what a text answers, what kind of answer was asked for, which answers
are the same.

    question ─asked─▶ Asked ──┐
    sample ─said─▶ own words ─┴read─▶ Reading ─keys─▶ equal keys are equal answers

Pure: no model, no process, no file. Used by the vote, the gate, ``ttrl-vote``, ``ttrl-replay`` and
the recipes; imports nothing of the server, so that the client may import it.
"""

from __future__ import annotations

from ttrl_server.answers.asked import Asked, asked
from ttrl_server.answers.keys import keys, same
from ttrl_server.answers.kinds import Kind
from ttrl_server.answers.reading import Reading, Strength, read

__all__ = ["Asked", "Kind", "Reading", "Strength", "asked", "keys", "read", "same"]
