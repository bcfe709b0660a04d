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
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import openai

from ttrl_client import Unusable, ask, votes
from ttrl_client.datasets import Item, QuestionSet
from ttrl_client.journal import Journal, Row, write_whole
from ttrl_client.metrics import Graded, score, shown
from ttrl_client.progress import Display, Phase
from ttrl_client.run import BatchRecord, Evaluation, Run, Settings, write_questions

T = TypeVar("T")
POLL_S = 0.5


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
    client = openai.AsyncOpenAI(
        base_url=settings.base_url,
        api_key=settings.api_key,
        max_retries=settings.max_retries,
        timeout=settings.timeout_s,
    )
    async with client:
        await check_model(settings, client, display)  # before anything of a former run is touched
        (out / "report.json").unlink(missing_ok=True)
        # The journal first: no row may be taken for another run's.
        with Journal(out / "rows.jsonl", resume=resume) as journal:
            write_whole(json.dumps(asked), out / "run.json")
            write_questions(sets, out / "asked.jsonl")
            return await Session(settings, sets, client, journal, display).run()


async def check_model(settings: Settings, client: openai.AsyncOpenAI, display: Display) -> None:
    """Raises Unusable where address, key or model is wrong."""
    model, address = settings.model, settings.base_url
    try:
        with display.phase(f"waiting for {address}", None):
            offered = await ask.Patience(settings.patience_s).run(lambda: ask.read_models(client))
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        raise Unusable(f"{address} refused the key; give the right one with --api-key") from error
    except ask.FAILURES as error:
        said = _reason(error)
        raise Unusable(f"{address} is not an OpenAI endpoint that answers: {said}") from error
    # A pinned version, name@v7, need not be listed.
    if model not in offered and model.rpartition("@")[0] not in offered:
        names = ", ".join(sorted(offered)) or "nothing"
        raise Unusable(f"{address} does not serve {model!r}; it offers {names}")


