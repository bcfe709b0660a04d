"""Every outcome of a run as a line of ``rows.jsonl``, on disk as soon as it is known."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Self

Row = dict[str, Any]


class Journal:
    """Rows by phase and question id; a row without an id is about the phase itself."""

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        """Starts anew, or goes on where a killed run stopped, without its half-written line."""
        rows = read(path) if resume and path.exists() else []
        self._found: dict[tuple[str, str | None], Row] = {(r["phase"], r["id"]): r for r in rows}
        write_whole("".join(map(_line, rows)), path)
        self._file = path.open("a", encoding="utf-8")
        self._before = max((row.get("elapsed", 0.0) for row in rows), default=0.0)
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def found(self, phase: str, question: str | None = None) -> Row | None:
        """The row that is there already."""
        return self._found.get((phase, question))

    def add(self, phase: str, question: str | None, **outcome: object) -> Row:
        """Writes one row down; returns it."""
        row = {"phase": phase, "id": question, **outcome, "elapsed": self.elapsed}
        self._found[phase, question] = row
        self._file.write(_line(row))
        self._file.flush()
        return row

    @property
    def elapsed(self) -> float:
        """Seconds of the run, over all its lives; a killed one counts until its last row."""
        return round(self._before + time.monotonic() - self._began, 2)

    @property
    def rows(self) -> list[Row]:
        return list(self._found.values())


def write_whole(text: str, path: Path) -> None:
    """Whole or not at all: a reader never sees half a file."""
    staged = path.with_name(path.name + ".tmp")
    staged.write_text(text, encoding="utf-8")
    os.replace(staged, path)


def read(path: Path) -> list[Row]:
    """The rows of a run that is over, or under way."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("phase"), str) and "id" in row:
            rows.append(row)
    return rows


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
