"""Learning algorithms, one file each: from rewards to advantages, from log-probabilities to a
loss per token."""

from ttrl_server.training.algorithms.cispo import CISPO
from ttrl_server.training.algorithms.core import Algorithm
from ttrl_server.training.algorithms.dapo import DAPO
from ttrl_server.training.algorithms.grpo import GRPO
from ttrl_server.training.algorithms.gspo import GSPO
from ttrl_server.training.algorithms.ppo import PPO
from ttrl_server.training.algorithms.prime import PRIME
from ttrl_server.training.algorithms.reinforce_pp import REINFORCE_PP
from ttrl_server.training.algorithms.rloo import RLOO

ALGORITHMS: dict[str, Algorithm] = {
    "grpo": GRPO,
    "dapo": DAPO,
    "gspo": GSPO,
    "cispo": CISPO,
    "rloo": RLOO,
    "reinforce++": REINFORCE_PP,
    "ppo": PPO,
    "prime": PRIME,
}
"""By the names of ``train.algorithm``."""
