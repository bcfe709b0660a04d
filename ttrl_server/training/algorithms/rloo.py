"""RLOO (Ahmadian et al., arXiv 2402.14740, section 2.3): a completion is one action; the group's
other completions are its baseline.

Advantage of rollout i of a group:

    A_i = r_i − mean_{j ≠ i} r_j

Ratio of completion i, and the loss of each of its tokens:

    ρ_i = exp(Σ_t (log π_θ − log π_old))
    −w_i · min(ρ_i A, clip(ρ_i, 1 − ε_low, 1 + ε_high) A) + β · k3_t

The loss is averaged over each completion and then over completions, so the gradient of every token
has the weight ρ_i A for any T. The paper is on-policy and has neither ratio nor clip; both are as
in TRL's RLOOTrainer, ε = 0.2 on both sides. The ratio of a long completion soon leaves that range.
The paper subtracts β log(π_θ / π_ref) from the reward; here the penalty is k3 in the loss, a mean
over tokens. There is no division by a std.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ttrl_server.training.algorithms import core
from ttrl_server.training.algorithms.core import Advantages, Algorithm, Knobs, Rewards, Tokens

LARGEST_LOG_RATIO = 20.0
"""Nats. A log-ratio summed over thousands of tokens can overflow float32's exp, and inf · 0 is NaN.
A completion above this limit has no gradient."""


def advantages(rewards_QG: Rewards, std_normalise: bool = False) -> Advantages:
    """[Q][G] r_i − mean_{j ≠ i} r_j = (r_i − mean(r)) · G / (G − 1); 0 in a group of one, which
    has no baseline."""
    return tuple(
        tuple(value * len(group_G) / max(1, len(group_G) - 1) for value in core.centred(group_G))
        for group_G in rewards_QG
    )


def loss(tokens: Tokens, knobs: Knobs) -> Tensor:
    """[N] the loss of the module's formula; only the penalty differs within a completion."""
    log_ratio_B = tokens.sums(tokens.logp - tokens.old).clamp(max=LARGEST_LOG_RATIO)
    ratio = tokens.spread(torch.exp(log_ratio_B))
    return core.with_penalty(core.clipped(ratio, tokens.advantage, knobs), tokens, knobs)


RLOO = Algorithm(advantages, loss, clip=(0.2, 0.2), aggregate="sequence")
