"""The history of all versions, read from the append-only ledger, and questions about it.

``ledger.jsonl`` has one event a line; ``adapters/README.md`` lists the events. No line is ever
changed. The served version and the state of each version are computed from the events: so a
restart has the same state.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from ttrl_server.errors import ConfigError
from ttrl_server.registry import folders
from ttrl_server.registry.names import LEDGER
from ttrl_server.types import VersionState

By = Literal["gate", "operator", "watch", "alarm", "retention", "restart"]
"""Who caused the event."""

JUDGEMENTS = ("kl", "canary", "gate", "blind")
"""Stages that judge what a candidate would say; an operator may overrule these stages only."""
NO_JUDGEMENT = ("busy", "given_up", "stale")
"""Stages that refuse a candidate for reasons outside the candidate."""
FOUND = ("watch", "alarm")
"""Who rolls back a version because it fell."""
SERVED = ("promoted", "rolled_back")
"""Events that change the served version."""
LEARNING = ("stopped", "resumed", "withheld")
"""Events that end learning, let it go on, or withhold some labels from it."""

_STATES: dict[str, VersionState] = {
    "proposed": "candidate",
    "promoted": "promoted",
    "rejected": "rejected",
    "retired": "retired",
}
_Fate = Literal["reserved", "proposed", "promoted", "rejected", "retired", "removed"]
_Serving = Literal["rolled_back", "pinned", "unpinned", "stopped", "resumed", "withheld"]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the ledger."""

    time: float
    """Seconds since the epoch."""
    event: Literal[_Fate, _Serving]
    number: int
    """The version of the event.
    ``rolled_back``: the version that is served afterwards (0: the base model). ``stopped``,
    ``resumed``, ``withheld``: the version that is served at that time."""
    base: str
    folder: str | None = None
    """None for ``reserved``, and for ``rolled_back`` to the base model."""
    stage: str | None = None
    """In ``rejected``: the stage at which it failed (docs/design.md lists the stages)."""
    reason: str | None = None
    left: int | None = msgspec.field(default=None, name="from")
    """In ``rolled_back``: the version that was served before, 0 for the base model."""
    by: By | None = None
    figures: dict[str, float] | None = None
    """In ``promoted``: the gate's figures."""
    form: str | None = None
    winner: str | None = None
    """In ``withheld``: the form of questions, and the key of the answer that is not taught to them
    any more; None: any that stands in its question."""


