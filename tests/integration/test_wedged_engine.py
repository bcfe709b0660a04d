"""An engine that says it is healthy and hangs in a load: found, taken out, started again;
promotions go on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration import engine_process
from tests.integration.conftest import Start
from tests.integration.test_two_replicas import Pair
from ttrl_server.engine import supervisor
from ttrl_server.engine.client import EngineClient
from ttrl_server.engine.command import socket_path
from ttrl_server.settings.config import Config

ROOT = Path(__file__).parents[2]


class Supervised(Pair):
    """Two engines in processes of their own under the real supervisor; the first one's first
    life is wedged."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, load_timeout_s=1, drain_timeout_s=1)
        self.mark = folder / "wedged"
        self.starts = [0, 0]
        self.started_again = asyncio.Event()

    def clients(self) -> list[EngineClient]:
        return supervisor.make_clients(self.config, "key")

    def command(self, config: Config, replica: int) -> tuple[list[str], dict[str, str]]:
        self.starts[replica] += 1
        if self.starts[replica] > 1:
            self.started_again.set()
        argv = [sys.executable, "-m", engine_process.__name__, str(socket_path(config, replica))]
        return argv + ([str(self.mark)] if replica == 0 else []), {"PYTHONPATH": str(ROOT)}

    async def until_both_are_ready(self) -> None:
        await self.fleet.until(lambda: all(replica.ready for replica in self.fleet.replicas), 60)
        assert all(replica.ready for replica in self.fleet.replicas)

    async def promote(self, number: int) -> None:
        judgement = await self.judge(number)
        assert judgement.state == "promoted", judgement


@pytest.fixture
async def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Supervised]:
    it = Supervised(tmp_path)
    monkeypatch.setattr(supervisor, "engine_command", it.command)
    monkeypatch.setattr(supervisor, "BACK_OFF_S", (0,))
    monkeypatch.setattr(supervisor, "POLL_S", 0.1)
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


def test_an_attached_engine_that_hangs_in_a_load_goes_on_answering(start: Start) -> None:
    """It is not ours to restart; the candidate is shed, and the next one finds it again."""
    gateway = start(engine={"load_timeout_s": 0.5})
    gateway.ask()
    batch = gateway.lease()
    gateway.engine.load_s = 2.0
    shed = gateway.propose(batch)
    assert shed["state"] == "rejected"
    assert shed["reason"].startswith("busy:")
    assert gateway.ask().status_code == 200
    gateway.engine.load_s = 0.0
    gateway.promote()
    assert gateway.served == "tiny@v2"
