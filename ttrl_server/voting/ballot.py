"""Counts the votes of one question while samples arrive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from statistics import multimode

from ttrl_server.answers import Asked, Asking, Reading, asked, read, read_calls
from ttrl_server.answers.equations import check
from ttrl_server.answers.keys import Key, key, shared
from ttrl_server.types import Rollout, Stopped, StopRule, Vote, Weighting
from ttrl_server.voting import stopping
from ttrl_server.voting.tally import VERIFIED, by_fields, confidence, vote, weight

VOTABLE_SHARE = 0.5
"""Least share of the first wave's finished samples with an answer; else it is unvotable."""

Labels = list[str | None]
"""[M] the key of each sample's answer, equal for equal answers; None for a sample without one."""


class Ballot:
    """The votes of one question. Samples may be added in any order; results use index order.

    Where some samples call tools and others answer, it is voted first whether to call: only the
    samples of the winning kind can win, and all count for the shares. Not thread-safe.
    """

    def __init__(self, question: Asking = None, *, weighting: Weighting = "uniform") -> None:
        """``question``: its text, or what else it asks for, for the kind of answer."""
        self.asked: Asked = asked(question)
        self._weighting = weighting
        self._rollouts: dict[int, Rollout] = {}
        self._readings: dict[int, Reading] = {}
        self._keys: dict[str, Key | None] = {}
        self._verified: dict[int, float] = {}

    def add(self, rollout: Rollout) -> None:
        self._rollouts[rollout.index] = rollout

    @property
    def rollouts(self) -> tuple[Rollout, ...]:
        """The rollouts added so far, ascending by index."""
        return tuple(self._rollouts[index] for index in sorted(self._rollouts))

    def count(self, stopped: Stopped = "full") -> Vote:
        """The vote over the samples added so far."""
        keys, _ = self._labels()
        confidences = [confidence(rollout) for rollout in self.rollouts]
        found = vote(self._answers(), confidences, stopped, keys=keys, weights=self._weights())
        if self.asked.wanted.fields and found.clusters:
            return by_fields(found, confidences)
        return found if found.clusters else replace(found, chosen=self.first)

    @property
    def first(self) -> int:
        """Position of the first sample that does what most do: calls tools, or answers."""
        kinds = self._kinds()
        if "calls" not in kinds:
            return 0
        return kinds.index(max(("calls", "talks"), key=kinds.count))

    def _kinds(self) -> Labels:
        """[M] whether a sample calls tools or talks; None for one that was cut off, or whose calls
        are broken."""
        answers = self._answers()
        return [
            ("calls" if answer else None)
            if rollout.calls
            else ("talks" if rollout.finish_reason == "stop" else None)
            for rollout, answer in zip(self.rollouts, answers, strict=True)
        ]

    def decided(self, rule: StopRule, level: float, total: int) -> bool:
        """Whether ``rule`` ends this vote of ``total`` samples.

        A value without a unit takes the unit that other samples give. A later sample may give
        another unit. So the same answer must lead with these units and without them.
        """
        kinds = self._kinds()
        if self.asked.wanted.fields:  # the winner is no cluster that could be ahead of others
            return False
        if len({*kinds} - {None}) > 1 and not stopping.decided(rule, level, kinds, total):
            return False
        labels, strict = self._labels()
        if labels != strict and self._leaders(labels).isdisjoint(self._leaders(strict)):
            return False
        if rule == "exact" and (weights := self._weights()):
            return all(stopping.settled(weights, found, total) for found in (labels, strict))
        return all(stopping.decided(rule, level, found, total) for found in (labels, strict))

    def _weights(self) -> list[float] | None:
        """[M] how much each vote counts; None where all count the same."""
        if self._weighting == "confidence":
            return [weight(confidence(rollout)) for rollout in self.rollouts]
        if self._weighting == "verified":
            for index in self._rollouts.keys() - self._verified.keys():
                self._verified[index] = VERIFIED[check(self._rollouts[index].text)]
            return [self._verified[index] for index in sorted(self._rollouts)]
        return None

    @staticmethod
    def _leaders(labels: Labels) -> set[int]:
        """Indices of the samples with the most frequent answer; several answers may tie."""
        most = multimode(label for label in labels if label is not None)
        return {place for place, label in enumerate(labels) if label in most}

    def needed(self, rule: StopRule, level: float, total: int) -> int:
        """The smallest number of further samples after which ``rule`` can end the vote."""
        return stopping.needed(rule, level, self._labels()[0], total)

    def votable(self) -> bool:
        """Whether enough finished samples have an answer that can be compared. Prose has numbers
        too: one inside a longer text counts only if several samples agree on it."""
        labels, _ = self._labels()
        strengths = [self._readings[rollout.index].strength for rollout in self.rollouts]
        answers = sum(
            label is not None and (strength != "number" or labels.count(label) > 1)
            for strength, label in zip(strengths, labels, strict=True)
        )
        finished = sum(rollout.finish_reason == "stop" for rollout in self.rollouts)
        return answers > 0 and answers >= VOTABLE_SHARE * finished

    def _answers(self) -> Labels:
        """The answer of each sample, by index. Reads rollouts that are not read yet."""
        for index in self._rollouts.keys() - self._readings.keys():
            rollout = self._rollouts[index]
            self._readings[index] = (
                read_calls(rollout.calls, self.asked)
                if rollout.calls
                else read(rollout.text, rollout.finish_reason, self.asked)
            )
        return [self._readings[index].answer for index in sorted(self._rollouts)]

    def _labels(self) -> tuple[Labels, Labels]:
        """The keys as they are counted (a value may take the unit of others), and without this;
        none for a sample that does not do what most do."""
        answers = self._answers()
        for answer in answers:
            if answer is not None and answer not in self._keys:
                self._keys[answer] = key(answer, self.asked)
        counted = shared(self._keys)
        strict = {answer: found and found.full for answer, found in self._keys.items()}
        kinds, first = self._kinds(), self.first
        other = {"calls": "talks", "talks": "calls"}.get(kinds[first] or "") if kinds else None
        able = [None if k and k == other else a for a, k in zip(answers, kinds, strict=True)]
        return [a and counted[a] for a in able], [a and strict[a] for a in able]


def vote_over(rollouts: Iterable[Rollout], question: str | None = None) -> Vote:
    """The vote over finished rollouts, which may be in any order."""
    ballot = Ballot(question)
    for rollout in rollouts:
        ballot.add(rollout)
    return replace(ballot.count(), requested=len(ballot.rollouts))
