"""Groups in, batches out, each consumed once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.store.build import Clock, experience
from ttrl_server.errors import LeaseLost
from ttrl_server.store import Experiences
from ttrl_server.types import Batch, Parent


def lease(store: Experiences, limit: int = 8, *, number: int = 1, min_version: int = 0) -> Batch:
    batch = store.lease(limit, 60, number, None, min_version=min_version)
    assert batch is not None
    return batch


def ids(batch: Batch) -> list[str]:
    return [e.id for e in batch.experiences]


def fill(store: Experiences, *names: str) -> None:
    for name in names:
        store.add(experience(name))


def test_an_experience_is_read_as_it_was_added(store: Experiences) -> None:
    fill(store, "a", "b")
    assert store.get("b") == experience("b")
    assert store.get("never added") is None


def test_adding_the_same_id_again_changes_nothing(store: Experiences) -> None:
    store.add(experience("a"))
    store.add(experience("a", version=9))
    assert store.get("a") == experience("a")
    assert store.pending() == 1


def test_a_group_that_was_not_admitted_is_kept_with_its_reason_and_never_leased(
    store: Experiences,
) -> None:
    refused = experience("a", admitted=False, reason="unanimous")
    store.add(refused)
    assert store.get("a") == refused
    assert store.pending() == 0
    assert store.oldest_pending() is None
    assert store.lease(8, 60, 1, None, min_version=0) is None
    assert store.counts() == {
        "kept": 1,
        "pending": 0,
        "leased": 0,
        "consumed": 0,
        "dropped": 0,
        "kept/unanimous": 1,
    }


def test_the_oldest_groups_are_leased_first_and_no_more_than_asked_for(
    store: Experiences, clock: Clock
) -> None:
    store.add(experience("z"))
    clock.now += 5
    fill(store, "y", "x")
    assert store.oldest_pending() == 1000
    batch = store.lease(2, 60, 7, Parent(6, "v000006-00000000"), min_version=0)
    assert batch is not None
    assert batch.experiences == (experience("z"), experience("y"))
    assert (batch.number, batch.parent, batch.lease_s) == (7, Parent(6, "v000006-00000000"), 60)
    assert (store.pending(), store.oldest_pending()) == (1, 1005)


def test_only_one_lease_lives_at_a_time(store: Experiences) -> None:
    fill(store, "a", "b")
    first = lease(store, 1)
    assert store.lease(1, 60, 2, None, min_version=0) is None
    store.consume(first.id, folder=None, reason="no advantage")
    assert ids(lease(store, 1, number=3)) == ["b"]


def test_a_consumed_batch_can_be_neither_renewed_nor_consumed_nor_released_again(
    store: Experiences,
) -> None:
    fill(store, "a")
    batch = lease(store)
    store.consume(batch.id, folder="v000001-00000000", reason="proposed")
    with pytest.raises(LeaseLost, match=batch.id):
        store.consume(batch.id, folder="v000001-00000000", reason="proposed")
    with pytest.raises(LeaseLost):
        store.renew(batch.id, 60)
    with pytest.raises(LeaseLost):
        store.release(batch.id, "late")
    assert store.counts()["consumed"] == 1
    assert store.release_all("start") == 0
    assert store.lease(8, 60, 2, None, min_version=0) is None


def test_a_batch_that_never_was_is_lost_too(store: Experiences) -> None:
    with pytest.raises(LeaseLost):
        store.renew("no such batch", 60)


def test_a_lease_that_ran_out_gives_its_groups_to_the_next_one_and_its_holder_is_told(
    store: Experiences, clock: Clock
) -> None:
    fill(store, "a", "b")
    late = lease(store)
    clock.now += 61
    assert ids(lease(store, number=2)) == ["a", "b"]
    with pytest.raises(LeaseLost):
        store.consume(late.id, folder="v000001-00000000", reason="proposed")
    assert store.proposed() == []


def test_a_renewed_lease_runs_on(store: Experiences, clock: Clock) -> None:
    fill(store, "a")
    batch = lease(store)
    clock.now += 50
    store.renew(batch.id, 60)
    clock.now += 50
    assert store.expire() == 0
    clock.now += 11
    assert store.expire() == 1
    assert store.pending() == 1


def test_a_released_batch_is_pending_again_in_its_old_place(store: Experiences) -> None:
    fill(store, "a", "b", "c")
    store.release(lease(store, 2).id, "trainer stopped")
    assert ids(lease(store, 3)) == ["a", "b", "c"]


def test_groups_of_old_versions_are_dropped_and_counted(store: Experiences) -> None:
    for name, version in (("old", 1), ("new", 3), ("older", 0)):
        store.add(experience(name, version=version))
    assert ids(lease(store, min_version=2)) == ["new"]
    assert store.counts()["dropped/stale"] == 2
    assert store.get("old") == experience("old", version=1)


def test_a_group_leased_three_times_without_a_step_is_dropped(
    store: Experiences, clock: Clock
) -> None:
    fill(store, "poison")
    for number in (1, 2, 3):
        lease(store, number=number)
        clock.now += 61
    fill(store, "good")
    assert ids(lease(store, number=4)) == ["good"]
    assert store.counts()["dropped/attempts"] == 1


def test_proposals_come_in_the_order_they_were_leased_and_without_the_empty_ones(
    store: Experiences,
) -> None:
    for number, folder in ((3, "v000003-aaaaaaaa"), (4, None), (5, "v000005-bbbbbbbb")):
        fill(store, str(number))
        store.consume(lease(store, number=number).id, folder=folder, reason="step")
    assert store.proposed() == [(3, "v000003-aaaaaaaa"), (5, "v000005-bbbbbbbb")]


def test_what_a_model_writes_is_kept_byte_by_byte(store: Experiences) -> None:
    plain = experience("a")
    rollout = replace(plain.group.rollouts[0], text="NUL \0, half a pair \ud800, 你好")
    wild = replace(plain, group=replace(plain.group, rollouts=(rollout,)))
    store.add(wild)
    assert store.get("a") == wild
