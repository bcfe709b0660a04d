"""What ends learning: collapse, a step too far from the base model, steps that are not numbers (ttrl.md, section 5).

Signals are means over the questions a version drew, beside the first samples that were ever drawn for the same ones.
Learning without labels makes a model surer: majority up and entropy down is its aim as much as its end (arXiv
2603.08660). So the collapse alarm is on joint movement beyond a band that sharpening keeps to, and held-back questions
(``heldback``) are asked before anything is served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ttrl_server.registry.past import JUDGEMENTS
from ttrl_server.sections import GuardConfig
from ttrl_server.types import Signals

LAST_GOOD, LAST_SOUND, LAST_SOUND_BEFORE = -1, -2, -3
"""Of ``Alarm.return_to``: the newest version before the served one that is known to keep to its bands; the newest,
with the served one or without it, that the gate found no worse than the base model. If there is none: the base."""
SOUND_Z = -1.0
"""Standard errors below the base model, in any of the gate's trials, from which on a version is not called sound."""
NO_VERDICT = ("busy", "given_up", "stale")
"""Stages that say nothing of the candidate."""
Pair = tuple[Signals, Signals]
"""The same questions when they were first asked, and as a version answers them."""
RATIO_BAND = (0.5, 2.0)
"""Mean π_θ / π_engine of a step; outside it engine and trainer do not agree on the policy (ttrl.md, section 6)."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Learning must end."""

    name: str
    reason: str
    return_to: int | None = None
    """The version to serve from now on, 0 for the base model, or LAST_GOOD; None: what is served is not in doubt."""


class Alarms:
    """Looks at every finished batch; counts what goes wrong several times in a row."""

    def __init__(self, guard: GuardConfig) -> None:
        self._guard = guard
        self._bad_steps = self._refused = 0

    def after_skip(self, figures: Mapping[str, float]) -> Alarm | None:
        """A batch that made no version: nothing to learn, or a loss or gradient that is not finite."""
        self._bad_steps = self._bad_steps + 1 if figures.get("groups") else 0
        if self._bad_steps < self._guard.bad_steps:
            return None
        return Alarm("diverged", f"{self._bad_steps} steps in a row had a loss or a gradient that is not finite")

    def after_verdict(
        self, state: str, reason: str, figures: Mapping[str, float], *, parent: int, pair: Pair | None
    ) -> Alarm | None:
        """A version that was promoted or rejected; ``pair`` is what the parent it was made from looked like."""
        self._bad_steps = 0
        if state == "promoted" or not reason.startswith((*JUDGEMENTS, *NO_VERDICT)):
            self._refused = 0
        elif reason.startswith(JUDGEMENTS):
            self._refused += 1
        if self._guard.refusals and self._refused >= self._guard.refusals:
            return Alarm("held_back", f"{self._refused} candidates in a row were refused: {reason}", LAST_SOUND)
        kl = figures.get("kl_base", 0.0)
        if state == "promoted" and self._guard.max_kl and kl > self._guard.max_kl:
            said = f"{kl:.3g} nats a token from the base model, more than guard.max_kl {self._guard.max_kl:g}"
            return Alarm("kl", said, parent)
        trouble = outside(pair, self._guard)
        return Alarm("collapse", f"v{parent}: {trouble}", LAST_GOOD) if trouble else None


def is_sound(figures: Mapping[str, float]) -> bool:
    """Whether the gate's ``figures`` of a version leave no doubt that it is as good as the base model."""
    return all(value >= SOUND_Z for name, value in figures.items() if name.endswith("_z"))


def importance_alarm(figures: Mapping[str, float]) -> str | None:
    """What is odd about a step's mean importance ratio, or None."""
    low, high = RATIO_BAND
    ratio = figures.get("ratio", 1.0)
    if low <= ratio <= high:
        return None
    return f"mean π_θ / π_engine is {ratio:.3g}, outside [{low:g}, {high:g}]: engine and trainer disagree"


def outside(pair: Pair | None, guard: GuardConfig) -> str | None:
    """What is wrong with a version, or None while everything keeps to its band or too little is known."""
    if pair is None or pair[0].groups < guard.watch_groups:
        return None
    then, now = pair
    if now.majority <= then.majority:
        return None
    entropy, length = now.entropy / max(then.entropy, 1e-9), now.length / max(then.length, 1e-9)
    extractable = now.extractable / max(then.extractable, 1e-9)
    for what, share, least, most in (
        ("entropy", entropy, guard.min_entropy, guard.max_entropy),
        ("length", length, guard.min_length, guard.max_length),
        ("the share of samples that answer", extractable, guard.min_extractable, 0.0),
    ):
        if share < least or (most and share > most):
            return f"majority {then.majority:.2f} → {now.majority:.2f} while {what} became {share:.3f} of what it was"
    return None
