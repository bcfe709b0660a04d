"""DAPO (arXiv 2503.14476): GRPO with an upper clip bound wider than the lower; a mean over tokens.

Advantage of rollout i of a group (eq. 9):

    A_i = r_i − mean(r), optionally ÷ (std(r) + 1e-6)

Loss of token t, to be minimised (eq. 8, 10):

    −w_t · min(ρ_t A, clip(ρ_t, 1 − 0.2, 1 + 0.28) A) + β · k3_t

The paper always divides by the group's std; here that is an option. The paper has no penalty
(β = 0). The paper's dynamic sampling draws groups until enough of them disagree; here ``batch``
drops unanimous groups instead. The paper's reward for length is not used here: an answer that was
cut off earns nothing anyway.
"""

from __future__ import annotations

from ttrl_server.training.algorithms.core import Algorithm
from ttrl_server.training.algorithms.grpo import advantages, loss

DAPO = Algorithm(advantages, loss, clip=(0.2, 0.28))
