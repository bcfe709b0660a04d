"""Logs one line a minute while there is traffic: counts of questions, votes and refusals."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from prometheus_client import Counter as Series

from ttrl_server.telemetry import metrics

log = structlog.get_logger()

Counts = dict[str, Counter[str]]


def counts() -> Counts:
    """The totals so far, by kind of count and by label."""
    return {
        "asked": _by_label(metrics.QUESTIONS, "outcome"),
        "unvoted": _by_label(metrics.UNVOTED, "reason"),
        "verdicts": _by_label(metrics.GROUPS, "verdict"),
    }


def _by_label(series: Series, label: str) -> Counter[str]:
    samples = (sample for family in series.collect() for sample in family.samples)
    return Counter(
        {s.labels[label]: int(s.value) for s in samples if s.name.endswith("_total") and s.value}
    )


def line(before: Counts, now: Counts) -> dict[str, object] | None:
    """The figures between two counts; None when nothing was asked."""
    new = {name: now[name] - before[name] for name in now}
    asked, unvoted = new["asked"].total(), new["unvoted"].total()
    if not asked + unvoted:
        return None
    queued = new["verdicts"].pop("queued", 0)
    return {
        "asked": asked + unvoted,
        "voted": new["asked"]["answered"],
        "unvoted": dict(new["unvoted"]),
        "queued": queued,
        "refused": dict(new["verdicts"]),
    }


async def every_minute(more: Callable[[], Awaitable[dict[str, Any]]], every_s: float = 60) -> None:
    """Logs for ever; ``more`` gives additional fields of the line."""
    before = counts()
    while True:
        await asyncio.sleep(every_s)
        now = counts()
        if figures := line(before, now):
            log.info("traffic", **figures, **await more())
        before = now
