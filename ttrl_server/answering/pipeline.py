"""The way of one question through the system.

    client ─▶ api ─▶ answer() ────────────────────────────────────────────▶ api ─▶ client
                       │ wait for room (or 429)                         ▲
                       │ hold one version on one replica                │ reply, with evidence
                       ▼                                                │
                     tokenise ─▶ sample in waves ⇄ count votes ─▶ record, durably
                                 (draw, engine)    (voting)          │ (store)
                                                                     ▼
    engine ◀─ placement ◀─ promotion ◀─ version ◀─ trainer ◀─ batch, leased

Consumes: Question. Produces: Answer. Waits for: room, a cohort, M samples, one commit. Nothing here
outlives a question: the store and the registry keep what must survive.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import astuple, dataclass, replace
from functools import partial
from typing import Any

import structlog

from ttrl_server import voting
from ttrl_server.answering.anchors import Anchor, Anchors, Beside
from ttrl_server.answering.draw import Draw, Waves, longest
from ttrl_server.answering.flights import Flights, Progress
from ttrl_server.answering.room import Cohorts, Room
from ttrl_server.answers import asked, by_chance
from ttrl_server.engine.fleet import Fleet
from ttrl_server.errors import EngineError, Overloaded, RequestError
from ttrl_server.learning.admission import admit
from ttrl_server.learning.reasons import Recent
from ttrl_server.settings.config import Config
from ttrl_server.telemetry import metrics
from ttrl_server.types import Admission, Experience, Group, Prompt, Question, Rollout, Stopped, Vote
from ttrl_server.voting import Ballot
from ttrl_server.voting.confidence import Alike, Forms, agrees, anchored

log = structlog.get_logger()

Record = Callable[[Experience, Question, Prompt], Awaitable[str]]
"""Writes an experience to the store; then returns the reason of its admission."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for the client: the chosen rollout and the evidence of the vote."""

    group: Group
    vote: Vote
    model: str
    """The engine's name of the version that answered, ``<name>@v7``."""
    training: str
    """``queued`` when the group is stored for training; otherwise the reason why not."""

    @property
    def chosen(self) -> Rollout:
        return self.group.rollouts[self.vote.chosen]

    def choices(self, count: int) -> list[Rollout]:
        """The chosen rollout, then those that agree with it, then by votes; at most ``count``."""
        members = (position for cluster in self.vote.clusters for position in cluster.members)
        order = dict.fromkeys([self.vote.chosen, *members, *range(len(self.group.rollouts))])
        return [self.group.rollouts[position] for position in order][:count]

    @property
    def sampled_tokens(self) -> int:
        return sum(len(rollout.token_ids) for rollout in self.group.rollouts)


