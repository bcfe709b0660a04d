"""Small version folders for the registry's tests, staged as the trainer stages them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors.numpy import save_file

from ttrl_server.registry import folders
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
    if isinstance(weights, bytes):
        (folder / "adapter_model.safetensors").write_bytes(weights)
    else:
        save_file(weights or tensors(seed), folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | (config or {})))
    (folder / "probe.json").write_bytes(msgspec.json.encode(PROBE) if probe is None else probe)
    (folder / "trainer.pt").write_bytes(b"optimiser state")
    return folder


def publish(
    root: Path,
    number: int = 1,
    staged: Path | None = None,
    *,
    rank: int = RANK,
    parent: int | None = None,
) -> AdapterVersion:
    return folders.publish(
        root,
        staged or stage(root, seed=number),
        number=number,
        base_model=BASE,
        parent=number - 1 if parent is None else parent,
        rank=rank,
        step=number,
        metrics={"loss": 0.25},
    )


def safetensors_file(entries: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    """A file of the safetensors format from name → (dtype, shape, data): numpy cannot write
    bfloat16."""
    header, data = {}, b""
    for name, (dtype, shape, part) in entries.items():
        header[name] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [len(data), len(data) + len(part)],
        }
        data += part
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def bfloat16(values: np.ndarray[Any, Any]) -> bytes:
    """The upper halves of the 32-bit floats."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
