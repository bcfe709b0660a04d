"""What a question's past says about its next group."""

from __future__ import annotations

import pytest

from ttrl_server.learning.history import by_history
from ttrl_server.promotion.canaries import is_held_back
from ttrl_server.settings.sections import GateConfig, GuardConfig
from ttrl_server.types import Admission, Group, History, question_key

GROUP = Group("q", (1, 2, 3), (), 0, 0.6)
ADMITTED = Admission(True, "queued")
OPEN = GateConfig(canary_share=0)


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        (History(), "queued"),
        (History(waiting=1, trained=1), "duplicate"),
        (History(distinct=512), "lineage_full"),
        (History(distinct=512, trained=3), "queued"),  # a question it knows
    ],
)
def test_the_first_reason_against_a_group(history: History, reason: str) -> None:
    assert by_history(GuardConfig(), OPEN, GROUP, ADMITTED, history).reason == reason


def test_a_group_that_was_refused_stays_refused_for_its_own_reason() -> None:
    refused = Admission(False, "unanimous")
    assert by_history(GuardConfig(), OPEN, GROUP, refused, History(waiting=1)) == refused


def test_a_share_of_the_questions_is_held_back_and_always_the_same_ones() -> None:
    keys = [question_key((n,)) for n in range(4000)]
    gate = GateConfig(canary_share=0.1)
    chosen = [is_held_back(key, gate) for key in keys]
    assert 300 < sum(chosen) < 500
    assert chosen == [is_held_back(key, gate) for key in keys]
    key = next(n for n in range(4000) if chosen[n])
    group = Group("q", (key,), (), 0, 0.6)
    assert by_history(GuardConfig(), gate, group, ADMITTED, History()).reason == "held_back"
