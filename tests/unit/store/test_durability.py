"""Nothing acknowledged is lost: whoever dies, and when the disk is full."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from tests.unit.store.build import Clock, experience
from ttrl_server.errors import ConfigError, StoreError
from ttrl_server.store import Experiences, schema

ROOT = Path(__file__).parents[3]

ADD_FOR_EVER = """
import sys
from tests.unit.store.build import experience
from ttrl_server.store import Experiences
store = Experiences.open(sys.argv[1])
for number in range(10**6):
    store.add(experience(str(number)))
    print(number, flush=True)
"""

LEASE_AND_WAIT = """
import sys, time
from ttrl_server.store import Experiences
batch = Experiences.open(sys.argv[1]).lease(8, 3600, 1, None, min_version=0)
print(batch.id, flush=True)
time.sleep(600)
"""


def start(program: str, url: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", program, url], stdout=subprocess.PIPE, text=True, env=environment
    )


def kill(process: subprocess.Popen[str]) -> str:
    """SIGKILL; what the process had said and nobody had read."""
    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL
    return said


def test_every_acknowledged_group_is_there_after_kill_9(url: str) -> None:
    for _ in range(2):
        process = start(ADD_FOR_EVER, url)
        assert process.stdout is not None
        acknowledged = [process.stdout.readline() for _ in range(5)]
        time.sleep(0.3)
        acknowledged += kill(process).splitlines()
    store = Experiences.open(url)
    names = {line.strip() for line in acknowledged if line.strip()}
    assert len(names) > 5
    assert all(store.get(name) == experience(name) for name in names)
    # The one add that was under way may be there as well, and then it is there as a whole.
    assert 0 <= store.pending() - len(names) <= 1
    store.close()


def test_the_lease_of_a_killed_gateway_stays_until_it_is_released(url: str) -> None:
    store = Experiences.open(url)
    store.add(experience("a"))
    store.close()
    process = start(LEASE_AND_WAIT, url)
    assert process.stdout is not None
    batch_id = process.stdout.readline().strip()
    kill(process)
    store = Experiences.open(url)
    assert store.counts()["leased"] == 1
    store.renew(batch_id, 60)
    assert store.release_all("the trainer starts anew") == 1
    assert store.pending() == 1
    store.close()


def test_a_second_gateway_on_the_same_file_is_refused(url: str) -> None:
    first = Experiences.open(url)
    with pytest.raises(ConfigError, match="belongs to a gateway that is running"):
        Experiences.open(url)
    first.close()
    Experiences.open(url).close()


def test_a_full_disk_is_an_error_that_costs_only_the_group_it_hit(url: str, clock: Clock) -> None:
    store = Experiences.open(url, clock=clock)
    store.add(experience("before"))
    limit(store, 1)  # SQLite raises it to the pages in use: not one more
    kept, refusal = fill_up(store)
    assert "store.sqlite refused: database or disk is full" in refusal
    limit(store, 100_000)
    store.add(experience("after"))
    assert {name for name in (*kept, "before", "after") if store.get(name)} == {
        *kept,
        "before",
        "after",
    }
    assert store.pending() == len(kept) + 2
    store.close()
    reopened = Experiences.open(url)
    assert reopened.pending() == len(kept) + 2
    reopened.close()


def limit(store: Experiences, pages: int) -> None:
    with store._engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")


def fill_up(store: Experiences) -> tuple[list[str], str]:
    """Adds until the disk is full; the names that were acknowledged, and the refusal."""
    kept: list[str] = []
    for number in range(1000):
        try:
            store.add(experience(f"filler {number}"))
        except StoreError as error:
            return kept, str(error)
        kept.append(f"filler {number}")
    raise AssertionError("the disk was never full")


def test_every_commit_is_synced_to_a_write_ahead_log(store: Experiences) -> None:
    with store._engine.connect() as connection:
        values = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert values == ["wal", 2, 1, 5000]


def test_a_store_of_another_schema_says_what_to_do(url: str, tmp_path: Path) -> None:
    Experiences.open(url).close()
    with sqlite3.connect(tmp_path / "run" / "store.sqlite") as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    connection.close()
    with pytest.raises(
        ConfigError,
        match="has schema version 99, this program writes 1: run the ttrl-server release",
    ):
        Experiences.open(url)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database " * 100)
    for _ in range(2):  # the refused attempt keeps no lock
        with pytest.raises(ConfigError, match="cannot be used: file is not a database"):
            Experiences.open(f"sqlite:///{path}")
    assert path.read_text().startswith("not a database")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("store.sqlite", "is no database URL"),
        ("nosuch://here/store", "cannot be used"),
        ("sqlite:////dev/null/store.sqlite", "cannot be written"),
    ],
)
def test_a_url_that_cannot_be_opened_is_a_setting_to_correct(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Experiences.open(url)


def test_a_password_never_gets_into_a_message() -> None:
    with pytest.raises(ConfigError) as refusal:
        Experiences.open("nosuch://user:secret@here/store")
    assert "secret" not in str(refusal.value)


def test_the_store_may_be_used_from_another_thread_than_the_one_that_opened_it(
    store: Experiences,
) -> None:
    thread = threading.Thread(target=store.add, args=(experience("a"),))
    thread.start()
    thread.join()
    assert store.pending() == 1


def test_the_tables_are_plain_enough_for_postgresql() -> None:
    tables = [
        str(CreateTable(t).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
        for t in schema.metadata.sorted_tables
    ]
    assert "token_ids BYTEA NOT NULL" in "".join(tables)
    assert "seq BIGSERIAL NOT NULL" in "".join(tables)


def test_a_store_in_memory_needs_no_lock_file() -> None:
    assert schema.own(create_engine("sqlite://").url) is None
