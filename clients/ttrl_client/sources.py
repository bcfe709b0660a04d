"""Records as they come: out of files, from the hub, or generated; each with the place a
complaint can name."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

Placed = tuple[str, dict[str, Any]]
"""Where a record is, and the record."""
GENERATOR = "reasoning-gym:"


class DatasetError(ValueError):
    """Questions that cannot be used; names where they come from, and the line."""


# ---------------------------------------------------------------- files


def read_file(path: Path) -> Iterator[Placed]:
    """(where, record) of every record."""
    reader = READERS.get(path.suffix.lower(), _json_lines)
    try:
        yield from reader(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read as text: {error}") from error


def _json_lines(path: Path) -> Iterator[Placed]:
    # Not splitlines: a prompt may hold other ends of lines, which JSON leaves as they are.
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if line.strip():
            where = f"{path}:{number}"
            yield where, _object(_json(line, where), where)


def _json_list(path: Path) -> Iterator[Placed]:
    data = _json(path.read_text(encoding="utf-8-sig"), str(path))
    records = (
        next((v for v in data.values() if isinstance(v, list)), None)
        if isinstance(data, dict)
        else data
    )
    if not isinstance(records, list):
        raise DatasetError(f"{path}: expected a list of objects")
    for number, record in enumerate(records, 1):
        yield f"{path}, record {number}", _object(record, f"{path}, record {number}")


def _csv(path: Path) -> Iterator[Placed]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        for row in rows:
            if None in row:
                raise DatasetError(
                    f"{path}:{rows.line_num}: more cells than the header has; quote commas"
                )
            yield f"{path}:{rows.line_num}", dict(row)


def _parquet(path: Path) -> Iterator[Placed]:
    try:
        import pyarrow.lib
        import pyarrow.parquet
    except ImportError as error:
        raise DatasetError(
            f"{path}: Parquet needs pyarrow: pip install 'ttrl-server[hub]'"
        ) from error
    try:
        records = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.lib.ArrowException) as error:
        raise DatasetError(f"{path}: is not a Parquet file: {error}") from error
    for number, record in enumerate(records, 1):
        yield f"{path}, row {number}", record


READERS = {".jsonl": _json_lines, ".json": _json_list, ".csv": _csv, ".parquet": _parquet}


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: not JSON: {getattr(error, 'msg', error)}") from error


def _object(record: Any, where: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise DatasetError(f"{where}: expected an object with id, prompt and answer")
    return record


# ---------------------------------------------------------------- from elsewhere


def from_hub(source: str, called: str) -> Iterator[Placed]:
    """Records of ``owner/name[/config][:split]``."""
    address, _, split = source.partition(":")
    repository, config = "/".join(address.split("/")[:2]), "/".join(address.split("/")[2:]) or None
    try:
        import datasets
    except ImportError as error:
        raise DatasetError(
            f"{called}: hub data sets need datasets: pip install 'ttrl-server[hub]'"
        ) from error
    try:
        rows = datasets.load_dataset(repository, config, split=split or "test")
    except Exception as error:  # the library raises whatever its transports raise
        raise DatasetError(
            f"{called}: {repository} could not be loaded from the hub ({type(error).__name__}). "
            f"Pass a file instead: {called.partition(':')[0].rsplit('/', 1)[-1]}.jsonl with id, "
            "prompt and answer in each line"
        ) from error
    for number, record in enumerate(rows):
        yield f"{called}, row {number}", dict(record)


def task_of(source: str) -> str:
    """TASK of ``reasoning-gym:TASK?size=…``."""
    return source.removeprefix(GENERATOR).partition("?")[0]


def generated(source: str) -> Iterator[Placed]:
    """Records of ``reasoning-gym:TASK?size=…&seed=…``; entries without one right answer are left
    out."""
    task, query = task_of(source), source.partition("?")[2]
    settings: dict[str, Any] = {"size": 50, "seed": 0}
    for key, value in parse_qsl(query):
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    try:
        import reasoning_gym
    except ImportError as error:
        raise DatasetError(
            f"{source}: needs reasoning-gym: pip install 'ttrl-server[hub]'"
        ) from error
    try:
        made = reasoning_gym.create_dataset(task, **settings)
        entries = [made[i] for i in range(settings["size"])]
    except Exception as error:  # unknown tasks and parameters are its own business
        raise DatasetError(f"{source}: {' '.join(str(error).split())[:200]}") from error
    for number, entry in enumerate(entries):
        if entry["answer"] not in (None, ""):
            known = {"prompt": entry["question"], "answer": str(entry["answer"])}
            yield f"{source}, entry {number}", {"id": f"{task}-{number}", "type": task} | known
