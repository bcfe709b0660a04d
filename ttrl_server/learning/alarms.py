"""Alarms end learning: a collapse, refusals in a row, non-finite steps (docs/method.md).

Signals are means over the questions that a version answered, compared with the first samples of
the same questions. Answers go on; if the served version is in doubt, the alarm rolls it back. The
ledger keeps the reason: learning stays off after a restart, until a person resumes it
(``ttrl-adapters resume``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

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
"""Mean π_θ / π_engine of a step; outside this band, engine and trainer have different policies."""


class Alarms:
    """Checks every finished batch. ``stopped`` is the reason why learning has ended, or None."""

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

    async def after_judgement(self, judgement: Judgement, parent: int) -> None:
        """Checks a version that was promoted or rejected, and its ``parent``."""
        self._bad_steps = 0
        guard, refused = self._guard, self._ledger.refused_in_a_row(self._base)
        if judgement.fallen:
            await self._rollback.go("sound", f"v{parent}: {judgement.fallen}", by="watch")
        elif (
            judgement.reason.startswith(JUDGEMENTS) and guard.refusals and refused >= guard.refusals
        ):
            said = f"{refused} candidates in a row were refused: {judgement.reason}"
            await self.ring("held_back", said, "sound or serving")
        elif trouble := outside(await self._paired(parent), guard):
            await self.ring("collapse", f"v{parent}: {trouble}", "good")

    async def after_skip(self, figures: Mapping[str, float]) -> None:
        """Checks a batch that made no version: no groups, or a non-finite loss or gradient."""
        self._bad_steps = self._bad_steps + 1 if figures.get("groups") else 0
        if self._bad_steps >= self._guard.bad_steps:
            said = f"{self._bad_steps} steps in a row had a loss or a gradient that is not finite"
            await self.ring("diverged", said)

    async def ring(
        self, name: str, why: str, return_to: Target | None = None, *, lasting: bool = True
    ) -> None:
        """Ends learning; does nothing when it has ended already.

        ``return_to`` None: the served version is not in doubt. ``lasting``: the ledger keeps the
        reason for after a restart; False where the settings alone raise the alarm again.
        """
        if self.stopped:
            return
        reason = f"{name}: {why}"
        self.end(reason)
        metrics.ALARMS.labels(name).inc()
        try:
            if lasting:
                self._ledger.stop(self._base, reason)
        except OSError as error:
            log.error("alarm.unwritten", reason=str(error), hint="a restart would learn on")
        if return_to is not None:
            await self._rollback.go(return_to, reason, by="alarm")

    def end(self, reason: str) -> None:
        """Ends learning until ``resume`` or the end of this process."""
        self.stopped = reason
        self._learning.clear()
        log.error("learning.stopped", reason=reason)

    def resume(self) -> None:
        """Resumes learning, for a person. Raises OSError when the ledger cannot be written."""
        self._ledger.resume(self._base)
        self.stopped, self._bad_steps = None, 0
        self._learning.set()
        log.warning("learning.resumed")

    async def until_learning(self) -> None:
        await self._learning.wait()


def importance_alarm(figures: Mapping[str, float]) -> str | None:
    """A message when a step's mean importance ratio is outside RATIO_BAND; else None."""
    low, high = RATIO_BAND
    ratio = figures.get("ratio", 1.0)
    if low <= ratio <= high:
        return None
    outside_band = f"mean π_θ / π_engine is {ratio:.3g}, outside [{low:g}, {high:g}]"
    return f"{outside_band}: engine and trainer disagree"