class Session:
    """One replay under way: the connection and what is known so far."""

    def __init__(
        self,
        settings: Settings,
        sets: tuple[QuestionSet, ...],
        client: openai.AsyncOpenAI,
        journal: Journal,
        display: Display,
    ) -> None:
        self._settings, self._sets, self._client = settings, sets, client
        self._journal, self._display = journal, display
        self._patience = ask.Patience(settings.patience_s)
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._served = ""
        self._history: list[BatchRecord] = []
        self._evaluations: list[Evaluation] = []

    async def run(self) -> Run:
        s, asked = self._settings, len(self._sets[0].items)
        # What was served when the run began, also when this is its second life.
        first = self._journal.found("start")
        if not first:
            now = await self._status()
            if not now.learning and s.mode != "frozen":
                self._display.line(f"the server is not learning: {now.reason or 'no reason given'}")
            first = self._journal.add("start", None, served=now.served, promoted=now.promoted)
        self._served = first["served"]
        # Every voted question, and all sets at each evaluation.
        batches = s.episodes * -(-asked // s.batch)
        between = max(0, batches - 1) // s.eval_every if s.eval_every else 0
        evaluations = 1 + bool(batches) + between
        everything = sum(len(questions.items) for questions in self._sets)
        self._display.expect(s.episodes * asked + evaluations * everything)
        await self._evaluate("before")
        await self._learn()
        if self._history:  # else a second look would only show chance
            await self._evaluate("after")
        last = await self._status()
        return Run(
            settings=s,
            sets=self._sets,
            history=self._history,
            evaluations=self._evaluations,
            served_before=first["served"],
            served_after=last.served,
            versions_promoted=max(0, last.promoted - first["promoted"]),
            questions_answered=sum(record.answered for record in self._history),
            requests_failed=sum("error" in row for row in self._journal.rows),
            wall_seconds=round(self._journal.elapsed, 1),
        )

    async def _status(self) -> ask.Status:
        try:
            return await self._patience.run(lambda: ask.read_status(self._client))
        except ask.FAILURES as error:
            self._display.line(f"no status: {_reason(error)}")
            return ask.NOT_LEARNING

    # ------------------------------------------------------------ evaluating

    async def _evaluate(self, moment: str) -> None:
        """Every set, asked with k samples a question, which are neither voted on nor stored."""
        scores, k = {}, self._settings.eval_samples
        for s in self._sets:
            title = f"{s.name} {moment}"
            with self._display.phase(title, len(s.items)) as phase:
                drawn = await asyncio.gather(*(self._grade(i, title, phase) for i in s.items))
            graded = [g for g in drawn if g is not None]
            result = score(graded, failed=len(drawn) - len(graded))
            self._display.line(f"{title}: avg@{k} {shown(result.avg)}  maj@{k} {shown(result.maj)}")
            scores[s.name] = result
        self._evaluations.append(Evaluation(moment, len(self._history), self._served, scores))

    async def _grade(self, item: Item, title: str, phase: Phase) -> Graded | None:
        s = self._settings
        how = ask.Draw(s.eval_samples, s.temperature, s.top_p, s.max_tokens)
        row = await self._row(
            item, title, lambda: ask.draw(self._client, s.model, item, how), votes.drawn_row
        )
        if "error" in row:
            phase.failed()
            return None
        phase.answered(row["share"])
        answers, tokens, seconds = tuple(row["answers"]), row["tokens"], row["seconds"]
        return Graded(answers, item.answer, item.asked, item.group, tokens, seconds)

    # ------------------------------------------------------------ learning

    async def _learn(self) -> None:
        s = self._settings
        order, items = random.Random(s.seed), list(self._sets[0].items)
        for episode in range(1, s.episodes + 1):
            order.shuffle(items)
            batches = [items[at : at + s.batch] for at in range(0, len(items), s.batch)]
            for number, batch in enumerate(batches, 1):
                title = f"episode {episode}/{s.episodes} batch {number}/{len(batches)}"
                record = await self._learn_batch(batch, episode, number, title)
                self._history.append(record)
                self._served = record.served
                step, last = len(self._history), episode == s.episodes and number == len(batches)
                if s.eval_every and step % s.eval_every == 0 and not last:
                    await self._evaluate(f"at step {step}")

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

    async def _ask(self, item: Item, title: str, phase: Phase) -> Row:
        s = self._settings
        label, store = item.answer if s.mode == "oracle" else None, s.mode != "frozen"

        def voted() -> Awaitable[ask.Reply]:
            return ask.ask_voted(self._client, s.model, item, s.max_tokens, label, store=store)

        row = await self._row(item, title, voted, votes.row)
        if "error" in row:
            phase.failed()
        else:
            vote = row["vote"]
            phase.answered(float(row["right"]), vote["adapter"] if vote else "not voted on")
        return row

    async def _settle(self, title: str) -> ask.Status:
        """Wait until nothing asked so far waits for training or is being trained on."""
        s = self._settings
        deadline = time.monotonic() + s.wait_timeout_s
        wait = s.wait and s.mode != "frozen"
        status = await self._status()
        with self._display.phase(f"{title}: learning", None) as phase:
            while wait and status.busy:
                if time.monotonic() > deadline:
                    late = f"still learning after {s.wait_timeout_s:g} s, going on"
                    self._display.line(f"{title}: {late}")
                    break
                phase.note("training" if status.training else f"{status.pending} groups wait")
                await asyncio.sleep(POLL_S)
                status = await self._status()
        return status

    # ------------------------------------------------------------ one request

    async def _row(
        self,
        item: Item,
        title: str,
        call: Callable[[], Awaitable[T]],
        outcome: Callable[[Item, T], Row],
    ) -> Row:
        """The question's row, from a former life of the run or asked for now, failed or not."""
        if row := self._journal.found(title, item.id):
            return row
        async with self._slots:
            started = time.monotonic()
            try:
                result = await self._patience.run(call)
            except openai.APITimeoutError as error:
                return self._journal.add(title, item.id, truth=item.answer, error=_reason(error))
            except openai.APIConnectionError as error:
                # Nobody is there: rows of failures would help nobody.
                address = self._settings.base_url
                raise Unusable(f"{address} went away; --resume goes on from here") from error
            except ask.FAILURES as error:
                return self._journal.add(title, item.id, truth=item.answer, error=_reason(error))
            seconds = round(time.monotonic() - started, 2)
        return self._journal.add(title, item.id, **outcome(item, result), seconds=seconds)


def _reason(error: Exception) -> str:
    cause = f" ({error.__cause__})" if error.__cause__ and str(error.__cause__) else ""
    return f"{type(error).__name__}: {error}{cause}"
