"""What ends learning: collapse, a step too far from the base model, steps that are not numbers
(docs/method.md).

Signals are means over the questions a version drew, beside the first samples that were ever drawn
for the same ones. Serving goes on, with the version that the alarm names where what is served is in
doubt. Why learning ended is in the ledger: a restart does not learn on, a person does
(``ttrl-adapters resume``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from ttrl_server.promotion.bands import outside
from ttrl_server.promotion.promotions import Judgement
from ttrl_server.promotion.rollback import Paired, Rollback, Target
from ttrl_server.registry.ledger import Ledger
from ttrl_server.registry.past import JUDGEMENTS
from ttrl_server.settings.config import Config
from ttrl_server.telemetry import metrics

log = structlog.get_logger()

RATIO_BAND = (0.5, 2.0)
"""Mean π_θ / π_engine of a step; outside it engine and trainer do not agree on the policy
(docs/method.md)."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Learning must end."""

    name: str
    reason: str
    return_to: Target | None = None
    """None: what is served is not in doubt."""
    lasting: bool = True
    """Whether it still stands after a restart; what follows from the settings alone is found
    again."""


class Alarms:
    """Looks at every finished batch. ``stopped`` names why learning has ended."""

    def __init__(self, config: Config, ledger: Ledger, rollback: Rollback, paired: Paired) -> None:
        self._guard, self._base = config.guard, config.base_model
        self._ledger, self._rollback, self._paired = ledger, rollback, paired
        self._bad_steps = 0
        self._learning = asyncio.Event()
        self.stopped = ledger.stopped(self._base)
        if self.stopped is None:
            self._learning.set()
        else:
            log.error("learning.stopped", reason=self.stopped, resume="ttrl-adapters resume")

    async def after_judgement(
        self, judgement: Judgement, figures: Mapping[str, float], parent: int
    ) -> None:
        """A version that was promoted or rejected, made from ``parent``."""
        self._bad_steps = 0
        guard, promoted = self._guard, judgement.state == "promoted"
        refused, kl = self._ledger.refused_in_a_row(self._base), figures.get("kl_base", 0.0)
        if judgement.reason.startswith(JUDGEMENTS) and guard.refusals and refused >= guard.refusals:
            said = f"{refused} candidates in a row were refused: {judgement.reason}"
            await self.ring(Alarm("held_back", said, "sound or serving"))
        elif promoted and guard.max_kl and kl > guard.max_kl:
            said = (
                f"{kl:.3g} nats a token from the base model, more than guard.max_kl "
                f"{guard.max_kl:g}"
            )
            await self.ring(Alarm("kl", said, parent))
        elif trouble := outside(await self._paired(parent), guard):
            await self.ring(Alarm("collapse", f"v{parent}: {trouble}", "good"))

    async def after_skip(self, figures: Mapping[str, float]) -> None:
        """A batch that made no version: nothing to learn, or a loss or gradient that is not
        finite."""
        self._bad_steps = self._bad_steps + 1 if figures.get("groups") else 0
        if self._bad_steps >= self._guard.bad_steps:
            said = f"{self._bad_steps} steps in a row had a loss or a gradient that is not finite"
            await self.ring(Alarm("diverged", said))

    async def ring(self, alarm: Alarm) -> None:
        """Ends learning, once."""
        if self.stopped:
            return
        self.end(f"{alarm.name}: {alarm.reason}")
        metrics.ALARMS.labels(alarm.name).inc()
        try:
            if alarm.lasting:
                self._ledger.stop(self._base, f"{alarm.name}: {alarm.reason}")
        except OSError as error:
            log.error("alarm.unwritten", reason=str(error), hint="a restart would learn on")
        if alarm.return_to is not None:
            await self._rollback.go(alarm.return_to, f"{alarm.name}: {alarm.reason}", by="alarm")

    def end(self, reason: str) -> None:
        """Learning ends for as long as this process lives."""
        self.stopped = reason
        self._learning.clear()
        log.error("learning.stopped", reason=reason)

    def resume(self) -> None:
        """A person has it go on. Raises OSError when that cannot be written down."""
        self._ledger.resume(self._base)
        self.stopped, self._bad_steps = None, 0
        self._learning.set()
        log.warning("learning.resumed")

    async def until_learning(self) -> None:
        await self._learning.wait()


def importance_alarm(figures: Mapping[str, float]) -> str | None:
    """What is odd about a step's mean importance ratio, or None."""
    low, high = RATIO_BAND
    ratio = figures.get("ratio", 1.0)
    if low <= ratio <= high:
        return None
    return (
        f"mean π_θ / π_engine is {ratio:.3g}, outside [{low:g}, {high:g}]: engine and trainer "
        "disagree"
    )
