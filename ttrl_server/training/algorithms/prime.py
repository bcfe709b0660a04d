"""PRIME (arXiv 2502.01456): a reward for every token, from a model that learns from outcomes only.

The implicit reward model φ starts as the base model, which is also its reference:

    reward of token t   r_t = β (log π_φ − log π_ref)                      eq. 3
    its loss            cross entropy of σ(Σ_t r_t) with the label r > 0   algorithm 1, line 8

Advantage of token t of rollout i of K (eq. 5, γ = 1), for PPO's clipped surrogate (eq. 6):

    A_t^i = Σ_{s ≥ t} [r_s^i − 1/(K−1) Σ_{j ≠ i} mean_s(r_s^j)]  +  r^i − 1/(K−1) Σ_{j ≠ i} r^j

The first sum is ``process_advantages``, the rest ``advantages``; the step adds them. Eq. 5 writes
r_φ(y^j) in its baseline; section 3.2 says that it is the averaged process reward, so it is the mean
over the tokens here. The authors' code differs: r_s^i has the weight K/(K−1), i's own mean is part
of the baseline, the two parts have coefficients, and the sum is whitened over the batch. As in
algorithm 1, r_t is computed before φ is updated on the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from torch import Tensor
from torch.nn import functional

from ttrl_server.training.algorithms.core import Algorithm, Tokens
from ttrl_server.training.algorithms.grpo import loss
from ttrl_server.training.algorithms.rloo import advantages


def process_advantages(process_GT: Sequence[Sequence[float]]) -> list[list[float]]:
    """[G][T] the first sum of eq. 5 from the rewards r_t of one group; 0 in a group of one,
    which has no baseline."""
    if len(process_GT) == 1:
        return [[0.0] * len(process_GT[0])]
    means_G = [sum(row) / len(row) for row in process_GT]
    baselines_G = [(sum(means_G) - mean) / (len(means_G) - 1) for mean in means_G]
    return [
        list(accumulate(r - baseline for r in reversed(row)))[::-1]  # Σ_{s ≥ t}
        for row, baseline in zip(process_GT, baselines_G, strict=True)
    ]


def reward_model_loss(tokens: Tokens, label_B: Tensor, beta: float) -> Tensor:
    """[B] cross entropy of each completion. ``tokens.logp`` must be log π_φ with its graph; labels
    are 1 where r > 0.

    The loss of a batch is the mean over its completions. Raises ValueError without a reference.
    """
    if tokens.ref is None:
        raise ValueError("PRIME's reward is a ratio to the reference: Tokens.ref is None")
    reward_B = beta * tokens.sums(tokens.logp - tokens.ref)
    return functional.binary_cross_entropy_with_logits(reward_B, label_B, reduction="none")


PRIME = Algorithm(advantages, loss, clip=(0.2, 0.2), implicit_reward=True)
