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
from ttrl_server.settings.sections import BatchConfig, LimitsConfig
from ttrl_server.telemetry import metrics

# ---------------------------------------------------------------- the door


def in_flight() -> float | None:
    return metrics.REGISTRY.get_sample_value("ttrl_samples_in_flight")


def room(**limits: float) -> Room:
    return Room(LimitsConfig.model_validate({"samples_in_flight": 10} | limits))


async def test_samples_are_admitted_up_to_the_limit_and_not_one_more() -> None:
    door = room(wait_s=0)
    async with door.admit(6):
        async with door.admit(4):
            assert in_flight() == 10
            with pytest.raises(Overloaded) as error:
                await door.admit(1).__aenter__()
            assert (error.value.status, error.value.code) == (429, "too_many_samples")
            assert error.value.retry_after_s > 0
            assert "limits.samples_in_flight" in error.value.message
        assert in_flight() == 6
        for _ in range(3):  # a question that fails gives its room back
            with pytest.raises(ZeroDivisionError):
                async with door.admit(4):
                    raise ZeroDivisionError
    assert in_flight() == 0


class Guest:
    """A question that enters, and stays until it is told to go."""

    def __init__(self, door: Room, samples: int) -> None:
        self.inside, self._go = False, asyncio.Event()
        self.task = asyncio.create_task(self._visit(door, samples))

    async def _visit(self, door: Room, samples: int) -> None:
        async with door.admit(samples):
            self.inside = True
            await self._go.wait()

    async def leave(self) -> None:
        self._go.set()
        await self.task
        await asyncio.sleep(0)


async def guests(door: Room, *samples: int) -> list[Guest]:
    made = [Guest(door, each) for each in samples]
    await asyncio.sleep(0.01)
    return made


async def test_who_finds_no_room_waits_and_nobody_overtakes() -> None:
    door = room()
    first, large, small = await guests(door, 8, 9, 1)
    assert (first.inside, large.inside, small.inside) == (True, False, False)
    await first.leave()
    assert (large.inside, small.inside, in_flight()) == (True, True, 10)
    await large.leave()
    await small.leave()
    assert in_flight() == 0


async def test_nobody_waits_longer_than_its_own_time() -> None:
    door = room()
    async with door.admit(10):
        with pytest.raises(Overloaded):
            await door.admit(1, asyncio.get_running_loop().time() + 0.05).__aenter__()
    assert in_flight() == 0


async def test_room_that_was_given_to_one_who_has_just_left_goes_to_the_next() -> None:
    door = room()
    first, second, third = await guests(door, 10, 6, 6)
    first.task.cancel()
    second.task.cancel()  # its turn comes in the same round of the loop
    await asyncio.sleep(0.01)
    assert (second.inside, third.inside, in_flight()) == (False, True, 6)
    await third.leave()
    assert in_flight() == 0


async def test_who_leaves_the_queue_keeps_nobody_waiting() -> None:
    door = room()
    first, large, small = await guests(door, 8, 9, 1)
    large.task.cancel()
    await asyncio.sleep(0.01)
    assert small.inside
    await first.leave()
    await small.leave()
    assert in_flight() == 0


async def test_waiting_ends_and_so_does_the_queue() -> None:
    door = room(wait_s=0.05, waiting=4)
    (first, waits) = await guests(door, 10, 4)
    with pytest.raises(Overloaded, match=r"limits\.waiting"):
        await door.admit(1).__aenter__()
    with pytest.raises(RequestError):
        await door.admit(11).__aenter__()
    with pytest.raises(Overloaded, match=r"limits\.wait_s"):
        await waits.task
    await first.leave()
    async with door.admit(10):
        assert in_flight() == 10


# ---------------------------------------------------------------- the cohort


async def ask(
    cohorts: Cohorts, until: asyncio.Event | None = None, version: int | None = None
) -> int:
    """The version one question ran on."""
    async with cohorts.hold(version) as hold:
        if until:
            await until.wait()
        return hold.version


@pytest.fixture
def one() -> Fleet:
    """Serves version 1 and has loaded version 2."""
    made = fleet()
    load(made, 1, 2)
    made.serving = 1
    return made


def cohorts_of(fleet: Fleet, questions: int, wait_ms: float = 60_000) -> Cohorts:
    return Cohorts(fleet, BatchConfig(max_questions=questions, max_wait_ms=wait_ms))


