"""PPO (arXiv 1707.06347) with generalised advantage estimation (arXiv 1506.02438) and a value head.

The reward r of a completion belongs to its last token T; there is no discount (γ = 1):

    δ_t = V_{t+1} − V_t for t < T,  δ_T = r − V_T       V_t: the critic's estimate before token t
    A_t = δ_t + λ A_{t+1},          A_{T+1} = 0         GAE, eq. 16; PPO, eq. 11

Loss of token t, to be minimised (PPO, eq. 9), with ``value_weight`` for c:

    −w_t · min(ρ_t A_t, clip(ρ_t, 1 − ε_low, 1 + ε_high) A_t) + c · ½ (V_t − R_t)² + β · k3_t
    R_t = A_t + V_t

A_t and R_t have no graph. Each batch gets one step, so R comes from the present critic, and V needs
no clipping. Advantages are not whitened: their mean and std would be those of a micro-batch, and
the update must not depend on how a batch is cut. There is no entropy bonus. The penalty is k3 in
the loss and not part of the reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from ttrl_server.training.algorithms import core
from ttrl_server.training.algorithms.core import Advantages, Algorithm, Knobs, Rewards, Tokens


def advantages(rewards_QG: Rewards, std_normalise: bool = False) -> Advantages:
    """[Q][G] the rewards themselves: the baseline is the critic's estimate, known only after the
    model has run."""
    return tuple(tuple(rewards_G) for rewards_G in rewards_QG)


def loss(tokens: Tokens, knobs: Knobs) -> Tensor:
    """[N] the loss of the module's formula. Raises ValueError without the critic's estimates."""
    if tokens.value is None:
        raise ValueError("PPO needs the critic's estimate at every token: Tokens.value is None")
    value = tokens.value.detach()
    lengths = tokens.lengths.tolist()
    pieces = zip(tokens.advantage.split(lengths), value.split(lengths), strict=True)
    # Each token of a completion has the completion's reward; GAE needs the reward once.
    rows = (gae(r_T[-1].item(), value_T.tolist(), knobs.gae_lambda) for r_T, value_T in pieces)
    advantage = value.new_tensor(list(chain.from_iterable(rows)))
    ratio = torch.exp(tokens.logp - tokens.old)
    value_loss = 0.5 * (tokens.value - (advantage + value)).square()
    both = core.clipped(ratio, advantage, knobs) + knobs.value_weight * value_loss
    return core.with_penalty(both, tokens, knobs)


def gae(reward: float, value_T: Sequence[float], decay: float) -> list[float]:
    """[T] A_t of one completion, λ = ``decay``."""
    advantage_T = []
    # With γ = 1, a reward at the last token equals a value of the state after that token.
    advantage, following = 0.0, reward
    for value in reversed(value_T):
        advantage = following - value + decay * advantage
        following = value
        advantage_T.append(advantage)
    return advantage_T[::-1]


PPO = Algorithm(advantages, loss, clip=(0.2, 0.2), critic=True)
