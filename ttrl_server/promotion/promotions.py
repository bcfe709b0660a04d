"""Hot swap: which version is served, decided and made so. Nothing waits, nothing is dropped.

candidate ─preflight─▶ load and prove everywhere ─▶ examine ─▶ promote: ledger, pointer
               └────────────────┴──────────────────────┴──▶ reject: ledger, stage, reason
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Literal, NamedTuple

import structlog

from ttrl_server.engine.fleet import Fleet
from ttrl_server.engine.placement import AGAIN_S, SWAP_ROOM, Figures, Placement
from ttrl_server.errors import EngineError, RejectedVersion, RequestError
from ttrl_server.promotion.gate import Gate
from ttrl_server.registry import folders, rules
from ttrl_server.registry.ledger import Ledger
from ttrl_server.registry.past import JUDGEMENTS, By
from ttrl_server.settings.config import Config
from ttrl_server.telemetry import metrics

log = structlog.get_logger()

EXAMINE_S = 300.0
"""Within the trainer's patience for a judgement."""


class Judgement(NamedTuple):
    """What became of a candidate."""

    state: Literal["promoted", "rejected"]
    reason: str


class Promotions:
    """Judges candidates, and does with versions what a person, an alarm or the watch wants; one
    thing at a time."""

    def __init__(
        self,
        config: Config,
        fleet: Fleet,
        place: Placement,
        ledger: Ledger,
        gate: Gate | None = None,
    ) -> None:
        self._config, self._fleet, self._place, self.ledger, self._gate = (
            config,
            fleet,
            place,
            ledger,
            gate,
        )
        self._root, self._base = config.adapters_root, config.base_model
        self._deciding = asyncio.Lock()
        """Held while it waits for an engine or for room."""
        self._trial: asyncio.Timeout | None = None
        """A candidate on its way; what a person or an alarm wants goes before it."""

    # ------------------------------------------------------------ a candidate

    async def judge(self, number: int, folder: str) -> Judgement:
        """Preflight → load and prove → examine → promote; rejected where one of them refuses."""
        async with self._deciding:
            if before := self.judged(number):  # asked twice, and the first asking had to wait
                return before
            self.ledger.propose(number, folder, self._base)
            try:
                async with asyncio.timeout(None) as self._trial:
                    parent = folders.read(self._root, folder).parent
                    if parent != self._fleet.serving:  # it must not come back with this one
                        said = f"made from v{parent}, which is not served any more"
                        raise RejectedVersion("stale", said)
                    async with self._place.candidate(number, folder):
                        await self._place.load(number, folder)
                        figures = await self._examine(number, folder)

                        def promote(proved: Figures) -> None:
                            figures.update(proved)
                            self.ledger.promote(number, folder, self._base, figures, by="gate")
                            self._place.serve(number)

                        await self._place.load(number, folder, promote)
            except TimeoutError:
                return self._reject(
                    number, folder, "given_up", "what a person or an alarm wanted came first"
                )
            except RejectedVersion as refusal:
                return self._reject(number, folder, refusal.stage, refusal.reason)
            finally:
                self._trial = None
            metrics.VERSIONS.labels("promoted").inc()
            metrics.GATE_SECONDS.observe(figures.get("gate_seconds", 0.0))
            metrics.GATE_TOKENS.inc(figures.get("gate_tokens", 0.0))
            log.info(
                "version.promoted", version=number, **{k: round(v, 5) for k, v in figures.items()}
            )
            return Judgement("promoted", "")

    async def _examine(self, number: int, folder: str) -> Figures:
        """What the gate finds; it takes as long as its samples, and nothing else waits for it.

        Raises RejectedVersion; an engine too busy for the questions sheds the candidate.
        """
        if self._gate is None or self._config.gate.mode == "off":
            return {}
        served = self._fleet.serving
        tries = self.ledger.tried_against(self._base, served) + 1
        while True:
            for replica in self._fleet.replicas:
                if replica.ready and number in replica.loaded:
                    examining = self._gate.examine(replica, number, served, tries)
                    try:
                        return await asyncio.wait_for(examining, EXAMINE_S)
                    except TimeoutError:
                        raise RejectedVersion(
                            "busy", f"questions were not answered within {EXAMINE_S:g} s"
                        ) from None
                    except EngineError:  # it went away, which says nothing about the candidate
                        await asyncio.sleep(AGAIN_S)
            await self._place.load(number, folder)

    def judged(self, number: int) -> Judgement | None:
        """What was decided about a version before; None for one that was not."""
        judgement = self.ledger.judgement(number)
        return (
            Judgement("rejected" if judgement == "rejected" else "promoted", "judged before")
            if judgement
            else None
        )

    def _reject(self, number: int, folder: str, stage: str, reason: str) -> Judgement:
        self.ledger.reject(number, folder, self._base, stage, reason, by="gate")
        if stage not in JUDGEMENTS:  # no operator can have it served, no step will start from it
            with contextlib.suppress(RejectedVersion):  # it may be rejected for not being there
                folders.strip_trainer_state(self._root, folder)
        metrics.VERSIONS.labels("rejected").inc()
        metrics.REJECTIONS.labels(stage).inc()
        self._place.thin_out_soon()
        log.error("version.rejected", version=number, stage=stage, reason=reason)
        return Judgement("rejected", f"{stage}: {reason}")

    # ------------------------------------------------------------ what others want

    @contextlib.asynccontextmanager
    async def _before_candidates(self) -> AsyncIterator[None]:
        """One that waits for an engine or for room, or is asked questions, must not hold anybody
        up: it is given up."""
        if self._trial and not self._trial.expired():
            self._trial.reschedule(asyncio.get_running_loop().time())
        async with self._deciding:
            yield

    async def _bring_in(self, number: int, folder: str, then: Callable[[], None]) -> None:
        """Preflight and proof stand above everybody; ``then`` writes down what is wanted."""
        async with self._place.candidate(number, folder):
            await self._place.load(number, folder, lambda _: then())

    async def roll_back(
        self, number: int, reason: str, *, by: By = "operator", leaving: int | None = None
    ) -> None:
        """Serves an earlier promoted version, or the base model (0), from now on and after a
        restart.

        Does nothing when ``leaving`` is named and is not what is served by then. Raises
        VersionRefused, or RejectedVersion when it cannot be loaded.
        """
        async with self._before_candidates():
            if number == self._fleet.serving or leaving not in (None, self._fleet.serving):
                return

            def go_back() -> None:
                self.ledger.roll_back(number, self._base, reason, by=by)
                self._place.serve(number)

            if folder := rules.may_go_back_to(self.ledger, self._base, number):
                await self._bring_in(number, folder, go_back)
            else:  # the base model is in every engine
                await self._place.change(go_back)
            log.warning("version.rolled_back", to=number, reason=reason, by=by)

    async def promote(self, number: int, reason: str, *, force: bool) -> None:
        """An operator serves a version from now on; ``force`` one that the gate refused for its
        answers.

        Raises VersionRefused, or RejectedVersion when it cannot be loaded.
        """
        if rules.may_serve(self.ledger, self._base, number, force=force) == "again":
            await self.roll_back(number, reason)
            return
        async with self._before_candidates():
            folder = rules.folder_of(self.ledger, self._base, number)

            def overrule() -> None:
                self.ledger.promote(number, folder, self._base, by="operator", reason=reason)
                self._place.serve(number)

            await self._bring_in(number, folder, overrule)
            log.warning("version.overruled", version=number, reason=reason)

    async def pin(self, number: int) -> None:
        """Keeps a version in the engine, so that ``<model>@v7`` is answered whatever is served.

        Raises VersionRefused, RequestError when there is no room beside what a swap needs,
        RejectedVersion when it cannot be loaded.
        """
        async with self._before_candidates():
            folder = rules.may_pin(self.ledger, self._base, number)
            pins, most = self.ledger.pinned(self._base), self._config.engine.max_loras - SWAP_ROOM
            if number not in pins and (len(pins) >= most or not self._fleet.room(number)):
                raise RequestError(
                    f"engine.max_loras {self._config.engine.max_loras} leaves room for {most} "
                    "pinned versions beside what a swap needs: unpin one, wait for one to drain, "
                    "or start with a larger engine.max_loras.",
                    status=409,
                    code="no_room",
                )
            await self._bring_in(
                number, folder, lambda: self.ledger.pin(number, folder, self._base, by="operator")
            )

    async def unpin(self, number: int) -> None:
        """Lets a version go again. Raises VersionRefused."""
        async with self._before_candidates():
            rules.may_unpin(self.ledger, self._base, number)
            self.ledger.unpin(number, self._base, by="operator")
            self._place.unload_soon(number)

    async def retire(self, number: int, reason: str) -> None:
        """It can never be served again; its files go one swap later. Raises VersionRefused."""
        async with self._before_candidates():
            folder = rules.may_retire(self.ledger, self._base, number)
            self.ledger.retire(number, folder, self._base, reason, by="operator")
            self._place.unload_soon(number)
