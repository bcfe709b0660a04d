"""Sabotaged adapters: each is refused before an engine sees it, with a reason that names the
sabotage."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors.numpy import save

from tests.unit.registry.build import BASE, LAYER, PROBE, RANK, A, B, publish, stage, tensors
from ttrl_server.errors import RejectedVersion
from ttrl_server.registry import preflight
from ttrl_server.registry.names import PUBLISHED
from ttrl_server.types import AdapterVersion


def check(root: Path, version: AdapterVersion, base_model: str = BASE, max_rank: int = 16) -> None:
    preflight.check(root, version, base_model=base_model, max_rank=max_rank)


def refused(root: Path, version: AdapterVersion, reason: str, **engine: Any) -> None:
    with pytest.raises(RejectedVersion, match=reason) as refusal:
        check(root, version, **engine)
    assert refusal.value.stage == "preflight"


def sabotaged(root: Path, **staged: Any) -> AdapterVersion:
    return publish(root, 1, stage(root, **staged))


def test_an_adapter_of_a_pinned_revision_passes_on_that_revision_only(tmp_path: Path) -> None:
    version, pinned = publish(tmp_path), f"{BASE}@abc"
    refused(tmp_path, version, f"made for '{BASE}', the engine runs '{pinned}'", base_model=pinned)
    check(tmp_path, replace(version, base_model=pinned), base_model=pinned)


@pytest.mark.parametrize(
    "name", ["../v000001-00000000", "v000001-00000000/../..", "/", "v000001", "v000009-00000000"]
)
def test_a_folder_that_is_elsewhere_or_nowhere_is_refused(tmp_path: Path, name: str) -> None:
    version = replace(publish(tmp_path), folder=name)
    refused(tmp_path, version, "is not the name of a version|is not a folder in")


def test_a_folder_under_another_number_is_refused(tmp_path: Path) -> None:
    version = replace(publish(tmp_path), number=2)
    refused(tmp_path, version, "the folder's name is not that of version 2")


def test_a_linked_file_is_refused_even_when_its_contents_are_right(tmp_path: Path) -> None:
    version = publish(tmp_path)
    path = tmp_path / version.folder / "adapter_model.safetensors"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    refused(tmp_path, version, r"adapter_model\.safetensors is not a plain file")


@pytest.mark.parametrize("name", ["tokenizer.json", "adapter_model.bin", "pytorch_model.bin"])
def test_a_file_that_does_not_belong_there_is_refused(tmp_path: Path, name: str) -> None:
    version = publish(tmp_path)
    (tmp_path / version.folder / name).touch()
    refused(tmp_path, version, f"'{re.escape(name)}' does not belong")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_file_that_changed_after_it_was_published_is_refused(tmp_path: Path, name: str) -> None:
    version = publish(tmp_path)
    path = tmp_path / version.folder / name
    path.write_bytes(path.read_bytes()[:-1])
    refused(tmp_path, version, f"{re.escape(name)} is not the file that was published")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    version = publish(tmp_path)
    (tmp_path / version.folder / "probe.json").unlink()
    refused(tmp_path, version, r"probe\.json is missing")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("peft_type", "IA3"),
        ("peft_type", None),
        ("bias", "all"),
        ("use_dora", True),
        ("lora_bias", True),
        ("modules_to_save", ["lm_head"]),
        ("rank_pattern", {"q_proj": 4}),
        ("alpha_pattern", {"q_proj": 4}),
        ("base_model_name_or_path", "org/other"),
        ("r", 0),
        ("r", 4),
        ("r", 2**40),
        ("r", "8"),
        ("r", None),
    ],
)
def test_anything_but_plain_lora_is_refused(tmp_path: Path, name: str, value: object) -> None:
    reason = f"adapter_config.json: {name} is {value!r}"
    refused(tmp_path, sabotaged(tmp_path, config={name: value}), re.escape(reason))


def test_an_engine_for_smaller_ranks_or_another_base_model_refuses_it(tmp_path: Path) -> None:
    version, ranks = publish(tmp_path), "r is 8; the manifest says 8, the engine takes up to 4"
    refused(tmp_path, version, ranks, max_rank=4)
    refused(tmp_path, version, "made for 'org/tiny'", base_model="org/other")


def test_tensors_of_another_rank_than_they_claim_are_refused(tmp_path: Path) -> None:
    version = publish(tmp_path, 1, stage(tmp_path, config={"r": 4}), rank=4)
    refused(tmp_path, version, "not of rank 4")


ONES, WHOLE = np.ones((RANK, RANK), np.float32), save(tensors())


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (WHOLE[:-10], r"adapter_model\.safetensors cannot be read"),
        (b"", r"adapter_model\.safetensors cannot be read"),
        (b"\xff" * 8 + WHOLE[8:], r"adapter_model\.safetensors cannot be read"),
        (save({}), "changes nothing"),
        (tensors() | {A: np.zeros((RANK, 6), np.float32)}, "changes nothing"),
        (tensors() | {"base_model.model.lm_head.weight": ONES}, "neither a lora_A nor a lora_B"),
        (tensors() | {f"{LAYER}.lora_magnitude_vector": ONES}, "neither a lora_A nor a lora_B"),
        (tensors() | {f"{LAYER}.lora_embedding_A": ONES}, "neither a lora_A nor a lora_B"),
        (tensors() | {"lora_A.weight": ONES}, "neither a lora_A nor a lora_B"),
        ({A: tensors()[A]}, "only one of lora_A and lora_B"),
        (tensors() | {B: np.ones((4, RANK), np.float64)}, "is F64"),
    ],
)
def test_unservable_weights_are_refused(tmp_path: Path, weights: Any, reason: str) -> None:
    refused(tmp_path, sabotaged(tmp_path, weights=weights), reason)


def as_file(dtype: torch.dtype, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bytes:
    pair = {A: torch.from_numpy(a).to(dtype), B: torch.from_numpy(b).to(dtype)}
    return bytes(safetensors.torch.save(pair))


DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_is_refused(tmp_path: Path, dtype: torch.dtype, poison: float) -> None:
    a, b = tensors().values()
    b[1, 2] = poison
    refused(tmp_path, sabotaged(tmp_path, weights=as_file(dtype, a, b)), "not finite")


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_adapter_that_changes_nothing_is_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    a, b = tensors().values()
    refused(tmp_path, sabotaged(tmp_path, weights=as_file(dtype, a, -0.0 * b)), "changes nothing")
    check(tmp_path, publish(tmp_path, 2, stage(tmp_path, weights=as_file(dtype, a, b))))


def test_one_layer_that_works_is_enough(tmp_path: Path) -> None:
    idle = {
        A.replace("layers.0", "layers.1"): np.ones((RANK, 6), np.float32),
        B.replace("layers.0", "layers.1"): np.zeros((4, RANK), np.float32),
    }
    check(tmp_path, sabotaged(tmp_path, weights=tensors() | idle))


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000])
def test_a_probe_or_configuration_that_is_not_json_is_refused(tmp_path: Path, text: bytes) -> None:
    refused(tmp_path, sabotaged(tmp_path, probe=text), r"probe\.json cannot be read")
    staged = stage(tmp_path)
    (staged / "adapter_config.json").write_bytes(text)
    reason = r"adapter_config\.json(: peft_type is None| cannot be read)"
    refused(tmp_path, publish(tmp_path, 2, staged), reason)


@pytest.mark.parametrize(
    "change",
    [{"start": []}, {"start": [0]}, {"start": [9]}, {"token_ids": []}, {"base_logprobs": [[-1.0]]}],
)
def test_a_probe_whose_parts_do_not_fit_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    probe = json.dumps(msgspec.to_builtins(PROBE) | change).encode()
    refused(tmp_path, sabotaged(tmp_path, probe=probe), "do not fit together")


def test_a_probe_with_a_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    probe = msgspec.json.encode(replace(PROBE, adapter_logprobs=((-0.5, float("nan")),)))
    refused(tmp_path, sabotaged(tmp_path, probe=probe), r"probe\.json cannot be read")
