"""Counting the votes of a group (docs/method.md, sections 1 and 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ttrl_server.answers import Asked
from ttrl_server.answers import keys as keys_of
from ttrl_server.answers.actions import agreement, fields, json_value, majority
from ttrl_server.types import Cluster, Rollout, Stopped, Vote


def vote(
    answers: Sequence[str | None],
    confidences: Sequence[float],
    stopped: Stopped = "full",
    *,
    keys: Sequence[str | None] | None = None,
    weights: Sequence[float] | None = None,
) -> Vote:
    """Groups equal answers into clusters; the largest cluster wins.

    ``answers``, ``confidences`` (nats a token) and ``keys`` (equal for equal answers; default: of
    an unknown question) are [M], by rollout index; ``weights`` [M] say how much each sample's vote
    counts (default 1). Tied clusters are ordered by summed confidence, then by lowest
    index. The chosen rollout is the most confident of the winning cluster, then the lowest index.
    Raises ValueError when the lengths differ.
    """
    if len(answers) != len(confidences):
        raise ValueError(f"{len(answers)} answers but {len(confidences)} confidences")
    if keys is None:
        found = keys_of({a for a in answers if a is not None}, Asked())
        keys = [None if a is None else found[a] for a in answers]
    members: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        if key is not None:
            members.setdefault(key, []).append(index)
    votes = weights or [1.0] * len(answers)
    # ``fsum`` is exact, so a tie does not depend on the order of summation.
    ranked = sorted(
        (Cluster(answers[indices[0]] or "", tuple(indices)) for indices in members.values()),
        key=lambda cluster: (
            -math.fsum(votes[index] for index in cluster.members),
            -math.fsum(confidences[index] for index in cluster.members),
            cluster.members[0],
        ),
    )
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


def by_fields(whole: Vote, confidences: Sequence[float]) -> Vote:
    """The vote of replies in JSON by their fields: each field's most common value wins it, and the
    sample that agrees with most of them is chosen, then the most confident one. Its ratio is the
    mean share of the samples that have its values."""
    able = {place for cluster in whole.clusters for place in cluster.members}
    read = [
        fields(json_value(answer)) if answer is not None and place in able else None
        for place, answer in enumerate(whole.answers)
    ]
    most = majority([each for each in read if each is not None])
    agreements = tuple(0.0 if each is None else agreement(each, most) for each in read)
    order = sorted(
        (place for place, each in enumerate(read) if each is not None),
        key=lambda place: (-agreements[place], -confidences[place], place),
    )
    own = read[order[0]] or {}
    shares = [sum(each is not None and each.get(f) == v for each in read) for f, v in own.items()]
    first = next(cluster for cluster in whole.clusters if order[0] in cluster.members)
    others = tuple(cluster for cluster in whole.clusters if cluster is not first)
    ratio = math.fsum(shares) / max(1, len(shares)) / len(read)
    runner_up = max((len(cluster.members) for cluster in others), default=0) / len(read)
    return replace(
        whole,
        clusters=(first, *others),
        pseudo_label=first.answer,
        majority_ratio=ratio,
        margin=max(0.0, ratio - runner_up),
        chosen=order[0],
        agreements=agreements,
    )


def confidence(rollout: Rollout) -> float:
    """Mean log-probability of the tokens (nats a token); −∞ without tokens, and if one is NaN."""
    if not rollout.logprobs:
        return -math.inf
    mean = math.fsum(rollout.logprobs) / len(rollout.logprobs)
    return -math.inf if math.isnan(mean) else mean


def weight(confidence: float) -> float:
    """A vote's weight in (0, 1]: the geometric mean of the probabilities of the sample's tokens.

    After DeepConf (arXiv 2508.15260, section 3.2), whose confidence needs the top-k alternatives of
    every token; this one needs only the sampled tokens. The stop rule ``exact`` needs the bound 1.
    """
    return math.exp(min(confidence, 0.0))


VERIFIED: dict[bool | None, float] = {True: 1.0, None: 1 / 3, False: 0.0}
"""A vote's weight by whether the sample's equations check: 3 to 1 to nothing (after T3RL,
arXiv 2603.02203). The stop rule ``exact`` needs the bound 1."""


def most_certain(rollouts: Sequence[Rollout]) -> int:
    """Best of N without a vote: the index of the finished rollout with the highest self-certainty
    (arXiv 2502.18581), or without one with the highest confidence; in a tie, the first one."""

    def rank(place: int) -> tuple[bool, float, int]:
        rollout = rollouts[place]
        certainty = confidence(rollout) if rollout.certainty is None else rollout.certainty
        return rollout.finish_reason == "stop", certainty, -place

    return max(range(len(rollouts)), key=rank)
