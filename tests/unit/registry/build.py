"""Small version folders for the registry's tests, staged as the trainer stages them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors.numpy import save

from ttrl_server.registry import folders, names
from ttrl_server.types import AdapterVersion, Probe

BASE, RANK = "org/tiny", 8
LAYER = "base_model.model.model.layers.0.self_attn.q_proj"
A, B = f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"

CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "base_model_name_or_path": BASE,
    "r": RANK,
    "lora_alpha": 16,
    "bias": "none",
    "use_dora": False,
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "target_modules": ["q_proj"],
}
PROBE = Probe(((1, 2, 3, 4),), (2,), ((-0.5, -1.0),), ((-0.75, -1.25),))


def tensors(seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    return {
        A: random.normal(size=(RANK, 6)).astype(np.float32),
        B: random.normal(size=(4, RANK)).astype(np.float32),
    }


def stage(
    root: Path,
    *,
    weights: dict[str, np.ndarray[Any, Any]] | bytes | None = None,
    config: dict[str, Any] | None = None,
    probe: bytes | None = None,
    seed: int = 0,
) -> Path:
    """A folder ``.tmp-…`` with the four files; ``weights`` as bytes is the file itself."""
    folder = root / f".tmp-{len(list(root.iterdir()))}"
    folder.mkdir()
    data = weights if isinstance(weights, bytes) else save(weights or tensors(seed))
    (folder / names.WEIGHTS).write_bytes(data)
    (folder / names.CONFIG).write_text(json.dumps(CONFIG | (config or {})))
    (folder / names.PROBE).write_bytes(msgspec.json.encode(PROBE) if probe is None else probe)
    (folder / names.TRAINER_STATE).write_bytes(b"optimiser state")
    return folder


def publish(root: Path, number: int = 1, staged: Path | None = None, **more: Any) -> AdapterVersion:
    """Version ``number``; ``more``: what is to differ in its manifest."""
    usual: dict[str, Any] = {"base_model": BASE, "parent": number - 1, "rank": RANK}
    usual |= {"step": number, "metrics": {"loss": 0.25}}
    staged = staged or stage(root, seed=number)
    return folders.publish(root, staged, number=number, **usual | more)


def folder(number: int) -> str:
    """The name of a folder that need not be there."""
    return f"v{number:06d}-{number:08d}"
