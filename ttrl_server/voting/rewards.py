"""The reward of each rollout of a group: from the vote, a given label, or a person's feedback.

Every function returns [G] rewards of the G rollouts that train. Training on true labels is the
method's upper bound; only its reward differs.
"""

from __future__ import annotations

import random

from ttrl_server.answers import Asked, keys
from ttrl_server.types import Vote


def agreement(vote: Vote, samples: int) -> tuple[float, ...]:
    """1 for members of the winning cluster, else 0 (TTRL, arXiv 2504.16084, section 2.2); where
    fields vote, the share of them that agrees."""
    if vote.agreements is not None:
        return vote.agreements[:samples]
    return _ones(set(vote.clusters[0].members) if vote.clusters else set(), samples)


def signed(
    vote: Vote, samples: int, *, majority: float, margin: float, rare: float
) -> tuple[float, ...]:
    """1 for the winning answer, −1 for answers with a share of the samples below ``rare``, else 0.

    The winning answer earns 1 only inside the consensus window: p₁ ≥ ``majority`` and p₁ − p₂ ≥
    ``margin``. Outside it only the negative rewards are learned (SCRL, arXiv 2603.19880: 0.5, 0.15,
    0.15).
    """
    total = len(vote.answers)
    earned = [0.0] * samples
    for place, cluster in enumerate(vote.clusters):
        share = len(cluster.members) / total
        wins = place == 0 and share >= majority and (vote.margin or 0.0) >= margin
        for index in cluster.members:
            if index < samples:
                earned[index] = 1.0 if wins else -1.0 if share < rare else 0.0
    return tuple(earned)


def any_answer(vote: Vote, samples: int) -> tuple[float, ...]:
    """A control: 1 for every sample with an answer. What is gained so is learning to answer."""
    return tuple(float(answer is not None) for answer in vote.answers[:samples])


def at_random(question: str, samples: int) -> tuple[float, ...]:
    """A control: 0 or 1 by a coin, which the question's id tosses."""
    coin = random.Random(question)
    return tuple(float(coin.getrandbits(1)) for _ in range(samples))


def labelled(vote: Vote, label: str, samples: int, asked: Asked) -> tuple[float, ...]:
    """1 for answers that are the same as ``label``, else 0."""
    found = keys({label, *(cluster.answer for cluster in vote.clusters)}, asked)
    right = found[label]
    same = [c.members for c in vote.clusters if right and found[c.answer] == right]
    return _ones(set().union(*same), samples)


def feedback(vote: Vote, score: int, samples: int) -> tuple[float, ...]:
    """A person's ±1 for every rollout with the answer that was returned, 0 for the others.

    Binary feedback replaces the pseudo-label, as in BiTTA (arXiv 2505.18514).
    """
    same = next((set(c.members) for c in vote.clusters if vote.chosen in c.members), {vote.chosen})
    return tuple(float(score) if index in same else 0.0 for index in range(samples))


def _ones(members: set[int], samples: int) -> tuple[float, ...]:
    return tuple(1.0 if index in members else 0.0 for index in range(samples))
