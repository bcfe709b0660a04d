"""One rulebook: what may become of a version, and what is said where it may not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ttrl_server.errors import VersionRefused
from ttrl_server.registry import rules
from ttrl_server.registry.ledger import Ledger

BASE = "org/tiny"
FOLDERS = {n: f"v{n:06d}-0000000{n}" for n in range(1, 8)}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """1 retired, 2 fallen, 3 promoted and served, 4 refused for its answers, 5 refused for its
    weights, 6 a candidate."""
    made = Ledger(tmp_path)
    for number in (1, 2, 3, 4, 5, 6):
        made.propose(number, FOLDERS[number], BASE)
    made.promote(1, FOLDERS[1], BASE, by="gate")
    made.promote(2, FOLDERS[2], BASE, by="gate")
    made.roll_back(1, BASE, "worse", by="watch")
    made.promote(3, FOLDERS[3], BASE, by="gate")
    made.retire(1, FOLDERS[1], BASE, "old", by="operator")
    made.reject(4, FOLDERS[4], BASE, "canary", "worse", by="gate")
    made.reject(5, FOLDERS[5], BASE, "probe", "other weights", by="gate")
    yield made
    made.close()


def serve(ledger: Ledger, number: int) -> object:
    return rules.may_serve(ledger, BASE, number, force=False)


def overrule(ledger: Ledger, number: int) -> object:
    return rules.may_serve(ledger, BASE, number, force=True)


def go_back(ledger: Ledger, number: int) -> object:
    return rules.may_go_back_to(ledger, BASE, number)


def pin(ledger: Ledger, number: int) -> object:
    return rules.may_pin(ledger, BASE, number)


def retire(ledger: Ledger, number: int) -> object:
    return rules.may_retire(ledger, BASE, number)


@pytest.mark.parametrize(
    ("wish", "number", "granted"),
    [
        (serve, 3, "again"),
        (overrule, 4, "overruled"),
        (go_back, 0, None),
        (go_back, 3, FOLDERS[3]),
        (pin, 3, FOLDERS[3]),
        (pin, 2, FOLDERS[2]),  # clients may ask for it by name, though it fell
        (retire, 2, FOLDERS[2]),
        (retire, 4, FOLDERS[4]),
    ],
)
def test_what_may_be(
    ledger: Ledger, wish: Callable[[Ledger, int], object], number: int, granted: object
) -> None:
    assert wish(ledger, number) == granted


@pytest.mark.parametrize(
    ("wish", "number", "unknown", "says"),
    [
        (serve, 1, True, "the nearest is v2"),
        (serve, 7, True, "there are v6, v5, v4, v3, v2, the nearest is v6"),
        (overrule, 2, False, "fell when it was served"),
        (serve, 4, False, "force serves it all the same"),
        (overrule, 5, False, "not refused for its answers (probe)"),
        (overrule, 6, False, "no judgement yet"),
        (go_back, 1, False, "promoted versions: v3"),
        (go_back, 2, False, "promoted versions: v3"),
        (go_back, 4, False, "promoted versions: v3"),
        (pin, 4, False, "was not promoted"),
        (pin, 7, True, "there is no version v7"),
        (retire, 3, False, "v3 is served"),
    ],
)
def test_what_may_not_be(
    ledger: Ledger, wish: Callable[[Ledger, int], object], number: int, unknown: bool, says: str
) -> None:
    with pytest.raises(VersionRefused) as refusal:
        wish(ledger, number)
    assert refusal.value.unknown is unknown
    assert says in str(refusal.value)


def test_only_what_is_pinned_is_unpinned(ledger: Ledger) -> None:
    with pytest.raises(VersionRefused, match="v3 is not pinned"):
        rules.may_unpin(ledger, BASE, 3)
    ledger.pin(3, FOLDERS[3], BASE)
    rules.may_unpin(ledger, BASE, 3)
