"""The outcome of a replay: a table for the eye, report.json for programs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from ttrl_client.metrics import SetScore
from ttrl_client.replay import Run, Settings

RESERVED = frozenset(
    {"model", "settings", "served", "versions_promoted", "questions_answered", "requests_failed"}
    | {"wall_seconds", "history"}
)
"""Keys of report.json that no question set may be named after."""


def as_dict(run: Run) -> dict[str, Any]:
    """The report: one entry a set beside the run's own figures. Shares that could not be measured are null."""
    k = run.settings.eval_samples
    sets = {
        s.name: {
            "questions": len(s.items),
            "before": _scores(run.before[s.name], k),
            "after": _scores(run.after[s.name], k),
        }
        for s in run.sets
    }
    return {
        "model": run.settings.model,
        **sets,
        "served": {"before": run.served_before, "after": run.served_after},
        "versions_promoted": run.versions_promoted,
        "questions_answered": run.questions_answered,
        "requests_failed": run.requests_failed,
        "wall_seconds": run.wall_seconds,
        "settings": _settings(run.settings),
        "history": [asdict(record) for record in run.history],
    }


def write(run: Run, path: Path) -> None:
    """Whole or not at all: a reader never sees half a report."""
    staged = path.with_name(path.name + ".tmp")
    staged.write_text(json.dumps(as_dict(run), indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(staged, path)


def table(run: Run) -> Table:
    """before → after of every set."""
    k = run.settings.eval_samples
    result = Table(title=f"{run.settings.model}: {run.served_before or '-'} → {run.served_after or '-'}")
    result.add_column("set")
    for heading in ("questions", f"avg@{k}", f"maj@{k}", "failed"):
        result.add_column(heading, justify="right")
    for s in run.sets:
        old, new = run.before[s.name], run.after[s.name]
        shares = (_change(old.avg, new.avg), _change(old.maj, new.maj))
        result.add_row(s.name, str(len(s.items)), *shares, str(old.failed + new.failed))
    result.caption = (
        f"{run.versions_promoted} versions promoted, {run.questions_answered} questions answered, "
        f"{run.requests_failed} requests failed, {run.wall_seconds:.0f} s"
    )
    return result


def _scores(score: SetScore, k: int) -> dict[str, float | int | None]:
    return {
        f"avg@{k}": score.avg,
        f"maj@{k}": score.maj,
        f"pass@{k}": score.passed,
        "answered": score.answered,
        "failed": score.failed,
    }


def _settings(settings: Settings) -> dict[str, Any]:
    return {name: value for name, value in asdict(settings).items() if name != "api_key"}


def _change(old: float | None, new: float | None) -> str:
    return " → ".join("-" if value is None else f"{value:.3f}" for value in (old, new))
