"""DAPO (arXiv 2503.14476): GRPO with more room above than below, averaged over tokens.

Advantage of rollout i of a group (eq. 9):

    A_i = r_i − mean(r), optionally ÷ (std(r) + 1e-6)

Loss of token t, to be minimised (eq. 8, 10):

    −w_t · min(ρ_t A, clip(ρ_t, 1 − 0.2, 1 + 0.28) A) + β · k3_t

The paper always divides by the group's std; here that is an option, as everywhere. It has no
penalty (β = 0). Its dynamic sampling, which draws groups until enough of them disagree, is here
that a unanimous group never reaches the model (``batch``); its reward for length is not taken over,
since an answer that was cut off earns nothing anyway.
"""

from __future__ import annotations

from ttrl_server.training.algorithms.core import Algorithm
from ttrl_server.training.algorithms.grpo import advantages, loss

DAPO = Algorithm(advantages, loss, clip=(0.2, 0.28))
