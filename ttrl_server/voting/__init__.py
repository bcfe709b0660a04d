"""The voting room: which answer wins, when that is settled, and what each sample earns.

    text ─read─▶ answer ─key─▶ cluster ─count─▶ Vote ─▶ rewards

Reading and keys are those of ``ttrl_server.answers``. No model, no process and no I/O.
"""

from __future__ import annotations

from ttrl_server.voting.ballot import Ballot, vote_over
from ttrl_server.voting.rewards import agreement, feedback, labelled, signed
from ttrl_server.voting.tally import most_certain

__all__ = ["Ballot", "agreement", "feedback", "labelled", "most_certain", "signed", "vote_over"]
