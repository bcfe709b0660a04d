"""Question sets: JSONL files of {id, prompt, answer}, one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class DatasetError(ValueError):
    """A question file that cannot be used; names the file and the line."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question with its true answer."""

    id: str
    prompt: str
    answer: str
    """The true label: for scoring here, never sent."""


@dataclass(frozen=True, slots=True)
class QuestionSet:
    name: str
    items: tuple[Item, ...]


def load(path: Path, name: str | None = None) -> QuestionSet:
    """The set in ``path``, named after the file's stem; raises DatasetError with the line that is wrong."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as text: {error}") from error
    items = tuple(_item(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip())
    if not items:
        raise DatasetError(f"{path}: holds no questions")
    _reject_repeats(path, items)
    return QuestionSet(name or path.stem, items)


def load_joined(paths: Iterable[Path], name: str) -> QuestionSet:
    """Several files as one set, in the order given."""
    return QuestionSet(name, tuple(item for path in paths for item in load(path).items))


def _item(line: str, where: str) -> Item:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise DatasetError(f"{where}: not JSON: {error.msg}") from error
    if not isinstance(record, dict):
        raise DatasetError(f"{where}: expected an object with id, prompt and answer")
    return Item(*(_text(record, field, where) for field in ("id", "prompt", "answer")))


def _text(record: dict[str, Any], field: str, where: str) -> str:
    value = record.get(field)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        raise DatasetError(f"{where}: {field!r} must be text or a number, not {value!r}")
    return str(value)


def _reject_repeats(path: Path, items: tuple[Item, ...]) -> None:
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise DatasetError(f"{path}: id {item.id!r} appears twice")
        seen.add(item.id)
