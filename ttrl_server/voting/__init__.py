"""The voting room: what each sample answers, which answers are the same, which answer wins, and when that is settled.

    text ─read─▶ answer ─key (text and rationals; a worker process for the rest)─▶ cluster ─count─▶ Vote

No model and no I/O but the pipes of the worker processes, which are the only part that may have to be killed.
"""

from __future__ import annotations

from ttrl_server.voting.ballot import Ballot, Checker, TextOnly, judge
from ttrl_server.voting.rewards import agreement, feedback, labelled, signed
from ttrl_server.voting.structure import text_key
from ttrl_server.voting.tally import most_certain

__all__ = [
    "Ballot",
    "Checker",
    "TextOnly",
    "agreement",
    "feedback",
    "judge",
    "labelled",
    "most_certain",
    "signed",
    "text_key",
]
