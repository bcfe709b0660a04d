"""Groups in, batches out, each consumed once."""

from __future__ import annotations

import pytest

from tests.unit.store.build import Clock, add, experience
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
        add(store, experience(name))


def test_an_experience_is_read_as_it_was_added(store: Experiences) -> None:
    fill(store, "a", "b")
    assert store.get("b") == experience("b")
    assert store.get("never added") is None


def test_adding_the_same_id_again_changes_nothing(store: Experiences) -> None:
    add(store, experience("a"))
    add(store, experience("a", version=9))
    assert store.get("a") == experience("a")
    assert store.pending() == 1


def test_a_refused_group_is_kept_with_its_reason_and_never_leased(store: Experiences) -> None:
    refused = experience("a", admitted=False, reason="unanimous")
    add(store, refused)
    assert store.get("a") == refused
    assert store.pending() == 0
    assert store.oldest_pending() is None
    assert store.lease(8, 60, 1, None, min_version=0) is None
    none = dict.fromkeys(("pending", "leased", "consumed", "dropped"), 0)
    assert store.counts() == none | {"kept": 1, "kept/unanimous": 1}


def test_the_oldest_groups_are_leased_first(store: Experiences, clock: Clock) -> None:
    add(store, experience("z"))
    clock.now += 5
    fill(store, "y", "x")
    assert store.oldest_pending() == 1000
    parent = Parent(6, "v000006-00000000")
    batch = store.lease(2, 60, 7, parent, min_version=0)
    assert batch is not None
    assert batch.experiences == (experience("z"), experience("y"))
    assert (batch.number, batch.parent, batch.lease_s) == (7, parent, 60)
    assert (store.pending(), store.oldest_pending()) == (1, 1005)


def test_a_person_who_judges_the_oldest_group_does_not_make_the_others_wait(
    store: Experiences, clock: Clock
) -> None:
    judged = experience("judged")
    fill(store, "judged", "other")
    clock.now += 5
    assert store.reward_anew("judged", judged.rewards, judged.admission)
    assert store.oldest_pending() == 1000


def test_only_one_lease_lives_at_a_time(store: Experiences) -> None:
    fill(store, "a", "b")
    first = lease(store, 1)
    assert store.lease(1, 60, 2, None, min_version=0) is None
    store.consume(first.id, folder=None, reason="no advantage")
    assert ids(lease(store, 1, number=3)) == ["b"]


def test_a_consumed_batch_can_never_be_used_again(store: Experiences) -> None:
    fill(store, "a")
    batch = lease(store)
    store.consume(batch.id, folder="v000001-00000000", reason="proposed")
    with pytest.raises(LeaseLost, match=batch.id):
        store.consume(batch.id, folder="v000001-00000000", reason="proposed")
    for name in (batch.id, "no such batch"):
        with pytest.raises(LeaseLost):
            store.renew(name, 60)
    assert store.counts()["consumed"] == 1
    assert store.release_all("start") == 0
    assert store.lease(8, 60, 2, None, min_version=0) is None


def test_a_lease_that_ran_out_goes_to_the_next_trainer(store: Experiences, clock: Clock) -> None:
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
    assert store.lease(8, 60, 2, None, min_version=0) is None
    clock.now += 11
    assert ids(lease(store, number=2)) == ["a"]


def test_a_released_batch_is_pending_again_in_its_old_place(store: Experiences) -> None:
    fill(store, "a", "b", "c")
    lease(store, 2)
    assert store.release_all("trainer stopped") == 2
    assert ids(lease(store, 3)) == ["a", "b", "c"]


def test_groups_of_old_versions_are_dropped_and_counted(store: Experiences) -> None:
    for name, version in (("old", 1), ("new", 3), ("older", 0)):
        add(store, experience(name, version=version))
    assert ids(lease(store, min_version=2)) == ["new"]
    assert store.counts()["dropped/stale"] == 2
    assert store.get("old") == experience("old", version=1)


def test_a_group_leased_three_times_in_vain_is_dropped(store: Experiences, clock: Clock) -> None:
    fill(store, "poison")
    for number in (1, 2, 3):
        lease(store, number=number)
        clock.now += 61
    fill(store, "good")
    assert ids(lease(store, number=4)) == ["good"]
    assert store.counts()["dropped/attempts"] == 1


def test_proposals_come_in_the_order_of_their_leases(store: Experiences) -> None:
    for number, folder in ((3, "v000003-aaaaaaaa"), (4, None), (5, "v000005-bbbbbbbb")):
        fill(store, str(number))
        store.consume(lease(store, number=number).id, folder=folder, reason="step")
    assert store.proposed() == [(3, "v000003-aaaaaaaa"), (5, "v000005-bbbbbbbb")]
