"""From a leased batch to micro-batches: who runs which completions, in what order, on which rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ttrl_server.sections import TrainConfig
from ttrl_server.training.algorithms import grpo
from ttrl_server.types import Batch, Experience


@dataclass(frozen=True, slots=True)
class Completion:
    """One rollout that trains."""

    token_ids: tuple[int, ...]
    """[T]"""
    old_logprobs: tuple[float, ...]
    """[T] the engine's, nats at the sampling temperature."""
    advantage: float


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Completions of one prompt that share a forward and a backward pass."""

    prompt: tuple[int, ...]
    """[P]"""
    completions: tuple[Completion, ...]
    temperature: float
    weight: float = 1.0
    """0 for a pass that only keeps the ranks in step."""

    @property
    def tokens(self) -> int:
        return sum(len(completion.token_ids) for completion in self.completions)

    @property
    def cost(self) -> int:
        """Tokens the model runs: the prompt once, completions padded to the longest."""
        return len(self.prompt) + len(self.completions) * max(len(c.token_ids) for c in self.completions)


@dataclass(frozen=True, slots=True)
class Plan:
    """One optimiser step, the same on every rank."""

    ranks: tuple[tuple[MicroBatch, ...], ...]
    """[W][B] equally many micro-batches a rank; B is 0 when nothing can be learned."""
    tokens: int
    """Completion tokens of the whole batch, the denominator of the token mean."""
    groups: int
    groups_skipped: int


def plan(batch: Batch, cfg: TrainConfig, ranks: int) -> Plan:
    """Cuts a batch into micro-batches and deals them to ``ranks``; groups without an advantage never get in."""
    groups = [group for experience in batch.experiences if (group := _learnable(experience, cfg))]
    micro_batches = [micro for group in groups for micro in _cut(group, cfg.micro_batch_tokens)]
    return Plan(
        ranks=_deal(micro_batches, ranks),
        tokens=sum(micro.tokens for micro in micro_batches),
        groups=len(groups),
        groups_skipped=len(batch.experiences) - len(groups),
    )


def learnable_completions(experience: Experience, std_normalise: bool) -> tuple[Completion, ...]:
    """The rollouts of a group that train, with their advantages; empty when every advantage is zero."""
    advantages = grpo.advantages(experience.rewards, std_normalise)
    if len(set(experience.rewards)) < 2:
        return ()
    rollouts = experience.group.rollouts[: len(advantages)]
    pairs = zip(rollouts, advantages, strict=True)
    return tuple(Completion(r.token_ids, r.logprobs, advantage) for r, advantage in pairs if r.token_ids)


def _learnable(experience: Experience, cfg: TrainConfig) -> MicroBatch | None:
    completions = learnable_completions(experience, cfg.std_normalise)
    group = experience.group
    return MicroBatch(group.prompt_token_ids, completions, group.temperature) if completions else None


def _cut(group: MicroBatch, budget: int) -> Iterator[MicroBatch]:
    """Completions by length, longest first, cut where the model runs the fewest tokens; at least one a micro-batch.

    A piece pays for its prompt again and for padding to its longest: the cheapest cuts are found exactly, from the
    cheapest ways to cut each shorter list.
    """
    ordered = sorted(group.completions, key=lambda completion: len(completion.token_ids), reverse=True)
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


def _deal(micro_batches: Sequence[MicroBatch], ranks: int) -> tuple[tuple[MicroBatch, ...], ...]:
    """Costliest first to the rank with least to do; short ranks are filled up with a weightless pass."""
    hands: list[list[MicroBatch]] = [[] for _ in range(ranks)]
    for micro in sorted(micro_batches, key=lambda micro: micro.cost, reverse=True):
        min(hands, key=lambda hand: sum(dealt.cost for dealt in hand)).append(micro)
    passes = max(len(hand) for hand in hands)
    if passes:
        cheapest = min(micro_batches, key=lambda micro: micro.cost)
        filler = replace(cheapest, completions=cheapest.completions[-1:], weight=0.0)
        for hand in hands:
            hand.extend([filler] * (passes - len(hand)))
    return tuple(map(tuple, hands))
