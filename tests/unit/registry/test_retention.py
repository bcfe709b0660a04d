"""What may go, and what must stay whatever the rule."""

from __future__ import annotations

import pytest

from tests.unit.registry.build import BASE, folder
from ttrl_server.registry.ledger import Ledger
from ttrl_server.registry.past import Past
from ttrl_server.registry.retention import doomed


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    """Seven promoted versions, and two rejected ones after them."""
    for number in range(1, 10):
        ledger.propose(number, folder(number), BASE)
        if number <= 7:
            ledger.promote(number, folder(number), BASE, {})
        else:
            ledger.reject(number, folder(number), BASE, "gate", "worse")
    return ledger


def numbers(ledger: Ledger, **rule: object) -> tuple[list[int], list[int]]:
    asked: dict[str, object] = {"keep": 2, "older_than": None, "in_use": ()} | rule
    promoted, rejected = doomed(ledger, BASE, **asked)  # type: ignore[arg-type]
    return [n for n, _ in promoted], [n for n, _ in rejected]


def test_the_newest_stay(ledger: Ledger) -> None:
    assert numbers(ledger) == ([1, 2, 3, 4, 5], [])
    assert numbers(ledger, keep=1) == ([1, 2, 3, 4, 5], [8])  # 6 is the last good one


def test_what_is_served_pinned_in_use_and_the_last_good_stay(ledger: Ledger) -> None:
    ledger.pin(1, folder(1), BASE)
    ledger.roll_back(4, BASE, "worse", by="operator")
    assert numbers(ledger, in_use={2}) == ([5], [])  # 3 is the last good one now
    ledger.unpin(1, BASE)
    assert numbers(ledger, in_use={2}) == ([1, 5], [])


def test_age_beats_number_but_not_what_is_wanted(ledger: Ledger) -> None:
    assert numbers(ledger, keep=9) == ([], [])
    assert numbers(ledger, keep=9, older_than=1e9) == ([1, 2, 3, 4, 5], [8, 9])


def test_a_rejected_folder_that_went_is_gone_for_good_and_its_verdict_stays(ledger: Ledger) -> None:
    ledger.remove(8, folder(8), BASE, "retention")
    assert [n for n, _ in ledger.rejected(BASE)] == [9]
    assert folder(8) not in ledger.folders()
    assert ledger.judgement(8) == "rejected"


def test_what_was_passed_over_on_the_way_back_is_not_gone_back_to_later(ledger: Ledger) -> None:
    newest, *others = sorted((n for n, _ in ledger.promoted(BASE)), reverse=True)
    between, target = set(others[:-1]), others[-1]
    assert between
    ledger.roll_back(target, BASE, "echoes", by="watch")
    assert ledger.passed_over(BASE) == between
    assert set(ledger.before(BASE, newest + 1)) == {target}
    assert ledger.fallen(BASE) == {newest}  # a person may still serve the others


def test_what_fell_never_returns_and_what_the_operator_left_may(ledger: Ledger) -> None:
    ledger.roll_back(6, BASE, "an operator's choice", by="operator")
    ledger.roll_back(5, BASE, "worse", by="watch")
    assert ledger.fallen(BASE) == {6}
    assert ledger.left(BASE) == {6, 7}
    assert ledger.last_good(BASE) == 4
    with pytest.raises(Exception, match="v6 cannot be rolled back to"):
        ledger.roll_back(6, BASE, "again", by="operator")
    ledger.roll_back(7, BASE, "again", by="operator")
    assert ledger.served(BASE) == (7, folder(7))


def test_the_past_can_be_read_while_a_gateway_writes_it(ledger: Ledger) -> None:
    with (ledger.root / "ledger.jsonl").open("ab") as file:
        file.write(b'{"time": 1, "event"')  # a line that is being written
    past = Past.read(ledger.root)
    assert past.served(BASE) == (7, folder(7))
    assert past.bases() == [BASE]


def test_a_version_that_is_served_again_counts_as_left_no_more(ledger: Ledger) -> None:
    ledger.roll_back(5, BASE, "an operator's choice", by="operator")
    assert ledger.left(BASE) == {7}
    ledger.roll_back(7, BASE, "and forth again", by="operator")
    assert ledger.left(BASE) == set()
    assert ledger.last_good(BASE) == 6
    ledger.overrule(8, folder(8), BASE, "a person knows better")
    assert ledger.forced(BASE) == {8}
