"""How likely a winner is right, from what learning cannot inflate.

A model that learns from its own votes comes to agree with itself, right or wrong: the more was
learned, the less its share of the votes says. So the confidence is

    ½ · (share of the votes + share of the base model's samples) · (1 − same/2) · (1 − echo/3)

with both shares taken among the samples that answer, half a sample added on both sides. A frozen
base weighs labels in RESTRAIN (arXiv 2510.02172). ``same``: which share of the other questions of
the form (numbers, names and quoted words masked) has the same winner. ``echo``: 1 where the winner
stands in its own question. ``python -m experiments.confidence`` measures what it is worth, beside
the plain shares; docs/decisions.md says what else was tried.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from statistics import mean
from threading import Lock

from ttrl_server.answers import Asking, asked, echoes, form, keys, text_of
from ttrl_server.types import Vote

FORMS, QUESTIONS = 256, 16
"""Most forms that are remembered, and the latest questions of each."""
LEAST, CONSTANT = 6, 0.9
"""Fewest questions of a form, and the least share with one winner, to call the form constant."""
DOUBT = 2
"""Questions with another winner that are added to a form: one or two that agree say little."""
SAME, ECHO = 1 / 2, 1 / 3
"""What is taken off where all questions of a form have one winner (a coin has half of two answers),
and off an echo."""


@dataclass(frozen=True, slots=True)
class Alike:
    """A winner beside those of the other questions of its form, and beside the base model's."""

    same: float = 0.0
    """Share of them with the same winner as this question."""
    constant: bool = False
    """Nearly all have one winner: labels of this form say nothing of a question."""
    known: float = 1.0
    """Mean over the form's latest winners of their share in the base model's answers; 1 where too
    few of them were asked."""
    support: float = 1.0
    """As in ``Anchored``, where the base model was asked."""
    unread: bool = False
    """The winner stands in its question and wins the opposite question too (guard.opposite)."""
    agreed: bool = True
    """The winner also wins in other words, where they were asked (guard.wording)."""


ALONE = Alike()


class Forms:
    """The winners of the latest questions, by form. Thread-safe."""

    def __init__(self) -> None:
        self._noting = Lock()
        self._winners: OrderedDict[str, OrderedDict[bytes, tuple[str, float | None]]] = (
            OrderedDict()
        )

    def note(self, wanted: Asking, winner: str | None, base: float | None = None) -> Alike:
        """Notes a question, what won it, and its share in the base model's answers."""
        text = text_of(wanted)
        if not text or winner is None:
            return ALONE
        like, question = form(text), blake2b(text.encode("utf-8", "surrogatepass")).digest()
        own = key_of(winner, wanted)
        with self._noting:
            known = self._winners.setdefault(like, OrderedDict())
            known.pop(question, None)
            others = [winner for winner, _ in known.values()]
            known[question] = own, base
            self._winners.move_to_end(like)
            for full, most in ((known, QUESTIONS), (self._winners, FORMS)):
                if len(full) > most:
                    full.popitem(last=False)
            shares = [share for _, share in known.values() if share is not None]
        counts = Counter([*others, own])
        constant = len(others) >= LEAST and max(counts.values()) >= CONSTANT * counts.total()
        same = others.count(own) / (len(others) + DOUBT)
        return Alike(same, constant, mean(shares) if len(shares) > LEAST else 1.0)


def key_of(answer: str, wanted: Asking) -> str:
    """The answer's key: equal for equal answers to questions of one kind."""
    return keys({answer}, asked(wanted))[answer] or answer


@dataclass(frozen=True, slots=True)
class Anchored:
    """What the base model's answers to a question say of its winner."""

    votes: float
    """The winner's share of the votes that answer, half a sample added on both sides."""
    base: float
    """The same of the base model's samples."""
    base_ratio: float
    """The winner's share of all of the base model's samples."""
    base_share: float | None
    """Its share of those that answer; None where none does."""
    support: float
    """The same beside that of the base model's own winner; 1 where it answers nothing."""
    echo: bool
    """The winner stands in its question."""

    def confidence(self, alike: Alike = ALONE) -> float:
        """The probability, in (0, 1), that the winner is right."""
        plain = (self.votes + self.base) / 2
        return plain * (1 - SAME * alike.same) * (1 - ECHO * self.echo)


def anchored(vote: Vote, base: Sequence[str | None], wanted: Asking) -> Anchored:
    """The winner of ``vote`` beside the base model's answers ``base`` [K] to the same question."""
    given = {answer for answer in (*vote.answers, *base) if answer is not None}
    key = keys(given, asked(wanted))
    own = key[vote.pseudo_label or ""]
    votes, samples = ([key[a] for a in side if a is not None] for side in (vote.answers, base))
    of_votes, of_base = ((side.count(own) + 0.5) / (len(side) + 1) for side in (votes, samples))
    count, most = samples.count(own), max(Counter(samples).values(), default=0)
    return Anchored(
        of_votes,
        of_base,
        base_ratio=count / max(1, len(base)),
        base_share=count / len(samples) if samples else None,
        support=count / most if most else 1.0,
        echo=echoes(vote.pseudo_label, wanted),
    )


def agrees(vote: Vote, other: Sequence[str | None], wanted: Asking) -> bool:
    """Whether the winner of ``vote`` also wins ``other`` [K], answers to its question in other
    words; as an admission: Self-Harmony (arXiv 2511.01191)."""
    given = [answer for answer in other if answer is not None]
    key = keys({vote.pseudo_label or "", *given}, asked(wanted))
    counts = Counter(key[answer] for answer in given)
    own = counts[key[vote.pseudo_label or ""]]
    return 0 < own == max(counts.values(), default=0)
