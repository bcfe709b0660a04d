"""Each alarm, acting; and the healthy movements that must not set one off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tests.unit.registry.build import BASE, folder
from ttrl_server.learning.alarms import Alarms, importance_alarm
from ttrl_server.promotion.bands import Pair, outside
from ttrl_server.promotion.promotions import Judgement
from ttrl_server.registry.ledger import Ledger
from ttrl_server.settings.config import Config
from ttrl_server.settings.sections import GuardConfig
from ttrl_server.types import Signals

PROMOTED = Judgement("promoted", "")
BANDS: dict[str, Any] = {"watch_groups": 4, "min_extractable": 0.5}
BANDS |= {"min_entropy": 0.1, "max_entropy": 3, "min_length": 0.5, "max_length": 4}
THEN = Signals(0, 8, majority=0.4, entropy=1.0, length=10, extractable=1.0)


def now(
    majority: float = 0.6, entropy: float = 0.5, length: float = 9, extractable: float = 1.0
) -> Signals:
    return Signals(2, 8, majority, entropy, length, extractable)


class Watched:
    """Alarms on a real ledger; ``pair`` is what every parent looked like."""

    def __init__(self, root: Path, pair: Pair | None = None, **guard: Any) -> None:
        self.ledger, self.pair, self.gone = Ledger(root), pair, list[Any]()
        config, rollback = Config(model=BASE, hardware="cpu", guard=guard), cast("Any", self)
        self.alarms = Alarms(config, self.ledger, rollback, self.paired)

    async def go(self, target: Any, reason: str, *, by: str) -> None:
        """In the place of the rollback: notes where it is told to go."""
        self.gone.append((target, by))

    async def paired(self, number: int) -> Pair | None:
        return self.pair

    async def judged(self, judgement: Judgement) -> str | None:
        await self.alarms.after_judgement(judgement, 7)
        return self.alarms.stopped

    async def refused(self, stage: str) -> str | None:
        """The next candidate is refused at ``stage``, by the ledger and to the alarms."""
        number = self.ledger.reserve(BASE)
        self.ledger.reject(number, folder(number), BASE, stage, "worse")
        return await self.judged(Judgement("rejected", f"{stage}: worse"))


Lives = Callable[..., Watched]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Lives]:
    """Each call is a life on the same folder."""
    lives: list[Watched] = []

    def begin(pair: Pair | None = None, **guard: Any) -> Watched:
        for life in lives:
            life.ledger.close()
        lives.append(Watched(tmp_path, pair, **guard))
        return lives[-1]

    yield begin
    lives[-1].ledger.close()


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
async def test_collapse_is_joint_movement(watched: Lives, found: Signals, says: str | None) -> None:
    life = watched((THEN, found), **BANDS)
    stopped = await life.judged(PROMOTED)
    assert (stopped or "").startswith("collapse: v7") == (says is not None)
    assert (says or "") in (stopped or "")
    assert life.gone == ([] if says is None else [("good", "alarm")])


def test_few_questions_that_were_asked_again_say_nothing_yet() -> None:
    collapsed, guard = now(majority=0.95, entropy=0.001), GuardConfig(**BANDS)
    assert outside((THEN, collapsed), guard) is not None
    assert outside((replace(THEN, groups=3), collapsed), guard) is None
    assert outside(None, guard) is None


async def test_three_bad_steps_in_a_row_end_learning(watched: Lives) -> None:
    life, bad = watched(), {"groups": 4.0}
    # None: a step that made a version.
    for figures in (bad, bad, None, bad, bad, {"groups": 0.0}, bad, bad):
        await (life.judged(PROMOTED) if figures is None else life.alarms.after_skip(figures))
        assert life.alarms.stopped is None
    await life.alarms.after_skip(bad)
    assert str(life.alarms.stopped).startswith("diverged: 3 steps")
    assert life.gone == []  # what is served is not in doubt


async def test_candidates_refused_in_a_row_end_learning(watched: Lives) -> None:
    life = watched(refusals=2)
    for stage in ("canary", "probe", "kl", "stale"):
        assert await life.refused(stage) is None
    assert str(await life.refused("canary")).startswith("held_back: 2 candidates")
    assert life.gone == [("sound or serving", "alarm")]


async def test_refusals_are_counted_over_a_restart(watched: Lives) -> None:
    assert await watched(refusals=2).refused("canary") is None
    assert str(await watched(refusals=2).refused("canary")).startswith("held_back")


async def test_learning_stays_ended_until_a_person_resumes_it(watched: Lives) -> None:
    stopped = await watched(refusals=1).refused("kl")
    second = watched(refusals=1)
    assert second.alarms.stopped == stopped
    second.alarms.resume()
    await second.alarms.until_learning()
    assert second.alarms.stopped is None
    assert watched(refusals=1).alarms.stopped is None


async def test_resuming_forgives_what_was_refused(watched: Lives) -> None:
    life = watched(refusals=2)
    await life.refused("canary")
    await life.refused("canary")
    life.alarms.resume()
    assert await life.refused("canary") is None


@pytest.mark.parametrize(("ratio", "odd"), [(1.0, False), (0.51, False), (0.4, True), (2.5, True)])
def test_a_mean_importance_ratio_outside_its_band_is_said(ratio: float, odd: bool) -> None:
    assert (importance_alarm({"ratio": ratio}) is not None) == odd
