"""Attractors: what wins a form's questions because of how they are worded, and not because it is
right.

An echo is a winner that stands in its question (18 − 1 → 18). Another attractor is one answer to
all questions of a form. Votes teach either of them like any other label, one question pulls the
others of its form along, and in the end the model is unanimous and wrong. So a suspicion looks at a
form and not at a question: of the two newest versions' winners more are echoes, or the same, than
of those before. Answers may well stand in their questions (the larger of two numbers), and traffic
changes: the suspicion is confirmed only where the base model does not answer the same questions so.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from ttrl_server.answers import echoes
from ttrl_server.promotion.canaries import Canary, form
from ttrl_server.promotion.trials import contrast
from ttrl_server.types import Group, Sampling, Vote, question_key

FORMS, GROUPS = 512, 64
"""Most forms that are kept, and groups of each."""
LEAST = 6
"""Fewest questions of the two newest versions for a suspicion."""
MAJORITY = 0.5
"""Least mean share of their winners: an attractor is sure of itself."""
LEAP_Z = 2.0
"""Standard errors by which the winners must have changed, and must differ from the base model's."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One group of a form."""

    canary: Canary
    key: str
    version: int
    winner: str
    share: float
    trains: bool


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A form whose winners changed."""

    form: str
    winner: str | None
    """The one answer; None: any echo."""
    asked: tuple[Canary, ...]
    before: int
    """The newest version to go back to: it drew the first of these labels that was trained on, and
    its own winners are not mostly of this kind."""

    def attracted(self, winner: str | None, text: str | None) -> bool:
        """Whether a winner is of the kind that is suspected."""
        return winner == self.winner if self.winner is not None else echoes(winner, text)

    def is_of(self, base: Sequence[str | None], served: Sequence[str | None]) -> bool:
        """Whether the winners of ``served`` are of this kind and the base model's, for the same
        questions, are not."""
        ours, theirs = (
            [
                float(self.attracted(answer, canary.text))
                for answer, canary in zip(said, self.asked, strict=True)
            ]
            for said in (base, served)
        )
        return contrast([ours], [theirs]).z > LEAP_Z

    def __str__(self) -> str:
        what = f"{self.winner!r} to all" if self.winner is not None else "words of the question"
        like = f"{len(self.asked)} questions like {str(self.asked[-1].text)[:80]!r}"
        return f"{like} are answered with {what}"


class Attractors:
    """The latest winners of each form; what was confirmed is withheld as a label from then on."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, deque[Seen]] = OrderedDict()
        self.withheld: dict[tuple[str, str | None], Suspicion] = {}
        """By form and answer (None: echoes)."""
        self._cleared: dict[tuple[str, str | None], int] = {}
        """Groups of the form that were seen when a suspicion was not confirmed."""
        self._count: Counter[str] = Counter()

    def withholds(self, vote: Vote, text: str | None) -> bool:
        """Whether the group's label must not be taught."""
        said, like = vote.pseudo_label, form(text)
        found = (self.withheld.get((like, key)) for key in (None, said))
        return any(each.attracted(said, text) for each in found if each)

    def see(self, group: Group, vote: Vote, text: str | None, *, trains: bool) -> None:
        """Notes a group that was voted on."""
        if not text or vote.pseudo_label is None or not group.rollouts:
            return
        like, longest = form(text), max(len(rollout.token_ids) for rollout in group.rollouts)
        canary = Canary(group.prompt_token_ids, Sampling(group.temperature, 2 * longest), text)
        key, share = question_key(group.prompt_token_ids), vote.majority_ratio or 0.0
        seen = self._seen.setdefault(like, deque(maxlen=GROUPS))
        seen.append(Seen(canary, key, group.version, vote.pseudo_label, share, trains))
        self._count[like] += 1
        self._seen.move_to_end(like)
        if len(self._seen) > FORMS:
            del self._count[self._seen.popitem(last=False)[0]]

    def suspicion(self) -> Suspicion | None:
        """What the form that was seen last shows; None when it shows nothing."""
        if not self._seen:
            return None
        like = next(reversed(self._seen))
        seen = self._seen[like]
        newest = sorted({each.version for each in seen} - {0})[-2:]
        now = {each.key: each for each in seen if each.version in newest}
        then = {each.key: each for each in reversed(seen) if each.version not in newest}
        sure = sum(each.share for each in now.values()) / max(1, len(now))
        if len(now) < LEAST or len(then) < LEAST // 2 or sure < MAJORITY:
            return None
        (one, _), *_ = Counter(each.winner for each in now.values()).most_common(1)

        def echo(each: Seen) -> bool:
            return echoes(each.winner, each.canary.text)

        def same(each: Seen) -> bool:
            return each.winner == one

        for winner, is_one in ((None, echo), (one, same)):
            before, after = ([float(is_one(s)) for s in side.values()] for side in (then, now))
            mostly = sum(after) > len(after) / 2
            waits = self._count[like] < 2 * self._cleared.get((like, winner), 0)
            known = (like, winner) in self.withheld
            if not (mostly and not waits and not known and contrast([before], [after]).z > LEAP_Z):
                continue
            taught = [each.version for each in seen if each.trains and is_one(each)]
            of_version = {v: [is_one(s) for s in seen if s.version == v] for v in newest}
            lost = (v - 1 for v, found in of_version.items() if 2 * sum(found) > len(found))
            asked_now = tuple(each.canary for each in now.values())
            return Suspicion(like, winner, asked_now, min([*taught, *lost], default=0))
        return None

    def withhold(self, found: Suspicion) -> None:
        """From now on no label of this kind is taught for the form; what was seen is forgotten."""
        self.withheld[found.form, found.winner] = found
        self._seen.pop(found.form, None)

    def clear(self, found: Suspicion) -> None:
        """The base model answers so too: no suspicion until twice as much was seen."""
        self._cleared[found.form, found.winner] = self._count[found.form]