async def test_questions_of_one_cohort_share_a_version_whatever_is_promoted_in_between(
    one: Fleet,
) -> None:
    cohorts = cohorts_of(one, 8, wait_ms=50)
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


async def test_a_full_cohort_starts_at_once_and_the_next_one_begins(one: Fleet) -> None:
    cohorts = cohorts_of(one, 2)
    full = [asyncio.create_task(ask(cohorts)) for _ in range(2)]
    third = asyncio.create_task(ask(cohorts))
    assert await asyncio.wait_for(asyncio.gather(*full), 30) == [1, 1]
    await asyncio.sleep(0.01)
    assert not third.done()
    assert await asyncio.wait_for(asyncio.gather(third, ask(cohorts)), 30) == [1, 1]


async def test_no_wait_means_no_wait(one: Fleet) -> None:
    assert await asyncio.wait_for(ask(cohorts_of(one, 8, wait_ms=0)), 30) == 1


async def test_a_pinned_question_waits_for_no_cohort(one: Fleet) -> None:
    cohorts = cohorts_of(one, 8)
    assert await asyncio.wait_for(ask(cohorts, version=2), 30) == 2
    with pytest.raises(RequestError):
        await ask(cohorts, version=9)
    assert one.idle


@pytest.mark.parametrize("moment", ["while it waits", "as the cohort starts", "while it runs"])
async def test_a_cancelled_question_leaves_no_hold(one: Fleet, moment: str) -> None:
    cohorts, until = cohorts_of(one, 2), asyncio.Event()
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


async def test_every_question_of_a_cohort_hears_that_no_engine_is_ready() -> None:
    cohorts = cohorts_of(fleet(ready=False), 3)
    told = await asyncio.gather(*(ask(cohorts) for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in told] == [Overloaded] * 3


# ---------------------------------------------------------------- the shared flight


class Computation:
    """Counts how often it was started, finished and cancelled; ends when it is let go."""

    def __init__(self, error: Exception | None = None) -> None:
        self.flights = Flights[str]()
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

    async def joined_by(self, questions: int) -> list[asyncio.Task[str]]:
        """So many identical questions, which wait for it."""
        tasks = [self.join() for _ in range(questions)]
        await asyncio.sleep(0.01)
        return tasks

    def join(self, key: bytes = b"q", **more: Any) -> asyncio.Task[str]:
        return asyncio.create_task(self.flights.join(key, Progress("q", 4), self, **more))


async def test_the_same_question_is_computed_once_for_all_who_ask_meanwhile() -> None:
    compute = Computation()
    seen: list[Progress] = []
    waiting = [compute.join(watch=seen.append) for _ in range(3)]
    other = compute.join(b"another question")
    await asyncio.sleep(0.01)
    compute.go.set()
    assert len({await task for task in waiting}) == 1
    await other
    assert compute.started == compute.finished == 2
    assert len(seen) == 3
    assert all(progress is seen[0] for progress in seen)
    assert seen[0].drawn == 4
    again = await compute.join(), await compute.join()  # later it is computed again
    assert again == ("answer 3", "answer 4")


async def test_the_computation_lives_as_long_as_somebody_waits() -> None:
    compute = Computation()
    first, second = await compute.joined_by(2)
    first.cancel()
    await asyncio.sleep(0.01)
    assert compute.cancelled == 0
    compute.go.set()
    assert await second == "answer 1"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_the_computation_is_cancelled_when_the_last_one_leaves() -> None:
    compute = Computation()
    for task in await compute.joined_by(2):
        task.cancel()
    await asyncio.sleep(0.01)
    assert (compute.started, compute.cancelled, compute.finished) == (1, 1, 0)
    compute.go.set()
    assert await compute.join() == "answer 2"


async def test_an_error_reaches_everybody_who_waits_and_nobody_later() -> None:
    compute = Computation(ValueError("the engine is gone"))
    waiting = await compute.joined_by(3)
    compute.go.set()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(error) for error in told] == ["the engine is gone"] * 3
    compute.error = None
    assert await compute.join() == "answer 2"


async def test_a_flight_that_takes_long_to_end_does_not_take_its_successor_off_the_list() -> None:
    compute = Computation()
    compute.last_words = 0.02
    leaving = compute.join()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0.005)
    successor = compute.join()
    await asyncio.sleep(0.04)  # the first flight has ended by now
    sharing = compute.join()
    await asyncio.sleep(0.005)
    compute.go.set()
    assert await successor == await sharing
    assert (compute.started, compute.cancelled) == (2, 1)
