"""Nothing acknowledged is lost: whoever dies, and when the disk is full."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from tests.unit.store.build import add, experience
from ttrl_server.errors import ConfigError, StoreError
from ttrl_server.store import Experiences, schema

ROOT = Path(__file__).parents[3]

ADD_FOR_EVER = """
import sys
from tests.unit.store.build import add, experience
from ttrl_server.store import Experiences
store = Experiences(sys.argv[1])
for number in range(10**6):
    add(store, experience(str(number)))
    print(number, flush=True)
"""

LEASE_AND_WAIT = """
import sys, time
from ttrl_server.store import Experiences
batch = Experiences(sys.argv[1]).lease(8, 3600, 1, None, min_version=0)
print(batch.id, flush=True)
time.sleep(600)
"""


def start(program: str, url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def kill(process: subprocess.Popen[str]) -> str:
    """SIGKILL; what the process had said and nobody had read."""
    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL
    return said


def test_every_acknowledged_group_is_there_after_kill_9(url: str) -> None:
    names: set[str] = set()
    for _ in range(2):
        process = start(ADD_FOR_EVER, url)
        assert process.stdout is not None
        acknowledged = [process.stdout.readline() for _ in range(6)]
        acknowledged += kill(process).splitlines()
        names |= {line.strip() for line in acknowledged if line.strip()}
    assert len(names) > 5
    with closing(Experiences(url)) as store:
        assert all(store.get(name) == experience(name) for name in names)
        # The add that was under way at a kill may be there as well, and then as a whole.
        assert 0 <= store.pending() - len(names) <= 2


def test_the_lease_of_a_killed_gateway_stays_until_it_is_released(url: str) -> None:
    with closing(Experiences(url)) as store:
        add(store, experience("a"))
    process = start(LEASE_AND_WAIT, url)
    assert process.stdout is not None
    batch_id = process.stdout.readline().strip()
    kill(process)
    with closing(Experiences(url)) as store:
        assert store.counts()["leased"] == 1
        store.renew(batch_id, 60)
        assert store.release_all("the trainer starts anew") == 1
        assert store.pending() == 1


def test_a_second_gateway_on_the_same_file_is_refused(store: Experiences, url: str) -> None:
    with pytest.raises(ConfigError, match="belongs to a gateway that is running"):
        Experiences(url)
    store.close()
    Experiences(url).close()


def test_a_full_disk_costs_only_the_group_it_hit(store: Experiences, url: str) -> None:
    kept: list[str] = []

    def fill(*names: str) -> None:
        for name in names:
            add(store, experience(name))
            kept.append(name)

    fill("before")
    limit(store, 1)  # SQLite raises it to the pages in use: not one more
    with pytest.raises(StoreError, match=r"store\.sqlite refused: database or disk is full"):
        fill(*(f"filler {number}" for number in range(1000)))
    limit(store, 100_000)
    fill("after")
    assert all(store.get(name) for name in kept)
    assert store.pending() == len(kept)
    store.close()
    with closing(Experiences(url)) as reopened:
        assert reopened.pending() == len(kept)


def limit(store: Experiences, pages: int) -> None:
    with store._engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")


def test_every_commit_is_synced_to_a_write_ahead_log(store: Experiences) -> None:
    durable = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}
    with store._engine.connect() as connection:
        for name, value in durable.items():
            assert connection.exec_driver_sql(f"PRAGMA {name}").scalar() == value


def test_a_store_of_another_schema_says_what_to_do(url: str, tmp_path: Path) -> None:
    Experiences(url).close()
    with sqlite3.connect(tmp_path / "run" / "store.sqlite") as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    connection.close()
    what_to_do = "has schema version 99, this program writes 1: run the ttrl-server release"
    with pytest.raises(ConfigError, match=what_to_do):
        Experiences(url)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database " * 100)
    for _ in range(2):  # the refused attempt keeps no lock
        with pytest.raises(ConfigError, match="cannot be used: file is not a database"):
            Experiences(f"sqlite:///{path}")
    assert path.read_text().startswith("not a database")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("store.sqlite", "is no database URL"),
        ("nosuch://user:secret@here/store", "cannot be used"),
        ("sqlite:////dev/null/store.sqlite", "cannot be written"),
    ],
)
def test_a_url_that_cannot_be_opened_is_a_setting_to_correct(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        Experiences(url)
    assert "secret" not in str(refusal.value)


def test_the_tables_are_plain_enough_for_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    made = (CreateTable(t).compile(dialect=dialect) for t in schema.metadata.sorted_tables)
    tables = "".join(map(str, made))
    assert "token_ids BYTEA NOT NULL" in tables
    assert "seq BIGSERIAL NOT NULL" in tables


def test_a_store_in_memory_needs_no_lock_file() -> None:
    assert schema.own(create_engine("sqlite://").url) is None
