"""Divides the GPUs between engine and trainer, where the settings do not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_NO = ("false", "0", "no", "off", "n", "f")


def place(data: dict[str, Any]) -> dict[str, Any]:
    """Adds hardware and the two lists of devices to raw settings that do not have them."""
    found = len(list(Path("/dev").glob("nvidia[0-9]*")))
    hardware = data.get("hardware") or ("cuda" if data.get("gpus") or found else "cpu")
    data = {**data, "hardware": hardware}
    engine, train = data.get("engine") or {}, data.get("train") or {}
    gpus = str(data.get("gpus") or found)
    if not (isinstance(engine, dict) and isinstance(train, dict) and gpus.isdecimal()):
        return data  # the validation refuses these values later
    if hardware != "cuda" or gpus == "0" or engine.get("devices") or train.get("devices"):
        return data
    off = str(train.get("enabled", True)).lower() in _NO
    learning = not off and train.get("launch") != "elsewhere"
    team = str(engine.get("tensor_parallel", 1))
    team_size = int(team) if team.isdecimal() else 1
    serve, learn = split_devices(int(gpus), learning=learning, team=team_size)
    return data | {"engine": engine | {"devices": serve}, "train": train | {"devices": learn}}


def split_devices(gpus: int, *, learning: bool, team: int = 1) -> tuple[list[int], list[int]]:
    """(serving, training) GPUs: 8 → 5 + 3, 4 → 2 + 2, 1 → shared; without learning all serve.

    The number of serving GPUs is a multiple of ``team``; the other GPUs train.
    """
    if not learning:
        return list(range(gpus)), []
    if gpus <= team:
        return list(range(gpus)), list(range(gpus))
    serving = max(team, (gpus - max(1, round(gpus * 3 / 8))) // max(team, 1) * team)
    return list(range(serving)), list(range(serving, gpus))
