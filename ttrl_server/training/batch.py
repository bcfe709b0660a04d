"""Cuts a leased batch into micro-batches, and decides which rank runs which micro-batch, in what
order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ttrl_server.settings.sections import TrainConfig
from ttrl_server.training.algorithms import ALGORITHMS
from ttrl_server.types import Batch


@dataclass(frozen=True, slots=True)
class Completion:
    """One rollout that is used for training."""

    token_ids: tuple[int, ...]
    """[T]"""
    old_logprobs: tuple[float, ...]
    """[T] log-probabilities from the engine, nats at the sampling temperature."""
    advantage: float
    reward: float
    weight: float = 0.0
    """Weight of each token of this completion in the loss of the batch."""
    key: tuple[int, int] = (0, 0)
    """(Index of the group in the batch, index of this completion in the group)."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Completions of one prompt that share a forward and a backward pass."""

    prompt: tuple[int, ...]
    """[P]"""
    completions: tuple[Completion, ...]
    temperature: float
    weight: float = 1.0
    """0 for a filler pass, which only makes the number of passes equal on all ranks."""

    @property
    def tokens(self) -> int:
        return sum(len(completion.token_ids) for completion in self.completions)

    @property
    def cost(self) -> int:
        """Tokens the model runs: the prompt once, all completions padded to the longest one."""
        longest = max(len(completion.token_ids) for completion in self.completions)
        return len(self.prompt) + len(self.completions) * longest


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of one optimiser step for all ranks; every rank computes the same plan."""

    ranks: tuple[tuple[MicroBatch, ...], ...]
    """[W][B] micro-batches of each rank, B on every rank; B is 0 when nothing can be learned."""
    tokens: int
    """Completion tokens of the whole batch."""
    completions: int
    groups: int
    groups_skipped: int


def plan(batch: Batch, cfg: TrainConfig, ranks: int, *, budget: int | None = None) -> Plan:
    """Cuts a batch into micro-batches and assigns them to ``ranks``.

    Groups without an advantage are left out. ``budget`` is the most tokens of one pass; the default
    is ``train.micro_batch_tokens``.
    """
    groups, budget = learnable(batch, cfg), budget or cfg.micro_batch_tokens
    micro_batches = [micro for group in groups for micro in _cut(group, budget)]
    # Assign the costliest micro-batch first, each to the rank with the least work so far.
    hands: list[list[MicroBatch]] = [[] for _ in range(ranks)]
    for micro in sorted(micro_batches, key=lambda micro: micro.cost, reverse=True):
        min(hands, key=lambda hand: sum(dealt.cost for dealt in hand)).append(micro)
    # Ranks with fewer passes get filler passes of weight 0: all ranks make equally many passes.
    if micro_batches:
        cheapest = min(micro_batches, key=lambda micro: micro.cost)
        filler = replace(cheapest, completions=cheapest.completions[-1:], weight=0.0)
        passes = max(map(len, hands))
        for hand in hands:
            hand.extend([filler] * (passes - len(hand)))
    return Plan(
        ranks=tuple(map(tuple, hands)),
        tokens=sum(micro.tokens for micro in micro_batches),
        completions=sum(len(micro.completions) for micro in micro_batches),
        groups=len(groups),
        groups_skipped=len(batch.experiences) - len(groups),
    )


def learnable(batch: Batch, cfg: TrainConfig) -> list[MicroBatch]:
    """Returns one micro-batch per group: the rollouts that train, with advantages and weights.
    Groups whose rewards are all the same are left out."""
    algorithm = ALGORITHMS[cfg.algorithm]
    differing = [e for e in batch.experiences if len(set(e.rewards)) > 1]
    advantages = algorithm.advantages([e.rewards for e in differing], cfg.std_normalise)
    groups = []
    for place, (experience, advantages_G) in enumerate(zip(differing, advantages, strict=True)):
        group = experience.group
        # Not strict: rollouts after the first G only vote and do not train.
        triples = zip(group.rollouts, advantages_G, experience.rewards, strict=False)
        trained = tuple(
            Completion(rollout.token_ids, rollout.logprobs, advantage, reward, key=(place, index))
            for index, (rollout, advantage, reward) in enumerate(triples)
            if rollout.token_ids
        )
        groups.append(MicroBatch(group.prompt_token_ids, trained, group.temperature))
    groups = [group for group in groups if group.completions]
    tokens, completions = sum(g.tokens for g in groups), sum(len(g.completions) for g in groups)
    how = algorithm.aggregate if cfg.aggregate == "auto" else cfg.aggregate

    def weighed(completion: Completion) -> Completion:
        if how == "token":
            return replace(completion, weight=1 / tokens)
        length = len(completion.token_ids) if how == "sequence" else cfg.aggregate_length
        return replace(completion, weight=1 / (completions * length))

    return [replace(group, completions=tuple(map(weighed, group.completions))) for group in groups]


def _cut(group: MicroBatch, budget: int) -> Iterator[MicroBatch]:
    """Sorts completions, longest first, and cuts them so that the model runs the fewest tokens.

    Each micro-batch has at least one completion. Each runs the prompt again and pads completions to
    its longest one. Dynamic programming finds the exact minimum, from the cheapest cuts of each
    shorter list.
    """
    ordered = sorted(group.completions, key=lambda c: len(c.token_ids), reverse=True)
    cheapest, begins = [0], [0]
    for end in range(1, len(ordered) + 1):
        ways: list[tuple[int, int]] = []
        for begin in range(end - 1, -1, -1):
            cost = len(group.prompt) + (end - begin) * len(ordered[begin].token_ids)
            if ways and cost > budget:
                break
            ways.append((cheapest[begin] + cost, begin))
        cost, begin = min(ways)
        cheapest.append(cost)
        begins.append(begin)
    end = len(ordered)
    while end:
        yield replace(group, completions=tuple(ordered[begins[end] : end]))
        end = begins[end]
