"""Retention: which version folders may be removed."""

from __future__ import annotations

from collections.abc import Collection

from ttrl_server.registry.past import Past


def doomed(
    past: Past, base: str, *, keep: int, older_than: float | None, in_use: Collection[int]
) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """(number, folder) of the promoted and of the rejected versions that may be removed.

    The newest ``keep`` of each kind stay, unless their last event is older than ``older_than``
    (seconds since the epoch). The served version, the last good version, pinned versions and those
    in ``in_use`` always stay.
    """
    wanted = {past.served_number(base), past.last_good(base), *past.pinned(base), *in_use}

    def gone(kind: list[tuple[int, str]]) -> list[tuple[int, str]]:
        old = [n for n, _ in kind if older_than is not None and past.about(n)[-1].time < older_than]
        recent = {n for n, _ in kind[-keep:]} - set(old)
        return [(n, folder) for n, folder in kind if n not in recent | wanted]

    return gone(past.promoted(base)), gone(past.rejected(base))
