"""Two real gloo ranks: the update is the one a single rank makes, and the whole trainer works
under torchrun."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.integration.conftest import Gateway
from tests.integration.fake_vllm import Serving
from tests.unit.training.tiny import (
    batch_of,
    drawn_batch,
    experience,
    gradient,
    reference_gradient,
    tiny_base,
    tiny_batch,
    tiny_config,
    tiny_policy,
)
from ttrl_server.process import inherited
from ttrl_server.registry import folders
from ttrl_server.registry.names import number_of_folder
from ttrl_server.training import state
from ttrl_server.training.command import trainer_command
from ttrl_server.training.policy import trained_parameters
from ttrl_server.training.ranks import Ranks
from ttrl_server.training.reference import reference_step
from ttrl_server.training.step import build_engine, train_step
from ttrl_server.types import Batch, Parent

STAGES = (0, 1, 2, 3)
DRAWN = 8
SETTINGS: dict[str, Any] = {"micro_batch_tokens": 16, "rank": 1}
"""Micro-batches that do not divide by two, and tensors that stage 3 cannot cut evenly."""


def train_on_this_rank(folder: Path) -> None:
    """What each rank of the subprocess runs: at every stage a step, a restart from files, and
    another step."""
    ranks = Ranks(tiny_config())
    for stage in STAGES:
        cfg = tiny_config(zero_stage=stage, **SETTINGS)
        policy = tiny_policy(cfg)
        start = state.initial(policy)
        engine = build_engine(policy, cfg)
        state.restore(engine, start)
        first = train_step(engine, tiny_batch(None, 0), cfg.train)
        kept = state.capture(engine)
        state.restore(engine, start)
        state.restore(engine, kept)
        second = train_step(engine, tiny_batch(None, 10), cfg.train)
        end = state.capture(engine)
        state.restore(engine, start)
        drawn = [gradient(engine, drawn_batch(seed), cfg) for seed in range(DRAWN)]
        if ranks.leads:
            losses = [first["loss"], second["loss"]]
            found = {"adapter": end.weights, "loss": losses, "drawn": drawn}
            torch.save(found, folder / f"{stage}.pt")


@pytest.fixture(scope="module")
def trained_by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two-ranks")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    argv = [*launcher, "--nproc-per-node", "2", __file__, str(folder)]
    env = os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_two_ranks_give_the_update_of_the_reference_at_every_zero_stage(
    stage: int, trained_by_two: Path
) -> None:
    cfg = tiny_config(**SETTINGS)
    policy = tiny_policy(cfg)
    trained = trained_parameters(policy)
    about = {"lr": cfg.train.learning_rate, "weight_decay": cfg.train.weight_decay}
    adam = torch.optim.AdamW(trained.values(), **about)
    losses = [reference_step(policy, adam, tiny_batch(None, seed), cfg.train) for seed in (0, 10)]
    got = torch.load(trained_by_two / f"{stage}.pt")
    assert got["loss"] == pytest.approx(losses, rel=1e-5)
    for name, parameter in trained.items():
        far = (got["adapter"][name] - parameter.detach()).abs().max().item()
        assert far < 0.01 * cfg.train.learning_rate


@pytest.mark.parametrize("stage", STAGES)
def test_two_ranks_give_the_gradient_of_the_reference_for_any_lengths(
    stage: int, trained_by_two: Path
) -> None:
    cfg = tiny_config(**SETTINGS)
    policy = tiny_policy(cfg)
    learned = 0
    for seed, fast in enumerate(torch.load(trained_by_two / f"{stage}.pt")["drawn"]):
        plain = reference_gradient(policy, drawn_batch(seed), cfg)
        assert plain.shape == fast.shape
        if plain.any():
            learned += 1
            assert torch.cosine_similarity(fast.double(), plain.double(), dim=0) >= 0.99999
    assert learned > DRAWN / 2


class OneRoomGateway:
    """Hands out batches in order, promotes the first version and rejects the others; everything
    it hears is kept."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.promoted: Parent | None = None
        self.serving = Serving(Starlette(routes=[Route("/{path:path}", self.on, methods=["POST"])]))

    async def on(self, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer s3cret"
        route, body = request.url.path.rpartition("/")[2], await request.json()
        if route == "lease" and not self.batches:
            await asyncio.sleep(0.2)
            return Response(status_code=204)
        self.heard.append((route, body))
        if route == "lease":
            batch = replace(self.batches.pop(0), parent=self.promoted)
            return Response(msgspec.msgpack.encode(batch))
        if route != "propose":
            return Response(status_code=204)
        state = "rejected" if self.promoted else "promoted"
        if state == "promoted":
            self.promoted = Parent(number_of_folder(body["folder"]) or 0, body["folder"])
        judgement = {"state": state, "reason": "", "parent": self.promoted}
        return Response(msgspec.json.encode(judgement))


@pytest.fixture
def gateway() -> Iterator[OneRoomGateway]:
    unanimous = batch_of(experience(None, 4, (2, 3), (1, 1), seed=7))
    wanted = [tiny_batch(None, 0), unanimous, tiny_batch(None, 10), tiny_batch(None, 10)]
    numbered = enumerate(wanted, start=1)
    it = OneRoomGateway(
        [replace(batch, id=f"b{i}", number=i, lease_s=0.3) for i, batch in numbered]
    )
    yield it
    it.serving.end()


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_trainer_leases_learns_publishes_goes_back_after_a_rejection_and_ends_when_told(
    ranks: int, gateway: OneRoomGateway, tmp_path: Path
) -> None:
    tiny_base().save_pretrained(tmp_path / "model")
    # Two device numbers are two ranks, on a CPU as well.
    cfg = tiny_config(model=str(tmp_path / "model"), devices=list(range(ranks)), niceness=0)
    adapters = cfg.adapters.model_copy(update={"dir": tmp_path / "adapters"})
    cfg = cfg.model_copy(update={"adapters": adapters})
    (tmp_path / "config.json").write_text(cfg.model_dump_json())
    argv, env = trainer_command(cfg, tmp_path / "config.json", gateway.serving.url)
    with (tmp_path / "log").open("w") as log:
        # In a session of its own: it lowers the priority of the whole session it is in.
        env = inherited() | env | {"TTRL_ADMIN_KEY": "s3cret"}
        trainer = subprocess.Popen(argv, env=env, stderr=log, start_new_session=True)

    def proposed_three_times() -> bool:
        assert trainer.poll() is None, (tmp_path / "log").read_text()[-3000:]
        return [route for route, _ in gateway.heard].count("propose") == 3

    Gateway.until(proposed_three_times, 240)
    trainer.send_signal(signal.SIGTERM)
    code = trainer.wait(timeout=60)
    assert ranks > 1 or code == 0  # torchrun has its own codes.

    said = [(route, body) for route, body in gateway.heard if route in ("propose", "skip")]
    assert [(route, body["batch"]) for route, body in said] == [
        ("propose", "b1"),
        ("skip", "b2"),
        ("propose", "b3"),
        ("propose", "b4"),
    ]
    first, third, fourth = (
        folders.read(cfg.adapters.dir, body["folder"]) for route, body in said if route == "propose"
    )
    assert [v.number for v in (first, third, fourth)] == [1, 3, 4]
    assert [v.parent for v in (first, third, fourth)] == [0, 1, 1]
    assert [v.step for v in (first, third, fourth)] == [1, 2, 2]
    # The same batch from the same parent: nothing of the rejected version was left in the engine.
    assert third.sha256["adapter_model.safetensors"] == fourth.sha256["adapter_model.safetensors"]
    assert list(cfg.adapters.dir.glob(".tmp-*")) == []


if __name__ == "__main__":
    train_on_this_rank(Path(sys.argv[1]))
