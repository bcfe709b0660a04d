"""The experiences of one gateway: added after the vote, leased to the trainer, consumed once.

    add ──▶ pending ──lease──▶ leased ──consume──▶ consumed
              ▲                  │
              └─ release, expire ┘      after MAX_ATTEMPTS leases: dropped

Every method is one transaction, on disk when the method returns. One thread calls them all; one
process owns the store. A lease ends only when ``expire`` or ``lease`` finds that its time is over.
Until then a late trainer (after its machine was suspended) may still renew or consume.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import ColumnElement, Connection, Engine, func, insert, select, update
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
    """The store. ``open`` makes it; after ``close`` another process may own it."""

    def __init__(
        self, engine: Engine, owner: schema.Owner | None, clock: Callable[[], float]
    ) -> None:
        self._engine, self._owner, self._clock = engine, owner, clock

    @classmethod
    def open(cls, url: str, *, clock: Callable[[], float] = time.time) -> Experiences:
        """Opens or makes the store at a SQLAlchemy URL; ``clock`` gives seconds since the epoch.

        Raises ConfigError: no such database, another owner, or another schema version.
        """
        parsed = schema.parse(url)
        owner = schema.own(parsed)
        try:
            return cls(schema.prepare(parsed), owner, clock)
        except BaseException:
            if owner:
                owner.close()
            raise

    def close(self) -> None:
        """Closes the database and lets another process own it."""
        self._engine.dispose()
        if self._owner:
            self._owner.close()
            self._owner = None

    def add(
        self,
        experience: Experience,
        key: str | None = None,
        label: str | None = None,
        rule: Rule | None = None,
    ) -> Admission:
        """Writes an experience to disk and returns its admission; a known id is left unchanged.

        ``key`` is the question's key, ``label`` the key of the pseudo-label. ``rule`` decides from
        the question's history, in the same transaction. Raises StoreError when nothing was written.
        """
        with self._transaction() as connection:
            known = select(experiences.c.seq).where(experiences.c.id == experience.id)
            if connection.execute(known).scalar() is not None:
                return experience.admission
            if key is not None and rule is not None:
                past = questions.history(connection, key, label, experience.group.version)
                experience = replace(
                    experience, admission=rule(experience.group, experience.admission, past)
                )
            state = "pending" if experience.admission.admitted else "kept"
            row = codec.experience_row(experience) | {
                "state": state,
                "created": self._clock(),
                "attempts": 0,
            }
            seq = connection.execute(
                insert(experiences).values(row).returning(experiences.c.seq)
            ).scalar_one()
            lines = [
                codec.rollout_row(rollout) | {"experience": seq}
                for rollout in experience.group.rollouts
            ]
            if lines:
                connection.execute(insert(rollouts), lines)
                if key is not None:
                    questions.note(connection, seq, key, label, experience)
        return experience.admission

    def reward_anew(
        self, experience_id: str, rewards: tuple[float, ...], admission: Admission
    ) -> bool:
        """Replaces a group's rewards; False when it is leased, consumed or not there."""
        open_still = (experiences.c.id == experience_id) & experiences.c.state.in_(
            ("kept", "pending")
        )
        with self._transaction() as connection:
            before = connection.execute(
                select(experiences.c.seq, experiences.c.state).where(open_still)
            ).first()
            if before is None:
                return False
            values = {
                "rewards": codec.pack_rewards(rewards),
                "reason": admission.reason,
                "created": self._clock(),
            }
            values["state"] = "pending" if admission.admitted else "kept"
            connection.execute(
                update(experiences).where(experiences.c.seq == before.seq).values(values)
            )
            if before.state == "kept" and admission.admitted:
                questions.admitted(connection, before.seq)
        return True

    def paired(self, version: int) -> tuple[Signals, Signals] | None:
        """Signals of the first groups of a version's questions, and of the version's own groups."""
        with self._transaction() as connection:
            return questions.paired(connection, version)

    def held_back(self, limit: int) -> list[Group]:
        """The newest group of each of the last ``limit`` held-back questions, oldest first."""
        newest = func.max(experiences.c.seq)
        query = select(newest).select_from(experiences.join(signals)).group_by(signals.c.question)
        query = query.where(experiences.c.reason == "held_back", experiences.c.state == "kept")
        query = query.order_by(newest.desc()).limit(limit)
        with self._transaction() as connection:
            chosen = list(connection.execute(query).scalars())
            return [found.group for found in _load(connection, experiences.c.seq.in_(chosen))]

    def get(self, experience_id: str) -> Experience | None:
        """The experience, with its rollouts in index order; None when it is not there."""
        with self._transaction() as connection:
            found = _load(connection, experiences.c.id == experience_id)
        return found[0] if found else None

    def pending(self) -> int:
        """Number of groups that wait to be trained on."""
        with self._transaction() as connection:
            return connection.execute(
                select(func.count()).select_from(experiences).where(_PENDING)
            ).scalar_one()

    def oldest_pending(self) -> float | None:
        """When the oldest waiting group was added (seconds since the epoch); None: no group."""
        query = select(experiences.c.created).where(_PENDING).order_by(experiences.c.seq).limit(1)
        with self._transaction() as connection:
            return connection.execute(query).scalar()

    def counts(self) -> dict[str, int]:
        """Number of experiences in each state, and as ``kept/<reason>``, ``dropped/<reason>``."""
        e = experiences.c
        query = select(e.state, e.reason, e.dropped, func.count()).group_by(
            e.state, e.reason, e.dropped
        )
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
            stale = _PENDING & (
                (experiences.c.version < min_version) | experiences.c.version.in_(unwanted)
            )
            connection.execute(
                update(experiences).where(stale).values(state="dropped", dropped="stale")
            )
            waiting = select(experiences.c.seq).where(_PENDING).order_by(experiences.c.seq)
            chosen = list(connection.execute(waiting.limit(limit)).scalars())
            another = select(batches.c.seq).where(batches.c.state == "leased").limit(1)
            if not chosen or connection.execute(another).scalar() is not None:
                return None
            batch_id = uuid.uuid4().hex
            row = {
                "id": batch_id,
                "number": number,
                "state": "leased",
                "created": now,
                "expires": now + lease_s,
            }
            row |= (
                {"parent_number": parent.number, "parent_folder": parent.folder} if parent else {}
            )
            batch = connection.execute(
                insert(batches).values(row).returning(batches.c.seq)
            ).scalar_one()
            taken = {"state": "leased", "batch": batch, "attempts": experiences.c.attempts + 1}
            connection.execute(
                update(experiences).where(experiences.c.seq.in_(chosen)).values(taken)
            )
            return Batch(
                batch_id, number, parent, _load(connection, experiences.c.batch == batch), lease_s
            )

    def renew(self, batch_id: str, lease_s: float) -> None:
        """Extends the lease to ``lease_s`` seconds from now. Raises LeaseLost."""
        with self._transaction() as connection:
            _change_leased(connection, batch_id, expires=self._clock() + lease_s)

    def consume(self, batch_id: str, *, folder: str | None, reason: str) -> None:
        """Marks the batch and its groups as consumed, for ever. Raises LeaseLost.

        ``folder``: the version that the step proposes; None when it made none. ``reason``: why.
        """
        with self._transaction() as connection:
            batch = _change_leased(
                connection, batch_id, state="consumed", folder=folder, reason=reason
            )
            connection.execute(
                update(experiences).where(experiences.c.batch == batch).values(state="consumed")
            )

    def release(self, batch_id: str, reason: str) -> None:
        """Ends a lease without a step: its groups are pending again. Raises LeaseLost."""
        with self._transaction() as connection:
            if not _end_leases(
                connection, batches.c.id == batch_id, state="released", reason=reason
            ):
                raise _lost(batch_id)

    def expire(self) -> int:
        """Ends leases whose time is over; returns the number of their groups."""
        with self._transaction() as connection:
            ended = _end_leases(
                connection, batches.c.expires <= self._clock(), state="expired", reason="ran out"
            )
        return sum(ended)

    def release_all(self, reason: str) -> int:
        """Ends every lease, when no trainer works on them; returns the number of their groups."""
        with self._transaction() as connection:
            return sum(
                _end_leases(connection, batches.c.id.is_not(None), state="released", reason=reason)
            )

    def proposed(self) -> list[tuple[int, str]]:
        """(version number, folder) of every consumed batch that proposed a version, newest last."""
        b = batches.c
        query = (
            select(b.number, b.folder)
            .where(b.state == "consumed", b.folder.is_not(None))
            .order_by(b.seq)
        )
        with self._transaction() as connection:
            return [(number, folder) for number, folder in connection.execute(query)]

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            where = self._engine.url.render_as_string()
            raise StoreError(
                f"the store {where} refused: {error.orig}; nothing of this call was kept"
            ) from error


