"""The experiences of one gateway: added after the vote, leased to the trainer, consumed once.

    add ──▶ pending ──lease──▶ leased ──consume──▶ consumed
              ▲                  │
              └── lease, release ┘      after MAX_ATTEMPTS leases: dropped

Every method is one transaction, on disk when the method returns. One thread calls them all; one
process owns the store. A lease ends only when the next ``lease`` finds that its time is over.
Until then a late trainer (after its machine was suspended) may still renew or consume.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select, true, update
from sqlalchemy.exc import DBAPIError

from ttrl_server.errors import LeaseLost, StoreError
from ttrl_server.store import codec, questions, schema
from ttrl_server.store.schema import batches, experiences, rollouts, signals
from ttrl_server.types import Admission, Batch, Experience, Group, History, Parent, Signals

MAX_ATTEMPTS = 3
"""Most leases of a group: a batch that crashes every trainer must not stop learning for ever."""

Rule = Callable[[Group, Admission, History], Admission]
"""Gives a group's admission from its earlier admission and its question's history."""

STATES = ("kept", "pending", "leased", "consumed", "dropped")

_PENDING = experiences.c.state == "pending"


class Experiences:
    """The store; after ``close`` another process may own it."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        """Opens or makes the store at a SQLAlchemy URL; ``clock`` gives seconds since the epoch.

        Raises ConfigError: no such database, another owner, or another schema version.
        """
        parsed = schema.parse(url)
        self._clock, self._lock = clock, schema.own(parsed)
        try:
            self._engine = schema.prepare(parsed)
        except BaseException:
            if self._lock:
                self._lock.close()
            raise

    def close(self) -> None:
        """Closes the database and lets another process own it."""
        self._engine.dispose()
        if self._lock:
            self._lock.close()

    def add(self, experience: Experience, key: str, rule: Rule) -> Admission:
        """Writes an experience to disk and returns its admission; a known id is left unchanged.

        ``key`` is the question's key. ``rule`` decides from the question's history, in the same
        transaction. Raises StoreError when nothing was written.
        """
        with self._transaction() as connection:
            known = select(experiences.c.seq).where(experiences.c.id == experience.id)
            if connection.execute(known).scalar() is not None:
                return experience.admission
            past = questions.history(connection, key)
            decided = rule(experience.group, experience.admission, past)
            experience = replace(experience, admission=decided)
            state = "pending" if experience.admission.admitted else "kept"
            own = {"state": state, "created": self._clock(), "attempts": 0}
            row = insert(experiences).values(codec.experience_row(experience) | own)
            seq = connection.execute(row.returning(experiences.c.seq)).scalar_one()
            drawn = experience.group.rollouts
            lines = [codec.rollout_row(rollout) | {"experience": seq} for rollout in drawn]
            if lines:
                connection.execute(insert(rollouts), lines)
                questions.note(connection, seq, key, experience)
        return experience.admission

    def reward_anew(
        self, experience_id: str, rewards: tuple[float, ...], admission: Admission
    ) -> bool:
        """Replaces a group's rewards; False when it is leased, consumed or not there."""
        e = experiences.c
        unused = e.state.in_(("kept", "pending"))
        query = select(e.seq, e.state).where(e.id == experience_id, unused)
        with self._transaction() as connection:
            before = connection.execute(query).first()
            if before is None:
                return False
            state = "pending" if admission.admitted else "kept"
            new = {"rewards": codec.pack(codec.REWARDS, rewards), "reason": admission.reason}
            _change(connection, e.seq == before.seq, state=state, created=self._clock(), **new)
            if before.state == "kept" and admission.admitted:
                questions.admitted(connection, before.seq)
        return True

    def paired(self, version: int) -> tuple[Signals, Signals] | None:
        """Signals of the first groups of a version's questions, and of the version's own groups."""
        with self._transaction() as connection:
            return questions.paired(connection, version)

    def latest(self, limit: int, held_back: int) -> tuple[Experience, ...]:
        """The last ``limit`` groups, and the newest group of each of the last ``held_back``
        held-back questions; oldest first."""
        newest = func.max(experiences.c.seq)
        query = select(newest).select_from(experiences.join(signals)).group_by(signals.c.question)
        query = query.where(experiences.c.reason == "held_back", experiences.c.state == "kept")
        query = query.order_by(newest.desc()).limit(held_back)
        last = select(experiences.c.seq).order_by(experiences.c.seq.desc()).limit(limit)
        with self._transaction() as connection:
            chosen = {seq for each in (query, last) for seq in connection.execute(each).scalars()}
            return _load(connection, experiences.c.seq.in_(chosen))

    def get(self, experience_id: str) -> Experience | None:
        """The experience, with its rollouts in index order; None when it is not there."""
        with self._transaction() as connection:
            found = _load(connection, experiences.c.id == experience_id)
        return found[0] if found else None

    def pending(self) -> int:
        """Number of groups that wait to be trained on."""
        query = select(func.count()).select_from(experiences).where(_PENDING)
        with self._transaction() as connection:
            return connection.execute(query).scalar_one()

    def oldest_pending(self) -> float | None:
        """When the first group began to wait (seconds since the epoch); None: no group waits."""
        query = select(func.min(experiences.c.created)).where(_PENDING)
        with self._transaction() as connection:
            return connection.execute(query).scalar()

    def counts(self) -> dict[str, int]:
        """Number of experiences in each state, and as ``kept/<reason>``, ``dropped/<reason>``."""
        kind = experiences.c.state, experiences.c.reason, experiences.c.dropped
        query = select(*kind, func.count()).group_by(*kind)
        totals = dict.fromkeys(STATES, 0)
        with self._transaction() as connection:
            for state, reason, dropped, number in connection.execute(query):
                totals[state] += number
                if state in ("kept", "dropped"):
                    name = f"{state}/{dropped or reason}"
                    totals[name] = totals.get(name, 0) + number
        return totals

    def lease(
        self,
        limit: int,
        lease_s: float,
        number: int,
        parent: Parent | None,
        *,
        min_version: int,
        unwanted: Collection[int] = (),
    ) -> Batch | None:
        """Leases up to ``limit`` pending groups, oldest first, for ``lease_s`` seconds.

        The step makes version ``number`` from ``parent``. Before that, it ends leases whose time is
        over, and drops groups of versions below ``min_version`` or in ``unwanted``. Returns None
        while another lease is open, or when no group waits.
        """
        now = self._clock()
        with self._transaction() as connection:
            _end_leases(connection, batches.c.expires <= now, state="expired", reason="ran out")
            stale = (experiences.c.version < min_version) | experiences.c.version.in_(unwanted)
            _change(connection, _PENDING & stale, state="dropped", dropped="stale")
            waiting = select(experiences.c.seq).where(_PENDING).order_by(experiences.c.seq)
            chosen = list(connection.execute(waiting.limit(limit)).scalars())
            another = select(batches.c.seq).where(batches.c.state == "leased").limit(1)
            if not chosen or connection.execute(another).scalar() is not None:
                return None
            batch_id = uuid.uuid4().hex
            row: dict[str, Any] = {"number": number, "created": now, "expires": now + lease_s}
            if parent:
                row |= {"parent_number": parent.number, "parent_folder": parent.folder}
            new = insert(batches).values(id=batch_id, state="leased", **row)
            batch = connection.execute(new.returning(batches.c.seq)).scalar_one()
            leased = {"state": "leased", "attempts": experiences.c.attempts + 1, "batch": batch}
            _change(connection, experiences.c.seq.in_(chosen), **leased)
            groups = _load(connection, experiences.c.batch == batch)
            return Batch(batch_id, number, parent, groups, lease_s)

    def renew(self, batch_id: str, lease_s: float) -> None:
        """Extends the lease to ``lease_s`` seconds from now. Raises LeaseLost."""
        with self._transaction() as connection:
            _change_leased(connection, batch_id, expires=self._clock() + lease_s)

    def consume(self, batch_id: str, *, folder: str | None, reason: str) -> None:
        """Marks the batch and its groups as consumed, for ever. Raises LeaseLost.

        ``folder``: the version that the step proposes; None when it made none. ``reason``: why.
        """
        with self._transaction() as connection:
            ended = {"state": "consumed", "folder": folder, "reason": reason}
            batch = _change_leased(connection, batch_id, **ended)
            _change(connection, experiences.c.batch == batch, state="consumed")

    def release_all(self, reason: str) -> int:
        """Ends every lease, when no trainer works on them; returns the number of their groups."""
        with self._transaction() as connection:
            return _end_leases(connection, true(), state="released", reason=reason)

    def proposed(self) -> list[tuple[int, str]]:
        """(version number, folder) of every consumed batch that proposed a version, newest last."""
        b = batches.c
        made = (b.state == "consumed") & b.folder.is_not(None)
        query = select(b.number, b.folder).where(made).order_by(b.seq)
        with self._transaction() as connection:
            return [(number, folder) for number, folder in connection.execute(query)]

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            where = self._engine.url.render_as_string()
            said = f"the store {where} refused: {error.orig}; nothing of this call was kept"
            raise StoreError(said) from error


