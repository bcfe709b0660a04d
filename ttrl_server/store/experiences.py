"""The experiences of one gateway: added when voted on, leased to the trainer, consumed once.

    add ──▶ pending ──lease──▶ leased ──consume──▶ consumed
              ▲                  │
              └─ release, expire ┘      after MAX_ATTEMPTS leases: dropped

Every method is one transaction and is on disk when it returns. One thread calls them all; one
process owns the store. A lease ends when ``expire`` or ``lease`` finds that it has run out, not by
the clock alone: a trainer that comes back late from a suspended machine may still renew or consume,
if nobody has taken its groups back.
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
"""Leases a group may go through: a batch that kills every trainer must not stop learning for
ever."""

Rule = Callable[[Group, Admission, History], Admission]
"""The admission on a group, from the one it came with and from its question's history."""

STATES = ("kept", "pending", "leased", "consumed", "dropped")

_PENDING = experiences.c.state == "pending"


class Experiences:
    """The store. Made by ``open``; ``close`` gives it to the next owner."""

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
        """Keeps an experience; durable on return. An id that is there already is left as it is.

        ``key`` names its question and ``label`` what the vote found, in a comparable form; ``rule``
        decides from the question's history, in the same transaction. Returns the admission. Raises
        StoreError when it was not written.
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
        """Other rewards for a group that has not been leased yet; False when it has, or is not
        there."""
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
        """What a version's samples look like, beside the first ones that were drawn for the same
        questions."""
        with self._transaction() as connection:
            return questions.paired(connection, version)

    def held_back(self, limit: int) -> list[Group]:
        """The newest group of each of the last questions that were held back from training,
        oldest first."""
        newest = func.max(experiences.c.seq)
        query = select(newest).select_from(experiences.join(signals)).group_by(signals.c.question)
        query = query.where(experiences.c.reason == "held_back", experiences.c.state == "kept")
        query = query.order_by(newest.desc()).limit(limit)
        with self._transaction() as connection:
            chosen = list(connection.execute(query).scalars())
            return [found.group for found in _load(connection, experiences.c.seq.in_(chosen))]

    def get(self, experience_id: str) -> Experience | None:
        """The experience as it was added, its rollouts in index order."""
        with self._transaction() as connection:
            found = _load(connection, experiences.c.id == experience_id)
        return found[0] if found else None

    def pending(self) -> int:
        """Groups that wait to be trained on."""
        with self._transaction() as connection:
            return connection.execute(
                select(func.count()).select_from(experiences).where(_PENDING)
            ).scalar_one()

    def oldest_pending(self) -> float | None:
        """When the group that is next in line was added; None when none waits."""
        query = select(experiences.c.created).where(_PENDING).order_by(experiences.c.seq).limit(1)
        with self._transaction() as connection:
            return connection.execute(query).scalar()

    def counts(self) -> dict[str, int]:
        """Experiences in each state (all five are there), and ``kept/<reason>`` and
        ``dropped/<reason>``."""
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
        """Up to ``limit`` pending groups, oldest first, for the step that makes version ``number``
        from ``parent``.

        Takes back leases that have run out and drops groups drawn from a version below
        ``min_version``, or from an ``unwanted`` one, first. None while another lease lives, or when
        nothing waits.
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
        """Lets the lease run ``lease_s`` seconds from now. Raises LeaseLost."""
        with self._transaction() as connection:
            _change_leased(connection, batch_id, expires=self._clock() + lease_s)

    def consume(self, batch_id: str, *, folder: str | None, reason: str) -> None:
        """Marks the batch and its groups as learned from, for good. Raises LeaseLost.

        ``folder`` is the version the step proposes, None when it made none, for the ``reason``
        given.
        """
        with self._transaction() as connection:
            batch = _change_leased(
                connection, batch_id, state="consumed", folder=folder, reason=reason
            )
            connection.execute(
                update(experiences).where(experiences.c.batch == batch).values(state="consumed")
            )

    def release(self, batch_id: str, reason: str) -> None:
        """Gives the groups of a lease back, untrained. Raises LeaseLost."""
        with self._transaction() as connection:
            if not _end_leases(
                connection, batches.c.id == batch_id, state="released", reason=reason
            ):
                raise _lost(batch_id)

    def expire(self) -> int:
        """Takes back the groups of leases that have run out; how many groups."""
        with self._transaction() as connection:
            ended = _end_leases(
                connection, batches.c.expires <= self._clock(), state="expired", reason="ran out"
            )
        return sum(ended)

    def release_all(self, reason: str) -> int:
        """Takes back the groups of every lease, as nobody can be working on them any more; how
        many groups."""
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
    """Ends the leased batches of ``which`` without a step; how many groups each one gives back."""
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
