"""The signals of a group: majority, entropy, length, and the share of samples with an answer.

The reply, the store, the gate and the watch all use this one definition. Entropy is a mean over
tokens, so a long sample counts more than a short one, as in the policy gradient's token mean.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence

from ttrl_server.types import Group, Rollout, Signals, Vote


def of_group(group: Group, vote: Vote) -> Signals:
    """The signals of a group that was voted on."""
    return of_samples(
        group.version,
        majority=vote.majority_ratio or 0.0,
        extractable=answered(vote.answers),
        samples=len(group.rollouts),
        tokens=sum(len(rollout.token_ids) for rollout in group.rollouts),
        surprise=surprise(group.rollouts),
    )


def of_samples(
    version: int, *, majority: float, extractable: float, samples: int, tokens: int, surprise: float
) -> Signals:
    """The signals of completions; ``surprise``: the sum of −log π over their tokens (nats)."""
    entropy, length = surprise / max(1, tokens), tokens / max(1, samples)
    return Signals(version, 1, majority, entropy, length, extractable)


def mean(signals: Sequence[Signals]) -> Signals:
    """Mean signals over the groups of one version. Raises IndexError for an empty sequence."""
    groups = sum(each.groups for each in signals)

    def average(name: str) -> float:
        return math.fsum(getattr(each, name) * each.groups for each in signals) / groups

    means = (average(name) for name in ("majority", "entropy", "length", "extractable"))
    return Signals(signals[0].version, groups, *means)


def surprise(rollouts: Collection[Rollout]) -> float:
    """Sum of −log π over all sampled tokens (nats)."""
    return -math.fsum(math.fsum(rollout.logprobs) for rollout in rollouts)


def answered(answers: Sequence[str | None]) -> float:
    """Share of the samples with an answer."""
    return sum(answer is not None for answer in answers) / max(1, len(answers))


def largest(labels: Sequence[str | None]) -> tuple[str | None, float]:
    """The most frequent label and its share of all samples; in a tie, the label that comes first.

    ``labels`` [M] are equal for equal answers, None for a sample without an answer.
    """
    counts = Counter(label for label in labels if label is not None)
    label, most = counts.most_common(1)[0] if counts else (None, 0)
    return label, most / max(1, len(labels))
