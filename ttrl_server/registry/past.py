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

_STATES: dict[str, VersionState] = {
    "proposed": "candidate",
    "promoted": "promoted",
    "rejected": "rejected",
    "retired": "retired",
}


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the ledger."""

    time: float
    """Seconds since the epoch."""
    event: Literal[
        "reserved",
        "proposed",
        "promoted",
        "rejected",
        "retired",
        "removed",
        "rolled_back",
        "pinned",
        "unpinned",
        "stopped",
        "resumed",
    ]
    number: int
    """The version of the event.
    ``rolled_back``: the version that is served afterwards (0: the base model). ``stopped``,
    ``resumed``: the version that is served at that time."""
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
            raise ConfigError(
                f"{root / LEDGER} cannot be read ({error.strerror}): is this an adapters folder?"
            ) from None
        return cls(root, [decode(root, line, number) for number, line in enumerate(lines, start=1)])

    def about(self, number: int) -> list[Event]:
        """All events of one version, oldest first."""
        return [
            e
            for e in self._events
            if number in (e.number, e.left) and e.event not in ("stopped", "resumed")
        ]

    def events(self, base: str) -> list[Event]:
        """All events of one base model, oldest first."""
        return [e for e in self._events if e.base == base]

    def bases(self) -> list[str]:
        """The base models in the ledger, newest last."""
        return list(dict.fromkeys(e.base for e in self._events))

    def served(self, base: str) -> tuple[int, str] | None:
        """(number, folder) of the served version; None when the base model is served."""
        for event in reversed(self._events):
            if event.base == base and event.event in ("promoted", "rolled_back"):
                return (event.number, event.folder) if event.folder else None
        return None

    def promoted(self, base: str) -> list[tuple[int, str]]:
        """(number, folder) of every promoted version that is not retired, oldest first."""
        states = self.states()
        passed = (e for e in self._events if e.event == "promoted" and e.base == base)
        return list(
            {
                e.number: (e.number, e.folder)
                for e in passed
                if e.folder and states[e.number] == "promoted"
            }.values()
        )

    def rejected(self, base: str) -> list[tuple[int, str]]:
        """(number, folder) of every rejected version whose folder was not removed, oldest first."""
        states, gone = self.states(), {e.number for e in self._events if e.event == "removed"}
        refused = (e for e in self._events if e.event == "rejected" and e.base == base)
        return [
            (e.number, e.folder)
            for e in refused
            if e.folder and states[e.number] == "rejected" and e.number not in gone
        ]

    def retired(self, base: str) -> list[tuple[int, str]]:
        """(number, folder) of every retired version."""
        return [
            (e.number, e.folder)
            for e in self._events
            if e.event == "retired" and e.base == base and e.folder
        ]

    def promotions(self, base: str) -> list[int]:
        """Numbers of all promotions, also of retired versions, oldest first."""
        return [e.number for e in self._events if e.event == "promoted" and e.base == base]

    def left(self, base: str) -> set[int]:
        """Versions that a rollback left and that were not served again.

        Only an operator can roll back to them.
        """
        left: set[int] = set()
        for event in self.events(base):
            if event.event in ("promoted", "rolled_back"):
                left.discard(event.number)
            if event.event == "rolled_back" and event.left and event.number < event.left:
                left.add(event.left)
        return left

    def forced(self, base: str) -> set[int]:
        """Versions that an operator promoted against the gate."""
        return {e.number for e in self.events(base) if e.event == "promoted" and e.by == "operator"}

    def fallen(self, base: str) -> set[int]:
        """Versions that fell: they are never served again."""
        return {
            e.left
            for e in self._events
            if e.event == "rolled_back" and e.base == base and e.left and e.by in FOUND
        }

    def before(self, base: str, number: int) -> list[int]:
        """Promoted versions below ``number`` for an automatic rollback, newest first."""
        shunned = self.left(base) | self.fallen(base)
        return sorted(
            (n for n, _ in self.promoted(base) if n < number and n not in shunned), reverse=True
        )

    def last_good(self, base: str) -> int:
        """The last good version, the default of a rollback; 0 is the base model."""
        served = self.served(base)
        return next(iter(self.before(base, served[0])), 0) if served else 0

    # ------------------------------------------------------------ for learning and the gate

    def stopped(self, base: str) -> str | None:
        """The reason why learning has ended; None while it goes on."""
        ended = next(
            (
                e
                for e in reversed(self._events)
                if e.base == base and e.event in ("stopped", "resumed")
            ),
            None,
        )
        return ended.reason if ended and ended.event == "stopped" else None

    def refused_in_a_row(self, base: str) -> int:
        """Number of candidates in a row that were refused for their answers, up to now."""
        count = 0
        for event in self.events(base):
            if event.event in ("promoted", "resumed"):
                count = 0
            elif event.event == "rejected" and event.stage in JUDGEMENTS:
                count += 1
            elif event.event == "rejected" and event.stage not in NO_JUDGEMENT:
                count = 0
        return count

    def tried_against(self, base: str, number: int) -> int:
        """Candidates judged on gate.labelled while ``number`` was served; each spent some α."""
        served, count = 0, 0
        for event in self.events(base):
            judged = event.event == "promoted" or (
                event.event == "rejected" and event.stage == "gate"
            )
            count += judged and event.by == "gate" and served == number
            if event.event in ("promoted", "rolled_back"):
                served = event.number
        return count

    def pinned(self, base: str) -> dict[int, str]:
        """Number → folder of the pinned versions."""
        states, pins = self.states(), dict[int, str]()
        for event in self._events:
            if event.base == base and event.event == "pinned" and event.folder:
                pins[event.number] = event.folder
            elif event.event == "unpinned":
                pins.pop(event.number, None)
        return {n: folder for n, folder in pins.items() if states.get(n) != "retired"}

    def folders(self) -> set[str]:
        """Folders of all proposed versions, of any base model, that are not retired or removed."""
        states, gone = self.states(), {e.number for e in self._events if e.event == "removed"}
        return {
            e.folder
            for e in self._events
            if e.folder and states.get(e.number) != "retired" and e.number not in gone
        }

    def states(self) -> dict[int, VersionState]:
        """The state of each proposed version."""
        return {e.number: _STATES[e.event] for e in self._events if e.event in _STATES}

    def judgement(self, number: int) -> VersionState | None:
        """promoted, rejected or retired; None for a candidate or an unknown number."""
        state = self.states().get(number)
        return None if state == "candidate" else state

    def refusal(self, number: int) -> Event | None:
        """The last ``rejected`` event of a version, or None."""
        return next(
            (e for e in reversed(self._events) if e.number == number and e.event == "rejected"),
            None,
        )

    def figures(self, number: int) -> dict[str, float]:
        """The gate's figures at a version's promotion; {} when there are none."""
        passed = (e.figures for e in self._events if e.event == "promoted" and e.number == number)
        return next(passed, None) or {}

    def next_number(self) -> int:
        """One above every number in the ledger or on disk."""
        seen = {event.number for event in self._events} | folders.numbers(self.root)
        return max(seen, default=0) + 1


JUDGEMENTS = ("canary", "gate")
"""Stages that refuse a candidate for its answers; an operator may overrule these stages only."""
NO_JUDGEMENT = ("busy", "given_up", "stale")
"""Stages that refuse a candidate for reasons outside the candidate."""
FOUND = frozenset({"watch", "alarm"})
"""Who rolls back a version because it fell."""


def decode(root: Path, line: bytes, number: int) -> Event:
    """Decodes one line of the ledger. Raises ConfigError when it is damaged."""
    try:
        return msgspec.json.decode(line, type=Event)
    except folders.MALFORMED as error:
        raise ConfigError(
            f"{root / LEDGER}, line {number} is damaged ({error}): repair or delete that line, "
            "then start again"
        ) from error
