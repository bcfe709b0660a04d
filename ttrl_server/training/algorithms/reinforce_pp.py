"""REINFORCE++ (arXiv 2501.03262, v9, section 3.1): rewards normalised over the batch, then PPO's
surrogate for each token.

Advantage of a completion, mean and std over all completions of the batch (eq. 5):

    A = (r − mean(r)) / (std(r) + 1e-6)

Loss of token t, to be minimised (eq. 1):

    −w_t · min(ρ_t A, clip(ρ_t, 1 − ε_low, 1 + ε_high) A) + β · k3_t

The std is the population's (the paper does not say which). It is part of the method, so
``std_normalise`` changes nothing. The paper's penalty is part of the reward (eq. 4), so A differs
by token there; here the penalty is k3 in the loss, A is one number per completion, and every
completion has the same weight in mean and std. Rewards are not compared within a group: a failure
costs the same at an easy question as at a hard one.
"""

from __future__ import annotations

from itertools import islice

from ttrl_server.training.algorithms.core import Advantages, Algorithm, Rewards, centred, scaled
from ttrl_server.training.algorithms.grpo import loss


def advantages(rewards_QG: Rewards, std_normalise: bool = False) -> Advantages:
    """[Q][G]; all zero in a batch whose rewards are all the same."""
    rewards = [reward for rewards_G in rewards_QG for reward in rewards_G]
    normalised = iter(scaled(centred(rewards)) if rewards else ())
    return tuple(tuple(islice(normalised, len(rewards_G))) for rewards_G in rewards_QG)


REINFORCE_PP = Algorithm(advantages, loss, clip=(0.2, 0.2))
