"""The passes of one step: forward and backward for every micro-batch of this rank. DeepSpeed
accumulates the gradients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ttrl_server.settings.sections import TrainConfig
from ttrl_server.training.algorithms import ALGORITHMS, prime
from ttrl_server.training.algorithms.core import Tokens, k3
from ttrl_server.training.batch import MicroBatch, Plan
from ttrl_server.training.memory import OutOfMemory, Room, ran_out
from ttrl_server.training.policy import REWARD_MODEL
from ttrl_server.training.state import Engine

WATCHED = ("loss", "kl", "entropy", "ratio", "ratio_squared", "engine_kl")
"""Metrics that every pass sums over its tokens."""

Rows = dict[tuple[int, int], list[float]]
"""[T] numbers of a completion, by ``Completion.key``."""


@dataclass(frozen=True, slots=True)
class Passes:
    """What the passes of one step share."""

    engine: Engine
    cfg: TrainConfig
    room: Room
    todo: Plan
    process: Rows = field(default_factory=dict)
    """What PRIME adds to the advantage of each token."""

    def run(self) -> dict[str, float]:
        """Makes all passes; the last one sums the gradients of all ranks. When memory runs out on
        one rank, every rank raises OutOfMemory.

        Returns means over the tokens of the batch, nats a token where they are log-probabilities:
        ``loss`` as the algorithm adds it up; ``kl`` (k3 to the reference); ``entropy`` (−log π_θ of
        what was sampled); ``ratio``, mean ρ = π_θ / π_engine; ``ess``, effective sample size as a
        share, (Σρ)² / (N Σρ²); ``engine_kl``, k3 estimate of KL(π_engine ‖ π_θ).
        """
        mine = self.todo.ranks[dist.get_rank()]
        if ALGORITHMS[self.cfg.algorithm].implicit_reward:
            self._find_process_advantages(mine)
        sums = self._accumulate(mine)
        dist.all_reduce(sums)
        means = dict(zip(WATCHED, (sums / self.todo.tokens).tolist(), strict=True))
        means["loss"] *= self.todo.tokens
        squared = means.pop("ratio_squared")
        return means | {"ess": means["ratio"] ** 2 / squared if squared else 0.0}

    def _accumulate(self, mine: Sequence[MicroBatch]) -> Tensor:
        """Makes the passes. The ranks synchronise in the last backward pass, so before it they tell
        each other whether one of them ran out of memory.

        At stages 2 and 3 the ranks synchronise in every pass. There a rank that runs out of memory
        ends the trainer, because the other ranks wait for it already.
        """
        alone, trouble = dist.get_world_size() == 1, ""
        sums = torch.zeros(len(WATCHED), device=self.engine.device)
        try:
            for micro in mine[:-1]:
                self.engine.set_gradient_accumulation_boundary(False)
                sums += self._pass(micro)
            self.engine.set_gradient_accumulation_boundary(True)
            if alone:
                return sums + self._pass(mine[-1])
            last, watched = self._forward(mine[-1])
        except RuntimeError as error:
            if not ran_out(error) or (not alone and self.cfg.zero_stage >= 2):
                raise
            trouble = str(error)  # the error itself would keep its graph alive
        trouble_anywhere = torch.tensor(float(bool(trouble)), device=self.engine.device)
        dist.all_reduce(trouble_anywhere)
        if trouble_anywhere.item():
            self._close(mine)
            raise OutOfMemory(trouble or "another rank")
        self._backward(mine[-1], last)
        return sums + mine[-1].weight * watched

    def _pass(self, micro: MicroBatch) -> Tensor:
        loss, watched = self._forward(micro)
        self._backward(micro, loss)
        return micro.weight * watched

    def _close(self, mine: Sequence[MicroBatch]) -> None:
        """Ends an accumulation after an error. ZeRO returns the gradients, which must be set to
        zero, only after it reduced them."""
        least = min(mine, key=lambda micro: micro.cost)
        self.engine.set_gradient_accumulation_boundary(True)
        loss, _ = self._forward(replace(least, completions=least.completions[-1:]))
        self.engine.backward(loss * 0.0)

    def _backward(self, micro: MicroBatch, loss: Tensor) -> None:
        # Multiply by the ranks: DeepSpeed averages over them, but weights are for the whole batch.
        self.engine.backward(loss * (micro.weight * dist.get_world_size()))

    def _forward(self, micro: MicroBatch) -> tuple[Tensor, Tensor]:
        """The weighted loss of a micro-batch, and the sums [6] of the metrics in WATCHED."""
        algorithm = ALGORITHMS[self.cfg.algorithm]
        # Score the reference first: the adapter must not be switched off while a graph waits for
        # its backward pass.
        ref = None
        if self.cfg.kl or algorithm.implicit_reward:
            ref = self._score_without_graph(micro, None)
        extra: Tensor | float = 0.0
        if algorithm.implicit_reward and ref is not None:
            # The reward model learns from the same pseudo-labels, in the same step.
            phi, _ = self._score(micro, REWARD_MODEL)
            labels_B = self._tensor(float(c.reward > 0) for c in micro.completions)
            scored = self._tokens(micro, phi, ref, None)
            losses_B = prime.reward_model_loss(scored, labels_B, self.cfg.prime_beta)
            extra = losses_B.sum() / self.todo.completions
        logp, value = self._score(micro, "default")
        tokens = self._tokens(micro, logp, ref if self.cfg.kl else None, value)
        loss_N = algorithm.loss(tokens, algorithm.knobs(self.cfg))
        weight_N = self._tensor(c.weight for c in micro.completions for _ in c.token_ids)
        loss = (loss_N * weight_N).sum() + extra
        return loss, _watch(loss, tokens)

    def _tokens(
        self, micro: MicroBatch, logp: Tensor, ref: Tensor | None, value: Tensor | None
    ) -> Tokens:
        old = self._tensor(chain.from_iterable(c.old_logprobs for c in micro.completions))
        advantage = self._tensor(c.advantage for c in micro.completions for _ in c.token_ids)
        if self.process:
            added = chain.from_iterable(self.process[c.key] for c in micro.completions)
            advantage = advantage + self._tensor(added)
        lengths = self._tensor(len(c.token_ids) for c in micro.completions)
        return Tokens(logp, old, advantage, lengths, ref, value)

    def _tensor(self, numbers: Iterable[float]) -> Tensor:
        return torch.tensor(list(numbers), device=self.engine.device)

    def _score(self, micro: MicroBatch, adapter: str | None) -> Any:
        completions = [completion.token_ids for completion in micro.completions]
        # Decide once for the step: at stage 3 all ranks must run the same layers. Never for the
        # reward model: the backward pass would rerun its layers under the policy's adapter.
        everything = chain.from_iterable(self.todo.ranks)
        again = adapter != REWARD_MODEL and any(map(self.room.checkpointed, everything))
        return self.engine(micro.prompt, completions, micro.temperature, adapter, again)

    def _score_without_graph(self, micro: MicroBatch, adapter: str | None) -> Tensor:
        with torch.no_grad():
            logp: Tensor = self._score(micro, adapter)[0]
        return logp

    def _find_process_advantages(self, mine: Sequence[MicroBatch]) -> None:
        """Fills ``process``. A baseline needs the whole group, and a group's completions may be on
        several ranks."""
        found: Rows = {}
        for micro in mine:
            ref = self._score_without_graph(micro, None)
            phi = self._score_without_graph(micro, REWARD_MODEL)
            lengths = [len(c.token_ids) for c in micro.completions]
            rows_T = (self.cfg.prime_beta * (phi - ref)).split(lengths)
            keys = (completion.key for completion in micro.completions)
            found.update(zip(keys, (row_T.tolist() for row_T in rows_T), strict=True))
        everywhere: list[Rows] = [{}] * dist.get_world_size()
        dist.all_gather_object(everywhere, found)
        rewards = dict(chain.from_iterable(rank.items() for rank in everywhere))
        groups: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for key in rewards:
            groups[key[0]].append(key)
        for keys_G in groups.values():
            rows = prime.process_advantages([rewards[key] for key in keys_G])
            self.process.update(zip(keys_G, rows, strict=True))


def _watch(loss: Tensor, tokens: Tokens) -> Tensor:
    with torch.no_grad():
        gap = tokens.logp - tokens.old
        ratio = torch.exp(gap)
        penalty = loss.new_zeros(()) if tokens.ref is None else k3(tokens.logp, tokens.ref).sum()
        ratios = [ratio.sum(), ratio.square().sum(), (ratio - 1 - gap).sum()]
        return torch.stack([loss.detach(), penalty, -tokens.logp.sum(), *ratios])
