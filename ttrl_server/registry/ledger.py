"""The ledger: the only writer of the history of all versions."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ttrl_server.errors import ConfigError
from ttrl_server.registry import folders, rules
from ttrl_server.registry.names import LEDGER
from ttrl_server.registry.past import By, Event, Past, decode

log = logging.getLogger(__name__)


class Ledger(Past):
    """The ledger of one adapters folder. Any thread may call it.

    One process owns it, until ``close`` or until the process dies. Each event is on disk when the
    call returns; after OSError nothing was written.
    """

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Opens or makes ``root/ledger.jsonl`` and removes a torn last line.

        ``clock`` gives seconds since the epoch. Raises ConfigError when a line is damaged or
        another process has the ledger open.
        """
        super().__init__(root)
        self._clock = clock
        self._writing = threading.RLock()
        root.mkdir(parents=True, exist_ok=True)
        self._file = (root / LEDGER).open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._events = self._load()
        except BlockingIOError:
            self._file.close()
            raise ConfigError(
                f"{root} belongs to a gateway that is running: stop that one, or give this one a "
                "folder of its own (adapters.dir)"
            ) from None
        except ConfigError:
            self._file.close()
            raise
        folders.sync(root)

    def close(self) -> None:
        self._file.close()

    def reserve(self, base: str) -> int:
        """Reserves a version number that was never used; it is never given again."""
        with self._writing:
            number = self.next_number()
            self._append("reserved", number, base)
        return number

    def propose(self, number: int, folder: str, base: str) -> None:
        self._append("proposed", number, base, folder=folder)

    def promote(self, number: int, folder: str, base: str, figures: dict[str, float]) -> None:
        """Makes a candidate the served version; ``figures`` are the gate's figures."""
        shown = figures or None
        self._append("promoted", number, base, folder=folder, figures=shown, by="gate")

    def overrule(self, number: int, folder: str, base: str, reason: str) -> None:
        """Makes a version that the gate refused the served one, for the operator."""
        self._append("promoted", number, base, folder=folder, reason=reason, by="operator")

    def reject(self, number: int, folder: str, base: str, stage: str, reason: str) -> None:
        self._append("rejected", number, base, folder=folder, stage=stage, reason=reason, by="gate")

    def retire(self, number: int, folder: str, base: str, reason: str, *, by: By) -> None:
        """Retires the version. Raises VersionRefused for the served version."""
        rules.may_retire(self, base, number)
        self._append("retired", number, base, folder=folder, reason=reason, by=by)

    def remove(self, number: int, folder: str, base: str, reason: str) -> None:
        """Notes that the folder of a rejected version is removed; its history stays."""
        self._append("removed", number, base, folder=folder, reason=reason, by="retention")

    def pin(self, number: int, folder: str, base: str) -> None:
        """Pins the version: it stays in the engine whatever is served."""
        self._append("pinned", number, base, folder=folder, by="operator")

    def unpin(self, number: int, base: str) -> None:
        self._append("unpinned", number, base, by="operator")

    def roll_back(self, number: int, base: str, reason: str, *, by: By) -> None:
        """Makes ``number`` (0: the base model) the served version. Raises VersionRefused."""
        folder = rules.may_go_back_to(self, base, number)
        left = self.served_number(base)
        self._append("rolled_back", number, base, folder=folder, reason=reason, left=left, by=by)

    def stop(self, base: str, reason: str) -> None:
        """Notes that learning has ended; it stays off after a restart."""
        self._append("stopped", self.served_number(base), base, reason=reason, by="alarm")

    def resume(self, base: str) -> None:
        """Notes that learning goes on."""
        self._append("resumed", self.served_number(base), base, by="operator")

    def withhold(self, base: str, form: str, winner: str | None) -> None:
        """Notes that an attractor is not taught any more: not after a restart, either."""
        given = {"form": form, "winner": winner}
        self._append("withheld", self.served_number(base), base, **given, by="watch")

    def _append(self, event: Any, number: int, base: str, **more: Any) -> None:
        """Appends one event. Raises OSError when the disk refuses; the file is then unchanged."""
        happened = Event(time=self._clock(), event=event, number=number, base=base, **more)
        line = msgspec.json.encode(happened) + b"\n"
        with self._writing:
            size = self._file.seek(0, os.SEEK_END)
            try:
                if self._file.write(line) != len(line):
                    raise OSError(f"{self.root / LEDGER}: no room for {len(line)} bytes")
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(size)
                raise
            self._events.append(happened)

    def _load(self) -> list[Event]:
        """All events. A torn last line, which was never acknowledged, is removed."""
        self._file.seek(0)
        *lines, tail = self._file.readall().split(b"\n")
        events = [decode(self.root, line, number) for number, line in enumerate(lines, start=1)]
        if not tail:
            return events
        try:
            events.append(msgspec.json.decode(tail, type=Event))
            self._file.write(b"\n")  # a whole line, which only lacks its end
        except folders.MALFORMED:
            log.warning("%s: cut off a torn last line of %d bytes", self.root / LEDGER, len(tail))
            self._file.truncate(self._file.tell() - len(tail))
        os.fsync(self._file.fileno())
        return events
