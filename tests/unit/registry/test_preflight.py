"""Sabotaged adapters: each is refused before the engine sees it, with a reason that names the
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

from tests.unit.registry.build import (
    BASE,
    LAYER,
    PROBE,
    RANK,
    A,
    B,
    bfloat16,
    publish,
    safetensors_file,
    stage,
    tensors,
)
from ttrl_server.errors import RejectedVersion
from ttrl_server.registry import preflight
from ttrl_server.types import AdapterVersion


def check(
    root: Path, version: AdapterVersion, *, base_model: str = BASE, max_rank: int = 16
) -> None:
    preflight.check(root, version, base_model=base_model, max_rank=max_rank)


def refused(root: Path, version: AdapterVersion, reason: str, **engine: Any) -> None:
    with pytest.raises(RejectedVersion, match=reason) as refusal:
        check(root, version, **engine)
    assert refusal.value.stage == "preflight"


def test_a_sound_adapter_passes(tmp_path: Path) -> None:
    check(tmp_path, publish(tmp_path))


def test_an_adapter_of_a_pinned_revision_passes_on_that_revision_only(tmp_path: Path) -> None:
    version = publish(tmp_path)
    refused(
        tmp_path,
        version,
        "made for 'org/tiny', the engine runs 'org/tiny@abc'",
        base_model="org/tiny@abc",
    )
    check(tmp_path, replace(version, base_model="org/tiny@abc"), base_model="org/tiny@abc")


@pytest.mark.parametrize(
    "name", ["../v000001-00000000", "v000001-00000000/../..", "/", "v000001", "v000009-00000000"]
)
def test_a_folder_name_that_leads_elsewhere_or_nowhere_is_refused(
    tmp_path: Path, name: str
) -> None:
    refused(
        tmp_path,
        replace(publish(tmp_path), folder=name),
        "is not the name of a version|is not a folder in",
    )


def test_a_folder_under_another_number_is_refused(tmp_path: Path) -> None:
    refused(
        tmp_path, replace(publish(tmp_path), number=2), "the folder's name is not that of version 2"
    )


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


@pytest.mark.parametrize(
    "name", ["adapter_config.json", "adapter_model.safetensors", "probe.json", "trainer.pt"]
)
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
    ],
)
def test_anything_but_plain_lora_is_refused(tmp_path: Path, name: str, value: object) -> None:
    refused(tmp_path, publish(tmp_path, 1, stage(tmp_path, config={name: value})), f"{name} is ")


def test_a_rank_the_engine_does_not_take_is_refused(tmp_path: Path) -> None:
    refused(
        tmp_path,
        publish(tmp_path),
        "r is 8; the manifest says 8, the engine takes up to 4",
        max_rank=4,
    )


@pytest.mark.parametrize("rank", [0, 4, 2**40, "8", None])
def test_a_rank_that_is_not_the_manifests_is_refused(tmp_path: Path, rank: object) -> None:
    refused(
        tmp_path, publish(tmp_path, 1, stage(tmp_path, config={"r": rank})), "the manifest says 8"
    )


def test_tensors_of_another_rank_than_they_claim_are_refused(tmp_path: Path) -> None:
    refused(
        tmp_path, publish(tmp_path, 1, stage(tmp_path, config={"r": 4}), rank=4), "not of rank 4"
    )


def test_an_adapter_of_another_base_model_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, publish(tmp_path), "made for 'org/tiny'", base_model="org/other")
    other = publish(tmp_path, 2, stage(tmp_path, config={"base_model_name_or_path": "org/other"}))
    refused(tmp_path, other, "base_model_name_or_path is 'org/other'")


@pytest.mark.parametrize("damage", ["truncated", "empty", "header"])
def test_a_weights_file_that_was_published_broken_is_refused(tmp_path: Path, damage: str) -> None:
    whole = (stage(tmp_path) / "adapter_model.safetensors").read_bytes()
    broken = {"truncated": whole[:-10], "empty": b"", "header": b"\xff" * 8 + whole[8:]}[damage]
    refused(
        tmp_path,
        publish(tmp_path, 1, stage(tmp_path, weights=broken)),
        r"adapter_model\.safetensors cannot be read",
    )


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_one_number_that_is_not_finite_is_enough(tmp_path: Path, dtype: str, poison: float) -> None:
    a, b = tensors().values()
    b[1, 2] = poison
    refused(
        tmp_path, publish(tmp_path, 1, stage(tmp_path, weights=as_file(dtype, a, b))), "not finite"
    )


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_an_adapter_that_changes_nothing_is_refused(tmp_path: Path, dtype: str) -> None:
    a, b = tensors().values()
    version = publish(tmp_path, 1, stage(tmp_path, weights=as_file(dtype, a, -0.0 * b)))
    refused(tmp_path, version, "changes nothing")
    check(tmp_path, publish(tmp_path, 2, stage(tmp_path, weights=as_file(dtype, a, b))))


def test_an_adapter_whose_every_a_is_zero_changes_nothing_either(tmp_path: Path) -> None:
    weights = tensors() | {A: np.zeros((RANK, 6), np.float32)}
    refused(tmp_path, publish(tmp_path, 1, stage(tmp_path, weights=weights)), "changes nothing")


def test_one_layer_that_works_is_enough(tmp_path: Path) -> None:
    idle = {
        A.replace("layers.0", "layers.1"): np.ones((RANK, 6), np.float32),
        B.replace("layers.0", "layers.1"): np.zeros((4, RANK), np.float32),
    }
    check(tmp_path, publish(tmp_path, 1, stage(tmp_path, weights=tensors() | idle)))


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.lm_head.weight",
        f"{LAYER}.lora_magnitude_vector",
        f"{LAYER}.lora_embedding_A",
        "lora_A.weight",
    ],
)
def test_a_tensor_that_is_neither_a_nor_b_is_refused(tmp_path: Path, name: str) -> None:
    weights = tensors() | {name: np.ones((RANK, RANK), np.float32)}
    refused(
        tmp_path,
        publish(tmp_path, 1, stage(tmp_path, weights=weights)),
        "neither a lora_A nor a lora_B",
    )


def test_half_a_pair_is_refused(tmp_path: Path) -> None:
    weights = {A: tensors()[A]}
    refused(
        tmp_path,
        publish(tmp_path, 1, stage(tmp_path, weights=weights)),
        "only one of lora_A and lora_B",
    )


def test_a_precision_the_engine_does_not_take_is_refused(tmp_path: Path) -> None:
    weights = tensors() | {B: np.ones((4, RANK), np.float64)}
    refused(tmp_path, publish(tmp_path, 1, stage(tmp_path, weights=weights)), "is F64")


def test_a_file_without_tensors_changes_nothing(tmp_path: Path) -> None:
    version = publish(tmp_path, 1, stage(tmp_path, weights=safetensors_file({})))
    refused(tmp_path, version, "changes nothing")


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000])
def test_a_probe_or_a_configuration_that_is_not_json_of_its_kind_is_refused(
    tmp_path: Path, text: bytes
) -> None:
    refused(
        tmp_path, publish(tmp_path, 1, stage(tmp_path, probe=text)), r"probe\.json cannot be read"
    )
    staged = stage(tmp_path)
    (staged / "adapter_config.json").write_bytes(text)
    refused(
        tmp_path,
        publish(tmp_path, 2, staged),
        r"adapter_config\.json(: peft_type is None| cannot be read)",
    )


@pytest.mark.parametrize(
    "change",
    [{"start": []}, {"start": [0]}, {"start": [9]}, {"token_ids": []}, {"base_logprobs": [[-1.0]]}],
)
def test_a_probe_whose_parts_do_not_fit_together_is_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    probe = json.dumps(msgspec.to_builtins(PROBE) | change).encode()
    refused(tmp_path, publish(tmp_path, 1, stage(tmp_path, probe=probe)), "do not fit together")


def test_a_probe_with_a_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    probe = msgspec.json.encode(replace(PROBE, adapter_logprobs=((-0.5, float("nan")),)))
    refused(
        tmp_path, publish(tmp_path, 1, stage(tmp_path, probe=probe)), r"probe\.json cannot be read"
    )


def as_file(dtype: str, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bytes:
    pack = {
        "F32": lambda x: x.tobytes(),
        "F16": lambda x: x.astype(np.float16).tobytes(),
        "BF16": bfloat16,
    }[dtype]
    return safetensors_file(
        {A: (dtype, list(a.shape), pack(a)), B: (dtype, list(b.shape), pack(b))}
    )
