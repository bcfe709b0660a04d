"""Describes versions from the adapters folder alone: for the gateway and for ``ttrl-adapters``."""

from __future__ import annotations

from typing import Any

import msgspec

from ttrl_server.errors import RejectedVersion
from ttrl_server.registry import folders
from ttrl_server.registry.past import LEARNING, Event, Past


def rows(past: Past, base: str) -> list[dict[str, Any]]:
    """One row a version, newest first."""
    served, pins, fallen = past.served_number(base), past.pinned(base), past.fallen(base)
    states, there = past.states(), past.folders()
    own: dict[int, list[Event]] = {}
    for event in past.events(base):
        if event.number in states and event.event not in LEARNING:
            own.setdefault(event.number, []).append(event)
    found = []
    for number in sorted(own, reverse=True):
        refusal = next((e for e in own[number] if e.event == "rejected"), None)
        last = own[number][-1]
        found.append(
            {
                "number": number,
                "state": "fallen" if number in fallen else states[number],
                "served": number == served,
                "pinned": number in pins,
                "folder": next((e.folder for e in own[number] if e.folder in there), None),
                "time": last.time,
                "reason": f"{refusal.stage}: {refusal.reason}" if refusal else last.reason,
            }
        )
    return found


def about(past: Past, base: str, number: int, folder: str) -> dict[str, Any]:
    """A version's row, with its manifest (if readable), the gate's figures and its events."""
    row = next(row for row in rows(past, base) if row["number"] == number)
    try:
        manifest = msgspec.to_builtins(folders.read(past.root, folder))
    except RejectedVersion as error:
        manifest = {"unreadable": str(error)}
    events = [msgspec.to_builtins(e) for e in past.about(number)]
    return row | {"manifest": manifest, "gate": past.figures(number), "events": events}
