"""The replay: evaluate every set, ask the questions for E episodes while the server learns, evaluate again.

    evaluate ─▶ ┌ shuffle ─▶ batch of voted questions ─▶ wait until the server has learned from it ┐ × E ─▶ evaluate
                └───────────────────────────────────────────────────────────────────────────────────┘

A question that fails is a row with its error and the run goes on.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO, TypeVar

import openai

from ttrl_client import ask
from ttrl_client.datasets import Item, QuestionSet
from ttrl_client.metrics import Graded, SetScore, VoteScore, majority, mean, score, score_vote
from ttrl_client.progress import Display, Phase
from ttrl_client.scoring import equivalent, final_answer

T = TypeVar("T")
POLL_S = 0.5


class Unusable(Exception):
    """The server cannot be replayed against as asked: says which of address, key and model is wrong."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a replay is run; written into its report, the key left out."""

    base_url: str
    api_key: str
    model: str
    episodes: int = 1
    batch: int = 8
    """Questions asked together; the next batch starts when the server has learned from this one."""
    eval_samples: int = 16
    temperature: float = 0.6
    """Of evaluation samples; the temperature of votes is the server's."""
    top_p: float = 0.95
    max_tokens: int | None = None
    seed: int = 0
    """Of the order in which questions are asked."""
    concurrency: int = 16
    labels: bool = False
    """Give the answers along, to be learned from instead of the votes: the upper bound of the method."""
    wait: bool = True
    wait_timeout_s: float = 1800
    """Longest wait for one batch to be learned from."""
    patience_s: float = 120
    max_retries: int = 2
    timeout_s: float = 900


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One batch of voted questions. The ratios are means over its voted questions, None without one."""

    episode: int
    batch: int
    answered: int
    failed: int
    majority_ratio: float | None
    """Also the mean pseudo-reward: a sample earns 1 when it agrees with the winner."""
    ground_truth_ratio: float | None
    label_accuracy: float | None
    reward_accuracy: float | None
    sampled_tokens: int
    adapters: list[str]
    """Versions that answered."""
    served: str
    """Version served once the batch had been learned from."""
    seconds: float
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """Everything a replay found out."""

    settings: Settings
    sets: tuple[QuestionSet, ...]
    """The trained set first."""
    before: dict[str, SetScore]
    after: dict[str, SetScore]
    history: list[BatchRecord]
    served_before: str
    served_after: str
    versions_promoted: int
    questions_answered: int
    requests_failed: int
    wall_seconds: float


async def replay(
    settings: Settings, trained: QuestionSet, held_out: Sequence[QuestionSet], out: Path, display: Display
) -> Run:
    """Run it all; each question's outcome is a line of ``out/rows.jsonl`` as soon as it is known. Raises Unusable."""
    client = ask.connect(settings.base_url, settings.api_key, settings.max_retries, settings.timeout_s)
    async with client:
        with (out / "rows.jsonl").open("w", encoding="utf-8") as rows:
            return await Session(settings, client, rows, display).run((trained, *held_out))


