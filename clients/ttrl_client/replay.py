"""The replay: evaluate every set, ask the questions for E episodes while the server learns,
evaluate again.

                ┌──────────────────────────── E times ────────────────────────────┐
    evaluate ─▶ │ shuffle ─▶ batch of voted questions ─▶ wait until it is learned │ ─▶ evaluate
                │            evaluate every k batches, where asked to             │
                └─────────────────────────────────────────────────────────────────┘

A question that fails is a row with its error and the run goes on; a run that was killed goes on
where it stopped.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import openai

from ttrl_client import ask, votes
from ttrl_client.datasets import Item, QuestionSet
from ttrl_client.evaluation import Evaluation, Evaluator
from ttrl_client.journal import Journal, write_whole
from ttrl_client.metrics import shown
from ttrl_client.progress import Display, Phase
from ttrl_client.run import BatchRecord, Run, Settings, write_questions

T = TypeVar("T")
POLL_S = 0.5


class Unusable(Exception):
    """The server cannot be replayed against as asked: says which of address, key and model is
    wrong."""


async def replay(
    settings: Settings,
    sets: tuple[QuestionSet, ...],
    asked: dict[str, Any],
    out: Path,
    display: Display,
    *,
    resume: bool = False,
) -> Run:
    """Run it all; each question's outcome is a line of ``out/rows.jsonl`` as soon as it is known.
    Raises Unusable.

    The first of ``sets`` is learned from; ``asked`` is what the run is, by ``run.asked_for``.
    """
    client = ask.connect(
        settings.base_url, settings.api_key, settings.max_retries, settings.timeout_s
    )
    async with client:
        await check_model(settings, client, display)  # before anything of a former run is touched
        (out / "report.json").unlink(missing_ok=True)
        # The journal first: no row may be taken for another run's.
        with Journal(out / "rows.jsonl", resume=resume) as journal:
            write_whole(json.dumps(asked), out / "run.json")
            write_questions(sets, out / "asked.jsonl")
            return await Session(settings, client, journal, display).run(sets)


async def check_model(settings: Settings, client: openai.AsyncOpenAI, display: Display) -> None:
    """Raises Unusable where address, key or model is wrong."""
    model, address = settings.model, settings.base_url
    try:
        with display.phase(f"waiting for {address}", None):
            offered = await ask.Patience(settings.patience_s).run(lambda: ask.read_models(client))
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        raise Unusable(f"{address} refused the key; give the right one with --api-key") from error
    except ask.FAILURES as error:
        raise Unusable(
            f"{address} is not an OpenAI endpoint that answers: {_reason(error)}"
        ) from error
    # A pinned version, name@v7, need not be listed.
    if model not in offered and model.rpartition("@")[0] not in offered:
        raise Unusable(
            f"{address} does not serve {model!r}; it offers "
            f"{', '.join(sorted(offered)) or 'nothing'}"
        )


class Session:
    """One replay under way: the connection and what is known so far."""

    def __init__(
        self, settings: Settings, client: openai.AsyncOpenAI, journal: Journal, display: Display
    ) -> None:
        self._settings, self._client = settings, client
        self._journal, self._display = journal, display
        self._patience = ask.Patience(settings.patience_s)
        self._slots = asyncio.Semaphore(settings.concurrency)
        how = ask.Draw(
            settings.eval_samples, settings.temperature, settings.top_p, settings.max_tokens
        )
        self._evaluator = Evaluator(
            how,
            lambda item: ask.draw(client, settings.model, item.prompt, how),
            self._attempt,
            journal,
            display,
        )
        self._evaluations: list[Evaluation] = []

    async def run(self, sets: tuple[QuestionSet, ...]) -> Run:
        s, asked = self._settings, len(sets[0].items)
        # What was served when the run began, also when this is its second life.
        first = self._journal.found("start")
        if not first:
            now = await self._status()
            if not now.learning and s.mode != "frozen":
                self._display.line(f"the server is not learning: {now.reason or 'no reason given'}")
            first = self._journal.add("start", None, served=now.served, promoted=now.promoted)
        # Every voted question, and all sets at each evaluation.
        batches = s.episodes * -(-asked // s.batch)
        between = max(0, batches - 1) // s.eval_every if s.eval_every else 0
        evaluations = 1 + bool(batches) + between
        self._display.expect(s.episodes * asked + evaluations * sum(len(x.items) for x in sets))
        await self._evaluate(sets, "before", 0, first["served"])
        history = await self._learn(sets)
        served = history[-1].served if history else first["served"]
        if history:  # else nothing was asked in between, and a second look would only show chance
            await self._evaluate(sets, "after", len(history), served)
        last = await self._status()
        before, after = self._evaluations[0].scores, self._evaluations[-1].scores
        return Run(
            settings=self._settings,
            sets=sets,
            before=before,
            after=after,
            history=history,
            served_before=first["served"],
            served_after=last.served,
            versions_promoted=max(0, last.promoted - first["promoted"]),
            questions_answered=sum(record.answered for record in history),
            requests_failed=sum("error" in row for row in self._journal.rows),
            wall_seconds=round(self._journal.elapsed, 1),
            evaluations=self._evaluations,
        )

    async def _status(self) -> ask.Status:
        try:
            return await self._patience.run(lambda: ask.read_status(self._client))
        except ask.FAILURES as error:
            self._display.line(f"no status: {_reason(error)}")
            return ask.NOT_LEARNING

    async def _evaluate(
        self, sets: Sequence[QuestionSet], moment: str, step: int, served: str
    ) -> None:
        self._evaluations.append(await self._evaluator.evaluate(sets, moment, step, served))

    # ------------------------------------------------------------ learning

    async def _learn(self, sets: tuple[QuestionSet, ...]) -> list[BatchRecord]:
        s = self._settings
        order, items = random.Random(s.seed), list(sets[0].items)
        history: list[BatchRecord] = []
        for episode in range(1, s.episodes + 1):
            order.shuffle(items)
            batches = [items[at : at + s.batch] for at in range(0, len(items), s.batch)]
            for number, batch in enumerate(batches, 1):
                title = f"episode {episode}/{s.episodes} batch {number}/{len(batches)}"
                history.append(await self._learn_batch(batch, episode, number, title))
                last = episode == s.episodes and number == len(batches)
                if s.eval_every and len(history) % s.eval_every == 0 and not last:
                    await self._evaluate(
                        sets, f"at step {len(history)}", len(history), history[-1].served
                    )
        return history

    async def _learn_batch(
        self, batch: list[Item], episode: int, number: int, title: str
    ) -> BatchRecord:
        if done := self._journal.found(title):
            self._display.done(len(batch))
            return BatchRecord(**done["batch"])
        started = time.monotonic()
        with self._display.phase(title, len(batch)) as phase:
            rows = await asyncio.gather(*(self._ask(item, title, phase) for item in batch))
        asked = time.monotonic()
        status = await self._settle(title)
        record = BatchRecord(
            **votes.figures(rows),
            episode=episode,
            batch=number,
            served=status.served,
            seconds=round(asked - started, 2),
            wait_seconds=round(time.monotonic() - asked, 2),
        )
        self._journal.add(title, None, batch=asdict(record))
        self._display.line(
            f"{title}: majority {shown(record.majority_ratio)}  right "
            f"{shown(record.ground_truth_ratio)}  {record.served or 'no version'}  "
            f"{record.seconds:.1f} s + {record.wait_seconds:.1f} s learning"
            + (f"  {record.failed} failed" if record.failed else "")
        )
        return record

    async def _ask(self, item: Item, title: str, phase: Phase) -> dict[str, Any]:
        """The question's row, asked for where a former life of the run left none."""
        s = self._settings
        row = self._journal.found(title, item.id)
        if not row:
            label = item.answer if s.mode == "oracle" else None
            store = s.mode != "frozen"
            timed = await self._attempt(
                item,
                title,
                lambda: ask.ask_voted(
                    self._client, s.model, item.prompt, s.max_tokens, label, store=store
                ),
            )
            if timed is None:  # the attempt has left the failure as its row
                row = self._journal.found(title, item.id) or {}
            else:
                reply, seconds = timed
                row = self._journal.add(title, item.id, **votes.row(item, reply), seconds=seconds)
        if "error" in row:
            phase.failed()
        else:
            phase.answered(
                float(row["right"]), row["vote"]["adapter"] if row["vote"] else "not voted on"
            )
        return row

    async def _settle(self, title: str) -> ask.Status:
        """Wait until nothing asked so far waits for training or is being trained on."""
        deadline = time.monotonic() + self._settings.wait_timeout_s
        wait = self._settings.wait and self._settings.mode != "frozen"
        status = await self._status()
        with self._display.phase(f"{title}: learning", None) as phase:
            while wait and status.busy:
                if time.monotonic() > deadline:
                    self._display.line(
                        f"{title}: still learning after {self._settings.wait_timeout_s:g} s, "
                        "going on"
                    )
                    break
                phase.note("training" if status.training else f"{status.pending} groups wait")
                await asyncio.sleep(POLL_S)
                status = await self._status()
        return status

    # ------------------------------------------------------------ one request

    async def _attempt(
        self, item: Item, phase_name: str, call: Callable[[], Awaitable[T]]
    ) -> tuple[T, float] | None:
        """The call's result and its seconds, or None when the question failed: then the failure
        is its row."""
        async with self._slots:
            started = time.monotonic()
            try:
                return await self._patience.run(call), round(time.monotonic() - started, 2)
            except ask.FAILURES as error:
                if isinstance(error, openai.APIConnectionError) and not isinstance(
                    error, openai.APITimeoutError
                ):
                    # Nobody is there: rows of failures would help nobody.
                    raise Unusable(
                        f"{self._settings.base_url} went away; --resume goes on from here"
                    ) from error
                self._journal.add(phase_name, item.id, truth=item.answer, error=_reason(error))
                return None


def _reason(error: Exception) -> str:
    cause = f" ({error.__cause__})" if error.__cause__ and str(error.__cause__) else ""
    return f"{type(error).__name__}: {error}{cause}"
