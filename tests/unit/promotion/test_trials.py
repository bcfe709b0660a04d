"""Candidates against others, from samples alone."""

from __future__ import annotations

import random

import pytest

from ttrl_server.promotion.trials import (
    Answers,
    Values,
    capital,
    contrast,
    differences,
    needed,
    paired,
    supports,
)

RIGHT = {n: str(10 * n) for n in range(8)}


def drawn(rng: random.Random, share: float, other: int = 12) -> list[list[str | None]]:
    """8 questions × 16 samples: with probability ``share`` the question's own answer."""
    return [
        [RIGHT[n] if rng.random() < share else str(rng.randrange(other)) for _ in range(16)]
        for n in range(len(RIGHT))
    ]


def z(base: list[list[str | None]], theirs: list[list[str | None]]) -> float:
    pairs = [supports(b, t) for b, t in zip(base, theirs, strict=True)]
    return contrast([own for own, _ in pairs], [other for _, other in pairs]).z


def test_the_base_model_against_itself_is_hardly_ever_refused() -> None:
    rng = random.Random(1)
    scores = [z(drawn(rng, 0.3), drawn(rng, 0.3)) for _ in range(300)]
    assert sum(score < -2 for score in scores) <= 15


def test_a_sharper_model_gains_support() -> None:
    rng = random.Random(2)
    assert min(z(drawn(rng, 0.3), drawn(rng, 0.9)) for _ in range(50)) > 2


@pytest.mark.parametrize("answer", ["1000", None])
def test_one_answer_to_everything_or_none_at_all_is_refused(answer: str | None) -> None:
    rng = random.Random(3)
    assert max(z(drawn(rng, 0.3), [[answer] * 16] * 8) for _ in range(50)) < -2


def test_support_leaves_a_sample_of_the_base_model_itself_out() -> None:
    base: Answers = ["a", "b"]
    assert supports(base, ["a", "a", None]) == ([0.0, 0.0], [0.0, 1.0, 0.0])


def test_the_same_samples_of_an_equal_model_are_no_support() -> None:
    rng = random.Random(8)
    base = drawn(rng, 0.3)
    assert z(base, base) == 0
    pairs = [supports(b, b[:8]) for b in base]
    assert [theirs for _, theirs in pairs] == [own[:8] for own, _ in pairs]


def test_a_contrast_by_hand() -> None:
    found = contrast([[0.0, 1.0]], [[1.0, 1.0]])
    assert (found.ours, found.theirs) == (0.5, 1.0)
    # Squared errors of the means: (0.5 + 1/4)/2 and (0 + 1/4)/2.
    assert found.z == pytest.approx(0.5 / 0.5**0.5)


def test_a_paired_contrast_by_hand() -> None:
    found = paired([[0.0, 1.0, 1.0]], [[1.0, 1.0]])  # the third sample has no partner
    assert (found.ours, found.theirs) == (0.5, 1.0)
    # Differences 1 and 0: variance 0.5, and 1/4 more; over two samples.
    assert found.error == pytest.approx((0.75 / 2) ** 0.5)
    assert found.sees(2.0) == pytest.approx(3.2816 * found.error)


def seeded(
    rng: random.Random, then: float, now: float, alike: float, samples: int = 8
) -> tuple[Values, Values]:
    """24 questions × so many seeds: a seed gives both versions the same luck with probability
    ``alike``."""
    ours, theirs = [], []
    for _ in range(24):
        luck = [rng.random() for _ in range(samples)]
        other = [one if rng.random() < alike else rng.random() for one in luck]
        ours.append([float(one < then) for one in luck])
        theirs.append([float(one < now) for one in other])
    return ours, theirs


def test_common_seeds_find_a_fall_with_fewer_samples() -> None:
    rng = random.Random(6)
    trials = [seeded(rng, 0.5, 0.42, 0.9) for _ in range(200)]
    by_pairs = sum(paired(*both).z < -2.5 for both in trials)
    alone = sum(contrast(*both).z < -2.5 for both in trials)
    assert by_pairs > 3 * alone + 10


def test_a_healthy_lineage_of_twenty_versions_is_seldom_refused_once() -> None:
    """The gate's own looks, with two rivals that are as good; every refusal is a false one."""
    rng = random.Random(7)
    refused = 0
    for _ in range(100):
        for _ in range(20):
            both = [seeded(rng, 0.5, 0.5, 0.6) for _ in range(2)]
            if all(paired(*pair).z >= -1.25 for pair in both):
                continue  # the first look is enough
            whole = [seeded(rng, 0.5, 0.5, 0.6, samples=32) for _ in range(2)]
            refused += any(paired(*pair).z < -2.5 for pair in whole)
    assert refused <= 20  # of 2,000 candidates


# ---------------------------------------------------------------- betting


def right(rng: random.Random, share: float, questions: int = 50) -> list[list[float]]:
    return [[float(rng.random() < share) for _ in range(8)] for _ in range(questions)]


def decided(ours: float, theirs: float, least: float, alpha: float = 0.05, runs: int = 200) -> int:
    """Of ``runs`` trials, how many find the mean difference to be above ``least``."""
    rng = random.Random(4)
    found = [capital(differences(right(rng, ours), right(rng, theirs)), least) for _ in range(runs)]
    return sum(value >= needed(alpha, 1) for value in found)


def test_the_capital_by_hand() -> None:
    assert capital([], 0.0) == 1.0
    stakes = [(i + 0.5) / 16 for i in range(16)]
    assert capital([0.5], 0.0) == pytest.approx(sum(1 + 0.5 * stake for stake in stakes) / 16)


def test_equal_models_are_seldom_told_apart_and_a_bad_one_hardly_ever_passes() -> None:
    assert decided(0.5, 0.5, 0.0) <= 5  # of 200: α/2 each, at most
    assert decided(0.5, 0.4, -0.1) <= 5  # worse by just the margin


def test_a_better_and_an_equal_model_are_shown_to_be_no_worse() -> None:
    assert decided(0.5, 0.7, -0.1) == 200
    assert decided(0.5, 0.5, -0.15) >= 150
    assert decided(0.7, 0.5, 0.0, runs=50) == 0


def test_trials_that_go_on_and_on_hardly_ever_err_once() -> None:
    """Bad candidates, one after another: the chance that any of them passes is below α."""
    rng = random.Random(5)
    passed = 0
    for _ in range(60):
        found = [
            capital(differences(right(rng, 0.5, 30), right(rng, 0.4, 30)), -0.1) >= needed(0.05, k)
            for k in range(1, 21)
        ]
        passed += any(found)
    assert passed <= 5


def test_differences_stay_within_the_stake_however_many_are_lost() -> None:
    assert 0 <= capital([-1.0] * 500, 0.0) < 1e-3
    assert capital([1.0] * 5000, -0.5) > 1e12
