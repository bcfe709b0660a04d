"""What the guards ask the store: how a question's majority has moved, and what each version's samples look like.

Functions on an open transaction; ``Experiences`` calls them in the one that adds a group.
"""

from __future__ import annotations

from math import fsum
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from ttrl_server.store.schema import experiences, questions, signals
from ttrl_server.types import Experience, History, Rollout, Signals

FLIPS_KEPT = 32


def history(connection: Connection, key: str, label: str | None, version: int) -> History:
    """The question's history with the new vote's flip in it; ``label`` is the vote's, in a comparable form."""
    row = _row(connection, key)
    waiting = (
        select(func.count())
        .select_from(signals.join(experiences))
        .where(signals.c.question == key, experiences.c.state == "pending")
    )
    distinct = select(func.count()).select_from(questions).where(questions.c.trained > 0)
    return History(
        flips=tuple(flip == "1" for flip in _flips(row, label, version)),
        waiting=connection.execute(waiting).scalar_one(),
        trained=row["trained"] if row else 0,
        distinct=connection.execute(distinct).scalar_one(),
    )


def note(connection: Connection, seq: int, key: str, label: str | None, experience: Experience) -> None:
    """Writes down what a group that was just added says of its question and of its version."""
    version, row = experience.group.version, _row(connection, key)
    values = {"label": label, "version": version, "flips": _flips(row, label, version)}
    values["trained"] = (row["trained"] if row else 0) + experience.verdict.admitted
    if row:
        connection.execute(update(questions).where(questions.c.key == key).values(values))
    else:
        connection.execute(insert(questions).values(values | {"key": key}))
    connection.execute(insert(signals).values({"experience": seq, "question": key} | _figures(experience)))


def admitted(connection: Connection, experience: int) -> None:
    """A group that was kept trains after all."""
    key = select(signals.c.question).where(signals.c.experience == experience).scalar_subquery()
    connection.execute(update(questions).where(questions.c.key == key).values(trained=questions.c.trained + 1))


def by_version(connection: Connection) -> list[Signals]:
    """Means of every version that drew a group, ascending."""
    s = signals.c
    means = [func.avg(s.majority), func.avg(s.entropy), func.avg(s.length), func.avg(s.extractable)]
    query = select(s.version, func.count(), *means).group_by(s.version).order_by(s.version)
    return [Signals(*row) for row in connection.execute(query)]


def _row(connection: Connection, key: str) -> dict[str, Any] | None:
    row = connection.execute(select(questions).where(questions.c.key == key)).mappings().first()
    return dict(row) if row else None


def _flips(row: dict[str, Any] | None, label: str | None, version: int) -> str:
    if row is None:
        return ""
    past = str(row["flips"])
    if row["version"] == version or label is None:
        return past
    return (past + ("1" if row["label"] != label else "0"))[-FLIPS_KEPT:]


def _figures(experience: Experience) -> dict[str, float]:
    rollouts, vote = experience.group.rollouts, experience.vote
    return {
        "version": experience.group.version,
        "majority": vote.majority_ratio or 0.0,
        "entropy": _mean([_entropy(rollout) for rollout in rollouts]),
        "length": _mean([float(len(rollout.token_ids)) for rollout in rollouts]),
        "extractable": _mean([float(answer is not None) for answer in vote.answers]),
    }


def _entropy(rollout: Rollout) -> float:
    return -_mean(list(rollout.logprobs))


def _mean(values: list[float]) -> float:
    return fsum(values) / len(values) if values else 0.0
