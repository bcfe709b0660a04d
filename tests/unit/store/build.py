"""Small experiences for the store's tests, and a clock that moves when it is told to."""

from __future__ import annotations

from dataclasses import dataclass

from ttrl_server.store import Experiences
from ttrl_server.types import Admission, Cluster, Experience, Group, Rollout, Vote


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def experience(
    name: str = "q", *, version: int = 0, admitted: bool = True, reason: str = "admitted"
) -> Experience:
    """Two rollouts, one with text that no text column takes; numbers are exact in 32 bits."""
    rollouts = (
        Rollout(0, (7, 8, 2), (-0.5, -0.25, -1.5), "It is 56.", "stop"),
        Rollout(1, (7, 9, 9, 9), (-0.5, -2.0, -3.0, -0.125), "It is 54 … \0 \ud800", "length"),
    )
    vote = Vote(("56", None), (Cluster("56", (0,)),), "56", 0.5, 0.5, 0, "full")
    group = Group(f"question-{name}", (1, 2, 3, 4_294_967_295), rollouts, version, 0.6)
    return Experience(name, "tenant", group, vote, (1.0, 0.0), Admission(admitted, reason))


def add(store: Experiences, given: Experience) -> None:
    """Adds it as a question of its own, whose history changes nothing."""
    store.add(given, given.id, lambda group, admission, history: admission)
