"""Each alarm, acting; and the healthy movements that must not set one off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ttrl_server.learning.alarms import Alarms, importance_alarm
from ttrl_server.promotion.bands import Pair, outside
from ttrl_server.promotion.promotions import Judgement
from ttrl_server.registry.ledger import Ledger
from ttrl_server.settings.config import Config
from ttrl_server.settings.sections import GuardConfig
from ttrl_server.types import Signals

BASE = "org/tiny"
PROMOTED, OTHER_WEIGHTS = Judgement("promoted", ""), Judgement("rejected", "probe: other weights")
GUARD = GuardConfig(
    watch_groups=4,
    min_entropy=0.1,
    max_entropy=3,
    min_length=0.5,
    max_length=4,
    min_extractable=0.5,
)
THEN = Signals(0, 8, majority=0.4, entropy=1.0, length=10, extractable=1.0)


def now(
    majority: float = 0.6, entropy: float = 0.5, length: float = 9, extractable: float = 1.0
) -> Signals:
    return Signals(2, 8, majority, entropy, length, extractable)


class WayBack:
    """Notes where it is told to go."""

    def __init__(self) -> None:
        self.gone: list[Any] = []

    async def go(self, target: Any, reason: str, *, by: str) -> None:
        self.gone.append((target, by))


class Watched:
    """Alarms on a real ledger; ``pair`` is what every parent looked like."""

    def __init__(self, root: Path, pair: Pair | None = None, **guard: Any) -> None:
        self.ledger, self.way_back, self.pair = Ledger(root), WayBack(), pair
        config = Config(model=BASE, hardware="cpu", guard=guard)
        way_back: Any = self.way_back
        self.alarms = Alarms(config, self.ledger, way_back, self.paired)

    async def paired(self, number: int) -> Pair | None:
        return self.pair

    async def judged(self, judgement: Judgement, **figures: float) -> str | None:
        await self.alarms.after_judgement(judgement, figures, 7)
        return self.alarms.stopped

    async def refused(self, stage: str) -> str | None:
        """The next candidate is refused at ``stage``, by the ledger and to the alarms."""
        number = self.ledger.reserve(BASE)
        self.ledger.reject(
            number, f"v{number:06d}-0000000{number % 10}", BASE, stage, "worse", by="gate"
        )
        return await self.judged(Judgement("rejected", f"{stage}: worse"))


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    """Each call is a life on the same folder."""
    lives: list[Watched] = []

    def begin(pair: Pair | None = None, **guard: Any) -> Watched:
        for life in lives:
            life.ledger.close()
        lives.append(Watched(tmp_path, pair, **guard))
        return lives[-1]

    yield begin
    lives[-1].ledger.close()


BANDS = {name: getattr(GUARD, name) for name in GUARD.model_fields_set}


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (now(), None),
        (now(majority=0.95, entropy=0.2), None),  # surer, as it should be
        (now(majority=0.95, entropy=0.05), "entropy became 0.050"),
        (now(majority=0.95, length=4), "length became 0.400"),
        (now(majority=0.3, entropy=0.05), None),  # less sure: not the joint movement
        (now(entropy=3.5), "entropy became 3.500"),
        (now(length=50), "length became 5.000"),
        (now(extractable=0.4), "answer became 0.400"),
    ],
)
async def test_the_collapse_alarm_is_on_joint_movement(
    watched: Callable[..., Watched], found: Signals, says: str | None
) -> None:
    life = watched((THEN, found), **BANDS)
    stopped = await life.judged(PROMOTED)
    assert (stopped or "").startswith("collapse: v7") == (says is not None)
    assert (says or "") in (stopped or "")
    assert life.way_back.gone == ([] if says is None else [("good", "alarm")])


def test_few_questions_that_were_asked_again_say_nothing_yet() -> None:
    collapsed = now(majority=0.95, entropy=0.001)
    assert outside((THEN, collapsed), GUARD) is not None
    assert outside((replace(THEN, groups=3), collapsed), GUARD) is None
    assert outside(None, GUARD) is None


async def test_three_steps_in_a_row_that_are_not_finite_end_learning_and_a_good_one_counts_anew(
    watched: Callable[..., Watched],
) -> None:
    life, bad = watched(), {"groups": 4.0}
    # None: a step that made a version.
    for figures in (bad, bad, None, bad, bad, {"groups": 0.0}, bad, bad):
        await (life.judged(PROMOTED) if figures is None else life.alarms.after_skip(figures))
        assert life.alarms.stopped is None
    await life.alarms.after_skip(bad)
    assert str(life.alarms.stopped).startswith("diverged: 3 steps")
    assert life.way_back.gone == []  # what is served is not in doubt


async def test_candidates_refused_in_a_row_end_learning(watched: Callable[..., Watched]) -> None:
    life = watched(refusals=2)
    assert [await life.refused(stage) for stage in ("canary", "probe", "gate", "stale")] == [
        None
    ] * 4
    assert str(await life.refused("canary")).startswith("held_back: 2 candidates")
    assert life.way_back.gone == [("sound or serving", "alarm")]


async def test_refusals_in_a_row_are_counted_over_a_restart(
    watched: Callable[..., Watched],
) -> None:
    assert await watched(refusals=2).refused("canary") is None
    assert str(await watched(refusals=2).refused("canary")).startswith("held_back")


async def test_why_learning_ended_survives_a_restart_until_a_person_resumes_it(
    watched: Callable[..., Watched],
) -> None:
    first = watched(max_kl=1)
    stopped = await first.judged(PROMOTED, kl_base=1.5)
    second = watched(max_kl=1)
    assert second.alarms.stopped == stopped
    second.alarms.resume()
    await second.alarms.until_learning()
    assert second.alarms.stopped is None
    assert watched(max_kl=1).alarms.stopped is None


async def test_resuming_forgives_what_was_refused(watched: Callable[..., Watched]) -> None:
    life = watched(refusals=2)
    await life.refused("canary")
    await life.refused("canary")
    life.alarms.resume()
    assert await life.refused("canary") is None


async def test_a_step_too_far_from_the_base_model_goes_back_to_its_parent(
    watched: Callable[..., Watched],
) -> None:
    life = watched(max_kl=1)
    assert str(await life.judged(PROMOTED, kl_base=1.5)).startswith("kl: 1.5 nats")
    assert life.way_back.gone == [(7, "alarm")]


async def test_without_a_bound_no_step_is_too_far(watched: Callable[..., Watched]) -> None:
    assert await watched(max_kl=0).judged(PROMOTED, kl_base=99) is None


async def test_a_candidate_that_was_refused_casts_no_doubt_on_what_is_served(
    watched: Callable[..., Watched],
) -> None:
    assert await watched(max_kl=1).judged(OTHER_WEIGHTS, kl_base=1.5) is None


@pytest.mark.parametrize(
    ("ratio", "alarmed"), [(1.0, False), (0.51, False), (0.4, True), (2.5, True)]
)
def test_a_mean_importance_ratio_outside_its_band_is_said(ratio: float, alarmed: bool) -> None:
    assert (importance_alarm({"ratio": ratio}) is not None) == alarmed
