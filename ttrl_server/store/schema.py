"""The tables of the store; opens its database.

    experiences 1 ── n rollouts      an experience is a group, its vote, rewards and admission
    experiences n ── 1 batches       the batch that leases, or has consumed, the experience
    questions, signals               each question's groups that train, each group's figures

    kept                             not admitted: stays as a record, with the reason
    pending → leased → consumed      admitted; a lease without a step goes back to pending
    pending → dropped                admitted, but stale now, or leased too often

Plain column types and plain SQL only: SQLite (the default) and PostgreSQL take the same statements.
"""

from __future__ import annotations

import fcntl
from io import FileIO
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Double, ForeignKey, Index, Integer, LargeBinary, Table, Text
from sqlalchemy.exc import ArgumentError, DBAPIError

from ttrl_server.errors import ConfigError

SCHEMA_VERSION = 1

metadata = sa.MetaData()

_Serial = sa.BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows automatically only in a column of type INTEGER."""

schema_version = Table(
    "schema_version", metadata, Column("version", Integer, primary_key=True, autoincrement=False)
)

batches = Table(
    "batches",
    metadata,
    Column("seq", _Serial, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("number", Integer, nullable=False),
    Column("parent_number", Integer),
    Column("parent_folder", Text),
    Column("state", Text, nullable=False),  # leased, consumed, released, expired
    Column("created", Double, nullable=False),
    Column("expires", Double, nullable=False),
    Column("folder", Text),  # what the step proposed
    Column("reason", Text),  # why the lease ended
    Index("batches_by_state", "state"),
)

experiences = Table(
    "experiences",
    metadata,
    Column("seq", _Serial, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("state", Text, nullable=False),  # kept, pending, leased, consumed, dropped
    Column("reason", Text, nullable=False),  # the admission's reason
    Column("dropped", Text),  # stale, attempts
    Column("attempts", Integer, nullable=False),  # leases so far
    Column("batch", _Serial, ForeignKey("batches.seq")),
    Column("question_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("temperature", Double, nullable=False),
    Column("prompt_token_ids", LargeBinary, nullable=False),
    Column("vote", Text, nullable=False),
    Column("rewards", LargeBinary, nullable=False),
    Index("experiences_by_state", "state", "seq"),
    Index("experiences_by_reason", "state", "reason", "dropped"),
    Index("experiences_by_batch", "batch"),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("experience", _Serial, ForeignKey("experiences.seq"), primary_key=True),
    Column("index", Integer, primary_key=True, autoincrement=False),
    Column("token_ids", LargeBinary, nullable=False),
    Column("logprobs", LargeBinary, nullable=False),
    Column("text", LargeBinary, nullable=False),
    Column("finish_reason", Text, nullable=False),
)

questions = Table(
    "questions",
    metadata,
    Column("key", Text, primary_key=True),
    Column("flips", Text, nullable=False, default=""),  # not used: stores of 0.1 have it
    Column("trained", Integer, nullable=False),  # groups admitted
    Index("questions_by_trained", "trained"),
)

FIGURES = ("majority", "entropy", "length", "extractable")

signals = Table(
    "signals",
    metadata,
    Column("experience", _Serial, ForeignKey("experiences.seq"), primary_key=True),
    Column("question", Text, ForeignKey("questions.key"), nullable=False),
    Column("version", Integer, nullable=False),
    *(Column(name, Double, nullable=False) for name in FIGURES),
    Index("signals_by_question", "question"),
    Index("signals_by_version", "version"),
)


def own(url: sa.URL) -> FileIO | None:
    """Takes the store for this process, until the lock file is closed or the process dies.

    None: a database server or memory needs no lock file. Raises ConfigError when the file cannot
    be written, or another process owns the store.
    """
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    database = Path(str(url.database)).absolute()
    path = Path(f"{database}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
        lock = path.open("r+b", buffering=0)
    except OSError as error:
        raise ConfigError(f"the store {database} cannot be written: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ConfigError(
            f"the store {database} belongs to a gateway that is running: stop that one, or give "
            "this one a folder of its own (run_dir) or another store.url"
        ) from None
    return lock


def parse(url: str) -> sa.URL:
    """Parses a SQLAlchemy URL. Raises ConfigError."""
    try:
        return sa.make_url(url)
    except ArgumentError as error:
        said = "store.url is no database URL: write sqlite:////path/to/store.db or leave it out"
        raise ConfigError(said) from error


def prepare(url: sa.URL) -> sa.Engine:
    """Connects, and makes the tables of a new store. SQLite returns from a commit after fsync.

    Raises ConfigError when the database cannot be used, or has another schema version.
    """
    try:
        engine = sa.create_engine(url)
        if engine.dialect.name == "sqlite":
            sa.event.listen(engine, "connect", _make_durable)
        with engine.begin() as connection:
            found = None
            if sa.inspect(connection).has_table(schema_version.name):
                found = connection.execute(sa.select(schema_version.c.version)).scalar()
            if found not in (None, SCHEMA_VERSION):
                raise ConfigError(
                    f"the store {url.render_as_string()} has schema version {found}, this program "
                    f"writes {SCHEMA_VERSION}: run the ttrl-server release that made it, or name a "
                    "new store (store.url, or run_dir)"
                )
            metadata.create_all(connection)
            if found is None:
                connection.execute(sa.insert(schema_version).values(version=SCHEMA_VERSION))
    except (ArgumentError, DBAPIError, ImportError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise ConfigError(f"store.url {url.render_as_string()} cannot be used: {cause}") from error
    return engine


def _make_durable(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
