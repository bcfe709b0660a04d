"""One question's way through the system.

    client ─▶ api ─▶ answer() ─────────────────────────────────────────────────────────▶ api ─▶ client
                       │ admit (or 429)                                              ▲
                       │ lease one version on one replica (batching)                 │ reply with its evidence
                       ▼                                                             │
                     tokenise once ─▶ sample M rollouts ─▶ vote ─▶ record the experience, durably
                                        (engine)        (voting)      │ (store)
                                                                      ▼
    engine ◀─ swap ◀─ gate ◀─ adapter version ◀─ trainer ◀─ batch ◀─ lease      (learning.py, training/)

Consumes: Question. Produces: Answer. Waits for: room, a batch, M samples, one commit. Owns nothing that outlives a
question; what must survive is in the store and the registry.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import structlog

from ttrl_server import voting
from ttrl_server.batching import Admission, Batcher, Flights, Progress
from ttrl_server.config import Config
from ttrl_server.engine.fleet import Fleet, Lease
from ttrl_server.errors import EngineError, Overloaded, RequestError
from ttrl_server.telemetry import metrics
from ttrl_server.types import Experience, Group, Question, Rollout, Sampling, Verdict, Vote

log = structlog.get_logger()

Record = Callable[[Experience], Awaitable[None]]
"""Makes an experience durable; returns when it is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client gets: the chosen rollout and the evidence of the vote."""

    group: Group
    vote: Vote
    model: str
    """The engine's name of the version that answered, ``<name>@v7``."""
    training: str
    """``queued`` once the group is durable and will be trained on; otherwise why not."""

    @property
    def chosen(self) -> Rollout:
        return self.group.rollouts[self.vote.chosen]

    @property
    def sampled_tokens(self) -> int:
        return sum(len(rollout.token_ids) for rollout in self.group.rollouts)


class Pipeline:
    """Answers questions by vote. ``record`` is None while nothing is learnt."""

    def __init__(self, config: Config, fleet: Fleet, record: Record | None) -> None:
        self._config, self._fleet, self._record = config, fleet, record
        self.admission = Admission(config.limits.samples_in_flight)
        self._batcher = Batcher(
            fleet, max_questions=config.batch.max_questions, max_wait_s=config.batch.max_wait_ms / 1000
        )
        self._flights: Flights[Answer] = Flights()

    async def answer(self, question: Question, watch: Callable[[Progress], None] | None = None) -> Answer:
        """Votes on one question; raises RequestError, Overloaded or EngineError. ``watch`` is given the progress."""
        started = time.monotonic()
        deadline = question.deadline_s or self._config.vote.deadline_s
        try:
            async with asyncio.timeout(deadline):
                answer = await self._flights.join(
                    _identity(question), Progress(question.vote.samples), lambda p: self._compute(question, p), watch
                )
        except TimeoutError:
            metrics.QUESTIONS.labels("deadline").inc()
            raise RequestError(
                f"The vote did not finish within {deadline:g} s; ask for fewer votes or allow more time.",
                status=504,
                code="deadline_exceeded",
            ) from None
        except asyncio.CancelledError:
            metrics.QUESTIONS.labels("cancelled").inc()
            raise
        except (RequestError, Overloaded, EngineError):
            metrics.QUESTIONS.labels("error").inc()
            raise
        metrics.QUESTIONS.labels("answered").inc()
        metrics.ANSWER_SECONDS.observe(time.monotonic() - started)
        return answer

    async def _compute(self, question: Question, progress: Progress) -> Answer:
        with self.admission.admit(question.vote.samples):
            async with self._batcher.lease(question.version) as lease:
                progress.model = lease.model
                group = await self._sample(question, lease, progress)
            # In a thread: hostile text may take a while to read, and other questions go on.
            vote = await asyncio.to_thread(voting.judge, group, _last_text(question))
            return await self._settle(question, group, vote, lease.model)

    # ------------------------------------------------------------ sample

    async def _sample(self, question: Question, lease: Lease, progress: Progress) -> Group:
        prompt, context = await lease.replica.client.tokenize(question, lease.model)
        sampling = _within(context, len(prompt), question)

        async def one(index: int) -> Rollout:
            async with lease.replica.slots:
                rollout = await lease.replica.client.sample(prompt, lease.model, sampling, index)
            progress.drawn += 1
            return rollout

        try:
            async with asyncio.TaskGroup() as tasks:  # the first failure cancels the rest of the group
                drawing = [tasks.create_task(one(index)) for index in range(question.vote.samples)]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        rollouts = tuple(task.result() for task in drawing)
        metrics.SAMPLES.inc(len(rollouts))
        metrics.SAMPLED_TOKENS.inc(sum(len(r.token_ids) for r in rollouts))
        return Group(question.id, prompt, rollouts, lease.version, sampling.temperature)

    # ------------------------------------------------------------ settle

    async def _settle(self, question: Question, group: Group, vote: Vote, model: str) -> Answer:
        samples = min(self._config.train.samples, len(group.rollouts))
        rewards = voting.rewards(vote, samples)
        verdict = admit(question, group, vote, rewards)
        if vote.majority_ratio is not None:
            metrics.MAJORITY.observe(vote.majority_ratio)
        if self._record is None:
            return Answer(group, vote, model, "learning is off")
        if not question.vote.train:
            return Answer(group, vote, model, "off")
        try:
            await self._record(Experience(question.id, question.tenant, group, vote, rewards, verdict))
        except Exception as error:  # a full disk costs no answer (design.md, rule 6)
            log.error("store.failed", question=question.id, reason=str(error))
            metrics.GROUPS.labels("store_failed").inc()
            return Answer(group, vote, model, "not stored")
        metrics.GROUPS.labels(verdict.reason).inc()
        return Answer(group, vote, model, "queued" if verdict.admitted else verdict.reason)