def _change_leased(connection: Connection, batch_id: str, **values: object) -> int:
    """Changes a leased batch and returns its seq. Raises LeaseLost."""
    leased = (batches.c.id == batch_id) & (batches.c.state == "leased")
    seq = connection.execute(
        update(batches).where(leased).values(values).returning(batches.c.seq)
    ).scalar()
    if seq is None:
        raise _lost(batch_id)
    return int(seq)


def _end_leases(
    connection: Connection, which: ColumnElement[bool], *, state: str, reason: str
) -> list[int]:
    """Ends the leased batches of ``which`` without a step; returns each one's number of groups."""
    query = select(batches.c.seq).where(which, batches.c.state == "leased")
    ended = list(connection.execute(query).scalars())
    return [_give_back(connection, batch, state=state, reason=reason) for batch in ended]


def _give_back(connection: Connection, batch: int, *, state: str, reason: str) -> int:
    connection.execute(
        update(batches).where(batches.c.seq == batch).values(state=state, reason=reason)
    )
    held = (experiences.c.batch == batch) & (experiences.c.state == "leased")
    worn = update(experiences).where(held, experiences.c.attempts >= MAX_ATTEMPTS)
    dropped = connection.execute(worn.values(state="dropped", dropped="attempts")).rowcount
    back = connection.execute(
        update(experiences).where(held).values(state="pending", batch=None)
    ).rowcount
    return dropped + back


def _load(connection: Connection, which: ColumnElement[bool]) -> tuple[Experience, ...]:
    query = select(experiences).where(which).order_by(experiences.c.seq)
    found = []
    for row in connection.execute(query).mappings().all():
        own = select(rollouts).where(rollouts.c.experience == row["seq"]).order_by(rollouts.c.index)
        lines = [dict(line) for line in connection.execute(own).mappings()]
        found.append(codec.experience_of(dict(row), lines))
    return tuple(found)


def _lost(batch_id: str) -> LeaseLost:
    return LeaseLost(
        f"batch {batch_id} is not leased any more: throw the step away and ask for another batch"
    )
