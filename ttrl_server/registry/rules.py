"""The rules for actions on versions, for a running gateway and for ``ttrl-adapters`` on a folder.

Every rule raises VersionRefused with a message that says what to do instead.
"""

from __future__ import annotations

from typing import Literal

from ttrl_server.errors import VersionRefused
from ttrl_server.registry.past import JUDGEMENTS, Past

Served = Literal["again", "overruled"]
"""again: the version was promoted before. overruled: an operator overrules the gate."""


def folder_of(past: Past, base: str, number: int) -> str:
    """The folder of a version of this base model; it must be neither retired nor removed."""
    there = past.folders()
    found = (e.folder for e in past.about(number) if e.number == number and e.base == base)
    folder = next((name for name in found if name in there), None)
    if folder is not None:
        return folder
    said = f"there is no version v{number} of {base}"
    if known := sorted({e.number for e in past.events(base) if e.folder in there}, reverse=True):
        nearest = min(known, key=lambda n: (abs(n - number), -n))
        said += f"; there are {', '.join(f'v{n}' for n in known)}, the nearest is v{nearest}"
    raise VersionRefused(said, unknown=True)


def may_serve(past: Past, base: str, number: int, *, force: bool) -> Served:
    """Whether ``number`` may be served. ``force`` overrules only a refusal for its answers."""
    folder_of(past, base, number)
    if number in past.fallen(base):
        raise VersionRefused(f"v{number} fell when it was served, and is not served again")
    if past.judgement(number) == "promoted":
        return "again"
    refusal = past.refusal(number)
    if refusal is None or refusal.stage not in JUDGEMENTS:
        stage = refusal.stage if refusal else "no judgement yet"
        said = f"was not refused for its answers ({stage}), so it cannot be served"
        raise VersionRefused(f"v{number} {said}")
    if not force:
        why = f"{refusal.stage}: {refusal.reason}"
        raise VersionRefused(f"v{number} was refused ({why}); force serves it all the same")
    return "overruled"


def may_go_back_to(past: Past, base: str, number: int) -> str | None:
    """The folder of a version that may be served again; None for the base model (0)."""
    fallen = past.fallen(base)
    fit = {n: folder for n, folder in past.promoted(base) if n not in fallen}
    if number and number not in fit:
        known = ", ".join(f"v{n}" for n in fit) or "none"
        raise VersionRefused(f"v{number} cannot be rolled back to; promoted versions: {known}")
    return fit[number] if number else None


def may_pin(past: Past, base: str, number: int) -> str:
    """The folder of a version that may be pinned."""
    folder = folder_of(past, base, number)
    if past.judgement(number) != "promoted":
        raise VersionRefused(f"v{number} was not promoted: only promoted versions are pinned")
    return folder


def may_unpin(past: Past, base: str, number: int) -> None:
    """Checks that the version is pinned."""
    if number not in past.pinned(base):
        raise VersionRefused(f"v{number} is not pinned")


def may_retire(past: Past, base: str, number: int) -> str:
    """The folder of a version that may be retired: any but the served version."""
    folder = folder_of(past, base, number)
    if past.served(base) == (number, folder):
        instead = "promote or roll back first"
        raise VersionRefused(f"v{number} is served and cannot be retired: {instead}")
    return folder
