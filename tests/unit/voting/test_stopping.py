"""When a vote may stop: what each rule promises, held against many votes."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttrl_server.types import StopRule
from ttrl_server.voting.stopping import _evidence, decided, needed, settled

RULES: list[StopRule] = ["exact", "beta", "certificate"]
LABELS = st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=1, max_size=32)


def winner(labels: list[str | None]) -> str | None:
    """The most frequent label if it is the only one."""
    ranked = Counter(label for label in labels if label is not None).most_common(2)
    tied = len(ranked) == 2 and ranked[0][1] == ranked[1][1]
    return None if tied or not ranked else ranked[0][0]


@given(LABELS, st.data())
def test_whatever_comes_after_an_exact_stop_the_winner_stays(
    labels: list[str | None], data: st.DataObject
) -> None:
    total = len(labels)
    for drawn in range(total):
        if decided("exact", 0.99, labels[:drawn], total):
            left, late = total - drawn, st.sampled_from([None, "a", "b", "z"])
            rest = data.draw(st.lists(late, min_size=left, max_size=left))
            assert winner(labels[:drawn] + rest) == winner(labels[:drawn]) is not None
            return


@given(LABELS)
def test_an_exact_stop_never_comes_before_half_are_in(labels: list[str | None]) -> None:
    assert not decided("exact", 0.99, labels[: len(labels) // 2], len(labels))


@given(LABELS)
def test_no_rule_ever_stops_a_vote_that_is_never_to_stop(labels: list[str | None]) -> None:
    assert not decided("none", 0.99, labels, len(labels))
    assert needed("none", 0.99, labels[:1], len(labels)) == len(labels) - 1


def test_a_weighted_vote_stops_only_when_the_heaviest_votes_could_not_turn_it() -> None:
    labels = ["a"] * 6
    assert settled([1.0] * 6, labels, 10)
    assert not settled([0.5] * 6, labels, 10)
    assert not settled([1.0] * 5 + [0.0], labels, 11)


@pytest.mark.parametrize(
    ("first", "second", "posterior"),
    [(0, 0, 1 / 2), (1, 0, 3 / 4), (8, 0, 511 / 512), (3, 1, 13 / 16), (2, 2, 1 / 2)],
)
def test_the_beta_rule_knows_its_posterior(first: int, second: int, posterior: float) -> None:
    labels = ["a"] * first + ["b"] * second
    assert decided("beta", posterior - 1e-9, labels, 64)
    assert not decided("beta", posterior + 1e-9, labels, 64)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 0), (0, 5), (9, 3), (3, 9)])
def test_the_evidence_is_the_integral_it_claims_to_be(wins: int, losses: int) -> None:
    steps = 20_000
    shares = [0.5 + (i + 0.5) / (2 * steps) for i in range(steps)]
    integral = sum((2 * s) ** wins * (2 * (1 - s)) ** losses for s in shares) / steps
    assert math.isclose(_evidence(wins, losses), integral, rel_tol=1e-4)


@given(st.integers(0, 20), st.integers(0, 20))
def test_under_even_odds_the_evidence_is_expected_to_stay_as_it_is(wins: int, losses: int) -> None:
    after = (_evidence(wins + 1, losses) + _evidence(wins, losses + 1)) / 2
    assert math.isclose(after, _evidence(wins, losses), rel_tol=1e-9)


def test_a_certificate_is_hardly_ever_wrong_however_often_it_is_looked_at() -> None:
    """A rule that peeks carelessly would often certify the rival, which is nearly as likely."""
    order = random.Random(0)
    wrong = 0
    for _ in range(1_000):
        labels = order.choices(["right", "rival", "other", None], [0.3, 0.28, 0.22, 0.2], k=128)
        seen = (labels[:n] for n in range(1, 129))
        stop = next((some for some in seen if decided("certificate", 0.9, some, 10**6)), None)
        wrong += stop is not None and winner(stop) != "right"
    assert wrong / 1_000 <= 0.1


def test_answers_that_appear_late_must_show_more() -> None:
    early, late = ["a"] * 12, ["b", "c", "d", "a"] + ["a"] * 11
    assert decided("certificate", 0.99, early, 64)
    assert not decided("certificate", 0.99, late, 64)
    assert decided("certificate", 0.99, late + ["a"] * 6, 64)


@pytest.mark.parametrize("rule", RULES)
def test_nothing_is_decided_by_samples_without_an_answer(rule: StopRule) -> None:
    assert not decided(rule, 0.9, [None] * 40, 64)


@given(LABELS, st.sampled_from(RULES))
def test_what_is_needed_is_the_least_after_which_the_rule_can_fire(
    labels: list[str | None], rule: StopRule
) -> None:
    total, drawn = 64, len(labels)
    more = needed(rule, 0.99, labels, total)
    leader = next(iter(Counter(x for x in labels if x is not None).most_common(1)), ("a", 0))[0]
    assert 1 <= more <= total - drawn
    for fewer in range(1, more):
        assert not decided(rule, 0.99, labels + [leader] * fewer, total)
    if more < total - drawn:
        assert decided(rule, 0.99, labels + [leader] * more, total)
