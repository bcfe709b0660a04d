"""avg@k, maj@k and pass@k over question sets, as the TTRL paper reports them (arXiv 2504.16084, section 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ttrl_client.scoring import canonical, equivalent


@dataclass(frozen=True, slots=True)
class Graded:
    """The k final answers drawn for one question, None where a sample had none, and the truth."""

    answers: tuple[str | None, ...]
    truth: str


@dataclass(frozen=True, slots=True)
class SetScore:
    """One evaluation of one set. The three shares are None when no question was answered."""

    answered: int
    failed: int
    avg: float | None
    maj: float | None
    passed: float | None


def score(graded: Sequence[Graded], failed: int = 0) -> SetScore:
    """Means over the questions that were answered."""
    return SetScore(
        answered=len(graded),
        failed=failed,
        avg=mean(correct_share(g) for g in graded),
        maj=mean(float(equivalent(majority(g.answers), g.truth)) for g in graded),
        passed=mean(float(correct_share(g) > 0) for g in graded),
    )


def correct_share(graded: Graded) -> float:
    """Share of the samples that are right: the mean of this is avg@k."""
    return sum(equivalent(answer, graded.truth) for answer in graded.answers) / len(graded.answers)


def majority(answers: Sequence[str | None]) -> str | None:
    """The answer most samples agree on, as its first sample wrote it; ties go to the one seen first."""
    given = [answer for answer in answers if answer is not None]
    if not given:
        return None
    # Counter keeps insertion order and most_common sorts stably: of equal counts the first seen leads.
    winner = Counter(map(canonical, given)).most_common(1)[0][0]
    return next(answer for answer in given if canonical(answer) == winner)


@dataclass(frozen=True, slots=True)
class VoteScore:
    """What one vote was worth against the truth (names of the paper's released logs)."""

    ground_truth_ratio: float
    """Samples that are right / samples: the mean reward true labels would have given."""
    label_accuracy: float
    """1 when the pseudo-label is right."""
    reward_accuracy: float
    """Share of samples whose pseudo-reward is the one the true label gives."""


def score_vote(answer: str | None, counts: Mapping[str, int], votes: int, truth: str) -> VoteScore:
    """Grade one vote from its tally: ``counts`` votes by answer, of ``votes`` samples."""
    share: Counter[Fraction | str] = Counter()
    for given, count in counts.items():
        share[canonical(given)] += count
    right = share[canonical(truth)] / votes
    if equivalent(answer, truth):
        return VoteScore(right, 1.0, 1.0)
    # With a wrong label exactly its voters and the right samples get a reward the truth would not give.
    won = share[canonical(answer)] / votes if answer is not None else 0.0
    return VoteScore(right, 0.0, 1.0 - won - right)


def mean(values: Iterable[float]) -> float | None:
    """Arithmetic mean, None of nothing."""
    present = list(values)
    return sum(present) / len(present) if present else None
