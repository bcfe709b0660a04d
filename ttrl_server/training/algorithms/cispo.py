"""CISPO (MiniMax-M1, arXiv 2506.13585): the ratio is bounded, and every token keeps a gradient.

Advantage of rollout i of a group:

    A_i = r_i − mean(r), optionally ÷ (std(r) + 1e-6)

Loss of token t, to be minimised (eq. 4, 5):

    −m_t · sg(clip(ρ_t, 1 − ε_low, 1 + ε_high)) · A · log π_θ + β · k3_t

sg stops the gradient, ρ_t = exp(log π_θ − log π_old). The default has no lower bound (ε_low = 1),
as in the paper; its upper bound is 5, as in ScaleRL (arXiv 2510.13786). The paper divides A by the
group's std and has no penalty.

CISPO's own clip does what ``importance: truncate`` does, with the cap 1 + ε_high. So
``importance_cap`` is not applied in addition. ``mask`` leaves tokens out as in the other algorithms
(m_t is 0 for these tokens, else 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ttrl_server.training.algorithms import core
from ttrl_server.training.algorithms.core import Algorithm, Knobs, Tokens
from ttrl_server.training.algorithms.grpo import advantages


def loss(tokens: Tokens, knobs: Knobs) -> Tensor:
    """[N] the module's formula. Only its gradient by log π_θ matters: −m · clip(ρ) · A."""
    ratio = torch.exp(tokens.logp.detach() - tokens.old)
    weight = ratio.clamp(1 - knobs.clip_low, 1 + knobs.clip_high)
    if knobs.importance == "mask":
        weight = weight * core.importance_weight(ratio, knobs)
    return core.with_penalty(-weight * tokens.advantage * tokens.logp, tokens, knobs)


CISPO = Algorithm(advantages, loss, clip=(1.0, 4.0))
