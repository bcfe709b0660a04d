"""One set asked with N samples a question, neither voted on nor stored; the rows are what every
figure is made from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ttrl_client import ask
from ttrl_client.datasets import Item, QuestionSet
from ttrl_client.journal import Journal
from ttrl_client.metrics import Graded, SetScore, correct_share, majority, score, shown
from ttrl_client.progress import Display, Phase
from ttrl_client.scoring import read, same

Attempt = Callable[[Item, str, Callable[[], Awaitable[Any]]], Awaitable[tuple[Any, float] | None]]
"""Runs one call for a question: its result and seconds; None when it failed, and then its row
says so."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All sets at one moment."""

    moment: str
    """before, after, or "at step 8"."""
    step: int
    """Batches that had been learned from."""
    served: str
    scores: dict[str, SetScore]


class Evaluator:
    """Draws samples of sets, once a moment and question, also over a resumed run."""

    def __init__(
        self,
        how: ask.Draw,
        draw: Callable[[Item], Awaitable[ask.Drawn]],
        attempt: Attempt,
        journal: Journal,
        display: Display,
    ) -> None:
        self._how, self._draw, self._attempt = how, draw, attempt
        self._journal, self._display = journal, display

    async def evaluate(
        self, sets: Sequence[QuestionSet], moment: str, step: int, served: str
    ) -> Evaluation:
        scores, k = {}, self._how.k
        for s in sets:
            title = f"{s.name} {moment}"
            with self._display.phase(title, len(s.items)) as phase:
                drawn = await asyncio.gather(*(self._grade(i, title, phase) for i in s.items))
            graded = [g for g in drawn if g is not None]
            result = score(graded, failed=len(drawn) - len(graded))
            self._display.line(f"{title}: avg@{k} {shown(result.avg)}  maj@{k} {shown(result.maj)}")
            scores[s.name] = result
        return Evaluation(moment, step, served, scores)

    async def _grade(self, item: Item, title: str, phase: Phase) -> Graded | None:
        row = self._journal.found(title, item.id)
        if row is None:
            timed = await self._attempt(item, title, lambda: self._draw(item))
            if timed is None:
                phase.failed()
                return None
            drawn, seconds = timed
            answers = [read(x.text, x.finish_reason, item.asked).answer for x in drawn.samples]
            winner = majority(answers, item.asked)
            row = self._journal.add(
                title,
                item.id,
                truth=item.answer,
                answers=answers,
                right=same(winner, item.answer, item.asked),
                share=correct_share(Graded(tuple(answers), item.answer, item.asked)),
                tokens=drawn.tokens,
                seconds=seconds,
            )
        if "error" in row:
            phase.failed()
            return None
        phase.answered(row["share"])
        return Graded(
            tuple(row["answers"]),
            item.answer,
            item.asked,
            item.group,
            row["tokens"],
            row["seconds"],
        )
