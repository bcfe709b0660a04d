"""Learning algorithms, one file each: rewards become advantages, log-probabilities become a loss
per token."""

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
"""Algorithms by their names in ``train.algorithm``."""
