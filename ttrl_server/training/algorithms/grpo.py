"""GRPO (DeepSeekMath, arXiv 2402.03300, section 4.1), with the engine's log-probabilities as π_old
(docs/method.md, section 6).

Advantage of rollout i of a group:  A_i = r_i − mean(r), optionally ÷ (std(r) + 1e-6)

Loss of token t, to be minimised:   −w_t · min(ρ_t A, clip(ρ_t, 1 − ε_low, 1 + ε_high) A) + β · k3_t

    ρ_t  = exp(log π_θ − log π_old)   π_old: the engine at the sampling temperature, as it sampled
    w_t                               the importance correction of ``core``
    k3_t = exp(Δ) − Δ − 1             Δ = log π_ref − log π_θ

The reference is the model with its adapter off.

Each batch gets one optimiser step, so there is no third policy between sampler and learner.
Truncation matters on tokens with A < 0 and ρ > 1, where clipping does not act: the weight of their
gradient is at most ``cap``. The default is the token mean over the batch; ``aggregate: constant``
is that of Dr.GRPO (arXiv 2503.20783, section 3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ttrl_server.training.algorithms import core
from ttrl_server.training.algorithms.core import Advantages, Algorithm, Knobs, Rewards, Tokens


def advantages(rewards_QG: Rewards, std_normalise: bool = False) -> Advantages:
    """[Q][G]; all zero in a group whose rewards are all the same. The std is the population's."""
    centred_QG = tuple(core.centred(rewards_G) for rewards_G in rewards_QG)
    return tuple(map(core.scaled, centred_QG)) if std_normalise else centred_QG


def loss(tokens: Tokens, knobs: Knobs) -> Tensor:
    """[N] the loss of the module's formula."""
    ratio = torch.exp(tokens.logp - tokens.old)
    return core.with_penalty(core.clipped(ratio, tokens.advantage, knobs), tokens, knobs)


GRPO = Algorithm(advantages, loss, clip=(0.2, 0.2))
