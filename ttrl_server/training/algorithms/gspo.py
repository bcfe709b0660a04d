"""GSPO (arXiv 2507.18071): one importance ratio per completion, the geometric mean of the ratios of
its tokens.

Advantage of rollout i of a group (eq. 6):

    A_i = r_i − mean(r), optionally ÷ (std(r) + 1e-6)

Ratio of completion i (eq. 7), and the loss of each of its tokens (eq. 5):

    s_i = exp(mean_t (log π_θ − log π_old))
    −w_i · min(s_i A, clip(s_i, 1 − ε_low, 1 + ε_high) A) + β · k3_t

The loss is averaged over each completion and then over completions, so the gradient of every token
has the weight s_i A / T (eq. 10). w acts on s_i. A geometric mean stays close to 1: the paper's ε
are 3e-4 and 4e-4, and the cap of ``core``, meant for single tokens, seldom acts. Each batch gets
one step, so only promotions since the rollout and the engine's rounding change s_i. If these alone
exceed ε, set ``clip_low`` and ``clip_high``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ttrl_server.training.algorithms.core import Algorithm, Knobs, Tokens, clipped, with_penalty
from ttrl_server.training.algorithms.grpo import advantages


def loss(tokens: Tokens, knobs: Knobs) -> Tensor:
    """[N] the loss of the module's formula; only the penalty differs within a completion."""
    log_ratio_B = tokens.sums(tokens.logp - tokens.old) / tokens.lengths
    ratio = tokens.spread(torch.exp(log_ratio_B))
    return with_penalty(clipped(ratio, tokens.advantage, knobs), tokens, knobs)


GSPO = Algorithm(advantages, loss, clip=(3e-4, 4e-4), aggregate="sequence")
