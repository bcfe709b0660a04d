"""Version folders: publish (whole or not at all), read, remove. See ``adapters/README.md``."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from ttrl_server.errors import RejectedVersion
from ttrl_server.registry import names
from ttrl_server.registry.names import MANIFEST, PUBLISHED, STAGED, number_of_folder
from ttrl_server.types import AdapterVersion, DataWindow

MALFORMED = (ValueError, RecursionError)
"""What msgspec raises for malformed JSON: DecodeError, bad UTF-8, too deep nesting."""


def rejected(reason: str) -> RejectedVersion:
    """The refusal of a version for its files."""
    return RejectedVersion("preflight", reason)


def publish(
    root: Path,
    staged: Path,
    *,
    number: int,
    base_model: str,
    parent: int,
    rank: int,
    step: int,
    metrics: dict[str, float],
    name: str = "",
    data: DataWindow | None = None,
) -> AdapterVersion:
    """Makes version ``number`` from the folder ``root/.tmp-…``: manifest, fsync, rename, fsync.

    If the process is killed, there is the staged folder or the whole version, never a part of one.
    Raises RejectedVersion: the number is taken, a file is missing or unknown, a metric is not
    finite.
    """
    _check_staged(root, staged, number, metrics)
    sha256 = {file: hash_file(staged / file) for file in PUBLISHED}
    version = AdapterVersion(
        number=number,
        folder=names.folder_name(number, sha256[names.WEIGHTS]),
        base_model=base_model,
        parent=parent,
        rank=rank,
        step=step,
        sha256=sha256,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        metrics=metrics,
        name=name,
        data=data,
        **_described(staged),
    )
    manifest = msgspec.json.format(msgspec.json.encode(version), indent=2)
    (staged / MANIFEST).write_bytes(manifest + b"\n")
    for path in (*staged.iterdir(), staged):
        sync(path)
    staged.rename(root / version.folder)
    sync(root)
    return version


def read(root: Path, folder: str) -> AdapterVersion:
    """A folder's manifest. Raises RejectedVersion when it is missing or of another version."""
    path = locate(root, folder) / MANIFEST
    try:
        version = msgspec.json.decode(path.read_bytes(), type=AdapterVersion)
    except (OSError, *MALFORMED) as error:
        raise rejected(f"{folder}/{MANIFEST} cannot be read: {error}") from error
    if version.folder != folder or number_of_folder(folder) != version.number:
        described = f"{version.folder!r}, number {version.number}"
        raise rejected(f"{folder}/{MANIFEST} describes {described}")
    return version


def locate(root: Path, folder: str) -> Path:
    """The path of an existing version folder. Raises RejectedVersion, also for a link or a path."""
    path = _path(root, folder)
    if path.is_symlink() or not path.is_dir():
        raise rejected(f"{folder} is not a folder in {root}")
    return path


def numbers(root: Path) -> set[int]:
    """The numbers of all version folders on disk."""
    found = (number_of_folder(path.name) for path in root.iterdir()) if root.is_dir() else ()
    return {number for number in found if number is not None}


def sweep(root: Path, referenced: set[str]) -> list[str]:
    """Removes staged folders and versions that are not in ``referenced``; returns their names.

    Only for a moment when no trainer publishes. Other files in ``root`` stay.
    """
    gone = []
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        version = number_of_folder(path.name) is not None
        if path.name.startswith(STAGED) or (version and path.name not in referenced):
            _discard(path)
            gone.append(path.name)
    return gone


def remove(root: Path, folder: str) -> None:
    """Deletes a version folder if it exists. Raises RejectedVersion for a malformed name."""
    if _path(root, folder).exists():
        _discard(root / folder)


def strip_trainer_state(root: Path, folder: str) -> None:
    """Deletes a version's optimiser state: it can be served, but no step can start from it."""
    (locate(root, folder) / names.TRAINER_STATE).unlink(missing_ok=True)


def hash_file(path: Path) -> str:
    """SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Puts a file's contents, or a folder's names, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _path(root: Path, folder: str) -> Path:
    if number_of_folder(folder) is None:
        raise rejected(f"{folder!r} is not the name of a version (v000007-ab12cd34)")
    return root / folder


def _described(staged: Path) -> dict[str, Any]:
    """Alpha and targets in PEFT's configuration; {} when malformed, which preflight reports."""
    try:
        config = msgspec.json.decode((staged / names.CONFIG).read_bytes(), type=_Lora)
    except MALFORMED:
        return {}
    targets = config.target_modules or []
    named = [targets] if isinstance(targets, str) else targets
    return {"alpha": config.lora_alpha, "targets": tuple(sorted(named))}


class _Lora(msgspec.Struct):
    lora_alpha: float | None = None
    target_modules: str | list[str] | None = None


def _check_staged(root: Path, staged: Path, number: int, metrics: dict[str, float]) -> None:
    if number < 1 or number in numbers(root):
        raise rejected(f"version number {number} is taken in {root}: reserve another one")
    if staged.parent != root or not staged.name.startswith(STAGED) or staged.is_symlink():
        raise rejected(f"{staged} is not a folder named {STAGED}… in {root}")
    # A manifest is allowed: a trainer may publish the same staged folder again after a failure.
    found = {path.name for path in staged.iterdir()} - {MANIFEST}
    if found != set(PUBLISHED):
        raise rejected(f"{staged.name} holds {sorted(found)}, must hold {sorted(PUBLISHED)}")
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise rejected(f"metric {name} is {value}: the step diverged")


def _discard(path: Path) -> None:
    """Deletes a folder or a link; renames a folder first, so that no partial version is seen."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    doomed = path if path.name.startswith(STAGED) else path.with_name(f"{STAGED}gone-{path.name}")
    path.rename(doomed)
    shutil.rmtree(doomed)
