r"""When a vote may stop before all M samples are drawn (docs/method.md, section 7).

``none``         never.
``exact``        the leader's margin exceeds the number of outstanding samples: the full vote
                 would give the same answer.
``beta``         P(leader's share > runner-up's | counts) ≥ level, with a uniform prior on the
                 share among the two: Adaptive-Consistency (arXiv 2305.11860, section 3).
                 A posterior, not a guarantee.
``certificate``  anytime-valid, after the Martingale Majority Certificate (arXiv 2510.17472,
                 section 3): for any number of checks, the probability of ever certifying an
                 answer that is not the model's most likely one is at most δ = 1 − level.

The certificate compares the leader with its strongest rival. Take only the samples with one of
these two answers: a leader that is *not* more likely wins each with probability ≤ 1/2. With a wins
in n = a + b samples, the mixture over shares above one half, 2 ∫_{1/2}^1 2ⁿ θᵃ (1−θ)ᵇ dθ, is then
a supermartingale that starts at 1 and passes x with probability ≤ 1/x (Ville). The data choose the
leader, so the threshold depends on when its answer first appeared. Counting starts after that
sample, and the k-th answer to appear must pass k (k+1) / δ. The error probabilities of all possible
answers then sum to δ. (The paper uses the whole of δ for one leader and does not correct for the
choice of the leader.)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from ttrl_server.types import StopRule

Label = Hashable | None
"""The cluster of one sample; None for a sample without an answer."""


def decided(rule: StopRule, level: float, labels: Sequence[Label], total: int) -> bool:
    """Whether ``rule`` ends a vote of ``total`` samples after ``labels``, which are in index order.

    For a statistical rule, ``labels`` must be whole waves: the samples that finish first are the
    short ones, so they are not a random draw.
    """
    if rule == "exact":
        return settled([1.0] * len(labels), labels, total)
    counts = _counted(labels)
    if rule == "beta":
        first, second = _top_two(counts)
        return _likelier(int(first), int(second)) >= level
    if rule != "certificate" or not counts:
        return False
    leader = counts.most_common(1)[0][0]
    after = _counted(labels[labels.index(leader) + 1 :])
    wins, rank = after.pop(leader, 0), list(counts).index(leader) + 1
    strongest = max(after.values(), default=0)
    return _evidence(wins, strongest) >= rank * (rank + 1) / (1 - level)


def settled(weights: Sequence[float], labels: Sequence[Label], total: int) -> bool:
    """Whether the outstanding samples, each of weight ≤ 1, can neither beat nor tie the winner."""
    shares: Counter[Label] = Counter()
    for label, weight in zip(labels, weights, strict=True):
        if label is not None:
            shares[label] += weight  # type: ignore[assignment]
    first, second = _top_two(shares)
    return first - second > total - len(labels)


def needed(rule: StopRule, level: float, labels: Sequence[Label], total: int) -> int:
    """The fewest further samples, if all agree with the leader, after which ``rule`` can end it."""
    outstanding = total - len(labels)
    if rule == "none":
        return outstanding
    leader = next(iter(_counted(labels).most_common(1)), ("leader", 0))[0]
    hoped = list(labels)
    for more in range(1, outstanding):
        hoped.append(leader)
        if decided(rule, level, hoped, total):
            return more
    return outstanding


def _top_two(shares: Counter[Label]) -> tuple[float, float]:
    best = [share for _, share in shares.most_common(2)] + [0, 0]
    return best[0], best[1]


def _counted(labels: Sequence[Label]) -> Counter[Label]:
    """How many samples have each label, in the order in which the labels appeared."""
    return Counter(label for label in labels if label is not None)


def _likelier(wins: int, losses: int) -> float:
    """P(θ > 1/2) for θ ~ Beta(wins + 1, losses + 1), as a sum over tosses of a fair coin."""
    tosses = wins + losses + 1
    return sum(math.comb(tosses, k) for k in range(wins + 1)) / 2.0**tosses


def _evidence(wins: int, losses: int) -> float:
    """The mixture above: 2ⁿ⁺¹ B(a+1, b+1) P(θ > 1/2)."""
    tosses = wins + losses + 1
    return 2.0**tosses / (tosses * math.comb(tosses - 1, wins)) * _likelier(wins, losses)
