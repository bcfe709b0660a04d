"""The common parts of all algorithms: tokens, importance ratio, clipping and penalty.

An algorithm turns rewards into advantages before the model runs, and log-probabilities into a loss
per token afterwards. ``batch`` computes the weights that add tokens up to one number
(``Aggregate``), so no loss depends on how a batch is cut.

Importance correction (docs/method.md, section 6): ρ = π_θ / π_old covers every difference between
sampler and learner: promotions since the rollout and the engine's rounding. w has no gradient:

    truncate   w = min(1, cap / ρ), so that w ρ = min(ρ, cap)   (truncated importance sampling)
    mask       w = 1 where 1 / cap ≤ ρ ≤ cap, else 0            (masked importance sampling)
    off        w = 1
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ttrl_server.settings.sections import TrainConfig

Aggregate = Literal["token", "sequence", "constant"]
"""The weight of a token, in this order: 1 / tokens of the batch; 1 / (completions · tokens of the
token's completion); 1 / (completions · L)."""
Rewards = Sequence[Sequence[float]]
"""[Q][G] rewards of a batch, group by group."""
Advantages = tuple[tuple[float, ...], ...]
"""[Q][G]"""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The completion tokens of one micro-batch, N = Σ T, one completion after the other."""

    logp: Tensor
    """[N] log π_θ, nats at the sampling temperature, with its graph."""
    old: Tensor
    """[N] log π_old: the engine's log-probabilities at sampling."""
    advantage: Tensor
    """[N] the advantage of each token's completion (PPO: its reward; PRIME: the token's own)."""
    lengths: Tensor
    """[B] tokens of each completion."""
    ref: Tensor | None = None
    """[N] log π_ref: the policy with its adapter off."""
    value: Tensor | None = None
    """[N] the critic's estimate before each token, with its graph (PPO only)."""

    def sums(self, per_token: Tensor) -> Tensor:
        """[B] sums over each completion."""
        return torch.stack([piece.sum() for piece in per_token.split(self.lengths.tolist())])

    def spread(self, per_completion: Tensor) -> Tensor:
        """[N] each completion's number, repeated for each of its tokens."""
        return per_completion.repeat_interleave(self.lengths)


class Knobs(TrainConfig):
    """The settings, with the algorithm's own clip where they name none."""

    clip_low: float
    clip_high: float


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One learning algorithm. The module that defines it gives the formula and the source."""

    advantages: Callable[[Rewards, bool], Advantages]
    """Computes the advantages of a whole batch. The flag asks for division by the standard
    deviation, in algorithms where that is an option."""
    loss: Callable[[Tokens, Knobs], Tensor]
    """[N] loss of each token, to be minimised."""
    clip: tuple[float, float]
    """(ε_low, ε_high) of the source, used if the settings have none."""
    aggregate: Aggregate = "token"
    critic: bool = False
    """Needs a value head."""
    implicit_reward: bool = False
    """Needs a reward model on the same base."""

    def knobs(self, cfg: TrainConfig) -> Knobs:
        low, high = self.clip
        own = {"clip_low": low, "clip_high": high}
        return Knobs.model_validate(own | cfg.model_dump(exclude_none=True))


def importance_weight(ratio: Tensor, knobs: Knobs) -> Tensor:
    """w of the module's formula, with the shape of ``ratio`` and without a graph."""
    ratio, cap = ratio.detach(), knobs.importance_cap
    if knobs.importance == "truncate":
        return (cap / ratio).clamp(max=1.0)
    if knobs.importance == "mask":
        return ((ratio <= cap) & (ratio >= 1 / cap)).to(ratio.dtype)
    return torch.ones_like(ratio)


def clipped(ratio: Tensor, advantage: Tensor, knobs: Knobs) -> Tensor:
    """−w · min(ρ A, clip(ρ, 1 − ε_low, 1 + ε_high) A), PPO's surrogate (arXiv 1707.06347, eq. 7)
    as a loss."""
    bounded = ratio.clamp(1 - knobs.clip_low, 1 + knobs.clip_high)
    surrogate = torch.minimum(ratio * advantage, bounded * advantage)
    return -importance_weight(ratio, knobs) * surrogate


def with_penalty(loss: Tensor, tokens: Tokens, knobs: Knobs) -> Tensor:
    """[N] loss + β k3 where there is a reference."""
    return loss if tokens.ref is None else loss + knobs.kl * k3(tokens.logp, tokens.ref)


def k3(logp_theta: Tensor, logp_ref: Tensor) -> Tensor:
    """[N] unbiased, never negative estimate of KL(π_θ ‖ π_ref) per token, nats (Schulman,
    approximating KL, 2020)."""
    delta = logp_ref - logp_theta
    return torch.exp(delta) - delta - 1


def centred(rewards_G: Sequence[float]) -> tuple[float, ...]:
    """[G] r − mean(r)."""
    mean = sum(rewards_G) / len(rewards_G)
    return tuple(reward - mean for reward in rewards_G)


def scaled(centred_G: Sequence[float]) -> tuple[float, ...]:
    """[G] ÷ (std + 1e-6), the population's std of numbers whose mean is 0."""
    std = (sum(value * value for value in centred_G) / len(centred_G)) ** 0.5
    return tuple(value / (std + 1e-6) for value in centred_G)
