"""What a healthy version keeps to: the bands of its signals, and figures of the gate that leave no
doubt.

Learning without labels makes a model surer: majority up and entropy down is its aim as much as its
end (arXiv 2603.08660). So a collapse is joint movement beyond a band that sharpening keeps to.
"""

from __future__ import annotations

from collections.abc import Mapping

from ttrl_server.settings.sections import GuardConfig
from ttrl_server.types import Signals

SOUND_Z = -1.0
"""Standard errors below the base model, in any of the gate's trials, from which on a version is
not called sound."""
Pair = tuple[Signals, Signals]
"""The same questions when they were first asked, and as a version answers them."""


def is_sound(figures: Mapping[str, float]) -> bool:
    """Whether the gate's ``figures`` of a version leave no doubt that it is as good as the base
    model."""
    return all(value >= SOUND_Z for name, value in figures.items() if name.endswith("_z"))


def outside(pair: Pair | None, guard: GuardConfig) -> str | None:
    """What is wrong with a version, or None while everything keeps to its band or too little is
    known."""
    if pair is None or pair[0].groups < guard.watch_groups:
        return None
    then, now = pair
    if now.majority <= then.majority:
        return None
    for what, old, new, least, most in (
        ("entropy", then.entropy, now.entropy, guard.min_entropy, guard.max_entropy),
        ("length", then.length, now.length, guard.min_length, guard.max_length),
        (
            "the share of samples that answer",
            then.extractable,
            now.extractable,
            guard.min_extractable,
            0.0,
        ),
    ):
        share = new / max(old, 1e-9)
        if share < least or (most and share > most):
            return (
                f"majority {then.majority:.2f} → {now.majority:.2f} while {what} became "
                f"{share:.3f} of what it was"
            )
    return None
