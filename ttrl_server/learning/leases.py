"""The gateway's part of learning: records groups, leases batches, judges the trainer's adapters.

One thread makes all calls to the store. The methods here run in the gateway's event loop.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from ttrl_server.answers import Wanted
from ttrl_server.engine.fleet import Fleet
from ttrl_server.errors import LeaseLost, RejectedVersion, RequestError, StoreError
from ttrl_server.learning.admission import UNSOUND
from ttrl_server.learning.alarms import Alarms, importance_alarm
from ttrl_server.learning.history import by_history
from ttrl_server.promotion import attractors
from ttrl_server.promotion.gate import Gate
from ttrl_server.promotion.promotions import Judgement, Promotions
from ttrl_server.promotion.rollback import Paired, Rollback
from ttrl_server.promotion.watch import Watch, Watcher
from ttrl_server.registry import folders
from ttrl_server.registry.names import number_of_folder
from ttrl_server.settings.config import Config
from ttrl_server.store.experiences import Experiences
from ttrl_server.telemetry import metrics
from ttrl_server.types import Admission, Batch, Experience, Group, Parent, Prompt, Question
from ttrl_server.voting.confidence import Forms

log = structlog.get_logger()
T = TypeVar("T")

UNBOUNDED = 2**31
"""Tokens, where the context's length is not known."""
REMEMBERED = 512
"""Most groups that are looked at again after a start."""
LONG_POLL_S = 3.0
POLL_S = 0.1


