"""The voting room: what each sample answers, which answers are the same, and which answer wins.

Plain functions over text and counts; no model, no clock, no I/O.
"""

from __future__ import annotations

from ttrl_server.types import Group, Vote
from ttrl_server.voting.extract import answer
from ttrl_server.voting.tally import confidence, rewards, vote

__all__ = ["judge", "rewards"]


def judge(group: Group, question: str | None = None, stopped: str = "full") -> Vote:
    """The vote of a group whose rollouts have the indices 0 … M−1, in whatever order they arrived.

    ``question`` is the text asked, used only to see whether it lists choices; ``stopped`` is why sampling ended.
    """
    rollouts = sorted(group.rollouts, key=lambda rollout: rollout.index)
    answers = [answer(rollout.text, rollout.finish_reason, question) for rollout in rollouts]
    return vote(answers, [confidence(rollout) for rollout in rollouts], stopped)
