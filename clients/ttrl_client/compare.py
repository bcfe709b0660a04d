"""Runs side by side, with paired tests on the questions they share: ``ttrl-replay compare``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttrl_client import journal, report
from ttrl_client.metrics import bootstrap, mean, paired

Shares = dict[tuple[str, str], float]
"""avg@k by id and truth: a question of the same number in another file is another one."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A run as its folder tells it."""

    name: str
    report: dict[str, Any]
    after: dict[str, Shares]
    """By set."""


def read(folder: Path) -> Finished:
    """Raises Unusable."""
    data = report.read(folder)
    with report.finished(folder):
        rows = journal.read(folder / "rows.jsonl")
    after: dict[str, Shares] = {name: {} for name in report.set_names(data)}
    for row in rows:
        name, _, moment = row["phase"].rpartition(" ")
        if moment == report.moments(data)[-1] and name in after and "answers" in row:
            after[name][row["id"], row["truth"]] = row["share"]
    return Finished(folder.name, data, after)


def table(runs: list[Finished]) -> str:
    """Markdown: every set after each run, beside the first run."""
    first = runs[0]
    heads = "| set | run | avg before → after | against the first | 95 % | p | questions |"
    lines = [heads, "|---" * 7 + "|"]
    names = dict.fromkeys(name for run in runs for name in run.after)
    for name, run in ((name, run) for name in names for run in runs if name in run.after):
        k = run.report["settings"]["eval_samples"]
        moved = report.change(run.report, name, f"avg@{k}")
        shared = sorted(run.after[name].keys() & first.after.get(name, {}).keys())
        if run is first or not shared:
            lines.append(f"| {name} | {run.name} | {moved} | | | | {len(run.after[name])} |")
            continue
        differences = [run.after[name][q] - first.after[name][q] for q in shared]
        interval, p = bootstrap(differences), paired(differences)
        bounds = f"{interval[0]:+.3f} to {interval[1]:+.3f}" if interval else "-"
        figures = f"{mean(differences):+.3f} | {bounds} | {p:.3f} | {len(shared)}"
        lines.append(f"| {name} | {run.name} | {moved} | {figures} |")
    return "\n".join(lines)
