"""GRPO (DeepSeekMath, arXiv 2402.03300, section 4.1), the engine's own log-probabilities as π_old (ttrl.md, section 6).

Advantage of rollout i of a group:  A_i = r_i − mean(r), optionally ÷ (std(r) + 1e-6)

Loss of token t, to be minimised:   −w_t · min(ρ_t A, clip(ρ_t, 1 − ε_low, 1 + ε_high) A) + β · k3_t

    ρ_t  = exp(log π_θ − log π_old)       π_old: the engine at the sampling temperature, as it sampled
    w_t  = min(1, cap / ρ_t)              held constant: truncated importance sampling, w_t ρ_t = min(ρ_t, cap)
    k3_t = exp(Δ) − Δ − 1                 Δ = log π_ref − log π_θ, the reference is the model with its adapter off

ρ carries all there is between the sampler and the learner: promotions since the rollout and the engine's rounding.
One optimiser step is taken on a batch, so there is no third policy between them. The truncation matters where clipping
does not act, on tokens with A < 0 and ρ > 1: their gradient weighs at most ``cap``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def advantages(rewards_G: Sequence[float], std_normalise: bool = False) -> tuple[float, ...]:
    """[G] advantages of one group; all zero when every reward is the same. The std is the population's."""
    mean = sum(rewards_G) / len(rewards_G)
    centred = tuple(reward - mean for reward in rewards_G)
    if not std_normalise:
        return centred
    std = (sum(value * value for value in centred) / len(centred)) ** 0.5
    return tuple(value / (std + 1e-6) for value in centred)


def token_loss(
    logp_theta: Tensor,
    logp_old: Tensor,
    advantage: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    importance_cap: float,
    logp_ref: Tensor | None = None,
    kl: float = 0.0,
) -> Tensor:
    """[N] loss of each token (formula above); every tensor is [N], log-probabilities in nats.

    ``kl`` is β; without ``logp_ref`` there is no penalty. Sum and divide by the tokens of the batch for the token mean.
    """
    ratio = torch.exp(logp_theta - logp_old)
    weight = (importance_cap / ratio.detach()).clamp(max=1.0)
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage)
    loss = -weight * surrogate
    if logp_ref is None:
        return loss
    return loss + kl * k3(logp_theta, logp_ref)


def k3(logp_theta: Tensor, logp_ref: Tensor) -> Tensor:
    """[N] unbiased, never negative estimate of KL(π_θ ‖ π_ref) per token, nats (Schulman, approximating KL, 2020)."""
    delta = logp_ref - logp_theta
    return torch.exp(delta) - delta - 1
