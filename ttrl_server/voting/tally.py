"""Counting the votes of a group and rewarding those who agree (ttrl.md, sections 1 and 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ttrl_server.types import Cluster, Rollout, Vote
from ttrl_server.voting.equivalence import canonical


def vote(answers: Sequence[str | None], confidences: Sequence[float], stopped: str = "full") -> Vote:
    """Cluster equivalent answers and let the largest cluster win.

    ``answers`` and ``confidences`` (nats a token) are [M], by rollout index. Clusters of equal size are ordered by
    summed confidence, then by lowest index; the chosen rollout is the most confident of the winners, then the lowest
    index. Nothing depends on the order in which samples arrived. Raises ValueError when the two lengths differ.
    """
    if len(answers) != len(confidences):
        raise ValueError(
            f"{len(answers)} answers but {len(confidences)} confidences: one of each is needed per rollout"
        )
    ranked = sorted(_clusters(answers), key=lambda cluster: _rank(cluster, confidences))
    if not ranked:
        return Vote(tuple(answers), (), None, None, None, chosen=0, stopped=stopped)
    first, second = len(ranked[0].members), len(ranked[1].members) if len(ranked) > 1 else 0
    return Vote(
        answers=tuple(answers),
        clusters=tuple(ranked),
        pseudo_label=ranked[0].answer,
        majority_ratio=first / len(answers),
        margin=(first - second) / len(answers),
        chosen=max(ranked[0].members, key=lambda index: (confidences[index], -index)),
        stopped=stopped,
    )


def _clusters(answers: Sequence[str | None]) -> list[Cluster]:
    members: dict[str, list[int]] = {}
    for index, answer in enumerate(answers):
        if answer is not None:
            members.setdefault(canonical(answer), []).append(index)
    return [Cluster(answers[indices[0]] or "", tuple(indices)) for indices in members.values()]


def _rank(cluster: Cluster, confidences: Sequence[float]) -> tuple[int, float, int]:
    """Smaller is better. ``fsum`` is exact, so that a tie does not depend on the order of summation."""
    return -len(cluster.members), -math.fsum(confidences[index] for index in cluster.members), cluster.members[0]


def rewards(vote: Vote, samples: int) -> tuple[float, ...]:
    """[G] 1.0 for members of the winning cluster, else 0.0, for the G = ``samples`` first rollouts, which train."""
    winners = frozenset(vote.clusters[0].members) if vote.clusters else frozenset()
    return tuple(1.0 if index in winners else 0.0 for index in range(samples))


def confidence(rollout: Rollout) -> float:
    """Mean log-probability of the rollout's tokens (nats a token); minus infinity without tokens or if one is NaN."""
    if not rollout.logprobs:
        return -math.inf
    mean = math.fsum(rollout.logprobs) / len(rollout.logprobs)
    return -math.inf if math.isnan(mean) else mean
