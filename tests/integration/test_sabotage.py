"""Sabotaged versions through the front door: refused at the right stage for the right reason, none
costs an answer.

Sabotage that only an engine can find is in ``tests/e2e/test_whole_loop.py``.
"""

from __future__ import annotations

import itertools
import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.integration.conftest import Gateway, Start, problem
from tests.unit.registry import build
from ttrl_server.registry import folders
from ttrl_server.registry.names import WEIGHTS
from ttrl_server.types import Batch

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
    return gateway.lease()


@pytest.fixture(scope="module")
def shared(start_one: Start) -> Gateway:
    return start_one(guard={"refusals": 0})


def proposed(gateway: Gateway, sabotage: str) -> dict[str, Any]:
    batch, root = next_batch(gateway), gateway.config.adapters_root
    staged = build.stage(root, **BEFORE[sabotage][0]) if sabotage in BEFORE else None
    rank = 64 if sabotage == "rank too large" else build.RANK
    parent = batch.parent.number if batch.parent else 0
    folder = build.publish(root, batch.number, staged, rank=rank, parent=parent).folder
    if sabotage in AFTER:
        AFTER[sabotage][0](root / folder)
    return gateway.propose(batch, folder)


@pytest.mark.parametrize("sabotage", [*AFTER, *BEFORE])
def test_a_sabotaged_version_is_refused_before_the_engine_hears_of_it(
    gateway: Gateway, sabotage: str
) -> None:
    judgement = proposed(gateway, sabotage)
    assert judgement["state"] == "rejected"
    assert judgement["reason"].startswith("preflight: ")
    assert (AFTER | BEFORE)[sabotage][1] in judgement["reason"]
    assert "/v1/load_lora_adapter" not in gateway.engine.paths()
    ledger = (gateway.config.adapters_root / "ledger.jsonl").read_text().splitlines()
    last = [event for event in map(json.loads, ledger) if event["event"] == "rejected"][-1]
    assert (last["stage"], last["by"]) == ("preflight", "gate")
    assert judgement["reason"].endswith(last["reason"])
    assert gateway.evidence()["adapter"] == "tiny@base"


def test_a_name_that_leads_elsewhere_is_no_version(start: Start) -> None:
    gateway = start()
    batch = next_batch(gateway).id
    names = ["../v000001-00000000", "v000001-00000000/..", "../../etc", "/etc", "", "v1"]
    replies = [gateway.admin("train/propose", {"batch": batch, "folder": name}) for name in names]
    assert [problem(reply, "param") for reply in replies] == [(400, "folder")] * len(names)


def test_weights_that_do_not_fit_the_base_model_are_refused(start: Start, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    layer = {"model.layers.0.self_attn.q_proj.weight": np.ones((4, 5), np.float32)}
    save_file(layer, model / "model.safetensors")
    gateway = start(model=str(model), served_model_name="tiny")
    batch, root = next_batch(gateway), gateway.config.adapters_root
    staged = build.stage(root, config={"base_model_name_or_path": str(model)})
    about: dict[str, Any] = {"parent": 0, "rank": 8, "step": 1, "metrics": {}}
    version = folders.publish(root, staged, number=batch.number, base_model=str(model), **about)
    judgement = gateway.propose(batch, version.folder)
    assert judgement["reason"].startswith("preflight: ")
    assert "the base model's layer is [4, 5]" in judgement["reason"]


def test_a_hundred_bad_candidates_in_a_row_cost_no_request_and_no_disk(start: Start) -> None:
    gateway = start(guard={"refusals": 0})
    gateway.promote()

    def judge_all() -> set[str]:
        kinds = itertools.cycle([*AFTER, *BEFORE])
        return {proposed(gateway, kind)["state"] for kind in itertools.islice(kinds, 100)}

    judging = gateway.aside(judge_all)
    asked = 0
    while not judging.done() or asked <= 10:
        reply = gateway.ask("What is 1 + 1?", ttrl={"samples": 2, "train": False})
        assert (reply.status_code, reply.json()["ttrl"]["adapter"]) == (200, "tiny@v1")
        asked += 1
        time.sleep(0.05)  # a client, not a flood: all this is one process
    assert judging.result() == {"rejected"}
    # And the next good one is served; the worst of the rubbish goes with the swap.
    gateway.promote()
    gateway.until(lambda: len(list(gateway.config.adapters_root.glob("v*"))) <= 8, 30)
