"""Preflight: checks a version's files before an engine loads them.

vLLM reads these files with the gateway's rights, so nothing in the folder is trusted. Preflight
checks names, links, hashes, shapes and numbers, without torch.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import safetensors

from ttrl_server.registry import folders, names
from ttrl_server.registry.folders import MALFORMED, rejected
from ttrl_server.registry.names import CONFIG, PROBE, PUBLISHED, WEIGHTS
from ttrl_server.types import AdapterVersion, Probe

T = TypeVar("T")

PREFIX = "base_model.model."
"""PEFT's prefix before the base model's layer names."""
_TENSOR = re.compile(r"(base_model\.model\..+)\.lora_([AB])\.weight")

_PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none", None),
    "use_dora": (False, None),
    "lora_bias": (False, None),
    "modules_to_save": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
}
"""Settings of a plain LoRA adapter; the engine cannot serve other kinds as they were trained."""

Shapes = dict[str, tuple[int, ...]]


def check(
    root: Path,
    version: AdapterVersion,
    *,
    base_model: str,
    max_rank: int,
    base_shapes: Shapes | None = None,
) -> None:
    """Reads every byte of a version. Raises RejectedVersion("preflight", …) at the first problem.

    ``base_model``: the engine's base model, ``name@revision`` if it has a revision.
    ``base_shapes``: the [out, in] shapes of its weights, where they are known.
    """
    folder = folders.locate(root, version.folder)
    _check_files(folder, version)
    if version.base_model != base_model:
        raise rejected(f"made for {version.base_model!r}, the engine runs {base_model!r}")
    _check_config(folder, version, base_model, max_rank)
    _check_probe(folder)
    _check_weights(folder, version.rank, base_shapes or {})


def _check_files(folder: Path, version: AdapterVersion) -> None:
    for path in folder.iterdir():
        if path.is_symlink() or not path.is_file():
            raise rejected(f"{path.name} is not a plain file")
        if path.name not in (*PUBLISHED, names.MANIFEST):
            raise rejected(f"{path.name!r} does not belong in a version folder")
    for name in PUBLISHED:
        if name == names.TRAINER_STATE and not (folder / name).exists():
            continue  # strip_trainer_state has removed it
        if not (folder / name).exists():
            raise rejected(f"{name} is missing")
        if folders.hash_file(folder / name) != version.sha256.get(name):
            said = "is not the file that was published: its sha256 differs from the manifest"
            raise rejected(f"{name} {said}")
    if folder.name != names.folder_name(version.number, version.sha256[WEIGHTS]):
        it = f"version {version.number} with these weights"
        raise rejected(f"the folder's name is not that of {it}")


def _check_config(folder: Path, version: AdapterVersion, base_model: str, max_rank: int) -> None:
    config = _decode(folder, CONFIG, dict[str, Any])
    for name, allowed in _PLAIN.items():
        if config.get(name) not in allowed:
            raise rejected(f"{CONFIG}: {name} is {config.get(name)!r}, must be {allowed[0]!r}")
    rank = config.get("r")
    if rank != version.rank or not 1 <= version.rank <= max_rank:
        allowed_rank = f"the manifest says {version.rank}, the engine takes up to {max_rank}"
        raise rejected(f"{CONFIG}: r is {rank!r}; {allowed_rank}")
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not (base == base_model or base_model.startswith(f"{base}@")):
        said = f"base_model_name_or_path is {base!r}, the engine runs {base_model!r}"
        raise rejected(f"{CONFIG}: {said}")


def _check_probe(folder: Path) -> None:
    probe = _decode(folder, PROBE, Probe)
    spans = zip(probe.token_ids, probe.start, strict=False)
    scored = [len(ids) - start if start > 0 else 0 for ids, start in spans]
    fits = len(probe.token_ids) == len(probe.start) and min(scored, default=0) >= 1
    both = (probe.adapter_logprobs, probe.base_logprobs)
    if not fits or any([len(row) for row in scores] != scored for scores in both):
        raise rejected(f"{PROBE}: its sequences, starts and log-probabilities do not fit together")


def _check_weights(folder: Path, rank: int, base: Shapes) -> None:
    """Checks names, pairs, shapes (A [r, in], B [out, r]) and numbers.

    A layer that ``base`` does not have has no widths to check: some models store other names.
    """
    try:
        data = (folder / WEIGHTS).read_bytes()
        tensors = dict(safetensors.deserialize(data))  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise rejected(f"{WEIGHTS} cannot be read: {error}") from error
    works: dict[str, list[bool]] = {}
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise rejected(f"tensor {name!r} is neither a lora_A nor a lora_B")
        shape, width = tensor["shape"], 1 if match[2] == "A" else 0
        if len(shape) != 2 or shape[1 - width] != rank:
            raise rejected(f"tensor {name} has shape {shape}, not of rank {rank}")
        layer = base.get(f"{match[1].removeprefix(PREFIX)}.weight", ())
        if len(layer) == 2 and shape[width] != layer[width]:
            there = f"the base model's layer is {list(layer)}"
            raise rejected(f"tensor {name} has shape {shape}, {there}")
        works.setdefault(match[1], []).append(_is_nonzero(name, tensor))
    for adapted, pair in works.items():
        if len(pair) != 2:
            raise rejected(f"layer {adapted} has only one of lora_A and lora_B")
    if not any(all(pair) for pair in works.values()):
        raise rejected("the adapter changes nothing: lora_B · lora_A is zero in every layer")


@lru_cache(maxsize=4)
def shapes_of(model: str) -> Shapes | None:
    """Shapes of a local model's weights, from its safetensors files; None when it has none."""
    found: Shapes = {}
    for path in sorted(Path(model).glob("*.safetensors")) if Path(model).is_dir() else ():
        with safetensors.safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118
                found[name] = tuple(file.get_slice(name).get_shape())
    return found or None


def _is_nonzero(name: str, tensor: dict[str, Any]) -> bool:
    """Whether any element differs from 0. Raises RejectedVersion when one is not finite."""
    dtype, data = tensor["dtype"], tensor["data"]
    if dtype == "BF16":
        # Sign bit removed; 0x7F80 and above is infinite or not a number.
        bits = np.frombuffer(data, np.uint16) & 0x7FFF
        finite, nonzero = bool((bits < 0x7F80).all()), bool(bits.any())
    elif dtype in ("F32", "F16"):
        values = np.frombuffer(data, np.float32 if dtype == "F32" else np.float16)
        finite, nonzero = bool(np.isfinite(values).all()), bool(values.any())
    else:
        raise rejected(f"tensor {name} is {dtype}; adapters are F32, F16 or BF16")
    if not finite:
        raise rejected(f"tensor {name} holds numbers that are not finite")
    return nonzero


def _decode(folder: Path, name: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode((folder / name).read_bytes(), type=kind)
    except MALFORMED as error:
        raise rejected(f"{name} cannot be read: {error}") from error