class Past:
    """Answers questions about the events of one adapters folder."""

    def __init__(self, root: Path, events: Sequence[Event] = ()) -> None:
        self.root = root
        self._events = list(events)

    @classmethod
    def read(cls, root: Path) -> Past:
        """Reads the ledger without owning it. Raises ConfigError when a line is damaged."""
        try:
            *lines, _torn = (root / LEDGER).read_bytes().split(b"\n")
        except OSError as error:
            said = f"{root / LEDGER} cannot be read ({error.strerror})"
            raise ConfigError(f"{said}: is this an adapters folder?") from None
        return cls(root, [decode(root, line, number) for number, line in enumerate(lines, start=1)])

    def about(self, number: int) -> list[Event]:
        """All events of one version, oldest first."""
        own = (e for e in self._events if number in (e.number, e.left))
        return [e for e in own if e.event not in LEARNING]

    def events(self, base: str, *kinds: str) -> list[Event]:
        """Events of one base model, oldest first: those of ``kinds``, by default all."""
        return [e for e in self._events if e.base == base and (not kinds or e.event in kinds)]

    def bases(self) -> list[str]:
        """The base models in the ledger, newest last."""
        return list(dict.fromkeys(e.base for e in self._events))

    def served(self, base: str) -> tuple[int, str] | None:
        """(number, folder) of the served version; None when the base model is served."""
        last = next(reversed(self.events(base, *SERVED)), None)
        return (last.number, last.folder) if last and last.folder else None

    def served_number(self, base: str) -> int:
        """The number of the served version; 0 is the base model."""
        served = self.served(base)
        return served[0] if served else 0

    def promoted(self, base: str) -> list[tuple[int, str]]:
        """(number, folder) of every promoted version that is not retired, oldest first."""
        return self._in_state(base, "promoted")

    def rejected(self, base: str) -> list[tuple[int, str]]:
        """(number, folder) of every rejected version whose folder was not removed, oldest first."""
        there = self.folders()
        return [(n, folder) for n, folder in self._in_state(base, "rejected") if folder in there]

    def retired(self, base: str) -> list[tuple[int, str]]:
        """(number, folder) of every retired version."""
        return self._in_state(base, "retired")

    def _in_state(self, base: str, state: VersionState) -> list[tuple[int, str]]:
        """The versions in ``state``, in the order in which they got there."""
        states = self.states()
        got = {e.number: e.folder for e in self.events(base, state) if e.folder}
        return [(n, folder) for n, folder in got.items() if states[n] == state]

    def promotions(self, base: str) -> list[int]:
        """Numbers of all promotions, also of retired versions, oldest first."""
        return [e.number for e in self.events(base, "promoted")]

    def left(self, base: str) -> set[int]:
        """Versions that a rollback left and that were not served again.

        Only an operator can roll back to them.
        """
        left: set[int] = set()
        for event in self.events(base, *SERVED):
            left.discard(event.number)
            if event.left and event.number < event.left:
                left.add(event.left)
                left |= self._between(event)
        return left

    def passed_over(self, base: str) -> set[int]:
        """Versions between one that fell and the one that was gone back to: what it fell for may
        be in them too."""
        return set().union(*map(self._between, self.events(base, "rolled_back")))

    def _between(self, event: Event) -> set[int]:
        if event.by not in FOUND or not event.left:
            return set()
        return {n for n in self.promotions(event.base) if event.number < n < event.left}

    def forced(self, base: str) -> set[int]:
        """Versions that an operator promoted against the gate."""
        return {e.number for e in self.events(base, "promoted") if e.by == "operator"}

    def fallen(self, base: str) -> set[int]:
        """Versions that fell: they are never served again."""
        return {e.left for e in self.events(base, "rolled_back") if e.left and e.by in FOUND}

    def before(self, base: str, number: int) -> list[int]:
        """Promoted versions below ``number`` for an automatic rollback, newest first."""
        shunned = self.left(base) | self.fallen(base)
        fit = (n for n, _ in self.promoted(base) if n < number and n not in shunned)
        return sorted(fit, reverse=True)

    def last_good(self, base: str) -> int:
        """The last good version, the default of a rollback; 0 is the base model."""
        return next(iter(self.before(base, self.served_number(base))), 0)

    def stopped(self, base: str) -> str | None:
        """The reason why learning has ended; None while it goes on."""
        last = next(reversed(self.events(base, "stopped", "resumed")), None)
        return last.reason if last and last.event == "stopped" else None

    def withheld(self, base: str) -> set[tuple[str, str | None]]:
        """Forms, and the answers that are not taught to them any more."""
        return {(e.form or "", e.winner) for e in self.events(base, "withheld")}

    def refused_in_a_row(self, base: str) -> int:
        """Number of candidates in a row that were refused for their answers, up to now."""
        count = 0
        # Only ``rejected`` has a stage: the other two start a new row.
        for event in self.events(base, "promoted", "resumed", "rejected"):
            if event.stage in JUDGEMENTS:
                count += 1
            elif event.stage not in NO_JUDGEMENT:
                count = 0
        return count

    def tried_against(self, base: str, number: int) -> int:
        """Candidates judged on gate.labelled while ``number`` was served; each spent some α."""
        served, count = 0, 0
        for event in self.events(base, *SERVED, "rejected"):
            judged = event.event == "promoted" or event.stage == "gate"
            count += judged and event.by == "gate" and served == number
            if event.event in SERVED:
                served = event.number
        return count

    def pinned(self, base: str) -> dict[int, str]:
        """Number → folder of the pinned versions."""
        states, pins = self.states(), dict[int, str]()
        for event in self.events(base, "pinned", "unpinned"):
            if event.folder:
                pins[event.number] = event.folder
            else:
                pins.pop(event.number, None)
        return {n: folder for n, folder in pins.items() if states.get(n) != "retired"}

    def folders(self) -> set[str]:
        """Folders of all proposed versions, of any base model, that are not retired or removed."""
        gone = {e.number for e in self._events if e.event in ("retired", "removed")}
        return {e.folder for e in self._events if e.folder and e.number not in gone}

    def states(self) -> dict[int, VersionState]:
        """The state of each proposed version."""
        return {e.number: _STATES[e.event] for e in self._events if e.event in _STATES}

    def judgement(self, number: int) -> VersionState | None:
        """promoted, rejected or retired; None for a candidate or an unknown number."""
        state = self.states().get(number)
        return None if state == "candidate" else state

    def refusal(self, number: int) -> Event | None:
        """The last ``rejected`` event of a version, or None."""
        refused = (e for e in reversed(self._events) if e.event == "rejected")
        return next((e for e in refused if e.number == number), None)

    def figures(self, number: int) -> dict[str, float]:
        """The gate's figures at a version's promotion; {} when there are none."""
        passed = (e.figures for e in self._events if e.event == "promoted" and e.number == number)
        return next(passed, None) or {}

    def next_number(self) -> int:
        """One above every number in the ledger or on disk."""
        seen = {event.number for event in self._events} | folders.numbers(self.root)
        return max(seen, default=0) + 1


def decode(root: Path, line: bytes, number: int) -> Event:
    """Decodes one line of the ledger. Raises ConfigError when it is damaged."""
    try:
        return msgspec.json.decode(line, type=Event)
    except folders.MALFORMED as error:
        said = f"{root / LEDGER}, line {number} is damaged ({error})"
        raise ConfigError(f"{said}: repair or delete that line, then start again") from error
