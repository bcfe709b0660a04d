"""An engine that says it is healthy and hangs in a load: found, taken out, started again;
promotions go on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.integration.conftest import Gateway
from tests.integration.test_learning_loop import engine, lease, promote_one, publish
from tests.unit.registry import build
from ttrl_server.engine import supervisor
from ttrl_server.engine.command import socket_path
from ttrl_server.engine.fleet import Fleet
from ttrl_server.engine.placement import Placement
from ttrl_server.promotion.promotions import Promotions
from ttrl_server.registry.ledger import Ledger
from ttrl_server.settings.config import Config

ROOT = Path(__file__).parents[2]


class Supervised:
    """Two engines in processes of their own under the real supervisor; the first one's first
    life is wedged."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "adapters"
        self.config = Config(
            model="org/tiny",
            hardware="cpu",
            run_dir=folder / "run",
            engine={"replicas": 2, "load_timeout_s": 1, "drain_timeout_s": 1},
            adapters={"dir": self.root},
        )
        self.mark = folder / "wedged"
        self.ledger = Ledger(self.root)
        self.fleet = Fleet(self.config, supervisor.make_clients(self.config, "key"))
        self.place = Placement(self.config, self.fleet, self.ledger, self.root)
        self.promotions = Promotions(self.config, self.fleet, self.place, self.ledger, None)
        self.starts = [0, 0]
        self.started_again = asyncio.Event()

    def command(self, config: Config, replica: int) -> tuple[list[str], dict[str, str]]:
        self.starts[replica] += 1
        if self.starts[replica] > 1:
            self.started_again.set()
        argv = [
            sys.executable,
            "-m",
            "tests.integration.engine_process",
            str(socket_path(config, replica)),
        ]
        return argv + ([str(self.mark)] if replica == 0 else []), {"PYTHONPATH": str(ROOT)}

    async def until_both_are_ready(self) -> None:
        await self.fleet.until(lambda: all(replica.ready for replica in self.fleet.replicas), 60)
        assert all(replica.ready for replica in self.fleet.replicas)

    async def promote(self, number: int) -> None:
        judgement = await asyncio.wait_for(
            self.promotions.judge(number, build.publish(self.root, number).folder), 60
        )
        assert judgement.state == "promoted", judgement


@pytest.fixture
async def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Supervised]:
    it = Supervised(tmp_path)
    monkeypatch.setattr(supervisor, "engine_command", it.command)
    monkeypatch.setattr(supervisor, "BACK_OFF_S", (0,))
    supervisor.make_socket_dir(it.config)
    tasks = [
        asyncio.create_task(supervisor.supervise(it.config, it.fleet, it.place, replica, "key"))
        for replica in it.fleet.replicas
    ]
    yield it
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    it.ledger.close()


async def test_a_wedged_engine_is_taken_out_and_restarted_and_promotions_go_on(
    supervised: Supervised,
) -> None:
    await supervised.until_both_are_ready()
    wedged = supervised.fleet.replicas[0]
    assert await wedged.client.healthy()
    await supervised.promote(1)  # by the other one
    assert supervised.fleet.serving == 1
    await supervised.until_both_are_ready()
    assert supervised.starts == [2, 1]
    await supervised.promote(2)
    assert all(2 in replica.loaded for replica in supervised.fleet.replicas)
    assert supervised.starts == [2, 1]


async def test_an_engine_that_wedges_as_it_comes_up_holds_nobody_up(supervised: Supervised) -> None:
    """It has to load what is served before it is routed to, and hangs there."""
    supervised.mark.touch()  # not this life, but the next
    await supervised.until_both_are_ready()
    await supervised.promote(1)
    supervised.mark.unlink()
    supervised.fleet.take_out(supervised.fleet.replicas[0])
    await asyncio.wait_for(supervised.started_again.wait(), 30)
    await supervised.promote(2)
    assert supervised.fleet.serving == 2
    await supervised.until_both_are_ready()
    assert supervised.starts[0] == 3
    assert 2 in supervised.fleet.replicas[0].loaded


def test_an_attached_engine_that_hangs_in_a_load_goes_on_answering(
    start: Callable[..., Gateway],
) -> None:
    """It is not ours to restart; the candidate is shed, and the next one finds it again."""
    gateway = start(engine(), engine={"load_timeout_s": 0.5})
    gateway.ask()
    batch = lease(gateway)
    gateway.engine.load_s = 2.0
    proposal = {"batch": batch.id, "folder": publish(gateway, batch.number)}
    shed = gateway.admin("train/propose", proposal).json()
    assert (shed["state"], shed["reason"].partition(":")[0]) == ("rejected", "busy")
    assert gateway.ask().status_code == 200
    gateway.engine.load_s = 0.0
    assert promote_one(gateway)
    assert gateway.status()["served"]["number"] == 2
