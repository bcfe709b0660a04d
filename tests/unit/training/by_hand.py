"""Tokens made from ratios that a person can check, and what an algorithm's loss does to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ttrl_server.settings.sections import TrainConfig
from ttrl_server.training.algorithms.core import Aggregate, Algorithm, Knobs, Tokens

Rows = Sequence[Sequence[float]]
"""[B][T]"""


def knobs(algorithm: Algorithm, **changed: Any) -> Knobs:
    """The algorithm's own clip, no penalty, truncation at 2."""
    return algorithm.knobs(TrainConfig.model_validate({"kl": 0} | changed))


def tokens_of(
    ratios: Rows,
    advantages: Sequence[float],
    *,
    old: float = 0.0,
    ref: Rows | None = None,
    value: Rows | None = None,
) -> Tokens:
    """Completions with these ratios token by token, ``old`` being log π_old at all of them."""
    lengths = torch.tensor([len(row) for row in ratios])
    return Tokens(
        logp=(old + flat(ratios).log()).requires_grad_(),
        old=torch.full((int(lengths.sum()),), old, dtype=torch.float64),
        advantage=torch.tensor(advantages, dtype=torch.float64).repeat_interleave(lengths),
        lengths=lengths,
        ref=None if ref is None else flat(ref),
        value=None if value is None else flat(value).requires_grad_(),
    )


def flat(rows: Rows) -> Tensor:
    """[N]"""
    return torch.tensor([number for row in rows for number in row], dtype=torch.float64)


def weights(tokens: Tokens, how: Aggregate, length: int = 1) -> Tensor:
    """[N] share of each token where these completions are the whole batch."""
    completions = len(tokens.lengths)
    if how == "token":
        return torch.full_like(tokens.old, 1 / len(tokens.old))
    lengths = tokens.lengths if how == "sequence" else torch.full_like(tokens.lengths, length)
    return 1.0 / tokens.spread(completions * lengths.double())


def loss_and_gradient(
    algorithm: Algorithm, tokens: Tokens, **changed: Any
) -> tuple[list[float], list[float]]:
    """[N] loss of each token, and [N] derivative of the batch's loss, added up as the algorithm
    does, by log π_θ."""
    loss = algorithm.loss(tokens, knobs(algorithm, **changed))
    whole = (loss * weights(tokens, algorithm.aggregate)).sum()
    (gradient,) = torch.autograd.grad(whole, tokens.logp)
    return loss.tolist(), gradient.tolist()
