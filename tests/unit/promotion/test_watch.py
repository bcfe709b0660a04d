"""Live signals of the served version: what raises a suspicion, and what must not."""

from __future__ import annotations

import random

from ttrl_server.promotion.watch import Watch
from ttrl_server.settings.sections import GuardConfig
from ttrl_server.types import Group, Prompt, Rollout, Vote
from ttrl_server.voting import Ballot

GUARD = GuardConfig(watch_groups=8, watch_window=16)


def seen(watch: Watch, version: int, answers: list[str], question: int, length: int = 4) -> Group:
    rollouts = tuple(
        Rollout(i, (1,) * length, (-0.5,) * length, text, "stop") for i, text in enumerate(answers)
    )
    group = Group(f"q{question}-{version}", (question,), rollouts, version, 0.6)
    ballot = Ballot(None)
    for rollout in rollouts:
        ballot.add(rollout)
    vote: Vote = ballot.count("full")
    watch.see(group, vote, Prompt((question,), 100))
    return group


def run(
    watch: Watch, version: int, share: float, groups: int, *, length: int = 4, seed: int = 0
) -> None:
    """Groups of eight; each sample is the question's answer with probability ``share``."""
    rng = random.Random(seed + version)
    for n in range(groups):
        said = [
            str(n) if rng.random() < share else rng.choice(["9999", "-1", "no idea"])
            for _ in range(8)
        ]
        seen(watch, version, said, n, length)


def test_the_same_traffic_raises_no_suspicion_and_neither_does_a_rise() -> None:
    for seed in range(30):
        watch = Watch(GUARD)
        run(watch, 1, 0.6, 16, seed=seed)
        run(watch, 2, 0.6, 16, seed=seed)
        assert watch.suspicion() is None
        run(watch, 3, 0.9, 16, seed=seed)
        assert watch.suspicion() is None


def test_a_fall_is_suspected_within_one_window_with_the_questions_to_look_into() -> None:
    watch = Watch(GUARD)
    run(watch, 1, 0.9, 16)
    run(watch, 2, 0.2, 8)
    found = watch.suspicion()
    assert found is not None
    assert found[0].startswith("majority fell")
    assert [canary.prompt.token_ids for canary in found[1]] == [(n,) for n in range(8)]
    assert all(2 in canary.said for canary in found[1])


def test_a_length_that_leaves_its_band_is_suspected() -> None:
    watch = Watch(GUARD)
    run(watch, 1, 0.6, 16, length=4)
    run(watch, 2, 0.6, 16, length=40)
    found = watch.suspicion()
    assert found is not None
    assert found[0].startswith("length became 10")


def test_a_few_groups_say_nothing() -> None:
    watch = Watch(GUARD)
    run(watch, 1, 0.9, 16)
    run(watch, 2, 0.0, 7)
    assert watch.suspicion() is None


def test_after_a_suspicion_that_was_not_confirmed_the_new_traffic_is_the_measure() -> None:
    watch = Watch(GUARD)
    run(watch, 1, 0.9, 16)
    run(watch, 2, 0.3, 16)
    assert watch.suspicion()
    watch.traffic_changed()
    run(watch, 2, 0.3, 16, seed=5)
    assert watch.suspicion() is None


def test_persons_complain_once_an_answer_however_often_they_say_it() -> None:
    watch = Watch(GUARD)
    groups = [seen(watch, 1, ["7"], n) for n in range(16)]
    for group in groups:
        watch.hear(group, "a", True)
    worse = [seen(watch, 2, ["7"], n) for n in range(16)]
    for _ in range(50):
        watch.hear(worse[0], "a", False)
    assert watch.complaint() is None
    for group in worse[1:]:
        watch.hear(group, "a", False)
    assert "praise fell: 1.00 → 0.00" in str(watch.complaint())
    watch.turned_back(1)
    assert watch.complaint() is None


def test_one_of_several_tenants_cannot_have_a_version_fall_by_complaints() -> None:
    watch = Watch(GUARD, critics=2)
    for version, praise in ((1, True), (2, False)):
        for n in range(16):
            watch.hear(seen(watch, version, ["7"], n), "hostile", praise)
    assert watch.complaint() is None
    watch.hear(seen(watch, 2, ["7"], 99), "another", False)
    assert watch.complaint() is not None