def admit(question: Question, group: Group, vote: Vote, rewards: tuple[float, ...]) -> Verdict:
    """Whether a group can teach anything, and only what was sampled as the trainer will score it."""
    if any(rollout.finish_reason == "abort" for rollout in group.rollouts):
        return Verdict(False, "aborted")
    if any(len(r.token_ids) != len(r.logprobs) or not r.token_ids for r in group.rollouts):
        return Verdict(False, "incomplete_samples")
    if any(value not in CHANGES_NOTHING.get(name, (value,)) for name, value in question.sampling.extra.items()):
        return Verdict(False, "sampling_parameters")
    if vote.pseudo_label is None:
        return Verdict(False, "no_answer")
    if len(set(rewards)) < 2:
        return Verdict(False, "unanimous")  # zero advantage for every sample (ttrl.md, section 4.9)
    return Verdict(True, "queued")


CHANGES_NOTHING: dict[str, tuple[Any, ...]] = {
    "top_p": (1,),
    "top_k": (0, -1),
    "min_p": (0,),
    "repetition_penalty": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "min_tokens": (0,),
    "ignore_eos": (False,),
    "allowed_token_ids": ([],),
    "bad_words": ([],),
}
"""Parameters that bend the sampled distribution away from softmax(logits / T), which is what the trainer learns, with
the values at which they do not."""


def _within(context: int, prompt: int, question: Question) -> Sampling:
    """The sampling with a completion length that fits; a prompt that leaves no room is the client's error."""
    room = context - prompt
    wanted = question.sampling.max_tokens
    if room < 1:
        raise RequestError(
            f"The prompt has {prompt} tokens; this model's context is {context}, of which at least one must be left "
            "for the answer. Shorten the prompt.",
            param="messages" if question.kind == "chat" else "prompt",
            code="context_length_exceeded",
        )
    return replace(question.sampling, max_tokens=min(wanted, room) if wanted else room)


def _identity(question: Question) -> bytes:
    """Equal for questions whose groups would be drawn from the same distribution for the same tenant."""
    s = question.sampling
    parts: list[Any] = [question.tenant, question.kind, question.prompt, question.version, question.template]
    parts += [s.temperature, s.max_tokens, s.seed, s.extra, question.vote.samples, question.vote.train]
    return json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")


def _last_text(question: Question) -> str | None:
    """The words of the question itself, from which the expected kind of answer can be read."""
    if isinstance(question.prompt, str):
        return question.prompt
    if question.kind != "chat":
        return None
    content = question.prompt[-1].get("content")
    return content if isinstance(content, str) else None
