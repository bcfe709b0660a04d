"""Counts the votes of one question while samples arrive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from statistics import multimode

from ttrl_server.answers import Asked, Reading, asked, read
from ttrl_server.answers.equations import check
from ttrl_server.answers.keys import Key, key, shared
from ttrl_server.types import Rollout, Stopped, StopRule, Vote, Weighting
from ttrl_server.voting import stopping
from ttrl_server.voting.tally import VERIFIED, confidence, vote, weight

VOTABLE_SHARE = 0.5
"""Least share of the first wave's finished samples with an answer; else it is unvotable."""

Labels = list[str | None]
"""[M] the key of each sample's answer, equal for equal answers; None for a sample without one."""


class Ballot:
    """The votes of one question. Samples may be added in any order; results use index order.

    ``question``: the text, for the kind of answer it asks for. Not thread-safe.
    """

    def __init__(self, question: str | None = None, *, weighting: Weighting = "uniform") -> None:
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
        weights = self._weights()
        return vote(self._answers(), confidences, stopped, keys=keys, weights=weights)

    def decided(self, rule: StopRule, level: float, total: int) -> bool:
        """Whether ``rule`` ends this vote of ``total`` samples.

        A value without a unit takes the unit that other samples give. A later sample may give
        another unit. So the same answer must lead with these units and without them.
        """
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
            self._readings[index] = read(rollout.text, rollout.finish_reason, self.asked)
        return [self._readings[index].answer for index in sorted(self._rollouts)]

    def _labels(self) -> tuple[Labels, Labels]:
        """The keys as they are counted (a value may take the unit of others), and without this."""
        answers = self._answers()
        for answer in answers:
            if answer is not None and answer not in self._keys:
                self._keys[answer] = key(answer, self.asked)
        counted = shared(self._keys)
        strict = {answer: found and found.full for answer, found in self._keys.items()}
        return [a and counted[a] for a in answers], [a and strict[a] for a in answers]


def vote_over(rollouts: Iterable[Rollout], question: str | None = None) -> Vote:
    """The vote over finished rollouts, which may be in any order."""
    ballot = Ballot(question)
    for rollout in rollouts:
        ballot.add(rollout)
    return replace(ballot.count(), requested=len(ballot.rollouts))
