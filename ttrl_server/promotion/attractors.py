"""Attractors: what wins a form's questions because of how they are worded, and not because it is
right.

An echo is a winner that stands in its question (18 − 1 → 18). Another attractor is one answer to
all questions of a form. Votes teach either of them like any other label, one question pulls the
others of its form along, and in the end the model is unanimous and wrong. So a suspicion looks at a
form and not at a question: of the two newest versions' winners more are echoes, or the same, than
of the questions that were seen first. Answers may well stand in their questions (the larger of two
numbers), and traffic changes: the suspicion is confirmed only where the base model gives other
answers to the same questions.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from ttrl_server.answers import Asking, echoes, form, text_of
from ttrl_server.promotion.canaries import Canary
from ttrl_server.promotion.trials import contrast
from ttrl_server.types import Group, Prompt, Sampling, Vote
from ttrl_server.voting.confidence import key_of

FORMS, QUESTIONS = 128, 16
"""Most forms that are kept, and questions of each: the first ones, and as many of the latest."""
LONGEST = 1000
"""Most tokens of a question that is looked at."""
LEAST, ANSWERED = 6, 4
"""Fewest questions of the two newest versions for a suspicion, and of these with an answer of the
base model for a confirmation."""
MAJORITY = 0.5
"""Least mean share of their winners: an attractor is sure of itself."""
LEAP_Z = 2.0
"""Standard errors by which the winners must have changed, and must differ from the base model's."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One group: its question's form, and what won."""

    question: str
    """The question's id."""
    form: str
    canary: Canary
    key: str
    version: int
    winner: str
    """The winner's key: equal answers have equal keys."""
    echo: bool
    share: float
    trains: bool = False


def read(group: Group, vote: Vote, prompt: Prompt) -> Seen | None:
    """The group as it is seen here; None where nothing won, or the question is too long. Reading
    takes milliseconds: call it in a thread."""
    said, wanted, ids = vote.pseudo_label, prompt.wanted, prompt.token_ids
    if not wanted or said is None or not group.rollouts or len(ids) > LONGEST:
        return None
    longest = max(len(rollout.token_ids) for rollout in group.rollouts)
    canary = Canary(prompt, Sampling(group.temperature, 2 * longest))
    share, echo = vote.majority_ratio or 0.0, echoes(said, wanted)
    own = group.question_id, form(wanted), canary, prompt.key, group.version
    return Seen(*own, key_of(said, wanted), echo, share)


