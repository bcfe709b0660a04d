"""Sabotaged versions through the front door: refused at the right stage for the right reason, none
costs an answer.

Sabotage that only an engine can find is in ``tests/e2e/test_adapters.py``.
"""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.integration.conftest import Gateway
from tests.integration.test_learning_loop import engine, lease, promote_one
from tests.unit.registry import build
from ttrl_server.registry import folders
from ttrl_server.registry.names import WEIGHTS
from ttrl_server.types import Batch

Start = Callable[..., Gateway]
Sabotage = Callable[[Path], None]


def truncated(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9])


def swapped_bytes(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 0xFF
    (folder / WEIGHTS).write_bytes(data)


def pickled(folder: Path) -> None:
    (folder / "adapter_model.bin").write_bytes(pickle.dumps({}))


def linked_out(folder: Path) -> None:
    (folder / "probe.json").unlink()
    (folder / "probe.json").symlink_to("/etc/hostname")


AFTER: dict[str, tuple[Sabotage, str]] = {
    "truncated": (truncated, "its sha256 differs"),
    "wrong hash": (swapped_bytes, "its sha256 differs"),
    "pickle": (pickled, "does not belong in a version folder"),
    "symlink out": (linked_out, "is not a plain file"),
}
"""What is done to a folder that was published."""

nan = build.tensors()
nan[build.A] = np.full_like(nan[build.A], np.nan)
nothing = build.tensors()
nothing[build.B] = np.zeros_like(nothing[build.B])
wide = {build.A: np.ones((64, 6), np.float32), build.B: np.ones((4, 64), np.float32)}

BEFORE: dict[str, tuple[dict[str, Any], str]] = {
    "NaN": ({"weights": nan}, "not finite"),
    "no-op": ({"weights": nothing}, "changes nothing"),
    "DoRA": ({"config": {"use_dora": True}}, "use_dora"),
    "bias": ({"config": {"bias": "all"}}, "bias"),
    "modules_to_save": ({"config": {"modules_to_save": ["lm_head"]}}, "modules_to_save"),
    "wrong base": ({"config": {"base_model_name_or_path": "org/other"}}, "base_model_name_or_path"),
    "rank too large": ({"weights": wide, "config": {"r": 64}}, "the engine takes up to 8"),
}
"""What is staged instead of a sound version."""


def next_batch(gateway: Gateway) -> Batch:
    """Beside other questions four samples may happen to agree, and then there is nothing to
    train on."""
    while gateway.ask().json()["ttrl"]["train"] != "queued":
        pass
    return lease(gateway)


def proposed(gateway: Gateway, sabotage: str) -> dict[str, Any]:
    batch, root = next_batch(gateway), gateway.config.adapters_root
    staged, _ = BEFORE.get(sabotage, ({}, ""))
    rank = 64 if sabotage == "rank too large" else build.RANK
    folder = build.publish(
        root,
        batch.number,
        build.stage(root, **staged),
        rank=rank,
        parent=batch.parent.number if batch.parent else 0,
    ).folder
    if sabotage in AFTER:
        AFTER[sabotage][0](root / folder)
    return dict(gateway.admin("train/propose", {"batch": batch.id, "folder": folder}).json())


@pytest.mark.parametrize("sabotage", [*AFTER, *BEFORE])
def test_a_sabotaged_version_is_refused_before_the_engine_hears_of_it(
    start: Start, sabotage: str
) -> None:
    gateway = start(engine())
    judgement = proposed(gateway, sabotage)
    assert judgement["state"] == "rejected"
    assert judgement["reason"].startswith("preflight: ")
    assert (AFTER | BEFORE)[sabotage][1] in judgement["reason"]
    assert "/v1/load_lora_adapter" not in gateway.engine.paths()
    ledger = [
        json.loads(line)
        for line in (gateway.config.adapters_root / "ledger.jsonl").read_text().splitlines()
    ]
    assert (ledger[-1]["event"], ledger[-1]["stage"], ledger[-1]["by"]) == (
        "rejected",
        "preflight",
        "gate",
    )
    assert gateway.ask().json()["ttrl"]["adapter"] == "tiny@base"


@pytest.mark.parametrize("name", ["../v000001-00000000", "v000001-00000000/..", "/etc", "", "v1"])
def test_a_name_that_leads_elsewhere_is_no_version(start: Start, name: str) -> None:
    gateway = start(engine())
    gateway.ask()
    reply = gateway.admin("train/propose", {"batch": lease(gateway).id, "folder": name})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "folder")


def test_weights_that_do_not_fit_the_base_model_are_refused(start: Start, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    save_file(
        {"model.layers.0.self_attn.q_proj.weight": np.ones((4, 5), np.float32)},
        model / "model.safetensors",
    )
    gateway = start(engine(), model=str(model), served_model_name="tiny")
    gateway.ask()
    batch, root = lease(gateway), gateway.config.adapters_root
    staged = build.stage(root, config={"base_model_name_or_path": str(model)})
    folder = folders.publish(
        root,
        staged,
        number=batch.number,
        base_model=str(model),
        parent=0,
        rank=8,
        step=1,
        metrics={},
    ).folder
    judgement = gateway.admin("train/propose", {"batch": batch.id, "folder": folder}).json()
    assert judgement["reason"].startswith("preflight: ")
    assert "the base model's layer is [4, 5]" in judgement["reason"]


def test_a_hundred_bad_candidates_in_a_row_cost_no_request_and_no_disk(start: Start) -> None:
    gateway = start(engine(), guard={"refusals": 0})
    promote_one(gateway)
    statuses: list[int] = []
    ending = threading.Event()

    def load() -> None:
        while not ending.is_set():
            reply = gateway.ask("What is 1 + 1?", ttrl={"train": False})
            statuses.append(
                reply.status_code if reply.json()["ttrl"]["adapter"] == "tiny@v1" else 0
            )

    asking = threading.Thread(target=load)
    asking.start()
    try:
        kinds = [*AFTER, *BEFORE]
        states = {proposed(gateway, kinds[n % len(kinds)])["state"] for n in range(100)}
    finally:
        ending.set()
        asking.join(30)
    assert states == {"rejected"}
    assert set(statuses) == {200}
    assert len(statuses) > 10
    # And the next good one is served; the worst of the rubbish goes with the swap.
    promote_one(gateway)
    gateway.until(lambda: len(list(gateway.config.adapters_root.glob("v*"))) <= 8, 30)
