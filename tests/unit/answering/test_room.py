"""The door, the cohort and the shared flight."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.engine.test_fleet import fleet, load
from ttrl_server.answering.flights import Flights, Progress
from ttrl_server.answering.room import Cohorts, Room
from ttrl_server.engine.fleet import Fleet
from ttrl_server.errors import Overloaded, RequestError
from ttrl_server.settings.sections import BatchConfig
from ttrl_server.telemetry import metrics

# ---------------------------------------------------------------- the door


def in_flight() -> float | None:
    return metrics.REGISTRY.get_sample_value("ttrl_samples_in_flight")


def test_samples_are_admitted_up_to_the_limit_and_not_one_more() -> None:
    door = Room(10)
    with door.admit(6):
        with door.admit(4):
            assert in_flight() == 10
            with pytest.raises(Overloaded) as error, door.admit(1):
                pass
            assert (error.value.status, error.value.code) == (429, "too_many_samples")
            assert error.value.retry_after_s > 0
            assert "limits.samples_in_flight" in error.value.message
        assert in_flight() == 6
        with door.admit(4):
            pass
    assert in_flight() == 0


def test_a_question_that_fails_gives_its_room_back() -> None:
    door = Room(4)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), door.admit(4):
            raise ZeroDivisionError
    assert in_flight() == 0


# ---------------------------------------------------------------- the batch


async def ask(
    cohorts: Cohorts, until: asyncio.Event | None = None, version: int | None = None
) -> int:
    """The version one question ran on."""
    async with cohorts.hold(version) as hold:
        if until:
            await until.wait()
        return hold.version


def two_versions() -> Fleet:
    one = fleet()
    load(one, 1, 2)
    one.serving = 1
    return one


async def test_questions_of_one_cohort_share_a_version_whatever_is_promoted_in_between() -> None:
    one = two_versions()
    cohorts = Cohorts(one, BatchConfig(max_questions=8, max_wait_ms=50))
    first = asyncio.create_task(ask(cohorts))
    await asyncio.sleep(0.01)
    one.serving = 2
    second = asyncio.create_task(ask(cohorts))
    await asyncio.sleep(0.01)
    one.serving = 1
    assert (await first, await second) == (1, 1)
    one.serving = 2
    assert await ask(cohorts) == 2
    assert one.idle


async def test_a_cohort_keeps_its_version_while_the_pointer_flips() -> None:
    one = two_versions()
    cohorts, until = Cohorts(one, BatchConfig(max_questions=3, max_wait_ms=10)), asyncio.Event()
    running = [asyncio.create_task(ask(cohorts, until)) for _ in range(2)]
    await asyncio.sleep(0.05)
    one.serving = 2
    assert await ask(cohorts) == 2
    drained = asyncio.create_task(one.until(lambda: not one.held(1)))
    await asyncio.sleep(0.01)
    assert not drained.done()
    until.set()
    assert await asyncio.gather(*running) == [1, 1]
    await asyncio.wait_for(drained, 30)


async def test_a_full_cohort_starts_at_once_and_the_next_one_begins() -> None:
    cohorts = Cohorts(two_versions(), BatchConfig(max_questions=2, max_wait_ms=60000))
    full = [asyncio.create_task(ask(cohorts)) for _ in range(2)]
    third = asyncio.create_task(ask(cohorts))
    assert await asyncio.wait_for(asyncio.gather(*full), 30) == [1, 1]
    await asyncio.sleep(0.01)
    assert not third.done()
    fourth = asyncio.create_task(ask(cohorts))
    assert (await asyncio.wait_for(third, 30), await asyncio.wait_for(fourth, 30)) == (1, 1)


async def test_no_wait_means_no_wait() -> None:
    assert (
        await asyncio.wait_for(
            ask(Cohorts(two_versions(), BatchConfig(max_questions=8, max_wait_ms=0))), 30
        )
        == 1
    )


async def test_a_pinned_question_waits_for_no_cohort() -> None:
    one = two_versions()
    cohorts = Cohorts(one, BatchConfig(max_questions=8, max_wait_ms=60000))
    assert await asyncio.wait_for(ask(cohorts, version=2), 30) == 2
    with pytest.raises(RequestError):
        await ask(cohorts, version=9)
    assert one.idle


@pytest.mark.parametrize("moment", ["while it waits", "as the cohort starts", "while it runs"])
async def test_a_cancelled_question_leaves_no_hold(moment: str) -> None:
    one, until = two_versions(), asyncio.Event()
    cohorts = Cohorts(one, BatchConfig(max_questions=2, max_wait_ms=60000))
    leaving = asyncio.create_task(ask(cohorts, until))
    await asyncio.sleep(0)
    if moment == "while it waits":
        leaving.cancel()
        await asyncio.sleep(0)
    staying = asyncio.create_task(ask(cohorts))
    if moment != "while it waits":
        await asyncio.sleep(0)  # the cohort is full now; whoever waits has not been woken yet
    if moment == "while it runs":
        await asyncio.sleep(0.01)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await asyncio.wait_for(staying, 30) == 1
    await asyncio.wait_for(one.until(lambda: not one.held(1)), 30)
    assert one.idle
    assert one.replicas[0].questions == 0


async def test_every_question_of_a_batch_hears_that_no_engine_is_ready() -> None:
    cohorts = Cohorts(fleet(ready=False), BatchConfig(max_questions=3, max_wait_ms=60000))
    told = await asyncio.gather(*(ask(cohorts) for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in told] == [Overloaded] * 3


# ---------------------------------------------------------------- the shared flight


class Computation:
    """Counts how often it was started, finished and cancelled; ends when it is let go."""

    def __init__(self, error: Exception | None = None) -> None:
        self.started = self.finished = self.cancelled = 0
        self.error, self.go = error, asyncio.Event()
        self.last_words = 0.0

    async def __call__(self, progress: Progress) -> str:
        self.started += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            await asyncio.sleep(self.last_words)
            raise
        progress.drawn = progress.samples
        if self.error:
            raise self.error
        self.finished += 1
        return f"answer {self.started}"


def join(
    flights: Flights[str], compute: Computation, key: bytes = b"q", **more: Any
) -> asyncio.Task[str]:
    return asyncio.create_task(flights.join(key, Progress(4), compute, **more))


async def test_the_same_question_is_computed_once_for_all_who_ask_meanwhile() -> None:
    flights, compute = Flights[str](), Computation()
    seen: list[Progress] = []
    waiting = [join(flights, compute, watch=seen.append) for _ in range(3)]
    other = join(flights, compute, b"another question")
    await asyncio.sleep(0.01)
    compute.go.set()
    assert len({await task for task in waiting}) == 1
    await other
    assert compute.started == compute.finished == 2
    assert len(seen) == 3
    assert all(progress is seen[0] for progress in seen)
    assert seen[0].drawn == 4


async def test_a_question_asked_again_later_is_computed_again() -> None:
    flights, compute = Flights[str](), Computation()
    compute.go.set()
    assert await join(flights, compute) == "answer 1"
    assert await join(flights, compute) == "answer 2"


async def test_the_computation_lives_as_long_as_somebody_waits() -> None:
    flights, compute = Flights[str](), Computation()
    first, second = join(flights, compute), join(flights, compute)
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    assert compute.cancelled == 0
    compute.go.set()
    assert await second == "answer 1"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_the_computation_is_cancelled_when_the_last_one_leaves() -> None:
    flights, compute = Flights[str](), Computation()
    waiting = [join(flights, compute) for _ in range(2)]
    await asyncio.sleep(0.01)
    for task in waiting:
        task.cancel()
    await asyncio.sleep(0.01)
    assert (compute.started, compute.cancelled, compute.finished) == (1, 1, 0)
    compute.go.set()
    assert await join(flights, compute) == "answer 2"


async def test_an_error_reaches_everybody_who_waits_and_nobody_later() -> None:
    flights, compute = Flights[str](), Computation(ValueError("the engine is gone"))
    waiting = [join(flights, compute) for _ in range(3)]
    await asyncio.sleep(0.01)
    compute.go.set()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(error) for error in told] == ["the engine is gone"] * 3
    compute.error = None
    assert await join(flights, compute) == "answer 2"


async def test_a_flight_that_takes_long_to_end_does_not_take_its_successor_off_the_list() -> None:
    flights, compute = Flights[str](), Computation()
    compute.last_words = 0.02
    leaving = join(flights, compute)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0.005)
    successor = join(flights, compute)
    await asyncio.sleep(0.04)  # the first flight has ended by now
    sharing = join(flights, compute)
    await asyncio.sleep(0.005)
    compute.go.set()
    assert await successor == await sharing
    assert (compute.started, compute.cancelled) == (2, 1)