class Session:
    """One replay under way: the connection, the rows written so far and the count of failures."""

    def __init__(self, settings: Settings, client: openai.AsyncOpenAI, rows: TextIO, display: Display) -> None:
        self._settings, self._client, self._rows, self._display = settings, client, rows, display
        self._patience = ask.Patience(settings.patience_s)
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._failed = 0

    async def run(self, sets: tuple[QuestionSet, ...]) -> Run:
        started = time.monotonic()
        await self._check_model()
        first = await self._status()
        if not first.learning:
            self._display.line(f"the server is not learning: {first.reason or 'no reason given'}")
        before = {s.name: await self._evaluate(s, "before") for s in sets}
        history = await self._learn(sets[0])
        after = {s.name: await self._evaluate(s, "after") for s in sets}
        last = await self._status()
        return Run(
            settings=self._settings,
            sets=sets,
            before=before,
            after=after,
            history=history,
            served_before=first.served,
            served_after=last.served,
            versions_promoted=last.promoted - first.promoted,
            questions_answered=sum(record.answered for record in history),
            requests_failed=self._failed,
            wall_seconds=round(time.monotonic() - started, 1),
        )

    async def _check_model(self) -> None:
        model, address = self._settings.model, self._settings.base_url
        try:
            with self._display.phase(f"waiting for {address}", None):
                offered = await self._patience.run(lambda: ask.read_models(self._client))
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise Unusable(f"{address} refused the key; give the right one with --api-key") from error
        except ask.FAILURES as error:
            raise Unusable(f"{address} is not an OpenAI endpoint that answers: {_reason(error)}") from error
        # A pinned version, name@v7, need not be listed.
        if model not in offered and model.rpartition("@")[0] not in offered:
            raise Unusable(f"{address} does not serve {model!r}; it offers {', '.join(sorted(offered)) or 'nothing'}")

    async def _status(self) -> ask.Status:
        try:
            return await self._patience.run(lambda: ask.read_status(self._client))
        except ask.FAILURES as error:
            self._display.line(f"no status: {_reason(error)}")
            return ask.NOT_LEARNING

    # ------------------------------------------------------------ evaluation

    async def _evaluate(self, questions: QuestionSet, moment: str) -> SetScore:
        title = f"{questions.name} {moment}"
        with self._display.phase(title, len(questions.items)) as phase:
            drawn = await asyncio.gather(*(self._grade(item, title, phase) for item in questions.items))
        graded = [g for g in drawn if g is not None]
        result = score(graded, failed=len(drawn) - len(graded))
        k = self._settings.eval_samples
        self._display.line(f"{title}: avg@{k} {_figure(result.avg)}  maj@{k} {_figure(result.maj)}")
        return result

    async def _grade(self, item: Item, phase_name: str, phase: Phase) -> Graded | None:
        s = self._settings
        how = ask.Draw(s.eval_samples, s.temperature, s.top_p, s.max_tokens)
        samples = await self._attempt(item, phase_name, lambda: ask.draw(self._client, s.model, item.prompt, how))
        if samples is None:
            phase.advance("failed")
            return None
        graded = Graded(tuple(final_answer(x.text, x.finish_reason) for x in samples), item.answer)
        winner = majority(graded.answers)
        self._row(phase_name, item, answers=graded.answers, right=equivalent(winner, item.answer))
        phase.advance(f"majority {winner}")
        return graded

    # ------------------------------------------------------------ learning

    async def _learn(self, questions: QuestionSet) -> list[BatchRecord]:
        order, items, size = random.Random(self._settings.seed), list(questions.items), self._settings.batch
        history: list[BatchRecord] = []
        for episode in range(1, self._settings.episodes + 1):
            order.shuffle(items)
            batches = [items[at : at + size] for at in range(0, len(items), size)]
            for number, batch in enumerate(batches, 1):
                title = f"episode {episode}/{self._settings.episodes} batch {number}/{len(batches)}"
                history.append(await self._learn_batch(batch, episode, number, title))
        return history

    async def _learn_batch(self, batch: list[Item], episode: int, number: int, title: str) -> BatchRecord:
        started = time.monotonic()
        with self._display.phase(title, len(batch)) as phase:
            replies = await asyncio.gather(*(self._ask(item, title, phase) for item in batch))
        asked = time.monotonic()
        status = await self._settle(title)
        answered = [(item, reply) for item, reply in zip(batch, replies, strict=True) if reply is not None]
        votes = [(item, reply.evidence) for item, reply in answered if reply.evidence]
        scores = [vote_score(item, evidence) for item, evidence in votes]
        record = BatchRecord(
            episode=episode,
            batch=number,
            answered=len(answered),
            failed=len(batch) - len(answered),
            majority_ratio=mean(evidence.majority_ratio for _, evidence in votes),
            ground_truth_ratio=mean(s.ground_truth_ratio for s in scores),
            label_accuracy=mean(s.label_accuracy for s in scores),
            reward_accuracy=mean(s.reward_accuracy for s in scores),
            sampled_tokens=sum(evidence.sampled_tokens for _, evidence in votes),
            adapters=sorted({evidence.adapter for _, evidence in votes}),
            served=status.served,
            seconds=round(asked - started, 2),
            wait_seconds=round(time.monotonic() - asked, 2),
        )
        self._display.line(_batch_line(title, record))
        return record

    async def _ask(self, item: Item, title: str, phase: Phase) -> ask.Reply | None:
        s = self._settings
        reply = await self._attempt(
            item,
            title,
            lambda: ask.ask_voted(self._client, s.model, item.prompt, s.max_tokens, item.answer if s.labels else None),
        )
        if reply is None:
            phase.advance("failed")
            return None
        vote = reply.evidence
        answer = vote.answer if vote else final_answer(reply.text, reply.finish_reason)
        self._row(
            title,
            item,
            answer=answer,
            right=equivalent(answer, item.answer),
            text=reply.text,
            vote=asdict(vote) if vote else None,
        )
        phase.advance(f"majority {vote.majority_ratio:.2f} of {vote.adapter}" if vote else "not voted on")
        return reply

    async def _settle(self, title: str) -> ask.Status:
        """Wait until nothing asked so far waits for training or is being trained on."""
        deadline = time.monotonic() + self._settings.wait_timeout_s
        status = await self._status()
        with self._display.phase(f"{title}: learning", None) as phase:
            while self._settings.wait and status.busy:
                if time.monotonic() > deadline:
                    self._display.line(f"{title}: still learning after {self._settings.wait_timeout_s:g} s, going on")
                    break
                phase.note("training" if status.training else f"{status.pending} groups wait")
                await asyncio.sleep(POLL_S)
                status = await self._status()
        return status

    # ------------------------------------------------------------ one request

    async def _attempt(self, item: Item, phase_name: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """The call's result, or None when the question failed: then the failure is its row."""
        async with self._slots:
            try:
                return await self._patience.run(call)
            except ask.FAILURES as error:
                self._failed += 1
                self._row(phase_name, item, error=_reason(error))
                return None

    def _row(self, phase_name: str, item: Item, **outcome: object) -> None:
        row = {"phase": phase_name, "id": item.id, "truth": item.answer, **outcome}
        self._rows.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._rows.flush()


def vote_score(item: Item, evidence: ask.Evidence) -> VoteScore:
    return score_vote(evidence.answer, evidence.counts, evidence.votes, item.answer)


def _batch_line(title: str, record: BatchRecord) -> str:
    line = f"{title}: majority {_figure(record.majority_ratio)}  right {_figure(record.ground_truth_ratio)}"
    line += f"  {record.served or 'no version'}  {record.seconds:.1f} s + {record.wait_seconds:.1f} s learning"
    return line + (f"  {record.failed} failed" if record.failed else "")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _reason(error: Exception) -> str:
    cause = f" ({error.__cause__})" if error.__cause__ and str(error.__cause__) else ""
    return f"{type(error).__name__}: {error}{cause}"
