"""Every algorithm against numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
import torch

from tests.unit.training.by_hand import Rows, flat, knobs, loss_and_gradient, tokens_of
from ttrl_server.settings.sections import AlgorithmName, TrainConfig
from ttrl_server.training.algorithms import ALGORITHMS
from ttrl_server.training.algorithms.cispo import CISPO
from ttrl_server.training.algorithms.core import Tokens, k3
from ttrl_server.training.algorithms.dapo import DAPO
from ttrl_server.training.algorithms.grpo import GRPO
from ttrl_server.training.algorithms.gspo import GSPO
from ttrl_server.training.algorithms.ppo import PPO, gae
from ttrl_server.training.algorithms.prime import PRIME, process_advantages, reward_model_loss
from ttrl_server.training.algorithms.rloo import RLOO

approx = pytest.approx

# ------------------------------------------------------------ all of them


def test_every_name_of_the_settings_has_its_algorithm() -> None:
    assert set(ALGORITHMS) == set(get_args(AlgorithmName))


def test_knobs_are_the_settings_and_the_algorithms_own_clip_where_they_name_none() -> None:
    found = GSPO.knobs(TrainConfig(kl=0.5, importance_cap=3.0, gae_lambda=0.9))
    assert (found.clip_low, found.clip_high) == (3e-4, 4e-4)
    assert (found.kl, found.importance_cap, found.gae_lambda) == (0.5, 3.0, 0.9)
    named = GSPO.knobs(TrainConfig(clip_low=0.1, clip_high=0.3))
    assert (named.clip_low, named.clip_high) == (0.1, 0.3)
    assert (GRPO.clip, RLOO.clip, DAPO.clip) == ((0.2, 0.2), (0.2, 0.2), (0.2, 0.28))


@pytest.fixture
def two_completions() -> Tokens:
    ref, value = [[-1.5, -0.5, -1.0], [-2.0]], [[0.2, 0.4, 0.3], [0.6]]
    return tokens_of([[1.1, 0.7, 3.0], [0.9]], [0.5, -0.25], old=-1.0, ref=ref, value=value)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_loss_depends_on_how_a_batch_is_cut(name: str, two_completions: Tokens) -> None:
    algorithm = ALGORITHMS[name]
    settings = knobs(algorithm, kl=0.1, gae_lambda=0.5)
    apart = []
    for completion, where in enumerate((slice(0, 3), slice(3, 4))):
        part = {f.name: getattr(two_completions, f.name)[where] for f in fields(Tokens)}
        part["lengths"] = two_completions.lengths[completion : completion + 1]
        apart.append(algorithm.loss(Tokens(**part), settings))
    assert torch.equal(algorithm.loss(two_completions, settings), torch.cat(apart))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_loss_adds_the_penalty_token_by_token(name: str, two_completions: Tokens) -> None:
    algorithm, tokens = ALGORITHMS[name], two_completions
    assert tokens.ref is not None
    without = algorithm.loss(replace(tokens, ref=None), knobs(algorithm, kl=0.1))
    added = algorithm.loss(tokens, knobs(algorithm, kl=0.1)) - without
    assert torch.allclose(added, 0.1 * k3(tokens.logp, tokens.ref))


def test_k3_by_hand_and_never_negative() -> None:
    theta, ref = torch.tensor([-1.0, -2.0, -1.0]), torch.tensor([-1.0, -1.0, -2.0])
    assert k3(theta, ref).tolist() == approx([0.0, math.e - 2, math.exp(-1)])


def test_the_penaltys_gradient_by_hand() -> None:
    tokens = tokens_of([[1.0]], [0.5], old=-1.0, ref=[[0.0]])
    # −0.5 + 0.1 (e − 1 − 1); the derivative of k3 is 1 − e^Δ
    loss, gradient = loss_and_gradient(GRPO, tokens, kl=0.1)
    assert loss == approx([-0.5 + 0.1 * (math.e - 2)])
    assert gradient == approx([-0.5 + 0.1 * (1 - math.e)])


# ------------------------------------------------------------ advantages


@pytest.mark.parametrize("std", [False, True])
@pytest.mark.parametrize("name", ["grpo", "dapo", "gspo", "cispo", "rloo", "prime"])
def test_unanimous_groups_and_groups_of_one_have_no_advantage(name: str, std: bool) -> None:
    found = ALGORITHMS[name].advantages([[1, 1, 1], [0, 0], [1]], std)
    assert found == ((0, 0, 0), (0, 0), (0,))


ROOT = math.sqrt(3)


@pytest.mark.parametrize(
    ("name", "std_normalise", "rewards", "expected"),
    [
        # the reward less the group's mean
        ("grpo", False, [[1, 0], [1, 0, 0, 0]], [(0.5, -0.5), (0.75, -0.25, -0.25, -0.25)]),
        # a winner's is √((1 − f) / f), f being the share of winners
        ("grpo", True, [[1, 0, 0, 0]], [(ROOT, -1 / ROOT, -1 / ROOT, -1 / ROOT)]),
        # mean 1/2, std 1/2: an option where the paper divides by it
        *((name, True, [[1, 0]], [(1.0, -1.0)]) for name in ("grpo", "dapo", "gspo", "cispo")),
        # out of its own baseline: 1 − 1/3 and 0 − 2/3; 1 − 0 and 0 − 1; 1 − 0 and 0 − 1/2
        ("rloo", False, [[1, 0, 0, 1]], [(2 / 3, -2 / 3, -2 / 3, 2 / 3)]),
        ("rloo", False, [[1, 0], [1, 0, 0]], [(1.0, -1.0), (1.0, -0.5, -0.5)]),
        ("prime", False, [[1, 0, 0]], [(1.0, -0.5, -0.5)]),
        # over the batch, with or without the option: mean 3/4, variance 3/16
        ("reinforce++", False, [[1, 0], [1, 1]], [(1 / ROOT, -ROOT), (1 / ROOT, 1 / ROOT)]),
        ("reinforce++", True, [[1, 0], [1, 1]], [(1 / ROOT, -ROOT), (1 / ROOT, 1 / ROOT)]),
        ("reinforce++", False, [[1], [0, 0, 1]], [(1.0,), (-1.0, -1.0, 1.0)]),
        ("reinforce++", False, [[1, 1], [1]], [(0, 0), (0,)]),
        ("reinforce++", False, [], []),
        # the rewards themselves, for the critic
        ("ppo", True, [[1, 0], [1]], [(1, 0), (1,)]),
    ],
)
def test_advantages_by_hand(
    name: str, std_normalise: bool, rewards: Rows, expected: list[tuple[float, ...]]
) -> None:
    found = ALGORITHMS[name].advantages(rewards, std_normalise)
    assert found == tuple(approx(row, rel=1e-5) for row in expected)


# ------------------------------------------------------------ losses of the clipped surrogate

BY_TOKEN = ("grpo", "dapo", "reinforce++", "prime")
"""These differ in their advantages and their default window only."""
WINDOW = {"clip_low": 0.2, "clip_high": 0.28}
CLIPPED = [
    # ratio, advantage, loss, gradient
    (1.0, 0.5, -0.5, -0.5),
    (1.1, 0.5, -0.55, -0.55),
    (1.5, 0.5, -0.64, 0.0),  # clipped at 1.28
    (0.5, 0.5, -0.25, -0.25),  # below the window a good token is still pulled up
    (0.5, -0.5, 0.4, 0.0),  # clipped at 0.8
    (1.5, -0.5, 0.75, 0.75),  # above the window a bad token is still pushed down
    (4.0, -0.5, 1.0, 1.0),  # and weighs 2, not 4; the weight has no gradient
    (4.0, 0.5, -0.32, 0.0),  # 2/4 of what is clipped at 1.28
    (1.5, 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize("name", BY_TOKEN)
@pytest.mark.parametrize(("ratio", "advantage", "loss", "gradient"), CLIPPED)
def test_the_clipped_surrogate_by_hand(
    name: str, ratio: float, advantage: float, loss: float, gradient: float
) -> None:
    found = loss_and_gradient(ALGORITHMS[name], tokens_of([[ratio]], [advantage]), **WINDOW)
    assert found == (approx([loss]), approx([gradient]))


@pytest.mark.parametrize(
    ("name", "importance", "ratios", "advantage", "loss", "gradient"),
    [
        ("grpo", "off", [4.0], -0.5, 2.0, 2.0),
        ("grpo", "mask", [4.0], -0.5, 0.0, 0.0),
        ("grpo", "mask", [1.5], -0.5, 0.75, 0.75),
        ("grpo", "mask", [0.4], 0.5, 0.0, 0.0),  # below 1/2
        ("grpo", "truncate", [0.4], 0.5, -0.2, -0.2),  # only large ratios are truncated
        ("grpo", "mask", [2.0], -0.5, 1.0, 1.0),  # the bounds belong to the window
        ("grpo", "mask", [0.5], 0.5, -0.25, -0.25),
        ("gspo", "off", [1.21, 1.0], 0.5, -0.55, -0.275),  # s = √1.21; each token moves s by s/2
        ("gspo", "off", [4.0, 1.0], 0.5, -0.64, 0.0),  # s = 2, clipped at 1.28
        ("gspo", "off", [16.0, 1.0], -0.5, 2.0, 1.0),  # s = 4
        ("gspo", "truncate", [16.0, 1.0], -0.5, 1.0, 0.5),  # w = 2/4
        ("gspo", "mask", [16.0, 1.0], -0.5, 0.0, 0.0),
        # s = √1.5: no mask for the token at 3
        ("gspo", "mask", [3.0, 0.5], -0.5, 0.5 * 1.5**0.5, 0.25 * 1.5**0.5),
        ("rloo", "truncate", [1.1, 1.0], 0.5, -0.55, -0.55),  # each token moves ρ by all of ρ
        ("rloo", "truncate", [1.5, 1.0], 0.5, -0.64, 0.0),  # clipped at 1.28
        ("rloo", "off", [2.0, 2.0], -0.5, 2.0, 2.0),  # ρ = 2 · 2
        ("rloo", "truncate", [2.0, 2.0], -0.5, 1.0, 1.0),  # w = 2/4
        ("rloo", "mask", [2.0, 2.0], -0.5, 0.0, 0.0),
        ("rloo", "mask", [4.0, 0.25], -0.5, 0.5, 0.5),  # ρ = 1
    ],
)
def test_the_importance_of_tokens_and_of_completions_by_hand(
    name: str, importance: str, ratios: list[float], advantage: float, loss: float, gradient: float
) -> None:
    tokens = tokens_of([ratios], [advantage])
    found = loss_and_gradient(ALGORITHMS[name], tokens, importance=importance, **WINDOW)
    assert found == (approx([loss] * len(ratios)), approx([gradient] * len(ratios)))


@pytest.mark.parametrize(
    ("name", "ratios", "loss", "gradient"),
    [
        # −ρA at each token; its gradient is the same ÷ 3 tokens
        ("grpo", [[1.2, 0.9], [1.2]], [-0.6, -0.45, 0.6], [-0.2, -0.15, 0.2]),
        # s = 1.1 and 0.9; half of −sA at one of two tokens, and of all of it at the single one
        ("gspo", [[1.21, 1.0], [0.9]], [-0.55, -0.55, 0.45], [-0.1375, -0.1375, 0.225]),
        # −ρA ÷ 2 completions at every token
        ("rloo", [[1.1, 1.0], [0.9]], [-0.55, -0.55, 0.45], [-0.275, -0.275, 0.225]),
    ],
)
def test_what_completions_of_different_length_weigh(
    name: str, ratios: Rows, loss: list[float], gradient: list[float]
) -> None:
    found = loss_and_gradient(ALGORITHMS[name], tokens_of(ratios, [0.5, -0.5]), **WINDOW)
    assert found == (approx(loss), approx(gradient))


def test_gspo_clips_at_the_papers_narrow_window() -> None:
    tokens = tokens_of([[1.001], [0.999], [1.0001]], [1.0, -1.0, 1.0])
    # 1 + 4e-4, 1 − 3e-4, inside; ÷ 3 completions
    loss, gradient = loss_and_gradient(GSPO, tokens)
    assert loss == approx([-1.0004, 0.9997, -1.0001])
    assert gradient == approx([0.0, 0.0, -1.0001 / 3])


@pytest.mark.parametrize("importance", ["truncate", "mask", "off"])
def test_rloos_ratio_of_a_long_drifted_completion_stays_a_number(importance: str) -> None:
    logp, old = torch.zeros(1000, requires_grad=True), torch.full((1000,), -0.2)
    tokens = Tokens(logp, old, torch.full((1000,), -1.0), torch.tensor([1000]))
    loss = RLOO.loss(tokens, knobs(RLOO, importance=importance))
    (gradient,) = torch.autograd.grad(loss.mean(), logp)
    assert loss.isfinite().all()
    assert not gradient.any()


# ------------------------------------------------------------ CISPO


@pytest.mark.parametrize(
    ("changed", "ratio", "advantage", "gradient"),
    [
        ({}, 2.0, 0.5, -1.0),  # −ρA
        ({}, 8.0, 0.5, -2.5),  # ρ bounded at 5, and yet a gradient
        ({}, 8.0, -0.5, 2.5),
        ({}, 0.1, 0.5, -0.05),  # no lower bound
        ({"clip_low": 0.2}, 0.1, 0.5, -0.4),  # unless one is asked for
        ({"importance": "truncate"}, 4.0, 0.5, -2.0),  # CISPO's own bound is the truncation
        ({"importance": "off"}, 4.0, 0.5, -2.0),
        ({"importance": "mask"}, 4.0, 0.5, 0.0),
        ({"importance": "mask"}, 1.5, 0.5, -0.75),
    ],
)
def test_cispo_by_hand(changed: Any, ratio: float, advantage: float, gradient: float) -> None:
    tokens = tokens_of([[ratio]], [advantage], old=-1.0)
    # the loss is its gradient times log π_θ = ln ρ − 1
    loss = gradient * (math.log(ratio) - 1)
    assert loss_and_gradient(CISPO, tokens, **changed) == (approx([loss]), approx([gradient]))


def test_cispo_takes_one_mean_over_the_tokens_of_all_completions() -> None:
    tokens = tokens_of([[2.0, 1.0, 0.5], [8.0]], [0.5, -1.0], old=-1.0)
    # (−1, −0.5, −0.25, +5) ÷ 4
    assert loss_and_gradient(CISPO, tokens)[1] == approx([-0.25, -0.125, -0.0625, 1.25])


# ------------------------------------------------------------ PPO


@pytest.mark.parametrize(
    ("value", "decay", "advantages"),
    [
        ([0.5, 0.6, 0.8], 1.0, [0.5, 0.4, 0.2]),  # r − V
        ([0.5, 0.6, 0.8], 0.5, [0.25, 0.3, 0.2]),  # 0.1 + 0.5 · 0.3, 0.2 + 0.5 · 0.2, 0.2
        ([0.5, 0.6, 0.8], 0.0, [0.1, 0.2, 0.2]),  # δ: 0.6 − 0.5, 0.8 − 0.6, 1 − 0.8
        ([0.3], 0.5, [0.7]),
    ],
)
def test_gae_by_hand(value: list[float], decay: float, advantages: list[float]) -> None:
    assert gae(1.0, value, decay) == approx(advantages)


@pytest.mark.parametrize(
    ("decay", "errors"), [(1.0, [-0.5, -0.4, -0.2, 0.3]), (0.5, [-0.25, -0.3, -0.2, 0.3])]
)
def test_ppo_by_hand(decay: float, errors: list[float]) -> None:
    tokens = tokens_of([[1.0, 1.0, 1.0], [1.0]], [1.0, 0.0], value=[[0.5, 0.6, 0.8], [0.3]])
    assert tokens.value is not None
    found = PPO.loss(tokens, knobs(PPO, gae_lambda=decay, value_weight=0.1))
    # −A + 0.1 · ½ (V − R)², R = A + V; the errors V − R are −A
    assert found.tolist() == approx([error + 0.05 * error**2 for error in errors])
    by_logp, by_value = torch.autograd.grad(found.sum(), (tokens.logp, tokens.value))
    assert by_value.tolist() == approx([0.1 * error for error in errors])
    # At ρ = 1 the derivative is −A: no part of the value loss reaches the policy's output.
    assert by_logp.tolist() == approx(errors)


def test_ppo_clips_and_truncates_the_policys_part_only() -> None:
    tokens = tokens_of([[4.0], [1.5]], [0.0, 1.0], value=[[0.5], [0.5]])
    # A = −0.5 at ρ = 4: 2/4 · 2; A = +0.5 at 1.5: clipped at 1.2; both + 0.1 · ½ · 0.25
    loss, gradient = loss_and_gradient(PPO, tokens)
    assert loss == approx([1.0 + 0.0125, -0.6 + 0.0125])
    assert gradient == approx([0.5, 0.0])


def test_ppo_without_a_critic_is_an_error() -> None:
    with pytest.raises(ValueError, match="critic"):
        PPO.loss(tokens_of([[1.0]], [1.0]), knobs(PPO))


# ------------------------------------------------------------ PRIME

PROCESS = [[0.1, 0.3], [0.2], [-0.1, 0.0, 0.1]]


def test_primes_process_advantages_by_hand() -> None:
    found = process_advantages(PROCESS)
    # means 0.2 0.2 0; the others' mean: 0.1 0.1 0.2; what is left, summed from the end
    assert found[0] == approx([0.0 + 0.2, 0.2])
    assert found[1] == approx([0.1])
    assert found[2] == approx([-0.3 - 0.2 - 0.1, -0.2 - 0.1, -0.1])
    assert process_advantages([[0.3, 0.1]]) == [[0, 0]]  # a group of one


def test_prime_adds_the_outcomes_leave_one_out_advantage_to_every_token() -> None:
    (outcome,) = PRIME.advantages([[1, 0, 0]], False)
    rows = zip(process_advantages(PROCESS), outcome, strict=True)
    advantage = flat([[number + a for number in row] for row, a in rows])
    tokens = replace(tokens_of([[1.0] * 2, [1.0], [1.0] * 3], outcome), advantage=advantage)
    loss, gradient = loss_and_gradient(PRIME, tokens)
    # −A at ρ = 1, ÷ 6 tokens in the gradient
    assert loss == approx([-1.2, -1.2, 0.4, 1.1, 0.8, 0.6])
    assert gradient == approx([-0.2, -0.2, 0.4 / 6, 1.1 / 6, 0.8 / 6, 0.1])


def test_the_reward_models_cross_entropy_by_hand() -> None:
    tokens = tokens_of([[math.e**3, math.e], [math.e**-2]], [0, 0], ref=[[0, 0], [0]])
    loss = reward_model_loss(tokens, flat([[1, 0]]), beta=0.5)
    # β Σ log-ratio = 2 and −1: −ln σ(2), −ln(1 − σ(−1))
    assert loss.tolist() == approx([0.126928, 0.313262], abs=1e-6)
    (gradient,) = torch.autograd.grad(loss.sum(), tokens.logp)
    # β (σ(2) − 1) at both tokens of the first, β σ(−1) at the second's
    assert gradient.tolist() == approx([-0.0596015, -0.0596015, 0.1344707], abs=1e-6)
    # an untrained one is undecided
    untrained = tokens_of([[1.0, 1.0]], [0], ref=[[0, 0]])
    assert reward_model_loss(untrained, flat([[1]]), beta=0.05).tolist() == approx([math.log(2)])


def test_a_reward_model_without_a_reference_is_an_error() -> None:
    with pytest.raises(ValueError, match="reference"):
        reward_model_loss(tokens_of([[1.0]], [1.0]), torch.ones(1), beta=0.05)
