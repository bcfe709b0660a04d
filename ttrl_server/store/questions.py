"""Data for the guards: the flips of each question, and the signals of each version.

The functions take an open transaction; ``Experiences`` calls them when it adds a group.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from ttrl_server.store.schema import FIGURES, experiences, questions, signals
from ttrl_server.types import Experience, History, Signals
from ttrl_server.voting.signals import of_group

FLIPS_KEPT = 32
NO_MEASURE = frozenset({"cancelled", "aborted", "unvotable"})
"""Reasons of groups that are not counted in their version's signals."""


def history(connection: Connection, key: str, label: str | None, version: int) -> History:
    """The question's history, with the new vote's flip; ``label`` is its pseudo-label's key."""
    row = _row(connection, key)
    waiting = select(func.count()).select_from(signals.join(experiences))
    waiting = waiting.where(signals.c.question == key, experiences.c.state == "pending")
    distinct = select(func.count()).select_from(questions).where(questions.c.trained > 0)
    return History(
        flips=tuple(flip == "1" for flip in _flips(row, label, version)),
        waiting=connection.execute(waiting).scalar_one(),
        trained=row["trained"] if row else 0,
        distinct=connection.execute(distinct).scalar_one(),
    )


def note(connection: Connection, seq: int, key: str, label: str | None, added: Experience) -> None:
    """Writes a new group's flip to its question, and its signals to its version."""
    version, row = added.group.version, _row(connection, key)
    values: dict[str, Any] = {"flips": _flips(row, label, version)}
    if label is not None:
        values |= {"label": label, "version": version}
    values["trained"] = (row["trained"] if row else 0) + added.admission.admitted
    known = update(questions).where(questions.c.key == key)
    connection.execute(known.values(values) if row else insert(questions).values(key=key, **values))
    if added.vote.pseudo_label is not None or added.admission.reason not in NO_MEASURE:
        found = of_group(added.group, added.vote)
        figures = {name: getattr(found, name) for name in ("version", *FIGURES)}
        connection.execute(insert(signals).values(experience=seq, question=key, **figures))


def admitted(connection: Connection, experience: int) -> None:
    """Counts a group that is admitted later, through feedback."""
    key = select(signals.c.question).where(signals.c.experience == experience).scalar_subquery()
    more = update(questions).where(questions.c.key == key)
    connection.execute(more.values(trained=questions.c.trained + 1))


def paired(connection: Connection, version: int) -> tuple[Signals, Signals] | None:
    """Mean signals of the same questions: when they were first asked, and with ``version``.

    Only questions that another version answered first; None when there are none. Both sides have
    the same questions, so that a change of the traffic changes nothing.
    """
    now, then, past = (signals.alias(name) for name in ("now", "then", "past"))
    first = select(func.min(past.c.experience)).where(past.c.question == now.c.question)
    pairs = now.join(then, then.c.experience == first.correlate(now).scalar_subquery())
    where = (now.c.version == version) & (then.c.version != version)
    found = []
    for side in (then, now):
        means = [func.avg(side.c[name]) for name in FIGURES]
        query = select(func.min(side.c.version), func.count(), *means).select_from(pairs)
        row = connection.execute(query.where(where)).one()
        if not row[1]:
            return None
        found.append(Signals(*row))
    return found[0], found[1]


def _row(connection: Connection, key: str) -> dict[str, Any] | None:
    row = connection.execute(select(questions).where(questions.c.key == key)).mappings().first()
    return dict(row) if row else None


def _flips(row: dict[str, Any] | None, label: str | None, version: int) -> str:
    if row is None:
        return ""
    past = str(row["flips"])
    if row["version"] == version or label is None or row["label"] is None:
        return past
    return (past + ("1" if row["label"] != label else "0"))[-FLIPS_KEPT:]
