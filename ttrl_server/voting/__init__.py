"""Voting: which answer wins, when sampling may stop, and the reward of each sample.

    text ─read─▶ answer ─key─▶ cluster ─count─▶ Vote ─▶ rewards

``ttrl_server.answers`` reads answers and makes keys. This package has no model, process or I/O.
"""

from __future__ import annotations

from ttrl_server.voting.ballot import Ballot, vote_over
from ttrl_server.voting.rewards import agreement, any_answer, at_random, feedback, labelled, signed
from ttrl_server.voting.tally import most_certain

__all__ = [
    "Ballot",
    "agreement",
    "any_answer",
    "at_random",
    "feedback",
    "labelled",
    "most_certain",
    "signed",
    "vote_over",
]
