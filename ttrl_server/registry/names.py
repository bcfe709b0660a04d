"""The names of a version and of its files: only this module writes and parses them.

tiny@v7, tiny@base       its name for clients and the engine, never reused; 0 is the base model
v000007-ab12cd34         its folder: the number, and the first digits of the weights' hash
"""

from __future__ import annotations

import re
from collections.abc import Iterable

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PROBE, TRAINER_STATE = "probe.json", "trainer.pt"
MANIFEST = "manifest.json"
PUBLISHED = (CONFIG, WEIGHTS, PROBE, TRAINER_STATE)
"""The files that a trainer stages; ``publish`` adds the manifest."""
LEDGER = "ledger.jsonl"
STAGED = ".tmp-"
"""Prefix of a folder that is being written or removed."""

_FOLDER = re.compile(r"v([0-9]{6,})-[0-9a-f]{8}")
_PIN = re.compile(r"v([0-9]{1,10})")


def version_name(model: str, number: int) -> str:
    """``tiny@v7``, or ``tiny@base`` for 0, of the model that is served as ``tiny``."""
    return f"{model}@v{number}" if number else f"{model}@base"


def folder_name(number: int, weights_sha256: str) -> str:
    """``v000007-ab12cd34``."""
    return f"v{number:06d}-{weights_sha256[:8]}"


def number_of_folder(folder: str) -> int | None:
    """7 for ``v000007-ab12cd34``; None for any other name."""
    match = _FOLDER.fullmatch(folder)
    return int(match[1]) if match else None


def number_of_pin(pin: str) -> int | None:
    """7 for ``v7``, 0 for ``base`` (the part of a name after the @); None for anything else."""
    if pin == "base":
        return 0
    match = _PIN.fullmatch(pin)
    return int(match[1]) if match else None


def number_in(text: str) -> int | None:
    """The number in ``7``, ``v7``, ``base``, a name or a folder; None for anything else."""
    pin = text.rsplit("@", 1)[-1]
    number = number_of_folder(pin)
    return number if number is not None else number_of_pin(pin if pin[:1] in "bv" else f"v{pin}")


def numbers_among(names: Iterable[str], model: str) -> set[int]:
    """The versions of ``model`` in an engine's list of names, without the base model."""
    split = (name.rpartition("@") for name in names)
    found = (number_of_pin(pin) for alias, _, pin in split if alias == model)
    return {number for number in found if number}
