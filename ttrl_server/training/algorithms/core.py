"""What every algorithm is made of: the tokens it sees, the ratio it weighs, the penalty it adds.

An algorithm turns rewards into advantages before the model runs, and log-probabilities into a loss
per token after it. How tokens add up to one number (``Aggregate``) is the plan's business, so that
no loss depends on how a batch is cut.

Importance correction (docs/method.md, section 6): ρ = π_θ / π_old carries all there is between the
sampler and the learner, promotions since the rollout and the engine's rounding. Its weight w is
held constant in the gradient:

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
"""Weights of a token: 1 / tokens of the batch; 1 / (completions · its completion's tokens); 1 /
(completions · L)."""
Importance = Literal["truncate", "mask", "off"]
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
    """[N] log π_old: the engine's, as it sampled."""
    advantage: Tensor
    """[N] of each token's completion (PPO: its reward; PRIME: of the token itself)."""
    lengths: Tensor
    """[B] tokens of each completion."""
    ref: Tensor | None = None
    """[N] of the policy with its adapter off."""
    value: Tensor | None = None
    """[N] the critic's estimate before each token, with its graph (PPO only)."""

    def sums(self, per_token: Tensor) -> Tensor:
        """[B] sums over each completion."""
        return torch.stack([piece.sum() for piece in per_token.split(self.lengths.tolist())])

    def spread(self, per_completion: Tensor) -> Tensor:
        """[N] each completion's number at each of its tokens."""
        return per_completion.repeat_interleave(self.lengths)


@dataclass(frozen=True, slots=True)
class Knobs:
    """The numbers of a loss, resolved: see TrainConfig for what each one means."""

    clip_low: float
    clip_high: float
    kl: float = 0.0
    importance: Importance = "truncate"
    cap: float = 2.0
    gae_lambda: float = 1.0
    value_weight: float = 0.1


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One way to learn; the module that defines it has its formula and its source."""

    advantages: Callable[[Rewards, bool], Advantages]
    """Of a whole batch; the flag asks for division by a standard deviation where that is an
    option."""
    loss: Callable[[Tokens, Knobs], Tensor]
    """[N] loss of each token, to be minimised."""
    clip: tuple[float, float]
    """(ε_low, ε_high) of its source, used where the settings name none."""
    aggregate: Aggregate = "token"
    critic: bool = False
    """Needs a value head."""
    implicit_reward: bool = False
    """Needs a reward model on the same base."""

    def knobs(self, cfg: TrainConfig) -> Knobs:
        """The numbers of the settings, this algorithm's own where they name none."""
        low, high = self.clip
        return Knobs(
            clip_low=low if cfg.clip_low is None else cfg.clip_low,
            clip_high=high if cfg.clip_high is None else cfg.clip_high,
            kl=cfg.kl,
            importance=cfg.importance,
            cap=cfg.importance_cap,
            gae_lambda=cfg.gae_lambda,
            value_weight=cfg.value_weight,
        )


def importance_weight(ratio: Tensor, knobs: Knobs) -> Tensor:
    """w of the formula above, shaped like ``ratio``, without a graph."""
    ratio = ratio.detach()
    if knobs.importance == "truncate":
        return (knobs.cap / ratio).clamp(max=1.0)
    if knobs.importance == "mask":
        return ((ratio <= knobs.cap) & (ratio >= 1 / knobs.cap)).to(ratio.dtype)
    return torch.ones_like(ratio)


def clipped(ratio: Tensor, advantage: Tensor, knobs: Knobs) -> Tensor:
    """−w · min(ρ A, clip(ρ, 1 − ε_low, 1 + ε_high) A), PPO's surrogate (arXiv 1707.06347, eq. 7)
    as a loss."""
    surrogate = torch.minimum(
        ratio * advantage, ratio.clamp(1 - knobs.clip_low, 1 + knobs.clip_high) * advantage
    )
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
