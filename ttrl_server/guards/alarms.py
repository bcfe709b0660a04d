"""What ends learning: collapse, a step too far from the base model, steps that are not numbers (ttrl.md, section 5).

Signals are means over the groups that each version drew. Learning without labels makes a model surer: majority up and
entropy down is its aim as much as its end (arXiv 2603.08660). So the collapse alarm is on joint movement beyond a band
that sharpening keeps to, and held-back questions (``heldback``) are asked before anything is served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ttrl_server.sections import GuardConfig
from ttrl_server.types import Signals

RATIO_BAND = (0.5, 2.0)
"""Mean π_θ / π_engine of a step; outside it engine and trainer do not agree on the policy (ttrl.md, section 6)."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Learning must end."""

    name: str
    reason: str
    return_to: int | None = None
    """The version to serve from now on, 0 for the base model; None: what is served is not in doubt."""


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
        self, state: str, reason: str, figures: Mapping[str, float], seen: Sequence[Signals]
    ) -> Alarm | None:
        """A version that was promoted or rejected; ``seen`` is ascending by version."""
        self._bad_steps = 0
        self._refused = self._refused + 1 if state == "rejected" and reason.startswith("canary") else 0
        if self._guard.refusals and self._refused >= self._guard.refusals:
            return Alarm("held_back", f"{self._refused} candidates in a row were refused: {reason}")
        kl = figures.get("kl_base", 0.0)
        if self._guard.max_kl and kl > self._guard.max_kl:
            said = f"{kl:.3g} nats a token from the base model, more than guard.max_kl {self._guard.max_kl:g}"
            return Alarm("kl", said, last_good(seen, self._guard))
        return collapse(seen, self._guard)


def importance_alarm(figures: Mapping[str, float]) -> str | None:
    """What is odd about a step's mean importance ratio, or None."""
    low, high = RATIO_BAND
    ratio = figures.get("ratio", 1.0)
    if low <= ratio <= high:
        return None
    return f"mean π_θ / π_engine is {ratio:.3g}, outside [{low:g}, {high:g}]: engine and trainer disagree"


def collapse(seen: Sequence[Signals], guard: GuardConfig) -> Alarm | None:
    """Compares the newest version that drew enough groups with the first one."""
    judged = _judged(seen, guard)
    if len(judged) < 2 or (trouble := _outside(judged[-1], judged[0], guard)) is None:
        return None
    return Alarm("collapse", trouble, last_good(seen, guard))


def last_good(seen: Sequence[Signals], guard: GuardConfig) -> int:
    """The newest version, but for the latest, whose samples keep to the bands; 0 is the base model."""
    judged = _judged(seen, guard)
    good = [signals.version for signals in judged[:-1] if _outside(signals, judged[0], guard) is None]
    return max(good, default=0)


def _judged(seen: Sequence[Signals], guard: GuardConfig) -> list[Signals]:
    return [signals for signals in seen if signals.groups >= guard.watch_groups]


def _outside(now: Signals, base: Signals, guard: GuardConfig) -> str | None:
    """What is wrong, or None while everything keeps to its band."""
    surer = now.majority > base.majority
    entropy, length = now.entropy / max(base.entropy, 1e-9), now.length / max(base.length, 1e-9)
    if surer and entropy < guard.min_entropy:
        return f"majority {base.majority:.2f} → {now.majority:.2f} while entropy fell to {entropy:.3f} of the base's"
    if surer and length < guard.min_length:
        return f"majority {base.majority:.2f} → {now.majority:.2f} while length fell to {length:.3f} of the base's"
    if guard.max_entropy and entropy > guard.max_entropy:
        return f"entropy is {entropy:.2f} times the base's"
    if guard.max_length and length > guard.max_length:
        return f"answers are {length:.2f} times as long as the base's"
    if now.extractable < guard.min_extractable * base.extractable:
        return f"only {now.extractable:.2f} of the samples answer; of the base's {base.extractable:.2f} did"
    return None
