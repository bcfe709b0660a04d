"""Two engines: a version is on both or served by neither; one that fails leaves the routing and
comes back proved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.fake_vllm import FakeVLLM, Serving
from tests.unit.registry import build
from ttrl_server.engine.client import EngineClient
from ttrl_server.engine.fleet import Fleet
from ttrl_server.engine.placement import Placement
from ttrl_server.promotion.promotions import Judgement, Promotions
from ttrl_server.registry.ledger import Ledger
from ttrl_server.settings.config import Config


class Pair:
    """Two engines behind one swap."""

    def __init__(self, folder: Path, **engine: float) -> None:
        self.root = folder / "adapters"
        self.config = Config(
            model="org/tiny",
            hardware="cpu",
            run_dir=folder / "run",
            engine={"replicas": 2, **engine},
            adapters={"dir": self.root},
        )
        self.ledger = Ledger(self.root)
        self.fleet = Fleet(self.config, self.clients())
        self.place = Placement(self.config, self.fleet, self.ledger, self.root)
        self.promotions = Promotions(self.config, self.fleet, self.place, self.ledger, None)

    def clients(self) -> list[EngineClient]:
        self.engines = [FakeVLLM(), FakeVLLM()]
        self.servings = [Serving(engine.app()) for engine in self.engines]
        return [EngineClient(url=serving.url) for serving in self.servings]

    async def judge(self, number: int) -> Judgement:
        folder = build.publish(self.root, number).folder
        return await asyncio.wait_for(self.promotions.judge(number, folder, {}), 60)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    made = Pair(tmp_path)
    for replica in made.fleet.replicas:
        await replica.client.open()
        await made.place.bring_up(replica)
    yield made
    for replica in made.fleet.replicas:
        await replica.client.close()
    for serving in made.servings:
        serving.end()


async def test_a_version_is_loaded_and_proved_on_both_before_either_serves_it(pair: Pair) -> None:
    assert (await pair.judge(1))[0] == "promoted"
    assert [engine.loaded for engine in pair.engines] == [{"tiny@v1"}, {"tiny@v1"}]
    assert all("/v1/completions" in engine.paths() for engine in pair.engines)
    with pair.fleet.hold() as one, pair.fleet.hold() as two:
        assert {(hold.replica.index, hold.version) for hold in (one, two)} == {(0, 1), (1, 1)}


async def test_one_engine_that_does_not_serve_what_was_trained_keeps_the_version_from_both(
    pair: Pair,
) -> None:
    pair.engines[1].shift = 9.0
    state, reason, _ = await pair.judge(1)
    assert (state, reason.split(":")[0]) == ("rejected", "probe")
    assert pair.fleet.serving == 0
    assert [engine.loaded for engine in pair.engines] == [set(), set()]


async def test_an_engine_that_dies_in_a_swap_leaves_the_routing_and_comes_back_with_what_is_served(
    pair: Pair,
) -> None:
    assert (await pair.judge(1))[0] == "promoted"
    pair.servings[1].stop()
    assert (await pair.judge(2))[0] == "promoted"
    dead = pair.fleet.replicas[1]
    assert (dead.ready, dead.failed.is_set(), pair.fleet.serving) == (False, True, 2)
    with pair.fleet.hold() as hold:
        assert (hold.replica.index, hold.version) == (0, 2)
    # Its supervisor starts another process, with nothing loaded.
    again = FakeVLLM()
    pair.servings[1] = Serving(again.app())
    await dead.client.close()
    dead.client = EngineClient(url=pair.servings[1].url)
    await dead.client.open()
    await pair.place.bring_up(dead)
    assert again.loaded == {"tiny@v2"}
    assert dead.ready is True


async def test_a_pin_is_loaded_on_both_and_on_one_that_comes_back(pair: Pair) -> None:
    for number in (1, 2):
        await pair.judge(number)
        if number == 1:
            await pair.promotions.pin(1)
    assert [engine.loaded for engine in pair.engines] == [{"tiny@v1", "tiny@v2"}] * 2
    pair.engines[0].loaded.clear()
    pair.fleet.replicas[0].ready = False
    await pair.place.bring_up(pair.fleet.replicas[0])
    assert pair.engines[0].loaded == {"tiny@v1", "tiny@v2"}