@dataclass(slots=True)
class _Form:
    """What was seen of one form."""

    first: dict[str, Seen] = field(default_factory=dict)
    """The first of its questions, with what won them first."""
    latest: OrderedDict[str, Seen] = field(default_factory=OrderedDict)
    taught: dict[str | None, Seen] = field(default_factory=dict)
    """By winner (None: any echo): the oldest version's group that trains on it."""
    waiting: dict[str, Seen] = field(default_factory=dict)
    """Groups that train, by the question's id; the latest."""
    groups: int = 0


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A form whose winners changed."""

    form: str
    winner: str | None
    """The key of the one answer; None: any echo."""
    asked: tuple[Canary, ...]
    before: int
    """The newest version to go back to: it drew the first of these labels that was trained on, and
    its own winners are not mostly of this kind."""
    taught: tuple[str, ...]
    """Ids of the questions whose labels of this kind train, or have trained."""

    def is_of(self, base: Sequence[str | None], served: Sequence[str | None]) -> bool:
        """Whether the winners of ``served`` are of this kind and the base model's, for the same
        questions, are not. A question that one of them does not answer says nothing."""
        told = zip(base, served, self.asked, strict=True)
        pairs = [(b, s, c.prompt.wanted) for b, s, c in told if b is not None and s is not None]
        if len(pairs) < ANSWERED:
            return False
        ours, theirs = (
            [float(self._attracts(answer, wanted)) for answer, wanted in side]
            for side in ([(b, t) for b, _, t in pairs], [(s, t) for _, s, t in pairs])
        )
        return contrast([ours], [theirs]).z > LEAP_Z

    def _attracts(self, answer: str, wanted: Asking) -> bool:
        echo = self.winner is None
        return echoes(answer, wanted) if echo else key_of(answer, wanted) == self.winner

    def __str__(self) -> str:
        what = f"{self.winner!r} to all" if self.winner is not None else "words of the question"
        like = (
            f"{len(self.asked)} questions like {str(text_of(self.asked[-1].prompt.wanted))[:80]!r}"
        )
        return f"{like} are answered with {what}"


class Attractors:
    """The winners of each form; what was confirmed is withheld as a label from then on."""

    def __init__(self, withheld: Collection[tuple[str, str | None]] = ()) -> None:
        """``withheld``: what was found before a restart."""
        self._forms: OrderedDict[str, _Form] = OrderedDict()
        self.withheld = set(withheld)
        """Form, and key of the answer (None: echoes)."""
        self._cleared: dict[tuple[str, str | None], int] = {}
        """Groups of the form that had been seen when a suspicion was not confirmed."""

    def withholds(self, seen: Seen) -> bool:
        """Whether the group's label must not be taught."""
        echo = seen.echo and (seen.form, None) in self.withheld
        return echo or (seen.form, seen.winner) in self.withheld

    def see(self, seen: Seen) -> None:
        """Notes a group that was voted on."""
        kept = self._forms.setdefault(seen.form, _Form())
        self._forms.move_to_end(seen.form)
        if len(self._forms) > FORMS:
            gone, _ = self._forms.popitem(last=False)
            self._cleared = {at: n for at, n in self._cleared.items() if at[0] != gone}
        kept.groups += 1
        if seen.key not in kept.first and len(kept.first) < QUESTIONS:
            kept.first[seen.key] = seen
        kept.latest[seen.key] = seen
        kept.latest.move_to_end(seen.key)
        if len(kept.latest) > QUESTIONS:
            kept.latest.popitem(last=False)
        if seen.trains:
            kept.waiting[seen.question] = seen
            for winner in (seen.winner, *([None] if seen.echo else [])):
                before = kept.taught.get(winner)
                if before is None or seen.version < before.version:
                    kept.taught[winner] = seen
            for old in (kept.waiting, kept.taught):
                if len(old) > 4 * QUESTIONS:
                    del old[next(iter(old))]  # type: ignore[arg-type]

    def suspicion(self, served: int) -> Suspicion | None:
        """What the form that was seen last shows of ``served``; None when it shows nothing."""
        if not self._forms:
            return None
        like, kept = next(reversed(self._forms.items()))
        versions = {seen.version for seen in kept.latest.values()}
        newest = sorted(v for v in versions if 0 < v <= served)[-2:]
        now = [seen for seen in kept.latest.values() if seen.version in newest]
        then = [seen for seen in kept.first.values() if seen.version not in newest]
        sure = sum(seen.share for seen in now) / max(1, len(now))
        if served not in newest or len(now) < LEAST or 2 * len(then) < LEAST or sure < MAJORITY:
            return None
        (one, _), *_ = Counter(seen.winner for seen in now).most_common(1)
        for winner in (None, one):

            def is_one(seen: Seen, winner: str | None = winner) -> bool:
                return seen.echo if winner is None else seen.winner == winner

            before, after = ([float(is_one(seen)) for seen in side] for side in (then, now))
            waits = kept.groups < 2 * self._cleared.get((like, winner), 0)
            known = waits or (like, winner) in self.withheld
            if known or 2 * sum(after) <= len(after) or contrast([before], [after]).z <= LEAP_Z:
                continue
            lost = [
                version - 1
                for version in newest
                if 2 * sum(map(is_one, of := [s for s in now if s.version == version])) > len(of)
            ]
            first = kept.taught.get(winner)
            back_to = min([*lost, *([first.version] if first else [])], default=served - 1)
            taught = tuple(seen.question for seen in kept.waiting.values() if is_one(seen))
            canaries = tuple(seen.canary for seen in now)
            return Suspicion(like, winner, canaries, back_to, taught)
        return None

    def withhold(self, found: Suspicion) -> None:
        """From now on no label of this kind is taught for the form; what was seen is forgotten."""
        self.withheld.add((found.form, found.winner))
        self._forms.pop(found.form, None)

    def clear(self, found: Suspicion) -> None:
        """Not confirmed: no suspicion of this until twice as much was seen."""
        if kept := self._forms.get(found.form):
            self._cleared[found.form, found.winner] = kept.groups
