"""Data for the guards: what was trained on of each question, and the signals of each version.

The functions take an open transaction; ``Experiences`` calls them when it adds a group.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, insert, select, update

from ttrl_server.store.schema import FIGURES, experiences, questions, signals
from ttrl_server.types import Experience, History, Signals
from ttrl_server.voting.signals import of_group

NO_MEASURE = frozenset({"cancelled", "aborted", "unvotable"})
"""Reasons of groups that are not counted in their version's signals."""


def history(connection: Connection, key: str) -> History:
    """The question's history before a new group of it."""
    waiting = select(func.count()).select_from(signals.join(experiences))
    waiting = waiting.where(signals.c.question == key, experiences.c.state == "pending")
    trained = select(questions.c.trained).where(questions.c.key == key)
    distinct = select(func.count()).select_from(questions).where(questions.c.trained > 0)
    return History(
        waiting=connection.execute(waiting).scalar_one(),
        trained=connection.execute(trained).scalar() or 0,
        distinct=connection.execute(distinct).scalar_one(),
    )


def note(connection: Connection, seq: int, key: str, added: Experience) -> None:
    """Counts a new group of its question, and writes its signals to its version."""
    new = int(added.admission.admitted)
    more = update(questions).where(questions.c.key == key)
    if not connection.execute(more.values(trained=questions.c.trained + new)).rowcount:
        connection.execute(insert(questions).values(key=key, trained=new))
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
