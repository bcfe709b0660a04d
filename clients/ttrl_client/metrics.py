"""avg@k, maj@k and pass@k of question sets, as in the TTRL paper (arXiv 2504.16084, section 3)."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ttrl_server.answers import Asked, keys, same

RESAMPLES = 1000
UNKNOWN = Asked()
"""Of a question that is not at hand."""
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Graded:
    """The k final answers drawn for one question, None where a sample had none, and the truth."""

    answers: tuple[str | None, ...]
    truth: str
    asked: Asked = UNKNOWN
    """What the question says about its answer."""
    group: str | None = None
    """Level or subject."""
    tokens: int = 0
    """Of all samples."""
    seconds: float = 0
    """Until all of them were there."""


@dataclass(frozen=True, slots=True)
class SetScore:
    """One evaluation of one set. The shares are None when no question was answered."""

    answered: int
    failed: int
    avg: float | None
    maj: float | None
    passed: float | None
    extractable: float | None = None
    """Share of the samples that come to an answer."""
    intervals: dict[str, Interval] = field(default_factory=dict)
    """95 % bootstrap intervals over the questions, of avg, maj and passed."""
    length: float | None = None
    """Mean tokens of a sample, where the server says."""
    tokens: int = 0
    seconds: float | None = None
    """Mean time of a question, with as many under way as the run allows."""
    groups: dict[str, tuple[int, float]] = field(default_factory=dict)
    """By level or subject: questions, avg@k."""


def score(graded: Sequence[Graded], failed: int = 0) -> SetScore:
    """Means over the questions that were answered."""
    shares = [correct_share(g) for g in graded]
    each = {
        "avg": shares,
        "maj": [float(same(majority(g.answers, g.asked), g.truth, g.asked)) for g in graded],
        "passed": [float(share > 0) for share in shares],
    }
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for g, share in zip(graded, shares, strict=True):
        if g.group is not None:
            groups[g.group].append(share)
    samples, tokens = sum(len(g.answers) for g in graded), sum(g.tokens for g in graded)
    return SetScore(
        answered=len(graded),
        failed=failed,
        avg=mean(shares),
        maj=mean(each["maj"]),
        passed=mean(each["passed"]),
        extractable=mean(float(a is not None) for g in graded for a in g.answers),
        intervals={name: found for name, values in each.items() if (found := bootstrap(values))},
        length=tokens / samples if tokens else None,
        tokens=tokens,
        seconds=mean(g.seconds for g in graded),
        groups={name: (len(x), sum(x) / len(x)) for name, x in sorted(groups.items())},
    )


def bootstrap(values: Sequence[float]) -> Interval | None:
    """95 % percentile interval of the mean over resampled questions (Efron and Tibshirani 1993,
    section 13.3)."""
    if len(values) < 2:
        return None
    draw, n = random.Random(0), len(values)
    means = sorted(sum(draw.choices(values, k=n)) / n for _ in range(RESAMPLES))
    cut = round(0.025 * RESAMPLES)
    return means[cut], means[-1 - cut]


def paired(differences: Sequence[float]) -> float | None:
    """Two-sided p-value of "the mean is 0": a permutation test, which flips signs at random."""
    if not differences:
        return None
    draw, seen, extreme = random.Random(0), abs(sum(differences)), 0
    for _ in range(RESAMPLES):
        flipped = abs(sum(d if draw.random() < 0.5 else -d for d in differences))
        extreme += flipped >= seen - 1e-12
    return (1 + extreme) / (1 + RESAMPLES)


def correct_share(graded: Graded) -> float:
    """Share of the samples that are right: the mean of this is avg@k."""
    right = sum(same(answer, graded.truth, graded.asked) for answer in graded.answers)
    return right / len(graded.answers)


def majority(answers: Sequence[str | None], asked: Asked = UNKNOWN) -> str | None:
    """The most frequent answer, as its first sample wrote it; ties go to the one seen first."""
    found = clusters(answers, asked)
    return found[0][0] if found else None


def clusters(answers: Sequence[str | None], asked: Asked = UNKNOWN) -> list[tuple[str, int]]:
    """Equal answers counted together, as first written; most frequent first, then first seen."""
    found = keys({answer for answer in answers if answer is not None}, asked)
    counted: defaultdict[str, list[str]] = defaultdict(list)
    for answer in answers:
        if answer is not None and (key := found[answer]) is not None:
            counted[key].append(answer)
    return sorted(((said[0], len(said)) for said in counted.values()), key=lambda count: -count[1])


@dataclass(frozen=True, slots=True)
class VoteScore:
    """What one vote was worth against the truth (names of the paper's released logs)."""

    ground_truth_ratio: float
    """Samples that are right / samples: the mean reward true labels would have given."""
    label_accuracy: float
    """1 when the pseudo-label is right."""
    reward_accuracy: float
    """Share of samples whose pseudo-reward is the one the true label gives."""


def score_vote(
    answer: str | None, counts: Mapping[str, int], votes: int, truth: str, asked: Asked = UNKNOWN
) -> VoteScore:
    """Grade one vote from its tally: ``counts`` votes by answer, of ``votes`` samples.

    Which samples earned the pseudo-reward is the server's word: those counted under ``answer``,
    where it is among them.
    """
    alike = {given for given in counts if same(given, answer, asked)}
    rewarded = {given for given in counts if given == answer} or alike
    right = {given for given in counts if same(given, truth, asked)}
    misled = sum(counts[given] for given in rewarded ^ right)
    rightly = sum(counts[given] for given in right)
    return VoteScore(rightly / votes, float(same(answer, truth, asked)), 1 - misled / votes)


def calibration_error(stated: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """Expected calibration error: |mean stated probability − share right| in equal bins, weighed by
    how many fall into each (Guo et al., arXiv 1706.04599, section 2)."""
    binned: defaultdict[int, list[float]] = defaultdict(list)
    for probability, correct in zip(stated, right, strict=True):
        binned[min(bins - 1, int(probability * bins))].append(probability - correct)
    return sum(abs(sum(gaps)) for gaps in binned.values()) / max(1, len(stated))


def discrimination(stated: Sequence[float], right: Sequence[bool]) -> float | None:
    """Area under the ROC curve: how often a right answer has the higher stated probability than a
    wrong one, a tie counted half. None unless there are both."""
    sure = [p for p, correct in zip(stated, right, strict=True) if correct]
    unsure = [p for p, correct in zip(stated, right, strict=True) if not correct]
    won = sum((a > b) + (a == b) / 2 for a in sure for b in unsure)
    return won / (len(sure) * len(unsure)) if sure and unsure else None


def shown(value: float | None) -> str:
    """A share as it is printed everywhere."""
    return "-" if value is None else f"{value:.3f}"


def mean(values: Iterable[float]) -> float | None:
    """Arithmetic mean, None of nothing."""
    present = list(values)
    return sum(present) / len(present) if present else None
