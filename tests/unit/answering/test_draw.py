"""How one question's samples are drawn: which waves, what is cancelled, what may train."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttrl_server.answering.draw import Draw, Waves
from ttrl_server.answering.flights import Progress
from ttrl_server.errors import EngineError
from ttrl_server.types import Rollout, VoteOptions
from ttrl_server.voting import Ballot


@dataclass
class Engine:
    """Draws sample i after ``seconds[i]`` with the answer ``texts[i]``; knows what was begun."""

    texts: list[str]
    seconds: list[float] = field(default_factory=lambda: [0.0] * 64)
    begun: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    running: int = 0

    async def draw(self, index: int) -> Rollout:
        self.begun.append(index)
        self.running += 1
        try:
            await asyncio.sleep(self.seconds[index])
            self.ended.append(index)
        finally:
            self.running -= 1
        return Rollout(index, (1,), (-0.5,), self.texts[index], "stop")


FOUR_AND_FOUR = Waves(64, 32, 8)
"""Four waves that may train, then four that may not."""


async def draw(
    engine: Engine, waves: Waves = FOUR_AND_FOUR, *, deadline_s: float = 60, **options: Any
) -> tuple[str, Ballot, Progress]:
    ballot, progress = Ballot(), Progress("q", waves.samples)
    vote = VoteOptions(waves.samples, **options)
    at = asyncio.get_running_loop().time() + deadline_s
    stopped = await Draw(engine.draw, ballot, vote, waves, progress, at).run()
    assert engine.running == 0
    return stopped, ballot, progress


WAVES = st.builds(
    lambda m, g, w: Waves(m, min(g, m), w),
    st.integers(1, 80),
    st.integers(0, 80),
    st.integers(1, 20),
)


@given(WAVES)
def test_waves_cover_all_samples_and_none_is_half_eligible(waves: Waves) -> None:
    ends = waves.ends
    assert list(ends) == sorted(set(ends))
    assert ends[-1] == waves.samples
    assert waves.eligible == 0 or waves.eligible in ends
    assert all(end - start <= waves.wave for start, end in zip((0, *ends), ends, strict=False))


@given(WAVES, st.data())
def test_only_whole_waves_from_the_first_on_may_train(waves: Waves, data: st.DataObject) -> None:
    drawn = data.draw(st.sets(st.integers(0, waves.samples - 1)))
    trains = waves.trainable(drawn)
    assert trains in (0, *waves.ends)
    assert trains <= waves.eligible
    assert set(range(trains)) <= drawn
    later = [end for end in waves.ends if trains < end <= waves.eligible]
    assert not later or not set(range(later[0])) <= drawn


@pytest.mark.parametrize(
    ("texts", "options", "stopped", "begun"),
    [
        (["7"], {"stop": "none"}, "full", 64),
        (["7"], {"stop": "exact"}, "exact", 40),
        (["7"], {"stop": "beta"}, "beta", 8),
        (["7"], {"stop": "certificate"}, "certificate", 16),
        (["0", "1", "2", "3"], {"stop": "beta"}, "full", 64),
        (["Hello! How are you today?"], {"stop": "exact", "probe": True}, "unvotable", 8),
        (["The answer is 7."], {"stop": "exact", "probe": True}, "exact", 40),
    ],
)
async def test_only_the_waves_that_could_settle_it_are_begun(
    texts: list[str], options: dict[str, Any], stopped: str, begun: int
) -> None:
    engine = Engine(texts * (64 // len(texts)), [0.01 * (i % 8) for i in range(64)])
    why, ballot, _ = await draw(engine, **options)
    assert why == stopped
    assert engine.begun == list(range(begun))
    assert len(ballot.rollouts) in (range(33, 41) if stopped == "exact" else [begun])


async def test_an_exact_stop_within_a_wave_cancels_only_what_cannot_train() -> None:
    seconds = [0.0] * 64
    seconds[3], seconds[38], seconds[39] = 0.3, 30.0, 30.0  # slow: one that trains, two that do not
    engine = Engine(["7"] * 64, seconds)
    stopped, ballot, progress = await draw(engine, stop="exact")
    assert (stopped, progress.leader) == ("exact", 1.0)
    assert 3 in engine.ended
    assert not {38, 39} & set(engine.ended)
    assert {rollout.index for rollout in ballot.rollouts} == set(range(38))


async def test_a_question_kept_out_of_training_is_cut_anywhere() -> None:
    seconds = [0.0] * 64
    seconds[3] = 30.0
    engine = Engine(["7"] * 64, seconds)
    stopped, ballot, _ = await draw(engine, Waves(64, 0, 8), stop="exact")
    assert (stopped, 3 in engine.ended) == ("exact", False)
    assert len(ballot.rollouts) >= 33


@pytest.mark.parametrize(("quick", "deadline_s"), [(10, 0.3), (0, -1)])
async def test_at_the_deadline_what_is_in_is_kept_and_the_rest_is_cancelled(
    quick: int, deadline_s: float
) -> None:
    engine = Engine(["7"] * 64, [0.0] * quick + [30.0] * (64 - quick))
    stopped, ballot, _ = await draw(engine, stop="none", deadline_s=deadline_s)
    assert (stopped, len(ballot.rollouts)) == ("deadline", quick)


async def test_one_sample_that_fails_ends_the_draw_and_leaves_nothing_running() -> None:
    engine = Engine(["7"] * 8, [30.0] * 8)

    async def one(index: int) -> Rollout:
        if index == 5:
            raise EngineError("lost")
        return await engine.draw(index)

    at = asyncio.get_running_loop().time() + 60
    with pytest.raises(EngineError, match="lost"):
        await Draw(one, Ballot(), VoteOptions(8), Waves(8, 8, 8), Progress("q", 8), at).run()
    assert engine.running == 0


@given(
    st.lists(st.sampled_from(["1", "2", "3", "no idea"]), min_size=2, max_size=40),
    st.integers(0, 40),
    st.integers(1, 9),
)
def test_an_exact_vote_answers_as_the_full_vote(texts: list[str], eligible: int, wave: int) -> None:
    waves = Waves(len(texts), min(eligible, len(texts)), wave)
    stopped, ballot, _ = asyncio.run(draw(Engine(texts), waves, stop="exact"))
    _, everything, _ = asyncio.run(draw(Engine(texts), waves, stop="none"))
    assert ballot.count().pseudo_label == everything.count().pseudo_label
    assert stopped in ("exact", "full")
