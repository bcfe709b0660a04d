"""The history of all versions in one append-only file, and what follows from it.

``ledger.jsonl`` holds one event a line; ``adapters/README.md`` lists them. Nothing is ever changed in it: which version
is served, and what became of each, is folded from the events, so a restart knows what the last life knew.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from ttrl_server.errors import ConfigError, RejectedVersion
from ttrl_server.registry import versions
from ttrl_server.types import VersionState

log = logging.getLogger(__name__)

FILE = "ledger.jsonl"

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
    event: Literal["reserved", "proposed", "promoted", "rejected", "retired", "rolled_back"]
    number: int
    """The version it is about; of ``rolled_back`` the one that is served from then on, 0 for the base model."""
    base: str
    folder: str | None = None
    """None for ``reserved``, and for ``rolled_back`` to the base model."""
    stage: str | None = None
    """Of ``rejected``: preflight, load, probe or gate."""
    reason: str | None = None
    left: int | None = msgspec.field(default=None, name="from")
    """Of ``rolled_back``: the version that was served until then, 0 for the base model."""
    figures: dict[str, float] | None = None
    """Of ``promoted``: what the gate measured."""


class Ledger:
    """The ledger of one adapters folder; its only writer until ``close``, or until the process dies. Any thread."""

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Opens or makes ``root/ledger.jsonl``; ``clock`` gives seconds since the epoch. A torn last line is cut off.

        Raises ConfigError when a line is damaged or another process has the ledger open.
        """
        self.root, self._clock = root, clock
        self._writing = threading.RLock()
        root.mkdir(parents=True, exist_ok=True)
        self._file = (root / FILE).open("a+b", buffering=0)
        try:
            self._own()
            self._events = self._read()
        except ConfigError:
            self._file.close()
            raise
        versions.sync(root)

    def close(self) -> None:
        self._file.close()

    # ------------------------------------------------------------ what the events say

    def served(self, base: str) -> tuple[int, str] | None:
        """(number, folder) last promoted or rolled back to; None for the base model itself."""
        for event in reversed(self._events):
            if event.base == base and event.event in ("promoted", "rolled_back"):
                return (event.number, event.folder) if event.folder else None
        return None

    def promoted(self, base: str) -> list[tuple[int, str]]:
        """(number, folder) of every version that passed the gate and is not retired, in order of promotion."""
        states = self.states()
        passed = (e for e in self._events if e.event == "promoted" and e.base == base)
        return [(e.number, e.folder) for e in passed if e.folder and states[e.number] == "promoted"]

    def promotions(self, base: str) -> list[int]:
        """Numbers in order of promotion, the retired ones included."""
        return [e.number for e in self._events if e.event == "promoted" and e.base == base]

    def left(self, base: str) -> set[int]:
        """Versions that were rolled back from: never a place to go back to."""
        return {e.left for e in self._events if e.event == "rolled_back" and e.base == base and e.left}

    def folders(self) -> set[str]:
        """The folders of all versions, of any base model, that were proposed and are not retired."""
        states = self.states()
        return {e.folder for e in self._events if e.folder and states.get(e.number) != "retired"}

    def states(self) -> dict[int, VersionState]:
        """What became of each version that was proposed."""
        return {e.number: _STATES[e.event] for e in self._events if e.event in _STATES}

    def verdict(self, number: int) -> VersionState | None:
        """promoted, rejected or retired; None for a candidate and for a number that was never proposed."""
        state = self.states().get(number)
        return None if state == "candidate" else state

    def figures(self, number: int) -> dict[str, float]:
        """What the gate measured when it promoted a version."""
        passed = (e.figures for e in self._events if e.event == "promoted" and e.number == number)
        return next(passed, None) or {}

    def next_number(self) -> int:
        """One above every number in the ledger or on disk."""
        seen = {event.number for event in self._events} | versions.numbers(self.root)
        return max(seen, default=0) + 1

    # ------------------------------------------------------------ what happens, on disk when the call returns

    def reserve(self, base: str) -> int:
        """A version number that has never been used and never will be again."""
        with self._writing:
            number = self.next_number()
            self._append(Event(time=self._clock(), event="reserved", number=number, base=base))
        return number

    def propose(self, number: int, folder: str, base: str) -> None:
        self._append(Event(time=self._clock(), event="proposed", number=number, folder=folder, base=base))

    def promote(self, number: int, folder: str, base: str, figures: dict[str, float] | None = None) -> None:
        """The version is served from now on; ``figures`` are what the gate measured."""
        now = self._clock()
        self._append(
            Event(time=now, event="promoted", number=number, folder=folder, base=base, figures=figures or None)
        )

    def reject(self, number: int, folder: str, base: str, stage: str, reason: str) -> None:
        now = self._clock()
        self._append(
            Event(time=now, event="rejected", number=number, folder=folder, base=base, stage=stage, reason=reason)
        )

    def retire(self, number: int, folder: str, base: str, reason: str) -> None:
        """The version can be served no more. Raises RejectedVersion for the one that is served."""
        if (number, folder) == self.served(base):
            raise RejectedVersion("gate", f"v{number} is served and cannot be retired: promote or roll back first")
        now = self._clock()
        self._append(Event(time=now, event="retired", number=number, folder=folder, base=base, reason=reason))

    def roll_back(self, number: int, base: str, reason: str) -> None:
        """Version ``number`` (0: the base model) is served from now on.

        Raises RejectedVersion when that version was never promoted for this base model, or is retired.
        """
        folder = dict(self.promoted(base)).get(number)
        if number != 0 and folder is None:
            known = ", ".join(f"v{n}" for n, _ in self.promoted(base)) or "none"
            raise RejectedVersion("gate", f"v{number} cannot be rolled back to; promoted versions: {known}")
        served, now = self.served(base), self._clock()
        left = served[0] if served else 0
        self._append(
            Event(time=now, event="rolled_back", number=number, folder=folder, base=base, reason=reason, left=left)
        )

    def _append(self, event: Event) -> None:
        """Raises OSError when the disk refuses; the file is then as it was."""
        line = msgspec.json.encode(event) + b"\n"
        with self._writing:
            size = self._file.seek(0, os.SEEK_END)
            try:
                if self._file.write(line) != len(line):
                    raise OSError(f"{self.root / FILE}: no room for {len(line)} bytes")
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(size)
                raise
            self._events.append(event)

    def _own(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{self.root} belongs to a gateway that is running: "
                "stop that one, or give this one a folder of its own (adapters.dir)"
            ) from None

    def _read(self) -> list[Event]:
        self._file.seek(0)
        *lines, tail = self._file.readall().split(b"\n")
        events = [self._event(line, number) for number, line in enumerate(lines, start=1)]
        if tail:
            events += self._mend(tail)
            os.fsync(self._file.fileno())
        return events

    def _event(self, line: bytes, number: int) -> Event:
        try:
            return msgspec.json.decode(line, type=Event)
        except versions.MALFORMED as error:
            raise ConfigError(
                f"{self.root / FILE}, line {number} is damaged ({error}): repair or delete that line, then start again"
            ) from error

    def _mend(self, tail: bytes) -> list[Event]:
        """A last line without its newline: kept when it is whole, else cut off, as its write was never acknowledged."""
        try:
            event = msgspec.json.decode(tail, type=Event)
        except versions.MALFORMED:
            log.warning("%s: cut off a torn last line of %d bytes", self.root / FILE, len(tail))
            self._file.truncate(self._file.tell() - len(tail))
            return []
        self._file.write(b"\n")
        return [event]