class Pipeline:
    """Answers questions by vote. ``record`` is None when learning is off."""

    def __init__(self, config: Config, fleet: Fleet, record: Record | None) -> None:
        self._config, self._fleet, self._record = config, fleet, record
        self.room = Room(config.limits)
        self._cohorts = Cohorts(fleet, config.batch)
        self._flights: Flights[Answer] = Flights()
        self._anchors, self.forms = Anchors(config), Forms()
        self._background: set[asyncio.Task[str]] = set()
        self.recent = Recent()

    async def answer(
        self, question: Question, watch: Callable[[Progress], None] | None = None
    ) -> Answer:
        """Votes on one question; ``watch`` gets the progress.

        Raises RequestError, Overloaded or EngineError.
        """
        started = time.monotonic()
        limit = min(question.deadline_s or math.inf, self._config.vote.deadline_s)
        progress = Progress(question.id, question.vote.samples)
        compute = partial(self._vote, question, limit)
        try:
            async with asyncio.timeout(limit + COUNTING_S):
                answer = await self._flights.join(_identity(question), progress, compute, watch)
        except TimeoutError:
            metrics.QUESTIONS.labels("deadline").inc()
            raise _too_late(limit) from None
        except asyncio.CancelledError:
            metrics.QUESTIONS.labels("cancelled").inc()
            raise
        except (RequestError, Overloaded, EngineError) as error:
            late = isinstance(error, RequestError) and error.code == TOO_LATE
            metrics.QUESTIONS.labels("deadline" if late else "error").inc()
            raise
        metrics.QUESTIONS.labels("answered").inc()
        metrics.ANSWER_SECONDS.observe(time.monotonic() - started)
        return answer

    async def _vote(self, question: Question, limit: float, progress: Progress) -> Answer:
        """Answers one question: room, hold, samples, vote, record."""
        samples, train = question.vote.samples, self._config.train
        trains = self._record is not None and question.vote.train
        waves = Waves(samples, min(train.samples, samples) if trains else 0, self._config.vote.wave)
        ballot = Ballot(question.wanted, weighting=self._config.vote.weighting)
        alternatives = CERTAINTY_ALTERNATIVES if self._config.vote.fallback == "best_of_n" else 0
        deadline_at = asyncio.get_running_loop().time() + limit
        tests = self._anchors.tests(question) if trains and question.label is None else ()
        # What is served when its turn comes is not known yet: the base model may be asked too.
        extra = self._anchors.samples(samples) * (1 + len(tests))
        async with self.room.admit(samples + extra, deadline_at):
            async with self._cohorts.hold(question.version) as hold:
                progress.model = hold.model
                prompt = await hold.replica.client.prompt(question, hold.model)
                sampling = replace(question.sampling, max_tokens=longest(question, prompt))
                ids, temperature = prompt.token_ids, sampling.temperature
                bent = sampling.extra | prompt.bent
                about = hold.version, temperature, bent, question.asked
                empty = Group(question.id, ids, (), *about)

                async def one(index: int) -> Rollout:
                    given = prompt, hold.model, sampling, index
                    async with hold.replica.slots:
                        return await hold.replica.client.sample(*given, alternatives=alternatives)

                draw = Draw(one, ballot, question.vote, waves, progress, deadline_at)
                anchor = Anchor(question, prompt, sampling)
                try:
                    async with self._anchors.asked(tests, anchor, hold, samples) as answers:
                        stopped = await draw.run()
                        beside = await answers(0 if stopped == "unvotable" else deadline_at)
                except asyncio.CancelledError:
                    group = replace(empty, rollouts=ballot.rollouts)
                    self._note_cancelled(question, prompt, group)
                    raise
            group = replace(empty, rollouts=ballot.rollouts)
            _note_drawn(group, samples, stopped)
            least = max(self._config.vote.quorum * samples, question.vote.choices)
            if stopped == "deadline" and len(group.rollouts) < least:
                raise _too_late(limit)
            # In a thread: hostile text may take long to read, and other questions must go on.
            counted = await asyncio.to_thread(ballot.count, stopped)
            vote = self._selected(counted, question, ballot)
            if not hold.version:  # the base model has just been asked
                beside = {**beside, "base": vote.answers}
                if stopped != "deadline":
                    self._anchors.remember(anchor, vote.answers)
            vote, alike = await asyncio.to_thread(self._weighed, vote, beside, question)
            if vote.majority_ratio is not None:
                metrics.MAJORITY.observe(vote.majority_ratio)
            kept = await self._taught(question, prompt, group, vote, alike, waves)
            self.recent.note(kept)
            return Answer(group, vote, hold.model, kept)

    async def _taught(
        self,
        question: Question,
        prompt: Prompt,
        group: Group,
        vote: Vote,
        alike: Alike,
        waves: Waves,
    ) -> str:
        """Rewards the samples and writes the group to the store; ``queued`` or the reason not."""
        trainable = waves.trainable(rollout.index for rollout in group.rollouts)
        rewards = await self._rewards(question, vote, trainable)
        weighs = self._config.train.weighs_tokens
        admission = admit(question, group, vote, rewards, self._config.guard, alike, weighs=weighs)
        if admission.admitted and len(rewards) < min(waves.eligible, self._config.train.min_group):
            admission = Admission(False, "too_few_samples")
        whole = Experience(question.id, question.tenant, group, vote, rewards, admission)
        return await self._keep(question, prompt, whole)

    def _selected(self, vote: Vote, question: Question, ballot: Ballot) -> Vote:
        """Adds the level and M to the vote; chooses another rollout if there is no winner."""
        level = question.vote.level if vote.stopped in ("beta", "certificate") else None
        vote = replace(vote, level=level, requested=question.vote.samples)
        if vote.stopped == "unvotable":  # one or two answers in the first wave do not count
            vote = replace(vote, clusters=(), pseudo_label=None, majority_ratio=None, margin=None)
        if vote.pseudo_label is None and self._config.vote.fallback == "best_of_n":
            return replace(vote, chosen=voting.most_certain(ballot.rollouts))
        return replace(vote, chosen=ballot.first) if vote.pseudo_label is None else vote

    def _weighed(self, vote: Vote, beside: Beside, question: Question) -> tuple[Vote, Alike]:
        """Adds the confidence to the vote, from what was answered beside it."""
        base, wanted = beside.get("base"), question.wanted
        asked_base = vote.pseudo_label is not None and base and self._config.vote.anchor
        found = anchored(vote, base or (), wanted) if asked_base else None
        alike = self.forms.note(wanted, vote.pseudo_label, found.base_share if found else None)
        if "reworded" in beside:
            alike = replace(alike, agreed=agrees(vote, beside["reworded"] or (), wanted))
        if (contrary := beside.get("opposed")) and by_chance(vote.pseudo_label, wanted):
            alike = replace(alike, unread=agrees(vote, contrary, wanted))
        if found is None:
            return vote, alike
        sure, shares = found.confidence(alike), (found.base_ratio, found.base_share)
        vote = replace(vote, confidence=sure, base_ratio=shares[0], base_share=shares[1])
        return vote, replace(alike, support=found.support)

    async def _rewards(self, question: Question, vote: Vote, samples: int) -> tuple[float, ...]:
        """[G] rewards, from the given label if there is one, else from the vote."""
        guard = self._config.guard
        if question.label is not None:
            kind = asked(question.wanted)
            return await asyncio.to_thread(voting.labelled, vote, question.label, samples, kind)
        match self._config.train.reward:
            case "signed":
                least, margin = guard.min_majority, guard.min_margin
                return voting.signed(vote, samples, majority=least, margin=margin, rare=guard.rare)
            case "answered":
                return voting.any_answer(vote, samples)
            case "random":
                return voting.at_random(question.id, samples)
        return voting.agreement(vote, samples)

    async def _keep(self, question: Question, prompt: Prompt, experience: Experience) -> str:
        """Writes the experience to the store; returns ``queued`` or the reason against it."""
        if self._record is None:
            return "learning is off"
        if not question.vote.train:
            return "off"
        try:
            decided = await self._record(experience, question, prompt)
        except Exception as error:  # a full disk costs no answer (docs/design.md, rule 6)
            log.error("store.failed", question=question.id, reason=str(error))
            metrics.GROUPS.labels("store_failed").inc()
            return "not stored"
        metrics.GROUPS.labels(decided).inc()
        return decided

    def _note_cancelled(self, question: Question, prompt: Prompt, group: Group) -> None:
        """Stores the samples of a cancelled question; they never train: short ones come first."""
        metrics.STOPPED.labels("cancelled").inc()
        none, wanted = (None,) * len(group.rollouts), question.vote.samples
        vote = Vote(none, (), None, None, None, chosen=0, stopped="cancelled", requested=wanted)
        admission = Admission(False, "cancelled")
        experience = Experience(question.id, question.tenant, group, vote, (), admission)
        task = asyncio.create_task(self._keep(question, prompt, experience))
        self._background.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._background.discard)


