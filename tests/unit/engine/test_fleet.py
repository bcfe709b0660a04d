"""Who holds which version, on which replica, and who waits for it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from ttrl_server.engine.client import EngineClient
from ttrl_server.engine.fleet import Fleet
from ttrl_server.errors import Overloaded, RequestError
from ttrl_server.settings.config import Config


def fleet(replicas: int = 1, *, ready: bool = True, max_loras: int = 4) -> Fleet:
    """Replicas whose engines are never called."""
    config = Config(model="org/tiny", hardware="cpu", engine={"max_loras": max_loras})
    made = Fleet(config, [EngineClient(socket=f"/nowhere/{i}") for i in range(replicas)])
    for replica in made.replicas:
        replica.ready = ready
    return made


def load(fleet: Fleet, *versions: int) -> None:
    for replica in fleet.replicas:
        replica.loaded |= set(versions)


async def test_a_hold_counts_until_its_question_ends_or_fails() -> None:
    one = fleet()
    assert one.idle
    with one.hold() as hold:
        assert (hold.version, hold.model, hold.replica) == (0, "tiny@base", one.replicas[0])
        with pytest.raises(ZeroDivisionError), one.hold():
            raise ZeroDivisionError
        with one.hold():
            assert one.replicas[0].questions == 2
        assert (one.idle, one.replicas[0].questions) == (False, 1)
    assert (one.idle, one.replicas[0].questions) == (True, 0)


async def test_questions_go_to_the_least_busy_replica() -> None:
    three = fleet(3)
    with ExitStack() as stack:
        taken = [stack.enter_context(three.hold()).replica.index for _ in range(7)]
        assert sorted(taken[:3]) == sorted(taken[3:6]) == [0, 1, 2]
        assert [r.questions for r in three.replicas] == [3, 2, 2]
        three.replicas[1].ready = False
        assert stack.enter_context(three.hold()).replica.index == 2


async def test_a_version_is_only_asked_of_a_replica_that_has_loaded_it() -> None:
    two = fleet(2)
    two.replicas[1].loaded.add(3)
    two.serving = 3
    with two.hold() as first, two.hold() as second, two.hold(0) as base:
        assert (first.replica.index, second.replica.index, base.replica.index) == (1, 1, 0)
        assert first.model == "tiny@v3"
    two.replicas[1].ready = False
    with pytest.raises(Overloaded):
        two.hold().__enter__()


async def test_a_drain_waits_for_the_last_hold_of_its_version_only() -> None:
    one = fleet()
    load(one, 1, 2)
    one.serving = 1
    with one.hold() as old:
        one.serving = 2  # a promotion leaves the holds of the old version alone
        with one.hold() as new:
            with one.hold(1):
                drained = asyncio.create_task(one.until(lambda: not one.held(1)))
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.01)
            assert not drained.done()
            assert (old.version, new.version) == (1, 2)
    await asyncio.wait_for(drained, 30)
    await asyncio.wait_for(one.until(lambda: not one.held(7)), 30)  # nobody ever held it


async def test_a_pinned_version_that_is_gone_is_a_404_that_names_the_living_ones() -> None:
    one = fleet()
    load(one, 2, 10)
    one.serving = 10
    with pytest.raises(RequestError) as error, one.hold(7):
        pass
    found = error.value
    assert (found.status, found.param, found.code) == (404, "model", "model_not_found")
    assert "tiny@v7" in found.message
    assert found.message.endswith("tiny@base, tiny@v2, tiny@v10")
    assert one.idle


@pytest.mark.parametrize("version", [None, 0])
async def test_without_a_ready_engine_the_client_is_told_to_come_again(version: int | None) -> None:
    starting = fleet(2, ready=False)
    with pytest.raises(Overloaded) as error, starting.hold(version):
        pass
    assert (error.value.status, error.value.code) == (503, "engine_not_ready")
    assert error.value.retry_after_s > 0
    assert (starting.idle, starting.ready) == (True, False)
    starting.replicas[1].ready = True
    assert starting.ready


async def test_the_served_version_is_living_while_its_engines_restart() -> None:
    one = fleet(ready=False)
    one.serving = 4
    assert one.living() == {0, 4}
    with pytest.raises(Overloaded):
        one.hold(4).__enter__()


async def test_there_is_room_for_as_many_versions_as_the_fullest_replica_has_slots() -> None:
    two = fleet(2, max_loras=2)
    load(two, 1)
    assert two.room(99)
    two.replicas[1].loaded.add(2)
    assert not two.room(99)
    room = asyncio.create_task(two.until(lambda: two.room(99)))
    await asyncio.sleep(0.01)
    assert not room.done()
    two.replicas[1].loaded.discard(1)
    two.announce()
    await asyncio.wait_for(room, 30)


async def test_a_replica_takes_twice_what_its_engine_runs_at_once() -> None:
    config = Config(model="m", hardware="cpu", engine={"max_num_seqs": 5})
    (replica,) = Fleet(config, [EngineClient()]).replicas
    for _ in range(10):
        assert not replica.slots.locked()
        await replica.slots.acquire()
    assert replica.slots.locked()
