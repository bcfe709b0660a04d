"""Two real gloo ranks: the update is the one a single rank makes, and the whole trainer works
under torchrun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

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
DRAWN = 12
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
            found = {
                "adapter": end.weights,
                "loss": [first["loss"], second["loss"]],
                "drawn": drawn,
            }
            torch.save(found, folder / f"{stage}.pt")


@pytest.fixture(scope="module")
def trained_by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two-ranks")
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    env = os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, __file__, str(folder)], env=env, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_two_ranks_give_the_update_of_the_reference_at_every_zero_stage(
    stage: int, trained_by_two: Path
) -> None:
    cfg = tiny_config(**SETTINGS)
    policy = tiny_policy(cfg)
    trained = trained_parameters(policy)
    adam = torch.optim.AdamW(
        trained.values(), lr=cfg.train.learning_rate, weight_decay=cfg.train.weight_decay
    )
    losses = [reference_step(policy, adam, tiny_batch(None, seed), cfg.train) for seed in (0, 10)]
    got = torch.load(trained_by_two / f"{stage}.pt")
    assert got["loss"] == pytest.approx(losses, rel=1e-5)
    worst = max(
        (got["adapter"][name] - p.detach()).abs().max().item() for name, p in trained.items()
    )
    assert worst < 0.01 * cfg.train.learning_rate


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


class OneRoomGateway(ThreadingHTTPServer):
    """Hands out batches in order, promotes the first version and rejects the second; everything
    it hears is kept."""

    def __init__(self, batches: list[Batch]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.batches, self.heard, self.promoted = batches, [], None

    batches: list[Batch]
    heard: list[tuple[str, dict[str, Any]]]
    promoted: Parent | None

    def answer(self, route: str, body: dict[str, Any]) -> bytes | None:
        if route != "lease" or self.batches:
            self.heard.append((route, body))
        if route == "lease" and self.batches:
            return msgspec.msgpack.encode(replace(self.batches.pop(0), parent=self.promoted))
        if route == "lease":
            time.sleep(0.2)
        if route != "propose":
            return None
        if self.promoted is None:
            self.promoted = Parent(number_of_folder(body["folder"]) or 0, body["folder"])
            return msgspec.json.encode({"state": "promoted", "reason": "", "parent": self.promoted})
        return msgspec.json.encode(
            {"state": "rejected", "reason": "worse", "parent": self.promoted}
        )


class Handler(BaseHTTPRequestHandler):
    server: OneRoomGateway

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Authorization"] == "Bearer s3cret"
        answer = self.server.answer(self.path.rsplit("/", 1)[-1], body)
        self.send_response(204 if answer is None else 200)
        if answer is not None:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        with suppress(BrokenPipeError):  # The trainer was told to end while it waited.
            self.wfile.write(answer or b"")

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[OneRoomGateway]:
    unanimous = batch_of(experience(None, 4, (2, 3), (1, 1), seed=7))
    wanted = [tiny_batch(None, 0), unanimous, tiny_batch(None, 10), tiny_batch(None, 10)]
    batches = [
        replace(batch, id=f"b{i}", number=i, lease_s=0.3) for i, batch in enumerate(wanted, start=1)
    ]
    server = OneRoomGateway(batches)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_trainer_leases_learns_publishes_goes_back_after_a_rejection_and_ends_when_told(
    ranks: int, gateway: OneRoomGateway, tmp_path: Path
) -> None:
    tiny_base().save_pretrained(tmp_path / "model")
    # Two device numbers are two ranks, on a CPU as well.
    cfg = tiny_config(model=str(tmp_path / "model"), devices=list(range(ranks)))
    cfg = cfg.model_copy(
        update={"adapters": cfg.adapters.model_copy(update={"dir": tmp_path / "adapters"})}
    )
    (tmp_path / "config.json").write_text(cfg.model_dump_json())
    argv, env = trainer_command(
        cfg, tmp_path / "config.json", f"http://127.0.0.1:{gateway.server_port}"
    )
    with (tmp_path / "log").open("w") as log:
        trainer = subprocess.Popen(
            argv, env=inherited() | env | {"TTRL_ADMIN_KEY": "s3cret"}, stderr=log
        )
    wait_until(
        lambda: [route for route, _ in gateway.heard].count("propose") == 3,
        trainer,
        tmp_path / "log",
    )
    trainer.send_signal(signal.SIGTERM)
    code = trainer.wait(timeout=20)
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


def wait_until(
    done: Any, trainer: subprocess.Popen[bytes], log: Path, patience_s: float = 90
) -> None:
    deadline = time.monotonic() + patience_s
    while not done():
        alive = trainer.poll() is None and time.monotonic() < deadline
        assert alive, log.read_text()[-3000:]
        time.sleep(0.05)


if __name__ == "__main__":
    train_on_this_rank(Path(sys.argv[1]))
