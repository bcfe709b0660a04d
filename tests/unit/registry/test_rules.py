"""One rulebook: what may become of a version, and what is said where it may not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.unit.registry.build import BASE, folder
from ttrl_server.errors import VersionRefused
from ttrl_server.registry import rules
from ttrl_server.registry.ledger import Ledger
from ttrl_server.registry.rules import may_go_back_to, may_pin, may_retire, may_serve

Wish = Callable[..., object]
may_overrule = partial(may_serve, force=True)
may_just_serve = partial(may_serve, force=False)


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    """1 retired, 2 fallen, 3 promoted and served, 4 refused for its answers, 5 refused for its
    weights, 6 a candidate."""
    for number in range(1, 7):
        ledger.propose(number, folder(number), BASE)
    ledger.promote(1, folder(1), BASE, {})
    ledger.promote(2, folder(2), BASE, {})
    ledger.roll_back(1, BASE, "worse", by="watch")
    ledger.promote(3, folder(3), BASE, {})
    ledger.retire(1, folder(1), BASE, "old", by="operator")
    ledger.reject(4, folder(4), BASE, "canary", "worse")
    ledger.reject(5, folder(5), BASE, "probe", "other weights")
    return ledger


@pytest.mark.parametrize(
    ("wish", "number", "granted"),
    [
        (may_just_serve, 3, "again"),
        (may_overrule, 4, "overruled"),
        (may_go_back_to, 0, None),
        (may_go_back_to, 3, folder(3)),
        (may_pin, 3, folder(3)),
        (may_pin, 2, folder(2)),  # clients may ask for it by name, though it fell
        (may_retire, 2, folder(2)),
        (may_retire, 4, folder(4)),
    ],
)
def test_what_may_be(ledger: Ledger, wish: Wish, number: int, granted: object) -> None:
    assert wish(ledger, BASE, number) == granted


@pytest.mark.parametrize(
    ("wish", "number", "unknown", "says"),
    [
        (may_just_serve, 1, True, "the nearest is v2"),
        (may_just_serve, 7, True, "there are v6, v5, v4, v3, v2, the nearest is v6"),
        (may_overrule, 2, False, "fell when it was served"),
        (may_just_serve, 4, False, "force serves it all the same"),
        (may_overrule, 5, False, "not refused for its answers (probe)"),
        (may_overrule, 6, False, "no judgement yet"),
        (may_go_back_to, 1, False, "promoted versions: v3"),
        (may_go_back_to, 2, False, "promoted versions: v3"),
        (may_go_back_to, 4, False, "promoted versions: v3"),
        (may_pin, 4, False, "was not promoted"),
        (may_pin, 7, True, "there is no version v7"),
        (may_retire, 3, False, "v3 is served"),
    ],
)
def test_what_may_not_be(ledger: Ledger, wish: Wish, number: int, unknown: bool, says: str) -> None:
    with pytest.raises(VersionRefused) as refusal:
        wish(ledger, BASE, number)
    assert refusal.value.unknown is unknown
    assert says in str(refusal.value)


def test_only_what_is_pinned_is_unpinned(ledger: Ledger) -> None:
    with pytest.raises(VersionRefused, match="v3 is not pinned"):
        rules.may_unpin(ledger, BASE, 3)
    ledger.pin(3, folder(3), BASE)
    rules.may_unpin(ledger, BASE, 3)
