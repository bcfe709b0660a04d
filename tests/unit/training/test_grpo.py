from __future__ import annotations

import math

import pytest
import torch

from tests.unit.training.by_hand import knobs, loss_and_gradient, tokens_of
from ttrl_server.training.algorithms import ALGORITHMS
from ttrl_server.training.algorithms.core import Algorithm, importance_weight, k3
from ttrl_server.training.algorithms.grpo import GRPO

BY_TOKEN = [ALGORITHMS[name] for name in ("grpo", "dapo", "reinforce++", "prime")]
"""These differ in their advantages and their default window only."""


def test_an_advantage_is_the_reward_less_the_groups_mean() -> None:
    assert GRPO.advantages([[1, 0, 0, 1], [1, 0, 0, 0]], False) == (
        (0.5, -0.5, -0.5, 0.5),
        (0.75, -0.25, -0.25, -0.25),
    )


def test_std_normalisation_makes_the_winners_advantage_root_of_one_minus_f_over_f() -> None:
    ((winner, *_),) = GRPO.advantages([[1, 0, 0, 0]], True)
    assert winner == pytest.approx(math.sqrt(0.75 / 0.25), rel=1e-5)


@pytest.mark.parametrize("std_normalise", [False, True])
def test_a_unanimous_group_and_a_group_of_one_have_no_advantage(std_normalise: bool) -> None:
    assert GRPO.advantages([[1, 1, 1], [1]], std_normalise) == ((0, 0, 0), (0,))


@pytest.mark.parametrize("algorithm", BY_TOKEN)
@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.0, 0.5, -0.5, -0.5),
        (1.1, 0.5, -0.55, -0.55),
        (1.5, 0.5, -0.64, 0.0),  # clipped at 1.28
        (0.5, 0.5, -0.25, -0.25),  # below the window a good token is still pulled up
        (0.5, -0.5, 0.4, 0.0),  # clipped at 0.8
        (1.5, -0.5, 0.75, 0.75),  # above the window a bad token is still pushed down
        (4.0, -0.5, 1.0, 1.0),  # and weighs 2, not 4
        (4.0, 0.5, -0.32, 0.0),  # 2/4 of what is clipped at 1.28
        (1.5, 0.0, 0.0, 0.0),
    ],
)
def test_the_clipped_surrogate_by_hand(
    algorithm: Algorithm, ratio: float, advantage: float, loss: float, gradient: float
) -> None:
    tokens = tokens_of([[ratio]], [advantage])
    settings = knobs(algorithm, clip_low=0.2, clip_high=0.28)
    assert loss_and_gradient(algorithm, tokens, settings) == (
        pytest.approx([loss]),
        pytest.approx([gradient]),
    )


@pytest.mark.parametrize(
    ("importance", "ratio", "advantage", "loss", "gradient"),
    [
        ("off", 4.0, -0.5, 2.0, 2.0),
        ("mask", 4.0, -0.5, 0.0, 0.0),
        ("mask", 1.5, -0.5, 0.75, 0.75),
        ("mask", 0.4, 0.5, 0.0, 0.0),  # below 1/2
        ("truncate", 0.4, 0.5, -0.2, -0.2),  # only large ratios are truncated
        ("mask", 2.0, -0.5, 1.0, 1.0),  # the bounds belong to the window
        ("mask", 0.5, 0.5, -0.25, -0.25),
    ],
)
def test_importance_corrections_by_hand(
    importance: str, ratio: float, advantage: float, loss: float, gradient: float
) -> None:
    tokens = tokens_of([[ratio]], [advantage])
    found = loss_and_gradient(GRPO, tokens, knobs(GRPO, importance=importance))
    assert found == (pytest.approx([loss]), pytest.approx([gradient]))


def test_importance_weights_carry_no_gradient() -> None:
    ratio = torch.tensor([4.0], requires_grad=True)
    assert not importance_weight(ratio, knobs(GRPO)).requires_grad


def test_completions_of_different_length_share_one_token_mean() -> None:
    tokens = tokens_of([[1.1, 1.0, 0.9], [1.1]], [0.5, -0.5])
    # −ρA at each token; its gradient is the same ÷ 4 tokens
    assert loss_and_gradient(GRPO, tokens, knobs(GRPO)) == (
        pytest.approx([-0.55, -0.5, -0.45, 0.55]),
        pytest.approx([-0.1375, -0.125, -0.1125, 0.1375]),
    )


@pytest.mark.parametrize(("name", "window"), [("grpo", (0.2, 0.2)), ("dapo", (0.2, 0.28))])
def test_dapo_clips_higher_than_grpo(name: str, window: tuple[float, float]) -> None:
    assert ALGORITHMS[name].clip == window


def test_k3_by_hand_and_never_negative() -> None:
    theta, ref = torch.tensor([-1.0, -2.0, -1.0]), torch.tensor([-1.0, -1.0, -2.0])
    assert k3(theta, ref).tolist() == pytest.approx([0.0, math.e - 2, math.exp(-1)])


def test_the_penalty_is_added_with_its_beta() -> None:
    tokens = tokens_of([[1.0]], [0.5], old=-1.0, ref=[[0.0]])
    # −0.5 + 0.1 (e − 1 − 1); the derivative of k3 is 1 − e^Δ
    assert loss_and_gradient(GRPO, tokens, knobs(GRPO, kl=0.1)) == (
        pytest.approx([-0.5 + 0.1 * (math.e - 2)]),
        pytest.approx([-0.5 + 0.1 * (1 - math.e)]),
    )
