"""Hot swap: decides which version is served, and serves it. No question waits or is dropped.

candidate ─preflight─▶ load and prove everywhere ─▶ examine ─▶ promote: ledger, pointer
               └────────────────┴──────────────────────┴──▶ reject: ledger, stage, reason
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
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
"""An examination that draws nothing for so long is given up."""
EXAMINED = 6
"""Such times at most: a candidate keeps the next step waiting."""


class Judgement(NamedTuple):
    """What became of a candidate."""

    state: Literal["promoted", "rejected"]
    reason: str
    fallen: str = ""
    """Why what is served must not be served either."""


class Promotions:
    """Judges candidates, and changes the served version for an operator, an alarm or the watch.

    It does one thing at a time.
    """

    def __init__(
        self, config: Config, fleet: Fleet, place: Placement, ledger: Ledger, gate: Gate | None
    ) -> None:
        self._config, self._fleet, self._place = config, fleet, place
        self.ledger, self._gate = ledger, gate
        self._root, self._base = config.adapters_root, config.base_model
        self._deciding = asyncio.Lock()
        """``judge`` holds this lock also while it waits for an engine or for room."""
        self._trial: asyncio.Timeout | None = None
        """The timeout of the candidate in ``judge``; ``_before_candidates`` ends it early."""

    # ------------------------------------------------------------ a candidate

    async def judge(self, number: int, folder: str, step: Mapping[str, float]) -> Judgement:
        """Preflight → load and prove → examine → promote; a refusal in a step rejects it.

        ``step`` has the trainer's figures.
        """
        async with self._deciding:
            if before := self.judged(number):  # the trainer asked twice; this call had to wait
                return before
            self.ledger.propose(number, folder, self._base)
            try:
                async with asyncio.timeout(None) as self._trial:
                    parent = folders.read(self._root, folder).parent
                    if parent != self._fleet.serving:  # the parent's changes must not come back
                        said = f"made from v{parent}, which is not served any more"
                        raise RejectedVersion("stale", said)
                    self._check_distance(step)
                    async with self._place.candidate(number, folder):
                        await self._place.load(number, folder)
                        figures = await self._examine(number, folder)

                        def promote(proved: Figures) -> None:
                            figures.update(proved)
                            self.ledger.promote(number, folder, self._base, figures)
                            self._place.serve(number)

                        await self._place.load(number, folder, promote)
            except TimeoutError:
                why = "what a person or an alarm wanted came first"
                return self._reject(number, folder, "given_up", why)
            except RejectedVersion as refusal:
                judgement = self._reject(number, folder, refusal.stage, refusal.reason)
                return judgement._replace(fallen=refusal.fallen)
            finally:
                self._trial = None
            metrics.VERSIONS.labels("promoted").inc()
            metrics.GATE_SECONDS.observe(figures.get("gate_seconds", 0.0))
            metrics.GATE_TOKENS.inc(figures.get("gate_tokens", 0.0))
            shown = {name: round(value, 5) for name, value in figures.items()}
            log.info("version.promoted", version=number, **shown)
            return Judgement("promoted", "")

    def _check_distance(self, step: Mapping[str, float]) -> None:
        """Raises RejectedVersion for a candidate too far from the base model (guard.max_kl)."""
        most, kl = self._config.guard.max_kl, step.get("kl_base", 0.0)
        if most and kl > most:
            far = f"{kl:.3g} nats a token from the base model, more than guard.max_kl {most:g}"
            raise RejectedVersion("kl", f"{far}, on {step.get('kl_tokens', 0):.0f} tokens")

    async def _examine(self, number: int, folder: str) -> Figures:
        """The gate's figures for a candidate; the engine's lock is free meanwhile.

        Raises RejectedVersion, also ("busy", …) when the engine does not answer in time.
        """
        if self._gate is None or self._config.gate.mode == "off":
            return {}
        served = self._fleet.serving
        tries = self.ledger.tried_against(self._base, served) + 1
        late = 0
        while True:
            for replica in self._fleet.replicas:
                if replica.ready and number in replica.loaded:
                    examining = self._gate.examine(replica, number, served, tries)
                    drawn = self._gate.sampled
                    try:
                        return await asyncio.wait_for(examining, EXAMINE_S)
                    except TimeoutError:  # what was drawn is kept, so the next one goes on
                        late += 1
                        if self._gate.sampled == drawn or late == EXAMINED:
                            said = f"questions were not answered within {late * EXAMINE_S:g} s"
                            raise RejectedVersion("busy", said) from None
                    except EngineError:  # the engine failed, not the candidate
                        await asyncio.sleep(AGAIN_S)
            await self._place.load(number, folder)

    def judged(self, number: int) -> Judgement | None:
        """The earlier judgement on a version; None when it has no judgement yet."""
        state = self.ledger.judgement(number)
        if state is None:
            return None
        return Judgement("rejected" if state == "rejected" else "promoted", "judged before")

    def _reject(self, number: int, folder: str, stage: str, reason: str) -> Judgement:
        self.ledger.reject(number, folder, self._base, stage, reason)
        if stage not in JUDGEMENTS:  # no operator can serve it, no step can start from it
            with contextlib.suppress(RejectedVersion):  # its folder may be missing
                folders.strip_trainer_state(self._root, folder)
        metrics.VERSIONS.labels("rejected").inc()
        metrics.REJECTIONS.labels(stage).inc()
        self._place.thin_out_soon()
        log.error("version.rejected", version=number, stage=stage, reason=reason)
        return Judgement("rejected", f"{stage}: {reason}")

    # ------------------------------------------------------------ operator, alarm, watch

    @contextlib.asynccontextmanager
    async def _before_candidates(self) -> AsyncIterator[None]:
        """Gives up the candidate in ``judge``, and then takes the lock: nobody waits for it."""
        if self._trial and not self._trial.expired():
            self._trial.reschedule(asyncio.get_running_loop().time())
        async with self._deciding:
            yield

    async def _bring_in(self, number: int, folder: str, then: Callable[[], None]) -> None:
        """Preflight, load and proof, which no caller can skip; ``then`` writes the decision."""
        async with self._place.candidate(number, folder):
            await self._place.load(number, folder, lambda _: then())

    async def roll_back(
        self, number: int, reason: str, *, by: By = "operator", leaving: int | None = None
    ) -> None:
        """Serves an earlier promoted version or the base model (0), also after a restart.

        Does nothing when ``leaving`` is given and is no longer the served version. Raises
        VersionRefused, or RejectedVersion when the version cannot be loaded.
        """
        async with self._before_candidates():
            if number == self._fleet.serving or leaving not in (None, self._fleet.serving):
                return

            def go_back() -> None:
                self.ledger.roll_back(number, self._base, reason, by=by)
                self._place.serve(number)

            if folder := rules.may_go_back_to(self.ledger, self._base, number):
                await self._bring_in(number, folder, go_back)
            else:  # every engine has the base model
                await self._place.change(go_back)
            log.warning("version.rolled_back", to=number, reason=reason, by=by)

    async def promote(self, number: int, reason: str, *, force: bool) -> None:
        """Serves a version for the operator; ``force`` overrules the gate's refusal.

        Raises VersionRefused, or RejectedVersion when the version cannot be loaded.
        """
        if rules.may_serve(self.ledger, self._base, number, force=force) == "again":
            await self.roll_back(number, reason)
            return
        async with self._before_candidates():
            folder = rules.folder_of(self.ledger, self._base, number)

            def overrule() -> None:
                self.ledger.overrule(number, folder, self._base, reason)
                self._place.serve(number)

            await self._bring_in(number, folder, overrule)
            log.warning("version.overruled", version=number, reason=reason)

    async def pin(self, number: int) -> None:
        """Keeps a version in the engine: clients can always ask for it as ``<model>@v7``.

        Raises VersionRefused; RequestError when the engine has no room for it and a swap;
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
                number, folder, lambda: self.ledger.pin(number, folder, self._base)
            )

    async def unpin(self, number: int) -> None:
        """Removes the pin of a version. Raises VersionRefused when it has none."""
        async with self._before_candidates():
            rules.may_unpin(self.ledger, self._base, number)
            self.ledger.unpin(number, self._base)
            self._place.unload_soon(number)

    async def retire(self, number: int, reason: str) -> None:
        """Retires a version; its folder is removed after its unload. Raises VersionRefused."""
        async with self._before_candidates():
            folder = rules.may_retire(self.ledger, self._base, number)
            self.ledger.retire(number, folder, self._base, reason, by="operator")
            self._place.unload_soon(number)
