"""Which folders may go."""

from __future__ import annotations

from collections.abc import Collection

from ttrl_server.registry.past import Past


def doomed(
    past: Past, base: str, *, keep: int, older_than: float | None, in_use: Collection[int]
) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """(number, folder) of the promoted, and of the rejected versions that are neither wanted nor
    recent.

    The newest ``keep`` of each kind stay, unless what happened to them last is older than
    ``older_than`` (seconds since the epoch). What is served, the last good version, what is pinned
    and what is ``in_use`` stay whatever their age.
    """
    served = past.served(base)
    wanted = {past.last_good(base), *past.pinned(base), *in_use} | (
        {served[0]} if served else set()
    )

    def gone(kind: list[tuple[int, str]]) -> list[tuple[int, str]]:
        old = [n for n, _ in kind if older_than is not None and past.about(n)[-1].time < older_than]
        recent = {n for n, _ in kind[-keep:]} - set(old)
        return [(n, folder) for n, folder in kind if n not in recent | wanted]

    return gone(past.promoted(base)), gone(past.rejected(base))
