from __future__ import annotations

import math

import pytest
import torch

from ttrl_server.training.algorithms.grpo import advantages, k3, token_loss

CLIPS = {"clip_low": 0.2, "clip_high": 0.28, "importance_cap": 2.0}


def loss_and_gradient(ratio: float, advantage: float) -> tuple[float, float]:
    """The loss of one token, and its derivative by log π_θ."""
    theta = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
    old = torch.zeros(1, dtype=torch.float64)
    loss = token_loss(theta, old, torch.tensor([advantage], dtype=torch.float64), **CLIPS).sum()
    loss.backward()
    assert theta.grad is not None
    return loss.item(), theta.grad.item()


def test_an_advantage_is_the_reward_less_the_groups_mean() -> None:
    assert advantages([1, 0, 0, 1]) == (0.5, -0.5, -0.5, 0.5)
    assert advantages([1, 0, 0, 0]) == (0.75, -0.25, -0.25, -0.25)


def test_std_normalisation_makes_the_winners_advantage_root_of_one_minus_f_over_f() -> None:
    assert advantages([1, 0, 0, 0], std_normalise=True)[0] == pytest.approx(math.sqrt(0.75 / 0.25), rel=1e-5)


def test_a_unanimous_group_has_no_advantage_in_either_form() -> None:
    assert advantages([1, 1, 1]) == (0, 0, 0)
    assert advantages([1, 1, 1], std_normalise=True) == (0, 0, 0)


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
    ],
)
def test_the_clipped_surrogate_by_hand(ratio: float, advantage: float, loss: float, gradient: float) -> None:
    assert loss_and_gradient(ratio, advantage) == pytest.approx((loss, gradient))


def test_k3_by_hand_and_never_negative() -> None:
    theta, ref = torch.tensor([-1.0, -2.0, -1.0]), torch.tensor([-1.0, -1.0, -2.0])
    assert k3(theta, ref).tolist() == pytest.approx([0.0, math.e - 2, math.exp(-1)])


def test_the_penalty_is_added_with_its_beta() -> None:
    theta, old, ref = torch.tensor([-1.0]), torch.tensor([-1.0]), torch.tensor([0.0])
    loss = token_loss(theta, old, torch.tensor([0.5]), **CLIPS, logp_ref=ref, kl=0.1)
    assert loss.item() == pytest.approx(-0.5 + 0.1 * (math.e - 2))
