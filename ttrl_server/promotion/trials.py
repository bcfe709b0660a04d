"""Statistics that compare samples of two versions on the same questions. Pure functions.

Values are [questions][samples]. Both versions get the same questions: only the samples are random.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

Answers = Sequence[str | None]
Values = Sequence[Sequence[float]]

NINE_IN_TEN = 1.2816
"""The normal distribution's ninth decile."""
BETS = 16
"""Number of stakes that share the capital."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Means over questions, and their difference in standard errors."""

    theirs: float
    ours: float
    error: float
    """Standard error of theirs − ours."""

    @property
    def z(self) -> float:
        return (self.theirs - self.ours) / self.error if self.error else 0.0

    def sees(self, z: float) -> float:
        """The smallest fall that is found with ``z`` standard errors in nine of ten trials."""
        return (z + NINE_IN_TEN) * self.error


def contrast(ours: Values, theirs: Values) -> Contrast:
    """Compares ``theirs`` with ``ours``; the squared errors of all questions are added."""
    n = max(1, len(ours))
    mean_ours = math.fsum(map(mean, ours)) / n
    mean_theirs = math.fsum(map(mean, theirs)) / n
    error = math.sqrt(math.fsum(map(_squared_error, (*ours, *theirs)))) / n
    return Contrast(mean_theirs, mean_ours, error)


def paired(ours: Values, theirs: Values) -> Contrast:
    """``contrast`` for samples that were drawn with common seeds: sample k of one version beside
    sample k of the other. Only what both drew counts. Versions that are near one another mostly
    give the same sample for a seed, so the difference has a fraction of the variance (common random
    numbers: Glasserman and Yao, Management Science 38, 1992)."""
    pairs = [list(zip(o, t, strict=False)) for o, t in zip(ours, theirs, strict=True)]
    n = max(1, len(pairs))
    mean_ours = math.fsum(mean([o for o, _ in pair]) for pair in pairs) / n
    mean_theirs = math.fsum(mean([t for _, t in pair]) for pair in pairs) / n
    squares = (_squared_error([t - o for o, t in pair]) for pair in pairs)
    return Contrast(mean_theirs, mean_ours, math.sqrt(math.fsum(squares)) / n)


def supports(base: Answers, theirs: Answers) -> tuple[list[float], list[float]]:
    """Support of each answer of the base model and of another version.

    Support is the share of the base model's samples with the same answer. A sample of the base
    model does not count itself, nor does one of the other version its twin: the base model's sample
    with the same seed, which is mostly the same. Sharpening raises support. Collapse moves samples
    to answers that the base model rarely gives. After RESTRAIN (arXiv 2510.02172): weights from a
    frozen base.
    """
    counts = Counter(answer for answer in base if answer is not None)
    own = [(counts[a] - 1) / max(1, len(base) - 1) if a is not None else 0.0 for a in base]
    twins = [*base, *[None] * len(theirs)]
    others = max(1, len(base) - 1)
    return own, [
        min(1.0, (counts[a] - (twin == a)) / others) if a is not None else 0.0
        for a, twin in zip(theirs, twins, strict=False)
    ]


def capital(differences: Sequence[float], least: float) -> float:
    """Evidence, as a gambler's capital, against "the mean difference is at most ``least``".

    The capital starts at 1; ``differences`` lie in [−1, 1]. If the statement is true, the capital
    ever reaches 1/α with probability at most α (Ville's inequality). The capital is shared evenly
    between constant bets: the diversified Kelly bettor of Waudby-Smith and Ramdas, "Estimating
    means of bounded random variables by betting", JRSS B 86 (2024), section 5.
    """
    stakes = [(i + 0.5) / BETS / (1 + least) for i in range(BETS)] if least > -1 else []
    if not stakes:
        return 1.0
    wins = [difference - least for difference in differences]
    logs = [math.fsum(math.log1p(stake * win) for win in wins) for stake in stakes]
    return math.fsum(math.exp(min(value, 700.0)) for value in logs) / BETS


def needed(alpha: float, tries: int) -> float:
    """The capital that decides trial number ``tries`` against one rival.

    Trial k may err with probability α/(k (k + 1)). For all trials together this is at most α.
    """
    return tries * (tries + 1) / alpha


def differences(ours: Values, theirs: Values) -> list[float]:
    """[questions]: mean of ``theirs`` minus mean of ``ours``."""
    return [mean(t) - mean(o) for o, t in zip(ours, theirs, strict=True)]


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; 0 when there are no values."""
    return math.fsum(values) / max(1, len(values))


def _squared_error(values: Sequence[float]) -> float:
    """Squared standard error of the mean, with Bessel's correction.

    It is never zero: a few equal samples do not prove that all samples are equal.
    """
    centre, n = mean(values), max(1, len(values))
    variance = math.fsum((value - centre) ** 2 for value in values) / max(1, n - 1)
    return (variance + 1 / n**2) / n
