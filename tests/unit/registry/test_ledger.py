"""What the ledger says after every history, torn and damaged files included."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.registry.build import BASE, folder, publish
from ttrl_server.errors import ConfigError, VersionRefused
from ttrl_server.registry.ledger import Ledger

ROOT = Path(__file__).parents[3]
ONE, TWO, THREE = folder(1), folder(2), folder(3)


def promote(ledger: Ledger, *versions: int) -> None:
    for number in versions:
        ledger.promote(number, folder(number), BASE, {})


def lines(ledger: Ledger) -> list[dict[str, object]]:
    return [json.loads(line) for line in (ledger.root / "ledger.jsonl").read_text().splitlines()]


def reopen(ledger: Ledger) -> Ledger:
    ledger.close()
    return Ledger(ledger.root)


def test_nothing_has_happened_to_a_new_ledger(ledger: Ledger) -> None:
    assert ledger.served(BASE) is None
    assert ledger.promoted(BASE) == []
    assert ledger.next_number() == 1
    assert ledger.judgement(1) is None


def test_each_event_is_one_line_with_its_own_fields(ledger: Ledger) -> None:
    assert ledger.reserve(BASE) == 1
    ledger.propose(1, ONE, BASE)
    ledger.promote(1, ONE, BASE, {"canary_z": 0.5})
    ledger.reject(2, TWO, BASE, "probe", "changes nothing")
    ledger.roll_back(0, BASE, "worse", by="operator")
    ledger.retire(1, ONE, BASE, "old", by="retention")
    refused = {"stage": "probe", "reason": "changes nothing", "by": "gate"}
    passed = {"figures": {"canary_z": 0.5}, "by": "gate"}
    events: list[dict[str, object]] = [
        {"event": "reserved", "number": 1},
        {"event": "proposed", "number": 1, "folder": ONE},
        {"event": "promoted", "number": 1, "folder": ONE, **passed},
        {"event": "rejected", "number": 2, "folder": TWO, **refused},
        {"event": "rolled_back", "number": 0, "from": 1, "reason": "worse", "by": "operator"},
        {"event": "retired", "number": 1, "folder": ONE, "reason": "old", "by": "retention"},
    ]
    assert lines(ledger) == [{"time": n, "base": BASE} | e for n, e in enumerate(events)]


def test_the_last_promoted_version_is_served_and_a_restart_knows_it(ledger: Ledger) -> None:
    promote(ledger, 1, 2)
    ledger.propose(3, THREE, BASE)
    for known in (ledger, reopen(ledger)):
        assert known.served(BASE) == (2, TWO)
        assert known.promoted(BASE) == [(1, ONE), (2, TWO)]
        assert known.states() == {1: "promoted", 2: "promoted", 3: "candidate"}
        judged = [known.judgement(number) for number in (1, 2, 3, 4)]
        assert judged == ["promoted", "promoted", None, None]


def test_each_base_model_has_its_own_history_and_all_share_the_numbers(ledger: Ledger) -> None:
    ledger.promote(ledger.reserve(BASE), ONE, BASE, {})
    ledger.promote(ledger.reserve("org/other"), TWO, "org/other", {})
    assert (ledger.served(BASE), ledger.served("org/other")) == ((1, ONE), (2, TWO))
    assert ledger.promoted("org/other") == [(2, TWO)]
    assert ledger.served("org/third") is None


def test_one_may_roll_back_and_return_to_the_later_version(ledger: Ledger) -> None:
    promote(ledger, 1, 2)
    ledger.roll_back(1, BASE, "worse", by="operator")
    assert ledger.served(BASE) == (1, ONE)
    ledger.roll_back(2, BASE, "it was not", by="operator")
    assert ledger.served(BASE) == (2, TWO)
    ledger.roll_back(0, BASE, "start over", by="operator")
    assert reopen(ledger).served(BASE) is None


def test_the_served_version_cannot_be_retired(ledger: Ledger) -> None:
    promote(ledger, 1)
    with pytest.raises(VersionRefused, match="v1 is served"):
        ledger.retire(1, ONE, BASE, "retention", by="retention")


def test_tries_are_counted_for_each_served_version_over_restarts(ledger: Ledger) -> None:
    """Each candidate that met v1 at the gate spent some of its α, whatever was served between."""
    promote(ledger, 1)
    ledger.reject(2, TWO, BASE, "gate", "worse")
    ledger.reject(3, THREE, BASE, "probe", "other weights")  # met no question
    promote(ledger, 4)
    ledger.reject(5, folder(5), BASE, "gate", "worse")
    ledger.roll_back(1, BASE, "worse", by="watch")
    again = reopen(ledger)
    assert [again.tried_against(BASE, number) for number in (0, 1, 4)] == [1, 2, 1]
    assert again.tried_against("org/other", 1) == 0


def test_why_learning_ended_is_kept_for_each_base_model_until_it_goes_on(ledger: Ledger) -> None:
    ledger.stop(BASE, "kl: too far")
    assert (reopen(ledger).stopped(BASE), ledger.stopped("org/other")) == ("kl: too far", None)


def test_a_number_seen_in_the_ledger_or_on_disk_is_never_given_again(ledger: Ledger) -> None:
    assert [ledger.reserve(BASE), ledger.reserve("org/other")] == [1, 2]
    publish(ledger.root, 9)
    assert ledger.reserve(BASE) == 10
    assert reopen(ledger).next_number() == 11


def test_threads_that_reserve_at_once_get_different_numbers(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as threads:
        numbers = list(threads.map(ledger.reserve, [BASE] * 64))
    assert sorted(numbers) == list(range(1, 65))


@pytest.mark.parametrize("torn", [b'{"time":1.0,"event":"promo', b"{", b"\0\0\0\0"])
def test_a_torn_last_line_is_cut_off(
    ledger: Ledger, torn: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    promote(ledger, 1)
    path = ledger.root / "ledger.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    mended = reopen(ledger)
    assert "torn last line" in caplog.text
    assert path.read_bytes() == whole
    promote(mended, 2)
    assert reopen(mended).served(BASE) == (2, TWO)


def test_a_last_line_that_only_lacks_its_newline_is_kept(ledger: Ledger) -> None:
    promote(ledger, 1)
    path = ledger.root / "ledger.jsonl"
    path.write_bytes(path.read_bytes().rstrip())
    mended = reopen(ledger)
    assert mended.served(BASE) == (1, ONE)
    promote(mended, 2)
    assert reopen(mended).promoted(BASE) == [(1, ONE), (2, TWO)]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"\xff", b'{"time":1,"event":"eaten","number":1,"base":"b"}']
)
def test_a_damaged_line_is_named_and_nothing_is_changed(ledger: Ledger, damage: bytes) -> None:
    promote(ledger, 1, 2, 3)
    ledger.close()
    path = ledger.root / "ledger.jsonl"
    first, _, third = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, damage, third, b""]))
    before = path.read_bytes()
    for _ in range(2):  # the refused attempt keeps no lock
        with pytest.raises(ConfigError, match=r"ledger\.jsonl, line 2 is damaged"):
            Ledger(ledger.root)
    assert path.read_bytes() == before


def test_a_second_gateway_on_the_same_adapters_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match="belongs to a gateway that is running"):
        Ledger(ledger.root)
    reopen(ledger).close()


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from ttrl_server.registry.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
ledger.reserve("org/tiny")
size = (ledger.root / "ledger.jsonl").stat().st_size
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))
try:
    ledger.reserve("org/tiny")
except OSError:
    assert ledger.next_number() == 2
    assert (ledger.root / "ledger.jsonl").stat().st_size == size
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(ledger.reserve("org/tiny"))
"""


def test_a_full_disk_leaves_no_half_line_and_the_ledger_goes_on(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("2\n", "")
    assert Ledger(tmp_path).next_number() == 3
