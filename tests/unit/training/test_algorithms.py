"""Every algorithm against numbers worked out by hand; GRPO's family by token is in test_grpo."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch

from tests.unit.training.by_hand import flat, knobs, loss_and_gradient, tokens_of, weights
from ttrl_server.settings.sections import AlgorithmName, TrainConfig
from ttrl_server.training.algorithms import ALGORITHMS
from ttrl_server.training.algorithms.cispo import CISPO
from ttrl_server.training.algorithms.core import Aggregate, Tokens, k3
from ttrl_server.training.algorithms.gspo import GSPO
from ttrl_server.training.algorithms.ppo import PPO, gae
from ttrl_server.training.algorithms.prime import PRIME, process_advantages, reward_model_loss
from ttrl_server.training.algorithms.reinforce_pp import REINFORCE_PP
from ttrl_server.training.algorithms.rloo import RLOO

WINDOW = {"clip_low": 0.2, "clip_high": 0.28}
NAMES = list(ALGORITHMS)

# ------------------------------------------------------------ all of them


def test_every_name_of_the_settings_has_its_algorithm() -> None:
    assert set(ALGORITHMS) == set(get_args(AlgorithmName))


def test_knobs_are_the_settings_and_the_algorithms_own_clip_where_they_name_none() -> None:
    settings = TrainConfig(
        kl=0.5, importance="mask", importance_cap=3.0, gae_lambda=0.9, value_weight=0.2
    )
    found = GSPO.knobs(settings)
    assert (found.clip_low, found.clip_high) == (3e-4, 4e-4)
    assert (found.kl, found.importance, found.cap) == (0.5, "mask", 3.0)
    assert (found.gae_lambda, found.value_weight) == (0.9, 0.2)
    named = GSPO.knobs(settings.model_copy(update={"clip_low": 0.1, "clip_high": 0.3}))
    assert (named.clip_low, named.clip_high) == (0.1, 0.3)


def two_completions() -> Tokens:
    return tokens_of(
        [[1.1, 0.7, 3.0], [0.9]],
        [0.5, -0.25],
        old=-1.0,
        ref=[[-1.5, -0.5, -1.0], [-2.0]],
        value=[[0.2, 0.4, 0.3], [0.6]],
    )


def part_of(tokens: Tokens, start: int, end: int, completion: int) -> Tokens:
    cut = slice(start, end)
    assert tokens.ref is not None
    assert tokens.value is not None
    return Tokens(
        tokens.logp[cut],
        tokens.old[cut],
        tokens.advantage[cut],
        tokens.lengths[completion : completion + 1],
        tokens.ref[cut],
        tokens.value[cut],
    )


@pytest.mark.parametrize("name", NAMES)
def test_no_loss_depends_on_how_a_batch_is_cut(name: str) -> None:
    algorithm, together = ALGORITHMS[name], two_completions()
    settings = knobs(algorithm, kl=0.1, gae_lambda=0.5)
    apart = [
        algorithm.loss(part_of(together, *where), settings) for where in ((0, 3, 0), (3, 4, 1))
    ]
    assert torch.equal(algorithm.loss(together, settings), torch.cat(apart))


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_adds_the_penalty_token_by_token(name: str) -> None:
    algorithm, tokens = ALGORITHMS[name], two_completions()
    assert tokens.ref is not None
    without = algorithm.loss(replace(tokens, ref=None), knobs(algorithm, kl=0.1))
    added = algorithm.loss(tokens, knobs(algorithm, kl=0.1)) - without
    assert torch.allclose(added, 0.1 * k3(tokens.logp, tokens.ref))


@pytest.mark.parametrize("name", ["grpo", "dapo", "gspo", "cispo", "rloo", "prime"])
def test_unanimous_groups_and_groups_of_one_have_no_advantage(name: str) -> None:
    assert ALGORITHMS[name].advantages([[1, 1, 1], [0, 0], [1]], False) == ((0, 0, 0), (0, 0), (0,))


@pytest.mark.parametrize("name", ["grpo", "dapo", "gspo", "cispo"])
def test_the_std_is_an_option_where_the_paper_divides_by_it(name: str) -> None:
    # mean 1/2, std 1/2
    assert ALGORITHMS[name].advantages([[1, 0]], True) == (pytest.approx((1.0, -1.0), rel=1e-5),)


# ------------------------------------------------------------ GSPO


@pytest.mark.parametrize(
    ("importance", "ratios", "advantage", "loss", "gradient"),
    [
        ("off", [1.21, 1.0], 0.5, -0.55, -0.275),  # s = √1.21; each of two tokens moves s by s/2
        ("off", [4.0, 1.0], 0.5, -0.64, 0.0),  # s = 2, clipped at 1.28
        ("off", [16.0, 1.0], -0.5, 2.0, 1.0),  # s = 4
        ("truncate", [16.0, 1.0], -0.5, 1.0, 0.5),  # w = 2/4
        ("mask", [16.0, 1.0], -0.5, 0.0, 0.0),
        # s = √1.5: no mask for the token at 3
        ("mask", [3.0, 0.5], -0.5, 0.5 * 1.5**0.5, 0.25 * 1.5**0.5),
    ],
)
def test_gspo_by_hand(
    importance: str, ratios: list[float], advantage: float, loss: float, gradient: float
) -> None:
    found = loss_and_gradient(
        GSPO, tokens_of([ratios], [advantage]), knobs(GSPO, importance=importance, **WINDOW)
    )
    assert found == (pytest.approx([loss, loss]), pytest.approx([gradient, gradient]))


def test_gspo_weighs_completions_alike_whatever_their_length() -> None:
    tokens = tokens_of([[1.21, 1.0], [0.9]], [0.5, -0.5])
    # s = 1.1 and 0.9; half of −sA at one of two tokens, and of all of it at the single one
    assert loss_and_gradient(GSPO, tokens, knobs(GSPO, **WINDOW)) == (
        pytest.approx([-0.55, -0.55, 0.45]),
        pytest.approx([-0.1375, -0.1375, 0.225]),
    )


def test_gspo_clips_at_the_papers_narrow_window() -> None:
    tokens = tokens_of([[1.001], [0.999], [1.0001]], [1.0, -1.0, 1.0])
    # 1 + 4e-4, 1 − 3e-4, inside; ÷ 3 completions
    assert loss_and_gradient(GSPO, tokens, knobs(GSPO)) == (
        pytest.approx([-1.0004, 0.9997, -1.0001]),
        pytest.approx([0.0, 0.0, -1.0001 / 3]),
    )


# ------------------------------------------------------------ CISPO


@pytest.mark.parametrize(
    ("changed", "ratio", "advantage", "gradient"),
    [
        ({}, 2.0, 0.5, -1.0),  # −ρA
        ({}, 8.0, 0.5, -2.5),  # ρ bounded at 5, and yet a gradient
        ({}, 8.0, -0.5, 2.5),
        ({}, 0.1, 0.5, -0.05),  # no lower bound
        ({"clip_low": 0.2}, 0.1, 0.5, -0.4),  # unless one is asked for
        # CISPO's own bound is the truncation.
        ({"importance": "truncate", "cap": 2.0}, 4.0, 0.5, -2.0),
        ({"importance": "off"}, 4.0, 0.5, -2.0),
        ({"importance": "mask", "cap": 2.0}, 4.0, 0.5, 0.0),
        ({"importance": "mask", "cap": 2.0}, 1.5, 0.5, -0.75),
    ],
)
def test_cispo_by_hand(
    changed: dict[str, float], ratio: float, advantage: float, gradient: float
) -> None:
    tokens = tokens_of([[ratio]], [advantage], old=-1.0)
    # the loss is its gradient times log π_θ = ln ρ − 1
    loss = gradient * (math.log(ratio) - 1)
    found = loss_and_gradient(CISPO, tokens, knobs(CISPO, **changed))
    assert found == (pytest.approx([loss]), pytest.approx([gradient]))


def test_cispo_takes_one_mean_over_the_tokens_of_all_completions() -> None:
    tokens = tokens_of([[2.0, 1.0, 0.5], [8.0]], [0.5, -1.0], old=-1.0)
    _, gradient = loss_and_gradient(CISPO, tokens, knobs(CISPO))
    # (−1, −0.5, −0.25, +5) ÷ 4
    assert gradient == pytest.approx([-0.25, -0.125, -0.0625, 1.25])


# ------------------------------------------------------------ RLOO


def test_rloo_leaves_a_completion_out_of_its_own_baseline() -> None:
    # 1 − 1/3 and 0 − 2/3; 1 − 0 and 0 − 1/2
    found = RLOO.advantages([[1, 0, 0, 1], [1, 0, 0]], False)
    assert found[0] == pytest.approx((2 / 3, -2 / 3, -2 / 3, 2 / 3))
    assert found[1] == pytest.approx((1.0, -0.5, -0.5))


@pytest.mark.parametrize(
    ("importance", "ratios", "advantage", "loss", "gradient"),
    [
        ("truncate", [1.1, 1.0], 0.5, -0.55, -0.55),  # each token moves ρ by all of ρ
        ("truncate", [1.5, 1.0], 0.5, -0.6, 0.0),  # clipped at 1.2
        ("off", [2.0, 2.0], -0.5, 2.0, 2.0),  # ρ = 2 · 2
        ("truncate", [2.0, 2.0], -0.5, 1.0, 1.0),  # w = 2/4
        ("mask", [2.0, 2.0], -0.5, 0.0, 0.0),
        ("mask", [4.0, 0.25], -0.5, 0.5, 0.5),  # ρ = 1
    ],
)
def test_rloo_by_hand(
    importance: str, ratios: list[float], advantage: float, loss: float, gradient: float
) -> None:
    found = loss_and_gradient(
        RLOO, tokens_of([ratios], [advantage]), knobs(RLOO, importance=importance)
    )
    assert found == (pytest.approx([loss, loss]), pytest.approx([gradient, gradient]))


def test_rloo_averages_over_completions_of_different_length() -> None:
    tokens = tokens_of([[1.1, 1.0], [0.9]], [0.5, -0.5])
    # −ρA ÷ 2 completions at every token
    assert loss_and_gradient(RLOO, tokens, knobs(RLOO)) == (
        pytest.approx([-0.55, -0.55, 0.45]),
        pytest.approx([-0.275, -0.275, 0.225]),
    )


@pytest.mark.parametrize("importance", ["truncate", "mask", "off"])
def test_rloos_ratio_of_a_long_drifted_completion_stays_a_number(importance: str) -> None:
    logp = torch.zeros(1000, requires_grad=True)
    tokens = Tokens(
        logp, torch.full((1000,), -0.2), torch.full((1000,), -1.0), torch.tensor([1000])
    )
    loss = RLOO.loss(tokens, knobs(RLOO, importance=importance))
    (gradient,) = torch.autograd.grad(loss.mean(), logp)
    assert loss.isfinite().all()
    assert not gradient.any()


# ------------------------------------------------------------ REINFORCE++


@pytest.mark.parametrize("std_normalise", [False, True])
def test_reinforce_pp_normalises_over_the_batch_and_not_within_a_group(std_normalise: bool) -> None:
    # rewards 1 0 1 1: mean 3/4, variance 3/16, so (1/4) ÷ (√3/4) and −(3/4) ÷ (√3/4)
    (first, failed), (second, third) = REINFORCE_PP.advantages([[1, 0], [1, 1]], std_normalise)
    assert (first, second, third) == pytest.approx([1 / math.sqrt(3)] * 3, rel=1e-5)
    assert failed == pytest.approx(-math.sqrt(3), rel=1e-5)


def test_reinforce_pp_keeps_groups_of_different_size_apart() -> None:
    # mean 1/2, std 1/2
    found = REINFORCE_PP.advantages([[1], [0, 0, 1]], False)
    assert [len(group) for group in found] == [1, 3]
    assert found[1] == pytest.approx((-1.0, -1.0, 1.0), rel=1e-5)


def test_reinforce_pp_has_nothing_to_teach_in_a_batch_of_equals_or_an_empty_one() -> None:
    assert REINFORCE_PP.advantages([[1, 1], [1]], False) == ((0, 0), (0,))
    assert REINFORCE_PP.advantages([], False) == ()


# ------------------------------------------------------------ PPO


@pytest.mark.parametrize(
    ("decay", "advantages"),
    [
        (1.0, [0.5, 0.4, 0.2]),  # r − V
        (0.5, [0.25, 0.3, 0.2]),  # 0.1 + 0.5 · 0.3, 0.2 + 0.5 · 0.2, 0.2
        (0.0, [0.1, 0.2, 0.2]),  # δ: 0.6 − 0.5, 0.8 − 0.6, 1 − 0.8
    ],
)
def test_gae_by_hand(decay: float, advantages: list[float]) -> None:
    assert gae(1.0, [0.5, 0.6, 0.8], decay) == pytest.approx(advantages)


def test_gae_of_a_single_token_is_its_reward_less_its_value() -> None:
    assert gae(1.0, [0.3], 0.5) == pytest.approx([0.7])


@pytest.mark.parametrize(
    ("decay", "loss", "by_value"),
    [
        # −A + 0.1 · ½ (V − R)², R = A + V: errors −0.5 −0.4 −0.2; second completion A = −0.3
        (
            1.0,
            [-0.5 + 0.0125, -0.4 + 0.008, -0.2 + 0.002, 0.3 + 0.0045],
            [-0.05, -0.04, -0.02, 0.03],
        ),
        # errors −0.25 −0.3 −0.2
        (
            0.5,
            [-0.25 + 0.003125, -0.3 + 0.0045, -0.2 + 0.002, 0.3 + 0.0045],
            [-0.025, -0.03, -0.02, 0.03],
        ),
    ],
)
def test_ppo_by_hand(decay: float, loss: list[float], by_value: list[float]) -> None:
    tokens = tokens_of([[1.0, 1.0, 1.0], [1.0]], [1.0, 0.0], value=[[0.5, 0.6, 0.8], [0.3]])
    assert tokens.value is not None
    found = PPO.loss(tokens, knobs(PPO, gae_lambda=decay, value_weight=0.1))
    assert found.tolist() == pytest.approx(loss)
    by_logp, by_v = torch.autograd.grad(found.sum(), (tokens.logp, tokens.value))
    assert by_v.tolist() == pytest.approx(by_value)
    # At ρ = 1 the derivative by log π_θ is −A: no part of the value loss reaches the policy's
    # output.
    assert by_logp.tolist() == pytest.approx(
        [-x for x in (*gae(1.0, [0.5, 0.6, 0.8], decay), -0.3)]
    )


def test_ppo_clips_and_truncates_the_policys_part_only() -> None:
    tokens = tokens_of([[4.0], [1.5]], [0.0, 1.0], value=[[0.5], [0.5]])
    # A = −0.5 at ρ = 4: 2/4 · 2; A = +0.5 at 1.5: clipped at 1.2; both + 0.1 · ½ · 0.25
    assert loss_and_gradient(PPO, tokens, knobs(PPO)) == (
        pytest.approx([1.0 + 0.0125, -0.6 + 0.0125]),
        pytest.approx([0.5, 0.0]),
    )


def test_ppo_hands_the_rewards_on_to_the_critic() -> None:
    assert PPO.advantages([[1, 0], [1]], True) == ((1, 0), (1,))


def test_ppo_without_a_critic_is_an_error() -> None:
    with pytest.raises(ValueError, match="critic"):
        PPO.loss(tokens_of([[1.0]], [1.0]), knobs(PPO))


# ------------------------------------------------------------ PRIME


def test_primes_process_advantages_by_hand() -> None:
    found = process_advantages([[0.1, 0.3], [0.2], [-0.1, 0.0, 0.1]])
    # means 0.2 0.2 0; the others' mean: 0.1 0.1 0.2; what is left, summed from the end
    assert found[0] == pytest.approx([0.0 + 0.2, 0.2])
    assert found[1] == pytest.approx([0.1])
    assert found[2] == pytest.approx([-0.3 - 0.2 - 0.1, -0.2 - 0.1, -0.1])


def test_prime_adds_the_outcomes_leave_one_out_advantage_to_every_token() -> None:
    (outcome,) = PRIME.advantages([[1, 0, 0]], False)
    assert outcome == pytest.approx((1.0, -0.5, -0.5))
    process = process_advantages([[0.1, 0.3], [0.2], [-0.1, 0.0, 0.1]])
    advantage = [number + a for row, a in zip(process, outcome, strict=True) for number in row]
    tokens = replace(tokens_of([[1.0] * 2, [1.0], [1.0] * 3], outcome), advantage=flat([advantage]))
    loss, gradient = loss_and_gradient(PRIME, tokens, knobs(PRIME))
    # −A at ρ = 1, ÷ 6 tokens in the gradient
    assert loss == pytest.approx([-1.2, -1.2, 0.4, 1.1, 0.8, 0.6])
    assert gradient == pytest.approx([-0.2, -0.2, 0.4 / 6, 1.1 / 6, 0.8 / 6, 0.1])


def test_primes_process_has_no_advantage_in_a_group_of_one() -> None:
    assert process_advantages([[0.3, 0.1]]) == [[0, 0]]


def test_the_reward_models_cross_entropy_by_hand() -> None:
    tokens = replace(
        tokens_of([[math.e**3, math.e], [math.e**-2]], [0, 0]), ref=flat([[0, 0], [0]])
    )
    loss = reward_model_loss(tokens, torch.tensor([1.0, 0.0], dtype=torch.float64), beta=0.5)
    # β Σ log-ratio = 2 and −1: −ln σ(2), −ln(1 − σ(−1))
    assert loss.tolist() == pytest.approx([0.126928, 0.313262], abs=1e-6)
    (gradient,) = torch.autograd.grad(loss.sum(), tokens.logp)
    # β (σ(2) − 1) at both tokens of the first, β σ(−1) at the second's
    assert gradient.tolist() == pytest.approx([-0.0596015, -0.0596015, 0.1344707], abs=1e-6)


def test_an_untrained_reward_model_is_undecided() -> None:
    tokens = replace(tokens_of([[1.0, 1.0]], [0]), ref=flat([[0, 0]]))
    assert reward_model_loss(
        tokens, torch.ones(1, dtype=torch.float64), beta=0.05
    ).tolist() == pytest.approx([math.log(2)])


def test_a_reward_model_without_a_reference_is_an_error() -> None:
    with pytest.raises(ValueError, match="reference"):
        reward_model_loss(tokens_of([[1.0]], [1.0]), torch.ones(1), beta=0.05)


# ------------------------------------------------------------ how tokens add up


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("token", [1 / 4] * 4),
        ("sequence", [1 / 6, 1 / 6, 1 / 6, 1 / 2]),
        ("constant", [1 / 20] * 4),
    ],
)
def test_the_weights_these_tests_use_by_hand(how: Aggregate, expected: list[float]) -> None:
    tokens = tokens_of([[1.0, 1.0, 1.0], [1.0]], [0, 0])
    assert weights(tokens, how, length=10).tolist() == pytest.approx(expected)
