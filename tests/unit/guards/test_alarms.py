"""Each alarm, acting; and the healthy movements that must not set one off."""

from __future__ import annotations

import pytest

from ttrl_server.guards.alarms import Alarm, Alarms, collapse, importance_alarm
from ttrl_server.sections import GuardConfig
from ttrl_server.types import Signals

GUARD = GuardConfig(watch_groups=4, min_extractable=0.5, min_entropy=0.1, max_entropy=3, min_length=0.5, max_length=4)
BASE = Signals(0, 20, majority=0.4, entropy=1.0, length=10, extractable=1.0)


def version(number: int, majority: float = 0.6, entropy: float = 0.5, length: float = 9, extractable: float = 1.0):  # type: ignore[no-untyped-def]
    return Signals(number, 8, majority, entropy, length, extractable)


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (version(2), None),
        (version(2, majority=0.95, entropy=0.2), None),  # surer, as it should be
        (version(2, majority=0.95, entropy=0.05), "entropy fell"),
        (version(2, majority=0.95, length=4), "length fell"),
        (version(2, majority=0.3, entropy=0.05), None),  # less sure: not the joint movement
        (version(2, entropy=3.5), "entropy is 3.50 times"),
        (version(2, length=50), "5.00 times as long"),
        (version(2, extractable=0.4), "0.40 of the samples answer"),
    ],
)
def test_the_collapse_alarm_is_on_joint_movement(now: Signals, says: str | None) -> None:
    alarm = collapse([BASE, version(1), now], GUARD)
    if says is None:
        assert alarm is None
    else:
        assert alarm is not None
        assert (alarm.name, alarm.return_to) == ("collapse", 1)
        assert says in alarm.reason


def test_the_way_back_leads_past_every_version_outside_the_bands() -> None:
    bad = version(3, majority=0.9, entropy=0.01)
    alarm = collapse([BASE, version(1), version(2, majority=0.9, entropy=0.02), bad], GUARD)
    assert alarm is not None
    assert alarm.return_to == 1


def test_a_version_that_drew_few_groups_is_not_judged_yet() -> None:
    few = Signals(1, 3, 0.9, 0.001, 10, 1.0)
    assert collapse([BASE, few], GUARD) is None
    assert collapse([], GUARD) is None


def test_three_steps_in_a_row_that_are_not_finite_end_learning_and_a_good_one_between_starts_anew() -> None:
    alarms = Alarms(GuardConfig())
    bad = {"groups": 4.0}
    assert [alarms.after_skip(bad), alarms.after_skip(bad)] == [None, None]
    assert alarms.after_verdict("promoted", "", {}, []) is None
    assert [alarms.after_skip(bad), alarms.after_skip(bad)] == [None, None]
    assert alarms.after_skip({"groups": 0.0}) is None  # nothing to learn is no failure
    found = [alarms.after_skip(bad) for _ in range(3)][-1]
    assert isinstance(found, Alarm)
    assert (found.name, found.return_to) == ("diverged", None)


def test_candidates_refused_in_a_row_end_learning() -> None:
    alarms = Alarms(GuardConfig(refusals=2))
    assert alarms.after_verdict("rejected", "canary: worse", {}, []) is None
    assert alarms.after_verdict("rejected", "probe: other weights", {}, []) is None
    assert alarms.after_verdict("rejected", "canary: worse", {}, []) is None
    found = alarms.after_verdict("rejected", "canary: worse", {}, [])
    assert found is not None
    assert found.name == "held_back"


def test_a_step_too_far_from_the_base_model_goes_back() -> None:
    found = Alarms(GuardConfig(max_kl=1, watch_groups=4)).after_verdict(
        "promoted", "", {"kl_base": 1.5}, [BASE, version(1), version(2)]
    )
    assert found is not None
    assert (found.name, found.return_to) == ("kl", 1)
    assert Alarms(GuardConfig(max_kl=0)).after_verdict("promoted", "", {"kl_base": 99}, []) is None


@pytest.mark.parametrize(("ratio", "alarmed"), [(1.0, False), (0.51, False), (0.4, True), (2.5, True)])
def test_a_mean_importance_ratio_outside_its_band_is_said(ratio: float, alarmed: bool) -> None:
    assert (importance_alarm({"ratio": ratio}) is not None) == alarmed