def _change(connection: Connection, which: ColumnElement[bool], **values: object) -> int:
    """Changes the experiences of ``which``; returns their number."""
    return connection.execute(update(experiences).where(which).values(values)).rowcount


def _change_leased(connection: Connection, batch_id: str, **values: object) -> int:
    """Changes a leased batch and returns its seq. Raises LeaseLost."""
    leased = update(batches).where(batches.c.id == batch_id, batches.c.state == "leased")
    seq = connection.execute(leased.values(values).returning(batches.c.seq)).scalar()
    if seq is None:
        instead = "throw the step away and ask for another batch"
        raise LeaseLost(f"batch {batch_id} is not leased any more: {instead}")
    return int(seq)


def _end_leases(connection: Connection, which: ColumnElement[bool], state: str, reason: str) -> int:
    """Ends the leased batches of ``which`` without a step; returns the number of their groups."""
    ended = update(batches).where(which, batches.c.state == "leased").returning(batches.c.seq)
    seqs = connection.execute(ended.values(state=state, reason=reason)).scalars().all()
    held = experiences.c.batch.in_(seqs) & (experiences.c.state == "leased")
    worn = held & (experiences.c.attempts >= MAX_ATTEMPTS)
    dropped = _change(connection, worn, state="dropped", dropped="attempts")
    return dropped + _change(connection, held, state="pending", batch=None)


def _load(connection: Connection, which: ColumnElement[bool]) -> tuple[Experience, ...]:
    query = select(experiences).where(which).order_by(experiences.c.seq)
    found = []
    for row in connection.execute(query).mappings().all():
        own = select(rollouts).where(rollouts.c.experience == row["seq"]).order_by(rollouts.c.index)
        lines = [dict(line) for line in connection.execute(own).mappings()]
        found.append(codec.experience_of(dict(row), lines))
    return tuple(found)
