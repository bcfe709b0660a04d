"""Every outcome of a run as a line of ``rows.jsonl``, on disk once it is known; what a resumed
run need not ask."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Key = tuple[str, str | None]


class Journal:
    """Rows by phase and question id; a row without an id is about the phase itself."""

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        """Starts anew, or goes on where a killed run stopped: a line it had only half written is
        dropped."""
        rows = _whole_rows(path) if resume and path.exists() else []
        self._found: dict[Key, dict[str, Any]] = {(row["phase"], row["id"]): row for row in rows}
        write_whole("".join(_line(row) for row in rows), path)
        self._file = path.open("a", encoding="utf-8")
        self._before = max((row.get("elapsed", 0.0) for row in rows), default=0.0)
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def found(self, phase: str, question: str | None = None) -> dict[str, Any] | None:
        """The row that is there already."""
        return self._found.get((phase, question))

    def add(self, phase: str, question: str | None, **outcome: object) -> dict[str, Any]:
        """Writes one row down; returns it."""
        row = {"phase": phase, "id": question, **outcome, "elapsed": self.elapsed}
        self._found[phase, question] = row
        self._file.write(_line(row))
        self._file.flush()
        return row

    @property
    def elapsed(self) -> float:
        """Seconds of the run, over all its lives; a life that was killed counts until its last
        row."""
        return round(self._before + time.monotonic() - self._began, 2)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return list(self._found.values())


def write_whole(text: str, path: Path) -> None:
    """Whole or not at all: a reader never sees half a file."""
    staged = path.with_name(path.name + ".tmp")
    staged.write_text(text, encoding="utf-8")
    os.replace(staged, path)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a run that is over, or under way."""
    return _whole_rows(path)


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _whole_rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("phase"), str) and "id" in row:
            rows.append(row)
    return rows
