"""The history of all versions, read from one append-only file, and what follows from it.

``ledger.jsonl`` holds one event a line; ``adapters/README.md`` lists them. Nothing is ever changed
in it: which version is served, and what became of each, is folded from the events, so a restart
knows what the last life knew.
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
"""Who had it done."""

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
    """The version it is about; of ``rolled_back`` the one that is served from then on, 0 for the
    base model; of ``stopped`` and ``resumed``, which are about learning, the one that was
    served."""
    base: str
    folder: str | None = None
    """None for ``reserved``, and for ``rolled_back`` to the base model."""
    stage: str | None = None
    """Of ``rejected``: where it failed (docs/design.md lists the stages)."""
    reason: str | None = None
    left: int | None = msgspec.field(default=None, name="from")
    """Of ``rolled_back``: the version that was served until then, 0 for the base model."""
    by: By | None = None
    figures: dict[str, float] | None = None
    """Of ``promoted``: what the gate measured."""


class Past:
    """What the events say, for one adapters folder."""

    def __init__(self, root: Path, events: Sequence[Event] = ()) -> None:
        self.root = root
        self._events = list(events)

    @classmethod
    def read(cls, root: Path) -> Past:
        """The past as it stands on disk, whoever owns the folder. Raises ConfigError when a line
        is damaged."""
        try:
            *lines, _torn = (root / LEDGER).read_bytes().split(b"\n")
        except OSError as error:
            raise ConfigError(
                f"{root / LEDGER} cannot be read ({error.strerror}): is this an adapters folder?"
            ) from None
        return cls(root, [decode(root, line, number) for number, line in enumerate(lines, start=1)])

    def about(self, number: int) -> list[Event]:
        """Everything that happened to one version, oldest first."""
        return [
            e
            for e in self._events
            if number in (e.number, e.left) and e.event not in ("stopped", "resumed")
        ]

    def events(self, base: str) -> list[Event]:
        """Everything that happened to the versions of one base model, oldest first."""
        return [e for e in self._events if e.base == base]

    def bases(self) -> list[str]:
        """The base models of which there are versions, newest last."""
        return list(dict.fromkeys(e.base for e in self._events))

    def served(self, base: str) -> tuple[int, str] | None:
        """(number, folder) last promoted or rolled back to; None for the base model itself."""
        for event in reversed(self._events):
            if event.base == base and event.event in ("promoted", "rolled_back"):
                return (event.number, event.folder) if event.folder else None
        return None

    def promoted(self, base: str) -> list[tuple[int, str]]:
        """(number, folder) of every version that passed the gate and is not retired, in order of
        promotion."""
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
        """Numbers in order of promotion, the retired ones included."""
        return [e.number for e in self._events if e.event == "promoted" and e.base == base]

    def left(self, base: str) -> set[int]:
        """Versions that were gone back from, and not served since: never a place that is gone
        back to unasked."""
        left: set[int] = set()
        for event in self.events(base):
            if event.event in ("promoted", "rolled_back"):
                left.discard(event.number)
            if event.event == "rolled_back" and event.left and event.number < event.left:
                left.add(event.left)
        return left

    def forced(self, base: str) -> set[int]:
        """Versions that are served because an operator overruled the gate."""
        return {e.number for e in self.events(base) if e.event == "promoted" and e.by == "operator"}

    def fallen(self, base: str) -> set[int]:
        """Versions that were found to be worse once they were served: never served again."""
        return {
            e.left
            for e in self._events
            if e.event == "rolled_back" and e.base == base and e.left and e.by in FOUND
        }

    def before(self, base: str, number: int) -> list[int]:
        """Promoted versions below ``number`` that may be gone back to unasked, newest first."""
        shunned = self.left(base) | self.fallen(base)
        return sorted(
            (n for n, _ in self.promoted(base) if n < number and n not in shunned), reverse=True
        )

    def last_good(self, base: str) -> int:
        """What a rollback goes to by default: the newest promoted version before the served one
        that was never left."""
        served = self.served(base)
        return next(iter(self.before(base, served[0])), 0) if served else 0

    # ------------------------------------------------------------ what learning must not forget

    def stopped(self, base: str) -> str | None:
        """Why learning was ended; None while it goes on."""
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
        """Candidates that were refused for their answers since one was not."""
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
        """Candidates that the gate examined while ``number`` was served, and decided on: each
        spent some of its α."""
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
        """Number → folder of the versions that stay in the engine until they are unpinned or
        retired."""
        states, pins = self.states(), dict[int, str]()
        for event in self._events:
            if event.base == base and event.event == "pinned" and event.folder:
                pins[event.number] = event.folder
            elif event.event == "unpinned":
                pins.pop(event.number, None)
        return {n: folder for n, folder in pins.items() if states.get(n) != "retired"}

    def folders(self) -> set[str]:
        """The folders of all versions, of any base model, that were proposed and are neither
        retired nor removed."""
        states, gone = self.states(), {e.number for e in self._events if e.event == "removed"}
        return {
            e.folder
            for e in self._events
            if e.folder and states.get(e.number) != "retired" and e.number not in gone
        }

    def states(self) -> dict[int, VersionState]:
        """What became of each version that was proposed."""
        return {e.number: _STATES[e.event] for e in self._events if e.event in _STATES}

    def judgement(self, number: int) -> VersionState | None:
        """promoted, rejected or retired; None for a candidate and for a number that was never
        proposed."""
        state = self.states().get(number)
        return None if state == "candidate" else state

    def refusal(self, number: int) -> Event | None:
        """Why a version was rejected last, if it ever was."""
        return next(
            (e for e in reversed(self._events) if e.number == number and e.event == "rejected"),
            None,
        )

    def figures(self, number: int) -> dict[str, float]:
        """What the gate measured when it promoted a version."""
        passed = (e.figures for e in self._events if e.event == "promoted" and e.number == number)
        return next(passed, None) or {}

    def next_number(self) -> int:
        """One above every number in the ledger or on disk."""
        seen = {event.number for event in self._events} | folders.numbers(self.root)
        return max(seen, default=0) + 1


JUDGEMENTS = ("canary", "gate")
"""Stages at which a candidate is refused for what it answers, which an operator may overrule;
the others are facts."""
NO_JUDGEMENT = ("busy", "given_up", "stale")
"""Stages at which a candidate is refused for nothing that it is."""
FOUND = frozenset({"watch", "alarm"})
"""Who goes back from a version because of what it turned out to be."""


def decode(root: Path, line: bytes, number: int) -> Event:
    """One line. Raises ConfigError when it is damaged: the served version would be a guess."""
    try:
        return msgspec.json.decode(line, type=Event)
    except folders.MALFORMED as error:
        raise ConfigError(
            f"{root / LEDGER}, line {number} is damaged ({error}): repair or delete that line, "
            "then start again"
        ) from error
