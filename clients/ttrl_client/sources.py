"""Records from files, from the hub, or generated; each with the place a complaint can name."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from ttrl_client import Unusable

Placed = tuple[str, dict[str, Any]]
"""Where a record is, and the record."""
GENERATOR = "reasoning-gym:"


# ---------------------------------------------------------------- files


def read_file(path: Path) -> Iterator[Placed]:
    """(where, record) of every record."""
    reader = READERS.get(path.suffix.lower(), _json_lines)
    try:
        yield from reader(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Unusable(f"{path}: cannot be read as text: {error}") from error


def _json_lines(path: Path) -> Iterator[Placed]:
    # Not splitlines: a prompt may hold other ends of lines, which JSON leaves as they are.
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if line.strip():
            where = f"{path}:{number}"
            yield where, _object(_json(line, where), where)


def _json_list(path: Path) -> Iterator[Placed]:
    data = _json(path.read_text(encoding="utf-8-sig"), str(path))
    if isinstance(data, dict):
        data = next((value for value in data.values() if isinstance(value, list)), None)
    if not isinstance(data, list):
        raise Unusable(f"{path}: expected a list of objects")
    for number, record in enumerate(data, 1):
        where = f"{path}, record {number}"
        yield where, _object(record, where)


def _csv(path: Path) -> Iterator[Placed]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        for row in rows:
            where = f"{path}:{rows.line_num}"
            if None in row:
                raise Unusable(f"{where}: more cells than the header has; quote commas")
            yield where, dict(row)


def _parquet(path: Path) -> Iterator[Placed]:
    with _needed(f"{path}: Parquet needs pyarrow"):
        import pyarrow.lib
        import pyarrow.parquet
    try:
        records = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.lib.ArrowException) as error:
        raise Unusable(f"{path}: is not a Parquet file: {error}") from error
    for number, record in enumerate(records, 1):
        yield f"{path}, row {number}", record


READERS = {".jsonl": _json_lines, ".json": _json_list, ".csv": _csv, ".parquet": _parquet}


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"{where}: not JSON: {getattr(error, 'msg', error)}") from error


def _object(record: Any, where: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise Unusable(f"{where}: expected an object with id, prompt and answer")
    return record


# ---------------------------------------------------------------- from elsewhere


@contextmanager
def _needed(complaint: str) -> Iterator[None]:
    """What is imported in it is a part of the extra ``hub``."""
    try:
        yield
    except ImportError as error:
        raise Unusable(f"{complaint}: pip install '.[hub]' in a checkout") from error


def from_hub(source: str, called: str) -> Iterator[Placed]:
    """Records of ``owner/name[/config][:split]``."""
    address, _, split = source.partition(":")
    repository, config = "/".join(address.split("/")[:2]), "/".join(address.split("/")[2:]) or None
    with _needed(f"{called}: hub data sets need datasets"):
        import datasets
    try:
        rows = datasets.load_dataset(repository, config, split=split or "test")
    except Exception as error:  # the library raises whatever its transports raise
        file = called.partition(":")[0].rsplit("/", 1)[-1] + ".jsonl"
        raise Unusable(
            f"{called}: {repository} could not be loaded from the hub ({type(error).__name__}). "
            f"Pass a file instead: {file} with id, prompt and answer in each line"
        ) from error
    for number, record in enumerate(rows):
        yield f"{called}, row {number}", dict(record)


def task_of(source: str) -> str:
    """TASK of ``reasoning-gym:TASK?size=…``."""
    return source.removeprefix(GENERATOR).partition("?")[0]


def generated(source: str) -> Iterator[Placed]:
    """Records of ``reasoning-gym:TASK?size=…&seed=…`` that have one right answer."""
    task, query = task_of(source), source.partition("?")[2]
    settings: dict[str, Any] = {"size": 50, "seed": 0}
    for key, value in parse_qsl(query):
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    with _needed(f"{source}: needs reasoning-gym"):
        import reasoning_gym
    try:
        made = reasoning_gym.create_dataset(task, **settings)
        entries = [made[i] for i in range(settings["size"])]
    except Exception as error:  # unknown tasks and parameters are its own business
        raise Unusable(f"{source}: {' '.join(str(error).split())[:200]}") from error
    for number, entry in enumerate(entries):
        if entry["answer"] not in (None, ""):
            known = {"prompt": entry["question"], "answer": str(entry["answer"])}
            yield f"{source}, entry {number}", {"id": f"{task}-{number}", "type": task} | known
