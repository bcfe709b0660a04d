"""How likely a winner is right, from what learning cannot inflate.

A model that learns from its own votes comes to agree with itself, right or wrong: the more was
learned, the less its share of the votes says. So the share is weighed with what stays as it was, or
shows what went wrong: how many samples of the base model give the same answer (a frozen base weighs
labels in RESTRAIN, arXiv 2510.02172), whether the answer stands in its own question, and whether
other questions of the same form (numbers, names and quoted words masked) were won by it too.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from ttrl_server.answers import asked, echoes, form, keys
from ttrl_server.types import Vote

FORMS, QUESTIONS = 256, 16
"""Most forms that are remembered, and the latest questions of each."""
LEAST, CONSTANT = 6, 0.9
"""Fewest questions of a form, and the least share with one winner, to call the form constant."""
DOUBT = 2
"""Questions with another winner that are added to a form: one or two that agree say little."""
WEIGHTS = {"one": 1.33, "served": 0.51, "base": 0.46, "echo": -1.4, "same": -4.22}
"""Of a logistic regression (``python -m experiments.confidence``, docs/decisions.md)."""


@dataclass(frozen=True, slots=True)
class Alike:
    """What the other questions of a form were won by."""

    same: float = 0.0
    """Share of them with the same winner as this question."""
    constant: bool = False
    """Nearly all have one winner: labels of this form say nothing of a question."""


ALONE = Alike()


class Forms:
    """The winners of the latest questions, by form."""

    def __init__(self) -> None:
        self._winners: OrderedDict[str, OrderedDict[bytes, str]] = OrderedDict()

    def note(self, text: str | None, winner: str | None) -> Alike:
        """Notes a question and what won it."""
        if not text or winner is None:
            return ALONE
        like, question = form(text), blake2b(text.encode("utf-8", "surrogatepass")).digest()
        known = self._winners.setdefault(like, OrderedDict())
        known.pop(question, None)
        others, own = list(known.values()), key_of(winner, text)
        known[question] = own
        self._winners.move_to_end(like)
        for full, most in ((known, QUESTIONS), (self._winners, FORMS)):
            if len(full) > most:
                full.popitem(last=False)
        counts = Counter([*others, own])
        constant = len(others) >= LEAST and max(counts.values()) >= CONSTANT * counts.total()
        return Alike(others.count(own) / (len(others) + DOUBT), constant)


def key_of(answer: str, text: str | None) -> str:
    """The answer's key: equal for equal answers to questions of one kind."""
    return keys({answer}, asked(text))[answer] or answer


def features(
    vote: Vote, base: Sequence[str | None], text: str | None, alike: Alike
) -> dict[str, float]:
    """What the confidence in the winner depends on, by the names of ``WEIGHTS``, and its share of
    the base model's answers ``base`` [K]."""
    given = {answer for answer in (vote.pseudo_label, *base) if answer is not None}
    key = keys(given, asked(text))
    own = key[vote.pseudo_label or ""]
    agree = sum(answer is not None and key[answer] == own for answer in base)
    won = round((vote.majority_ratio or 0.0) * len(vote.answers))
    return {
        "one": 1.0,
        "served": _log_odds(won, len(vote.answers)),
        "base": _log_odds(agree, len(base)),
        "echo": float(echoes(vote.pseudo_label, text)),
        "same": alike.same,
        "base_ratio": agree / max(1, len(base)),
    }


def confidence(found: dict[str, float]) -> float:
    """The probability, in (0, 1), that the winner is right, from its ``features``."""
    return 1 / (1 + math.exp(-math.fsum(WEIGHTS[name] * found[name] for name in WEIGHTS)))


def _log_odds(agree: int, of: int) -> float:
    """Of a share, half a sample added to both sides (Haldane 1956): finite at none and at all."""
    return math.log((agree + 0.5) / (of - agree + 0.5))
