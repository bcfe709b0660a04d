"""Candidates against the base model on held-back questions, without labels."""

from __future__ import annotations

import random

import pytest

from ttrl_server.guards.heldback import compare

RIGHT = {n: str(10 * n) for n in range(8)}


def drawn(rng: random.Random, share: float, other: int = 12) -> list[list[str | None]]:
    """8 questions × 16 samples: each the question's own answer with probability ``share``, else one of a few."""
    return [
        [RIGHT[n] if rng.random() < share else str(rng.randrange(other)) for _ in range(16)] for n in range(len(RIGHT))
    ]


def z(base: list[list[str | None]], theirs: list[list[str | None]]) -> float:
    return compare(base, theirs)["z"]


def test_the_base_model_against_itself_is_hardly_ever_refused() -> None:
    rng = random.Random(1)
    scores = [z(drawn(rng, 0.3), drawn(rng, 0.3)) for _ in range(300)]
    assert sum(score < -2.5 for score in scores) <= 6


def test_a_sharper_model_gains_support() -> None:
    rng = random.Random(2)
    assert min(z(drawn(rng, 0.3), drawn(rng, 0.9)) for _ in range(50)) > 2


@pytest.mark.parametrize("answer", ["1000", None])
def test_one_answer_to_everything_or_none_at_all_is_refused(answer: str | None) -> None:
    rng = random.Random(3)
    assert max(z(drawn(rng, 0.3), [[answer] * 16] * 8) for _ in range(50)) < -2.5


def test_support_leaves_a_sample_of_the_base_model_itself_out() -> None:
    figures = compare([["a", "b"]], [["a", "a"]])
    assert figures["base"] == 0
    assert figures["support"] == 0.5
