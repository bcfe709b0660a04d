"""What samples of two versions on the same questions say about which is the better one. Pure
functions.

Values are [questions][samples]; the questions are the same for both sides, so only the samples are
random.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

Answers = Sequence[str | None]
Values = Sequence[Sequence[float]]

BETS = 16
"""Stakes the capital is spread over."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Means over questions, and their difference in standard errors."""

    theirs: float
    ours: float
    z: float
    """(theirs − ours) / its standard error."""


def contrast(ours: Values, theirs: Values) -> Contrast:
    """``theirs`` against ``ours``; the errors of the questions add up."""
    n = max(1, len(ours))
    mean_ours = math.fsum(map(mean, ours)) / n
    mean_theirs = math.fsum(map(mean, theirs)) / n
    error = math.sqrt(math.fsum(map(_squared_error, (*ours, *theirs)))) / n
    return Contrast(mean_theirs, mean_ours, (mean_theirs - mean_ours) / error if error else 0.0)


def supports(base: Answers, theirs: Answers) -> tuple[list[float], list[float]]:
    """Support of each answer of the base model and of another: the share of the base model's
    samples that gave it.

    After RESTRAIN (arXiv 2510.02172), which weighs questions by a frozen base. Sharpening raises
    support; collapse moves samples to answers the base model hardly ever gave. The base model's own
    answers leave themselves out.
    """
    counts = Counter(answer for answer in base if answer is not None)
    own = [(counts[a] - 1) / max(1, len(base) - 1) if a is not None else 0.0 for a in base]
    return own, [counts[a] / len(base) if a is not None else 0.0 for a in theirs]


def capital(differences: Sequence[float], least: float) -> float:
    """What a gambler owns who began with 1 and bet against "the mean difference is at most
    ``least``".

    ``differences`` lie in [−1, 1]. If the statement is true, the chance that the capital ever
    reaches 1/α is at most α, however long one goes on (Ville). The stake is spread evenly over
    constant bets, the diversified Kelly bettor of Waudby-Smith and Ramdas, "Estimating means of
    bounded random variables by betting", JRSS B 86 (2024), section 5.
    """
    stakes = [(i + 0.5) / BETS / (1 + least) for i in range(BETS)] if least > -1 else []
    if not stakes:
        return 1.0
    wins = [difference - least for difference in differences]
    logs = [math.fsum(math.log1p(stake * win) for win in wins) for stake in stakes]
    return math.fsum(math.exp(min(value, 700.0)) for value in logs) / BETS


def needed(alpha: float, tries: int) -> float:
    """The capital that decides the ``tries``-th trial against one rival.

    α/(k (k + 1)) is spent on trial k, and all of them together err with a chance of at most α.
    """
    return tries * (tries + 1) / alpha


def differences(ours: Values, theirs: Values) -> list[float]:
    """[questions] mean of ``theirs`` minus mean of ``ours``."""
    return [mean(t) - mean(o) for o, t in zip(ours, theirs, strict=True)]


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean, 0 of nothing."""
    return math.fsum(values) / max(1, len(values))


def _squared_error(values: Sequence[float]) -> float:
    """Of the mean; by Bessel's correction, and never quite zero: a few equal samples do not make
    a certainty."""
    centre, n = mean(values), max(1, len(values))
    variance = math.fsum((value - centre) ** 2 for value in values) / max(1, n - 1)
    return (variance + 1 / n**2) / n
