"""The limits of a healthy version: bands for its signals, and a limit for the gate's figures.

Learning without labels makes a model more certain: the majority rises and the entropy falls.
A healthy version and a collapsing version both show this (arXiv 2603.08660). So a collapse is a
higher majority together with another signal outside its band.
"""

from __future__ import annotations

from collections.abc import Mapping

from ttrl_server.settings.sections import GuardConfig
from ttrl_server.types import Signals

SOUND_Z = -1.0
"""A version is sound when its z is at least this in every trial of the gate (standard errors)."""
Pair = tuple[Signals, Signals]
"""Signals of the same questions: when they were first asked, and with a version's answers."""


def is_sound(figures: Mapping[str, float]) -> bool:
    """Whether every z in the gate's ``figures`` of a version is at least ``SOUND_Z``."""
    return all(value >= SOUND_Z for name, value in figures.items() if name.endswith("_z"))


def drift(what: str, share: float, least: float, most: float) -> str | None:
    """Says that ``what`` left its band, ``least`` … ``most`` (0: no limit) of what it was."""
    if share < least or (most and share > most):
        return f"{what} became {share:.3f} of what it was"
    return None


def outside(pair: Pair | None, guard: GuardConfig) -> str | None:
    """Says which signal of a version is outside its band.

    None: all signals are inside, or there are too few groups.
    """
    if pair is None or pair[0].groups < guard.watch_groups:
        return None
    then, now = pair
    if now.majority <= then.majority:
        return None
    answers = "the share of samples that answer"
    for what, old, new, least, most in (
        ("entropy", then.entropy, now.entropy, guard.min_entropy, guard.max_entropy),
        ("length", then.length, now.length, guard.min_length, guard.max_length),
        (answers, then.extractable, now.extractable, guard.min_extractable, 0.0),
    ):
        if moved := drift(what, new / max(old, 1e-9), least, most):
            return f"majority {then.majority:.2f} → {now.majority:.2f} while {moved}"
    return None