TOO_LATE = "deadline_exceeded"
COUNTING_S = 2.0
"""Extra time after the sampling, to count the votes."""
CERTAINTY_ALTERNATIVES = 5
"""Most likely tokens asked for at each position, where ``vote.fallback`` uses self-certainty."""


def _too_late(limit: float) -> RequestError:
    message = f"The vote did not finish within {limit:g} s; ask for fewer votes or allow more time."
    return RequestError(message, status=504, code=TOO_LATE)


def _note_drawn(group: Group, samples: int, stopped: Stopped) -> None:
    drawn = len(group.rollouts)
    metrics.SAMPLES.inc(drawn)
    metrics.SAMPLES_SAVED.inc(samples - drawn)
    metrics.SAMPLED_TOKENS.inc(sum(len(r.token_ids) for r in group.rollouts))
    metrics.STOPPED.labels(stopped).inc()


def _identity(question: Question) -> bytes:
    """Equal for questions of one tenant whose samples come from the same distribution."""
    q, s = question, question.sampling
    # A client may ask many times to average: only a key says that it is one request.
    several = q.shared or (q.shared is not None and q.vote.samples > 1)
    alone = None if several else q.id
    parts: list[Any] = [q.tenant, q.kind, q.prompt, q.version, q.request, *astuple(q.vote)]
    parts += [s.temperature, s.max_tokens, s.seed, s.extra, q.deadline_s, q.label, q.shared, alone]
    return json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")
