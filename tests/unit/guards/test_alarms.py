"""Each alarm, acting; and the healthy movements that must not set one off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ttrl_server.guards.alarms import LAST_GOOD, Alarm, Alarms, importance_alarm, outside
from ttrl_server.sections import GuardConfig
from ttrl_server.types import Signals

GUARD = GuardConfig(watch_groups=4, min_entropy=0.1, max_entropy=3, min_length=0.5, max_length=4, min_extractable=0.5)
THEN = Signals(0, 8, majority=0.4, entropy=1.0, length=10, extractable=1.0)


def now(majority: float = 0.6, entropy: float = 0.5, length: float = 9, extractable: float = 1.0) -> Signals:
    return Signals(2, 8, majority, entropy, length, extractable)


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
def test_the_collapse_alarm_is_on_joint_movement(found: Signals, says: str | None) -> None:
    alarm = Alarms(GUARD).after_verdict("promoted", "", {}, parent=2, pair=(THEN, found))
    if says is None:
        assert alarm is None
    else:
        assert alarm is not None
        assert (alarm.name, alarm.return_to) == ("collapse", LAST_GOOD)
        assert says in alarm.reason


def test_few_questions_that_were_asked_again_say_nothing_yet() -> None:
    collapsed = now(majority=0.95, entropy=0.001)
    assert outside((THEN, collapsed), GUARD) is not None
    assert outside((replace(THEN, groups=3), collapsed), GUARD) is None
    assert outside(None, GUARD) is None


def look(alarms: Alarms, state: str = "promoted", reason: str = "", **figures: float) -> Alarm | None:
    return alarms.after_verdict(state, reason, figures, parent=7, pair=None)


def test_three_steps_in_a_row_that_are_not_finite_end_learning_and_a_good_one_between_starts_anew() -> None:
    alarms = Alarms(GuardConfig())
    bad = {"groups": 4.0}
    assert [alarms.after_skip(bad), alarms.after_skip(bad)] == [None, None]
    assert look(alarms) is None
    assert [alarms.after_skip(bad), alarms.after_skip(bad)] == [None, None]
    assert alarms.after_skip({"groups": 0.0}) is None  # nothing to learn is no failure
    found = [alarms.after_skip(bad) for _ in range(3)][-1]
    assert isinstance(found, Alarm)
    assert (found.name, found.return_to) == ("diverged", None)


def test_candidates_refused_in_a_row_end_learning() -> None:
    alarms = Alarms(GuardConfig(refusals=2))
    assert look(alarms, "rejected", "canary: worse") is None
    assert look(alarms, "rejected", "probe: other weights") is None
    assert look(alarms, "rejected", "canary: worse") is None
    found = look(alarms, "rejected", "canary: worse")
    assert found is not None
    assert found.name == "held_back"


def test_a_step_too_far_from_the_base_model_goes_back_to_its_parent() -> None:
    found = look(Alarms(GuardConfig(max_kl=1)), kl_base=1.5)
    assert found is not None
    assert (found.name, found.return_to) == ("kl", 7)
    assert look(Alarms(GuardConfig(max_kl=0)), kl_base=99) is None


def test_a_candidate_that_was_refused_casts_no_doubt_on_what_is_served() -> None:
    assert look(Alarms(GuardConfig(max_kl=1)), "rejected", "probe: other weights", kl_base=1.5) is None


@pytest.mark.parametrize(("ratio", "alarmed"), [(1.0, False), (0.51, False), (0.4, True), (2.5, True)])
def test_a_mean_importance_ratio_outside_its_band_is_said(ratio: float, alarmed: bool) -> None:
    assert (importance_alarm({"ratio": ratio}) is not None) == alarmed