class Learning:
    """Leases batches and judges adapters. ``alarms`` end learning; ``watcher`` checks signals."""

    def __init__(
        self, config: Config, store: Experiences, fleet: Fleet, promotions: Promotions, gate: Gate
    ) -> None:
        self._config, self._store, self._fleet = config, store, fleet
        self._promotions, self._gate, self._ledger = promotions, gate, promotions.ledger
        paired: Paired = functools.partial(self._in_store, store.paired)
        self._rollback = Rollback(config, fleet, promotions, paired)
        self.alarms = Alarms(config, self._ledger, self._rollback, paired)
        watch = Watch(config.guard, critics=min(2, max(1, len(config.api.keys))))
        self._attractors = attractors.Attractors(self._ledger.withheld(config.base_model))
        watched = watch, self._attractors, self._withdraw
        self.watcher = Watcher(fleet, gate, self._rollback, *watched)
        self._by_history = functools.partial(by_history, config.guard, config.gate)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._leasing = asyncio.Lock()
        self._judging = 0
        """Adapters without a judgement: no step starts meanwhile, as the parent may change."""
        self._spare: int | None = None
        """A reserved version number that no batch uses yet."""

    # ------------------------------------------------------------ experience in

    async def record(self, experience: Experience, question: Question, prompt: Prompt) -> str:
        """Writes the group to disk, then returns the reason of its admission."""
        key, seen = prompt.key, None
        if experience.admission.reason not in UNSOUND:
            seen = await self._read(experience, prompt)
        by_vote = experience.admission.admitted and question.label is None
        if seen and by_vote and self._attractors.withholds(seen):
            experience = replace(experience, admission=Admission(False, "attractor"))
        admission = await self._in_store(self._store.add, experience, key, self._by_history)
        if seen and question.version is None:
            self._attractors.see(replace(seen, trains=admission.admitted and by_vote))
        self._show_gate(experience.group, prompt, admission.reason)
        if question.version is None and admission.reason not in UNSOUND:
            self.watcher.see(experience.group, experience.vote, prompt)
        return admission.reason

    async def _read(self, experience: Experience, prompt: Prompt) -> attractors.Seen | None:
        if not self._config.guard.attractors:
            return None
        group, vote = experience.group, experience.vote
        return await asyncio.to_thread(attractors.read, group, vote, prompt)

    def _show_gate(self, group: Group, prompt: Prompt, reason: str) -> None:
        if reason == "held_back":
            self._gate.offer(group, prompt)
        elif reason not in UNSOUND:
            self._gate.witness(group, prompt)

    async def _withdraw(self, found: attractors.Suspicion) -> None:
        """Notes an attractor for ever; groups that wait with such a label are not trained on."""
        self._note_withheld()
        for question in found.taught:
            try:
                await self.reward_anew(question, (), Admission(False, "attractor"))
            except StoreError as error:
                log.error("attractor.kept", question=question, reason=str(error))

    def _note_withheld(self) -> None:
        """Notes in the ledger what is withheld; what the disk refuses is noted before a batch."""
        base = self._config.base_model
        for form, winner in self._attractors.withheld - self._ledger.withheld(base):
            try:
                self._ledger.withhold(base, form, winner)
            except OSError as error:
                log.error("attractor.not_noted", form=form, reason=str(error))

    async def find(self, question: str) -> Experience | None:
        return await self._in_store(self._store.get, question)

    async def reward_anew(
        self, question: str, rewards: tuple[float, ...], admission: Admission
    ) -> bool:
        """Replaces a group's rewards; False when it is leased, consumed or not there."""
        return await self._in_store(self._store.reward_anew, question, rewards, admission)

    # ------------------------------------------------------------ batch out

    async def lease(self, wait_s: float = LONG_POLL_S) -> Batch | None:
        """The next batch, or None when nothing became ready within ``wait_s``."""
        deadline = time.monotonic() + wait_s
        self._note_withheld()
        async with self._leasing:
            while time.monotonic() < deadline:
                if await self._worth_a_step() and (batch := await self._take()):
                    groups = len(batch.experiences)
                    log.info("batch.leased", batch=batch.id, groups=groups, version=batch.number)
                    return batch
                await asyncio.sleep(POLL_S)
        return None

    async def _worth_a_step(self) -> bool:
        if self.alarms.stopped or self._judging or not self._fleet.ready:
            return False
        promoted, most = self._promoted(), self._config.guard.max_updates
        if most and promoted >= most:
            full = f"guard.max_updates: {promoted} versions were promoted"
            await self.alarms.ring("lineage_full", full, lasting=False)
            return False
        pending = await self._in_store(self._store.pending)
        if self._is_rest(pending):
            return False
        oldest = await self._in_store(self._store.oldest_pending)
        if oldest is None:
            return False
        waited = time.time() - oldest
        train = self._config.train
        if pending < train.questions and waited < train.max_wait_s:
            return False
        return train.when == "always" or self._fleet.idle or waited > train.patience_s

    def _is_rest(self, pending: int) -> bool:
        """Whether so few groups are not worth a step and a gate: they wait for more."""
        return pending < min(self._config.train.least, self._config.train.questions)

    async def _take(self) -> Batch | None:
        base, train = self._config.base_model, self._config.train
        promotions = self._ledger.promotions(base)
        stale = len(promotions) - train.max_staleness - 1
        parent = self.parent()
        # After a rollback the served version is an old one, but its new groups are not stale.
        min_version = min(promotions[stale] if stale >= 0 else 0, parent.number if parent else 0)
        if self._spare is None:
            self._spare = await asyncio.to_thread(self._ledger.reserve, base)
        unwanted = self._ledger.fallen(base) | self._ledger.passed_over(base)
        unwanted -= {parent.number} if parent else set()  # a person may serve it again
        lease = functools.partial(self._store.lease, min_version=min_version, unwanted=unwanted)
        batch = await self._in_store(lease, train.questions, train.lease_s, self._spare, parent)
        if batch:
            self._spare = None
            for name, groups in (await self._in_store(self._store.counts)).items():
                if name.startswith("dropped/"):
                    metrics.DROPPED.labels(name.removeprefix("dropped/")).set(groups)
        return batch

    def _promoted(self) -> int:
        return len(self._ledger.promotions(self._config.base_model))

    def parent(self) -> Parent | None:
        """The version the next step starts from: the served version; None is the base model."""
        served = self._ledger.served(self._config.base_model)
        return Parent(*served) if served else None

    async def renew(self, batch: str) -> None:
        await self._in_store(self._store.renew, batch, self._config.train.lease_s)

    # ------------------------------------------------------------ adapter in

    async def propose(self, batch: str, folder: str, figures: dict[str, float]) -> Judgement:
        """Consumes the batch once and judges its adapter.

        After a crash between the two, ``resume`` judges the adapter.
        """
        number = number_of_folder(folder)
        if number is None:
            said = f"{folder[:100]!r} is not the name of a version folder."
            raise RequestError(said, param="folder")
        self._show(figures)
        with self._judged():
            # The trainer asks again when it did not get the answer.
            if before := self._promotions.judged(number):
                return before
            try:
                await self._consume(batch, folder, "proposed")
            except LeaseLost:
                if (number, folder) not in await self._in_store(self._store.proposed):
                    raise  # else this same proposal consumed it before, without a judgement
            parent = self._fleet.serving
            try:
                judgement = await self._promotions.judge(number, folder, figures)
            except OSError as error:  # the ledger's disk is full: the trainer asks again
                said = f"the judgement on {folder} could not be written ({error})"
                raise StoreError(said) from error
            await self.alarms.after_judgement(judgement, parent)
            return judgement

    async def _consume(self, batch: str, folder: str | None, reason: str) -> None:
        await self._in_store(self._store.consume, batch, folder=folder, reason=reason)
        metrics.BATCHES.labels("proposed" if folder else "skipped").inc()

    @contextmanager
    def _judged(self) -> Iterator[None]:
        self._judging += 1
        try:
            yield
        finally:
            self._judging -= 1

    async def skip(self, batch: str, reason: str, figures: dict[str, float]) -> None:
        """Consumes a batch that made no version."""
        self._show(figures)
        await self._consume(batch, None, reason)
        log.info("batch.skipped", batch=batch, reason=reason)
        await self.alarms.after_skip(figures)

    def _show(self, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            metrics.TRAINER.labels(name).set(value)
        if odd := importance_alarm(figures):
            metrics.ALARMS.labels("importance").inc()
            log.warning("importance.alarm", reason=odd)
        if figures:
            log.info("batch.trained", **{name: round(value, 5) for name, value in figures.items()})

    # ------------------------------------------------------------ restarts

    async def trainer_started(self) -> None:
        """After a start of the trainer: releases the old trainer's batch, sweeps its files."""
        if released := await self._in_store(self._store.release_all, "trainer restarted"):
            log.info("batch.released", groups=released)
        await asyncio.to_thread(self._sweep, await self._in_store(self._store.proposed))

    async def remember(self, forms: Forms) -> None:
        """Shows gate, attractors and ``forms`` what was asked before the start. Calls and JSON are
        left out: the engine would have to render them again."""
        canaries = self._config.gate.canary_questions
        for kept in await self._in_store(self._store.latest, REMEMBERED, canaries):
            group, vote, reason = kept.group, kept.vote, kept.admission.reason
            if isinstance(group.wanted, Wanted) or "grammar" in group.bent:
                continue
            ids, asked = group.prompt_token_ids, group.asked
            room = (self._config.max_model_len or UNBOUNDED) - len(ids)
            prompt = Prompt(ids, max(1, room), wanted=group.wanted)
            self._show_gate(group, prompt, reason)
            if (reason in UNSOUND and reason != "held_back") or "version" in asked:
                continue
            await asyncio.to_thread(forms.note, group.wanted, vote.pseudo_label, vote.base_share)
            if seen := await self._read(kept, prompt):
                trains = kept.admission.admitted and "label" not in asked
                self._attractors.see(replace(seen, trains=trains))

    async def resume(self) -> None:
        """Judges proposals that have no judgement after a crash; sweeps what was not proposed."""
        with self._judged():
            proposed = await self._in_store(self._store.proposed)
            # A trainer on another machine may still propose a published version: no sweep then.
            if self._config.train.launch == "here":
                await asyncio.to_thread(self._sweep, proposed)
            for number, folder in proposed:
                if self._ledger.judgement(number) is not None:
                    continue
                log.info("version.resumed", version=number)
                figures, parent = {}, self._fleet.serving
                with suppress(RejectedVersion):  # its folder may be missing: it is rejected then
                    figures = folders.read(self._config.adapters_root, folder).metrics
                judgement = await self._promotions.judge(number, folder, figures)
                await self.alarms.after_judgement(judgement, parent)

    def _sweep(self, proposed: list[tuple[int, str]]) -> None:
        known = {folder for _, folder in proposed} | self._ledger.folders()
        for leftover in folders.sweep(self._config.adapters_root, known):
            log.info("version.swept", folder=leftover)

    async def status(self) -> dict[str, Any]:
        """``training``: a batch is leased, or its adapter is being judged. ``rest``: what is
        pending is too little for a step, and waits until more is asked."""
        groups = await self._in_store(self._store.counts)
        return {
            "learning": self.alarms.stopped is None,
            "reason": self.alarms.stopped,
            "pending": groups["pending"],
            "rest": self._is_rest(groups["pending"]),
            "training": groups["leased"] > 0 or self._judging > 0,
            "promoted": self._promoted(),
            "groups": groups,
        }

    async def close(self) -> None:
        self.watcher.close()
        self._rollback.close()
        await self._in_store(self._store.close)
        self._thread.shutdown()

    async def _in_store(self, function: Callable[..., T], *args: Any, **named: Any) -> T:
        call = functools.partial(function, *args, **named)
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
